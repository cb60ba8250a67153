//! Requests that the kernel gives up by itself, for want of a worker thread: made again, and nobody learns of it.
//!
//! Knows: the public API, plans of faults. Does not know: how it is told from a cancel that was asked for.

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::opcode;
use millstream::combinators::{ResultsExt, RingOperationExt, link, when_all};
use millstream::ops::{self, BufPool, Fd, FdTable};
use millstream::runtime::testing::FaultPlan;
use millstream::{Runtime, spawn, time, yield_now};
use support::{TempDir, Watchdog};

/// How often one request is made again.
const MOST: u64 = 32;

const LIMIT: Duration = Duration::from_secs(60);

fn runtime(plan: &FaultPlan) -> Runtime {
    Runtime::builder().no_spin().faults(plan).build().expect("io_uring is there")
}

fn pair() -> (Fd, UnixStream) {
    let (a, b) = UnixStream::pair().expect("a pair of sockets");
    (Fd::from(a), b)
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Kernels before 6.1 do not tell what was done in part, and nothing is made again.
fn makes_again() -> bool {
    let it_does = support::kernel_has(opcode::SendMsgZc::CODE);
    if !it_does {
        support::skip("the kernel is older than 6.1");
    }
    it_does
}

#[test]
fn what_is_given_up_is_done_all_the_same() {
    let _watchdog = Watchdog::new(LIMIT);
    if !makes_again() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.join("file");
    for times in [1, 2, MOST] {
        let plan = [
            opcode::OpenAt::CODE,
            opcode::Write::CODE,
            opcode::Fsync::CODE,
            opcode::Statx::CODE,
            opcode::Close::CODE,
            opcode::Accept::CODE,
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::Nop::CODE,
        ]
        .into_iter()
        .fold(FaultPlan::new(), |plan, opcode| plan.give_up(opcode, 0, times));
        let rt = runtime(&plan);
        let before = plan.struck(); // the ring has tried itself
        rt.block_on(async {
            let file = ops::open(&path)
                .flags(libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC)
                .mode(0o600)
                .await
                .unwrap();
            let (n, text) = ops::write(&file, b"grist".to_vec()).at(0).await;
            assert_eq!((n.unwrap(), &text[..]), (5, &b"grist"[..]));
            ops::fsync(&file).await.unwrap();
            assert_eq!(ops::statx(&path).await.unwrap().len(), 5);
            ops::close(file).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Fd::from(listener);
            let accept = spawn(async move { ops::accept(&listener).await });
            yield_now().await;
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            let connection = accept.await.unwrap().unwrap();
            peer.write_all(b"flour").unwrap();
            let (n, buf) = ops::recv(&connection, vec![0; 16]).await;
            assert_eq!((n.unwrap(), &buf[..5]), (5, &b"flour"[..]));
            let (n, _) = ops::send(&connection, b"bran".to_vec()).await;
            assert_eq!(n.unwrap(), 4);
            let mut got = [0; 4];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"bran");
            ops::nop().await.unwrap();
        });
        let stats = rt.stats();
        assert_eq!(fs::read(&path).unwrap(), b"grist");
        assert_eq!((plan.struck() - before, stats.ops_repeated), (9 * times, 9 * times), "{stats:?}");
        assert_eq!((stats.nodes, stats.in_flight, stats.stale_completions), (0, 0, 0), "{stats:?}");
    }
}

#[test]
fn it_is_not_tried_for_ever_and_the_buffer_comes_back() {
    let _watchdog = Watchdog::new(LIMIT);
    if !makes_again() {
        return;
    }
    let plan = FaultPlan::new().give_up(opcode::Recv::CODE, 0, 1000);
    let rt = runtime(&plan);
    rt.block_on(async {
        let (fd, mut peer) = pair();
        peer.write_all(b"rye").unwrap();
        for round in 1..=2 {
            let (result, buf) = ops::recv(&fd, vec![7; 3]).await;
            assert_eq!((errno(result), buf.len(), buf.capacity() >= 3), (Some(libc::ECANCELED), 3, true));
            assert_eq!(plan.struck(), round * (MOST + 1), "each op has its own tries");
        }
    });
}

/// The others in flight are neither held up nor overtaken by it.
#[test]
fn many_at_once_and_one_small_queue() {
    let _watchdog = Watchdog::new(LIMIT);
    if !makes_again() {
        return;
    }
    let plan = FaultPlan::new().give_up(opcode::Recv::CODE, 0, 700);
    let rt = Runtime::builder().no_spin().sq_entries(4).faults(&plan).build().expect("io_uring is there");
    rt.block_on(async {
        let pairs: Vec<_> = (0..40).map(|_| pair()).collect();
        let reads: Vec<_> = pairs.iter().map(|(fd, _)| spawn(ops::recv(fd, [0; 8]))).collect();
        for (n, (_, peer)) in pairs.iter().enumerate() {
            time::sleep(Duration::from_micros(100)).await;
            (&*peer).write_all(&[n as u8; 3]).unwrap();
        }
        for (n, read) in reads.into_iter().enumerate() {
            let (result, buf) = read.await.unwrap();
            assert_eq!((result.unwrap(), &buf[..3]), (3, &[n as u8; 3][..]));
        }
    });
    assert_eq!(rt.stats().ops_repeated, 700);
}

#[test]
fn what_was_asked_to_stop_is_not_made_again() {
    let _watchdog = Watchdog::new(LIMIT);
    let plan = FaultPlan::new();
    let rt = runtime(&plan);
    rt.block_on(async {
        // By descriptor: nobody tells us whom it met.
        let (fd, mut peer) = pair();
        let reads: Vec<_> = (0..3).map(|_| spawn(ops::recv(&fd, vec![0; 4]))).collect();
        yield_now().await;
        ops::nop().await.unwrap();
        assert_eq!(ops::cancel(&fd).await.unwrap(), 3);
        for read in reads {
            assert_eq!(errno(read.await.unwrap().0), Some(libc::ECANCELED));
        }
        // In one submission: the cancel is not over when those it stops are.
        let both = when_all((ops::recv(&fd, vec![0; 4]), ops::cancel(&fd)));
        let ((read, _), cancelled) = both.await;
        assert_eq!((errno(read), cancelled.unwrap()), (Some(libc::ECANCELED), 1));
        // One by one.
        let read = spawn(ops::recv(&fd, vec![0; 4]));
        yield_now().await;
        ops::nop().await.unwrap();
        read.cancel();
        assert!(read.await.is_err());
        peer.write_all(b"oats").unwrap();
        let (result, buf) = ops::recv(&fd, vec![0; 4]).await;
        assert_eq!((result.unwrap(), &buf[..]), (4, &b"oats"[..]));
    });
    assert_eq!(rt.stats().ops_repeated, 0);
}

/// While such a cancel is out, what the kernel gives up might be its work; after it, an op is one like any other.
#[test]
fn a_cancel_by_descriptor_is_forgotten_when_it_has_ended() {
    let _watchdog = Watchdog::new(LIMIT);
    if !makes_again() {
        return;
    }
    let plan = FaultPlan::new().give_up(opcode::Recv::CODE, 0, 2);
    let rt = runtime(&plan);
    rt.block_on(async {
        let (fd, mut peer) = pair();
        let (other, _other_peer) = pair();
        let ((read, _), cancelled) = when_all((ops::recv(&fd, vec![0; 4]), ops::cancel(&other))).await;
        assert_eq!((errno(read), cancelled.unwrap()), (Some(libc::ECANCELED), 0));
        peer.write_all(b"oats").unwrap();
        assert_eq!(ops::recv(&fd, vec![0; 4]).await.0.unwrap(), 4);
    });
    assert_eq!((plan.struck(), rt.stats().ops_repeated), (2, 1));
}

#[test]
fn a_chain_that_lost_its_head_is_over() {
    let _watchdog = Watchdog::new(LIMIT);
    for member in 0..3 {
        let plan = FaultPlan::new().give_up(opcode::Send::CODE, member, 1);
        let rt = runtime(&plan);
        rt.block_on(async {
            let (fd, mut peer) = pair();
            let part = |text: &'static [u8]| ops::send(&fd, text);
            let ((one, _), (two, _), (three, _)) = link((part(b"a"), part(b"b"), part(b"c"))).await;
            let ended = [one, two, three].map(|sent| sent.ok());
            for (n, sent) in (0..).zip(ended) {
                assert_eq!(sent.is_some(), n < member, "{ended:?}");
            }
            drop(fd);
            let mut got = String::new();
            peer.read_to_string(&mut got).unwrap();
            assert_eq!(got, "abc"[..member as usize], "nothing of it was sent later");
        });
        assert_eq!((plan.struck(), rt.stats().ops_repeated), (1, 0));
    }
}

/// A drain waits for what was submitted before it, and a second attempt would come after it.
#[test]
fn nothing_gets_behind_a_drain() {
    let _watchdog = Watchdog::new(LIMIT);
    let plan = FaultPlan::new().give_up(opcode::Send::CODE, 0, 1).give_up(opcode::Fsync::CODE, 0, 1);
    let rt = runtime(&plan);
    let dir = TempDir::new();
    rt.block_on(async {
        let (fd, _peer) = pair();
        let file = ops::open(dir.join("file")).flags(libc::O_RDWR | libc::O_CREAT).mode(0o600).await.unwrap();
        let ((sent, _), synced) =
            when_all((ops::send(&fd, b"first".to_vec()), ops::fsync(&file).drain())).await;
        assert_eq!(errno(sent), Some(libc::ECANCELED));
        match makes_again() {
            true => synced.unwrap(), // nothing comes after it until it has ended
            false => assert_eq!(errno(synced), Some(libc::ECANCELED)),
        }
        ops::nop().await.unwrap();
    });
    assert_eq!(plan.struck(), 2);
}

#[test]
fn a_slot_that_nobody_holds_is_closed_all_the_same() {
    let _watchdog = Watchdog::new(LIMIT);
    if !makes_again() {
        return;
    }
    let plan = FaultPlan::new().give_up(opcode::Close::CODE, 0, 3);
    let rt = runtime(&plan);
    rt.block_on(async {
        let table = FdTable::new(1).unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let slot = table.install(OwnedFd::from(reader)).unwrap();
        writer.write_all(b"x").unwrap();
        drop(slot);
        while table.available() == 0 {
            ops::nop().await.unwrap();
        }
        while writer.write_all(b"y").is_ok() {
            time::sleep(Duration::from_millis(1)).await; // Linux 6.1 closes what is taken out of a slot a little later
        }
    });
    assert_eq!((plan.struck(), rt.stats().ops_repeated), (3, 3));
}

#[test]
fn pools_and_multishots_lose_nothing() {
    let _watchdog = Watchdog::new(LIMIT);
    if !makes_again() {
        return;
    }
    let plan = FaultPlan::new().give_up(opcode::Recv::CODE, 0, 5).give_up(opcode::Accept::CODE, 0, 5);
    let rt = runtime(&plan);
    rt.block_on(async {
        let (fd, mut peer) = pair();
        let pool = BufPool::new(2, 64).unwrap();
        peer.write_all(b"barley").unwrap();
        let got = ops::recv_pooled(&fd, &pool).await.unwrap();
        assert_eq!(&got[..], b"barley");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Fd::from(listener);
        let mut accepts = std::pin::pin!(ops::accept_multishot(&listener).stream());
        for _ in 0..4 {
            let peer = std::net::TcpStream::connect(address).unwrap();
            let next = futures::StreamExt::next(&mut accepts).await;
            drop((next.expect("it goes on").unwrap(), peer));
        }
    });
    assert_eq!((plan.struck(), rt.stats().ops_repeated), (10, 10));
}

/// An end is an end: what is given up then stays so, and nothing is waited for that never comes.
#[test]
fn a_runtime_that_ends_makes_nothing_again() {
    let _watchdog = Watchdog::new(LIMIT);
    let plan = FaultPlan::new().give_up(opcode::Close::CODE, 0, 1000);
    let rt = runtime(&plan);
    let (reader, mut writer) = io::pipe().unwrap();
    rt.block_on(async {
        let table = FdTable::new(1).unwrap();
        let slot = table.install(OwnedFd::from(reader)).unwrap();
        spawn(async move {
            let _slot = slot; // dropped with the task, when the runtime ends
            std::future::pending::<()>().await;
        })
        .detach();
        yield_now().await;
    });
    rt.shutdown().unwrap();
    assert_eq!(plan.struck(), 1);
    while writer.write_all(b"y").is_ok() {
        std::thread::sleep(Duration::from_millis(1)); // the kernel takes a ring down a little later than it is closed
    }
}
