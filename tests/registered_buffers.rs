//! Registered memory: its table, its parts, its pool, and that no byte of it is ever two ops' at once.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.

#![allow(
    unsafe_code,
    reason = "a buffer that lies about its slot, and a process that gives up its privileges"
)]

mod support;

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use millstream::combinators::when_any;
use millstream::ops::{
    self, Buf, BufExt, BufMut, BufferTable, Fd, Feature, FixedBuf, FixedPool, IntoResult, Memory,
    RegisterErrorKind, Relay, Usage, Visible,
};
use millstream::{Operation, Runtime, time, yield_now};
use support::{Rng, TempDir, Watchdog, role, rounds, run_again, skip};

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(120))
}

/// A pipe: what is written to the second is read from the first.
fn pipe() -> (Fd, io::PipeWriter) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (reader.into(), writer)
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Gives a message to another runtime, or a slot given back elsewhere, the time to arrive.
async fn until(what: impl Fn() -> bool) {
    while !what() {
        time::sleep(Duration::from_micros(100)).await;
    }
}

#[test]
fn a_read_and_a_write_by_slot() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let table = BufferTable::new(2).expect("no table yet");
        assert_eq!((table.capacity(), table.available()), (2, 2));
        let buf = table.register(b"grist".to_vec()).expect("five bytes");
        let (reader, writer) = io::pipe().expect("a pipe");
        let (n, mut buf) = ops::write(writer, buf).await;
        assert_eq!((n.expect("room"), &buf[..], buf.slot()), (5, &b"grist"[..], Some(0)));
        buf.clear();
        let reader = Fd::from(reader);
        // A part of a buffer, too.
        buf.extend_from_slice(b"-");
        let (n, part) = ops::read(&reader, buf.slice(1..)).await;
        assert_eq!((n.expect("there"), &part[..]), (4, &b"gris"[..]));
        let buf = part.into_inner();
        assert_eq!(&buf[..], b"-gris");
        let memory = table.unregister(buf).expect("all of it");
        assert_eq!(&memory[..], b"-gris");
        assert_eq!(table.available(), 2);
    });
    assert_eq!(runtime.stats().nodes, 0);
}

/// Memory that claims to be in a slot, which the kernel then refuses: so an op does ask by slot.
struct Claims(Box<[u8]>, u16);

// SAFETY: it owns its bytes, all initialised. That it is not in the slot is what the test is about: the kernel compares the
// addresses before it touches anything.
unsafe impl Buf for Claims {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn init_len(&self) -> usize {
        self.0.len()
    }

    fn registered(&self) -> Option<u16> {
        Some(self.1)
    }
}

// SAFETY: as above.
unsafe impl Visible for Claims {}

// SAFETY: as above.
unsafe impl BufMut for Claims {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn set_filled(&mut self, _len: usize) {}
}

#[test]
fn ops_ask_for_registered_memory_by_its_slot() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = BufferTable::new(2).expect("no table yet");
        let held = table.register(vec![0; 64]).expect("free");
        let slot = held.slot().expect("registered here");
        let claims = || Claims(vec![1; 64].into(), slot);
        let file = ops::open("Cargo.toml").await.expect("it is there");
        let zero = ops::open("/dev/null").flags(libc::O_WRONLY).await.expect("it is there");
        let refused = |result: io::Result<usize>| {
            assert_eq!(result.expect_err("not in that slot").raw_os_error(), Some(libc::EFAULT));
        };
        refused(ops::read(&file, claims()).at(0).await.0);
        refused(ops::read(&file, claims().slice(1..)).at(0).await.0);
        refused(ops::write(&zero, claims()).await.0);
        if support::kernel_has(io_uring::opcode::ReadvFixed::CODE) {
            refused(ops::readv(&file, vec![claims(), claims()]).at(0).await.0);
            refused(ops::writev(&zero, vec![claims(), claims()]).await.0);
            // A part of length 0 is no part of a slot, and then none is.
            let empty = Claims(Box::default(), slot);
            assert_eq!(ops::writev(&zero, vec![claims(), empty]).await.0.expect("by address"), 64);
        } else {
            skip("this kernel has no ReadvFixed: vectored ops name the memory as any other");
        }
    });
}

/// A relay is made of whatever memory it is made of, and so is each take.
#[test]
fn a_chain_asks_for_the_memory_of_its_relay_by_slot() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let dir = TempDir::new();
    std::fs::write(dir.join("from"), b"sixteen bytes...").expect("new");
    runtime.block_on(async {
        let from = ops::open(dir.join("from")).await.expect("there");
        let to = ops::open(dir.join("to")).flags(libc::O_RDWR | libc::O_CREAT).mode(0o600);
        let to = to.await.expect("new");
        let table = BufferTable::new(2).expect("no table yet");
        let buf = table.register(vec![0; 16]).expect("free");
        let slot = buf.slot();
        let relay = Relay::new(buf);
        let taken = relay.take();
        assert_eq!((relay.registered(), taken.clone().registered()), (slot, slot));
        let chain =
            ops::read(&from, relay.slice(..8)).at(8) >> ops::write(&to, taken.clone().slice(..8)).at(0);
        let ((read, relay), (written, _)) = chain.await;
        assert_eq!((read.expect("eight"), written.expect("eight")), (8, 8));
        let relay = relay.into_inner();
        // Elsewhere it is memory, and not what is in the slot there.
        thread::scope(|scope| {
            let (relay, taken) = (&relay, taken.clone());
            let elsewhere = move || {
                Runtime::new().expect("a ring").block_on(async {
                    assert_eq!((relay.registered(), taken.registered()), (None, None));
                    let to = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("there");
                    assert_eq!(ops::write(to, taken).await.0.expect("by address"), 16);
                });
            };
            scope.spawn(elsewhere).join().expect("no panic");
        });
        assert_eq!(table.available(), 1, "a take holds it");
        drop(relay);
        assert_eq!(table.available(), 1, "a take holds it");
        drop(taken);
        assert_eq!(table.available(), 2);
        // By slot it is asked for, or the kernel would not object to what is not in it.
        let held = table.register(vec![0; 16]).expect("free");
        let relay = Relay::new(Claims(vec![1; 16].into(), held.slot().expect("registered here")));
        let taken = relay.take();
        let refused = |result: io::Result<usize>| {
            assert_eq!(result.expect_err("not in that slot").raw_os_error(), Some(libc::EFAULT));
        };
        refused(ops::write(&to, taken).await.0);
        refused(ops::read(&from, relay).at(0).await.0);
    });
    assert_eq!(std::fs::read(dir.join("to")).expect("there"), b"bytes...");
    // Made where nobody has it registered, it is not.
    let lonely = runtime.block_on(async { BufferTable::new(1).map(|_| ()) });
    assert_eq!(lonely.expect_err("there is one").kind(), io::ErrorKind::ResourceBusy);
    assert!(Relay::new(vec![0; 8]).registered().is_none());
}

/// Parts of one slot are sent by it, as one message; the kernel holds all of them until it has let go.
#[test]
fn messages_of_parts_are_sent_by_slot() {
    let _watchdog = watchdog();
    for hidden in [0, Feature::VectoredFixed.bit()] {
        Runtime::builder().without_features(hidden).build().expect("a ring").block_on(async {
            let table = BufferTable::new(3).expect("no table yet");
            let (ours, mut peer) = tcp();
            let whole = table.register((0..=255).collect::<Vec<u8>>()).expect("free");
            let slot = whole.slot().expect("registered here");
            let (front, back) = whole.split_at(100);
            let ((sent, usage), parts) =
                ops::sendmsg_zc(&ours, vec![back, front]).report_usage().await.into_result().expect("room");
            assert_eq!((sent, parts.len()), (256, 2));
            let mut bytes = [0; 256];
            peer.read_exact(&mut bytes).expect("sent");
            let expected: Vec<u8> = (100..=255).chain(0..100).collect();
            assert_eq!(bytes[..], expected[..]);
            let by_slot = hidden == 0 && support::kernel_has(io_uring::opcode::WritevFixed::CODE);
            let sent = ops::sendmsg_zc(
                &ours,
                vec![Claims(vec![1; 64].into(), slot), Claims(vec![2; 64].into(), slot)],
            );
            let (sent, _) = sent.await;
            if by_slot {
                assert_eq!(
                    sent.expect_err("not in that slot").raw_os_error(),
                    Some(libc::EFAULT),
                    "{usage:?}"
                );
            } else {
                if hidden == 0 {
                    skip("this kernel sends no vectors of registered memory: it is told the addresses");
                }
                assert_eq!(sent.expect("by address"), 128);
            }
            // With a part that has nothing in it, which is no part of a slot for the kernel.
            let mut parts = parts;
            let full = parts[1].to_vec();
            parts[1].clear();
            let (n, mut parts) = ops::sendmsg_zc(&ours, parts).await.into_result().expect("room");
            assert_eq!(n, 156);
            parts[1].extend_from_slice(&full);
            // Of two slots, and of none: by address.
            let other = table.register(vec![7; 8]).expect("free");
            let mixed = parts.into_iter().chain([other]).collect();
            assert_eq!(ops::sendmsg_zc(&ours, mixed).await.into_result().expect("room").0, 264);
            // Where no send is without a copy, one with a copy is made of the same memory.
            let (unix, mut far) = UnixStream::pair().expect("a pair");
            let whole = table.register(b"onetwo".to_vec()).expect("free");
            let (one, two) = whole.split_at(3);
            let ((sent, usage), _) =
                ops::sendmsg_zc(unix, vec![two, one]).report_usage().await.into_result().expect("room");
            assert_eq!((sent, usage), (6, Usage::Fallback));
            let mut bytes = [0; 6];
            far.read_exact(&mut bytes).expect("sent");
            assert_eq!(&bytes, b"twoone");
        });
    }
}

fn tcp() -> (Fd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (ours.into(), listener.accept().expect("a client").0)
}

#[test]
fn vectors_of_parts_and_of_other_memory() {
    let _watchdog = watchdog();
    for hidden in [0, Feature::VectoredFixed.bit()] {
        Runtime::builder().without_features(hidden).build().expect("a ring").block_on(vectors());
    }
}

async fn vectors() {
    let table = BufferTable::new(4).expect("no table yet");
    let dir = TempDir::new();
    let path = dir.join("file");
    let file = ops::open(&path).flags(libc::O_RDWR | libc::O_CREAT).mode(0o600).await.expect("new");
    let whole = table.register(b"abcdefghijkl".to_vec()).expect("free");
    let (head, rest) = whole.split_at(4);
    let (middle, tail) = rest.split_at(4);
    // Parts of one slot, in any order.
    let (n, parts) = ops::writev(&file, vec![tail, head, middle]).at(0).await;
    assert_eq!(n.expect("room"), 12);
    assert_eq!(std::fs::read(&path).expect("there"), b"ijklabcdefgh");
    // Of two slots, and one of length 0, which the kernel does not take by slot.
    let other = table.register(b"XY".to_vec()).expect("free");
    let mut parts: Vec<_> = parts.into_iter().chain([other]).collect();
    parts[1].clear();
    let (n, parts) = ops::writev(&file, parts).at(0).await;
    assert_eq!(n.expect("room"), 10);
    assert_eq!(std::fs::read(&path).expect("there"), b"ijklefghXYgh");
    let (n, parts) = ops::readv(&file, parts).at(0).await;
    assert_eq!(n.expect("there"), 12);
    let read: Vec<_> = parts.iter().map(|part| &part[..]).collect();
    assert_eq!(read, [&b"ijkl"[..], b"efgh", b"XYgh", b""], "each is filled up to its capacity");
}

#[test]
fn what_cannot_be_registered_comes_back() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    let table = runtime.block_on(async {
        for slots in [0, 16_385] {
            assert_eq!(
                BufferTable::new(slots).expect_err("no such table").kind(),
                io::ErrorKind::InvalidInput
            );
        }
        let table = BufferTable::new(1).expect("no table yet");
        assert_eq!(BufferTable::new(1).expect_err("one at most").kind(), io::ErrorKind::ResourceBusy);
        let error = table.register(Vec::new()).expect_err("nothing in it");
        assert_eq!(error.kind(), RegisterErrorKind::Empty);
        let held = table.register(vec![1; 8]).expect("free");
        let error = table.register(vec![2; 8]).expect_err("full");
        assert_eq!(error.kind(), RegisterErrorKind::Full { slots: 1 });
        assert_eq!(
            io::Error::from(table.register(vec![2]).expect_err("full")).kind(),
            io::ErrorKind::QuotaExceeded
        );
        assert_eq!(error.into_memory().into_vec(), vec![2; 8]);
        let (one, two) = held.split_at(3);
        let one = table.unregister(one).expect_err("a part");
        let (error, one) = table.replace(one, vec![3; 4]).expect_err("a part");
        assert_eq!(error.kind(), RegisterErrorKind::Shared);
        let held = one.join(two).expect("beside each other");
        let (one, two) = held.split_at(3);
        drop(two);
        let held = table.register(table.unregister(one).expect("the last part")).expect("free");
        assert_eq!((&held[..], held.capacity()), (&[1; 3][..], 8));
        let (one, mut held) = held.split_at(4);
        drop(one);
        held.resize(4, 1);
        let (held, old) = table.replace(held, vec![3; 4]).expect("all of it");
        assert_eq!((old.into_vec(), &held[..], held.slot()), (vec![1; 8], &[3; 4][..], Some(0)));
        let (error, held) = table.replace(held, Vec::new()).expect_err("nothing in it");
        assert_eq!((error.kind(), held.len()), (RegisterErrorKind::Empty, 4));
        assert_eq!(table.available(), 0);
        drop(held);
        assert_eq!(table.available(), 1);
        table
    });
    // Not on the runtime.
    let error = table.register(vec![4; 4]).expect_err("outside");
    assert_eq!(error.kind(), RegisterErrorKind::Elsewhere);
    Runtime::new().expect("a ring").block_on(async {
        assert_eq!(table.register(vec![4; 4]).expect_err("another's").kind(), RegisterErrorKind::Elsewhere);
    });
}

/// Row F8 of the table of faults: the kernel says `ENOMEM`, and the error says of what.
#[test]
fn too_much_locked_memory_is_an_error_with_figures() {
    const TEST: &str = "too_much_locked_memory_is_an_error_with_figures";
    if role().is_none() {
        let output = run_again(TEST, "poor");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let counted = String::from_utf8_lossy(&output.stdout);
        assert!(counted.contains("1 passed"), "the child ran nothing: {counted}");
        if said.contains("not charged") {
            skip("this user is not charged for registered memory");
        }
        return;
    }
    let runtime = Runtime::new().expect("a ring");
    let limit = libc::rlimit { rlim_cur: 8 << 20, rlim_max: 8 << 20 };
    // SAFETY: plain calls. Root is exempt from the limit, so it becomes a user that nobody else is.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
        libc::setuid(54_321);
    }
    let runtime = match Runtime::new() {
        Ok(poor) => {
            drop(runtime);
            poor
        }
        Err(_) => runtime,
    };
    runtime.block_on(async {
        let table = BufferTable::new(16).expect("no table yet");
        let mut held = Vec::new();
        while held.len() < 12 {
            match table.register(Memory::aligned(1 << 20, 4096)) {
                Ok(buf) => held.push(buf),
                Err(error) => {
                    let expected = RegisterErrorKind::LockedMemory { needed: 1 << 20, limit: 8 << 20 };
                    assert_eq!(error.kind(), expected, "{error}");
                    let text = error.to_string();
                    assert!(text.contains("1048576") && text.contains("8388608"), "{text}");
                    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::OutOfMemory);
                    // The slot is free all the same, and what is given up makes room.
                    assert_eq!(table.available(), 16 - held.len());
                    assert!(held.len() >= 4, "{} fit", held.len());
                    drop(held.pop());
                    drop(held.pop());
                    // At once, or when the kernel has come to it: 6.1 puts that off for a second.
                    let mut again = table.register(Memory::aligned(1 << 20, 4096));
                    for _ in 0..1000 {
                        let Err(error) = again else { return };
                        time::sleep(Duration::from_millis(10)).await;
                        again = table.register(error.into_memory());
                    }
                    panic!("there was no room again: {again:?}");
                }
            }
        }
        eprintln!("not charged");
    });
}

/// Every way to cut and join; whatever is done, each byte is in exactly one part, and keeps what was written through that.
#[test]
fn parts_never_overlap() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let mut rng = Rng::from_env();
        let table = BufferTable::new(1).expect("no table yet");
        for _ in 0..rounds(500) {
            let size = 1 + rng.below(256) as usize;
            let whole = table.register(vec![0; size]).expect("free");
            let base = whole.as_ptr().addr();
            let mut parts = vec![whole];
            for step in 0..rng.below(40) {
                let at = rng.below(parts.len() as u64) as usize;
                let mut part = parts.swap_remove(at);
                match rng.below(3) {
                    0 => {
                        let (one, two) = {
                            let at = rng.below(part.capacity() as u64 + 1) as usize;
                            part.split_at(at)
                        };
                        assert!(one.len() <= one.capacity() && two.len() <= two.capacity());
                        parts.extend([one, two]);
                    }
                    1 => {
                        let other = rng.below(parts.len().max(1) as u64) as usize;
                        if other < parts.len() {
                            let next = parts.swap_remove(other);
                            let ends = part.as_ptr().addr() + part.capacity();
                            let adjacent = ends == next.as_ptr().addr();
                            match part.join(next) {
                                Ok(joined) => {
                                    assert!(adjacent);
                                    parts.push(joined);
                                }
                                Err((one, two)) => {
                                    assert!(!adjacent);
                                    parts.extend([one, two]);
                                }
                            }
                        } else {
                            parts.push(part);
                        }
                    }
                    _ => {
                        part.clear();
                        part.resize(part.capacity(), step as u8);
                        parts.push(part);
                    }
                }
                // Their ranges, put side by side, are the whole, without a gap and without a byte twice. (An empty part may
                // lie anywhere.)
                let ranges = parts.iter().map(|part| (part.as_ptr().addr(), part.capacity()));
                let mut ranges: Vec<_> = ranges.filter(|(_, capacity)| *capacity > 0).collect();
                ranges.sort_unstable();
                let mut end = base;
                for (start, len) in &ranges {
                    assert_eq!(*start, end, "{ranges:?} from {base}, {size} long");
                    end += len;
                }
                assert_eq!(end, base + size);
            }
            // Each part is written full of its own number; then all still have theirs.
            for (number, part) in parts.iter_mut().enumerate() {
                part.clear();
                part.resize(part.capacity(), number as u8);
            }
            assert!(parts.iter().enumerate().all(|(number, part)| part.iter().all(|&b| b == number as u8)));
            assert_eq!(table.available(), 0);
            drop(parts);
            assert_eq!(table.available(), 1);
        }
    });
}

/// Row F6: nothing is taken back as long as an op uses it, and taking something else back does not wait for that op.
#[test]
fn a_slot_stays_while_an_op_uses_a_part_of_it() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let table = BufferTable::new(2).expect("no table yet");
        let (reader, mut writer) = pipe();
        let (one, two) = table.register(vec![0; 8]).expect("free").split_at(4);
        let other = table.register(vec![7; 8]).expect("free");
        let mut read = pin!(ops::read(&reader, one));
        assert!(poll_once(&mut read).is_pending());
        yield_now().await;
        time::sleep(Duration::from_millis(1)).await; // it is in the kernel
        drop(two);
        assert_eq!(table.available(), 0, "the read has the other part");
        // Another slot comes and goes meanwhile.
        table.unregister(other).expect("all of it");
        assert_eq!(table.available(), 1);
        let again = table.register(vec![1; 4096]).expect("free");
        drop(again);
        writer.write_all(b"now").expect("room");
        let (n, one) = read.await;
        assert_eq!((n.expect("written"), &one[..]), (3, &b"now"[..]));
        assert_eq!(table.available(), 1);
        drop(one);
        assert_eq!(table.available(), 2);
        // One that was dropped in flight gives its slot back when the kernel has let go of it.
        let mut read = ops::read(&reader, table.register(vec![0; 8]).expect("free"));
        assert!(poll_once(&mut read).is_pending());
        yield_now().await;
        drop(read);
        until(|| table.available() == 2).await;
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn elsewhere_it_is_memory_like_any_other() {
    let _watchdog = watchdog();
    let home = Runtime::new().expect("a ring");
    let (table, buf) = home.block_on(async {
        let table = BufferTable::new(2).expect("no table yet");
        let buf = table.register(b"grist".to_vec()).expect("free");
        (table, buf)
    });
    assert_eq!(buf.slot(), None, "no runtime runs here");
    let buf = thread::spawn(move || {
        Runtime::new().expect("a ring").block_on(async move {
            // A table of its own, with other memory in the same slot.
            let other = BufferTable::new(2).expect("no table yet").register(vec![9; 5]).expect("free");
            assert_eq!((other.slot(), buf.slot()), (Some(0), None));
            let (reader, writer) = io::pipe().expect("a pipe");
            let (n, mut buf) = ops::write(writer, buf).await;
            assert_eq!(n.expect("room"), 5);
            buf.clear();
            let (n, buf) = ops::read(reader, buf).await;
            assert_eq!((n.expect("there"), &buf[..]), (5, &b"grist"[..]));
            buf
        })
    })
    .join()
    .expect("it works");
    home.block_on(async {
        assert_eq!(buf.slot(), Some(0));
        thread::spawn(move || drop(buf)).join().expect("it drops");
        until(|| table.available() == 2).await;
        // What is dropped between two lives of the loop is given back in the next one.
    });
    let kept = home.block_on(async { table.register(vec![5; 5]).expect("free") });
    drop(home);
    assert_eq!((&kept[..], kept.slot()), (&[5; 5][..], None), "it outlives its runtime");
    drop(kept);
    assert_eq!(table.available(), 1, "nobody is there to empty the slot");
}

#[test]
fn a_clone_of_a_table_has_what_was_there() {
    let _watchdog = watchdog();
    for hidden in [0, Feature::CloneBuffers.bit()] {
        Runtime::new().expect("a ring").block_on(share_and_clone(hidden));
    }
}

/// The runtime that clones has no such call of the kernel, if it is hidden.
async fn share_and_clone(hidden: u64) {
    let table = BufferTable::new(4).expect("no table yet");
    let gone = table.register(vec![1; 8]).expect("free");
    let buf = table.register(b"grist".to_vec()).expect("free");
    let slot = buf.slot();
    drop(gone);
    let shared = table.share().expect("a descriptor");
    thread::spawn(move || {
        Runtime::builder().without_features(hidden).build().expect("a ring").block_on(async move {
            let clone = shared.clone_here().expect("no table yet");
            assert_eq!((clone.capacity(), clone.available()), (4, 3));
            assert_eq!(buf.slot(), slot, "registered here as well");
            let own = clone.register(vec![3; 8]).expect("free");
            assert!(own.slot() != slot && own.slot().is_some());
            let (reader, writer) = io::pipe().expect("a pipe");
            let (n, buf) = ops::write(writer, buf).await;
            assert_eq!(n.expect("by a slot that this ring has, too"), 5);
            let (n, own) = ops::read(reader, own).await;
            assert_eq!((n.expect("there"), &own[..]), (5, &b"grist"[..]));
            drop(own);
            let buf = clone.unregister(buf).expect_err("not this table's");
            drop(buf);
            until(|| clone.available() == 4).await;
        });
    })
    .join()
    .expect("no panic");
    until(|| table.available() == 4).await;
}

// --- the pool -------------------------------------------------------------------------------------------------------

#[test]
fn a_pool_hands_out_and_takes_back() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let table = BufferTable::new(1).expect("no table yet");
        let pool = FixedPool::new(&table, 3, 4096).expect("free");
        assert_eq!((pool.capacity(), pool.size(), pool.available(), pool.lowest()), (3, 4096, 3, 3));
        let mut one = pool.take().await.expect("free");
        assert_eq!((one.len(), one.capacity(), one.as_ptr().addr() % 4096), (0, 4096, 0));
        one.extend_from_slice(b"secret");
        let two = pool.take().await.expect("free");
        let three = pool.try_take().expect("free");
        assert!(pool.try_take().is_none());
        assert_eq!((pool.available(), pool.lowest()), (0, 0));
        drop(one);
        let one = pool.take().await.expect("it came back");
        assert_eq!((one.len(), &one[..]), (0, &b""[..]), "what was in it is not to be seen");
        let clone = pool.clone();
        drop((pool, two, three));
        assert_eq!(clone.available(), 2);
        drop(clone);
        assert_eq!(table.available(), 0, "one is still out");
        drop(one);
        assert_eq!(table.available(), 1);
        assert_eq!(
            FixedPool::new(&table, 0, 4096).expect_err("nothing in it").kind(),
            RegisterErrorKind::Empty
        );
        let error = FixedPool::new(&table, usize::MAX, 4096).expect_err("too much");
        assert_eq!(error.kind(), RegisterErrorKind::TooLong);
        let error = FixedPool::new(&table, 1 << 18, 8192).expect_err("too much");
        assert_eq!(error.kind(), RegisterErrorKind::TooLong);
    });
}

#[test]
fn waiters_are_served_in_order_and_pass_on_what_they_give_up() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let pool = FixedPool::new(&BufferTable::new(1).expect("no table yet"), 1, 64).expect("free");
        let held = pool.take().await.expect("free");
        let (mut first, mut second, mut third) = (pool.take(), pool.take(), pool.take());
        assert!(poll_once(&mut first).is_pending());
        assert!(poll_once(&mut second).is_pending());
        assert!(poll_once(&mut third).is_pending());
        drop(held);
        assert!(pool.try_take().is_none(), "it is the first one's");
        assert!(poll_once(&mut second).is_pending() && poll_once(&mut pool.take()).is_pending());
        drop(first); // promised, and never looked
        let Poll::Ready(Ok(held)) = poll_once(&mut second) else { panic!("passed on") };
        Pin::new(&mut third).request_cancel();
        let Poll::Ready(Err(error)) = poll_once(&mut third) else { panic!("asked to stop") };
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        let mut late = pool.take();
        assert!(poll_once(&mut late).is_pending());
        drop(held);
        Pin::new(&mut late).request_cancel(); // promised, and cancelled
        assert!(matches!(poll_once(&mut late), Poll::Ready(Err(_))));
        assert_eq!(pool.available(), 1);
        let held = pool.try_take().expect("free again");
        // As an arm that loses.
        let outcome = when_any((pool.take(), time::sleep(Duration::from_millis(1)))).await;
        assert!(matches!(outcome, millstream::combinators::OneOf2::B(())));
        drop(held);
        assert_eq!(pool.available(), 1);
    });
}

#[test]
fn buffers_come_back_from_other_threads_and_from_dropped_ops() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().expect("a ring");
    runtime.block_on(async {
        let pool = FixedPool::new(&BufferTable::new(1).expect("no table yet"), 2, 64).expect("free");
        let (sender, received) = mpsc::channel();
        let thread = thread::spawn(move || received.into_iter().for_each(drop));
        for _ in 0..rounds(2_000) {
            sender.send(pool.take().await.expect("it comes back")).expect("it listens");
        }
        drop(sender);
        thread.join().expect("no panic");
        assert_eq!(pool.available(), 2);
        let (reader, mut writer) = pipe();
        for _ in 0..100 {
            let mut read = ops::read(&reader, pool.take().await.expect("it comes back"));
            assert!(poll_once(&mut read).is_pending());
            yield_now().await;
        }
        until(|| pool.available() == 2).await;
        // Of none of these reads a byte is lost.
        writer.write_all(b"grist").expect("room");
        let (n, buf) =
            ops::read(&reader, pool.take().await.expect("free")).await.into_result().expect("there");
        assert_eq!((n, &buf[..]), (5, &b"grist"[..]));
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn one_buffer_is_written_out_by_many_ops_at_once() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let pool = FixedPool::new(&BufferTable::new(1).expect("no table yet"), 1, 64).expect("free");
        let mut buf = pool.take().await.expect("free");
        buf.extend_from_slice(b"grist");
        let buf = Arc::new(buf);
        let pipes: Vec<_> = (0..8).map(|_| io::pipe().expect("a pipe")).collect();
        let writes = pipes.iter().map(|(_, writer)| {
            let writer = OwnedFd::from(writer.try_clone().expect("a descriptor"));
            ops::write(writer, Arc::clone(&buf))
        });
        for (n, _) in millstream::combinators::when_all(writes.collect::<Vec<_>>()).await {
            assert_eq!(n.expect("room"), 5);
        }
        for (mut reader, writer) in pipes {
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("text");
            assert_eq!(text, "grist");
        }
        assert_eq!(pool.available(), 0);
        drop(buf);
        assert_eq!(pool.available(), 1);
    });
}

/// Row B9, of registered memory: a buffer shows what the kernel wrote, and no more.
#[test]
fn what_an_earlier_tenant_left_is_never_seen() {
    let _watchdog = watchdog();
    Runtime::new().expect("a ring").block_on(async {
        let pool = FixedPool::new(&BufferTable::new(1).expect("no table yet"), 1, 64).expect("free");
        let (reader, mut writer) = pipe();
        let mut buf = pool.take().await.expect("free");
        buf.resize(64, 0xcc);
        drop(buf);
        writer.write_all(b"short").expect("room");
        let (n, mut buf) = ops::read(&reader, pool.take().await.expect("free")).await;
        assert_eq!((n.expect("there"), &buf[..]), (5, &b"short"[..]));
        buf.resize(64, 0);
        assert!(!buf.contains(&0xcc));
    });
    Runtime::new().expect("a ring").block_on(async {
        // A vector that was longer once.
        let mut memory = vec![0xcc; 8];
        memory.truncate(5);
        let whole = BufferTable::new(1).expect("no table yet").register(memory).expect("free");
        let (mut one, mut two): (FixedBuf, FixedBuf) = whole.split_at(6);
        assert_eq!((&one[..], &two[..]), (&[0xcc; 5][..], &[][..]));
        one.resize(6, 0);
        two.resize(2, 0);
        assert_eq!((one[5], &two[..]), (0, &[0, 0][..]));
    });
}
