//! Locks of a pidfile: `flock` alone, and who has a file open. The semantics follow XNU's `bsd/kern/kern_lockf.c`.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use super::descriptors::open_files;
use super::process::{listed, own_pid};

/// Would take a record lock that names the daemon. XNU keeps `flock` and record locks in one list, where they conflict
/// even within one process: the `flock` that is held covers the whole file, so there is no byte left to lock.
/// Async-signal-safe.
#[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
pub(crate) fn lock_record(_pid_file: RawFd) -> Result<(), Errno> {
    Ok(())
}

/// The process that is taken for the owner of a pidfile: the kernel does not name the holder of a `flock`, so it is the one whose
/// pid is in the file, as long as the file is locked.
pub(crate) fn record_owner(file: BorrowedFd<'_>, claimed: i32) -> Option<i32> {
    crate::sys::is_flocked(file).unwrap_or(false).then_some(claimed)
}

/// A process that has this file open through a description that was locked, as far as the caller may see: for messages.
pub(crate) fn flock_holder(file: BorrowedFd<'_>) -> Option<i32> {
    let identity = crate::sys::identity(file).ok()?;
    // Older kernels mark a description whose attempt failed, too: what the caller asks through says nothing.
    let asking = (own_pid(), file.as_raw_fd());
    let is_holder =
        |pid: i32| open_files(pid, identity).any(|(fd, open)| open.flags & WAS_LOCKED != 0 && (pid, fd) != asking);
    listed()?.into_iter().find(|&pid| is_holder(pid))
}

/// Whether a process other than the caller still has `file` open, as far as the caller may see.
pub(crate) fn others_hold(file: BorrowedFd<'_>) -> bool {
    let Ok(identity) = crate::sys::identity(file) else { return false };
    let own = own_pid();
    let Some(processes) = listed() else { return true };
    processes.into_iter().any(|pid| pid != own && open_files(pid, identity).next().is_some())
}

/// In `OpenFile::flags`: a `flock` was taken through this open file description (XNU's `FHASLOCK`, now `FWASLOCKED`).
const WAS_LOCKED: u32 = 0x4000;
