//! Linux: pidfds, record locks that survive exec, `/proc`, `close_range`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::{Holder, poll, retry};
use crate::error::Exit;

mod clone;
mod ids;
pub(crate) use clone::{Dumpable, Ground, fork, fork_sibling, is_refusal};
pub(crate) use ids::*;

/// How a directory is opened that is only a starting point for names in it.
pub(crate) const OPEN_DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// The byte of a pidfile that the daemon locks for itself: far behind any content.
const RECORD_OFFSET: libc::off64_t = 1 << 40;

/// The inode of the initial PID namespace (`PROC_PID_INIT_INO`), the only one whose `/proc/locks` lists every lock.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// What `/proc/locks` tells in one go: less than a page of it has no gaps.
const CONSISTENT: usize = 4096 - 128;

/// How often a lock is looked for in a list that may have gaps.
const LOCK_LIST_LOOKS: usize = 4;

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

/// Takes the record lock that names the calling process as the pidfile's holder. It survives exec, is not inherited by
/// forked children, and does not meet `flock`. A file system without them leaves the proof to the holder's descriptors.
/// Async-signal-safe.
pub(crate) fn lock_record(pid_file: RawFd) -> Result<(), Errno> {
    let lock = record_lock(libc::F_WRLCK);
    // SAFETY: the structure outlives the call.
    match Errno::result(unsafe { libc::fcntl(pid_file, libc::F_SETLK, &raw const lock) }) {
        Err(Errno::ENOLCK | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        result => result.map(drop),
    }
}

/// Claims the right to replace `daemon`, which holds the pidfile at `path`, until what is returned is dropped; `None` while
/// somebody else has it, or still starts that daemon. A lock of an open file description, on the byte behind the daemon's own.
pub(crate) fn claim_replacement(path: &Path, daemon: i32) -> nix::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match retry(|| nix::fcntl::open(path, flags, Mode::empty())) {
        // Gone meanwhile, and the daemon with it.
        Err(Errno::ENOENT) => return Ok(None),
        file => file?,
    };
    let mut lock = record_lock(libc::F_WRLCK);
    lock.l_start += 1;
    // SAFETY: the structure outlives the call.
    match Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }) {
        Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
        // A file system without them: then there may be two of us.
        Err(Errno::ENOLCK | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
        result => drop(result?),
    }
    // Ended now, it would be a failed start.
    Ok(if is_launched_still(file.as_fd(), daemon) { None } else { Some(file) })
}

/// Whether the launcher of `daemon` has not let go of the lock yet. False where that cannot be seen.
pub(crate) fn is_launched_still(file: BorrowedFd<'_>, daemon: i32) -> bool {
    let Ok(identity) = super::identity(file) else { return false };
    matches!(flock_taker(file), Lock::Held(Some(taker)) if taker != daemon && holds_lock(taker, identity))
}

/// Whether `pid` holds the lock of `file`, which the caller holds, too. True where that cannot be seen.
pub(crate) fn keeps_lock(file: BorrowedFd<'_>, pid: i32) -> bool {
    let Ok(identity) = super::identity(file) else { return true };
    record_owner(file) == Some(pid)
        || holds_lock(pid, identity)
        || fs::read_dir(format!("/proc/{pid}/fd"))
            .is_err_and(|error| error.kind() != ErrorKind::NotFound || !has_proc())
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

/// Who holds `file`, which claims to be held by `claimed`.
///
/// First the record lock, which needs only read access; then, where a close inside the daemon dropped it or the file
/// system has none, the `lock:` lines in the `fdinfo` of the claimed process; then the kernel's list of locks.
pub(crate) fn holder(file: BorrowedFd<'_>, claimed: Option<i32>) -> Holder {
    match (record_owner(file), claimed) {
        (Some(owner), Some(claimed)) if owner == claimed => return Holder::Proven,
        (Some(owner), _) if owner > 0 => return Holder::Other(Some(owner)),
        // 0 is a process in another PID namespace, -1 an open file description.
        (Some(_), _) => return Holder::Other(None),
        (None, _) => {}
    }
    let Ok(identity) = super::identity(file) else { return Holder::Other(None) };
    if claimed.is_some_and(|pid| holds_lock(pid, identity)) {
        return Holder::Proven;
    }
    match flock_taker(file) {
        Lock::Free => Holder::Nobody,
        Lock::Held(Some(taker)) if holds_lock(taker, identity) => Holder::Taker(taker),
        // Its taker is gone, or hidden: whoever keeps it now came by it through fork.
        Lock::Held(_) => Holder::Other(processes().find(|&pid| holds_lock(pid, identity))),
    }
}

/// The process that the kernel names as owner of the daemon's record lock.
fn record_owner(file: BorrowedFd<'_>) -> Option<i32> {
    // Asking for a read lock needs only a descriptor that can read.
    let mut lock = record_lock(libc::F_RDLCK);
    // SAFETY: the structure outlives the call.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    (asked == 0 && i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid)
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

enum Lock {
    Free,
    Held(Option<i32>),
}

/// Whether a `flock` is on the file, and who took it.
fn flock_taker(file: BorrowedFd<'_>) -> Lock {
    if let (Ok(mut locks), Some(name)) = (lock_list(), name_in_lock_list(file)) {
        for _ in 0..LOCK_LIST_LOOKS {
            // "1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF"; waiting ones have "->" as second word.
            for line in locks.lines() {
                let mut words = line.split_ascii_whitespace().skip(1);
                if words.next() == Some("FLOCK") && words.nth(3) == Some(name.as_str()) {
                    let taker = line.split_ascii_whitespace().nth(4).and_then(|pid| pid.parse().ok());
                    return Lock::Held(taker.filter(|&pid| pid > 0));
                }
            }
            if locks.len() < CONSISTENT {
                break;
            }
            locks = lock_list().unwrap_or_default();
        }
        if fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() == INITIAL_PID_NAMESPACE) {
            return Lock::Free;
        }
    }
    // The list is not there, or hides locks taken from other PID namespaces: only an attempt can tell. It disturbs a
    // starter that tries in the same instant, which is why a starter tries more than once.
    // SAFETY: flock touches no memory.
    let attempt = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) };
    if attempt == 0 {
        // SAFETY: as above.
        unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
        Lock::Free
    } else {
        Lock::Held(None)
    }
}

/// The kernel's list of locks.
///
/// It is consistent within one `read(2)`, which is given a page at most. Between two reads a lock that somebody takes or
/// releases shifts the rest, and a line is missed: hence no small reads, and several looks at a long list.
fn lock_list() -> io::Result<String> {
    let mut file = fs::File::open("/proc/locks")?;
    let mut list = Vec::new();
    let mut chunk = [0; 4 * CONSISTENT];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(String::from_utf8_lossy(&list).into_owned()),
            Ok(read) => list.extend(chunk.iter().take(read)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How `/proc/locks` spells this file: the device of the mount and the inode as the kernel counts them, which differ from
/// `stat` on overlayfs and btrfs.
fn name_in_lock_list(file: BorrowedFd<'_>) -> Option<String> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let inode = match field("ino:") {
        Some(inode) => inode.to_owned(),
        None => super::identity(file).ok()?.1.to_string(),
    };
    let mount = field("mnt_id:")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let device = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        (words.next() == Some(mount)).then(|| words.nth(1))?
    })?;
    let (major, minor) = device.split_once(':')?;
    Some(format!("{:02x}:{:02x}:{inode}", major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
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

/// Every process that can be seen.
fn processes() -> impl Iterator<Item = i32> {
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
    const PF_EXITING: u64 = 0x4;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split(' ');
    let state = fields.next();
    let flags: u64 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    matches!(state, Some("Z" | "X")) || flags & PF_EXITING != 0
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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22, counted from the state, which follows the name in parentheses.
    let ticks: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
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
