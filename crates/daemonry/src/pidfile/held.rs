//! The pidfiles that this very process holds: opening and closing one of them again would drop the record lock on it.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{AT_FDCWD, AtFlags};

use crate::sys;

struct Held {
    identity: (u64, u64),
    fd: RawFd,
    pid: u32,
}

static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

fn list() -> MutexGuard<'static, Vec<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn add(file: BorrowedFd<'_>) -> nix::Result<()> {
    let identity = sys::identity(file)?;
    list().push(Held { identity, fd: file.as_raw_fd(), pid: std::process::id() });
    Ok(())
}

pub(super) fn remove(file: BorrowedFd<'_>) {
    list().retain(|held| held.fd != file.as_raw_fd());
}

/// Whether the name in the directory is a pidfile that the caller holds.
pub(super) fn by_this_process(directory: BorrowedFd<'_>, name: &CStr) -> bool {
    nix::sys::stat::fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| find(sys::identity_of(&stat)).is_some())
}

/// The descriptor by which the caller holds the pidfile at `path`.
pub(super) fn descriptor(path: &Path) -> Option<RawFd> {
    let stat = nix::sys::stat::fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    find(sys::identity_of(&stat))
}

fn find(identity: (u64, u64)) -> Option<RawFd> {
    let own = std::process::id();
    list().iter().find(|held| held.pid == own && held.identity == identity).map(|held| held.fd)
}
