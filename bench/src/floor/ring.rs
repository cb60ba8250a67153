//! A ring as fast as it gets: every setup flag that helps, a registered ring fd, one enter per turn.
//!
//! Knows: `io-uring`. Does not know: what is put into the ring.
#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

use std::io;

use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, squeue};

/// A ring for `entries` entries per turn.
pub(crate) fn open(entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_no_sqarray()
        .build(entries)
}

/// The three faces of a ring, kept for the whole of a loop.
pub(crate) struct Loop<'ring> {
    submitter: Submitter<'ring>,
    queue: Queue<'ring>,
    completions: CompletionQueue<'ring>,
}

/// Where the next turn's entries go.
pub(crate) struct Queue<'ring>(SubmissionQueue<'ring>);

impl Queue<'_> {
    /// Queues an entry for the next turn.
    ///
    /// # Safety
    ///
    /// What the entry points to stays valid until its terminal completion.
    ///
    /// # Panics
    ///
    /// The queue is full: a floor opens its ring for all it can queue in a turn.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry, user_data: u64) {
        // SAFETY: promised by the caller.
        unsafe { self.0.push(&entry.user_data(user_data)) }.expect("the ring was opened for as many entries");
    }
}

impl<'ring> Loop<'ring> {
    pub(crate) fn new(ring: &'ring mut IoUring) -> io::Result<Loop<'ring>> {
        let (mut submitter, queue, completions) = ring.split();
        submitter.register_ring_fd()?;
        Ok(Loop { submitter, queue: Queue(queue), completions })
    }

    pub(crate) fn queue(&mut self) -> &mut Queue<'ring> {
        &mut self.queue
    }

    /// For what is registered with the ring.
    pub(crate) fn submitter(&self) -> &Submitter<'ring> {
        &self.submitter
    }

    /// One enter, then every completion that is there: its `user_data`, its result, and where to queue what follows.
    #[inline]
    pub(crate) fn turn(&mut self, mut each: impl FnMut(&mut Queue<'ring>, u64, i32)) -> io::Result<()> {
        self.turn_whole(|queue, completion| each(queue, completion.user_data(), completion.result()))
    }

    /// The same for those who need the whole completion.
    #[inline]
    pub(crate) fn turn_whole(
        &mut self,
        each: impl FnMut(&mut Queue<'ring>, cqueue::Entry),
    ) -> io::Result<()> {
        self.queue.0.sync();
        self.submitter.submit_and_wait(1)?;
        self.queue.0.sync(); // learns that the entries are taken
        self.reap(each);
        Ok(())
    }

    /// As [`turn`](Loop::turn), but it looks for completions instead of sleeping until one is there.
    pub(crate) fn turn_awake(&mut self, mut each: impl FnMut(&mut Queue<'ring>, u64, i32)) -> io::Result<()> {
        self.queue.0.sync();
        let mut queued = self.queue.0.len() as u32;
        loop {
            if queued > 0 || self.queue.0.taskrun() {
                // SAFETY: an enter without an argument points nowhere.
                unsafe { self.submitter.enter::<()>(queued, 0, EnterFlags::GETEVENTS.bits(), None)? };
                queued = 0;
            }
            self.completions.sync();
            if !self.completions.is_empty() {
                break;
            }
            std::hint::spin_loop();
        }
        self.queue.0.sync();
        self.reap(|queue, completion| each(queue, completion.user_data(), completion.result()));
        Ok(())
    }

    #[inline]
    fn reap(&mut self, mut each: impl FnMut(&mut Queue<'ring>, cqueue::Entry)) {
        self.completions.sync();
        for completion in &mut self.completions {
            each(&mut self.queue, completion);
        }
        self.completions.sync();
    }
}
