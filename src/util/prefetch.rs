//! Asking the processor for memory before it is needed.
//!
//! Knows: nothing. Does not know: what for.
#![allow(unsafe_code, reason = "an instruction of the processor")]

/// Has the processor bring the cache line at `at` for writing. It may be anything that is not there any more, or never was.
#[inline(always)]
pub(crate) fn to_write<T: ?Sized>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: (local) a hint, which touches no memory as far as a program can tell, and never faults.
    unsafe {
        core::arch::asm!(
            "prefetchw [{}]",
            in(reg) at.cast::<u8>(),
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
