//! Descriptors as the other side uses them: never blocking, with little room.
//!
//! Knows: std and the calls that it lacks. Does not know: rounds.
#![allow(
    unsafe_code,
    reason = "std has no call for a pipe's flags and size, a socket's queue or an unconnected socket"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// One end of a pipe or of a pair of sockets, that never blocks.
pub(crate) enum Nonblocking {
    Pipe(File),
    Socket(UnixStream),
}

impl Nonblocking {
    pub(crate) fn pipe(end: OwnedFd) -> Self {
        // SAFETY: (local) a call about a number that is open; the flags are read, and written with one more.
        let set = unsafe {
            let flags = libc::fcntl(end.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(end.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        };
        assert!(set >= 0, "{}", io::Error::last_os_error());
        Self::Pipe(end.into())
    }

    pub(crate) fn socket(end: UnixStream) -> Self {
        end.set_nonblocking(true).expect("a socket");
        Self::Socket(end)
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(file) => (&mut &*file).write(bytes),
            Self::Socket(socket) => (&mut &*socket).write(bytes),
        }
    }

    pub(crate) fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(file) => (&mut &*file).read(bytes),
            Self::Socket(socket) => (&mut &*socket).read(bytes),
        }
    }
}

/// Gives a pipe or a socket as little room as the kernel allows.
pub(crate) fn make_small(fd: i32, is_socket: bool) {
    let size: libc::c_int = 4096;
    // SAFETY: (local) calls about a number that is open; the option's value is a live `c_int`, and its size is said.
    let set = unsafe {
        if is_socket {
            let size_of = size_of::<libc::c_int>() as u32;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const size).cast(), size_of)
        } else {
            libc::fcntl(fd, libc::F_SETPIPE_SZ, size)
        }
    };
    assert!(set >= 0, "{}", io::Error::last_os_error());
}

/// A socket that is not connected yet.
pub(crate) fn unconnected() -> OwnedFd {
    // SAFETY: (local) a call about numbers, and the descriptor it returns is new and nobody else's.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}
