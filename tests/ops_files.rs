//! Opening, closing, looking at and syncing files: results, errors, cancels, drops.
//!
//! Knows: the public API. Does not know: nodes.

#[path = "support/steps.rs"]
mod steps;
mod support;

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, SystemTime};

use millstream::combinators::link;
use millstream::ops::{self, EntryFlags, Fd, FileKind, IntoResult, RingOperation};
use millstream::{Operation, Runtime};
use steps::{Outcome, begin, errno, poll_once};
use support::{Descriptors, TempDir};

#[test]
fn open_makes_reads_and_refuses() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let path = dir.join("made");
        assert_eq!(errno(ops::open(&path).await), Some(libc::ENOENT));
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        let file = ops::open(&path).flags(flags).mode(0o640).await?;
        ops::write_all(&file, "grain").await.0?;
        assert_eq!(std::fs::read(&path)?, b"grain");
        assert_eq!(errno(ops::open(&path).flags(flags).await), Some(libc::EEXIST));
        let folder = ops::open(dir.path()).flags(libc::O_DIRECTORY | libc::O_PATH).await?;
        let again = ops::open_at(&folder, "made").await?;
        let (n, buf) = ops::read(&again, [0; 8]).await.into_result()?;
        assert_eq!(&buf[..n], b"grain");
        assert_eq!(errno(ops::open_at(&again, "made").await), Some(libc::ENOTDIR));
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", again.as_raw_fd()))?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("fdinfo has flags");
        assert_ne!(i32::from_str_radix(flags.trim(), 8)? & libc::O_CLOEXEC, 0, "inherited by children");
        Ok(())
    })
}

#[test]
fn a_zero_byte_in_a_path_is_an_error_that_says_so() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let folder = ops::open("/").await?;
        let submitted = || runtime.stats().submitted;
        let before = submitted();
        for error in [
            ops::open("a\0b").await.expect_err("no such path"),
            ops::open_at(&folder, "\0").await.expect_err("no such path"),
            ops::statx("/tmp\0").await.expect_err("no such path"),
            ops::statx_at(&folder, "a\0").await.expect_err("no such path"),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("zero byte"), "{error}");
        }
        assert_eq!(submitted(), before, "the kernel was not asked");
        Ok(())
    })
}

#[test]
fn what_the_kernel_was_not_asked_breaks_a_chain_all_the_same() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    let before = Descriptors::now();
    runtime.block_on(async {
        let (opened, after) = link((ops::open("a\0b"), ops::nop())).await;
        assert!(opened.expect_err("no such path").to_string().contains("zero byte"));
        assert_eq!(errno(after), Some(libc::ECANCELED));
        let file = ops::open("/dev/null").await?;
        let held = file.clone();
        let (closed, after) = link((ops::close(file), ops::nop())).await;
        assert_eq!(closed.expect_err("held twice").kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(errno(after), Some(libc::ECANCELED));
        // A chain that breaks before a close: it was not closed by the ring, and is closed all the same.
        let (failed, closed) = link((ops::open("/none"), ops::close(held))).await;
        assert_eq!((errno(failed), errno(closed)), (Some(libc::ENOENT), Some(libc::ECANCELED)));
        io::Result::Ok(())
    })?;
    before.assert_same();
    Ok(())
}

#[test]
fn an_opened_file_that_nobody_takes_is_closed() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    let before = Descriptors::now();
    runtime.block_on(async {
        for round in 0..300 {
            let mut open = ops::open("/dev/null").flags(libc::O_RDWR);
            let mut socket = ops::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
            if round % 3 == 0 {
                // By a worker thread, so that the cancel meets it at any point.
                Pin::new(&mut open).add_flags(EntryFlags::ASYNC);
                Pin::new(&mut socket).add_flags(EntryFlags::ASYNC);
            }
            assert!(!poll_once(&mut open).await && !poll_once(&mut socket).await);
            if round % 2 == 0 {
                ops::nop().await?;
            }
            drop((open, socket));
        }
        while runtime.stats().orphans > 0 {
            ops::timeout(Duration::from_millis(1)).await?;
        }
        io::Result::Ok(())
    })?;
    before.assert_same();
    Ok(())
}

#[test]
fn statx_tells_what_std_tells() -> Outcome {
    use std::os::unix::fs::MetadataExt;
    let _alone = begin();
    let dir = TempDir::new();
    std::fs::write(dir.join("file"), vec![0; 12_345])?;
    std::os::unix::fs::symlink("file", dir.join("link"))?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let std = std::fs::metadata(dir.join("file"))?;
        let folder = ops::open(dir.path()).flags(libc::O_DIRECTORY).await?;
        let file = ops::open(dir.join("file")).await?;
        for ours in [
            ops::statx(dir.join("file")).await?,
            ops::statx(dir.join("link")).await?,
            ops::statx_at(&folder, "link").await?,
            ops::statx_fd(&file).await?,
        ] {
            assert_eq!(ours.kind(), FileKind::File);
            assert_eq!(
                (ours.len(), ours.mode(), ours.ino(), ours.dev()),
                (12_345, std.mode(), std.ino(), std.dev())
            );
            assert_eq!((ours.nlink(), ours.blocks()), (1, std.blocks()));
            assert_eq!(ours.owner(), (std.uid(), std.gid()));
            assert_eq!(ours.modified(), std.modified()?);
            assert_eq!(ours.accessed(), std.accessed()?);
            assert_eq!(ours.created(), std.created().ok());
            assert!(ours.modified() <= SystemTime::now());
        }
        assert_eq!(ops::statx(dir.join("link")).no_follow().await?.kind(), FileKind::Symlink);
        assert_eq!(ops::statx_fd(&folder).await?.kind(), FileKind::Directory);
        assert_eq!(ops::statx("/dev/null").await?.kind(), FileKind::CharDevice);
        assert_eq!(errno(ops::statx(dir.join("none")).await), Some(libc::ENOENT));
        let mut dropped = ops::statx(dir.join("file"));
        assert!(!poll_once(&mut dropped).await);
        ops::nop().await?;
        drop(dropped); // a worker writes the answer: into the node, not into us
        ops::nop().await?;
        Ok(())
    })
}

#[test]
fn fsync_of_what_can_be_synced() -> Outcome {
    let _alone = begin();
    let dir = TempDir::new();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let file = ops::open(dir.join("f")).flags(libc::O_WRONLY | libc::O_CREAT).mode(0o600).await?;
        ops::write_all(&file, "x").await.0?;
        ops::fsync(&file).await?;
        ops::fsync(&file).data_only().await?;
        let (reader, _writer) = io::pipe()?;
        assert_eq!(errno(ops::fsync(reader).await), Some(libc::EINVAL));
        Ok(())
    })
}

#[test]
fn close_closes_only_the_last_hold() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    let before = Descriptors::now();
    runtime.block_on(async {
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (Fd::from(reader), Fd::from(writer));
        let held = reader.clone();
        let error = ops::close(reader).await.expect_err("held twice");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("last hold"), "{error}");
        let mut read = ops::read(&held, [0; 4]);
        assert!(!poll_once(&mut read).await);
        ops::nop().await?;
        let error = ops::close(held).await.expect_err("an op holds it");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        ops::close(writer).await?;
        assert_eq!(read.await.0?, 0, "the op held it until its end, which the writer's close has brought");
        io::Result::Ok(())
    })?;
    before.assert_same();
    Ok(())
}

/// It was the last hold: one that never gets to the kernel closes all the same.
#[test]
fn close_that_is_refused_closes() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::builder().sq_entries(2).build()?;
    let before = Descriptors::now();
    runtime.block_on(async {
        let file = ops::open("/dev/null").await?;
        let nops = (ops::nop(), ops::nop(), ops::nop(), ops::nop());
        let (closed, ..) = link((ops::close(file), nops.0, nops.1, nops.2, nops.3)).await;
        let error = closed.expect_err("longer than the queue");
        assert_eq!(error.raw_os_error(), None, "{error}");
        Outcome::Ok(())
    })?;
    before.assert_same();
    Ok(())
}

#[test]
fn close_that_is_dropped_or_cancelled_closes() -> Outcome {
    let _alone = begin();
    let runtime = Runtime::new()?;
    let before = Descriptors::now();
    runtime.block_on(async {
        for round in 0..100 {
            let file = ops::open("/dev/null").await?;
            let mut close = ops::close(file);
            if round % 5 == 0 {
                Pin::new(&mut close).add_flags(EntryFlags::ASYNC);
            }
            match round % 4 {
                0 => drop(close), // never polled
                1 => {
                    assert!(!poll_once(&mut close).await);
                    drop(close); // withdrawn
                }
                2 => {
                    assert!(!poll_once(&mut close).await);
                    ops::nop().await?;
                    drop(close); // in flight, or completed
                }
                _ => {
                    assert!(!poll_once(&mut close).await);
                    Pin::new(&mut close).request_cancel();
                    let result = close.await;
                    assert!(result.is_ok() || errno(result) == Some(libc::ECANCELED));
                }
            }
        }
        ops::timeout(Duration::from_millis(5)).await
    })?;
    before.assert_same();
    Ok(())
}

#[test]
fn close_on_another_thread_cannot_tell() -> Outcome {
    let _alone = begin();
    let before = Descriptors::now();
    let runtime = Runtime::new()?;
    let file = runtime.block_on(async {
        let file = ops::open("/dev/null").await?;
        ops::statx_fd(&file).await?; // bound to this runtime
        io::Result::Ok(file)
    })?;
    thread::spawn(move || {
        let runtime = Runtime::new().expect("a ring");
        let error = runtime.block_on(async { ops::close(file).await }).expect_err("not its to tell");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    })
    .join()
    .expect("no panic");
    drop(runtime);
    before.assert_same();
    Ok(())
}
