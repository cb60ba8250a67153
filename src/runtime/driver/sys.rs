//! The kernel's own face: three system calls, their structures and constants, and the mapping of a ring.
//!
//! Knows: the ABI of io_uring as `linux/io_uring.h` has it. Does not know: what is queued, or who waits for it.
//!
//! The `io-uring` crate stays the source of entries and opcodes. Its queue handles are not used, because rewriting an
//! entry in place, publishing once per turn and falling back flag by flag all need the queues themselves.
#![allow(unsafe_code, reason = "system calls, and memory shared with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

use libc::{c_int, c_long, c_void};

/// `IORING_SETUP_*`.
pub(crate) mod setup {
    pub(crate) const CQSIZE: u32 = 1 << 3;
    pub(crate) const CLAMP: u32 = 1 << 4;
    pub(crate) const SUBMIT_ALL: u32 = 1 << 7;
    pub(crate) const COOP_TASKRUN: u32 = 1 << 8;
    pub(crate) const TASKRUN_FLAG: u32 = 1 << 9;
    pub(crate) const SINGLE_ISSUER: u32 = 1 << 12;
    pub(crate) const DEFER_TASKRUN: u32 = 1 << 13;
    pub(crate) const NO_SQARRAY: u32 = 1 << 16;
}

/// `IORING_FEAT_*`.
pub(crate) mod feature {
    pub(crate) const SINGLE_MMAP: u32 = 1 << 0;
    pub(crate) const NODROP: u32 = 1 << 1;
    pub(crate) const EXT_ARG: u32 = 1 << 8;
    pub(crate) const RECVSEND_BUNDLE: u32 = 1 << 14;
    pub(crate) const MIN_TIMEOUT: u32 = 1 << 15;
    pub(crate) const NO_IOWAIT: u32 = 1 << 17;
}

/// `IORING_ENTER_*`.
pub(crate) mod enter {
    pub(crate) const GETEVENTS: u32 = 1 << 0;
    pub(crate) const EXT_ARG: u32 = 1 << 3;
    pub(crate) const REGISTERED_RING: u32 = 1 << 4;
    pub(crate) const NO_IOWAIT: u32 = 1 << 7;
}

/// `IORING_SQ_*`: what the kernel says in the flags of the submission queue.
pub(crate) mod sq {
    pub(crate) const CQ_OVERFLOW: u32 = 1 << 1;
    pub(crate) const TASKRUN: u32 = 1 << 2;
}

/// `IORING_REGISTER_*`, opcodes of the register call.
pub(crate) mod register {
    pub(crate) const EVENTFD: u32 = 4;
    pub(crate) const UNREGISTER_EVENTFD: u32 = 5;
    pub(crate) const FILES_UPDATE: u32 = 6;
    pub(crate) const PROBE: u32 = 8;
    pub(crate) const FILES2: u32 = 13;
    pub(crate) const BUFFERS2: u32 = 15;
    pub(crate) const BUFFERS_UPDATE: u32 = 16;
    pub(crate) const IOWQ_MAX_WORKERS: u32 = 19;
    pub(crate) const RING_FDS: u32 = 20;
    pub(crate) const UNREGISTER_RING_FDS: u32 = 21;
    pub(crate) const BUFFER_RING: u32 = 22;
    pub(crate) const UNREGISTER_BUFFER_RING: u32 = 23;
    pub(crate) const SYNC_CANCEL: u32 = 24;
    pub(crate) const FILE_ALLOC_RANGE: u32 = 25;
    pub(crate) const BUFFER_RING_STATUS: u32 = 26;
    pub(crate) const CLONE_BUFFERS: u32 = 30;
}

/// `IORING_RSRC_REGISTER_SPARSE`.
const REGISTER_SPARSE: u32 = 1 << 0;

/// `IO_URING_OP_SUPPORTED`.
const OP_SUPPORTED: u16 = 1 << 0;

/// Where the kernel placed the submission queue, in bytes from the start of the mapping.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SqOffsets {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) ring_mask: u32,
    pub(crate) ring_entries: u32,
    pub(crate) flags: u32,
    pub(crate) dropped: u32,
    pub(crate) array: u32,
    reserved: u32,
    user_addr: u64,
}

/// Where the kernel placed the completion queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CqOffsets {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) ring_mask: u32,
    pub(crate) ring_entries: u32,
    pub(crate) overflow: u32,
    pub(crate) cqes: u32,
    pub(crate) flags: u32,
    reserved: u32,
    user_addr: u64,
}

/// `struct io_uring_params`: what setup is asked for, and what it answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Params {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    pub(crate) features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    pub(crate) sq_off: SqOffsets,
    pub(crate) cq_off: CqOffsets,
}

impl Params {
    /// What to ask for; everything else is the kernel's to fill.
    pub(crate) fn new(flags: u32, cq_entries: u32) -> Self {
        Self { flags, cq_entries, ..Self::default() }
    }
}

/// `struct __kernel_timespec`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl From<Duration> for Timespec {
    fn from(duration: Duration) -> Self {
        Self {
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(duration.subsec_nanos()),
        }
    }
}

/// When an `enter` stops waiting though what it waits for is not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Then it returns in any case.
    pub(crate) timeout: Timespec,
    /// From then on one completion is enough. Not 0 only where the kernel has `MIN_TIMEOUT`.
    pub(crate) min_wait_usec: u32,
}

/// `struct io_uring_getevents_arg`: how a wait carries its timeout.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timeout: u64,
}

/// `struct io_uring_rsrc_update`, as the registration of ring descriptors takes it.
#[repr(C)]
struct RingFdUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_rsrc_register`.
#[repr(C)]
pub(crate) struct TableRegistration {
    count: u32,
    flags: u32,
    reserved: u64,
    data: u64,
    tags: u64,
}

impl TableRegistration {
    /// A table of so many slots, all of them empty.
    pub(crate) fn sparse(slots: u32) -> Self {
        Self { count: slots, flags: REGISTER_SPARSE, reserved: 0, data: 0, tags: 0 }
    }
}

/// `struct io_uring_files_update`: what is put into some slots, one after the other.
#[repr(C)]
pub(crate) struct SlotUpdate {
    offset: u32,
    reserved: u32,
    fds: u64,
}

impl SlotUpdate {
    /// `fd` into one slot; -1 empties it. The number must live until the call returns.
    pub(crate) fn one(slot: u32, fd: &RawFd) -> Self {
        Self { offset: slot, reserved: 0, fds: ptr::from_ref(fd).expose_provenance() as u64 }
    }
}

/// `struct io_uring_buf_reg`: a ring of provided buffers.
#[repr(C)]
pub(crate) struct BufferRing {
    address: u64,
    entries: u32,
    group: u16,
    flags: u16,
    reserved: [u64; 3],
}

/// `IOU_PBUF_RING_INC`: a buffer may be used up by several completions.
const BUFFERS_INCREMENTAL: u16 = 1 << 1;

impl BufferRing {
    /// A ring of so many entries at `ring`.
    pub(crate) fn new(ring: NonNull<u8>, entries: u32, group: u16, incremental: bool) -> Self {
        let address = ring.as_ptr().expose_provenance() as u64;
        let flags = if incremental { BUFFERS_INCREMENTAL } else { 0 };
        Self { address, entries, group, flags, reserved: [0; 3] }
    }

    /// What takes it back.
    pub(crate) fn of(group: u16) -> Self {
        Self { address: 0, entries: 0, group, flags: 0, reserved: [0; 3] }
    }
}

/// `struct io_uring_buf_status`: how far the kernel has got with a ring of provided buffers.
#[repr(C)]
pub(crate) struct BufferRingStatus {
    group: u32,
    pub(crate) head: u32,
    reserved: [u32; 8],
}

impl BufferRingStatus {
    pub(crate) fn of(group: u16) -> Self {
        Self { group: group.into(), head: 0, reserved: [0; 8] }
    }
}

/// `struct io_uring_rsrc_update2`, for the table of buffers.
#[repr(C)]
pub(crate) struct BufferUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
    tags: u64,
    count: u32,
    reserved2: u32,
}

impl BufferUpdate {
    /// `memory` into one slot; a null pointer with no length empties it. The record must live until the call returns.
    pub(crate) fn one(slot: u32, memory: &libc::iovec) -> Self {
        let data = ptr::from_ref(memory).expose_provenance() as u64;
        Self { offset: slot, reserved: 0, data, tags: 0, count: 1, reserved2: 0 }
    }
}

/// `struct io_uring_clone_buffers`.
#[repr(C)]
pub(crate) struct CloneBuffers {
    source: u32,
    flags: u32,
    source_offset: u32,
    offset: u32,
    count: u32,
    padding: [u32; 3],
}

impl CloneBuffers {
    /// The whole table of another ring, as ours.
    pub(crate) fn all_of(source: RawFd) -> Self {
        Self { source: source as u32, flags: 0, source_offset: 0, offset: 0, count: 0, padding: [0; 3] }
    }
}

/// `struct io_uring_file_index_range`.
#[repr(C)]
pub(crate) struct SlotRange {
    pub(crate) start: u32,
    pub(crate) count: u32,
    pub(crate) reserved: u64,
}

/// `struct io_uring_sync_cancel_reg`.
#[repr(C)]
struct SyncCancel {
    user_data: u64,
    fd: i32,
    flags: u32,
    timeout: Timespec,
    opcode: u8,
    padding: [u8; 7],
    padding2: [u64; 3],
}

/// `struct io_uring_probe` with room for every opcode a byte can name.
#[repr(C)]
struct Probe {
    last_op: u8,
    ops_len: u8,
    reserved: u16,
    reserved2: [u32; 3],
    ops: [ProbeOp; 256],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ProbeOp {
    op: u8,
    reserved: u8,
    flags: u16,
    reserved2: u32,
}

// A layout that differs from the kernel's would be noticed only as EINVAL or EFAULT.
const _: () = {
    assert!(size_of::<Params>() == 120);
    assert!(size_of::<GetEventsArg>() == 24);
    assert!(size_of::<RingFdUpdate>() == 16);
    assert!(size_of::<SyncCancel>() == 64);
    assert!(size_of::<TableRegistration>() == 32);
    assert!(size_of::<SlotUpdate>() == 16);
    assert!(size_of::<BufferRing>() == 40);
    assert!(size_of::<BufferRingStatus>() == 40);
    assert!(size_of::<BufferUpdate>() == 32);
    assert!(size_of::<CloneBuffers>() == 32);
    assert!(size_of::<SlotRange>() == 16);
    assert!(size_of::<Probe>() == 16 + 256 * 8);
    assert!(size_of::<io_uring::squeue::Entry>() == 64);
};

/// The three system calls. [`Linux`] makes them; the fault shim fails chosen ones before they are made.
pub(crate) trait Kernel {
    /// `io_uring_setup`: creates a ring. The descriptor is close-on-exec.
    fn setup(&self, entries: u32, params: &mut Params) -> io::Result<OwnedFd>;

    /// `io_uring_enter`: submits up to `submit` entries and, with `GETEVENTS`, waits for `want` completions.
    ///
    /// # Safety
    ///
    /// What the published entries of this ring point to stays valid until their terminal completions (I1).
    unsafe fn enter(
        &self,
        ring: RawFd,
        submit: u32,
        want: u32,
        flags: u32,
        limits: Option<Limits>,
    ) -> io::Result<u32>;

    /// `io_uring_register`.
    ///
    /// # Safety
    ///
    /// `arg` and `count` are what `opcode` asks for, and memory that stays registered outlives the registration.
    unsafe fn register(&self, ring: RawFd, opcode: u32, arg: *mut c_void, count: u32) -> io::Result<u32>;
}

/// The system call itself, without a function around it: the kernel leaves the processor without its record of return
/// addresses, so every `ret` on the way back from here is a misprediction, 2 % of an op that is awaited alone.
///
/// # Safety
///
/// As for [`Kernel::enter`]; `arg` and `size` are what `flags` asks for.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn raw_enter(
    ring: RawFd,
    submit: u32,
    want: u32,
    flags: u32,
    arg: *const c_void,
    size: usize,
) -> io::Result<u32> {
    let result: i64;
    // SAFETY: (local) the kernel's calling convention: it clobbers rcx and r11, keeps the rest, and leaves the stack alone.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_io_uring_enter => result,
            in("rdi") i64::from(ring),
            in("rsi") u64::from(submit),
            in("rdx") u64::from(want),
            in("r10") u64::from(flags),
            in("r8") arg,
            in("r9") size,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as u32) }
}

/// The system call.
///
/// # Safety
///
/// As for [`Kernel::enter`]; `arg` and `size` are what `flags` asks for.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn raw_enter(
    ring: RawFd,
    submit: u32,
    want: u32,
    flags: u32,
    arg: *const c_void,
    size: usize,
) -> io::Result<u32> {
    // SAFETY: (I1) as this function's contract says.
    check(unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, submit, want, flags, arg, size) })
}

/// The kernel this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Linux;

impl Kernel for Linux {
    fn setup(&self, entries: u32, params: &mut Params) -> io::Result<OwnedFd> {
        // SAFETY: (local) `params` is a live `struct io_uring_params`, which the kernel reads and fills during the call.
        let fd = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, ptr::from_mut(params)) })?;
        // SAFETY: (local) the call succeeded, so this is a new descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    #[inline(always)]
    unsafe fn enter(
        &self,
        ring: RawFd,
        submit: u32,
        want: u32,
        flags: u32,
        limits: Option<Limits>,
    ) -> io::Result<u32> {
        match limits {
            // SAFETY: (I1) no extended argument is passed; the entries are covered by this function's contract.
            None => unsafe { raw_enter(ring, submit, want, flags, ptr::null(), 0) },
            Some(Limits { timeout, min_wait_usec }) => {
                let arg = GetEventsArg {
                    sigmask: 0,
                    sigmask_size: 0,
                    min_wait_usec,
                    timeout: ptr::from_ref(&timeout).expose_provenance() as u64,
                };
                let flags = flags | enter::EXT_ARG;
                let size = size_of::<GetEventsArg>();
                // SAFETY: (local) `arg` and the timespec it names live until the call returns, and the kernel keeps neither.
                unsafe { raw_enter(ring, submit, want, flags, ptr::from_ref(&arg).cast(), size) }
            }
        }
    }

    unsafe fn register(&self, ring: RawFd, opcode: u32, arg: *mut c_void, count: u32) -> io::Result<u32> {
        // SAFETY: (I1) by this function's contract.
        check(unsafe { libc::syscall(libc::SYS_io_uring_register, ring, opcode, arg, count) })
    }
}

#[inline]
fn check(result: c_long) -> io::Result<u32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as u32) }
}

/// Which opcodes the kernel knows, one bit each (`IORING_REGISTER_PROBE`).
pub(crate) fn probe(kernel: &impl Kernel, ring: RawFd) -> io::Result<[u64; 4]> {
    let blank = ProbeOp { op: 0, reserved: 0, flags: 0, reserved2: 0 };
    let mut probe =
        Box::new(Probe { last_op: 0, ops_len: 0, reserved: 0, reserved2: [0; 3], ops: [blank; 256] });
    let arg = ptr::from_mut(&mut *probe).cast();
    // SAFETY: (local) `arg` is a zeroed `struct io_uring_probe` with room for 256 operations, the count that is given.
    unsafe { kernel.register(ring, register::PROBE, arg, 256)? };
    let mut known = [0_u64; 4];
    for entry in probe.ops.iter().take(usize::from(probe.ops_len)) {
        if entry.flags & OP_SUPPORTED != 0 {
            known[usize::from(entry.op / 64)] |= 1 << (entry.op % 64);
        }
    }
    Ok(known)
}

/// Makes an answered probe deny these opcodes.
///
/// # Safety
///
/// `arg` is what [`probe`] passed to the register call.
pub(crate) unsafe fn hide_opcodes(arg: *mut c_void, opcodes: &[u8]) {
    // SAFETY: (I1) by this function's contract.
    let probe = unsafe { &mut *arg.cast::<Probe>() };
    for entry in probe.ops.iter_mut().filter(|entry| opcodes.contains(&entry.op)) {
        entry.flags &= !OP_SUPPORTED;
    }
}

/// Gives the ring an index in the thread's own table, which spares each `enter` a look-up (`IORING_REGISTER_RING_FDS`).
pub(crate) fn register_ring_fd(kernel: &impl Kernel, ring: RawFd) -> io::Result<u32> {
    let mut update = RingFdUpdate { offset: u32::MAX, reserved: 0, data: ring as u64 };
    // SAFETY: (local) one live update record, which the kernel reads and fills during the call.
    let done = unsafe { kernel.register(ring, register::RING_FDS, ptr::from_mut(&mut update).cast(), 1)? };
    if done == 1 { Ok(update.offset) } else { Err(io::Error::from_raw_os_error(libc::EAGAIN)) }
}

/// Gives back what [`register_ring_fd`] took. The table holds the ring open, so closing the descriptor is not enough.
pub(crate) fn unregister_ring_fd(kernel: &impl Kernel, ring: RawFd, index: u32) -> io::Result<()> {
    let mut update = RingFdUpdate { offset: index, reserved: 0, data: 0 };
    // SAFETY: (local) one live update record, which the kernel only reads.
    unsafe { kernel.register(ring, register::UNREGISTER_RING_FDS, ptr::from_mut(&mut update).cast(), 1)? };
    Ok(())
}

/// Cancels by `user_data`, now, without a queue entry (`IORING_REGISTER_SYNC_CANCEL`).
pub(crate) fn sync_cancel(kernel: &impl Kernel, ring: RawFd, user_data: u64) -> io::Result<()> {
    let mut request = SyncCancel {
        user_data,
        fd: -1,
        flags: 0,
        timeout: Timespec { seconds: 0, nanoseconds: 0 },
        opcode: 0,
        padding: [0; 7],
        padding2: [0; 3],
    };
    // SAFETY: (local) one live request record, which the kernel only reads.
    unsafe { kernel.register(ring, register::SYNC_CANCEL, ptr::from_mut(&mut request).cast(), 1)? };
    Ok(())
}

/// Has the kernel signal the eventfd whenever there is something to enter for (`IORING_REGISTER_EVENTFD`).
pub(crate) fn register_eventfd(kernel: &impl Kernel, ring: RawFd, eventfd: RawFd) -> io::Result<()> {
    let mut eventfd: c_int = eventfd;
    // SAFETY: one live descriptor number, which the kernel only reads.
    unsafe { kernel.register(ring, register::EVENTFD, ptr::from_mut(&mut eventfd).cast(), 1)? };
    Ok(())
}

/// Takes back what [`register_eventfd`] did.
pub(crate) fn unregister_eventfd(kernel: &impl Kernel, ring: RawFd) -> io::Result<()> {
    // SAFETY: this registration takes no argument.
    unsafe { kernel.register(ring, register::UNREGISTER_EVENTFD, ptr::null_mut(), 0)? };
    Ok(())
}

/// Waits until the descriptor is readable, the time is over, or a signal comes.
pub(crate) fn wait_readable(fd: RawFd, timeout: Option<Duration>) -> io::Result<()> {
    let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: one live record, and a timespec that is null or live; the kernel keeps neither.
    let done = unsafe { libc::ppoll(&raw mut polled, 1, timeout, ptr::null()) };
    match check(done.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINTR) => Err(error),
        _ => Ok(()),
    }
}

/// Memory shared with the kernel. A child after `fork` does not inherit it.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// The rings' heads, tails and flags, the completions, and the index array of old kernels.
    pub(crate) const RINGS: i64 = 0;
    /// The submission queue entries.
    pub(crate) const ENTRIES: i64 = 0x1000_0000;

    /// Maps `len` bytes of one of the ring's areas.
    pub(crate) fn new(ring: &OwnedFd, area: i64, len: usize) -> io::Result<Self> {
        let access: c_int = libc::PROT_READ | libc::PROT_WRITE;
        let kind: c_int = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: (local) a new mapping at an address the kernel chooses overlaps nothing of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, ring.as_raw_fd(), area) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let mapping = Self { start, len };
        // SAFETY: (local) exactly the mapping made above.
        if unsafe { libc::madvise(mapping.start.as_ptr().cast(), len, libc::MADV_DONTFORK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    /// The address `offset` bytes into the mapping, where a `T` fits.
    pub(crate) fn at<T>(&self, offset: u32) -> NonNull<T> {
        let offset = offset as usize;
        assert!(offset + size_of::<T>() <= self.len, "the kernel's offset lies outside the mapping");
        // SAFETY: (local) inside the mapping, by the assertion above.
        let at = unsafe { self.start.add(offset) }.cast::<T>();
        assert!(at.is_aligned(), "the kernel's offset is not aligned");
        at
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: (local) this value owns the mapping, and whoever made pointers into it (`Ring`) is being dropped with it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
