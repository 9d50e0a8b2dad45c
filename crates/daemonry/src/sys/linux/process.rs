//! Processes: pidfds, `/proc` and how a process ended.

use std::ffi::{CStr, OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::sys::{Digits, Exit, Facts, Machine, is_readable, retry};

/// How an own child ended, without reaping it; `None` while it runs and for other processes.
pub(crate) fn peek_exit(pid: i32) -> Option<Exit> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match retry(|| waitid(Id::Pid(Pid::from_raw(pid)), flags)) {
        Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal as i32)),
        _ => None,
    }
}

/// Whether the process is on its way out: exiting, a zombie, or with a SIGKILL that it has not noticed yet.
pub(crate) fn is_dying(pid: i32) -> bool {
    const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);
    is_exiting(pid)
        || ["SigPnd:", "ShdPnd:"].iter().any(|set| signal_set(pid, set).is_some_and(|set| set & SIGKILL != 0))
}

/// Whether the process is exiting, or a zombie. Its descriptors are closed only then.
pub(crate) fn is_exiting(pid: i32) -> bool {
    facts_in_stat(pid).is_some_and(|(_, is_exiting)| is_exiting)
}

/// What the kernel says about a process; `None` where there is none, or `/proc` does not show it.
pub(crate) fn facts(pid: i32) -> Option<Facts> {
    let (start, is_exiting) = facts_in_stat(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uid = uids.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Facts { start, uid, is_exiting })
}

/// The start time in clock ticks since the boot, and whether it is exiting.
pub(super) fn facts_in_stat(pid: i32) -> Option<(u64, bool)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let flags = number(field_of_stat(&stat, 9)?)?;
    Some((number(field_of_stat(&stat, 22)?)?, is_over(&stat, flags)))
}

/// Whether a process with these flags is exiting, or a zombie. Async-signal-safe.
fn is_over(stat: &[u8], flags: u64) -> bool {
    const PF_EXITING: u64 = 0x4;
    flags & PF_EXITING != 0 || matches!(field_of_stat(stat, 3).and_then(<[u8]>::first), Some(b'Z' | b'X'))
}

/// A field of `/proc/PID/stat` by its number in `proc_pid_stat(5)`, from the third on: the second, the name, can have anything
/// in it. Async-signal-safe.
fn field_of_stat(stat: &[u8], number: usize) -> Option<&[u8]> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(end + 2..)?.split(|&byte| byte == b' ').nth(number.checked_sub(3)?)
}

/// Async-signal-safe.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The start time of the calling process as in [`Facts`]; 0 where `/proc` is not mounted. Async-signal-safe.
pub(crate) fn own_start_time() -> Result<u64, Errno> {
    match read_stat(c"/proc/self/stat", &mut [0; STAT_LENGTH]) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(0),
        stat => field_of_stat(stat?, 22).and_then(number).ok_or(Errno::EIO),
    }
}

/// Whether a forked process has executed a program, which is seen until it is reaped; `None` while it may still do so.
/// Async-signal-safe.
pub(crate) fn has_executed(pid: libc::pid_t) -> Result<Option<bool>, Errno> {
    const PF_FORKNOEXEC: u64 = 0x40;
    let mut path = [0_u8; 32];
    let digits = Digits::of_pid(pid);
    let parts = [b"/proc/", digits.as_bytes(), b"/stat"];
    for (slot, byte) in path.iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *byte;
    }
    let mut buffer = [0; STAT_LENGTH];
    let stat = read_stat(CStr::from_bytes_until_nul(&path).map_err(|_| Errno::EINVAL)?, &mut buffer)?;
    let flags = field_of_stat(stat, 9).and_then(number).ok_or(Errno::EIO)?;
    if flags & PF_FORKNOEXEC == 0 {
        return Ok(Some(true));
    }
    Ok(is_over(stat, flags).then_some(false))
}

/// More than what is looked at.
const STAT_LENGTH: usize = 1024;

/// The beginning of a `/proc/PID/stat`. Async-signal-safe.
fn read_stat<'a>(path: &CStr, buffer: &'a mut [u8; STAT_LENGTH]) -> Result<&'a [u8], Errno> {
    // SAFETY: the path is a C string.
    let file = retry(|| Errno::result(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }))?;
    // SAFETY: the kernel writes at most the length given into the buffer.
    let read = retry(|| Errno::result(unsafe { libc::read(file, buffer.as_mut_ptr().cast(), buffer.len()) }));
    // SAFETY: closing descriptors touches no memory.
    unsafe { libc::close(file) };
    usize::try_from(read?).ok().and_then(|read| buffer.get(..read)).ok_or(Errno::EIO)
}

/// The number of the calling process as in [`Process::unique`]. Async-signal-safe.
pub(crate) fn own_unique() -> Result<u64, Errno> {
    // SAFETY: getpid touches no memory.
    let own = unsafe { libc::getpid() };
    // SAFETY: the call touches no memory.
    let fd = match Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, own, 0) }) {
        Err(Errno::ENOSYS | Errno::EPERM) => return Ok(0),
        #[expect(clippy::cast_possible_truncation, reason = "descriptors fit an int")]
        fd => fd? as RawFd,
    };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unique_of(unsafe { OwnedFd::from_raw_fd(fd) }.as_fd()))
}

/// The inode of a pidfd where that is the process's own (Linux 6.9 and later); 0 elsewhere. Async-signal-safe.
fn unique_of(pidfd: BorrowedFd<'_>) -> u64 {
    const PID_FS_MAGIC: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x5049_4446);
    let has_own = nix::sys::statfs::fstatfs(pidfd).is_ok_and(|system| system.filesystem_type() == PID_FS_MAGIC);
    if has_own { crate::sys::identity(pidfd).map_or(0, |(_, inode)| inode) } else { 0 }
}

/// The machine of the calling process.
pub(crate) fn machine() -> Machine {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default().to_string_lossy().into_owned();
    Machine { boot, namespace, init: facts_in_stat(1).map_or(0, |(start, _)| start) }
}

/// Whether the process has a handler for `signal`; `None` where that cannot be seen.
pub(crate) fn catches_signal(pid: i32, signal: i32) -> Option<bool> {
    signal_set(pid, "SigCgt:").map(|set| set & (1 << (signal - 1)) != 0)
}

fn signal_set(pid: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Whether the calling thread is the process's first one.
pub(crate) fn is_main_thread() -> bool {
    nix::unistd::gettid() == nix::unistd::getpid()
}

/// When the process was started.
pub(crate) fn start_time(pid: i32) -> Option<SystemTime> {
    let (ticks, _) = facts_in_stat(pid)?;
    // SAFETY: sysconf touches no memory.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let booted = Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?);
    let age = booted.checked_sub(Duration::from_millis(ticks * 1000 / per_second))?;
    SystemTime::now().checked_sub(age)
}

/// Whether the kernel, and whatever filters its calls, has pidfds.
pub(super) fn has_pidfds() -> bool {
    matches!(Process::open(std::process::id().cast_signed()), Ok(Some(Process { pidfd: Some(_), .. })))
}

/// A process that stays the same one even when its pid is used again.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    /// Missing where the kernel or a seccomp filter has no `pidfd_open`; the pid is used then.
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// The process that `pidfd` is about.
    pub(crate) fn of(pid: i32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd: Some(pidfd) }
    }

    /// `None` when there is no such process.
    pub(crate) fn open(pid: i32) -> nix::Result<Option<Self>> {
        // SAFETY: the call touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match Errno::result(fd) {
            #[expect(clippy::cast_possible_truncation, reason = "descriptors fit an int")]
            Ok(fd) => {
                // SAFETY: the kernel has just made this descriptor for us; it is closed on exec.
                let pidfd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
                Ok(Some(Self { pid, pidfd: Some(pidfd) }))
            }
            // The other two, by the kernel's age, for a pid that is a thread's by now.
            Err(Errno::ESRCH | Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(Errno::ENOSYS | Errno::EPERM) => Ok(Some(Self { pid, pidfd: None })),
            Err(errno) => Err(errno),
        }
    }

    /// A number that no other process of this boot has; 0 where the kernel has none.
    pub(crate) fn unique(&self) -> u64 {
        self.pidfd.as_ref().map_or(0, |pidfd| unique_of(pidfd.as_fd()))
    }

    /// Sends a signal. `ESRCH` says that the process has ended.
    pub(crate) fn signal(&self, signal: i32) -> nix::Result<()> {
        let sent = match &self.pidfd {
            // SAFETY: no signal information is passed, so nothing is read from memory.
            Some(fd) => unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    fd.as_raw_fd(),
                    signal,
                    std::ptr::null::<libc::siginfo_t>(),
                    0,
                )
            },
            // SAFETY: kill touches no memory.
            None => libc::c_long::from(unsafe { libc::kill(self.pid, signal) }),
        };
        Errno::result(sent).map(drop)
    }

    /// Readable once the process has ended; `None` if there is no such event, and [`Process::has_ended`] must be polled.
    pub(crate) fn exit_event(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }

    /// Whether the process has ended, be it reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.pidfd {
            Some(fd) => is_readable(fd.as_fd()),
            None => match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
                Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
                Err(error) if gone(&error) => true,
                // SAFETY: signal 0 only asks.
                Err(_) => Errno::result(unsafe { libc::kill(self.pid, 0) }) == Err(Errno::ESRCH),
            },
        }
    }
}

fn gone(error: &io::Error) -> bool {
    // Without /proc every file is missing; then the error says nothing about the process.
    matches!(error.kind(), ErrorKind::NotFound) && has_proc() || error.raw_os_error() == Some(libc::ESRCH)
}

fn has_proc() -> bool {
    fs::exists("/proc/self").unwrap_or(false)
}

/// The command line of the calling process as the kernel keeps it; empty where that cannot be read.
pub(crate) fn command_line() -> Vec<OsString> {
    let line = fs::read("/proc/self/cmdline").unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    line.split(|&byte| byte == 0).map(|argument| OsStr::from_bytes(argument).to_owned()).collect()
}

/// Whether `variable` (`NAME=value`) was in the environment that a process was executed with; `None` where that may not be seen.
pub(crate) fn has_variable(pid: i32, variable: &str) -> Option<bool> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    Some(environment.split(|&byte| byte == 0).any(|one| one == variable.as_bytes()))
}

/// Has the kernel end the calling process when the thread that forked it ends; fails if `parent` has ended already.
/// Async-signal-safe.
pub(crate) fn end_with_parent(parent: libc::pid_t) -> Result<(), Errno> {
    // SAFETY: setting it touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    // SAFETY: getppid touches no memory.
    if unsafe { libc::getppid() } == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Makes the calling process the parent of every orphan below it, so that it learns of their ends.
pub(crate) fn adopt_orphans() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Every process that can be seen.
pub(crate) fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_a_thread_has_by_now_is_no_process() {
        let thread = std::thread::spawn(|| {
            let opened = Process::open(nix::unistd::gettid().as_raw());
            opened.map(|process| process.is_some())
        });
        assert_eq!(thread.join().ok(), Some(Ok(false)));
    }
}
