//! A path as the kernel reads it.
//!
//! Knows: `CString`. Does not know: ops.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::request::Prepared;

/// A path that ends in a zero byte, on the heap; or that cannot, because it has one inside.
#[derive(Debug)]
pub(super) struct PathArg(Option<CString>);

impl PathArg {
    pub(super) fn new(path: impl AsRef<Path>) -> Self {
        Self(CString::new(path.as_ref().as_os_str().as_bytes()).ok())
    }

    /// The path of what a descriptor itself stands for (`AT_EMPTY_PATH`).
    pub(super) fn empty() -> Self {
        Self(Some(CString::default()))
    }

    /// A path that no file can have is answered without the kernel.
    pub(super) fn prepare(&self) -> Prepared {
        if self.0.is_some() { Prepared::Submit } else { Prepared::AnswerShort(-libc::EINVAL) }
    }

    /// What an entry points to.
    pub(super) fn as_ptr(&self) -> *const libc::c_char {
        self.0.as_deref().unwrap_or(c"").as_ptr()
    }

    /// Says what was wrong with the path where `prepare` only could give an errno.
    pub(super) fn explain<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) if self.0.is_none() => {
                io::Error::new(io::ErrorKind::InvalidInput, "the path has a zero byte in it")
            }
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_byte_is_refused_by_name() {
        let path = PathArg::new("a\0b");
        assert_eq!((path.0.as_deref(), path.prepare()), (None, Prepared::AnswerShort(-libc::EINVAL)));
        let error = path.explain::<()>(Err(io::Error::from_raw_os_error(libc::EINVAL))).unwrap_err();
        assert!(error.to_string().contains("zero byte"), "{error}");
        let error = path.explain::<()>(Err(io::Error::from_raw_os_error(libc::ECANCELED))).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    }

    #[test]
    fn any_other_path_goes_to_the_kernel() {
        let path = PathArg::new("/tmp/x");
        assert_eq!((path.0.as_deref(), path.prepare()), (Some(c"/tmp/x"), Prepared::Submit));
    }
}
