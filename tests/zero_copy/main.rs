//! Zero-copy sends: the count at the first completion, the buffer at the second, wherever it is to go and whatever becomes
//! of the future, the channel, the peer and the runtime.
//!
//! Under the quarantine allocator, which fills what is freed: a buffer that was given up while the kernel still sends from
//! it would show at the peer, who checks every byte.

#![allow(unsafe_code, reason = "a buffer that counts its drops implements the unsafe buffer trait")]

mod every_send;
mod refused;
#[path = "../support/mod.rs"]
mod support;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use millstream::channel;
use millstream::combinators::{OneOf2, OperationExt, RingOperationExt};
use millstream::ops::{self, Buf, BufferTable, Fd, FdTable, Feature, IntoResult, Usage};
use millstream::{Operation, Runtime, race, time};
use support::quarantine::{self, Quarantine};
use support::{Watchdog, kernel_has, kernel_version, role, run_again, skip};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// More than the peer has room for, and less than we may have on the way: sent in one go, acknowledged in part.
const LARGE: usize = 256 << 10;

fn begin() -> (Watchdog, Runtime) {
    (Watchdog::new(Duration::from_secs(60)), Runtime::new().expect("a ring"))
}

/// Whether sends are without a copy here, so that there is a notification to wait for.
fn has_zero_copy() -> bool {
    kernel_has(io_uring::opcode::SendZc::CODE)
}

fn set(socket: &impl AsRawFd, option: i32, value: i32) {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: (local) a live socket, and a value of the length that is told.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), len)
    };
    assert_eq!(done, 0);
}

/// A connection as it comes.
fn plain_tcp() -> io::Result<(Fd, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    Ok((Fd::from(ours), listener.accept()?.0))
}

/// A connection whose far end takes only a little before it is read.
fn tcp() -> io::Result<(Fd, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    set(&listener, libc::SO_RCVBUF, 32 << 10);
    let ours = TcpStream::connect(listener.local_addr()?)?;
    set(&ours, libc::SO_SNDBUF, 1 << 20);
    Ok((Fd::from(ours), listener.accept()?.0))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place % 251) as u8).collect()
}

/// Reads so many bytes and checks each.
fn check(peer: &mut TcpStream, len: usize) -> io::Result<()> {
    let mut bytes = vec![0; len];
    peer.read_exact(&mut bytes)?;
    assert!(bytes == pattern(len), "what the peer got is not what was sent");
    Ok(())
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Goes through the kernel, so that what it has completed by now is in the nodes.
async fn settle() -> io::Result<()> {
    for _ in 0..3 {
        ops::nop().await?;
    }
    Ok(())
}

/// Waits until nothing is with the kernel any more.
fn drained(runtime: &Runtime) {
    while runtime.stats().nodes > 0 {
        runtime.block_on(time::sleep(Duration::from_micros(200)));
    }
}

/// A buffer that counts how many of its kind are dropped.
struct Counted(Vec<u8>, Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
    }
}

// SAFETY: (local) the vector inside is one, and is never changed.
unsafe impl Buf for Counted {
    fn stable_ptr(&self) -> *const u8 {
        self.0.stable_ptr()
    }

    fn init_len(&self) -> usize {
        self.0.len()
    }
}

#[test]
fn awaited_as_it_is_the_buffer_comes_back() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let buf = pattern(1000);
        let at = buf.as_ptr();
        let (n, buf) = ops::send_zc(&ours, buf).await.into_result()?;
        assert_eq!((n, buf.as_ptr()), (1000, at), "the same buffer, not another");
        check(&mut peer, 1000)?;
        Ok(())
    })
}

#[test]
fn the_count_comes_before_the_buffer() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::bounded(1);
        let n = ops::send_zc(&ours, pattern(LARGE)).will_push(tx).await?;
        assert_eq!(n, LARGE);
        settle().await?;
        if has_zero_copy() {
            assert!(rx.is_empty(), "the peer has not read: the kernel may still send from the buffer");
        }
        check(&mut peer, n)?;
        assert_eq!(rx.pop().await?, pattern(LARGE));
        Ok(())
    })
}

#[test]
fn a_notification_that_comes_before_anybody_looks() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::bounded(1);
        let mut send = ops::send_zc(&ours, pattern(100)).will_push(tx);
        assert!(poll_once(&mut send).await.is_none(), "it has only been queued");
        check(&mut peer_after(&mut peer).await?, 100)?;
        settle().await?;
        assert_eq!(poll_once(&mut send).await.expect("both completions are there")?, 100);
        assert_eq!(rx.pop().await?.len(), 100);
        Ok(())
    })
}

/// The peer, once something can be read there.
async fn peer_after(peer: &mut TcpStream) -> io::Result<TcpStream> {
    let fd = Fd::from(peer.try_clone()?);
    ops::poll_add(&fd, libc::POLLIN).await?;
    peer.try_clone()
}

#[test]
fn every_flavor_of_channel_takes_buffers() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::local(1);
        ops::send_zc(&ours, pattern(10)).will_push(tx).await?;
        assert_eq!(rx.pop().await?.len(), 10);
        let (tx, mut rx) = channel::spsc(1);
        ops::send_zc(&ours, pattern(11)).will_push(tx).await?;
        assert_eq!(rx.pop().await?.len(), 11);
        let (tx, rx) = channel::bounded(0);
        ops::send_zc(&ours, pattern(12)).will_push(tx).await?;
        settle().await?; // nobody waits at the rendezvous yet: a task does on the buffer's behalf
        assert_eq!(rx.pop().await?.len(), 12);
        for len in [10, 11, 12] {
            check(&mut peer, len)?;
        }
        Ok(())
    })
}

#[test]
fn a_full_channel_is_waited_for() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::bounded(1);
        for _ in 0..5 {
            ops::send_zc(&ours, pattern(100)).will_push(tx.clone()).await?;
            check(&mut peer, 100)?;
        }
        drop(tx);
        settle().await?;
        assert_eq!(rx.len(), 1);
        let mut popped = 0;
        while let Ok(buf) = rx.pop().await {
            assert_eq!(buf, pattern(100));
            popped += 1;
        }
        assert_eq!(popped, 5, "each exactly once");
        Ok(())
    })
}

#[test]
fn a_closed_channel_drops_the_buffer_once() -> Outcome {
    let (_watchdog, runtime) = begin();
    let dropped = Rc::new(Cell::new(0));
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::bounded(1);
        drop(rx);
        let buf = Counted(pattern(LARGE), dropped.clone());
        assert_eq!(ops::send_zc(&ours, buf).will_push(tx).await?, LARGE);
        if has_zero_copy() {
            assert_eq!(dropped.get(), 0, "the kernel has it");
        }
        check(&mut peer, LARGE)
    })?;
    drained(&runtime);
    assert_eq!(dropped.get(), 1);
    Ok(())
}

#[test]
fn a_task_gets_the_buffer() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::oneshot();
        let task = async move |buf: Vec<u8>| {
            tx.push(buf).expect("it is waited for");
        };
        assert_eq!(ops::send_zc(&ours, pattern(LARGE)).will_spawn(task).await?, LARGE);
        settle().await?;
        check(&mut peer, LARGE)?;
        assert_eq!(rx.await?, pattern(LARGE));
        Ok(())
    })
}

/// Where a future is dropped. The buffer goes where it was to go, all the same.
#[test]
fn dropped_at_any_moment_the_buffer_arrives() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (tx, rx) = channel::bounded(1);
        let (ours, mut peer) = tcp()?;
        drop(ops::send_zc(&ours, pattern(1)).will_push(tx.clone()));
        assert_eq!(rx.pop().await?.len(), 1, "never started");

        let mut send = ops::send_zc(&ours, pattern(2)).will_push(tx.clone());
        poll_once(&mut send).await;
        drop(send);
        assert_eq!(rx.pop().await?.len(), 2, "queued, and withdrawn");

        let mut send = ops::send_zc(&ours, pattern(LARGE)).will_push(tx.clone());
        poll_once(&mut send).await;
        settle().await?;
        drop(send);
        settle().await?;
        if has_zero_copy() {
            assert!(rx.is_empty(), "sent, and not acknowledged");
        }
        check(&mut peer, LARGE)?;
        assert_eq!(rx.pop().await?.len(), LARGE);

        fill(&ours)?;
        let mut send = ops::send_zc(&ours, pattern(3)).will_push(tx.clone());
        poll_once(&mut send).await;
        settle().await?;
        drop(send);
        assert_eq!(rx.pop().await?.len(), 3, "waiting for room in the socket, and cancelled");

        // Dropped on a thread that has no runtime: a message brings the news.
        let (ours, mut peer) = tcp()?;
        let mut send = ops::send_zc(&ours, pattern(LARGE)).will_push(tx.clone());
        poll_once(&mut send).await;
        settle().await?;
        thread::spawn(move || drop(send)).join().expect("no panic");
        check(&mut peer, LARGE)?;
        assert_eq!(rx.pop().await?.len(), LARGE);
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    drained(&runtime);
    Ok(())
}

/// Writes until the socket takes no more.
fn fill(socket: &Fd) -> io::Result<()> {
    let mut socket = TcpStream::from(std::os::fd::AsFd::as_fd(socket).try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    while socket.write(&[0; 1 << 16]).is_ok() {}
    socket.set_nonblocking(false)
}

/// Rows Z1 and Z4: the peer reads only after the future is gone and its memory, had it been freed, would have been filled with
/// poison.
#[test]
fn dropped_before_the_notification_the_kernel_keeps_the_buffer() -> Outcome {
    let (_watchdog, runtime) = begin();
    let (ours, mut peer) = tcp()?;
    runtime.block_on(async {
        let mut send = ops::send_zc(&ours, pattern(LARGE));
        poll_once(&mut send).await;
        settle().await?;
        drop(send);
        settle().await
    })?;
    if has_zero_copy() {
        assert_eq!(runtime.stats().nodes, 1, "the node holds the buffer");
        let repeated = runtime.stats().cancels_repeated;
        runtime.block_on(time::sleep(Duration::from_millis(20)));
        assert_eq!(runtime.stats().cancels_repeated, repeated, "there is nothing to cancel");
    }
    let _reuse: Vec<_> = (0..64).map(|_| vec![0xee_u8; LARGE]).collect();
    check(&mut peer, LARGE)?;
    drained(&runtime);
    quarantine::assert_clean();
    Ok(())
}

#[test]
fn a_race_that_is_lost_after_the_send_does_not_wait_for_the_peer() -> Outcome {
    let (_watchdog, runtime) = begin();
    let (ours, mut peer) = tcp()?;
    let won = runtime.block_on(async {
        let send = ops::send_zc(&ours, pattern(LARGE));
        match race!(send || time::sleep(Duration::from_millis(5))).await {
            OneOf2::A(_) => false,
            OneOf2::B(()) => true,
        }
    });
    assert_eq!(won, has_zero_copy(), "only a copying send is over before the peer reads");
    check(&mut peer, LARGE)?;
    drained(&runtime);
    Ok(())
}

#[test]
fn a_cancelled_send_gives_the_buffer_back() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, _peer) = tcp()?;
        fill(&ours)?;
        let late = ops::send_zc(&ours, pattern(9)).timeout(Duration::from_millis(2)).await;
        let (result, buf) = late.expect_err("there is no room").into_outcome();
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::ECANCELED), pattern(9)));

        let (tx, rx) = channel::bounded(1);
        let late = ops::send_zc(&ours, pattern(9)).will_push(tx).timeout(Duration::from_millis(2)).await;
        let error = late.expect_err("there is no room").into_outcome().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        assert_eq!(rx.pop().await?, pattern(9));

        // Never started: it is not started to be stopped.
        let mut send = ops::send_zc(&ours, pattern(9));
        Pin::new(&mut send).request_cancel();
        let (result, buf) = send.await;
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::ECANCELED), pattern(9)));
        Ok(())
    })
}

#[test]
fn the_descriptor_is_free_once_the_bytes_are_sent() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::bounded(1);
        assert_eq!(ops::send_zc(&ours, pattern(LARGE)).will_push(tx).await?, LARGE);
        drop(ours.try_into_owned().expect("the kernel sends on, and holds only the buffer")); // closes
        check(&mut peer, LARGE)?;
        assert_eq!(peer.read(&mut [0])?, 0, "the end of the stream");
        assert_eq!(rx.pop().await?.len(), LARGE);
        Ok(())
    })
}

/// Row Z2: an error before the kernel has begun has one completion, any other two; both end with the buffer back.
#[test]
fn errors_of_one_completion_and_of_two() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (tx, rx) = channel::bounded(1);
        let table = FdTable::new(1)?;
        let empty = table.reserve()?;
        let (result, buf) = ops::send_zc(&empty, pattern(5)).await;
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::EBADF), pattern(5)));
        let error = ops::send_zc(&empty, pattern(6)).will_push(tx.clone()).await.unwrap_err();
        assert_eq!((error.raw_os_error(), rx.pop().await?.len()), (Some(libc::EBADF), 6));

        // The peer has reset the connection.
        let (ours, peer) = tcp()?;
        ops::send(&ours, "unread").await.into_result()?;
        drop(peer_after(&mut peer.try_clone()?).await?);
        drop(peer);
        let hung_up = ops::poll_add(&ours, 0).await?;
        assert!(hung_up & (libc::POLLHUP | libc::POLLERR) as u32 != 0);
        for _ in 0..2 {
            let (result, buf) = ops::send_zc(&ours, pattern(7)).await;
            let errno = result.unwrap_err().raw_os_error();
            assert!(matches!(errno, Some(libc::ECONNRESET | libc::EPIPE)), "{errno:?}");
            assert_eq!(buf, pattern(7));
        }
        let error = ops::send_zc(&ours, pattern(8)).will_push(tx.clone()).await.unwrap_err();
        assert_eq!((error.raw_os_error(), rx.pop().await?.len()), (Some(libc::EPIPE), 8));

        // Nobody can send to port 0; asked with and without a report, and by both opcodes.
        let udp = Fd::from(UdpSocket::bind("127.0.0.1:0")?);
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let (result, buf) = ops::send_to_zc(&udp, pattern(9), nowhere).await;
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::EINVAL), pattern(9)));
        let (result, buf) = ops::send_to_zc(&udp, pattern(9), nowhere).report_usage().await;
        assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::EINVAL), pattern(9)));
        let (result, bufs) = ops::sendmsg_zc(&udp, vec![pattern(9)]).to(nowhere).await;
        assert_eq!((result.unwrap_err().raw_os_error(), bufs), (Some(libc::EINVAL), vec![pattern(9)]));
        Ok(())
    })
}

/// The connection is reset while the kernel still holds the buffer: that is over then.
#[test]
fn a_reset_before_the_acknowledgement_gives_the_buffer_back() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, peer) = tcp()?;
        let (tx, rx) = channel::bounded(1);
        assert_eq!(ops::send_zc(&ours, pattern(LARGE)).will_push(tx).await?, LARGE);
        drop(peer); // with bytes unread: a reset
        assert_eq!(rx.pop().await?, pattern(LARGE));
        Ok(())
    })
}

#[test]
fn a_socket_that_refuses_is_sent_to_with_a_copy() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        // A unix socket is known beforehand, so that a chain works too.
        let (ours, mut peer) = UnixStream::pair()?;
        let ours = Fd::from(ours);
        let ((n, usage), _) = ops::send_zc(&ours, "from ").report_usage().await.into_result()?;
        assert_eq!((n, usage), (5, Usage::Fallback));
        let (tx, rx) = channel::bounded(1);
        let send = ops::send_zc(&ours, "here").will_push(tx);
        let (sent, shut) = (send >> ops::shutdown(&ours, Shutdown::Write)).await;
        assert_eq!(sent?, 4);
        shut?;
        assert_eq!(rx.pop().await?, "here");
        assert_eq!(io::read_to_string(&mut peer)?, "from here");

        // Another is found out by the refusal, and remembered. The header of a message that asks for nothing.
        let netlink = ops::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).await?;
        let message = [16_u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for entries in [2, 1] {
            let before = runtime.stats().submitted;
            let ((n, usage), buf) = ops::send_zc(&netlink, message).report_usage().await.into_result()?;
            assert_eq!((n, usage, buf), (16, Usage::Fallback, message));
            if has_zero_copy() {
                assert_eq!(runtime.stats().submitted - before, entries, "one that is refused, only once");
            }
        }
        let (tx, rx) = channel::bounded(1);
        let netlink = ops::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).await?;
        assert_eq!(ops::send_zc(&netlink, message).will_push(tx).await?, 16);
        assert_eq!(rx.pop().await?, message);
        Ok(())
    })
}

#[test]
fn a_kernel_without_the_opcodes_copies() -> Outcome {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let lacking = Feature::SendZc.bit() | Feature::SendmsgZc.bit();
    let runtime = Runtime::builder().without_features(lacking).build()?;
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let ((n, usage), buf) = ops::send_zc(&ours, pattern(LARGE)).report_usage().await.into_result()?;
        assert_eq!((n, usage, buf.len()), (LARGE, Usage::Fallback, LARGE));
        check(&mut peer, LARGE)?;
        let send = ops::sendmsg_zc(&ours, vec![pattern(251), pattern(3)]).report_usage();
        let ((n, usage), _) = send.await.into_result()?;
        assert_eq!((n, usage), (254, Usage::Fallback));
        check(&mut peer, 254)?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let to = udp.local_addr()?;
        let send = ops::send_to_zc(UdpSocket::bind("127.0.0.1:0")?, "grain", to).report_usage();
        assert_eq!(send.await.into_result()?.0, (5, Usage::Fallback));
        assert_eq!(udp.recv(&mut [0; 9])?, 5);
        let (tx, rx) = channel::bounded(1);
        assert_eq!(ops::send_zc(&ours, pattern(5)).will_push(tx).await?, 5);
        assert_eq!(rx.pop().await?.len(), 5);
        Ok(())
    })
}

#[test]
fn the_kernel_says_whether_it_copied() -> Outcome {
    if !has_zero_copy() {
        skip("this kernel has no SendZc");
        return Ok(());
    }
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let reader = thread::spawn(move || check(&mut peer, 4096));
        let ((n, usage), _) = ops::send_zc(&ours, pattern(4096)).report_usage().await.into_result()?;
        assert_eq!(n, 4096);
        // The loopback device is one that needs a copy. Before Linux 6.2 nobody need say; distributions have brought it back to
        // older kernels.
        let may_be_silent = kernel_version() < (6, 2) && usage == Usage::Unknown;
        assert!(usage == Usage::Copied || may_be_silent, "{usage:?}");
        reader.join().expect("no panic")?;
        Ok(())
    })
}

#[test]
fn a_kernel_that_makes_no_reports_is_asked_for_none() -> Outcome {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let runtime = Runtime::builder().without_features(Feature::UsageReport.bit()).build()?;
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let expected = if has_zero_copy() { Usage::Unknown } else { Usage::Fallback };
        for entries in [2, 1] {
            let before = runtime.stats().submitted;
            let send = ops::send_zc(&ours, pattern(9)).report_usage().await;
            assert_eq!(send.into_result()?, ((9, expected), pattern(9)));
            check(&mut peer, 9)?;
            if has_zero_copy() {
                assert_eq!(runtime.stats().submitted - before, entries, "asked in vain only once");
            }
        }
        Ok(())
    })
}

/// Row Z3: a user whose locked memory is limited: the kernel may not hold as much, and the bytes are copied.
#[test]
fn the_limit_on_locked_memory_means_a_copy() {
    const TEST: &str = "the_limit_on_locked_memory_means_a_copy";
    require_op!(SendZc);
    if role().is_some() {
        return limited();
    }
    // SAFETY: (local) asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return skip("only root can become a user without CAP_IPC_LOCK");
    }
    let output = run_again(TEST, "limited");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

fn limited() {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: (local) a live record, and a user id that is nobody's.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
        assert_eq!(libc::setuid(60_123), 0);
    }
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = plain_tcp().expect("a connection");
        let reader = thread::spawn(move || check(&mut peer, 8 << 20));
        let (result, _) = ops::send_zc(&ours, pattern(8 << 20)).flags(libc::MSG_WAITALL).report_usage().await;
        assert_eq!(result.expect("it is sent all the same"), (8 << 20, Usage::Fallback));
        reader.join().expect("no panic").expect("all of it comes");
    });
}

#[test]
fn a_chain_ends_with_the_notification_or_before_it() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let reader = thread::spawn(move || {
            check(&mut peer, LARGE)?;
            peer.read(&mut [0])
        });
        let (sent, shut) =
            (ops::send_zc(&ours, pattern(LARGE)) >> ops::shutdown(&ours, Shutdown::Write)).await;
        let (n, buf) = sent.into_result()?;
        assert_eq!((n, buf.len()), (LARGE, LARGE));
        shut?;
        assert_eq!(reader.join().expect("no panic")?, 0, "the end of the stream");

        // With a destination the chain does not wait for the peer.
        let (ours, mut peer) = tcp()?;
        let (tx, rx) = channel::bounded(1);
        let send = ops::send_zc(&ours, pattern(LARGE)).will_push(tx);
        let (sent, shut) = (send >> ops::shutdown(&ours, Shutdown::Write)).await;
        assert_eq!(sent?, LARGE);
        shut?;
        if has_zero_copy() {
            assert!(rx.is_empty(), "the peer has not read");
        }
        check(&mut peer, LARGE)?;
        assert_eq!(peer.read(&mut [0])?, 0);
        assert_eq!(rx.pop().await?.len(), LARGE);

        // A member that fails breaks it; the buffers of all come back.
        let (result, next) = (ops::send_zc(&ours, pattern(4)) >> ops::send_zc(&ours, pattern(5))).await;
        assert_eq!((result.0.unwrap_err().raw_os_error(), result.1.len()), (Some(libc::EPIPE), 4));
        assert_eq!((next.0.unwrap_err().raw_os_error(), next.1.len()), (Some(libc::ECANCELED), 5));

        // The kernel's timer stops a member that waits for room.
        let (ours, _peer) = tcp()?;
        fill(&ours)?;
        let send = ops::send_zc(&ours, pattern(6)).link_timeout(Duration::from_millis(2));
        let (result, buf) = send.await.expect_err("there is no room").into_outcome();
        assert_eq!((result.unwrap_err().raw_os_error(), buf.len()), (Some(libc::ECANCELED), 6));
        Ok(())
    })
}

#[test]
fn the_runtime_ends_with_buffers_on_their_way() -> Outcome {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let dropped = Rc::new(Cell::new(0));
    let (tx, rx) = channel::local(1);
    let (ours, mut peer) = tcp()?;
    {
        let runtime = Runtime::builder().shutdown_deadline(Duration::from_secs(30)).build()?;
        let reader = runtime.block_on(async {
            for _ in 0..3 {
                // Dropped, forgotten by a task, and awaited: all of them are on the way when the runtime ends.
                let send = ops::send_zc(&ours, Counted(pattern(LARGE), dropped.clone()));
                let mut send = send.flags(libc::MSG_WAITALL).will_push(tx.clone());
                poll_once(&mut send).await;
                settle().await?;
                millstream::spawn(async move { drop(send.await) }).detach();
            }
            let mut peer = peer.try_clone()?;
            io::Result::Ok(thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                check(&mut peer, LARGE)?;
                peer.read_to_end(&mut Vec::new())
            }))
        })?;
        let ours = Fd::try_into_owned(ours);
        runtime.shutdown().expect("the peer reads, so all comes back");
        drop(ours);
        reader.join().expect("no panic")?;
    }
    // One is in the channel; for the others there was neither room nor time.
    assert_eq!(dropped.get(), 2);
    drop(rx.try_pop()?);
    assert_eq!(dropped.get(), 3);
    assert_eq!(peer.read(&mut [0])?, 0);
    Ok(())
}

/// A peer that never reads, and a runtime that does not wait for it: the memory is leaked, not freed.
#[test]
fn past_the_deadline_the_buffer_is_leaked() -> Outcome {
    if !has_zero_copy() {
        skip("this kernel has no SendZc");
        return Ok(());
    }
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let (ours, mut peer) = tcp()?;
    let dropped = Rc::new(Cell::new(0));
    let runtime = Runtime::builder().shutdown_deadline(Duration::from_millis(10)).build()?;
    runtime.block_on(async {
        let (tx, rx) = channel::bounded(1);
        let buf = Counted(pattern(LARGE), dropped.clone());
        assert_eq!(ops::send_zc(&ours, buf).will_push(tx).await?, LARGE);
        drop(rx);
        io::Result::Ok(())
    })?;
    assert_eq!(runtime.shutdown().expect_err("the kernel has the buffer").ops(), 1);
    assert_eq!(dropped.get(), 0);
    check(&mut peer, LARGE)?;
    Ok(())
}

#[test]
fn whole_buffers_and_several_and_datagrams() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = plain_tcp()?;
        let reader = thread::spawn(move || {
            check(&mut peer, 16 << 20)?;
            check(&mut peer, 251 * 3 + 17)
        });
        let (n, buf) = ops::send_all_zc(&ours, pattern(16 << 20)).await.into_result()?;
        assert_eq!((n, buf.len()), (16 << 20, 16 << 20));
        let bufs = vec![pattern(251), pattern(502), pattern(17)];
        let (n, bufs) = ops::sendmsg_zc(&ours, bufs).await.into_result()?;
        assert_eq!((n, bufs.len()), (251 * 3 + 17, 3));
        reader.join().expect("no panic")?;

        let (from, to) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
        let (address, from) = (to.local_addr()?, Fd::from(from));
        let (tx, rx) = channel::bounded(2);
        ops::send_to_zc(&from, pattern(700), address).will_push(tx.clone()).await?;
        let send = ops::sendmsg_zc(&from, vec![pattern(251), pattern(9)]).to(address);
        assert_eq!(send.await.into_result()?.0, 260);
        let mut bytes = [0; 1000];
        assert_eq!(to.recv_from(&mut bytes)?, (700, from.local_addr()?));
        assert!(bytes[..700] == pattern(700));
        assert_eq!(to.recv(&mut bytes)?, 260);
        assert!(bytes[..260] == pattern(260));
        assert_eq!(rx.pop().await?.len(), 700);
        Ok(())
    })
}

/// Registered memory is sent from as it is, and comes back as it went; where a copy is needed after all, that is made of it.
#[test]
fn registered_buffers_are_sent() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = plain_tcp()?;
        let buf = BufferTable::new(1)?.register(pattern(8192))?;
        let (front, rest) = buf.split_at(2510);
        let (tx, rx) = channel::bounded(1);
        assert_eq!(ops::send_zc(&ours, front).will_push(tx).await?, 2510);
        check(&mut peer, 2510)?;
        let front = rx.pop().await?;
        assert!(front[..] == pattern(2510));
        let both = Arc::new(front);
        let ((n, usage), _both) = ops::send_zc(&ours, both.clone()).report_usage().await.into_result()?;
        assert_eq!((n, usage == Usage::Fallback), (2510, !has_zero_copy()));
        check(&mut peer, 2510)?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let to = udp.local_addr()?;
        ops::send_to_zc(UdpSocket::bind("127.0.0.1:0")?, both, to).await.into_result()?;
        let mut bytes = [0; 4000];
        assert_eq!(udp.recv(&mut bytes)?, 2510);
        assert!(bytes[..2510] == pattern(2510));
        let (unix, mut far) = UnixStream::pair()?;
        let ((n, usage), _) = ops::send_zc(unix, rest).report_usage().await.into_result()?;
        assert_eq!((n, usage), (8192 - 2510, Usage::Fallback));
        let mut bytes = vec![0; n];
        far.read_exact(&mut bytes)?;
        assert!(bytes == pattern(8192)[2510..]);
        Ok(())
    })
}

#[test]
fn a_destination_that_panics_does_not_end_the_loop() -> Outcome {
    let (_watchdog, runtime) = begin();
    runtime.block_on(async {
        let (ours, mut peer) = tcp()?;
        let panics = |_: Vec<u8>| -> std::future::Ready<()> { panic!("a destination of the user's") };
        ops::send_zc(&ours, pattern(LARGE)).will_spawn(panics).await?;
        settle().await?;
        if has_zero_copy() {
            check(&mut peer, LARGE)?;
            while runtime.stats().contained_panics == 0 {
                time::sleep(Duration::from_micros(100)).await;
            }
        }
        Ok(())
    })
}
