//! Control data: what goes beside the bytes of a message. Descriptors, credentials, time stamps, options of the protocol.
//!
//! Knows: `struct cmsghdr`, counted descriptors. Does not know: sockets, entries.
//!
//! ```text
//!   a message of control data, on a 64-bit machine; the next one begins at a multiple of eight bytes
//!  ┌──────────────┬─────────┬─────────┬──────────────────┬─────────┐
//!  │ length: 8    │ level: 4│ kind: 4 │ data             │ padding │
//!  └──────────────┴─────────┴─────────┴──────────────────┴─────────┘
//! ```
#![allow(unsafe_code, reason = "takes ownership of descriptors that the kernel has put into control data")]

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::fd::{Fd, IntoDescriptor};

/// What stands before the data of each message: length, level, kind.
const HEADER: usize = size_of::<libc::cmsghdr>();
/// Messages begin at multiples of this.
const ALIGN: usize = size_of::<usize>();
/// The most descriptors the kernel takes in one message (`SCM_MAX_FD`).
const MOST_FDS: usize = 253;
/// `SCM_PIDFD`: carries a descriptor too.
const SCM_PIDFD: i32 = 4;

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// Control data of a message: descriptors, and messages of a level and a kind.
///
/// Given to [`sendmsg`](super::sendmsg), and what [`recvmsg`](super::recvmsg) brings. Descriptors are counted: those to be
/// sent stay open until they are sent, those received are closed when nobody takes them.
///
/// # Examples
///
/// See [`recvmsg`](super::recvmsg).
#[derive(Default)]
pub struct Control {
    bytes: Vec<u8>,
    fds: Vec<Fd>,
}

impl Control {
    /// No control data.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes a receive needs for a message with this much data.
    pub const fn space(data: usize) -> usize {
        aligned(HEADER + data)
    }

    /// How many bytes a receive needs for this many descriptors.
    pub const fn space_for_fds(count: usize) -> usize {
        Self::space(count * size_of::<RawFd>())
    }

    /// Adds a message: its level (`SOL_*`), its kind (`SCM_*` and the like), and its data.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for `SCM_RIGHTS`, whose data are descriptors: those are added with [`push_fd`](Self::push_fd).
    pub fn push(&mut self, level: i32, kind: i32, data: &[u8]) -> io::Result<()> {
        if carries_fds(level, kind) {
            return Err(invalid("descriptors are added to control data with `push_fd`"));
        }
        self.append(level, kind, data);
        Ok(())
    }

    /// Adds a descriptor, of which the receiver gets a copy.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when there are 253 already.
    pub fn push_fd(&mut self, fd: impl IntoDescriptor) -> io::Result<()> {
        if self.fds.len() >= MOST_FDS {
            return Err(invalid("a message carries at most 253 descriptors"));
        }
        self.fds.push(fd.into_descriptor());
        Ok(())
    }

    /// The descriptors, which are no longer in it then.
    pub fn take_fds(&mut self) -> Vec<Fd> {
        mem::take(&mut self.fds)
    }

    /// The descriptors.
    pub fn fds(&self) -> &[Fd] {
        &self.fds
    }

    /// The messages other than descriptors, in order: level, kind, data.
    pub fn messages(&self) -> impl Iterator<Item = (i32, i32, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || split(&mut rest)).filter(|&(level, kind, _)| !carries_fds(level, kind))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty() && self.messages().next().is_none()
    }

    /// Puts the numbers of the descriptors behind the messages: what `sealed` gives is then what the kernel reads. Once.
    pub(super) fn seal(&mut self) {
        if !self.fds.is_empty() {
            let numbers: Vec<u8> = self.fds.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes()).collect();
            self.append(libc::SOL_SOCKET, libc::SCM_RIGHTS, &numbers);
        }
    }

    pub(super) fn sealed(&self) -> &[u8] {
        &self.bytes
    }

    fn append(&mut self, level: i32, kind: i32, data: &[u8]) {
        let len = HEADER + data.len();
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&level.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len() + aligned(len) - len, 0);
    }

    /// What the kernel has written, with the descriptors in it taken into ownership.
    ///
    /// # Safety
    ///
    /// The kernel has just written `bytes` as the control data of a received message, and nobody has taken the descriptors in
    /// it yet.
    pub(super) unsafe fn received(bytes: Vec<u8>) -> Self {
        let mut fds = Vec::new();
        let mut rest = &bytes[..];
        while let Some((level, kind, data)) = split(&mut rest) {
            if !carries_fds(level, kind) {
                continue;
            }
            for number in data.chunks_exact(size_of::<RawFd>()) {
                let number =
                    RawFd::from_ne_bytes(number.try_into().expect("a chunk is as long as asked for"));
                if number >= 0 {
                    // SAFETY: (local) the kernel has opened it for this message, and the caller promises that nobody else has it.
                    fds.push(Fd::from(unsafe { OwnedFd::from_raw_fd(number) }));
                }
            }
        }
        Self { bytes, fds }
    }
}

/// Whether the data of such a message are descriptors.
fn carries_fds(level: i32, kind: i32) -> bool {
    level == libc::SOL_SOCKET && matches!(kind, libc::SCM_RIGHTS | SCM_PIDFD)
}

/// Takes the first message off control data: level, kind, data. `None` at the end, or where a message does not fit: the
/// kernel cuts the last one off when there is no room.
fn split<'a>(rest: &mut &'a [u8]) -> Option<(i32, i32, &'a [u8])> {
    let header = rest.get(..HEADER)?;
    let (len, kinds) = header.split_at(size_of::<usize>());
    let (level, kind) = kinds.split_at(size_of::<i32>());
    let len = usize::from_ne_bytes(len.try_into().ok()?).min(rest.len());
    let message = rest.get(HEADER..len)?;
    *rest = rest.get(aligned(len)..).unwrap_or(&[]);
    Some((i32::from_ne_bytes(level.try_into().ok()?), i32::from_ne_bytes(kind.try_into().ok()?), message))
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.messages().map(|(level, kind, data)| (level, kind, data.len())).collect();
        f.debug_struct("Control").field("fds", &self.fds).field("messages", &kinds).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_in_order_with_their_data() -> io::Result<()> {
        let mut control = Control::new();
        control.push(1, 2, b"abc")?;
        control.push(3, 4, b"")?;
        control.push(5, 6, &[7; 8])?;
        let expected: [(i32, i32, &[u8]); 3] = [(1, 2, b"abc"), (3, 4, b""), (5, 6, &[7; 8])];
        assert!(control.messages().eq(expected));
        assert_eq!(control.sealed().len(), Control::space(3) + Control::space(0) + Control::space(8));
        Ok(())
    }

    #[test]
    fn descriptors_come_in_only_as_descriptors() {
        let mut control = Control::new();
        let error = control.push(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(control.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_nonsense_ends_the_walk() {
        let mut control = Control::new();
        control.append(1, 2, &[9; 16]);
        let whole = control.bytes.clone();
        for len in 0..whole.len() {
            // SAFETY: (local) no descriptor is in it.
            let cut = unsafe { Control::received(whole[..len].to_vec()) };
            let data: Vec<_> = cut.messages().map(|(_, _, data)| data.len()).collect();
            assert_eq!(data, if len < HEADER { vec![] } else { vec![len - HEADER] });
        }
        for len in [0, 1, 15, usize::MAX, usize::MAX - 7] {
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.resize(40, 0xff);
            // SAFETY: (local) the level is no socket's, so no descriptor is in it.
            let nonsense = unsafe { Control::received(bytes) };
            assert!(nonsense.messages().count() <= 1);
        }
    }
}
