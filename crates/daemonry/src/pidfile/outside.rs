//! A pidfile as other users and other programs see it: its text, and the process that the kernel names as the owner of its locks.
//!
//! Enough to show, and for the processes of the caller's own uid; root signals nothing and decides nothing by it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use super::content::{self, Content};
use super::kind::{OPEN_FLAGS, cannot_open, check};
use super::{held, own};
use crate::error::{Error, Result, Step};
use crate::sys::{self, retry};

/// What can be seen of a pidfile from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outside {
    /// The pid in it.
    pub(crate) pid: Option<i32>,
    /// Whose file it is.
    pub(crate) owner: u32,
    pub(crate) holder: Holder,
}

/// Which process holds the locks of a pidfile, as far as it can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The kernel names the process whose pid is in the file, and it lives.
    Proven,
    /// It is locked by another process, which may not be seen from here.
    Other(Option<i32>),
    None,
}

/// `None` when there is no file at `path`.
pub(crate) fn look(path: &Path) -> Result<Option<Outside>> {
    if held::by_this_process(path) {
        let owner = nix::unistd::geteuid().as_raw();
        return Ok(Some(Outside { pid: Some(own()), owner, holder: Holder::Proven }));
    }
    let Some(file) = open(path)? else { return Ok(None) };
    check(file.as_fd(), path)?;
    look_at(file.as_fd(), path).map(Some)
}

fn open(path: &Path) -> Result<Option<OwnedFd>> {
    match retry(|| nix::fcntl::open(path, OPEN_FLAGS | OFlag::O_RDONLY, Mode::empty())) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(cannot_open(errno, path)),
    }
}

fn look_at(file: BorrowedFd<'_>, path: &Path) -> Result<Outside> {
    let failed = || Error::at(Step::ReadPidFile, path);
    let owner = fstat(file).map_err(failed())?.st_uid;
    let bytes = sys::read_start(file, content::MAX_LENGTH).map_err(failed())?;
    let pid = Content::parse(&bytes).and_then(|content| content.pid);
    let holder = match pid.and_then(|pid| sys::record_owner(file, pid)) {
        Some(named) if Some(named) == pid && is_of_owner(named, owner) => Holder::Proven,
        Some(named) => Holder::Other(Some(named)),
        None if sys::is_flocked(file).map_err(failed())? => Holder::Other(sys::flock_holder(file)),
        None => Holder::None,
    };
    Ok(Outside { pid, owner, holder })
}

/// Whether a process is one that the owner of a pidfile can have written there: its own, or any if that is root. The pid of a
/// process that has ended can be in a lock, too, and mean another one by now.
fn is_of_owner(pid: i32, owner: u32) -> bool {
    sys::facts(pid).is_some_and(|facts| !facts.is_exiting && (owner == 0 || facts.uid == owner))
}

/// The process that holds a pidfile which is not the caller's.
pub(super) fn in_use(path: &Path) -> Result<Option<i32>> {
    let found = open(path)?.map(|file| look_at(file.as_fd(), path)).transpose()?;
    Ok(match found {
        Some(Outside { pid: Some(pid), owner, holder: Holder::Proven }) if owner != nix::unistd::geteuid().as_raw() => {
            Some(pid)
        }
        _ => None,
    })
}

/// The process of the caller's uid that holds the caller's own pidfile, though the lock is free: root has started it as this user.
/// Other users can lock the file, too, so only a process of the caller's counts; and none does for root, which has its own lock.
pub(super) fn started_by_another(file: BorrowedFd<'_>, path: &Path) -> Result<Option<i32>> {
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return Ok(None);
    }
    held_by(file, path, user.as_raw())
}

/// The process of `user` that holds an open pidfile.
pub(super) fn held_by(file: BorrowedFd<'_>, path: &Path, user: u32) -> Result<Option<i32>> {
    Ok(match look_at(file, path)? {
        Outside { pid: Some(pid), holder: Holder::Proven, .. }
            if sys::facts(pid).is_some_and(|facts| facts.uid == user) =>
        {
            Some(pid)
        }
        _ => None,
    })
}
