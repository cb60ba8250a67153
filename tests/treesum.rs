//! The example `treesum`: the parts that need no ring, each with its own tests, and the program against `sha256sum`.

#[path = "../examples/treesum/arguments.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod arguments;
#[path = "../examples/treesum/names.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod names;
#[path = "../examples/treesum/sequence.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod sequence;
#[path = "../examples/treesum/walk.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod walk;

#[path = "support/example.rs"]
mod example;
mod support;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use support::{TempDir, Watchdog};

/// What the program reads at a time, and so where files of different lengths take different ways.
const PIECE: usize = 128 * 1024;

fn treesum() -> Command {
    let mut command = Command::new(example::path("treesum"));
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// What the tools of the system print for the same roots.
fn reference(directory: &Path, roots: &[&str]) -> io::Result<Vec<u8>> {
    let script = r#"find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum --"#;
    let output = Command::new("sh").args(["-c", script, "sh"]).args(roots).current_dir(directory).output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(output.stdout)
}

/// Bytes without a pattern, so that a piece in the wrong place is seen.
fn noise(length: usize) -> Vec<u8> {
    let mut rng = support::Rng::new(length as u64);
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_same_lines(ours: &[u8], theirs: &[u8]) {
    for (ours, theirs) in ours.split(|&byte| byte == b'\n').zip(theirs.split(|&byte| byte == b'\n')) {
        assert_eq!(lossy(ours), lossy(theirs));
    }
    assert_eq!(ours, theirs);
}

fn tree(lengths: &[usize]) -> io::Result<TempDir> {
    let root = TempDir::new();
    let names: [&[u8]; 12] = [
        b"plain",
        b"with space",
        b"back\\slash",
        b"line\nfeed",
        b"return\r",
        b"\xff\xfe",
        "é".as_bytes(),
        b"it's",
        b"-n",
        b"*",
        b"a.b",
        b"\x01\x7f",
    ];
    for directory in [&b"."[..], b"a", b"a.", b"a/b\nc", b"a0", b"\xff"] {
        let directory = root.join(OsStr::from_bytes(directory));
        fs::create_dir_all(&directory)?;
        for (i, name) in names.iter().enumerate() {
            fs::write(directory.join(OsStr::from_bytes(name)), noise(lengths[i % lengths.len()]))?;
        }
    }
    symlink(".", root.join("a/loop"))?;
    symlink("plain", root.join("link to a file"))?;
    symlink("nowhere", root.join("dangling"))?;
    assert!(Command::new("mkfifo").arg(root.join("a/fifo")).status()?.success());
    Ok(root)
}

#[test]
fn a_tree_is_printed_as_find_sort_and_sha256sum_do() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let lengths = [0, 1, 63, 64, 4096, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 17];
    let root = tree(&lengths)?;
    for options in [&[][..], &["--jobs", "1", "--depth", "1"], &["-j", "5", "-d", "1000000"]] {
        for roots in [
            &["."][..],
            &["./", "a/b\nc"],
            &["a0", "a", "plain", "a/", "plain"],
            &["link to a file", "a/fifo"],
        ] {
            let output = treesum().args(options).args(roots).current_dir(root.path()).output()?;
            assert_same_lines(&output.stdout, &reference(root.path(), roots)?);
            assert_eq!(lossy(&output.stderr), "");
            assert_eq!(output.status.code(), Some(0));
        }
    }
    Ok(())
}

#[test]
fn long_files_are_read_whole() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let root = TempDir::new();
    for i in 0..12 {
        // More of them than buffers, so that they wait for each other.
        fs::write(root.join(format!("{i}")), noise(20 * PIECE + i % 3))?;
    }
    File::create(root.join("holes"))?.set_len(64 * PIECE as u64)?;
    fs::write(root.join("short"), noise(3 * PIECE + 1))?;
    for i in 0..100 {
        fs::hard_link(root.join("short"), root.join(format!("short {i}")))?; // reads that begin behind the end
    }
    for depth in ["1", "4", "64"] {
        let output = treesum().args(["--depth", depth, "."]).current_dir(root.path()).output()?;
        assert_same_lines(&output.stdout, &reference(root.path(), &["."])?);
        assert_eq!(output.status.code(), Some(0));
    }
    Ok(())
}

#[test]
fn files_that_do_not_know_their_length_are_read_to_the_end() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let roots = [
        "/proc/filesystems",
        "/proc/kallsyms",
        "/proc/version",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ];
    let roots: Vec<_> = roots.into_iter().filter(|root| Path::new(root).exists()).collect();
    let output = treesum().args(&roots).output()?;
    assert_same_lines(&output.stdout, &reference(Path::new("/"), &roots)?);
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_done() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let root = TempDir::new();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755))?;
    for name in ["a", "b c", "z"] {
        fs::write(root.join(name), name)?;
    }
    fs::set_permissions(root.join("b c"), Permissions::from_mode(0o000))?;
    fs::create_dir(root.join("closed"))?;
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o000))?;
    symlink("loop", root.join("loop"))?;
    let program = root.join("treesum");
    fs::copy(example::path("treesum"), &program)?; // where another user can reach it

    let roots = ["a", "b c", "it's gone", "line\nfeed", "loop/", "missing", "z", "/proc/self/mem"];
    let run = |program: &OsStr, roots: &[&str]| -> io::Result<Output> {
        let mut command = Command::new(program);
        command.arg("--").args(roots).current_dir(root.path()).env("LC_ALL", "C.UTF-8");
        if fs::metadata("/proc/self")?.uid() == 0 {
            command.uid(65534).gid(65534); // nothing is unreadable to root
        }
        command.output()
    };
    let ours = run(program.as_os_str(), &roots)?;
    let mut sorted = roots;
    sorted.sort_unstable();
    let theirs = run(OsStr::new("sha256sum"), &sorted)?;
    assert_same_lines(&ours.stdout, &theirs.stdout);
    assert_eq!(lossy(&ours.stderr).replace("treesum: ", "sha256sum: "), lossy(&theirs.stderr));
    assert_eq!(ours.status.code(), Some(1));

    let ours = run(program.as_os_str(), &["closed", "a"])?;
    assert_eq!(lossy(&ours.stderr), "treesum: closed: Permission denied\n");
    assert_eq!(lossy(&ours.stdout).lines().count(), 1);
    assert_eq!(ours.status.code(), Some(1));
    Ok(())
}

/// A directory with so many files that neither the pipe nor the window of the program holds their lines.
fn many_files(count: usize) -> io::Result<TempDir> {
    let root = TempDir::new();
    for i in 0..count {
        fs::write(root.join(format!("{i:05}{}", "x".repeat(100))), i.to_string())?;
    }
    Ok(root)
}

/// Starts the program and returns when it has begun to print; it cannot get far, because nobody reads on.
fn start(root: &Path) -> io::Result<(Child, BufReader<ChildStdout>)> {
    let mut child =
        treesum().arg(".").current_dir(root).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    assert!(!stdout.fill_buf()?.is_empty());
    Ok((child, stdout))
}

/// Waits until the program has used no processor time for a while: it has come as far as it can.
fn wait_until_idle(child: &Child) -> io::Result<()> {
    let used = || -> io::Result<Vec<String>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
        let (_, fields) = stat.rsplit_once(')').expect("the name stands in parentheses");
        Ok(fields.split_whitespace().skip(11).take(2).map(str::to_owned).collect()) // utime and stime
    };
    let mut before = used()?;
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = used()?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
}

#[test]
fn a_file_that_vanishes_is_reported_in_its_place() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let root = many_files(6000)?;
    let theirs = reference(root.path(), &["."])?;
    let (child, mut stdout) = start(root.path())?;
    let last = format!("05999{}", "x".repeat(100));
    wait_until_idle(&child)?; // listed by now, but beyond the window, so not opened
    fs::remove_file(root.join(&last))?;
    let mut ours = Vec::new();
    stdout.read_to_end(&mut ours)?;
    let output = child.wait_with_output()?;
    assert_same_lines(&ours, &theirs[..ours.len()]);
    assert_eq!(lossy(&ours).lines().count(), 5999);
    assert_eq!(lossy(&output.stderr), format!("treesum: ./{last}: No such file or directory\n"));
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[test]
fn an_interrupt_stops_cleanly_between_two_lines() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let root = many_files(3000)?;
    let theirs = reference(root.path(), &["."])?;
    let (child, mut stdout) = start(root.path())?;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    let mut ours = Vec::new();
    let output = child.wait_with_output()?; // it ends although nobody reads
    stdout.read_to_end(&mut ours)?;
    assert_eq!(output.status.code(), Some(130), "{}", lossy(&output.stderr));
    assert!(ours.ends_with(b"\n"));
    assert_same_lines(&ours, &theirs[..ours.len()]);
    assert!(ours.len() < theirs.len());
    assert_eq!(lossy(&output.stderr), "");
    Ok(())
}

#[test]
fn an_output_that_cannot_be_written_is_reported() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let root = many_files(10)?;
    let (reader, closed_pipe) = io::pipe()?;
    drop(reader);
    let full = File::options().write(true).open("/dev/full")?;
    for (stdout, error) in
        [(Stdio::from(closed_pipe), "Broken pipe"), (full.into(), "No space left on device")]
    {
        let output =
            treesum().arg(root.path()).stdout(stdout).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        assert_eq!(lossy(&output.stderr), format!("treesum: write error: {error}\n"));
        assert_eq!(output.status.code(), Some(1));
    }
    let script = r#""$1" "$2" >&-"#;
    let program = example::path("treesum");
    let output = Command::new("sh").args(["-c", script, "sh"]).arg(program).arg(root.path()).output()?;
    assert_eq!(lossy(&output.stderr), "treesum: write error: Bad file descriptor\n");
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[test]
fn memory_stays_bounded_while_nobody_reads() -> io::Result<()> {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let root = many_files(6000)?;
    for i in 0..100 {
        fs::write(root.join(format!("00000{i:03}")), noise(2 * PIECE))?;
    }
    let (mut child, mut stdout) = start(root.path())?;
    let mut half = vec![0; 500_000];
    stdout.read_exact(&mut half)?;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    assert!(peak < 64 * 1024, "{peak} kB were in use");
    drop(stdout);
    assert_eq!(child.wait()?.code(), Some(1));
    Ok(())
}

#[test]
fn the_command_line_is_explained() -> io::Result<()> {
    let help = treesum().arg("--help").output()?;
    assert_eq!(help.status.code(), Some(0));
    for word in ["--jobs", "--depth", "PATH", "130"] {
        assert!(lossy(&help.stdout).contains(word), "{word} is not explained");
    }
    let wrong = treesum().args(["--jobs", "0", "."]).output()?;
    assert_eq!(wrong.status.code(), Some(2));
    Ok(())
}
