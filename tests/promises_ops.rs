//! What the documentation of ops and of chains promises at the edges.
//!
//! Knows: the public API. Does not know: nodes.

mod support;

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use millstream::combinators::{OneOf2, OperationExt, RingOperationExt, hard_link, link};
use millstream::ops::{self, Fd, IntoResult};
use millstream::{Operation, Runtime, race, time};
use support::{TempDir, Watchdog};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const MS: Duration = Duration::from_millis(1);

fn begin() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn an_offset_means_nothing_on_a_pipe_and_is_refused_by_a_socket() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (Fd::from(reader), Fd::from(writer));
        assert_eq!(ops::write(&writer, "rye").await.0?, 3);
        assert_eq!(ops::read(&reader, [0; 2]).at(5).await.0?, 2);
        assert_eq!(ops::readv(&reader, vec![[0; 2]]).at(5).await.0?, 1);

        let (near, far) = UnixStream::pair()?;
        let (near, far) = (Fd::from(near), Fd::from(far));
        assert_eq!(ops::write(&near, "rye").await.0?, 3);
        assert_eq!(errno(ops::read(&far, [0; 8]).at(5).await.0), Some(libc::ESPIPE));
        assert_eq!(errno(ops::readv(&far, vec![[0; 8]]).at(5).await.0), Some(libc::ESPIPE));
        assert_eq!(ops::read(&far, [0; 8]).await.0?, 3);
        Ok(())
    })
}

#[test]
fn a_receive_without_room_waits_and_takes_nothing() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let (near, far) = UnixStream::pair()?;
        let (near, far) = (Fd::from(near), Fd::from(far));
        let mut nothing = ops::recv(&far, Vec::new());
        assert!(!poll_once(&mut nothing).await);
        ops::nop().await?;
        assert!(!poll_once(&mut nothing).await);
        assert_eq!(ops::send(&near, "rye").await.0?, 3);
        assert_eq!(nothing.await.0?, 0);
        assert_eq!(ops::recv(&far, [0; 8]).await.0?, 3);
        Ok(())
    })
}

#[test]
fn a_file_is_always_ready() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let file = ops::open(std::env::current_exe()?).await?;
        assert_eq!(ops::poll_add(file, libc::POLLIN).await?, libc::POLLIN as u32);
        Ok(())
    })
}

#[test]
fn where_nothing_is_in_flight_nothing_is_cancelled() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let (reader, _writer) = io::pipe()?;
        assert_eq!(ops::cancel(Fd::from(reader)).await?, 0);
        Ok(())
    })
}

#[test]
fn the_longest_timeouts_wait() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        for long in [Duration::MAX, Duration::from_secs(i64::MAX as u64), Duration::from_secs(1 << 63)] {
            let outcome = race!(ops::timeout(long) || time::sleep(MS)).await;
            assert!(matches!(outcome, OneOf2::B(())), "{long:?}: {outcome:?}");
            assert!(ops::nop().timeout(long).await.is_ok());
        }
        Ok(())
    })
}

#[test]
fn a_close_is_refused_beside_other_ops_on_its_descriptor() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let dir = TempDir::new();
        let path = dir.path().join("file");
        let file = ops::open(&path).flags(libc::O_CREAT | libc::O_WRONLY).mode(0o600).await?;
        let (wrote, closed) = hard_link((ops::write(&file, "rye"), ops::close(file))).await;
        assert_eq!(wrote.0?, 3);
        assert_eq!(closed.unwrap_err().kind(), ErrorKind::ResourceBusy);
        // An op that was made and not started holds as well.
        let (reader, _writer) = io::pipe()?;
        let reader = Fd::from(reader);
        let made = ops::read(&reader, [0; 1]);
        assert_eq!(ops::close(reader).await.unwrap_err().kind(), ErrorKind::ResourceBusy);
        drop(made);
        Ok(())
    })
}

#[test]
fn a_broken_chain_in_a_hard_link_takes_the_rest_along() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let missing = || ops::open("/no/such/file");
        let ((_, inner), outer) = hard_link((link((missing(), ops::nop())), ops::nop())).await;
        assert_eq!((errno(inner), errno(outer)), (Some(libc::ECANCELED), Some(libc::ECANCELED)));
        let ((_, inner), outer) = link((hard_link((missing(), ops::nop())), ops::nop())).await;
        inner?;
        Ok(outer?)
    })
}

#[test]
fn a_drain_that_is_asked_to_stop_ends_with_what_it_waits_for() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let (near, far) = UnixStream::pair()?;
        let mut receiving = ops::recv(Fd::from(near), [0; 4]);
        assert!(!poll_once(&mut receiving).await);
        ops::nop().await?;
        let mut drain = ops::nop().drain();
        assert!(!poll_once(&mut drain).await);

        Pin::new(&mut drain).request_cancel();
        drop(far);
        assert_eq!(receiving.await.0?, 0);
        let _ = drain.await; // done or cancelled, but ended
        Ok(())
    })
}

#[test]
fn deadlines_around_deadlines_and_chains_give_every_buffer_back() -> Outcome {
    let _watchdog = begin();
    Runtime::new()?.block_on(async {
        let (near, _far) = UnixStream::pair()?;
        let near = Fd::from(near);
        let recv = |n: u8| ops::recv(&near, vec![n; n.into()]);
        let minute = Duration::from_secs(60);
        let late = recv(7).timeout(minute).timeout(MS).await.unwrap_err();
        assert_eq!(late.into_outcome().expect("a minute is not over").1, [7; 7]);
        let late = recv(7).timeout(MS).timeout(minute).await?.unwrap_err();
        assert_eq!(late.into_outcome().1, [7; 7]);
        let late = ((recv(1) & recv(2)) & (ops::nop() >> recv(3))).timeout(MS).await.unwrap_err();
        let ((_, one), (_, two), (nop, (_, three))) = late.into_outcome();
        // On a slow machine the deadline may come before the nop.
        assert!(nop.is_ok() || errno(nop) == Some(libc::ECANCELED));
        assert_eq!((&one[..], &two[..], &three[..]), (&[1][..], &[2; 2][..], &[3; 3][..]));
        let late = (recv(4) >> ops::send(&near, "never")).timeout(MS).await.unwrap_err();
        let ((_, four), sent) = late.into_outcome();
        assert_eq!((four, sent.1), (vec![4; 4], "never"));
        assert_eq!(errno(sent.into_result()), Some(libc::ECANCELED));
        Ok(())
    })
}
