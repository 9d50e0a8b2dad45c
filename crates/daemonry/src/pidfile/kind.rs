//! What a pidfile may be, and what it never is.

use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag};

use super::content::{self, Content};
use crate::error::{Error, Result, Step};
use crate::sys;

pub(super) const OPEN_FLAGS: OFlag =
    OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// The kinds of files that cannot even be opened are no pidfiles either.
pub(super) fn cannot_open(errno: Errno, path: &Path) -> Error {
    let reason = match errno {
        Errno::EISDIR => "it is a directory",
        Errno::ENXIO | Errno::EOPNOTSUPP => "it is a socket, or a device that is not there",
        errno => return Error::at(Step::OpenPidFile, path)(errno),
    };
    Error::NotAPidFile { reason, path: path.to_owned() }
}

/// An error when the file is something that a pidfile never is.
pub(super) fn check(file: BorrowedFd<'_>, path: &Path) -> Result<FileStat> {
    let read_error = || Error::at(Step::ReadPidFile, path);
    let not_a_pidfile = |reason| Err(Error::NotAPidFile { reason, path: path.to_owned() });
    let stat = nix::sys::stat::fstat(file).map_err(read_error())?;
    if let Some(kind) = other_kind(&stat) {
        return not_a_pidfile(kind);
    }
    if stat.st_nlink > 1 {
        return not_a_pidfile("it has more than one hard link");
    }
    let bytes = sys::read_start(file, content::MAX_LENGTH).map_err(read_error())?;
    if Content::parse(&bytes).is_none() {
        return not_a_pidfile("it holds something other than a process id");
    }
    Ok(stat)
}

/// What a file is that is not a regular one.
pub(super) fn other_kind(stat: &FileStat) -> Option<&'static str> {
    match sys::kind_of(stat) {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("it is a directory"),
        SFlag::S_IFIFO => Some("it is a FIFO"),
        SFlag::S_IFSOCK => Some("it is a socket"),
        _ => Some("it is a device"),
    }
}
