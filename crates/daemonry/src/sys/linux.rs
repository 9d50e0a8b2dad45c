//! Linux: pidfds, record locks that survive exec, `/proc`, `close_range`.

use std::ffi::{CStr, OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::{Facts, poll, retry};
use crate::digits::Digits;
use crate::error::Exit;
use crate::state::Machine;

mod clone;
mod ids;
pub(crate) use clone::{Dumpable, Ground, fork, fork_sibling, is_refusal};
pub(crate) use ids::*;

/// How a directory is opened that is only a starting point for names in it.
pub(crate) const OPEN_DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// How a directory is opened that is only passed through: search permission is enough.
pub(crate) const OPEN_TO_SEARCH: OFlag = OFlag::O_PATH;

/// The groups whose members could do everything that root does anyway.
pub(crate) const GROUPS_OF_ROOT: &[u32] = &[0];

/// Moves `name` from one directory to another, where nothing has that name (`EEXIST`).
///
/// # References
///
/// [`renameat2(2)`](https://man7.org/linux/man-pages/man2/rename.2.html)
pub(crate) fn rename_new(from: impl AsFd, to: impl AsFd, name: &OsStr) -> nix::Result<()> {
    let name = std::ffi::CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    let (name, flags) = (name.as_ptr(), libc::RENAME_NOREPLACE);
    // SAFETY: both descriptors and the name outlive the call, which changes no memory.
    Errno::result(unsafe { libc::syscall(libc::SYS_renameat2, from, name, to, name, flags) }).map(drop)
}

/// Whether a directory is the kernel's own information about a process, where links lead to objects and not to names (proc(5)).
pub(crate) fn is_process_information(directory: BorrowedFd<'_>) -> bool {
    nix::sys::statfs::fstatfs(directory)
        .is_ok_and(|system| system.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC)
}

/// Whether others than owner and group may have permissions on a directory (acl(5)). True where that cannot be found out.
pub(crate) fn has_access_list(directory: BorrowedFd<'_>) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // A descriptor that is good only for searching has no attributes.
    let Ok(directory) = retry(|| nix::fcntl::openat(directory, c".", flags, Mode::empty())) else { return true };
    let name = c"system.posix_acl_access";
    // SAFETY: the name is a C string, and nothing is written where there is no room.
    let length = unsafe { libc::fgetxattr(directory.as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) };
    !matches!(Errno::result(length), Err(Errno::ENODATA | Errno::EOPNOTSUPP))
}

/// The byte of a pidfile that the daemon locks for itself: far behind any content.
const RECORD_OFFSET: libc::off64_t = 1 << 40;

/// What lives as long as the machine is up (hier(7)).
pub(crate) const RUN_DIRECTORY: &str = "/run";

/// Below a user's home, beside the directories of its named daemons, so that removing one of those removes no lock.
pub(crate) const USER_LOCKS: &[&str] = &[".local", "state", "daemonry-locks"];

/// How often the exit of a process without a pidfd is looked for.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// A pipe, closed on exec: its read end and its write end.
pub(crate) fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC)
}

/// A socket, closed on exec.
pub(crate) fn socket(family: AddressFamily, kind: SockType) -> nix::Result<OwnedFd> {
    nix::sys::socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
}

/// Where `NOTIFY_SOCKET` leads: a path, or the name of an abstract socket behind an `@`.
pub(crate) fn notify_address(address: &OsStr) -> nix::Result<UnixAddr> {
    match address.as_bytes() {
        [b'/', ..] => UnixAddr::new(address),
        [b'@', name @ ..] => UnixAddr::new_abstract(name),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// An empty append-only file without a name.
pub(crate) fn memory_file() -> nix::Result<OwnedFd> {
    let file = memfd_create(c"daemonry-stderr", MFdFlags::MFD_CLOEXEC)?;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

/// Closes every descriptor from `first` on. Async-signal-safe.
pub(crate) fn close_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: closing descriptors touches no memory.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    match Errno::result(closed) {
        // Before Linux 5.9, and under seccomp filters that do not know the call.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => close_from_by_scan(first),
        result => result.map(drop),
    }
}

/// The same by `/proc/self/fd`, read with the bare system call into a buffer on the stack.
fn close_from_by_scan(first: RawFd) -> Result<(), Errno> {
    #[repr(C, align(8))]
    struct Buffer([u8; 4096]);
    const NAME: usize = std::mem::offset_of!(libc::dirent64, d_name);

    // SAFETY: the path is a C string.
    let directory = unsafe { libc::open(c"/proc/self/fd".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY) };
    if directory < 0 {
        return close_from_by_limit(first);
    }
    let mut buffer = Buffer([0; 4096]);
    let outcome = loop {
        // SAFETY: the kernel writes at most the length given into the buffer.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, directory, buffer.0.as_mut_ptr(), buffer.0.len()) };
        let Ok(read) = usize::try_from(read) else { break Err(Errno::last()) };
        if read == 0 {
            break Ok(());
        }
        let mut rest = buffer.0.get(..read).unwrap_or(&[]);
        // Each entry: inode (8 bytes), offset (8), length (2), type (1), name up to a NUL.
        while let (Some(&[low, high]), Some(name)) = (rest.get(16..18), rest.get(NAME..)) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let mut fd: RawFd = 0;
            let mut is_number = false;
            for &byte in name.iter().take_while(|&&byte| byte != 0) {
                is_number = byte.is_ascii_digit();
                if !is_number {
                    break;
                }
                fd = fd.wrapping_mul(10).wrapping_add(RawFd::from(byte - b'0'));
            }
            if is_number && fd >= first && fd != directory {
                // SAFETY: closing descriptors touches no memory.
                unsafe { libc::close(fd) };
            }
            rest = rest.get(length.max(1)..).unwrap_or(&[]);
        }
    };
    // SAFETY: closing descriptors touches no memory.
    unsafe { libc::close(directory) };
    outcome
}

/// The same by trying every number, where `/proc` is not mounted either.
fn close_from_by_limit(first: RawFd) -> Result<(), Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    Errno::result(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    for fd in first..RawFd::try_from(limit.rlim_max).unwrap_or(1 << 20).min(1 << 20) {
        // SAFETY: closing descriptors touches no memory.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Signals that the launcher caught or ignored do what they do by default. Async-signal-safe.
///
/// The bare system call: the C library refuses the two signals that it keeps for itself, which may be ignored, too.
pub(crate) fn reset_dispositions() {
    const LAST_SIGNAL: libc::c_long = 64;
    // The kernel's structure: handler (SIG_DFL is 0), flags, restorer, mask.
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SIGKILL and SIGSTOP refuse; they have nothing to reset.
        // SAFETY: the structure outlives the call, and is as long as the kernel's.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, size_of::<u64>()) };
    }
}

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
    let identity = super::identity(file).ok()?;
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

fn is_file(entry: &fs::DirEntry, identity: (u64, u64)) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(entry.path()).is_ok_and(|file| (file.dev(), file.ino()) == identity)
}

/// Whether a process has a descriptor for writing into this pipe that a program it executes inherits. False where that may not be
/// seen.
pub(crate) fn hands_on(pid: i32, pipe: (u64, u64)) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|entry| {
        is_file(&entry, pipe)
            && entry.file_name().to_str().is_some_and(|fd| {
                let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
                let flags = flags.and_then(|flags| libc::c_int::from_str_radix(flags.trim(), 8).ok());
                flags.is_some_and(|flags| flags & (libc::O_ACCMODE | libc::O_CLOEXEC) == libc::O_WRONLY)
            })
    })
}

/// The TCP sockets that listen on a port: the address and the number of each (`proc_pid_net(5)`).
pub(crate) fn tcp_listeners(port: u16) -> Vec<(IpAddr, u64)> {
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")));
    tables.iter().flatten().flat_map(|table| table.lines()).filter_map(|line| tcp_listener(line, port)).collect()
}

fn tcp_listener(line: &str, wanted: u16) -> Option<(IpAddr, u64)> {
    const LISTENING: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let is_wanted = u16::from_str_radix(port, 16).ok()? == wanted && fields.nth(1)? == LISTENING;
    let socket = fields.nth(5)?.parse().ok()?;
    is_wanted.then_some((tcp_address(address)?, socket))
}

/// An address in its table: words of the machine's own byte order.
fn tcp_address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let four = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
}

/// The numbers of the Unix sockets that listen and were bound by this path.
pub(crate) fn unix_listeners(path: &Path) -> Vec<u64> {
    let table = fs::read("/proc/thread-self/net/unix").unwrap_or_default();
    table.split(|byte| *byte == b'\n').filter_map(|line| unix_listener(line, path)).collect()
}

fn unix_listener(line: &[u8], path: &Path) -> Option<u64> {
    const ACCEPTS: &str = "00010000";
    let fields = std::str::from_utf8(line.strip_suffix(path.as_os_str().as_bytes())?).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    let (flags, socket) = (fields.nth(3)?, fields.nth(2)?);
    // Otherwise its path only ends like this one.
    let is_whole = fields.next().is_none();
    (is_whole && flags == ACCEPTS).then(|| socket.parse().ok()).flatten()
}

/// The numbers of the sockets that a process has open; `None` where they may not be seen, or it has ended meanwhile.
pub(crate) fn sockets_of(pid: i32) -> Option<Vec<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let number = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let sockets = entries.flatten().filter_map(|entry| number(fs::read_link(entry.path()).ok()?)).collect();
    facts_in_stat(pid).is_some_and(|(_, is_exiting)| !is_exiting).then_some(sockets)
}

/// Whether a process other than the caller still has `file` open, as far as the caller may see.
pub(crate) fn others_hold(file: BorrowedFd<'_>) -> bool {
    let Ok(identity) = super::identity(file) else { return false };
    let own = std::process::id().cast_signed();
    processes().any(|pid| {
        pid != own
            && fs::read_dir(format!("/proc/{pid}/fd"))
                .is_ok_and(|entries| entries.flatten().any(|entry| is_file(&entry, identity)))
    })
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

/// Every process that can be seen.
pub(crate) fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

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
fn facts_in_stat(pid: i32) -> Option<(u64, bool)> {
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
    if has_own { super::identity(pidfd).map_or(0, |(_, inode)| inode) } else { 0 }
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
fn has_pidfds() -> bool {
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

    /// Readable once the process has ended; `None` where only asking again tells.
    pub(crate) fn exit_event(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }

    /// Whether the process has ended, be it reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.pidfd {
            Some(fd) => {
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, Some(Instant::now())).is_ok_and(|ready| ready > 0)
            }
            None => match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
                Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
                Err(error) if gone(&error) => true,
                // SAFETY: signal 0 only asks.
                Err(_) => Errno::result(unsafe { libc::kill(self.pid, 0) }) == Err(Errno::ESRCH),
            },
        }
    }

    /// Waits for the end of the process; false when `deadline` came first.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        if let Some(fd) = &self.pidfd {
            // One that cannot be waited for at this moment still has all its time.
            if let Ok(ready) = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], Some(deadline)) {
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

fn gone(error: &io::Error) -> bool {
    // Without /proc every file is missing; then the error says nothing about the process.
    matches!(error.kind(), ErrorKind::NotFound) && has_proc() || error.raw_os_error() == Some(libc::ESRCH)
}

fn has_proc() -> bool {
    fs::exists("/proc/self").unwrap_or(false)
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
