//! What stands for an open file in an op: a counted descriptor, or a slot of the ring's own table.
//!
//! Knows: both kinds, how an entry names each. Does not know: ops.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use io_uring::squeue::Entry;
use io_uring::types;

use super::salvage::{Connection, Envelope, Gives, Place, Salvage};
use super::{Fd, FixedFd};
use crate::runtime::driver::Sqe;

/// What an op can be given as its file: whatever turns into an [`Fd`], and a [`FixedFd`], each by value or by `&`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a descriptor that an op can hold",
    label = "an op keeps its file open until the kernel has let go of it",
    note = "pass an `Fd` or a `FixedFd` (by value or by `&`), or an owned file or socket of std"
)]
pub trait IntoFd {
    /// The kind of hold that the op has.
    type Fd: AnyFd + IntoFd<Fd = Self::Fd>;

    /// The hold.
    fn into_fd(self) -> Self::Fd;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Fd>> IntoFd for T {
    type Fd = Fd;

    #[inline]
    fn into_fd(self) -> Fd {
        self.into()
    }
}

impl IntoFd for FixedFd {
    type Fd = Self;

    #[inline]
    fn into_fd(self) -> Self {
        self
    }
}

impl IntoFd for &FixedFd {
    type Fd = FixedFd;

    #[inline]
    fn into_fd(self) -> FixedFd {
        self.clone()
    }
}

/// What an op can be given that asks the kernel by a descriptor's number and in no other way: whatever turns into an [`Fd`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no descriptor of the process, and the kernel takes no other here",
    label = "this op has no form for a slot of the ring's table",
    note = "`fixed_fd_install(&slot).await?` makes an `Fd` of what is in a slot; else pass an `Fd` (by value or by `&`), or an owned \
            file or socket of std"
)]
pub trait IntoDescriptor {
    /// The hold.
    fn into_descriptor(self) -> Fd;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Fd>> IntoDescriptor for T {
    #[inline]
    fn into_descriptor(self) -> Fd {
        self.into()
    }
}

/// [`Fd`] or [`FixedFd`]. Sealed.
pub trait AnyFd: Hold {}

impl<H: Hold> AnyFd for H {}

/// What an op asks of its hold. The ways of an [`Fd`] are free: there is nothing to look at.
pub trait Hold: Clone + Unpin + std::fmt::Debug + 'static {
    /// Says which file it is that stands there, where that can change.
    type Tenant: Copy + Default + PartialEq + Unpin + std::fmt::Debug;

    /// The number.
    fn number(&self) -> types::Fd;

    /// The descriptor, if it is one of the process: for calls that the ring does not make.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Makes an entry that has the number understand it as one of this kind.
    fn address(&self, entry: Entry) -> Sqe;

    /// What dropped reads and accepts left behind.
    fn left_behind(&self) -> &Salvage;

    /// Whether a read takes one message, and what does not fit is cut off.
    fn keeps_boundaries(&self) -> bool {
        self.gives() != Gives::Bytes
    }

    /// Whether a receive of nothing may be an empty message, and not the end.
    fn has_no_end(&self) -> bool {
        self.gives() == Gives::Datagrams
    }

    /// What its reads give.
    fn gives(&self) -> Gives;

    /// The file that stands there now.
    fn tenant(&self) -> Self::Tenant;

    /// A read that nobody awaits has ended, which began with `tenant`: see [`Salvage::message_abandoned`].
    #[inline]
    fn abandon_read(&self, tenant: Self::Tenant, bytes: &[u8], orphaned: bool, taken: Option<Place>) {
        self.abandon_message(tenant, bytes, None, orphaned, taken);
    }

    /// As `abandon_read`, with what came beside the bytes.
    fn abandon_message(
        &self,
        tenant: Self::Tenant,
        bytes: &[u8],
        envelope: Option<Envelope>,
        orphaned: bool,
        taken: Option<Place>,
    );

    /// An accept that nobody awaits has ended, which began with `tenant`: see [`Salvage::accept_abandoned`].
    fn abandon_accept(
        &self,
        tenant: Self::Tenant,
        connection: Option<Connection>,
        orphaned: bool,
        taken: Option<Place>,
    ) {
        // Of a file that is not there any more nobody accepts: what it had given is closed.
        let still_there = self.tenant() == tenant;
        let (connection, taken) = (connection.filter(|_| still_there), taken.filter(|_| still_there));
        self.left_behind().accept_abandoned(connection, orphaned, taken);
    }

    /// Whether it is known that the kernel sends nothing there without a copy.
    fn refuses_zero_copy(&self) -> bool {
        false
    }

    /// Remembers that the kernel has refused to send there without a copy.
    fn note_zero_copy_refused(&self) {}

    /// The ring that runs here cannot use it.
    fn is_elsewhere(&self) -> bool;

    /// Says what was wrong with a hold that is elsewhere, where an op could only give an errno.
    fn explain<T>(&self, result: io::Result<T>) -> io::Result<T>;
}

impl Hold for Fd {
    type Tenant = ();

    #[inline]
    fn number(&self) -> types::Fd {
        self.entry()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    #[inline]
    fn address(&self, entry: Entry) -> Sqe {
        entry.into()
    }

    #[inline]
    fn left_behind(&self) -> &Salvage {
        self.salvage()
    }

    fn gives(&self) -> Gives {
        Gives::of(self.as_fd())
    }

    #[inline]
    fn tenant(&self) {}

    #[inline]
    fn abandon_message(
        &self,
        _tenant: (),
        bytes: &[u8],
        envelope: Option<Envelope>,
        orphaned: bool,
        taken: Option<Place>,
    ) {
        self.salvage().message_abandoned(bytes, envelope, orphaned, taken);
    }

    fn refuses_zero_copy(&self) -> bool {
        self.zero_copy().is_refused(self.as_fd())
    }

    fn note_zero_copy_refused(&self) {
        self.zero_copy().refused();
    }

    #[inline]
    fn is_elsewhere(&self) -> bool {
        false
    }

    #[inline]
    fn explain<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result
    }
}
