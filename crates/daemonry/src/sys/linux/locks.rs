//! Locks of a pidfile: record locks that survive exec, and who has a file open.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use super::descriptors::is_file;
use super::process::processes;

/// The byte of a pidfile that the daemon locks for itself: far behind any content.
const RECORD_OFFSET: libc::off64_t = 1 << 40;

/// Takes the record lock that names the calling process to outsiders as the holder of its pidfile. A descriptor that reads is
/// enough; it survives exec, is not inherited by forked children, and does not meet `flock`. Async-signal-safe.
pub(crate) fn lock_record(pid_file: RawFd) -> Result<(), Errno> {
    let lock = record_lock(libc::F_RDLCK);
    // SAFETY: the structure outlives the call.
    Errno::result(unsafe { libc::fcntl(pid_file, libc::F_SETLK, &raw const lock) }).map(drop)
}

#[expect(clippy::cast_possible_truncation, reason = "lock types and SEEK_SET are small constants")]
fn record_lock(kind: libc::c_int) -> libc::flock64 {
    // SAFETY: all-zero is a valid flock structure.
    let mut lock: libc::flock64 = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = RECORD_OFFSET;
    lock.l_len = 1;
    lock
}

/// The process that the kernel names as owner of a pidfile's record lock. Every process that may read the file can have taken it.
pub(crate) fn record_owner(file: BorrowedFd<'_>, _claimed: i32) -> Option<i32> {
    let mut lock = record_lock(libc::F_WRLCK);
    // SAFETY: the structure outlives the call.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    // 0 is a process in another PID namespace, -1 an open file description.
    (asked == 0 && i32::from(lock.l_type) != libc::F_UNLCK && lock.l_pid > 0).then_some(lock.l_pid)
}

/// A process that has this file open and locked, as far as the caller may see: for messages.
pub(crate) fn flock_holder(file: BorrowedFd<'_>) -> Option<i32> {
    let identity = crate::sys::identity(file).ok()?;
    processes().find(|&pid| holds_lock(pid, identity))
}

/// Whether one of the descriptors of `pid` is this file with a `flock` on it. False where they may not be seen.
fn holds_lock(pid: i32, identity: (u64, u64)) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|entry| {
        is_file(&entry, identity)
            && entry.file_name().to_str().is_some_and(|fd| {
                fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"))
                    .is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK")))
            })
    })
}

/// Whether a process other than the caller still has `file` open, as far as the caller may see.
pub(crate) fn others_hold(file: BorrowedFd<'_>) -> bool {
    let Ok(identity) = crate::sys::identity(file) else { return false };
    let own = std::process::id().cast_signed();
    processes().any(|pid| {
        pid != own
            && fs::read_dir(format!("/proc/{pid}/fd"))
                .is_ok_and(|entries| entries.flatten().any(|entry| is_file(&entry, identity)))
    })
}
