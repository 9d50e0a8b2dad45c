//! The descriptors that the children use, out of the way of the numbers that the daemon gets.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use crate::error::{Error, Result, Step};
use crate::sys;

/// The launcher's copies of the descriptors that the children use. They are not needed once the daemon has executed its program.
pub(crate) struct Descriptors {
    /// The end into which the children write: it is at EOF when they are done, and this copy closed.
    pub(crate) exec_pipe: Option<OwnedFd>,
    pub(super) _others: Vec<OwnedFd>,
}

/// The number that the source with this index gets in the daemon.
pub(super) fn target(index: usize) -> RawFd {
    RawFd::try_from(index).unwrap_or(RawFd::MAX - 2)
}

/// A duplicate with a number from `floor` on.
pub(super) fn move_above(source: BorrowedFd<'_>, floor: RawFd) -> Result<OwnedFd> {
    sys::duplicate_above(source, floor).map_err(|errno| Error::system(Step::MoveDescriptor, errno))
}
