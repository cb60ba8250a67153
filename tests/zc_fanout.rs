//! The example `zc_fanout`, driven by plain blocking sockets.

#[path = "support/example.rs"]
mod example;
mod support;

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;
use std::{fs, thread};

use sha2::{Digest, Sha256};
use support::{Rng, TempDir, Watchdog};

/// Long enough that only something that never happens has not happened by then.
const NEVER: &str = "3600";

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(300))
}

fn zc_fanout() -> Command {
    Command::new(example::path("zc_fanout"))
}

fn noise(length: usize) -> Vec<u8> {
    let mut rng = Rng::new(length as u64);
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(rng.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(file: &Path, options: &[&str]) -> io::Result<Self> {
        let mut child =
            zc_fanout().args(options).arg(file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        Ok(Self { child, stdout, address: address.unwrap_or_else(|| panic!("no address in {line:?}")) })
    }

    fn interrupt(&self) -> io::Result<()> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        assert!(status.success());
        Ok(())
    }

    /// Its exit code, what it said further, and its complaints.
    fn end(&mut self) -> io::Result<(Option<i32>, String, String)> {
        let (mut said, mut complaints) = (String::new(), String::new());
        self.stdout.read_to_string(&mut said)?;
        self.child.stderr.take().expect("piped").read_to_string(&mut complaints)?;
        Ok((self.child.wait()?.code(), said, complaints))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // a failed test leaves no server behind
        let _ = self.child.wait();
    }
}

/// A client: all that comes, in bites of at most `bite` bytes.
fn client(address: SocketAddr, bite: usize) -> thread::JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let (mut conn, mut all, mut buf) = (TcpStream::connect(address)?, Vec::new(), vec![0; bite]);
        loop {
            match conn.read(&mut buf)? {
                0 => return Ok(all),
                n => all.extend_from_slice(&buf[..n]),
            }
        }
    })
}

#[test]
fn every_client_gets_every_byte() -> io::Result<()> {
    let _watchdog = watchdog();
    let directory = TempDir::new();
    let file = directory.join("file");
    for (length, options) in [
        (0, ["--clients", "2", "--chunk", "1", "--buffers", "1"]),
        (1, ["--clients", "1", "--chunk", "1", "--buffers", "1"]),
        (4096, ["--clients", "3", "--chunk", "1", "--buffers", "2"]),
        (10_000_019, ["--clients", "16", "--chunk", "64", "--buffers", "3"]),
    ] {
        let bytes = noise(length);
        fs::write(&file, &bytes)?;
        let mut server = Server::start(&file, &[&options[..], &["--idle", NEVER]].concat())?;
        let count: usize = options[1].parse().expect("a number");
        let clients: Vec<_> = (0..count).map(|n| client(server.address, 1 << (12 + n % 5))).collect();
        for client in clients {
            assert!(client.join().expect("no panic")? == bytes, "of {length} bytes");
        }
        let expected = format!("{}  {length} bytes to {count} of {count} clients\n", sum(&bytes));
        assert_eq!(server.end()?, (Some(0), expected, String::new()));
    }
    Ok(())
}

#[test]
fn it_checks_its_own_checksums() -> io::Result<()> {
    let _watchdog = watchdog();
    let directory = TempDir::new();
    let (file, bytes) = (directory.join("file"), noise(3_000_001));
    fs::write(&file, &bytes)?;
    let output = zc_fanout().args(["--check", "--clients", "5", "--chunk", "32"]).arg(&file).output()?;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let expected = format!("{}  3000001 bytes to 5 of 5 clients", sum(&bytes));
    assert_eq!(said.lines().nth(1), Some(&*expected));
    Ok(())
}

/// One that never reads is cut off, and the others get all of it, although there are fewer buffers than it could hold.
///
/// How long a client may take nothing is a matter of time, and on a busy machine one that reads may not get to it for that
/// long. Then it is asked again, with more patience; one that never reads is cut off whatever that is.
#[test]
fn a_client_that_takes_nothing_is_cut_off() -> io::Result<()> {
    let _watchdog = watchdog();
    let directory = TempDir::new();
    let (file, bytes) = (directory.join("file"), noise(16 << 20)); // more than sockets of the loopback hold
    fs::write(&file, &bytes)?;
    for idle in ["1", "8", "40"] {
        let mut server =
            Server::start(&file, &["--clients", "3", "--buffers", "2", "--chunk", "512", "--idle", idle])?;
        let stuck = TcpStream::connect(server.address)?;
        let clients = [client(server.address, 1 << 16), client(server.address, 1 << 16)];
        let got = clients.map(|client| client.join().expect("no panic").ok());
        let (code, said, complaints) = server.end()?;
        assert_eq!(code, Some(1), "{complaints}");
        let of_stuck = format!("zc_fanout: client {}: ", stuck.local_addr()?);
        assert!(complaints.lines().any(|line| line.starts_with(&of_stuck)), "{complaints}");
        if complaints.lines().count() > 1 {
            continue; // another one was late as well
        }
        assert!(got.iter().all(|got| got.as_ref() == Some(&bytes)), "whoever was not cut off has all of it");
        assert_eq!(said, format!("{}  {} bytes to 2 of 3 clients\n", sum(&bytes), bytes.len()));
        return Ok(());
    }
    panic!("a client that reads was always late too")
}

#[test]
fn a_client_that_breaks_off_costs_the_others_nothing() -> io::Result<()> {
    let _watchdog = watchdog();
    let directory = TempDir::new();
    let (file, bytes) = (directory.join("file"), noise(20 << 20));
    fs::write(&file, &bytes)?;
    let mut server = Server::start(&file, &["--clients", "2", "--buffers", "2", "--idle", NEVER])?;
    let mut broken = TcpStream::connect(server.address)?;
    let client = client(server.address, 1 << 16);
    broken.read_exact(&mut [0; 1000])?;
    drop(broken); // with bytes unread: a reset
    assert!(client.join().expect("no panic")? == bytes);
    let (code, said, complaints) = server.end()?;
    assert_eq!((code, complaints.lines().count()), (Some(1), 1), "{complaints}");
    assert!(said.ends_with("bytes to 1 of 2 clients\n"), "{said}");
    Ok(())
}

#[test]
fn an_interrupt_ends_it_at_once() -> io::Result<()> {
    let _watchdog = watchdog();
    let directory = TempDir::new();
    let file = directory.join("file");
    fs::write(&file, noise(40 << 20))?;
    // Waiting for clients; and with one that does not read, so that the kernel has pages.
    let mut server = Server::start(&file, &[])?;
    server.interrupt()?;
    assert_eq!(server.end()?, (Some(130), String::new(), String::new()));
    let mut server = Server::start(&file, &["--clients", "1", "--idle", NEVER])?;
    let mut client = TcpStream::connect(server.address)?;
    client.read_exact(&mut [0; 1000])?;
    server.interrupt()?;
    assert_eq!(server.end()?, (Some(130), String::new(), String::new()));
    assert!(client.read_to_end(&mut Vec::new()).is_err(), "reset");
    Ok(())
}

fn run(arguments: &[&str]) -> io::Result<Output> {
    zc_fanout().args(arguments).output()
}

#[test]
fn help_and_wrong_arguments() -> io::Result<()> {
    let _watchdog = watchdog();
    let output = run(&["--help"])?;
    assert!(output.status.success());
    let help = text(&output.stdout);
    for option in ["--addr", "--clients", "--chunk", "--buffers", "--idle", "--check", "130"] {
        assert!(help.contains(option), "{option} is not in {help}");
    }
    for wrong in [
        &[][..],
        &["--clients", "0", "x"],
        &["--buffers", "0", "x"],
        &["--chunk", "0", "x"],
        &["--idle", "-1", "x"],
        &["--addr", "nowhere", "x"],
        &["one", "two"],
    ] {
        let output = run(wrong)?;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty());
    }
    let output = run(&["/no/such/file"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("zc_fanout: /no/such/file: "), "{}", text(&output.stderr));
    let output = run(&["/"])?;
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(1), "zc_fanout: /: is a directory\n".into())
    );
    assert!(output.stdout.is_empty(), "it says so before it waits for anybody");
    let output = run(&["--buffers", "65535", "--chunk", "65536", "/dev/null"])?; // four tebibytes
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("zc_fanout: 65535 buffers: "), "{}", text(&output.stderr));
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let output = run(&["--addr", &address, "/dev/null"])?;
    let named = format!("zc_fanout: cannot listen on {address}: ");
    assert!(text(&output.stderr).starts_with(&named), "{}", text(&output.stderr));
    Ok(())
}

#[test]
fn whoever_reads_its_output_may_go_away() -> io::Result<()> {
    let _watchdog = watchdog();
    let directory = TempDir::new();
    let file = directory.join("file");
    fs::write(&file, noise(1000))?;
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let output = zc_fanout().arg("--check").arg(&file).stdout(writer).stderr(Stdio::piped()).output()?;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    Ok(())
}
