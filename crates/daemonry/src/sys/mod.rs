//! Where the platforms differ: the same function names over Linux and macOS.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub(crate) use macos::*;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("daemonry runs on Linux and macOS");

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag};
use nix::poll::{PollFd, PollTimeout};
use nix::sys::stat::{FileStat, Mode, SFlag};

/// Who holds the lock of a pidfile, as far as it can be found out without touching the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The kernel names the process whose pid is in the file.
    Proven,
    /// A living process took the lock and holds the file, but its pid is not in it (yet).
    Taker(i32),
    /// Locked by somebody else, or by nobody that can be seen from here.
    Other(Option<i32>),
    /// Nobody holds the lock.
    Nobody,
}

/// Again after EINTR.
pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// `poll(2)` until something happens or `deadline` passes, whatever signals arrive meanwhile.
/// Returns the number of ready descriptors; 0 is a time-out.
pub(crate) fn poll(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> nix::Result<i32> {
    loop {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // A millisecond more than what is left: rounding down would spin through the last one.
            let left = deadline.saturating_duration_since(Instant::now());
            let left = if left.is_zero() { left } else { left + Duration::from_millis(1) };
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match nix::poll::poll(fds, timeout) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// The moment after `limit`; one that never comes where the clock does not reach so far.
pub(crate) fn deadline_after(limit: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    Instant::now() + limit.min(NEVER)
}

/// Permission bits as the kernel takes them.
pub(crate) fn file_mode(bits: u32) -> Mode {
    Mode::from_bits_truncate((bits & 0o7777) as libc::mode_t)
}

/// A second descriptor, closed on exec, of what an open number means; `EBADF` when it is not open.
pub(crate) fn duplicate_number(number: RawFd) -> nix::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: a number that is not open is told by the kernel; nothing else is done with it.
    duplicate_above(unsafe { BorrowedFd::borrow_raw(number) }, 0)
}

/// A second descriptor, closed on exec, with the lowest free number from `floor` on.
pub(crate) fn duplicate_above(source: BorrowedFd<'_>, floor: RawFd) -> nix::Result<OwnedFd> {
    let duplicate = nix::fcntl::fcntl(source, FcntlArg::F_DUPFD_CLOEXEC(floor))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// What kind of file a `stat` is about.
pub(crate) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Lets no program that this process executes have what an open number means. Async-signal-safe.
pub(crate) fn close_on_exec(number: RawFd) -> nix::Result<()> {
    // SAFETY: setting a flag on a number that is not open is told by the kernel.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// The present limits of the calling process.
pub(crate) fn limit(resource: ResourceNumber) -> nix::Result<libc::rlimit> {
    let mut present = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    Errno::result(unsafe { libc::getrlimit(resource, &raw mut present) })?;
    Ok(present)
}

/// Sets a limit of the calling process. Async-signal-safe.
pub(crate) fn set_limit(resource: ResourceNumber, limit: &libc::rlimit) -> Result<(), Errno> {
    // SAFETY: the structure outlives the call.
    Errno::result(unsafe { libc::setrlimit(resource, &raw const *limit) }).map(drop)
}

/// The device and inode of an open file: what it is, whatever its name.
pub(crate) fn identity(file: BorrowedFd<'_>) -> nix::Result<(u64, u64)> {
    nix::sys::stat::fstat(file).map(|stat| identity_of(&stat))
}

/// The same from a `stat` that was taken already.
#[cfg_attr(target_os = "macos", expect(clippy::unnecessary_cast, reason = "dev_t is wider elsewhere"))]
#[cfg_attr(target_os = "macos", expect(clippy::cast_sign_loss, reason = "dev_t is a signed number, but an opaque one"))]
#[cfg_attr(target_os = "linux", expect(clippy::unnecessary_cast, reason = "both have other widths elsewhere"))]
pub(crate) fn identity_of(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}
