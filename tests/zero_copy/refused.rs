//! Zero-copy sends that the kernel or the socket refuses: when they are asked in another way, and when not.
//!
//! Knows: sockets that refuse, kernels that lack something. Does not know: destinations.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use millstream::combinators::{RingOperationExt, link};
use millstream::ops::{self, Fd, Feature, IntoResult, Usage};
use millstream::{Operation, Runtime, channel, time};

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

/// The notification of one that a drain holds back would be waited for by that drain, for ever: it is sent with a copy, wherever
/// in the chain the drain stands.
#[test]
fn behind_a_drain_it_is_sent_with_a_copy() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = plain_tcp()?;
        let send = || ops::send_zc(&ours, pattern(9)).report_usage();
        let mut usages = Vec::new();
        usages.push(send().drain().await.into_result()?.0.1);
        let (done, sent) = (ops::nop().drain() >> send()).await;
        done?;
        usages.push(sent.into_result()?.0.1);
        let (sent, done) = (send() >> ops::nop().drain()).await;
        done?;
        usages.push(sent.into_result()?.0.1);
        let chain = link((ops::nop(), send().link_timeout(Duration::from_secs(20)), ops::nop().drain()));
        let (_, sent, done) = chain.await;
        done?;
        usages.push(sent.map_err(|_| "in time")?.into_result()?.0.1);
        assert_eq!(usages, [Usage::Fallback; 4]);
        for _ in 0..4 {
            check(&mut peer, 9)?;
        }
        Ok(())
    })
}

/// The kernel takes the first entry after a drain for one that is to be drained itself.
#[test]
fn the_first_after_a_drain_is_no_part_of_it() -> Outcome {
    for at_the_end_of_a_chain in [false, true] {
        let (_watchdog, runtime) = begin();
        runtime.block_on(async {
            let (ours, mut peer) = plain_tcp()?;
            if at_the_end_of_a_chain {
                (ops::nop() >> ops::nop().drain()).await.1?;
            } else {
                ops::nop().drain().await?;
            }
            assert_eq!(ops::send_zc(&ours, pattern(9)).await.into_result()?.0, 9);
            check(&mut peer, 9)
        })?;
    }
    Ok(())
}

/// What is drained waits for the notification of a send before it.
#[test]
fn a_drain_behind_one_waits_for_its_notification() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = plain_tcp()?;
        for _ in 0..3 {
            let (tx, rx) = channel::bounded(1);
            ops::send_zc(&ours, pattern(9)).will_push(tx).await?;
            check(&mut peer, 9)?;
            ops::nop().drain().await?;
            assert_eq!(rx.try_pop()?, pattern(9));
        }
        Ok(())
    })
}

/// A send that waits for all before it does so with a destination, too.
#[test]
fn a_destination_changes_nothing_of_a_drain() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = plain_tcp()?;
        let (other, mut far) = UnixStream::pair()?;
        let mut before = ops::recv(Fd::from(other), [0; 1]);
        start(&mut before);
        let (tx, rx) = channel::bounded(1);
        let mut send = ops::send_zc(&ours, pattern(9)).drain().will_push(tx);
        start(&mut send);
        time::sleep(Duration::from_millis(5)).await;
        peer.set_nonblocking(true)?;
        assert_eq!(peer.read(&mut [0; 9]).expect_err("it waits").kind(), ErrorKind::WouldBlock);
        peer.set_nonblocking(false)?;
        far.write_all(b"x")?;
        assert_eq!(before.await.into_result()?.0, 1);
        assert_eq!(send.await?, 9);
        check(&mut peer, 9)?;
        assert_eq!(rx.pop().await?, pattern(9));
        Ok(())
    })
}
