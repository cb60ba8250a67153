//! The descriptor on its runtime, beside it, and after it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;

use super::Fd;
use crate::Runtime;

/// A descriptor, and how to see from outside whether it is open: no other pipe has its inode.
fn pipe() -> io::Result<(Fd, impl Fn() -> bool)> {
    let (reader, _) = io::pipe()?;
    let link = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let target = fs::read_link(&link)?;
    Ok((reader.into(), move || fs::read_link(&link).is_ok_and(|now| now == target)))
}

#[test]
fn the_last_hold_closes() -> io::Result<()> {
    let (fd, is_open) = pipe()?;
    let held = fd.clone();
    drop(fd);
    assert!(is_open());
    drop(held);
    assert!(!is_open());
    Ok(())
}

#[test]
fn it_is_one_word_wide() {
    assert_eq!(size_of::<Option<Fd>>(), size_of::<usize>());
}

#[test]
fn only_the_only_hold_gives_the_descriptor() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new()?;
    let fd = runtime.block_on(async {
        let (fd, _) = pipe()?;
        let held = Fd::from(&fd);
        let fd = fd.try_into_owned().expect_err("held twice");
        drop(held);
        io::Result::Ok(fd)
    })?;
    let number = fd.as_raw_fd();
    // Used on a runtime that does not run now: it is told from others all the same.
    let owned: OwnedFd = fd.try_into_owned().expect("the only hold");
    assert_eq!(owned.as_fd().as_raw_fd(), number);
    Ok(())
}

#[test]
fn a_hold_may_go_on_another_thread() -> Result<(), Box<dyn std::error::Error>> {
    for runtime_first in [false, true] {
        let mut runtime = Some(Runtime::new()?);
        let (fd, held, is_open) = runtime.as_ref().expect("just made").block_on(async {
            let (fd, is_open) = pipe()?;
            let held = fd.clone();
            io::Result::Ok((fd, held, is_open))
        })?;
        drop(runtime.take_if(|_| runtime_first));
        thread::spawn(move || drop((fd, held))).join().expect("no panic");
        if let Some(runtime) = runtime {
            assert!(is_open(), "its runtime alone can tell");
            runtime.block_on(async { crate::yield_now().await });
        }
        assert!(!is_open(), "runtime gone first: {runtime_first}");
    }
    Ok(())
}

mod salvage {
    //! What the salvage does with the tasks that wait for it.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::super::salvage::{Gives, Salvage, Take};
    use super::*;

    struct Woken(AtomicUsize, bool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert!(!self.1, "a waker's panic");
        }
    }

    fn waker(panics: bool) -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken(AtomicUsize::new(0), panics));
        (Arc::clone(&woken), woken.into())
    }

    #[test]
    fn every_task_is_woken_once_by_the_last_orphan() -> io::Result<()> {
        let (fd, _) = pipe()?;
        let salvage = Salvage::new();
        assert!(!salvage.concerns_reads());
        salvage.read_orphaned();
        salvage.read_orphaned();
        let ((first, a), (second, b)) = (waker(true), waker(false));
        for waker in [&a, &b, &a, &b] {
            let mut cx = Context::from_waker(waker);
            assert!(
                salvage
                    .poll_bytes(&mut cx, || Gives::of(fd.as_fd()) != Gives::Bytes, Take::Consume, 9)
                    .is_pending()
            );
        }
        let woken = || (first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed));
        salvage.message_abandoned(b"one", None, true, None);
        assert_eq!(woken(), (0, 0), "an orphan is still in flight");
        salvage.message_abandoned(b"", None, true, None);
        assert_eq!(woken(), (1, 1), "the panic of one is not the other's");
        let mut cx = Context::from_waker(&b);
        let Poll::Ready(Some((_, bytes))) =
            salvage.poll_bytes(&mut cx, || Gives::of(fd.as_fd()) != Gives::Bytes, Take::Consume, 9)
        else {
            panic!("bytes wait");
        };
        assert_eq!(&*bytes, b"one");
        assert!(!salvage.concerns_reads() && !salvage.concerns_accepts());
        assert_eq!(Arc::strong_count(&first), 2, "no waker is kept");
        Ok(())
    }
}
