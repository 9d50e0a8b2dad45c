//! The pidfiles that this very process holds: opening and closing one of them again would drop the record lock on it.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{AT_FDCWD, AtFlags};

use super::own;
use crate::sys;

struct Held {
    identity: (u64, u64),
    fd: RawFd,
    pid: i32,
}

static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

fn list() -> MutexGuard<'static, Vec<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn add(file: BorrowedFd<'_>) -> nix::Result<()> {
    let identity = sys::identity(file)?;
    list().push(Held { identity, fd: file.as_raw_fd(), pid: own() });
    Ok(())
}

pub(super) fn remove(file: BorrowedFd<'_>) {
    list().retain(|held| held.fd != file.as_raw_fd());
}

/// Whether the file at `path` is a pidfile that the caller holds.
pub(super) fn by_this_process(path: &Path) -> bool {
    let Ok(stat) = nix::sys::stat::fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW) else { return false };
    let identity = sys::identity_of(&stat);
    list().iter().any(|held| held.pid == own() && held.identity == identity)
}
