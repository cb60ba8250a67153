//! The example `echo_server`, driven by plain blocking sockets.

#[path = "support/example.rs"]
mod example;
mod support;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use support::Watchdog;

/// Long enough that only something that never happens has not happened by then.
const NEVER: &str = "3600";

struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(options: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(example::path("echo_server"))
            .args(["--addr", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        Ok(Self { child, stdout, address: address.unwrap_or_else(|| panic!("no address in {line:?}")) })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.address)
    }

    fn interrupt(&self) -> io::Result<()> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        assert!(status.success());
        Ok(())
    }

    /// Waits for a server that was interrupted.
    fn stopped(mut self) -> io::Result<()> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest)?;
        assert_eq!(rest, "stopped\n");
        assert!(self.child.wait()?.success());
        Ok(())
    }

    fn stop(self) -> io::Result<()> {
        self.interrupt()?;
        self.stopped()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // a failed test leaves no server behind
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_echoes(conn: &mut TcpStream, text: &str) -> io::Result<()> {
    conn.write_all(text.as_bytes())?;
    let mut back = vec![0; text.len()];
    conn.read_exact(&mut back)?;
    assert_eq!(back, text.as_bytes());
    Ok(())
}

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

#[test]
fn what_is_sent_comes_back_on_every_connection() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", NEVER])?;
    let mut conns = (0..50).map(|_| server.connect()).collect::<io::Result<Vec<_>>>()?;
    for round in 0..10 {
        for (i, conn) in conns.iter_mut().enumerate() {
            assert_echoes(conn, &format!("{round}/{i}"))?;
        }
    }
    server.stop()
}

#[test]
fn a_client_that_has_said_all_gets_all_of_it_back() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", NEVER])?;
    let mut conn = server.connect()?;
    conn.write_all(b"the last words")?;
    conn.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    conn.read_to_end(&mut back)?;
    assert_eq!(back, b"the last words");
    server.stop()
}

#[test]
fn a_slow_client_gets_every_byte_and_delays_nobody() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", NEVER])?;
    let mut slow = server.connect()?;
    let sent: Vec<u8> = (0..8_u32 << 20).map(|i| (i % 251) as u8).collect();
    let writer = {
        let (mut conn, sent) = (slow.try_clone()?, sent.clone());
        thread::spawn(move || conn.write_all(&sent).and_then(|()| conn.shutdown(Shutdown::Write)))
    };
    for i in 0..100 {
        assert_echoes(&mut server.connect()?, &format!("other {i}"))?; // while the sockets of the slow one are full
    }
    let mut back = Vec::new();
    slow.read_to_end(&mut back)?;
    assert!(back == sent, "{} bytes of {} came back, or others than were sent", back.len(), sent.len());
    writer.join().expect("the writer does not panic")?;
    server.stop()
}

#[test]
fn a_reset_ends_its_own_session_only() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", NEVER, "--connections", "2"])?;
    let mut other = server.connect()?;
    assert_echoes(&mut other, "before")?;
    for _ in 0..20 {
        // Only with its permit back after each can the server take the next.
        let mut conn = server.connect()?;
        assert_echoes(&mut conn, "x")?;
        conn.write_all(b"never read")?;
        conn.peek(&mut [0; 1])?; // it is back: closing with bytes unread sends a reset
        drop(conn);
    }
    assert_echoes(&mut other, "after")?;
    server.stop()
}

#[test]
fn clients_over_the_limit_wait_for_a_permit() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", NEVER, "--connections", "2"])?;
    let (mut first, mut second) = (server.connect()?, server.connect()?);
    assert_echoes(&mut first, "1")?;
    assert_echoes(&mut second, "2")?;
    let mut third = server.connect()?; // in the backlog
    third.write_all(b"3")?;
    third.set_read_timeout(Some(Duration::from_millis(200)))?;
    let early = third.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "it was served over the limit");
    third.set_read_timeout(None)?;
    drop(first);
    let mut back = [0; 1];
    third.read_exact(&mut back)?;
    assert_eq!(&back, b"3");
    assert_echoes(&mut second, "2")?;
    server.stop()
}

#[test]
fn a_silent_client_is_dismissed() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", "0.2"])?;
    let mut conn = server.connect()?;
    assert_echoes(&mut conn, "hello")?;
    assert_eq!(conn.read(&mut [0; 1])?, 0, "the server closes");
    server.stop()
}

#[test]
fn a_client_that_takes_nothing_is_dismissed() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", "0.2", "--connections", "1"])?;
    let mut greedy = server.connect()?;
    // Never reads, and writes until the server, stuck with what it cannot send, has closed.
    let error = loop {
        if let Err(error) = greedy.write_all(&[b'x'; 64 * 1024]) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_echoes(&mut server.connect()?, "the permit is back")?;
    server.stop()
}

#[test]
fn an_interrupt_ends_idle_sessions_and_the_server() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", NEVER, "--connections", "4"])?;
    let mut conns = (0..3).map(|_| server.connect()).collect::<io::Result<Vec<_>>>()?;
    for conn in &mut conns {
        assert_echoes(conn, "x")?;
    }
    server.interrupt()?;
    for conn in &mut conns {
        assert_eq!(conn.read(&mut [0; 1])?, 0, "the server closes");
    }
    server.stopped()
}

#[test]
fn an_interrupt_ends_a_server_at_its_limit() -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(&["--idle", NEVER, "--connections", "1"])?;
    let mut conn = server.connect()?;
    assert_echoes(&mut conn, "x")?;
    server.stop()
}

#[test]
fn options_that_make_no_sense_are_refused() -> io::Result<()> {
    let _watchdog = watchdog();
    for option in ["--connections=0", "--connections=70000", "--idle=-1", "--idle=nan", "--idle=1e20"] {
        let output = Command::new(example::path("echo_server")).arg(option).output()?;
        assert_eq!(output.status.code(), Some(2), "{option}: {output:?}");
        assert!(output.stdout.is_empty(), "{option}: it listens before it looks");
    }
    Ok(())
}
