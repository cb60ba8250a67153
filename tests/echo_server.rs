//! The examples `echo_server` and `echo_multishot`, driven by plain blocking sockets: what they promise alike.

#[path = "support/example.rs"]
mod example;
#[path = "support/server.rs"]
mod server;
mod support;

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{Watchdog, kernel_version, skip};

/// Long enough that only something that never happens has not happened by then.
const NEVER: &str = "3600";

/// One of the examples.
struct Server(server::Server);

impl Server {
    fn start(example: &str, options: &[&str]) -> io::Result<Self> {
        server::Server::start(example, options).map(Self)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        self.0.connect()
    }

    fn interrupt(&self) -> io::Result<()> {
        self.0.interrupt()
    }

    fn stopped(self) -> io::Result<()> {
        let said = self.0.stopped()?;
        let rest = said.strip_prefix("stopped").expect("it says that it has stopped").trim_start_matches(';');
        // One of them says how many of its buffers are back, which must be all.
        let words: Vec<&str> = rest.split_whitespace().collect();
        match words[..] {
            [] => {}
            [back, "of", all, "buffers", ..] if back == all => {}
            _ => panic!("{said:?}"),
        }
        Ok(())
    }

    fn stop(self) -> io::Result<()> {
        self.interrupt()?;
        self.stopped()
    }
}

/// A module for each example, with a test for each of these functions.
macro_rules! tests_of_both {
    ($($name:ident)*) => {
        tests_of_both!(echo_server: $($name)*);
        tests_of_both!(echo_multishot: $($name)*);
    };
    ($example:ident: $($name:ident)*) => {
        mod $example {
            $(#[test]
            fn $name() -> std::io::Result<()> {
                super::$name(stringify!($example))
            })*
        }
    };
}

tests_of_both! {
    what_is_sent_comes_back_on_every_connection
    a_client_that_has_said_all_gets_all_of_it_back
    slow_clients_get_every_byte_and_delay_nobody
    a_reset_ends_its_own_session_only
    clients_over_the_limit_wait_for_a_permit
    a_silent_client_is_dismissed
    a_client_that_takes_nothing_is_dismissed
    an_interrupt_ends_idle_sessions_and_the_server
    an_interrupt_ends_a_server_at_its_limit
    options_that_make_no_sense_are_refused
    what_keeps_it_from_serving_is_named
    too_few_descriptors_are_said_once_and_waited_out
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

fn what_is_sent_comes_back_on_every_connection(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", NEVER])?;
    let mut conns = (0..50).map(|_| server.connect()).collect::<io::Result<Vec<_>>>()?;
    for round in 0..10 {
        for (i, conn) in conns.iter_mut().enumerate() {
            assert_echoes(conn, &format!("{round}/{i}"))?;
        }
    }
    server.stop()
}

fn a_client_that_has_said_all_gets_all_of_it_back(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", NEVER])?;
    let mut conn = server.connect()?;
    conn.write_all(b"the last words")?;
    conn.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    conn.read_to_end(&mut back)?;
    assert_eq!(back, b"the last words");
    server.stop()
}

fn slow_clients_get_every_byte_and_delay_nobody(example: &str) -> io::Result<()> {
    if example == "echo_multishot" && a_receive_takes_all() {
        return Ok(());
    }
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", NEVER])?;
    let sent: Vec<u8> = (0..8_u32 << 20).map(|i| (i % 251) as u8).collect();
    // Together they hold more buffers than one channel has room for, and fewer than `echo_multishot` has.
    let slow = (0..3).map(|_| server.connect()).collect::<io::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        for mut conn in &slow {
            let sent = &sent;
            scope.spawn(move || {
                conn.write_all(sent).and_then(|()| conn.shutdown(Shutdown::Write)).expect("it is taken")
            });
        }
        for i in 0..100 {
            assert_echoes(&mut server.connect()?, &format!("other {i}"))?; // while the sockets of the slow ones are full
        }
        for (i, mut conn) in slow.iter().enumerate() {
            let mut back = Vec::new();
            conn.read_to_end(&mut back)?;
            assert!(
                back == sent,
                "{i}: {} bytes of {} came back, or others than were sent",
                back.len(),
                sent.len()
            );
        }
        io::Result::Ok(())
    })?;
    server.stop()
}

fn a_reset_ends_its_own_session_only(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", NEVER, "--connections", "2"])?;
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

fn clients_over_the_limit_wait_for_a_permit(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", NEVER, "--connections", "2"])?;
    let (mut first, mut second) = (server.connect()?, server.connect()?);
    assert_echoes(&mut first, "1")?;
    assert_echoes(&mut second, "2")?;
    let mut third = server.connect()?; // in the backlog
    third.write_all(b"3")?;
    third.set_read_timeout(Some(Duration::from_millis(200)))?;
    // A read with a limit is not taken up again by the kernel, whatever it was that interrupted it.
    let early = loop {
        match third.read(&mut [0; 1]).map_err(|error| error.kind()) {
            Err(ErrorKind::Interrupted) => {}
            early => break early,
        }
    };
    assert_eq!(early, Err(ErrorKind::WouldBlock), "it was served over the limit");
    third.set_read_timeout(None)?;
    drop(first);
    let mut back = [0; 1];
    third.read_exact(&mut back)?;
    assert_eq!(&back, b"3");
    assert_echoes(&mut second, "2")?;
    server.stop()
}

fn a_silent_client_is_dismissed(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", "0.2"])?;
    let mut conn = server.connect()?;
    assert_echoes(&mut conn, "hello")?;
    assert_eq!(conn.read(&mut [0; 1])?, 0, "the server closes");
    server.stop()
}

fn a_client_that_takes_nothing_is_dismissed(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", "0.2", "--connections", "1"])?;
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

fn an_interrupt_ends_idle_sessions_and_the_server(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", NEVER, "--connections", "4"])?;
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

fn an_interrupt_ends_a_server_at_its_limit(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let server = Server::start(example, &["--idle", NEVER, "--connections", "1"])?;
    let mut conn = server.connect()?;
    assert_echoes(&mut conn, "x")?;
    server.stop()
}

fn options_that_make_no_sense_are_refused(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    for option in ["--connections=0", "--connections=70000", "--idle=-1", "--idle=nan", "--idle=1e20"] {
        let output = Command::new(crate::example::path(example)).arg(option).output()?;
        assert_eq!(output.status.code(), Some(2), "{option}: {output:?}");
        assert!(output.stdout.is_empty(), "{option}: it listens before it looks");
    }
    Ok(())
}

fn what_keeps_it_from_serving_is_named(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let program = crate::example::path(example);
    let output = Command::new(&program).args(["--addr", &address]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("{example}: cannot listen on {address}: Address already in use (os error 98)\n");
    assert_eq!((output.status.code(), said), (Some(1), expected));

    let full = File::options().write(true).open("/dev/full")?;
    let output = Command::new(&program).stdout(full).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("{example}: cannot say where it listens: No space left on device (os error 28)\n");
    assert_eq!((output.status.code(), said), (Some(1), expected));
    Ok(())
}

/// Clients beyond the limit of open files wait in the backlog, and are served when others have gone.
fn too_few_descriptors_are_said_once_and_waited_out(example: &str) -> io::Result<()> {
    let _watchdog = watchdog();
    let script = r#"ulimit -n 16; exec "$0" --addr 127.0.0.1:0 --idle 3600 $1"#;
    // Slots of the ring's table are no descriptors of the process.
    let numbers = if example == "echo_multishot" { "--numbers" } else { "" };
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(crate::example::path(example))
        .arg(numbers)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line)?;
    let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
    let mut conns = (0..40).map(|_| TcpStream::connect(&address)).collect::<io::Result<Vec<_>>>()?;
    for (n, conn) in conns.iter_mut().enumerate() {
        conn.write_all(format!("{n:02}").as_bytes())?;
    }
    // In the order in which they came, each of them leaving its descriptor to another one.
    for (n, mut conn) in conns.into_iter().enumerate() {
        let mut back = [0; 2];
        conn.read_exact(&mut back)?;
        assert_eq!(back, format!("{n:02}").as_bytes());
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let complaint = format!("{example}: cannot accept: Too many open files (os error 24)");
    assert!(said.lines().all(|line| line == complaint) && said.lines().count() <= 40, "{said}");
    Ok(())
}

/// Whether one receive takes all buffers of a pool as long as bytes come; said aloud.
fn a_receive_takes_all() -> bool {
    let takes_all = kernel_version() < (6, 8);
    if takes_all {
        skip("this kernel lets one multishot receive have all buffers of a pool, and others wait");
    }
    takes_all
}

/// Its receive pauses while the pool still has buffers for others, whatever it is sent.
#[test]
fn a_slow_client_does_not_get_the_whole_pool() -> io::Result<()> {
    if a_receive_takes_all() {
        return Ok(());
    }
    let _watchdog = watchdog();
    let server = server::Server::start("echo_multishot", &["--idle", NEVER, "--buffers", "256"])?;
    let slow = server.connect()?;
    let sent = vec![7; 8 << 20];
    thread::scope(|scope| {
        scope.spawn(|| {
            (&slow).write_all(&sent).and_then(|()| slow.shutdown(Shutdown::Write)).expect("it is taken")
        });
        for i in 0..100 {
            assert_echoes(&mut server.connect()?, &format!("other {i}"))?;
        }
        let mut back = Vec::new();
        (&slow).read_to_end(&mut back)?;
        assert!(back == sent, "{} bytes of {} came back", back.len(), sent.len());
        io::Result::Ok(())
    })?;
    server.interrupt()?;
    let said = server.stopped()?;
    assert!(said.contains(" are back, ") && !said.trim().ends_with(" 0 at the fewest"), "{said:?}");
    Ok(())
}

/// The kernel holds a table of descriptors to the limit of open files.
#[test]
fn a_table_that_the_kernel_refuses_is_named() -> io::Result<()> {
    let _watchdog = watchdog();
    let script = r#"ulimit -n 64; exec "$0" --connections 65"#;
    let program = crate::example::path("echo_multishot");
    let output = Command::new("sh").args(["-c", script]).arg(program).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let named = "echo_multishot: cannot make a table for 65 connections: ";
    assert!(output.status.code() == Some(1) && said.starts_with(named), "{said}");
    Ok(())
}
