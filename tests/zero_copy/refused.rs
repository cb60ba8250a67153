//! Zero-copy sends that the kernel or the socket refuses: when they are asked in another way, and when not.
//!
//! Knows: sockets that refuse, kernels that lack something. Does not know: destinations.

use std::future::Future;
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use millstream::ops::{self, Fd, Feature, IntoResult};
use millstream::{Operation, Runtime, channel};

use crate::support::{Watchdog, skip};
use crate::{Outcome, begin, check, has_zero_copy, pattern, plain_tcp, settle};

/// Starts it, for nobody.
fn start<F: Future + Unpin>(future: &mut F) {
    assert!(Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// A unix socket is known to refuse before it is asked; a chain cannot be asked again when it has begun.
#[test]
fn a_chain_on_a_socket_that_refuses() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = UnixStream::pair()?;
        let ours = Fd::from(ours);
        let (sent, shut) = (ops::send_zc(&ours, "grist") >> ops::shutdown(&ours, Shutdown::Write)).await;
        assert_eq!(sent.into_result()?.0, 5);
        shut?;
        assert_eq!(std::io::read_to_string(&mut peer)?, "grist");
        if !has_zero_copy() {
            skip("this kernel has no SendZc to refuse");
            return Ok(());
        }
        // The header of a message that asks for nothing.
        let message = [16_u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let netlink = ops::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).await?;
        let ((result, buf), next) = (ops::send_zc(&netlink, message) >> ops::nop()).await;
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::EOPNOTSUPP), message));
        assert_eq!(next.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        let (tx, rx) = channel::bounded(1);
        let (sent, next) = (ops::send_zc(&netlink, message).will_push(tx) >> ops::nop()).await;
        assert_eq!(sent.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        assert_eq!(next.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert_eq!(rx.pop().await?, message);
        // By itself it is sent, with a copy.
        assert_eq!(ops::send_zc(&netlink, message).await.into_result()?, (16, message));
        Ok(())
    })
}

/// It was refused, and asked to stop before anybody looked: it is not asked again.
#[test]
fn who_is_asked_to_stop_does_not_try_another_way() -> Outcome {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    if !has_zero_copy() {
        skip("this kernel has no SendZc to refuse");
        return Ok(());
    }
    Runtime::builder().without_features(Feature::UsageReport.bit()).build()?.block_on(async {
        let (ours, mut peer) = plain_tcp()?;
        let mut send = ops::send_zc(&ours, pattern(9)).report_usage();
        start(&mut send);
        settle().await?;
        Pin::new(&mut send).request_cancel();
        let (result, buf) = send.await;
        assert!(result.is_err());
        assert_eq!(buf, pattern(9));
        settle().await?;
        peer.set_nonblocking(true)?;
        assert_eq!(peer.read(&mut [0; 9]).expect_err("nothing was sent").kind(), ErrorKind::WouldBlock);
        Ok(())
    })
}

/// What is wrong with a message is not taken for a kernel that makes no reports.
#[test]
fn a_wrong_address_is_no_old_kernel() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = plain_tcp()?;
        let udp = Fd::from(UdpSocket::bind("127.0.0.1:0")?);
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let ((_, usage), _) = ops::send_zc(&ours, pattern(9)).report_usage().await.into_result()?;
            seen.push(usage);
            check(&mut peer, 9)?;
            let (result, _) = ops::send_to_zc(&udp, pattern(9), nowhere).report_usage().await;
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
        assert_eq!(seen[0], seen[1]);
        Ok(())
    })
}
