//! Socket addresses as the kernel reads them.
//!
//! Knows: `struct sockaddr` of the internet and unix families. Does not know: ops.
#![allow(unsafe_code, reason = "reads and writes the kernel's socket address structures")]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where the path begins in a `struct sockaddr_un`.
const UNIX_PATH: usize = mem::offset_of!(libc::sockaddr_un, sun_path);

/// The address of a socket: an internet address and port, or a path.
///
/// Made from a std address by `into()`, or by [`Address::unix`].
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use millstream::ops::Address;
///
/// let address = Address::from("[::1]:8080".parse::<SocketAddr>()?);
/// assert_eq!(address.to_socket_addr()?.port(), 8080);
/// let address = Address::unix("/run/mill.sock")?;
/// assert_eq!(address.as_path().unwrap().to_str(), Some("/run/mill.sock"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Address {
    raw: Raw,
    len: libc::socklen_t,
}

/// All variants begin with the family. Every byte is initialised from the start, by `EMPTY`.
#[derive(Clone, Copy)]
#[repr(C)]
union Raw {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    unix: libc::sockaddr_un,
    bytes: [u8; size_of::<libc::sockaddr_un>()],
}

const EMPTY: Raw = Raw { bytes: [0; size_of::<libc::sockaddr_un>()] };

impl Address {
    /// The address of a unix socket in the file system.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the path is longer than 107 bytes, is empty, or has a zero byte in it.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().as_os_str().as_bytes();
        if path.is_empty() || path.contains(&0) {
            return Err(invalid("the path of a unix socket must not be empty, nor contain a zero byte"));
        }
        Self::unix_bytes(path, 1)
    }

    /// The address of a unix socket in the abstract namespace: a name that no file stands for.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the name is longer than 107 bytes.
    pub fn unix_abstract(name: impl AsRef<[u8]>) -> io::Result<Self> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(name.as_ref());
        Self::unix_bytes(&bytes, 0)
    }

    /// `end`: how many zero bytes end the path.
    fn unix_bytes(path: &[u8], end: usize) -> io::Result<Self> {
        let mut bytes = [0; size_of::<libc::sockaddr_un>()];
        let len = UNIX_PATH + path.len() + end;
        if len > bytes.len() {
            return Err(invalid("the path of a unix socket is longer than its address has room for"));
        }
        bytes[UNIX_PATH..][..path.len()].copy_from_slice(path);
        let mut raw = Raw { bytes };
        raw.family = libc::AF_UNIX as libc::sa_family_t;
        Ok(Self { raw, len: len as libc::socklen_t })
    }

    /// The family, `AF_*`: the domain of a socket that can have this address. `AF_UNSPEC` of no address at all, such as that
    /// of a unix socket which nobody has bound.
    pub fn family(&self) -> i32 {
        // SAFETY: (local) every byte of `raw` is initialised, and all its fields are integers.
        i32::from(unsafe { self.raw.family })
    }

    /// The internet address.
    ///
    /// # Errors
    ///
    /// `Unsupported` when it is an address of another family.
    pub fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: (local) every byte of `raw` is initialised, and all its fields are integers.
                let v4 = unsafe { self.raw.v4 };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: (local) as above.
                let v6 = unsafe { self.raw.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            family => {
                let text = format!("a socket address of family {family} is not an internet address");
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    /// The path of a unix socket that has one.
    pub fn as_path(&self) -> Option<&Path> {
        if self.family() != libc::AF_UNIX {
            return None;
        }
        // SAFETY: (local) every byte of `raw` is initialised.
        let bytes = unsafe { &self.raw.bytes };
        let path = bytes[..(self.len as usize).min(bytes.len())].get(UNIX_PATH..)?;
        let path = path.split(|&byte| byte == 0).next()?;
        (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)))
    }

    /// What an entry points to. The address must be where it will stay.
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.raw).cast()
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// No address, with room for the kernel to write one.
    pub(crate) fn unnamed() -> Self {
        Self { raw: EMPTY, len: 0 }
    }

    /// Where the kernel may write an address, and how long it may be. The address must be where it will stay.
    pub(crate) fn room(&mut self) -> (*mut libc::sockaddr, libc::socklen_t) {
        ((&raw mut self.raw).cast(), size_of::<Raw>() as libc::socklen_t)
    }

    /// Takes note of how long the address is that the kernel has written: it may have been longer than the room.
    pub(crate) fn set_len(&mut self, len: libc::socklen_t) {
        self.len = len.min(size_of::<Raw>() as libc::socklen_t);
        if self.len < size_of::<libc::sa_family_t>() as libc::socklen_t {
            self.raw = EMPTY; // a sender without a name
        }
    }

    /// An address that the kernel writes through `ask`.
    fn ask(ask: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int) -> io::Result<Self> {
        let mut address = Self { raw: EMPTY, len: size_of::<Raw>() as libc::socklen_t };
        if ask((&raw mut address.raw).cast(), &raw mut address.len) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(address)
    }
}

/// The address a socket is bound to.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<Address> {
    // SAFETY: (local) `ask` gives an address to be written and how long it is.
    Address::ask(|address, len| unsafe { libc::getsockname(fd.as_raw_fd(), address, len) })
}

/// The address a socket is connected to.
pub(crate) fn peer_address(fd: BorrowedFd<'_>) -> io::Result<Address> {
    // SAFETY: (local) `ask` gives an address to be written and how long it is.
    Address::ask(|address, len| unsafe { libc::getpeername(fd.as_raw_fd(), address, len) })
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => v4.into(),
            SocketAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<SocketAddrV4> for Address {
    fn from(address: SocketAddrV4) -> Self {
        let mut raw = EMPTY;
        raw.v4 = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
            sin_zero: [0; 8],
        };
        Self { raw, len: size_of::<libc::sockaddr_in>() as libc::socklen_t }
    }
}

impl From<SocketAddrV6> for Address {
    fn from(address: SocketAddrV6) -> Self {
        let mut raw = EMPTY;
        raw.v6 = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: address.port().to_be(),
            sin6_flowinfo: address.flowinfo(),
            sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
            sin6_scope_id: address.scope_id(),
        };
        Self { raw, len: size_of::<libc::sockaddr_in6>() as libc::socklen_t }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.to_socket_addr(), self.as_path()) {
            (Ok(address), _) => address.fmt(f),
            (_, Some(path)) => path.fmt(f),
            _ => f.debug_struct("Address").field("family", &self.family()).finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internet_addresses_survive_the_way_there_and_back() -> io::Result<()> {
        for text in ["127.0.0.1:80", "255.1.2.3:65535", "[::1]:1", "[fe80::1%7]:443"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(Address::from(address).to_socket_addr()?, address);
        }
        Ok(())
    }

    #[test]
    fn the_kernel_reads_and_writes_them() -> io::Result<()> {
        use std::os::fd::AsFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        assert_eq!(local_address(listener.as_fd())?.to_socket_addr()?, listener.local_addr()?);
        assert_eq!(peer_address(listener.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
        let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
        assert_eq!(peer_address(stream.as_fd())?.to_socket_addr()?, listener.local_addr()?);
        Ok(())
    }

    #[test]
    fn unix_paths_have_a_limit() -> io::Result<()> {
        let path = "p".repeat(107);
        assert_eq!(Address::unix(&path)?.as_path(), Some(Path::new(&path)));
        assert!(Address::unix("p".repeat(108)).is_err());
        assert!(Address::unix("").is_err());
        assert!(Address::unix("a\0b").is_err());
        assert!(Address::unix("/run/x")?.to_socket_addr().is_err());
        assert!(Address::unix_abstract("name")?.as_path().is_none());
        Ok(())
    }
}
