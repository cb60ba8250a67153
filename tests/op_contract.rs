//! The contract of ops (I1, I2, I4, I5), shown with requests written outside the crate.
//!
//! Knows: the public traits `Request`, `Operation` and `RingOperation`. Does not know: nodes, rings.
#![allow(
    unsafe_code,
    reason = "a request written outside the crate promises by `unsafe impl` what its entry points to"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use io_uring::{opcode, types};
use millstream::combinators::{hard_link, link, when_all};
use millstream::ops::{Chain, EntryFlags, Link, Op, Request, RingOperation, Sqe};
use millstream::{Operation, Runtime, ops, spawn, time};

/// A read of a pipe, written outside the crate, that counts what becomes of it.
struct CountedRead {
    fd: Arc<OwnedFd>,
    buf: Vec<u8>,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    prepared: AtomicUsize,
    entered: AtomicUsize,
    orphaned: AtomicUsize,
    finished: AtomicUsize,
    abandoned: AtomicUsize,
    bytes_abandoned: AtomicUsize,
    dropped: AtomicUsize,
}

impl Log {
    fn get(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Drop for CountedRead {
    fn drop(&mut self) {
        count(&self.log.dropped);
    }
}

// SAFETY: the entry points into `buf`'s heap block and names a descriptor that `fd` keeps open.
unsafe impl Request for CountedRead {
    type Output = io::Result<Vec<u8>>;

    fn prepare(&mut self, _: &mut Context<'_>) -> Poll<ops::Prepared> {
        count(&self.log.prepared);
        Poll::Ready(ops::Prepared::Submit)
    }

    fn sqe(&mut self) -> Sqe {
        count(&self.log.entered);
        let entry =
            opcode::Read::new(types::Fd(self.fd.as_raw_fd()), self.buf.as_mut_ptr(), self.buf.len() as u32);
        // SAFETY: an entry is 64 bytes of integers.
        Sqe::from_bytes(unsafe {
            std::mem::transmute::<io_uring::squeue::Entry, [u8; 64]>(entry.offset(u64::MAX).build())
        })
    }

    fn orphaned(&mut self) {
        count(&self.log.orphaned);
    }

    fn finish(mut self, result: io::Result<u32>, _: u32) -> Self::Output {
        count(&self.log.finished);
        let mut buf = std::mem::take(&mut self.buf);
        result.map(|n| {
            buf.truncate(n as usize);
            buf
        })
    }

    fn abandon(self, result: io::Result<u32>, _: u32, _: bool) {
        count(&self.log.abandoned);
        self.log.bytes_abandoned.fetch_add(result.unwrap_or(0) as usize, Ordering::SeqCst);
    }
}

fn counted(fd: &Arc<OwnedFd>) -> (Op<CountedRead>, Arc<Log>) {
    let log = Arc::new(Log::default());
    (Op::new(CountedRead { fd: fd.clone(), buf: vec![0; 16], log: log.clone() }), log)
}

fn pipe() -> (Arc<OwnedFd>, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (Arc::new(reader.into()), writer)
}

/// Polls once with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets the loop turn until `done`, at most a few seconds.
async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..5_000 {
        if done() {
            return;
        }
        time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not happen");
}

/// Until everything that is queued now has entered, however slow the machine.
async fn entered(runtime: &Runtime) {
    let before = runtime.stats().enters;
    until(|| runtime.stats().enters > before).await;
}

#[test]
fn never_polled_is_never_asked() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        let (op, log) = counted(&reader);
        drop(op);
        assert_eq!((Log::get(&log.prepared), Log::get(&log.entered), Log::get(&log.dropped)), (0, 0, 1));
        assert_eq!(Log::get(&log.abandoned), 0);
    });
}

#[test]
fn completes_with_what_the_kernel_says() {
    let runtime = Runtime::new().unwrap();
    let (reader, mut writer) = pipe();
    runtime.block_on(async {
        writer.write_all(b"hello").unwrap();
        let (op, log) = counted(&reader);
        assert_eq!(op.await.unwrap(), b"hello");
        assert_eq!((Log::get(&log.finished), Log::get(&log.abandoned), Log::get(&log.dropped)), (1, 0, 1));
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn dropped_while_queued_takes_nothing() {
    let runtime = Runtime::new().unwrap();
    let (reader, mut writer) = pipe();
    writer.write_all(b"stays").unwrap();
    let log = runtime.block_on(async {
        let (mut op, log) = counted(&reader);
        assert!(poll_once(&mut op).is_pending());
        assert_eq!(Log::get(&log.entered), 1);
        drop(op); // queued, and the kernel has not seen it
        until(|| Log::get(&log.abandoned) == 1).await;
        log
    });
    // It was a no-op in the kernel's eyes: the data is there, and nothing had to be salvaged.
    assert_eq!((Log::get(&log.orphaned), Log::get(&log.bytes_abandoned), Log::get(&log.dropped)), (0, 0, 1));
    let mut left = [0; 16];
    let n = io::PipeReader::from(Arc::try_unwrap(reader).unwrap()).read(&mut left).unwrap();
    assert_eq!(&left[..n], b"stays");
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn dropped_in_flight_is_cancelled_and_disposed_of_once() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        let (mut op, log) = counted(&reader);
        assert!(poll_once(&mut op).is_pending());
        entered(&runtime).await;
        drop(op);
        assert_eq!((Log::get(&log.orphaned), Log::get(&log.dropped)), (1, 0), "the node owns it still");
        until(|| Log::get(&log.abandoned) == 1).await;
        assert_eq!((Log::get(&log.finished), Log::get(&log.dropped)), (0, 1));
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn forgotten_in_flight_is_reclaimed_with_the_runtime() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    let logs: Vec<_> = runtime.block_on(async {
        let mut logs = Vec::new();
        for _ in 0..100 {
            let (mut op, log) = counted(&reader);
            assert!(poll_once(&mut op).is_pending());
            std::mem::forget(op);
            logs.push(log);
        }
        entered(&runtime).await;
        logs
    });
    assert_eq!(runtime.stats().nodes, 100);
    drop(runtime);
    for log in logs {
        assert_eq!(Log::get(&log.dropped), 1);
    }
}

#[test]
fn completed_but_never_claimed_is_handed_to_abandon() {
    let runtime = Runtime::new().unwrap();
    let (reader, mut writer) = pipe();
    runtime.block_on(async {
        writer.write_all(b"seven!!").unwrap();
        let (mut op, log) = counted(&reader);
        assert!(poll_once(&mut op).is_pending());
        until(|| runtime.stats().in_flight == 0).await; // completed, and nobody has polled it since
        drop(op);
        assert_eq!((Log::get(&log.abandoned), Log::get(&log.bytes_abandoned)), (1, 7));
        assert_eq!(Log::get(&log.orphaned), 0);
    });
}

#[test]
fn request_cancel_resolves_and_gives_back() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        // Never polled: not started by the cancel.
        let (op, log) = counted(&reader);
        let mut op = pin!(op);
        op.as_mut().request_cancel();
        assert_eq!(op.await.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert_eq!((Log::get(&log.entered), Log::get(&log.finished)), (0, 1));
        // Queued, and in flight; asked twice.
        for wait in [false, true] {
            let (op, log) = counted(&reader);
            let mut op = pin!(op);
            assert!(poll_fn(|cx| Poll::Ready(op.as_mut().poll(cx).is_pending())).await);
            if wait {
                entered(&runtime).await;
            }
            op.as_mut().request_cancel();
            op.as_mut().request_cancel();
            assert_eq!(op.await.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
            assert_eq!(Log::get(&log.finished), 1);
        }
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn poll_discard_waits_out_and_abandons() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        let (op, log) = counted(&reader);
        let mut op = pin!(op);
        assert!(poll_fn(|cx| Poll::Ready(op.as_mut().poll(cx).is_pending())).await);
        entered(&runtime).await;
        poll_fn(|cx| op.as_mut().poll_discard(cx)).await;
        assert_eq!((Log::get(&log.abandoned), Log::get(&log.finished), Log::get(&log.dropped)), (1, 0, 1));
    });
    assert_eq!(runtime.stats().nodes, 0);
}

/// Its panic ends neither the discard nor the task, and is counted.
#[test]
fn what_panics_as_it_is_discarded_is_discarded_all_the_same() {
    struct Panics(Rc<Cell<u32>>);
    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic!("a destructor of the user's");
        }
    }
    // SAFETY: the entry points to nothing.
    unsafe impl Request for Panics {
        type Output = ();
        fn sqe(&mut self) -> Sqe {
            let mut bytes = [0; 64];
            bytes[0] = opcode::Nop::CODE;
            Sqe::from_bytes(bytes)
        }
        fn finish(self, _: io::Result<u32>, _: u32) {}
    }

    let runtime = Runtime::new().unwrap();
    let drops = Rc::default();
    runtime.block_on(async {
        // Withdrawn before the kernel saw it, and done by the time of the discard.
        for wait in [false, true] {
            let mut op = Op::new(Panics(Rc::clone(&drops)));
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut op).poll(cx).is_pending())).await);
            if wait {
                entered(&runtime).await;
            }
            poll_fn(|cx| Pin::new(&mut op).poll_discard(cx)).await;
        }
    });
    let stats = runtime.stats();
    assert_eq!((drops.get(), stats.contained_panics, stats.nodes), (2, 2, 0));
}

#[test]
fn a_request_too_large_for_a_node_is_boxed() {
    struct Large([u64; 4096], Rc<Cell<u32>>);
    // SAFETY: the entry points to nothing.
    unsafe impl Request for Large {
        type Output = u64;
        fn sqe(&mut self) -> Sqe {
            let mut bytes = [0; 64];
            bytes[0] = opcode::Nop::CODE;
            Sqe::from_bytes(bytes)
        }
        fn finish(self, result: io::Result<u32>, _: u32) -> u64 {
            self.1.set(self.1.get() + 1);
            assert_eq!(result.unwrap(), 0);
            self.0.iter().sum()
        }
    }
    #[repr(align(256))]
    struct Aligned(u8);
    // SAFETY: the entry points to nothing.
    unsafe impl Request for Aligned {
        type Output = (usize, u8);
        fn sqe(&mut self) -> Sqe {
            assert_eq!(std::ptr::from_ref(self).addr() % 256, 0);
            Sqe::from_bytes([0; 64])
        }
        fn finish(self, _: io::Result<u32>, _: u32) -> (usize, u8) {
            (align_of_val(&self), self.0)
        }
    }
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let finished = Rc::new(Cell::new(0));
        assert_eq!(Op::new(Large([3; 4096], finished.clone())).await, 3 * 4096);
        assert_eq!(Op::new(Aligned(7)).await, (256, 7));
        drop(spawn(async { time::sleep(Duration::ZERO).await }));
        let mut abandoned = Op::new(Large([1; 4096], finished.clone()));
        assert!(poll_once(&mut abandoned).is_pending());
        drop(abandoned);
        assert_eq!(finished.get(), 1);
    });
    drop(runtime);
}

#[test]
fn dropped_on_another_thread_stops_it_where_it_runs() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        let (mut op, log) = counted(&reader);
        assert!(poll_once(&mut op).is_pending());
        entered(&runtime).await;
        std::thread::spawn(move || drop(op)).join().unwrap();
        until(|| Log::get(&log.abandoned) == 1).await;
        assert_eq!((Log::get(&log.orphaned), Log::get(&log.dropped)), (1, 1));
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn polled_on_another_thread_is_a_clear_panic() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        let (mut op, log) = counted(&reader);
        assert!(poll_once(&mut op).is_pending());
        let panic = std::thread::spawn(move || poll_once(&mut op).is_pending()).join().unwrap_err();
        assert!(message(&*panic).contains("away from the runtime it was started on"), "{}", message(&*panic));
        until(|| Log::get(&log.abandoned) == 1).await;
    });
    let (mut op, _log) = counted(&reader);
    let panic = std::thread::spawn(move || poll_once(&mut op).is_pending()).join().unwrap_err();
    assert!(message(&*panic).contains("outside a millstream runtime"), "{}", message(&*panic));
}

#[test]
fn outlives_its_runtime() {
    let (reader, _writer) = pipe();
    let runtime = Runtime::new().unwrap();
    let (pending, done, logs) = runtime.block_on(async {
        let (mut pending, one) = counted(&reader);
        assert!(poll_once(&mut pending).is_pending());
        let mut done = ops::nop();
        assert!(poll_once(&mut done).is_pending());
        entered(&runtime).await;
        (pending, done, one)
    });
    drop(runtime);
    assert_eq!(Log::get(&logs.dropped), 1, "the runtime has waited for it");
    drop(pending);
    drop(done);
    assert_eq!(Log::get(&logs.dropped), 1);
}

#[test]
fn dropped_between_two_block_ons_is_stopped_in_the_next() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    let (op, log) = runtime.block_on(async {
        let (mut op, log) = counted(&reader);
        assert!(poll_once(&mut op).is_pending());
        entered(&runtime).await;
        (op, log)
    });
    drop(op);
    runtime.block_on(until(|| Log::get(&log.abandoned) == 1));
    assert_eq!(runtime.stats().nodes, 0);
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("?")
}

#[test]
fn what_a_drain_waits_for_can_be_cancelled() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        let (mut read, log) = counted(&reader);
        assert!(poll_once(&mut read).is_pending());
        let mut barrier = ops::nop();
        Pin::new(&mut barrier).add_flags(EntryFlags::DRAIN);
        assert!(poll_once(&mut barrier).is_pending());
        entered(&runtime).await;
        drop(read); // a cancel through the queue would wait behind the drain, and the drain behind the read
        barrier.await.unwrap();
        assert_eq!(Log::get(&log.abandoned), 1);
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn other_threads_wake_a_runtime_whose_drain_is_pending() {
    let runtime = Runtime::new().unwrap();
    let (reader, mut writer) = pipe();
    let (to_task, from_thread) = millstream::channel::bounded(1);
    runtime.block_on(async {
        time::sleep(Duration::from_millis(2)).await; // the runtime has slept: it listens for other threads
        let (mut read, _log) = counted(&reader);
        assert!(poll_once(&mut read).is_pending());
        let mut barrier = ops::nop();
        Pin::new(&mut barrier).add_flags(EntryFlags::DRAIN);
        assert!(poll_once(&mut barrier).is_pending());
        for value in 0..10 {
            let to_task = to_task.clone();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                to_task.push_blocking(value).unwrap();
            });
            assert_eq!(from_thread.pop().await.unwrap(), value);
            thread.join().unwrap();
        }
        writer.write_all(&[1; 16]).unwrap();
        barrier.await.unwrap(); // it waits for the read, and for nothing of the runtime's own
        read.await.unwrap();
    });
    assert_eq!(runtime.stats().nodes, 0);
}

#[test]
fn the_kernel_takes_a_limit_on_its_workers() {
    let runtime = Runtime::builder().kernel_workers(1, 2).build().unwrap();
    let (reader, mut writer) = pipe();
    runtime.block_on(async {
        let reads: Vec<_> = (0..8)
            .map(|_| {
                let (mut op, _log) = counted(&reader);
                Pin::new(&mut op).add_flags(EntryFlags::ASYNC);
                spawn(op)
            })
            .collect();
        time::sleep(Duration::from_millis(5)).await;
        let workers = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.trim_end() == format!("iou-wrk-{}", gettid()))
            .count();
        assert!(workers <= 2, "{workers} workers");
        writer.write_all(&[1; 8 * 16]).unwrap(); // which of them gets which part is up to the kernel
        for read in reads {
            read.await.unwrap().unwrap();
        }
    });
}

fn gettid() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

#[test]
fn a_cancelled_chain_touches_no_other() {
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    let (other, mut other_writer) = pipe();
    runtime.block_on(async {
        let (first, _) = counted(&reader);
        let (second, _) = counted(&other);
        let mut stopped = Box::pin(link((first, ops::nop())));
        let mut goes_on = Box::pin(link((second, ops::nop())));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(stopped.as_mut().poll(&mut cx).is_pending() && goes_on.as_mut().poll(&mut cx).is_pending());
        entered(&runtime).await;
        drop(stopped);
        other_writer.write_all(b"on").unwrap();
        let (read, nop) = goes_on.await;
        // A short read breaks a chain: the rule of the kernel, and of `link`.
        assert_eq!(read.unwrap(), b"on");
        assert_eq!(nop.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    });
    runtime.block_on(until(|| runtime.stats().nodes == 0));
}

#[test]
fn a_chain_dropped_while_queued_is_withdrawn_whole() {
    let runtime = Runtime::new().unwrap();
    let (reader, mut writer) = pipe();
    writer.write_all(&[1; 16]).unwrap();
    runtime.block_on(async {
        let (first, log) = counted(&reader);
        let mut chain = Box::pin(hard_link((first, ops::nop())));
        assert!(chain.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(chain);
        until(|| Log::get(&log.abandoned) == 1).await;
        assert_eq!(Log::get(&log.bytes_abandoned), 0);
        assert_eq!(counted(&reader).0.await.unwrap(), [1; 16]);
    });
    assert_eq!(runtime.stats().nodes, 0);
}

/// A ring operation written outside the crate that announces an entry more than it stages.
struct Short(Op<CountedRead>);

impl Future for Short {
    type Output = io::Result<Vec<u8>>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Operation for Short {
    fn request_cancel(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.0).request_cancel();
    }
    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll_discard(cx)
    }
}

impl RingOperation for Short {
    fn entries(&self) -> usize {
        2
    }
    fn poll_prepare(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll_prepare(cx)
    }
    fn stage(mut self: Pin<&mut Self>, chain: &mut Chain<'_>, _: Option<Link>) {
        Pin::new(&mut self.0).stage(chain, Some(Link::Soft)); // tied to an entry that never comes
    }
    fn refuse(mut self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        Pin::new(&mut self.0).refuse(error);
    }
    fn add_flags(mut self: Pin<&mut Self>, flags: EntryFlags) {
        Pin::new(&mut self.0).add_flags(flags);
    }
}

#[test]
fn a_chain_shorter_than_announced_captures_nobody() {
    let runtime = Runtime::new().unwrap();
    let (reader, writer) = pipe();
    runtime.block_on(async {
        let (op, _log) = counted(&reader);
        let mut short = Box::pin(link((Short(op),)));
        assert!(short.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // Were it captured, this nop of another task would wait for the read, and fail with it.
        when_all((ops::nop(), ops::nop())).await.0.unwrap();
        drop(writer);
        assert_eq!(short.await.0.unwrap(), b"");
    });
}

thread_local! {
    /// What the clone of a [`cloner`] does.
    static CLONED: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A waker whose clone is user code.
fn cloner() -> Waker {
    fn clone(_: *const ()) -> RawWaker {
        if let Some(action) = CLONED.take() {
            action();
        }
        RawWaker::new(std::ptr::null(), &VTABLE)
    }
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| (), |_| (), |_| ());
    // SAFETY: (local) nothing is behind the pointer, and no function looks there.
    unsafe { Waker::new(std::ptr::null(), &VTABLE) }
}

#[test]
fn a_wakers_clone_may_take_the_last_room_in_the_queue() {
    let runtime = Runtime::builder().sq_entries(4).build().unwrap();
    let (reader, mut writer) = pipe();
    writer.write_all(&[1; 16]).unwrap();
    runtime.block_on(async {
        let others = Rc::new(RefCell::new(Vec::new()));
        let theirs = Rc::clone(&others);
        CLONED.set(Some(Box::new(move || {
            for _ in 0..4 {
                let mut other = ops::nop();
                assert!(poll_once(&mut other).is_pending());
                theirs.borrow_mut().push(other);
            }
        })));
        let (mut op, log) = counted(&reader);
        assert!(Pin::new(&mut op).poll(&mut Context::from_waker(&cloner())).is_pending());
        assert_eq!(op.await.unwrap(), [1; 16]);
        for other in others.take() {
            other.await.unwrap();
        }
        assert_eq!(Log::get(&log.finished), 1);
    });
    assert_eq!(runtime.stats().nodes, 0);
}

/// A nop written outside the crate.
struct Raw([u8; 64]);

// SAFETY: (I1) a nop points to nothing and names no descriptor.
unsafe impl Request for Raw {
    type Output = io::Result<u32>;

    fn sqe(&mut self) -> Sqe {
        Sqe::from_bytes(self.0)
    }

    fn finish(self, result: io::Result<u32>, _: u32) -> Self::Output {
        result
    }
}

/// A link would capture the next op, a skipped completion would never come, a drain would be one nobody knows of.
#[test]
fn an_entry_brings_no_flags_that_concern_its_neighbours() {
    const FIXED_FILE_AND_BUFFER_SELECT: u8 = 1 | 1 << 5;
    let runtime = Runtime::new().unwrap();
    let (reader, _writer) = pipe();
    runtime.block_on(async {
        let mut read = counted(&reader).0;
        assert!(poll_once(&mut read).is_pending()); // a drain would wait for it
        let mut bytes = [0; 64];
        bytes[1] = !FIXED_FILE_AND_BUFFER_SELECT;
        let nop = time::timeout(Duration::from_secs(5), Op::new(Raw(bytes)));
        nop.await.expect("no completion was asked for, or a drain").unwrap();
    });
}

#[test]
fn a_member_withdrawn_while_queued_breaks_a_soft_chain_and_no_hard_one() {
    let runtime = Runtime::new().unwrap();
    let (reader, mut writer) = pipe();
    writer.write_all(&[1; 16]).unwrap();
    runtime.block_on(async {
        for (soft, dropped) in [(true, true), (true, false), (false, true)] {
            let mut first = ops::nop();
            let (mut second, log) = counted(&reader);
            if soft {
                assert!(poll_once(&mut link((&mut first, &mut second))).is_pending());
            } else {
                assert!(poll_once(&mut hard_link((&mut first, &mut second))).is_pending());
            }
            if dropped {
                drop(first);
            } else {
                Pin::new(&mut first).request_cancel();
                assert_eq!(first.await.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
            }
            match second.await {
                Ok(bytes) => assert!(!soft, "its predecessor did not run, but it read {bytes:?}"),
                Err(error) => assert!(soft && error.raw_os_error() == Some(libc::ECANCELED), "{error}"),
            }
            assert_eq!(Log::get(&log.finished), 1);
        }
    });
    assert_eq!(runtime.stats().nodes, 0);
}

/// Announces an entry more than it stages, and meanwhile polls an op that must wait for the end of the chain.
struct ShortAndBusy(Op<CountedRead>, Waker);

impl Future for ShortAndBusy {
    type Output = io::Result<Vec<u8>>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Operation for ShortAndBusy {
    fn request_cancel(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.0).request_cancel();
    }
    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll_discard(cx)
    }
}

impl RingOperation for ShortAndBusy {
    fn entries(&self) -> usize {
        2
    }
    fn poll_prepare(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll_prepare(cx)
    }
    fn stage(mut self: Pin<&mut Self>, chain: &mut Chain<'_>, _: Option<Link>) {
        Pin::new(&mut self.0).stage(chain, Some(Link::Soft));
        let mut waits = ops::nop();
        assert!(Pin::new(&mut waits).poll(&mut Context::from_waker(&self.1)).is_pending());
    }
    fn refuse(mut self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        Pin::new(&mut self.0).refuse(error);
    }
    fn add_flags(mut self: Pin<&mut Self>, flags: EntryFlags) {
        Pin::new(&mut self.0).add_flags(flags);
    }
}

/// Its wake queues two ops, of which only one finds room: the other one enters.
struct QueuesOnWake(std::sync::Mutex<Vec<Op<ops::requests::Nop>>>);

impl std::task::Wake for QueuesOnWake {
    fn wake(self: Arc<Self>) {
        let mut queued = self.0.lock().unwrap();
        for _ in 0..2 {
            let mut op = ops::nop();
            assert!(poll_once(&mut op).is_pending());
            queued.push(op);
        }
    }
}

#[test]
fn a_link_is_cut_before_anybody_is_woken_behind_it() {
    let _watchdog = support::Watchdog::new(Duration::from_secs(60));
    let runtime = Runtime::builder().sq_entries(2).cq_entries(8).build().unwrap();
    let (reader, writer) = pipe();
    runtime.block_on(async {
        let (op, _log) = counted(&reader);
        let queues = Arc::new(QueuesOnWake(std::sync::Mutex::default()));
        let mut short = Box::pin(link((ShortAndBusy(op, Waker::from(queues.clone())),)));
        assert!(short.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let queued = std::mem::take(&mut *queues.0.lock().unwrap());
        assert_eq!(queued.len(), 2);
        for op in queued {
            op.await.unwrap(); // captured, it would wait for the read
        }
        drop(writer);
        assert_eq!(short.await.0.unwrap(), b"");
    });
}
