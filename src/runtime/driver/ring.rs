//! A real ring: set up with the best flags this kernel takes, entered once per turn.
//!
//! Knows: the setup ladder, what the errnos of `enter` mean, when a wait needs which flag. Does not know: ops, nodes,
//! tasks, or why an entry was queued.
#![allow(unsafe_code, reason = "enters the kernel with entries that carry pointers")]

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use libc::c_void;

use super::error::{BuildError, BuildStep};
use super::fork::Home;
use super::queue::{CompletionQueue, Known, SubmissionQueue};
use super::sys::{self, Kernel, Limits, Linux, Mapping, Params, enter, feature, setup, sq};
use super::{Completion, Driver, Sqe, Ticket, Wait};

/// The most entries a submission queue can have; a completion queue can have twice as many.
const MAX_ENTRIES: u32 = 32_768;

/// After so many waitless `enter`s in a row that brought nothing, `TASKRUN` is not believed until one brings something.
const FRUITLESS: u8 = 2;

/// How often setup is tried while it fails for want of locked memory, which recent kernels give back late.
const SETUP_TRIES: u32 = 10;

/// The first pause between those tries. It doubles each time: about half a second in all.
const SETUP_PAUSE: Duration = Duration::from_millis(1);

/// A wait for a batch ends after this at the latest: without an end of it, the kernel takes the end of the patience for that.
const BATCH_WAIT: Duration = Duration::from_secs(60 * 60);

/// What every ring asks for, and every supported kernel has.
const NEEDED: u32 = setup::CLAMP | setup::CQSIZE | setup::SUBMIT_ALL;

/// What is asked for besides, in the order in which it is given up: newest first, and nothing before what needs it.
const WISHES: [u32; 4] = [
    setup::NO_SQARRAY,
    setup::DEFER_TASKRUN,
    setup::SINGLE_ISSUER,
    setup::COOP_TASKRUN | setup::TASKRUN_FLAG,
];

/// The size of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingConfig {
    /// Entries of the submission queue; the kernel rounds up to a power of two.
    pub(crate) sq_entries: u32,
    /// Entries of the completion queue; the kernel rounds up to a power of two.
    pub(crate) cq_entries: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { sq_entries: 256, cq_entries: 4096 }
    }
}

impl RingConfig {
    fn validate(&self) -> Result<(), BuildError> {
        let Self { sq_entries, cq_entries } = *self;
        if !(1..=MAX_ENTRIES).contains(&sq_entries) {
            return Err(BuildError::invalid(format!(
                "sq_entries is {sq_entries}, and must be from 1 to {MAX_ENTRIES}"
            )));
        }
        let least = sq_entries.next_power_of_two();
        if !(least..=2 * MAX_ENTRIES).contains(&cq_entries) {
            return Err(BuildError::invalid(format!(
                "cq_entries is {cq_entries}, and must be from {least} (sq_entries, rounded up) to {}",
                2 * MAX_ENTRIES
            )));
        }
        Ok(())
    }
}

/// One ring, used on the thread that made it.
///
/// Generic in the kernel only so that tests can fail chosen system calls.
pub(crate) struct Ring<K: Kernel = Linux> {
    sq: SubmissionQueue,
    cq: CompletionQueue,
    home: Home,
    /// What `enter` is given: an index in this thread's table of registered rings, or the descriptor.
    target: RawFd,
    /// Flags of every `enter`: `REGISTERED_RING`, if it is one.
    always: u32,
    /// Flags of every `enter` that waits.
    waiting: u32,
    /// How many waitless `enter`s in a row have left `TASKRUN` set and brought nothing.
    fruitless: u8,
    /// `user_data` of what was left of chains whose first part the kernel took alone.
    severed: Vec<u64>,
    known_opcodes: [u64; 4],
    params: Params,
    kernel: K,
    fd: OwnedFd,
    /// The queues point into these. Unmapped by hand: a child after `fork` has none to unmap.
    rings: ManuallyDrop<Mapping>,
    slots: ManuallyDrop<Mapping>,
}

impl Ring<Linux> {
    /// A ring for the calling thread.
    ///
    /// # Errors
    ///
    /// See [`BuildErrorKind`](super::BuildErrorKind).
    pub(crate) fn new(config: &RingConfig) -> Result<Self, BuildError> {
        Self::with_kernel(config, Linux)
    }
}

impl<K: Kernel> Ring<K> {
    /// A ring that makes its system calls through `kernel`.
    pub(crate) fn with_kernel(config: &RingConfig, kernel: K) -> Result<Self, BuildError> {
        config.validate()?;
        let home = Home::here().map_err(|error| BuildError::call(BuildStep::System, error))?;
        let (fd, params) = set_up(&kernel, config)?;
        for (bit, name) in [
            (feature::SINGLE_MMAP, "IORING_FEAT_SINGLE_MMAP"),
            (feature::NODROP, "IORING_FEAT_NODROP"),
            (feature::EXT_ARG, "IORING_FEAT_EXT_ARG"),
        ] {
            if params.features & bit == 0 {
                return Err(BuildError::too_old(name));
            }
        }
        let known_opcodes = sys::probe(&kernel, fd.as_raw_fd())
            .map_err(|error| BuildError::call(BuildStep::Register, error))?;

        let map =
            |area, len| Mapping::new(&fd, area, len).map_err(|error| BuildError::call(BuildStep::Map, error));
        let array_end = if params.flags & setup::NO_SQARRAY == 0 {
            params.sq_off.array as usize + params.sq_entries as usize * size_of::<u32>()
        } else {
            0
        };
        let cqes_end = params.cq_off.cqes as usize + params.cq_entries as usize * size_of::<Completion>();
        let rings = map(Mapping::RINGS, array_end.max(cqes_end))?;
        let slots = map(Mapping::ENTRIES, params.sq_entries as usize * size_of::<Sqe>())?;

        // The table of registered rings has 16 places per thread; without one, `enter` takes the descriptor.
        let (target, always) = match sys::register_ring_fd(&kernel, fd.as_raw_fd()) {
            Ok(index) => (index as RawFd, enter::REGISTERED_RING),
            Err(_) => (fd.as_raw_fd(), 0),
        };
        let no_iowait = if params.features & feature::NO_IOWAIT != 0 { enter::NO_IOWAIT } else { 0 };
        let mut ring = Self {
            sq: SubmissionQueue::new(&rings, &slots, &params),
            cq: CompletionQueue::new(&rings, &params),
            home,
            target,
            always,
            waiting: enter::GETEVENTS | no_iowait,
            fruitless: 0,
            severed: Vec::new(),
            known_opcodes,
            params,
            kernel,
            fd,
            rings: ManuallyDrop::new(rings),
            slots: ManuallyDrop::new(slots),
        };
        ring.self_test().map_err(|error| BuildError::call(BuildStep::Enter, error))?;
        Ok(ring)
    }

    /// Runs one no-op, so that a filter on `io_uring_enter` is met here and not in the first op.
    fn self_test(&mut self) -> io::Result<()> {
        const MARK: u64 = u64::MAX;
        let nop = Sqe::from(io_uring::opcode::Nop::new().build()).user_data(MARK);
        // SAFETY: (local) the queue is fresh and has room; a no-op points to nothing.
        unsafe { self.push(nop) };
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            self.enter(Wait::Until(Some(deadline)))?;
            if let Some(completion) = self.next() {
                self.publish();
                return if completion.user_data == MARK && completion.outcome.res() == 0 {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("a no-op ended as {completion:?}")))
                };
            }
            if Instant::now() >= deadline {
                return Err(io::Error::other("a no-op did not end"));
            }
        }
    }

    /// The descriptor of the ring.
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// `IORING_SETUP_*` as the kernel granted them.
    #[cfg(test)]
    pub(super) fn setup_flags(&self) -> u32 {
        self.params.flags
    }

    /// Whether the ring has a place in its thread's table.
    #[cfg(test)]
    pub(super) fn is_registered(&self) -> bool {
        self.always & enter::REGISTERED_RING != 0
    }

    /// Where the rings are mapped.
    #[cfg(test)]
    pub(super) fn address(&self) -> *mut u8 {
        self.rings.at(0).as_ptr()
    }

    /// Leaves `TASKRUN` set as the kernel does when it is set too late.
    #[cfg(test)]
    pub(super) fn plant_flag(&self) {
        self.sq.set_flags(sq::TASKRUN);
    }

    /// Whether the kernel can wait for a batch.
    #[cfg(test)]
    pub(super) fn gathers(&self) -> bool {
        self.params.features & feature::MIN_TIMEOUT != 0
    }

    /// Flags of every `enter` that waits.
    #[cfg(test)]
    pub(super) fn waiting_flags(&self) -> u32 {
        self.waiting
    }

    /// After an `enter` that ran what was deferred: whether `TASKRUN` may be believed.
    ///
    /// Who defers work puts it on a list and then sets the flag; who runs it clears the flag and then takes the list. When
    /// the second falls between the two of the first, the flag stays although the list is empty, and no `enter` clears it
    /// until there is work again. Believed for good, it would keep an idle thread entering and never asleep. Once may be
    /// chance: work that came in this very moment.
    #[inline]
    fn judge_flag(&mut self) {
        let flagged = self.sq.flags() & sq::TASKRUN != 0;
        self.fruitless =
            if flagged && !self.cq.has_completion() { (self.fruitless + 1).min(FRUITLESS) } else { 0 };
    }

    /// One system call for everything queued, and for whatever wait is asked.
    ///
    /// The kernel may take less than it was offered (it had no memory for a request) and then does not wait, so what it
    /// took is read from the queue's head, and the rest is offered again. Had it stopped inside a chain, it has started
    /// what it took of it, tied to nothing: offered as it is, the rest would run without having waited for that.
    #[inline(always)]
    fn submit(&mut self, mut wait: Wait) -> io::Result<()> {
        if let Wait::Batch(_, deadline) = wait
            && self.params.features & feature::MIN_TIMEOUT == 0
        {
            wait = Wait::Until(deadline);
        }
        self.cq.publish();
        self.sq.publish();
        loop {
            let queued = self.sq.queued();
            let mut flags = self.always;
            let mut want = 0;
            let mut limits = None;
            match wait {
                Wait::No if self.needs_enter() => flags |= enter::GETEVENTS,
                Wait::No if queued == 0 => return Ok(()),
                Wait::No => {}
                Wait::Poll => flags |= enter::GETEVENTS,
                Wait::Until(None) => (flags, want) = (flags | self.waiting, 1),
                Wait::Until(Some(deadline)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let limit = Limits { timeout: left.into(), min_wait_usec: 0 };
                    (flags, want, limits) = (flags | self.waiting, 1, Some(limit));
                }
                Wait::Batch(batch, deadline) => {
                    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                    let left = left.unwrap_or(BATCH_WAIT).min(BATCH_WAIT);
                    // With less time left than patience, the kernel would be as patient all the same.
                    let patience = batch.patience.min(left).as_micros() as u32;
                    let limit = Limits { timeout: left.into(), min_wait_usec: patience };
                    let completions = if patience > 0 { batch.completions } else { 1 };
                    (flags, want, limits) = (flags | self.waiting, completions, Some(limit));
                }
            }
            // SAFETY: (I1) every published entry was given to `push`, whose caller keeps what it points to.
            let result = unsafe { self.kernel.enter(self.target, queued, want, flags, limits) };
            let taken = self.sq.refresh();
            let left = self.sq.queued();
            if left > 0 && taken > 0 {
                self.sq.sever(&mut self.severed);
            }
            if flags & enter::GETEVENTS != 0 {
                self.judge_flag();
            }
            match result.map_err(|error| (error.raw_os_error(), error)) {
                Ok(_) | Err((Some(libc::EINTR | libc::ETIME), _)) if left == 0 => return Ok(()),
                Ok(_) if taken > 0 => {}
                // The wait is over, but there is something left to submit.
                Err((Some(libc::EINTR | libc::ETIME), _)) if want > 0 => wait = Wait::Poll,
                Ok(_) | Err((Some(libc::EINTR | libc::ETIME), _)) => {
                    return Err(io::Error::from_raw_os_error(libc::EAGAIN));
                }
                Err((_, error)) => return Err(error),
            }
        }
    }
}

/// Creates the ring with as many of the wished flags as the kernel takes.
fn set_up(kernel: &impl Kernel, config: &RingConfig) -> Result<(OwnedFd, Params), BuildError> {
    for given_up in 0..=WISHES.len() {
        let flags = WISHES[given_up..].iter().fold(NEEDED, |flags, wish| flags | wish);
        let mut tries = 0;
        let mut pause = SETUP_PAUSE;
        loop {
            let mut params = Params::new(flags, config.cq_entries);
            tries += 1;
            match kernel.setup(config.sq_entries, &mut params) {
                Ok(fd) => return Ok((fd, params)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINVAL) => break,
                    Some(libc::ENOMEM) if tries < SETUP_TRIES => {
                        thread::sleep(pause);
                        pause *= 2;
                    }
                    _ => return Err(BuildError::call(BuildStep::Setup, error)),
                },
            }
        }
    }
    Err(BuildError::too_old("IORING_SETUP_SUBMIT_ALL"))
}

impl<K: Kernel> Ring<K> {
    /// `most` of the completions that are known to be there; `None` in a child after `fork`, where they are not mapped.
    #[inline]
    pub(super) fn known(&mut self, most: u32) -> Option<Known> {
        if self.home.same_process() { Some(self.cq.known(most)) } else { None }
    }

    /// How many completions are known to be there and not handed out yet.
    #[inline]
    pub(super) fn left(&self) -> u32 {
        if self.home.same_process() { self.cq.left() } else { 0 }
    }

    /// Notes how far what was known is handed out.
    #[inline]
    pub(super) fn hand_out(&mut self, known: Known) {
        self.cq.hand_out(known);
    }
}

impl<K: Kernel> Driver for Ring<K> {
    fn same_process(&self) -> bool {
        self.home.same_process()
    }

    #[inline]
    fn room(&self) -> usize {
        // None in a child after `fork`, where the entries are not mapped; so nothing is pushed there, and the `enter`
        // that is then tried says why.
        if self.home.same_process() { self.sq.room() as usize } else { 0 }
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.sq.capacity() as usize
    }

    #[inline]
    fn queued(&self) -> usize {
        self.sq.queued() as usize
    }

    fn submitted(&self) -> u64 {
        self.sq.submitted()
    }

    #[inline]
    unsafe fn push(&mut self, sqe: Sqe) -> Ticket {
        // SAFETY: (I5) the caller has checked `room`, which is none in a process without the mapping.
        unsafe { self.sq.push(sqe) }
    }

    fn neutralize(&mut self, ticket: Ticket) -> bool {
        self.home.same_process() && self.sq.neutralize(ticket)
    }

    fn withhold(&mut self) {
        self.sq.withhold();
    }

    fn withhold_no_more(&mut self) {
        self.sq.withhold_no_more();
    }

    fn unlink(&mut self, ticket: Ticket) {
        if self.home.same_process() {
            self.sq.unlink(ticket);
        }
    }

    #[inline(always)]
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.home.check()?;
        self.submit(wait)
    }

    #[inline]
    fn take_severed(&mut self) -> Option<u64> {
        self.severed.pop()
    }

    fn wait_beside(&mut self, eventfd: RawFd, deadline: Option<Instant>) -> io::Result<()> {
        self.home.check()?;
        // Polling the ring's own descriptor would miss deferred work, which only signals a registered eventfd.
        sys::register_eventfd(&self.kernel, self.as_raw_fd(), eventfd)?;
        // What came before the registration is fetched; what comes from here on signals.
        let fetched = if self.may_need_enter() { self.submit(Wait::Poll) } else { Ok(()) };
        let waited = match fetched {
            Ok(()) if !self.has_completion() => {
                sys::wait_readable(eventfd, deadline.map(|at| at.saturating_duration_since(Instant::now())))
            }
            fetched => fetched,
        };
        sys::unregister_eventfd(&self.kernel, self.as_raw_fd())?;
        waited
    }

    #[inline]
    fn needs_enter(&self) -> bool {
        if !self.home.same_process() {
            return true;
        }
        let flags = self.sq.flags();
        flags & sq::CQ_OVERFLOW != 0 || (flags & sq::TASKRUN != 0 && self.fruitless < FRUITLESS)
    }

    fn may_need_enter(&self) -> bool {
        !self.home.same_process() || self.sq.flags() & (sq::TASKRUN | sq::CQ_OVERFLOW) != 0
    }

    #[inline]
    fn next(&mut self) -> Option<Completion> {
        // Looked at once per walk: the tail is read from memory that a child after `fork` does not have.
        if self.cq.left() == 0 && !self.home.same_process() { None } else { self.cq.next() }
    }

    #[inline]
    fn has_completion(&self) -> bool {
        self.home.same_process() && self.cq.has_completion()
    }

    #[inline]
    fn publish(&mut self) {
        if self.home.same_process() {
            self.cq.publish();
        }
    }

    fn sync_cancel(&mut self, user_data: u64) -> io::Result<()> {
        self.home.check()?;
        sys::sync_cancel(&self.kernel, self.as_raw_fd(), user_data)
    }

    unsafe fn register(&mut self, opcode: u32, arg: *mut c_void, count: u32) -> io::Result<u32> {
        self.home.check()?;
        // SAFETY: (I1) by this function's contract.
        unsafe { self.kernel.register(self.as_raw_fd(), opcode, arg, count) }
    }

    fn ring(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn supports(&self, opcode: u8) -> bool {
        self.known_opcodes[usize::from(opcode / 64)] & (1 << (opcode % 64)) != 0
    }

    fn sends_bundles(&self) -> bool {
        self.params.features & feature::RECVSEND_BUNDLE != 0
    }

    fn dropped(&self) -> u32 {
        if self.home.same_process() { self.cq.dropped() } else { 0 }
    }
}

impl<K: Kernel> Drop for Ring<K> {
    fn drop(&mut self) {
        if !self.home.same_process() {
            return; // the mappings were not inherited, and their addresses may be someone else's by now
        }
        if self.always & enter::REGISTERED_RING != 0 {
            // The thread's table would keep the ring open. It refuses only what is not in it, so there is nothing to do
            // about an error.
            let _ = sys::unregister_ring_fd(&self.kernel, self.fd.as_raw_fd(), self.target as u32);
        }
        // SAFETY: (local) dropped once, here; the queues that point into the mappings are not used again.
        unsafe {
            ManuallyDrop::drop(&mut self.slots);
            ManuallyDrop::drop(&mut self.rings);
        }
    }
}

impl<K: Kernel> fmt::Debug for Ring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("fd", &self.fd)
            .field("setup_flags", &format_args!("{:#x}", self.params.flags))
            .field("sq_entries", &self.params.sq_entries)
            .field("cq_entries", &self.params.cq_entries)
            .field("queued", &self.sq.queued())
            .finish_non_exhaustive()
    }
}
