//! An example program that serves on a socket, as its users run it.
//!
//! Knows: what such a program prints, how it is stopped. Does not know: what it serves.

#![allow(dead_code, reason = "every test binary compiles this file and uses its own part of it")]

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::example;

pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts an example on a free port, which it says in its first line.
    pub(crate) fn start(example: &str, options: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(example::path(example))
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

    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn interrupt(&self) -> io::Result<()> {
        let status = Command::new("kill").args(["-INT", &self.id().to_string()]).status()?;
        assert!(status.success());
        Ok(())
    }

    /// Waits for a server that was interrupted, and has succeeded: what it said after the first line.
    pub(crate) fn stopped(mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest)?;
        assert!(self.child.wait()?.success());
        Ok(rest)
    }

    pub(crate) fn stop(self) -> io::Result<String> {
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
