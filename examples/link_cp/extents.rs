//! Where a file has data, and where it has holes.
//!
//! Knows: `SEEK_DATA`, `SEEK_HOLE`. Does not know: what is done with either.
#![allow(unsafe_code, reason = "std has no face for SEEK_DATA and SEEK_HOLE")]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

/// The parts of a file that hold data, in order. What lies between them reads as zeros.
///
/// Asked for one at a time, while those before are being copied. A file system that knows no holes says that all of it is
/// data. The position of the descriptor moves.
pub(crate) struct Extents<'a, F: AsRawFd> {
    file: &'a F,
    /// Where to look next, and where the file ends.
    at: u64,
    end: u64,
}

impl<'a, F: AsRawFd> Extents<'a, F> {
    /// The parts of `file` in front of `end`.
    pub(crate) fn new(file: &'a F, end: u64) -> Self {
        Self { file, at: 0, end }
    }

    fn find(&mut self) -> io::Result<Option<Range<u64>>> {
        let fd = self.file.as_raw_fd();
        let start = match seek(fd, self.at, libc::SEEK_DATA) {
            Ok(start) => start,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENXIO) => return Ok(None), // a hole up to the end
                Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ESPIPE) => return Ok(Some(self.at..self.end)),
                _ => return Err(error),
            },
        };
        if start >= self.end {
            return Ok(None); // it has grown since
        }
        let end = match seek(fd, start, libc::SEEK_HOLE) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None), // it has shrunk since
            end => end?.min(self.end),
        };
        // If what was there has been punched out since, the hole begins where the data did: go on behind it all the same.
        Ok(Some(start..end.max(start + 1)))
    }
}

impl<F: AsRawFd> Iterator for Extents<'_, F> {
    type Item = io::Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let found = self.find().transpose();
        self.at = match &found {
            Some(Ok(extent)) => extent.end,
            _ => self.end,
        };
        found
    }
}

fn seek(fd: RawFd, at: u64, whence: libc::c_int) -> io::Result<u64> {
    let Ok(at) = libc::off_t::try_from(at) else { return Err(io::Error::from_raw_os_error(libc::ENXIO)) };
    // SAFETY: (local) the descriptor is open, as its borrower says; no pointer is involved.
    let found = unsafe { libc::lseek(fd, at, whence) };
    u64::try_from(found).map_err(|_| io::Error::last_os_error())
}
