//! The example `channels_on_tokio`, as its users run it: it counts what there is, and says what it could not read.

#[path = "support/example.rs"]
mod example;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use support::{Rng, TempDir, Watchdog};

fn program() -> Command {
    Command::new(example::path("channels_on_tokio"))
}

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

/// Runs it with that much on its standard input.
fn fed(input: Vec<u8>, options: &[&str]) -> io::Result<Output> {
    let mut child = program()
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("piped");
    let feeder = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    let _ = feeder.join().expect("it does not panic"); // the program may have ended before it has read all
    Ok(output)
}

fn interrupt(child: &Child) -> io::Result<()> {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(status.success());
    Ok(())
}

/// What the program should print, counted in the simplest way.
fn counted(text: &[u8]) -> String {
    let mut words = BTreeMap::new();
    for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        *words.entry(word).or_insert(0_u64) += 1;
    }
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_by_key(|&(_, times)| std::cmp::Reverse(times)); // stable: of one count, by word
    words.iter().map(|(word, times)| format!("{times:7} {}\n", String::from_utf8_lossy(word))).collect()
}

/// Words of all lengths, spaces of all kinds.
fn text(bytes: usize) -> Vec<u8> {
    let mut rng = Rng::from_env();
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.extend((0..1 + rng.below(3)).map(|_| b'a' + rng.below(8) as u8));
        text.extend((0..1 + rng.below(2)).map(|_| b" \n\t"[rng.below(3) as usize]));
    }
    text
}

#[test]
fn every_word_is_counted_once() -> io::Result<()> {
    let _watchdog = watchdog();
    let text = text(usize::try_from(support::rounds(5_000_000)).expect("fits"));
    for options in [&["--counters", "1"][..], &["--counters", "7", "--progress", "0.0005"], &[]] {
        let output = fed(text.clone(), &[&["--top", "100000"], options].concat())?;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), counted(&text));
    }
    assert_eq!(fed(Vec::new(), &[])?.stdout, b"");
    Ok(())
}

#[test]
fn files_are_read_one_after_the_other_and_errors_are_said() -> io::Result<()> {
    let _watchdog = watchdog();
    let dir = TempDir::new();
    let (one, two, missing) = (dir.join("one"), dir.join("two"), dir.join("missing"));
    fs::write(&one, "end")?;
    fs::write(&two, "begin end \u{e4}")?;
    let output = program().args([&one, &two]).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "      2 end\n      1 begin\n      1 \u{e4}\n");

    let output = program().arg(&one).arg(&missing).arg(dir.path()).arg(&two).output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).lines().count(),
        3,
        "the others are counted all the same"
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(stderr.contains("missing: No such file"), "{stderr}");
    Ok(())
}

#[test]
fn wrong_arguments_are_refused() -> io::Result<()> {
    let _watchdog = watchdog();
    for wrong in ["--counters=0", "--top=-1", "--progress=0", "--progress=never", "--nothing"] {
        let output = program().arg(wrong).stdin(Stdio::null()).output()?;
        assert_eq!(output.status.code(), Some(2), "{wrong}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_no_error() -> io::Result<()> {
    let _watchdog = watchdog();
    let mut child = program()
        .args(["--top", "100000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    child.stdin.take().expect("piped").write_all(&text(10_000))?;
    let output = child.wait_with_output()?;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    Ok(())
}

#[test]
fn an_interrupt_shows_what_had_been_counted() -> io::Result<()> {
    let _watchdog = watchdog();
    let mut child = program()
        .args(["--progress", "0.005"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("piped"); // open to the end: the program waits for more
    stdin.write_all(b"one two two incomplet")?;
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("3 words") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line)?, 0, "it ended early");
    }
    interrupt(&child)?;
    let rest = thread::spawn(move || io::read_to_string(stderr));
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "      2 two\n      1 one\n");
    assert!(rest.join().expect("it does not panic")?.contains("interrupted"));
    drop(stdin);
    Ok(())
}

#[test]
fn a_second_interrupt_ends_it_whatever_it_waits_for() -> io::Result<()> {
    let _watchdog = watchdog();
    let mut child = program()
        .args(["--top", "1000000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let words: String = (0..50_000).map(|n| format!("word{n} ")).collect();
    child.stdin.take().expect("piped").write_all(words.as_bytes())?;
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0])?; // it prints, more than the pipe holds, and we read no more of it
    interrupt(&child)?;
    let status = loop {
        interrupt(&child)?; // two signals that come together are one
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(130));
    Ok(())
}
