//! What the documentation of the runtime promises to those who use it from outside.
//!
//! Knows: the public API. Does not know: how a runtime turns.

mod support;

use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use millstream::ops::{self, Fd};
use millstream::{Runtime, channel, spawn, time};
use support::{Watchdog, rounds};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn begin() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

#[test]
fn work_that_was_accepted_is_waited_for() -> Outcome {
    let _watchdog = begin();
    let runtime = Runtime::new()?;
    let handle = runtime.handle();
    let before = handle.spawn(async { ops::nop().await })?;
    runtime.sync_wait(async {});
    assert!(before.is_finished());
    let meanwhile = runtime.sync_wait(async { handle.spawn(async { ops::nop().await }) })?;
    assert!(meanwhile.is_finished());
    Ok(())
}

#[test]
fn durations_without_end_are_none_too_long() -> Outcome {
    let _watchdog = begin();
    let runtime = Runtime::builder().spin(Duration::MAX).shutdown_deadline(Duration::MAX).build()?;
    runtime.block_on(async {
        let (reader, _writer) = io::pipe()?;
        spawn(ops::read(reader, [0; 1])).detach();
        time::sleep(Duration::from_millis(1)).await;
        ops::nop().await
    })?;
    Ok(runtime.shutdown()?)
}

#[test]
fn descriptors_that_travel_close_where_the_last_hold_goes() -> Outcome {
    let _watchdog = begin();
    let (there_tx, there) = channel::bounded::<Fd>(0);
    let (back_tx, back) = channel::bounded(1);
    let other = thread::spawn(move || {
        Runtime::new().expect("io_uring").block_on(async move {
            while let Ok(writer) = there.pop().await {
                ops::write_all(&writer, "flour").await.0.expect("the reader is there");
                back_tx.push(writer).await.expect("someone waits for it");
            }
        });
    });
    Runtime::new()?.block_on(async {
        for n in 0..rounds(500) {
            let (mut reader, writer) = io::pipe()?;
            let writer = Fd::from(writer);
            // Cloned here first it belongs to this runtime, otherwise to the other.
            let mine = (n % 2 == 0).then(|| writer.clone());
            there_tx.push(writer).await?;
            let writer = back.pop().await?;
            drop(mine);
            if n % 4 == 0 {
                ops::close(writer).await?;
            } else {
                drop(writer);
            }
            let mut text = String::new();
            reader.read_to_string(&mut text)?; // ends when nobody holds the writer any more
            assert_eq!(text, "flour");
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    drop(there_tx);
    other.join().expect("no panic");
    Ok(())
}

#[test]
fn the_last_hold_closes_though_its_runtime_idles_or_is_gone() -> Outcome {
    let _watchdog = begin();
    let (fds_tx, fds) = mpsc::channel();
    let (mut reader, writer) = io::pipe()?;
    let thread = thread::spawn(move || {
        let runtime = Runtime::new().expect("io_uring");
        let fd = Fd::from(writer);
        let clone = runtime.block_on(async { fd.clone() });
        drop(fd);
        fds_tx.send((runtime.handle(), clone)).expect("the test waits for it");
        runtime.run();
    });
    let (handle, fd) = fds.recv()?;
    let also = fd.clone();
    drop(fd);
    drop(also);
    assert_eq!(reader.read(&mut [0; 1])?, 0);
    handle.stop();
    thread.join().expect("no panic");

    let (mut reader, writer) = io::pipe()?;
    let fd = thread::spawn(move || {
        let fd = Fd::from(writer);
        Runtime::new().expect("io_uring").block_on(async { fd.clone() })
    });
    drop(fd.join().expect("no panic"));
    assert_eq!(reader.read(&mut [0; 1])?, 0);
    Ok(())
}
