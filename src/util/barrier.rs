//! A full barrier in two halves: one side pays nothing and the other pays for both.
//!
//! Knows: `sync`, the membarrier call. Does not know: what it orders.
//!
//! `light(); look` on one thread and `store; heavy(); look` on another never both miss what the other did: as if both
//! were `fence(SeqCst)`. The heavy half interrupts every processor that runs a thread of this process (microseconds), so
//! it is for what happens once in the life of something whose light half happens all the time.
#![allow(unsafe_code, reason = "membarrier has no face in std")]

#[cfg(any(millstream_loom, millstream_shuttle, miri))]
pub(crate) use fences::{heavy, light, prepare, verified_light, works};
#[cfg(not(any(millstream_loom, millstream_shuttle, miri)))]
pub(crate) use membarrier::{heavy, light, prepare, try_heavy, verified_light, works};

#[cfg(any(millstream_loom, millstream_shuttle, miri))]
mod fences {
    use crate::sync::atomic::{Ordering, fence};

    #[inline]
    pub(crate) fn light() {
        if !planted!("light-is-nothing") {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn prepare() {}

    pub(crate) fn works() -> Option<bool> {
        Some(true)
    }

    #[inline]
    pub(crate) fn verified_light() {
        light();
    }
}

#[cfg(not(any(millstream_loom, millstream_shuttle, miri)))]
mod membarrier {
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use crate::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};
    use crate::sync::thread;

    const UNKNOWN: u8 = 0;
    const PREPARING: u8 = 1;
    const WORKS: u8 = 2;
    const REFUSED: u8 = 3;

    /// Whether the kernel does the light half's part.
    static KERNEL: AtomicU8 = AtomicU8::new(UNKNOWN);

    fn call(command: libc::c_int) -> bool {
        // SAFETY: (local) takes no pointers; an unknown command or a filtered call is an error code.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    fn register() -> bool {
        call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
    }

    /// Asks the kernel for its part, once in a process. With other threads about, it lets milliseconds pass before it
    /// answers; so a thread of its own waits for that, and until then every light half is a fence.
    pub(crate) fn prepare() {
        // ORDERING: as in `light`.
        if KERNEL.load(Ordering::Relaxed) != UNKNOWN
            || KERNEL.compare_exchange(UNKNOWN, PREPARING, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let ask = || KERNEL.store(if register() { WORKS } else { REFUSED }, Ordering::Relaxed);
        if is_only_thread() {
            return ask();
        }
        let asking = thread::Builder::new().name("millstream-barrier".into()).spawn(ask);
        if asking.is_err() {
            KERNEL.store(UNKNOWN, Ordering::Relaxed); // for whoever comes next
        }
    }

    /// Whether this is the only thread of the process; `false` where it cannot be known.
    fn is_only_thread() -> bool {
        // A directory has a link from each directory in it: here one for each thread, beside its own two.
        std::fs::metadata("/proc/self/task").is_ok_and(|tasks| tasks.nlink() == 3)
    }

    #[inline]
    pub(crate) fn light() {
        // ORDERING: Relaxed: whatever the value, the right thing is done below, and once it is WORKS it stays so.
        if KERNEL.load(Ordering::Relaxed) == WORKS {
            // ORDERING: keeps the compiler from moving the look up; for the processor the heavy half pays.
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// Whether the kernel does the light half's part, for ever after. `None`: it has not answered yet, or nobody has
    /// [asked](prepare) it.
    pub(crate) fn works() -> Option<bool> {
        // ORDERING: as in `light`.
        match KERNEL.load(Ordering::Relaxed) {
            WORKS => Some(true),
            REFUSED => Some(false),
            _ => None,
        }
    }

    /// The light half for whom the kernel is known to do its part.
    #[inline]
    pub(crate) fn verified_light() {
        // ORDERING: as in `light`.
        compiler_fence(Ordering::SeqCst);
    }

    /// The heavy half for somebody who can do without: `false` if the kernel does not do its part, or not yet. Never
    /// waits for that.
    pub(crate) fn try_heavy() -> bool {
        prepare();
        fence(Ordering::SeqCst);
        KERNEL.load(Ordering::Relaxed) == WORKS && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
        if KERNEL.load(Ordering::Relaxed) == REFUSED {
            return; // every light half was a fence
        }
        // A forked child has to register again.
        let done = call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
            || (register() && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED));
        if !done {
            // It worked once, and a filter has been put in place since. A processor's stores become visible long before
            // this is over, though nobody promises it.
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn this_kernel_has_it() {
            prepare();
            while KERNEL.load(Ordering::Relaxed) == PREPARING {
                light();
                heavy();
                thread::yield_now();
            }
            assert_eq!(KERNEL.load(Ordering::Relaxed), WORKS);
            light();
            heavy();
        }
    }
}
