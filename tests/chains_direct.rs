//! Direct descriptors: slots of a runtime's table, opened, used and closed by ops, in chains and alone; and whatever becomes of
//! their futures, no slot and no file is left behind.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.

#[path = "support/slots.rs"]
mod slots;
mod support;

use std::fs;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use millstream::combinators::{RingOperationExt, hard_link, when_all};
use millstream::ops::{self, FdTable, FixedFd, TableFull};
use millstream::runtime::testing::{FaultCall, FaultPlan};
use millstream::{Operation, Runtime, time, yield_now};
use slots::assert_available;
use support::{Descriptors, Rng, TempDir, Watchdog, rounds};

/// One test at a time, since some count the descriptors of the process, and none for longer than this.
fn watchdog() -> (MutexGuard<'static, ()>, Watchdog) {
    (support::alone(), Watchdog::new(Duration::from_secs(120)))
}

/// A runtime, or none with a word why when this kernel has no sparse tables.
fn runtime() -> Option<Runtime> {
    let runtime = Runtime::new().expect("a ring");
    match runtime.block_on(async { FdTable::new(1) }) {
        Ok(_) => Some(Runtime::new().expect("a ring")),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            support::skip(error.to_string());
            None
        }
    }
}

/// A pipe that is open nowhere but through a path: what is opened by that path is seen to close.
struct Witness {
    reader: OwnedFd,
    writer: io::PipeWriter,
}

impl Witness {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader: reader.into(), writer })
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.reader.as_raw_fd())
    }

    /// Whether anybody but this reads, once this has given up its own end.
    async fn assert_closed(self) {
        let Self { reader, mut writer } = self;
        drop(reader);
        loop {
            match writer.write_all(b"x") {
                Err(error) => return assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
                Ok(()) => time::sleep(Duration::from_micros(100)).await,
            }
        }
    }
}

#[test]
fn open_read_and_close_are_one_submission() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    let descriptors = Descriptors::now();
    runtime.block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        let slot = table.reserve().expect("four are free");
        time::sleep(Duration::from_millis(2)).await; // it sleeps once, so the read that wakes it is in the ring already
        for _ in 0..3 {
            let before = runtime.stats();
            let chain = ops::open_direct("Cargo.toml", &slot)
                >> ops::read(&slot, vec![0; 11]).at(0)
                >> ops::close_direct(&slot);
            let (opened, (n, buf), closed) = chain.await;
            assert_eq!(opened.expect("it is there").slot(), slot.slot());
            assert_eq!((n.expect("a file"), &buf[..]), (11, &b"[workspace]"[..]));
            closed.expect("open");
            let after = runtime.stats();
            assert_eq!(after.submitted - before.submitted, 3);
            let (n, _) = ops::read(&slot, [0; 4]).await;
            assert_eq!(n.expect_err("empty again").raw_os_error(), Some(libc::EBADF));
        }
        assert_eq!(table.available(), 3);
        let submitted = runtime.stats().submitted;
        drop(slot);
        assert_eq!(table.available(), 4, "what is empty need not be closed");
        assert_eq!(runtime.stats().submitted, submitted);
    });
    assert_eq!(runtime.stats().nodes, 0);
    descriptors.assert_same();
}

#[test]
fn a_chain_of_any_ops_on_a_slot() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    let root = TempDir::new();
    let path = root.join("new");
    runtime.block_on(async {
        let table = FdTable::new(2).expect("no table yet");
        let dir = ops::open(root.path()).flags(libc::O_DIRECTORY).await.expect("a directory");
        let slot = table.reserve().expect("free");
        let new =
            ops::open_at_direct(&dir, "new", &slot).flags(libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC);
        let (opened, (wrote, _), (read, buf), closed) = (new.mode(0o640)
            >> ops::write(&slot, "grist").at(3)
            >> ops::read(&slot, [b'-'; 8]).at(0)
            >> ops::close_direct(&slot))
        .await;
        opened.expect("new");
        assert_eq!((wrote.expect("room"), read.expect("a file"), &buf), (5, 8, b"\0\0\0grist"));
        closed.expect("open");
        assert_eq!(fs::read(&path).expect("there"), b"\0\0\0grist");
        let again = ops::open_at_direct(&dir, "new", &slot).flags(libc::O_RDWR);
        let (_, (wrote, _), synced, (read, bufs), closed) = (again
            >> ops::writev(&slot, vec!["fl", "ou", "r"]).at(3)
            >> ops::fsync(&slot)
            >> ops::readv(&slot, vec![[0; 3], [0; 3]]).at(2)
            >> ops::close_direct(&slot))
        .await;
        assert_eq!((wrote.expect("room"), read.expect("a file"), bufs), (5, 6, vec![*b"\0fl", *b"our"]));
        synced.expect("a file");
        closed.expect("open");

        // One that fails breaks the chain; the slot stays empty, and says so.
        let (opened, (read, _), closed) = (ops::open_direct("/no/such/file", &slot)
            >> ops::read(&slot, [0; 8])
            >> ops::close_direct(&slot))
        .await;
        assert_eq!(opened.expect_err("missing").raw_os_error(), Some(libc::ENOENT));
        assert_eq!(read.expect_err("broken").raw_os_error(), Some(libc::ECANCELED));
        assert_eq!(closed.expect_err("broken").raw_os_error(), Some(libc::ECANCELED));
        // A short read breaks it too, and the file is still there to be closed; hard links go on.
        let (_, (read, _), closed) =
            (ops::open_direct(&path, &slot) >> ops::read(&slot, [0; 9]).at(0) >> ops::close_direct(&slot))
                .await;
        assert_eq!(read.expect("short"), 8);
        assert_eq!(closed.expect_err("broken").raw_os_error(), Some(libc::ECANCELED));
        ops::close_direct(&slot).await.expect("still open");
        let open = ops::open_direct(&path, &slot);
        let (_, (read, _), closed) =
            hard_link((open, ops::read(&slot, [0; 9]).at(0), ops::close_direct(&slot))).await;
        assert_eq!(read.expect("short"), 8);
        closed.expect("whatever the read did");
        // A path with a zero byte is answered without the kernel, and breaks it as well.
        let (opened, (read, _)) = (ops::open_direct("a\0b", &slot) >> ops::read(&slot, [0; 8])).await;
        assert_eq!(opened.expect_err("no path").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read.expect_err("broken").raw_os_error(), Some(libc::ECANCELED));
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn many_chains_at_once_each_with_a_slot() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    runtime.block_on(async {
        let table = FdTable::new(64).expect("no table yet");
        let chains: Vec<_> = (0..64)
            .map(|_| {
                let slot = table.reserve().expect("one for each");
                ops::open_direct("Cargo.toml", &slot)
                    >> ops::read(&slot, vec![0; 11]).at(0)
                    >> ops::close_direct(slot)
            })
            .collect();
        assert_eq!(table.reserve().expect_err("all are held"), TableFull { slots: 64 });
        for (opened, (n, buf), closed) in when_all(chains).await {
            assert!(opened.is_ok() && closed.is_ok());
            assert_eq!((n.expect("a file"), &buf[..]), (11, &b"[workspace]"[..]));
        }
        assert_available(&table, 64).await;
    });
}

#[test]
fn the_last_hold_closes_through_the_ring_and_then_the_slot_is_free() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    runtime.block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let witness = Witness::new().expect("a pipe");
        let file = ops::open_direct(witness.path(), table.reserve().expect("free")).await.expect("there");
        let held = file.clone();
        drop(file);
        yield_now().await;
        assert_eq!(table.available(), 0);
        let submitted = runtime.stats().submitted;
        drop(held);
        assert_eq!(runtime.stats().submitted, submitted + 1);
        assert_eq!(table.available(), 0, "the file is still in it");
        assert!(table.reserve().is_err());
        assert_available(&table, 1).await;
        witness.assert_closed().await;
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn a_hold_may_go_anywhere() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    let table = runtime.block_on(async { FdTable::new(8) }).expect("no table yet");
    let open = |witness: &Witness| {
        let path = witness.path();
        runtime.block_on(async {
            let file = ops::open_direct(path, table.reserve().expect("free")).await.expect("there");
            let _bound = file.clone(); // now it is counted on this runtime
            file
        })
    };
    let witnesses: Vec<_> = (0..4).map(|_| Witness::new().expect("a pipe")).collect();
    let files: Vec<FixedFd> = witnesses.iter().map(open).collect();
    let mut files = files.into_iter();
    drop(files.next()); // the runtime is here, but does not run
    let (one, two) = (files.next(), files.next());
    thread::spawn(move || drop(one)).join().expect("no panic");
    let other = Runtime::new().expect("a ring");
    other.block_on(async {
        let two = two.expect("there are four");
        for outcome in [ops::read(&two, [0; 4]).await.0.map(drop), ops::close_direct(&two).await] {
            let error = outcome.expect_err("it is not in this runtime's table");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("the runtime whose table"), "{error}");
        }
        let error = ops::open_direct("Cargo.toml", &two).await.expect_err("as above");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
    runtime.block_on(assert_available(&table, 7));
    let last = files.next();
    drop(runtime);
    drop(last); // the table has gone, and the file with it
    other.block_on(async {
        for witness in witnesses {
            witness.assert_closed().await;
        }
    });
    assert_eq!(table.available(), 8);
}

#[test]
fn what_cannot_be_a_table_says_so() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    runtime.block_on(async {
        let error = FdTable::new(0).expect_err("no slots");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let table = FdTable::new(2).expect("no table yet");
        let error = FdTable::new(2).expect_err("one is there");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
        let _held = [table.reserve().expect("free"), table.clone().reserve().expect("free")];
        let error = io::Error::from(table.reserve().expect_err("full"));
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(error.to_string(), "all 2 slots of the runtime's table of direct descriptors are held");
    });
    let plan = FaultPlan::new().without_register(13);
    let old = Runtime::builder().faults(&plan).build().expect("a ring");
    let error = old.block_on(async { FdTable::new(2) }).expect_err("this kernel pretends to be old");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("5.19"), "{error}");
    let long = Runtime::new().expect("a ring");
    let error = long.block_on(async { FdTable::new(u32::MAX) }).expect_err("longer than any limit");
    assert!(matches!(error.raw_os_error(), Some(libc::EMFILE)), "{error}");
}

#[test]
fn without_room_for_an_entry_a_slot_is_emptied_all_the_same() {
    let _watchdog = watchdog();
    if runtime().is_none() {
        return;
    }
    let plan = FaultPlan::new();
    let runtime = Runtime::builder().sq_entries(2).cq_entries(8).faults(&plan).build().expect("a ring");
    runtime.block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        let witness = Witness::new().expect("a pipe");
        let file = ops::open_direct(witness.path(), table.reserve().expect("free")).await.expect("there");
        let mut nops = [ops::nop(), ops::nop()];
        for nop in &mut nops {
            let started = poll_fn(|cx| Poll::Ready(Pin::new(&mut *nop).poll(cx).is_pending())).await;
            assert!(started);
        }
        let calls = plan.calls(FaultCall::Register);
        drop(file);
        assert_eq!((plan.calls(FaultCall::Register), table.available()), (calls + 1, 1));
        witness.assert_closed().await;
        // While a drain is pending, too.
        let witness = Witness::new().expect("a pipe");
        let file = ops::open_direct(witness.path(), table.reserve().expect("free")).await.expect("there");
        let mut drain = ops::nop().drain();
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut drain).poll(cx).is_pending())).await);
        drop(file);
        assert_eq!(table.available(), 1);
        witness.assert_closed().await;
        drain.await.expect("nothing before it");
    });
}

#[test]
fn another_file_in_the_slot_has_no_bytes_of_the_former() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    runtime.block_on(async {
        let table = FdTable::new(1).expect("no table yet");
        for reopened in [false, true] {
            let mut witness = Witness::new().expect("a pipe");
            let slot = ops::open_direct(witness.path(), table.reserve().expect("free")).await.expect("there");
            let mut read = ops::read(&slot, [0; 8]);
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut read).poll(cx).is_pending())).await);
            time::sleep(Duration::from_millis(1)).await; // it is in flight
            witness.writer.write_all(b"late").expect("room");
            // Completed, not claimed; then dropped: its bytes wait for the next.
            while runtime.stats().in_flight > 0 {
                yield_now().await;
                time::sleep(Duration::from_micros(100)).await;
            }
            if reopened {
                ops::open_direct("/dev/zero", &slot).await.expect("there");
            }
            drop(read);
            let (n, buf) = ops::read(&slot, [1; 8]).await;
            let n = n.expect("open");
            assert_eq!(&buf[..n], if reopened { &[0; 8][..] } else { b"late" });
            drop(slot);
            assert_available(&table, 1).await;
        }
    });
}

/// Starts an op, or not, and ends it in a random way.
async fn end<O: Operation + Unpin>(mut op: O, rng: &mut Rng) {
    if !rng.one_in(8) {
        let done = poll_fn(|cx| Poll::Ready(Pin::new(&mut op).poll(cx).is_ready())).await;
        match rng.below(4) {
            _ if done => return,
            0 => {}
            1 => yield_now().await,
            2 => time::sleep(Duration::from_micros(rng.below(200))).await,
            _ => {
                Pin::new(&mut op).request_cancel();
                poll_fn(|cx| Pin::new(&mut op).poll_discard(cx)).await;
                return;
            }
        }
    }
    drop(op);
}

#[test]
fn slots_and_files_are_all_back_however_ops_end() {
    let _watchdog = watchdog();
    let Some(_) = runtime() else { return };
    let mut rng = Rng::from_env();
    let before = Descriptors::now();
    for _ in 0..rounds(100_000).div_ceil(2_000) {
        let runtime = Runtime::builder().sq_entries(16).cq_entries(256).build().expect("a ring");
        let seed = rng.next_u64();
        runtime.block_on(async {
            let table = FdTable::new(8).expect("no table yet");
            let witness = Witness::new().expect("a pipe");
            let tasks: Vec<_> = (0..16)
                .map(|task| {
                    let (table, path) = (table.clone(), witness.path());
                    millstream::spawn(async move {
                        let mut rng = Rng::new(seed ^ task << 48);
                        for _ in 0..125 {
                            let Ok(slot) = table.reserve() else {
                                yield_now().await;
                                continue;
                            };
                            let path = if rng.one_in(3) { path.as_str() } else { "Cargo.toml" };
                            let flags = libc::O_RDONLY | libc::O_NONBLOCK;
                            match rng.below(4) {
                                0 => end(ops::open_direct(path, slot).flags(flags), &mut rng).await,
                                1 => {
                                    let chain = ops::open_direct(path, &slot).flags(flags)
                                        >> ops::read(&slot, vec![0; 16])
                                        >> ops::close_direct(&slot);
                                    end(chain, &mut rng).await;
                                }
                                2 => {
                                    let _ = ops::open_direct(path, &slot).flags(flags).await;
                                    end(ops::read(&slot, vec![0; 16]), &mut rng).await;
                                    end(ops::close_direct(&slot), &mut rng).await;
                                }
                                _ => {
                                    end(ops::open_direct(path, &slot).flags(flags), &mut rng).await;
                                    let _ = ops::open_direct(path, &slot).flags(flags).await;
                                    end(ops::close_direct(slot), &mut rng).await;
                                }
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no task panics");
            }
            assert_available(&table, 8).await;
            witness.assert_closed().await;
        });
        while runtime.stats().nodes > 0 {
            runtime.block_on(time::sleep(Duration::from_micros(200)));
        }
        runtime.shutdown().expect("nothing is leaked");
        before.assert_same();
    }
}

#[test]
fn a_runtime_ends_with_files_in_its_table() {
    let _watchdog = watchdog();
    let Some(runtime) = runtime() else { return };
    let mut witness = Witness::new().expect("a pipe");
    let kept = runtime.block_on(async {
        let table = FdTable::new(4).expect("no table yet");
        let path = witness.path();
        millstream::spawn({
            let table = table.clone();
            let path = path.clone();
            async move {
                let file = ops::open_direct(path, table.reserve().expect("free")).await.expect("there");
                let _ = ops::read(&file, [0; 8]).await; // as long as the runtime lives
            }
        })
        .detach();
        let file = ops::open_direct(path, table.reserve().expect("free")).await.expect("there");
        std::mem::forget(ops::read(&file, [0; 8]));
        time::sleep(Duration::from_millis(2)).await;
        file
    });
    runtime.shutdown().expect("nothing is leaked");
    drop(kept);
    witness.writer.write_all(b"x").expect("our own end");
    let mut end = String::new();
    let Witness { reader, writer } = witness;
    drop(writer);
    fs::File::from(reader).read_to_string(&mut end).expect("a pipe");
    assert_eq!(end, "x", "nobody else has read it");
}
