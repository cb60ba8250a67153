//! Every interleaving of the thread that keeps timers and who arms or disarms one.
//!
//! Knows: the book of timers. Does not know: the thread itself, which never ends.

mod model {
    use std::task::{Wake, Waker};
    use std::time::{Duration, Instant};

    use super::super::Book;
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use crate::sync::{Arc, thread};

    struct Count(Arc<AtomicUsize>);

    impl Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A timer that is due, armed beside a thread which looks and goes to sleep, for ever or for another timer (no time
    /// passes in a model). It is fired once: `timer-thread-sleeps-on-an-old-look`, `timer-thread-is-told-of-the-first`.
    #[test]
    fn no_timer_is_slept_through() {
        loom::model(|| {
            let book = Arc::new(Book::new(0));
            let fired = Arc::new(AtomicUsize::new(0));
            let waker = Waker::from(std::sync::Arc::new(Count(fired.clone())));
            let start = || Ok::<(), ()>(());
            let hour = book.arm(Instant::now() + Duration::from_secs(3600), Waker::noop(), start).unwrap();
            let thread = thread::spawn({
                let (book, fired) = (book.clone(), fired.clone());
                move || {
                    let (mut timers, mut due) = (book.timers(), Vec::new());
                    while fired.load(Ordering::SeqCst) == 0 {
                        timers = book.turn(timers, &mut due);
                    }
                }
            });
            let gone = book.arm(Instant::now(), &waker, start).unwrap();
            thread.join().unwrap();
            assert!(book.disarm(&gone).is_none() && book.disarm(&hour).is_some());
            assert_eq!(fired.load(Ordering::SeqCst), 1);
        });
    }

    /// A timer that is disarmed beside the thread fires, or its waker comes back.
    #[test]
    fn a_timer_is_fired_or_taken_back() {
        loom::model(|| {
            let book = Arc::new(Book::new(0));
            let fired = Arc::new(AtomicUsize::new(0));
            let waker = Waker::from(std::sync::Arc::new(Count(fired.clone())));
            let timer = book.arm(Instant::now(), &waker, || Ok::<(), ()>(())).unwrap();
            let thread = thread::spawn({
                let book = book.clone();
                move || drop(book.turn(book.timers(), &mut Vec::new()))
            });
            let back = book.disarm(&timer).is_some();
            if back {
                book.arm(Instant::now(), Waker::noop(), || Ok::<(), ()>(())).unwrap(); // ends its turn
            }
            thread.join().unwrap();
            assert_eq!(fired.load(Ordering::SeqCst), usize::from(!back));
        });
    }
}
