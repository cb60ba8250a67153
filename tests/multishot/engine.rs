//! The engine by its first user: an accept that goes on.
//!
//! Knows: `accept_multishot`, polled by hand. Does not know: destinations.

use std::ops::ControlFlow;
use std::time::Duration;

use millstream::ops::{self, Feature};
use millstream::{Results, Runtime};

use crate::harness::Watchdog;
use crate::support::{clients, item, listener, next, own_ports, ports};

/// Every test runs with multishot and, as on a kernel without it, with single entries.
fn both(test: impl AsyncFn()) {
    let _watchdog = Watchdog::new(Duration::from_secs(20));
    Runtime::new().expect("io_uring").block_on(test());
    let without = Runtime::builder().without_features(Feature::AcceptMultishot.bit()).build();
    without.expect("io_uring").block_on(test());
}

#[test]
fn connections_come_in_order_with_one_entry() {
    let _watchdog = Watchdog::new(Duration::from_secs(20));
    let runtime = Runtime::new().expect("io_uring");
    runtime.block_on(async {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        let mut accepted = Vec::new();
        let mut clients = clients(address, 3);
        for _ in 0..3 {
            accepted.push(item(&mut accepts).await);
        }
        clients.extend(crate::support::clients(address, 2));
        for _ in 0..2 {
            accepted.push(item(&mut accepts).await);
        }
        assert_eq!(ports(&accepted), own_ports(&clients));
    });
    // The read of the eventfd, the accept, its cancel when it was dropped.
    let submitted = runtime.stats().submitted;
    assert!(submitted <= 4, "{submitted} entries for one multishot accept");
}

#[test]
fn connections_come_in_order_however_they_are_asked_for() {
    both(async || {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        let clients = clients(address, 20);
        let mut accepted = Vec::new();
        for _ in 0..20 {
            accepted.push(item(&mut accepts).await);
        }
        assert_eq!(ports(&accepted), own_ports(&clients));
    });
}

#[test]
fn asked_to_stop_it_gives_what_came_and_then_its_end() {
    both(async || {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        let _clients = clients(address, 2);
        let _first = item(&mut accepts).await;
        accepts.request_cancel();
        let mut more = 0;
        let end = loop {
            match next(&mut accepts).await {
                ControlFlow::Continue(_) => more += 1,
                ControlFlow::Break(end) => break end,
            }
        };
        assert!(more <= 1, "{more} more");
        assert_eq!(end.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    });
}
