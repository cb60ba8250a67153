//! A kernel that fails when told to, and a driver that gives up entries and repeats completions: for tests only.
//!
//! Knows: the system calls of a ring, the trait [`Driver`]. Does not know: what any test is about.
//!
//! Two places, because faults come from two sides. A failing system call goes through the ring's own handling of
//! errnos, short submissions and fall-backs, so it is injected below the ring ([`FaultKernel`]). A completion that
//! comes twice is injected above it ([`Fault`]).
#![allow(unsafe_code, reason = "stands in front of system calls and of an unsafe trait method")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use libc::c_void;

use super::sys::{self, Kernel, Limits, Linux, Params};
use super::{Completion, Driver, Outcome, Sqe, Ticket, Wait};

/// A system call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FaultCall {
    /// `io_uring_setup`.
    Setup,
    /// `io_uring_register`, other than the synchronous cancel.
    Register,
    /// `io_uring_enter`. Building a ring makes one to try it out.
    Enter,
    /// The synchronous cancel of `io_uring_register`.
    SyncCancel,
}

/// What goes wrong, and when. Clones share one plan and its counters, so a test can look on.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    /// Calls made so far, failed ones included.
    calls: BTreeMap<FaultCall, u64>,
    /// The errno with which a call fails, by how many of its kind came before.
    errnos: BTreeMap<(FaultCall, u64), i32>,
    struck: u64,
    submit_limit: Option<u32>,
    setup_flags: u32,
    features: u32,
    register_opcodes: Vec<u32>,
    opcodes: Vec<u8>,
    completions: u64,
    /// Completions to repeat, by how many came before, and after how many further ones.
    repeats: BTreeMap<u64, u64>,
    /// Entries of each opcode queued so far.
    entries: BTreeMap<u8, u64>,
    /// Entries to give up, by their opcode and how many of it came before.
    given_up: BTreeSet<(u8, u64)>,
}

impl FaultPlan {
    /// A plan in which nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fails `times` calls of one kind with `errno`, after `skip` that are made as usual. A failed call does nothing.
    #[must_use]
    pub fn fail(self, call: FaultCall, skip: u64, times: u64, errno: i32) -> Self {
        self.lock().errnos.extend((skip..skip.saturating_add(times)).map(|nth| ((call, nth), errno)));
        self
    }

    /// Lets every `enter` take at most `entries`, as a kernel short of memory does.
    #[must_use]
    pub fn submit_at_most(self, entries: u32) -> Self {
        self.lock().submit_limit = Some(entries);
        self
    }

    /// Pretends a kernel that refuses these `IORING_SETUP_*` flags.
    #[must_use]
    pub fn without_setup_flags(self, flags: u32) -> Self {
        self.lock().setup_flags |= flags;
        self
    }

    /// Pretends a kernel without these `IORING_FEAT_*`.
    #[must_use]
    pub fn without_features(self, features: u32) -> Self {
        self.lock().features |= features;
        self
    }

    /// Pretends a kernel that refuses this `IORING_REGISTER_*` call.
    #[must_use]
    pub fn without_register(self, opcode: u32) -> Self {
        self.lock().register_opcodes.push(opcode);
        self
    }

    /// Pretends a kernel that does not know this `IORING_OP_*`, as far as it is asked.
    #[must_use]
    pub fn without_opcode(self, opcode: u8) -> Self {
        self.lock().opcodes.push(opcode);
        self
    }

    /// Hands the completion that has `skip` before it out a second time, after `later` others.
    #[must_use]
    pub fn repeat_completion(self, skip: u64, later: u64) -> Self {
        self.lock().repeats.insert(skip, later);
        self
    }

    /// Gives up `times` entries of an `IORING_OP_*`, after `skip` that are as usual: they do nothing and end with `ECANCELED`, as
    /// those for which a kernel cannot make a worker thread.
    #[must_use]
    pub fn give_up(self, opcode: u8, skip: u64, times: u64) -> Self {
        self.lock().given_up.extend((skip..skip.saturating_add(times)).map(|nth| (opcode, nth)));
        self
    }

    /// How many calls of this kind were made, failed ones included.
    pub fn calls(&self, call: FaultCall) -> u64 {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls were failed, completions repeated, and entries given up.
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an entry, and tells whether it is to be given up.
    fn gives_up(&self, opcode: u8) -> bool {
        let plan = &mut *self.lock();
        let entries = plan.entries.entry(opcode).or_default();
        let nth = *entries;
        *entries += 1;
        let given_up = plan.given_up.contains(&(opcode, nth));
        plan.struck += u64::from(given_up);
        given_up
    }

    /// Counts a call, and fails it if it is its turn.
    fn strike(&self, call: FaultCall) -> io::Result<()> {
        let plan = &mut *self.lock();
        let calls = plan.calls.entry(call).or_default();
        let nth = *calls;
        *calls += 1;
        match plan.errnos.get(&(call, nth)) {
            Some(&errno) => {
                plan.struck += 1;
                Err(io::Error::from_raw_os_error(errno))
            }
            None => Ok(()),
        }
    }
}

/// The kernel of this process, failing by plan.
#[derive(Debug)]
pub(crate) struct FaultKernel(pub(crate) FaultPlan);

impl Kernel for FaultKernel {
    fn setup(&self, entries: u32, params: &mut Params) -> io::Result<OwnedFd> {
        self.0.strike(FaultCall::Setup)?;
        let (flags, features) = {
            let plan = self.0.lock();
            (plan.setup_flags, plan.features)
        };
        if params.flags & flags != 0 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let fd = Linux.setup(entries, params)?;
        params.features &= !features;
        Ok(fd)
    }

    unsafe fn enter(
        &self,
        ring: RawFd,
        submit: u32,
        want: u32,
        flags: u32,
        limits: Option<Limits>,
    ) -> io::Result<u32> {
        self.0.strike(FaultCall::Enter)?;
        let limit = self.0.lock().submit_limit.unwrap_or(u32::MAX);
        // A kernel that takes less than it was offered does not wait.
        let (submit, want) = if submit > limit { (limit, 0) } else { (submit, want) };
        // SAFETY: (I1) by this function's contract.
        unsafe { Linux.enter(ring, submit, want, flags, limits) }
    }

    unsafe fn register(&self, ring: RawFd, opcode: u32, arg: *mut c_void, count: u32) -> io::Result<u32> {
        let call =
            if opcode == sys::register::SYNC_CANCEL { FaultCall::SyncCancel } else { FaultCall::Register };
        self.0.strike(call)?;
        if self.0.lock().register_opcodes.contains(&opcode) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: (I1) by this function's contract.
        let done = unsafe { Linux.register(ring, opcode, arg, count)? };
        if opcode == sys::register::PROBE {
            // SAFETY: (local) a probe record with room for every opcode, which the kernel has just filled.
            unsafe { sys::hide_opcodes(arg, &self.0.lock().opcodes) };
        }
        Ok(done)
    }
}

/// A driver that gives up entries, and whose completions come again, by plan.
pub(crate) struct Fault<D> {
    driver: D,
    plan: FaultPlan,
    /// Completions to hand out again, and how many others come first.
    again: VecDeque<(u64, Completion)>,
    /// `user_data` of entries in the queue that were given up.
    given_up: BTreeSet<u64>,
}

impl<D: Driver> Fault<D> {
    pub(crate) fn new(driver: D, plan: FaultPlan) -> Self {
        Self { driver, plan, again: VecDeque::new(), given_up: BTreeSet::new() }
    }
}

impl<D: Driver> Driver for Fault<D> {
    fn same_process(&self) -> bool {
        self.driver.same_process()
    }

    fn room(&self) -> usize {
        self.driver.room()
    }

    fn capacity(&self) -> usize {
        self.driver.capacity()
    }

    fn queued(&self) -> usize {
        self.driver.queued()
    }

    fn wait_beside(&mut self, eventfd: RawFd, deadline: Option<Instant>) -> io::Result<()> {
        self.driver.wait_beside(eventfd, deadline)
    }

    fn submitted(&self) -> u64 {
        self.driver.submitted()
    }

    unsafe fn push(&mut self, sqe: Sqe) -> Ticket {
        let (given_up, user_data) = (self.plan.gives_up(sqe.opcode()), sqe.0.get_user_data());
        // SAFETY: (I1) by this function's contract.
        let ticket = unsafe { self.driver.push(sqe) };
        if given_up && self.driver.neutralize(ticket) {
            self.given_up.insert(user_data);
        }
        ticket
    }

    fn neutralize(&mut self, ticket: Ticket) -> bool {
        self.driver.neutralize(ticket)
    }

    fn withhold(&mut self) {
        self.driver.withhold();
    }

    fn withhold_no_more(&mut self) {
        self.driver.withhold_no_more();
    }

    fn unlink(&mut self, ticket: Ticket) {
        self.driver.unlink(ticket);
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.driver.enter(wait)
    }

    fn take_severed(&mut self) -> Option<u64> {
        self.driver.take_severed()
    }

    fn needs_enter(&self) -> bool {
        self.driver.needs_enter()
    }

    fn may_need_enter(&self) -> bool {
        self.driver.may_need_enter()
    }

    fn next(&mut self) -> Option<Completion> {
        if let Some(index) = self.again.iter().position(|&(later, _)| later == 0) {
            self.plan.lock().struck += 1;
            return self.again.remove(index).map(|(_, completion)| completion);
        }
        let mut completion = self.driver.next()?;
        if self.given_up.remove(&completion.user_data) {
            completion.outcome = Outcome::new(-libc::ECANCELED, 0);
        }
        for (later, _) in &mut self.again {
            *later -= 1;
        }
        let plan = &mut *self.plan.lock();
        let nth = plan.completions;
        plan.completions += 1;
        if let Some(later) = plan.repeats.remove(&nth) {
            self.again.push_back((later, completion));
        }
        Some(completion)
    }

    fn has_completion(&self) -> bool {
        self.again.iter().any(|&(later, _)| later == 0) || self.driver.has_completion()
    }

    fn publish(&mut self) {
        self.driver.publish();
    }

    fn sync_cancel(&mut self, user_data: u64) -> io::Result<()> {
        self.driver.sync_cancel(user_data)
    }

    unsafe fn register(&mut self, opcode: u32, arg: *mut c_void, count: u32) -> io::Result<u32> {
        // SAFETY: (I1) by this function's contract.
        unsafe { self.driver.register(opcode, arg, count) }
    }

    fn ring(&self) -> BorrowedFd<'_> {
        self.driver.ring()
    }

    fn supports(&self, opcode: u8) -> bool {
        self.driver.supports(opcode)
    }

    fn sends_bundles(&self) -> bool {
        self.driver.sends_bundles()
    }

    fn dropped(&self) -> u32 {
        self.driver.dropped()
    }
}

impl<D> fmt::Debug for Fault<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("plan", &self.plan).finish_non_exhaustive()
    }
}
