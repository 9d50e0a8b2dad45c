//! Where the platforms differ: the same function names over Linux and macOS.

mod digits;
mod disposition;
mod exit;
mod machine;
mod resource;

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

pub(crate) use digits::{Digits, PID_WIDTH, TIME_WIDTH};
pub(crate) use disposition::is_ignored;
pub use exit::{Exit, signal_name};
pub(crate) use exit::{is_request, signal_number};
pub(crate) use machine::Machine;
pub use resource::Resource;
pub(crate) use resource::shown;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, FdFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{AccessFlags, Uid, User};

/// What the kernel says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When it was started, in the platform's own unit: with the pid it names one process.
    pub(crate) start: u64,
    /// Its real uid.
    pub(crate) uid: u32,
    /// Exiting: its descriptors may still be open.
    pub(crate) is_exiting: bool,
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

/// Whether a descriptor can be read from now, without waiting.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], Some(Instant::now())).is_ok_and(|ready| ready > 0)
}

/// How often it is checked whether a process has ended that gives no event.
const EXIT_POLL: Duration = Duration::from_millis(10);

impl Process {
    /// Waits for the end of the process; false when `deadline` came first.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        if let Some(event) = self.exit_event() {
            // If the event cannot be waited for at this moment, the process still has all its time.
            if let Ok(ready) = poll(&mut [PollFd::new(event, PollFlags::POLLIN)], Some(deadline)) {
                return ready > 0;
            }
        }
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(EXIT_POLL);
        }
        true
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
    duplicate_number_above(number, 0)
}

/// The same with the lowest free number from `floor` on.
pub(crate) fn duplicate_number_above(number: RawFd, floor: RawFd) -> nix::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the kernel refuses a number that is not open; nothing else is done with it.
    duplicate_above(unsafe { BorrowedFd::borrow_raw(number) }, floor)
}

/// A second descriptor, closed on exec, with the lowest free number from `floor` on.
pub(crate) fn duplicate_above(source: BorrowedFd<'_>, floor: RawFd) -> nix::Result<OwnedFd> {
    let duplicate = nix::fcntl::fcntl(source, FcntlArg::F_DUPFD_CLOEXEC(floor))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// The clock that no one sets, and that every process of the machine reads alike. Async-signal-safe.
pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Takes the `flock` of an open file; false where another open file has it.
pub(crate) fn try_flock(file: BorrowedFd<'_>) -> nix::Result<bool> {
    flock(file, libc::LOCK_EX | libc::LOCK_NB)
}

/// Whether another open file has the `flock`. Asking takes it for an instant.
pub(crate) fn is_flocked(file: BorrowedFd<'_>) -> nix::Result<bool> {
    let is_free = flock(file, libc::LOCK_SH | libc::LOCK_NB)?;
    if is_free {
        flock(file, libc::LOCK_UN)?;
    }
    Ok(!is_free)
}

fn flock(file: BorrowedFd<'_>, operation: libc::c_int) -> nix::Result<bool> {
    // SAFETY: flock touches no memory.
    match retry(|| Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) })) {
        Ok(_) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What a file begins with, at most `most` bytes and one more, by which too long a file is noticed.
pub(crate) fn read_start(file: BorrowedFd<'_>, most: usize) -> nix::Result<Vec<u8>> {
    read_from(file, 0, most + 1)
}

/// What is in a file from `begin` on, at most `most` bytes.
pub(crate) fn read_from(file: BorrowedFd<'_>, begin: usize, most: usize) -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let offset = libc::off_t::try_from(begin + length).unwrap_or(libc::off_t::MAX);
        match retry(|| nix::sys::uio::pread(file, rest, offset))? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Writes at the beginning of a file, in one go. Async-signal-safe.
pub(crate) fn write_start(file: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<()> {
    whole(retry(|| nix::sys::uio::pwrite(file, bytes, 0))?, bytes)
}

/// Writes where the open file is; in one go, if there is room. Async-signal-safe.
pub(crate) fn append(file: impl AsFd, bytes: &[u8]) -> nix::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match retry(|| nix::unistd::write(&file, rest))? {
            0 => return Err(Errno::ENOSPC),
            written => rest = rest.get(written..).unwrap_or(&[]),
        }
    }
    Ok(())
}

/// The kernel writes less than asked only when there is no room for more.
fn whole(written: usize, bytes: &[u8]) -> nix::Result<()> {
    if written == bytes.len() { Ok(()) } else { Err(Errno::ENOSPC) }
}

/// What kind of file a `stat` is about.
pub(crate) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// What the user database has about a user; `None` also if it cannot be asked, for a caller that can do without it.
pub(crate) fn user_entry(uid: libc::uid_t) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

/// Whether the calling process may make and remove names in a directory, with its effective ids.
pub(crate) fn may_change(from: BorrowedFd<'_>, directory: &Path) -> nix::Result<()> {
    nix::unistd::faccessat(from, directory, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

/// Whether the calling process may make and remove names in a directory, with its real ids. Async-signal-safe.
pub(crate) fn may_change_at(directory: &CStr) -> nix::Result<()> {
    access(directory, libc::W_OK | libc::X_OK)
}

/// Whether the calling process may read a file, with its real ids. Async-signal-safe.
pub(crate) fn may_read(path: &CStr) -> nix::Result<()> {
    access(path, libc::R_OK)
}

/// Whether the calling process may execute a file, with its real ids; a directory is no such file. Async-signal-safe.
pub(crate) fn may_execute(path: &CStr) -> nix::Result<()> {
    access(path, libc::X_OK)?;
    if kind_of(&nix::sys::stat::stat(path)?) == SFlag::S_IFREG { Ok(()) } else { Err(Errno::EACCES) }
}

/// Whether the mode of a file lets others than its owner write.
pub(crate) fn can_others_write(stat: &FileStat) -> bool {
    Mode::from_bits_truncate(stat.st_mode).intersects(Mode::S_IWGRP | Mode::S_IWOTH)
}

/// Whether it belongs to this user, and its group and all others have no rights.
pub(crate) fn is_private_to(stat: &FileStat, owner: u32) -> bool {
    stat.st_uid == owner && !Mode::from_bits_truncate(stat.st_mode).intersects(Mode::S_IRWXG | Mode::S_IRWXO)
}

/// Lets no program that this process executes have what an open number means. Async-signal-safe.
pub(crate) fn close_on_exec(number: RawFd) -> nix::Result<()> {
    // SAFETY: the kernel refuses to set a flag on a number that is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// Makes the number of an open descriptor mean what `source` means (`dup2(2)`). The number keeps its owner.
pub(crate) fn put(source: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    // SAFETY: replacing a descriptor touches no memory.
    retry(|| Errno::result(unsafe { libc::dup2(source.as_raw_fd(), number) })).map(drop)
}

/// The same, closed on exec.
pub(crate) fn replace(source: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    put(source, number)?;
    close_on_exec(number)
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

/// Closes every descriptor from `first` on by trying every number. Async-signal-safe.
fn close_from_by_limit(first: RawFd) -> nix::Result<()> {
    const MOST: RawFd = 1 << 20;
    // The soft limit may have been lowered below what is open; the hard one is often infinite.
    let last = RawFd::try_from(limit(libc::RLIMIT_NOFILE)?.rlim_max).unwrap_or(MOST).min(MOST);
    for fd in first..last {
        // SAFETY: closing descriptors touches no memory.
        unsafe { libc::close(fd) };
    }
    Ok(())
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
