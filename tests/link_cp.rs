//! The example `link_cp`: the parts that need no ring, the copying on pipes of our own, and the program against `cp`.
#![allow(unsafe_code, reason = "std has no face for a pseudo-terminal, whose one end is read up to an error")]

#[path = "../examples/link_cp/arguments.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod arguments;
#[path = "../examples/link_cp/copy.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod copy;
#[path = "../examples/link_cp/extents.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod extents;

#[path = "support/example.rs"]
mod example;
mod support;

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use millstream::Runtime;
use millstream::ops::Fd;

use copy::{Failure, Job, Place};
use support::{TempDir, Watchdog};

/// What a chain moves unless it is told otherwise.
const BLOCK: usize = 256 * 1024;

fn link_cp() -> Command {
    let mut command = Command::new(example::path("link_cp"));
    command.env("LC_ALL", "C.UTF-8");
    command
}

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

fn noise(length: usize) -> Vec<u8> {
    let mut rng = support::Rng::new(length as u64);
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(rng.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_quiet(output: &Output) {
    assert_eq!((lossy(&output.stderr), lossy(&output.stdout)), (String::new(), String::new()));
    assert_eq!(output.status.code(), Some(0));
}

/// Ours and `cp`, from the same source to fresh names, with these options.
fn both(root: &TempDir, source: &str, options: &[&str]) -> io::Result<(Vec<u8>, Vec<u8>)> {
    for name in ["ours", "theirs"] {
        let _ = fs::remove_file(root.join(name));
    }
    assert_quiet(&link_cp().args(options).args([source, "ours"]).current_dir(root.path()).output()?);
    assert!(Command::new("cp").args([source, "theirs"]).current_dir(root.path()).status()?.success());
    let (ours, theirs) = (fs::metadata(root.join("ours"))?, fs::metadata(root.join("theirs"))?);
    assert_eq!((ours.mode(), ours.len()), (theirs.mode(), theirs.len()), "{source} {options:?}");
    Ok((fs::read(root.join("ours"))?, fs::read(root.join("theirs"))?))
}

#[test]
fn files_of_all_lengths_are_copied_as_cp_does() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    for length in [0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 17, 40 * BLOCK] {
        let content = noise(length);
        fs::write(root.join("source"), &content)?;
        for options in
            [&[][..], &["--depth", "1"], &["-d", "128", "-b", "4K"], &["--block", "64M"], &["-b", "5000"]]
        {
            let (ours, theirs) = both(&root, "source", options)?;
            assert!(ours == theirs && ours == content, "{length} bytes, {options:?}");
        }
    }
    fs::write(root.join("source"), noise(1000))?;
    let (ours, theirs) = both(&root, "source", &["-b", "1"])?;
    assert_eq!(ours, theirs);
    Ok(())
}

#[test]
fn modes_are_those_that_cp_gives() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    fs::write(root.join("source"), "x")?;
    for mode in [0o644, 0o600, 0o755, 0o400, 0o4755, 0o2711, 0o1777, 0o666] {
        fs::set_permissions(root.join("source"), Permissions::from_mode(mode))?;
        both(&root, "source", &[])?; // compares them
        for name in ["ours", "theirs"] {
            fs::set_permissions(root.join(name), Permissions::from_mode(0o620))?;
        }
        // What is there keeps its own.
        assert_quiet(&link_cp().args(["source", "ours"]).current_dir(root.path()).output()?);
        assert_eq!(fs::metadata(root.join("ours"))?.mode() & 0o7777, 0o620);
    }
    Ok(())
}

#[test]
fn what_was_there_is_overwritten_whole() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    fs::write(root.join("source"), noise(10))?;
    fs::write(root.join("dest"), noise(3 * BLOCK))?;
    symlink("dest", root.join("link"))?;
    fs::create_dir(root.join("folder"))?;
    for dest in ["dest", "link", "folder", "folder/source"] {
        assert_quiet(&link_cp().args(["source", dest]).current_dir(root.path()).output()?);
    }
    assert_eq!(fs::read(root.join("dest"))?, noise(10));
    assert_eq!(fs::read(root.join("folder/source"))?, noise(10));
    assert!(fs::symlink_metadata(root.join("link"))?.is_symlink());
    Ok(())
}

/// A file that is one long hole, but for so many bytes at so many places.
fn islands(path: &Path, length: u64, places: &[(u64, usize)]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(length)?;
    for &(at, bytes) in places {
        file.write_all_at(&noise(bytes), at)?;
    }
    file.sync_all()
}

/// Checks that a copy of `islands` is one: everything that it has on the disk is accounted for, so the rest is a hole.
fn check_islands(source: &Path, copy: &Path, length: u64, places: &[(u64, usize)]) -> io::Result<()> {
    let file = File::open(copy)?;
    file.sync_all()?;
    assert_eq!(file.metadata()?.len(), length);
    for &(at, bytes) in places {
        let mut found = vec![0; bytes];
        file.read_exact_at(&mut found, at)?;
        assert!(found == noise(bytes), "{bytes} bytes at {at}");
    }
    let (ours, theirs) = (file.metadata()?.blocks(), fs::metadata(source)?.blocks());
    // A file system may lay out the same data in more pieces, and takes a few blocks to say where they are.
    assert!(ours <= theirs + 2048, "{ours} blocks of 512 bytes, and {theirs} in the source");
    Ok(())
}

#[test]
fn five_gibibytes_with_holes_stay_small() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    let (source, dest) = (root.join("source"), root.join("dest"));
    let long = 5 << 30;
    let places = [(0, 1), (BLOCK as u64 * 3 - 7, 4096), ((4 << 30) - 100, 2 * BLOCK), (long - 5, 5)];
    for (places, length) in
        [(&places[..], long), (&places[..3], long), (&[], long), (&places[..2], 3 * BLOCK as u64 + 4089)]
    {
        islands(&source, length, places)?;
        let output = link_cp().arg(&source).arg(&dest).output()?;
        assert_quiet(&output);
        check_islands(&source, &dest, length, places)?;
        fs::remove_file(&dest)?;
    }
    Ok(())
}

#[test]
fn holes_are_written_where_the_other_end_cannot_have_any() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    let length = 5 * BLOCK as u64 + 3;
    islands(&root.join("source"), length, &[(BLOCK as u64 + 5, 100)])?;
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status()?.success());
    let child = link_cp().args(["source", "fifo"]).current_dir(root.path()).stderr(Stdio::piped()).spawn()?;
    let through = fs::read(root.join("fifo"))?;
    assert_quiet(&child.wait_with_output()?);
    assert!(through == fs::read(root.join("source"))?);
    Ok(())
}

#[test]
fn sources_that_do_not_know_their_length_are_copied_to_the_end() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    for source in ["/proc/filesystems", "/proc/version", "/proc/kallsyms"] {
        if Path::new(source).exists() {
            let (ours, theirs) = both(&root, source, &[])?;
            assert!(ours == theirs && !ours.is_empty(), "{source}");
        }
    }
    // A pipe gives what it has: every read is short, every chain breaks, and nothing is lost or stale.
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status()?.success());
    let child = link_cp().args(["fifo", "copy"]).current_dir(root.path()).spawn()?;
    let content = noise(700_001);
    let mut fifo = File::options().write(true).open(root.join("fifo"))?;
    let mut rng = support::Rng::new(7);
    let mut rest = &content[..];
    while !rest.is_empty() {
        let n = rest.len().min(1 + rng.below(90_000) as usize);
        fifo.write_all(&rest[..n])?;
        rest = &rest[n..];
        if rng.one_in(4) {
            thread::sleep(Duration::from_millis(2));
        }
    }
    drop(fifo);
    assert_eq!(child.wait_with_output()?.status.code(), Some(0));
    assert!(fs::read(root.join("copy"))? == content);
    Ok(())
}

/// What `cp` says, in our name.
fn theirs(root: &TempDir, arguments: &[&str]) -> io::Result<(Option<i32>, String)> {
    let output = Command::new("cp").env("LC_ALL", "C").args(arguments).current_dir(root.path()).output()?;
    Ok((
        output.status.code(),
        lossy(&output.stderr).replace("cp: ", "link_cp: ").replace("-r not specified; ", ""),
    ))
}

#[test]
fn what_cannot_be_copied_is_refused_in_the_words_of_cp() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    fs::write(root.join("source"), "content")?;
    fs::write(root.join("file"), "a file")?;
    fs::create_dir_all(root.join("folder/source"))?;
    fs::hard_link(root.join("source"), root.join("hard"))?;
    symlink("source", root.join("soft"))?;
    symlink("nowhere", root.join("dangling"))?;
    symlink("loop", root.join("loop"))?;
    for arguments in [
        &["missing", "dest"][..],
        &["folder", "dest"],
        &["dangling", "dest"],
        &["loop", "dest"],
        &["source", "source"],
        &["source", "hard"],
        &["source", "soft"],
        &["source", "./source"],
        &["soft", "source"],
        &["source", "folder"],
        &["source", "dangling"],
        &["source", "file/under"],
        &["source", "no/such/folder"],
        &["file", "/dev/full"],
        &["/proc/self/mem", "dest"],
    ] {
        let ours = link_cp().args(arguments).current_dir(root.path()).output()?;
        assert_eq!((ours.status.code(), lossy(&ours.stderr)), theirs(&root, arguments)?, "{arguments:?}");
        let _ = fs::remove_file(root.join("dest"));
    }
    assert_eq!(fs::read_to_string(root.join("source"))?, "content");
    Ok(())
}

#[test]
fn an_end_that_fails_in_the_middle_is_reported() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    fs::write(root.join("source"), noise(40 * BLOCK))?;
    // Files end at a megabyte: the write that reaches beyond fails, whichever lane does it.
    let script = r#"trap '' XFSZ; ulimit -f 2048; exec "$0" "$@""#;
    for options in [&[][..], &["-d", "1"], &["-d", "64", "-b", "8K"]] {
        let program = example::path("link_cp");
        let output = Command::new("sh")
            .args(["-c", script])
            .arg(&program)
            .args(options)
            .args(["source", "dest"])
            .env("LC_ALL", "C.UTF-8")
            .current_dir(root.path())
            .output()?;
        assert_eq!(lossy(&output.stderr), "link_cp: error writing 'dest': File too large\n", "{options:?}");
        assert_eq!(output.status.code(), Some(1));
    }
    Ok(())
}

/// Copies between two descriptors in this process, of a source that says it is so long. Gives the outcome, and what
/// progress was told.
fn transfer(from: OwnedFd, to: OwnedFd, place: Place, size: u64) -> (Result<u64, Failure>, u64) {
    let told = Rc::new(Cell::new(0));
    let progress = {
        let told = Rc::clone(&told);
        move |bytes| told.set(told.get() + bytes)
    };
    let runtime = Runtime::new().expect("a ring");
    let outcome = runtime.block_on(copy::copy(Job {
        from: (Fd::from(from), place),
        to: (Fd::from(to), place),
        size,
        sparse: false,
        block: BLOCK,
        depth: 4,
        progress,
    }));
    assert_eq!(runtime.stats().nodes, 0);
    (outcome, told.get())
}

/// A terminal that nobody sits at: what is written to the second is read from the first.
fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut reader, mut writer) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: (local) two live numbers; the name and the settings are not asked for.
    let done = unsafe { libc::openpty(&raw mut reader, &raw mut writer, none, none.cast(), none.cast()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (local) two descriptors just made, and ours.
    Ok(unsafe { (OwnedFd::from_raw_fd(reader), OwnedFd::from_raw_fd(writer)) })
}

#[test]
fn a_source_that_fails_in_the_middle_is_copied_up_to_there() -> io::Result<()> {
    let _watchdog = watchdog();
    let (from, far) = terminal()?;
    File::from(far).write_all(b"all there was")?; // and with its last holder the terminal hangs up
    let (mut copied, to) = io::pipe()?;
    let (outcome, told) = transfer(from, to.into(), Place::InOrder, 0);
    let Err(Failure::Read(error)) = outcome else { panic!("the terminal has hung up: {outcome:?}") };
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    let mut found = String::new();
    copied.read_to_string(&mut found)?;
    assert_eq!((found.as_str(), told), ("all there was", 13));
    Ok(())
}

#[test]
fn a_source_that_changes_its_length_is_copied_as_it_is_then() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    for length in [0, 100, BLOCK, 3 * BLOCK + 5, 20 * BLOCK] {
        fs::write(root.join("source"), noise(length))?;
        // It was ten blocks long when it was asked.
        let (from, to) = (File::open(root.join("source"))?, File::create(root.join("dest"))?);
        let (outcome, _) = transfer(from.into(), to.into(), Place::Anywhere, 10 * BLOCK as u64);
        assert_eq!(outcome.expect("no error"), length as u64);
        assert!(fs::read(root.join("dest"))? == noise(length), "{length}");
    }
    Ok(())
}

#[test]
fn a_destination_that_goes_away_is_an_error_of_the_write() -> io::Result<()> {
    let _watchdog = watchdog();
    let (from, mut source) = io::pipe()?;
    source.write_all(&noise(1000))?;
    drop(source);
    let (reader, to) = io::pipe()?;
    drop(reader);
    let (outcome, told) = transfer(from.into(), to.into(), Place::InOrder, 0);
    assert!(
        matches!(&outcome, Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe),
        "{outcome:?}"
    );
    assert_eq!(told, 0);
    Ok(())
}

#[test]
fn a_terminal_shows_how_far_it_is() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    fs::write(root.join("source"), noise(20 * BLOCK))?;
    let (screen, far) = terminal()?;
    let status = link_cp().args(["source", "dest"]).current_dir(root.path()).stderr(far).status()?;
    assert_eq!(status.code(), Some(0));
    let mut shown = Vec::new();
    let _ = File::from(screen).read_to_end(&mut shown); // up to the error that the hang-up is
    assert!(lossy(&shown).contains(" of 5.00 MiB"), "{}", lossy(&shown));
    assert!(fs::read(root.join("dest"))? == noise(20 * BLOCK));
    Ok(())
}

/// Sends Ctrl-C as soon as the program has done this much, and returns what it says.
fn interrupt(child: Child, done: impl Fn() -> bool) -> io::Result<Output> {
    while !done() {
        thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    child.wait_with_output()
}

/// Whether the process does something of its own at Ctrl-C by now.
fn catches_interrupts(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
    caught
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|mask| mask >> (libc::SIGINT - 1) & 1 == 1)
}

/// Whether the process has opened this path, beside its standard input and outputs.
fn has_open(pid: u32, path: &str) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|entry| {
        let standard = matches!(entry.file_name().to_str(), Some("0" | "1" | "2"));
        !standard && fs::read_link(entry.path()).is_ok_and(|open| open.as_os_str() == path)
    })
}

#[test]
fn an_interrupt_leaves_no_half_of_a_copy() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status()?.success());
    let start = |source: &str, dest: &str| {
        link_cp().args([source, dest]).current_dir(root.path()).stderr(Stdio::piped()).spawn()
    };
    let length = |name: &str| fs::metadata(root.join(name)).map_or(0, |found| found.len());

    for dest in ["new", "old"] {
        let child = start("fifo", dest)?;
        let mut fifo = File::options().write(true).open(root.join("fifo"))?;
        fifo.write_all(b"the first half")?;
        let output = interrupt(child, || length(dest) == 14)?;
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(
            lossy(&output.stderr),
            if dest == "old" { "link_cp: interrupted: 'old' is not complete\n" } else { "" }
        );
        assert!(!root.join("new").exists(), "it was not there before");
        fs::write(root.join("old"), "it was")?;
    }
    // In flight are reads and writes that end on their own, and quickly.
    let child = start("/dev/zero", "/dev/null")?;
    let pid = child.id();
    let output = interrupt(child, || {
        let opened = catches_interrupts(pid) && has_open(pid, "/dev/null");
        thread::sleep(Duration::from_millis(100)); // and has taken note of it
        opened
    })?;
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(lossy(&output.stderr), "link_cp: interrupted: '/dev/null' is not complete\n");
    // The other side does not open its end.
    let child = start("fifo", "new")?;
    let pid = child.id();
    let output = interrupt(child, || {
        thread::sleep(Duration::from_millis(50)); // most likely it is in the open by then
        catches_interrupts(pid)
    })?;
    assert_eq!(output.status.code(), Some(130));
    assert!(!root.join("new").exists());
    Ok(())
}

/// Whenever Ctrl-C comes, also while the kernel makes the file: a program that says that it was interrupted has left none.
///
/// Other files come and go in the same directory, so that whoever makes one there has to wait for a moment.
#[test]
fn an_interrupt_while_the_file_is_made_leaves_none() -> io::Result<()> {
    let _watchdog = watchdog();
    let root = TempDir::new();
    fs::write(root.join("source"), "content")?;
    let over = AtomicBool::new(false);
    let crowd = |n: u8| {
        let path = root.join(format!("other-{n}"));
        while !over.load(Ordering::Relaxed) {
            let _ = File::create(&path).and_then(|_| fs::remove_file(&path));
        }
    };
    thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || crowd(n));
        }
        let mut rng = support::Rng::new(11);
        let outcome = (0..60).try_for_each(|_| {
            let child =
                link_cp().args(["source", "new"]).current_dir(root.path()).stderr(Stdio::piped()).spawn()?;
            let pid = child.id();
            while !catches_interrupts(pid) && Path::new(&format!("/proc/{pid}/exe")).exists() {}
            thread::sleep(Duration::from_micros(rng.below(1500)));
            // SAFETY: (local) no memory is involved; the process is a child that nobody has waited for.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGINT) };
            let output = child.wait_with_output()?;
            let complete = fs::read(root.join("new")).is_ok_and(|found| found == b"content");
            match output.status.code() {
                Some(0) if complete => fs::remove_file(root.join("new")),
                Some(130) if !root.join("new").exists() => Ok(()),
                _ => Err(io::Error::other(format!("{output:?}, a copy: {complete}"))),
            }
        });
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

#[test]
fn the_command_line_is_explained() -> io::Result<()> {
    let help = link_cp().arg("--help").output()?;
    assert_eq!(help.status.code(), Some(0));
    for word in ["--depth", "--block", "SOURCE", "DEST", "130"] {
        assert!(lossy(&help.stdout).contains(word), "{word} is not explained");
    }
    assert_eq!(link_cp().args(["--depth", "0", "a", "b"]).output()?.status.code(), Some(2));
    assert_eq!(link_cp().arg("a").output()?.status.code(), Some(2));
    Ok(())
}
