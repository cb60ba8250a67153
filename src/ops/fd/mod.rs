//! A counted descriptor: open as long as anybody holds it, the kernel's work on it included.
//!
//! Knows: descriptors, the biased count, what dropped reads and accepts left behind. Does not know: entries, nodes.

mod home;
pub(crate) mod salvage;
mod table;
mod target;
mod zero_copy;

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use crate::util::biased::Biased;
use home::Runtimes;
use salvage::Salvage;
use zero_copy::Support;

pub use table::{FdTable, FixedFd, TableFull};
pub(crate) use table::{Lease, elsewhere};
pub(crate) use target::Hold;
pub use target::{AnyFd, IntoDescriptor, IntoFd};

use super::address::{local_address, peer_address};

/// A counted descriptor: what every op takes, by value or by `&`.
///
/// Each op in flight holds one, so a descriptor is never closed, and its number never used again, under an op. It is
/// closed when the last hold goes; [`close`](super::close) does that through the ring and reports the error.
///
/// What a read or accept had received when its future was dropped waits here for the next one (see their docs).
///
/// # Cost
///
/// A clone is a plain increment on the runtime that cloned the descriptor first, and an atomic one elsewhere.
/// A last hold that is dropped on another thread is released when that runtime runs next.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
/// use millstream::ops::Fd;
///
/// let fd = Fd::from(File::open("/dev/null")?);
/// let held = fd.clone();
/// let fd = fd.try_into_owned().expect_err("held twice");
/// drop(held);
/// let owned: OwnedFd = fd.try_into_owned().expect("the only hold");
/// # drop(owned);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Fd(Biased<Descriptor, Runtimes>);

struct Descriptor {
    /// Beside `salvage`, whose word every read looks at.
    fd: OwnedFd,
    salvage: Salvage,
    zero_copy: Support,
}

impl Fd {
    /// The descriptor itself, if this is the only hold on it.
    ///
    /// What a dropped read or accept had left for the next one does not go with it: it is let go of.
    ///
    /// # Errors
    ///
    /// Gives the `Fd` back when something else holds it too: a clone, or an op in flight. On another thread than that
    /// of the runtime which cloned it first, the only hold cannot be told from others, and comes back as well.
    pub fn try_into_owned(self) -> Result<OwnedFd, Self> {
        self.0.try_into_inner().map(|descriptor| descriptor.fd).map_err(Self)
    }

    /// The address this socket is bound to.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` when it is not a socket; `Unsupported` when its address is not an internet address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        local_address(self.as_fd())?.to_socket_addr()
    }

    /// The address this socket is connected to.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when it is not connected; as [`Fd::local_addr`] otherwise.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        peer_address(self.as_fd())?.to_socket_addr()
    }

    /// What dropped reads and accepts left behind.
    #[inline]
    pub(crate) fn salvage(&self) -> &Salvage {
        &self.0.salvage
    }

    /// Whether something can be sent there without a copy.
    #[inline]
    pub(crate) fn zero_copy(&self) -> &Support {
        &self.0.zero_copy
    }

    /// The descriptor as an entry takes it.
    #[inline]
    pub(crate) fn entry(&self) -> io_uring::types::Fd {
        io_uring::types::Fd(self.0.fd.as_raw_fd())
    }
}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fd").field(&self.as_raw_fd()).finish()
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }
}

impl From<&Fd> for Fd {
    #[inline]
    fn from(fd: &Fd) -> Self {
        fd.clone()
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(Biased::new(Descriptor { fd, salvage: Salvage::new(), zero_copy: Support::new() }))
    }
}

/// Whatever std turns into an `OwnedFd`.
macro_rules! from_std {
    ($($type:ty),+ $(,)?) => {$(
        impl From<$type> for Fd {
            fn from(value: $type) -> Self {
                Self::from(OwnedFd::from(value))
            }
        }
    )+};
}

from_std!(
    File,
    TcpListener,
    TcpStream,
    UdpSocket,
    UnixDatagram,
    UnixListener,
    UnixStream,
    io::PipeReader,
    io::PipeWriter,
    std::process::ChildStdin,
    std::process::ChildStdout,
    std::process::ChildStderr,
);

#[cfg(test)]
mod tests;
