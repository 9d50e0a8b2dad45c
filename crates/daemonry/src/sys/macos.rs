//! macOS: kqueue, libproc, `flock` alone.
//!
//! Layouts and semantics follow XNU's `bsd/sys/proc_info.h`, `bsd/sys/proc.h`, `bsd/kern/kern_lockf.c` and
//! `bsd/kern/proc_info.c`.

use std::ffi::OsStr;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::stat::Mode;

use super::{Facts, poll, retry};
use crate::error::Exit;
use crate::state::Machine;

mod ids;
pub(crate) use ids::*;

/// How a directory is opened that is only a starting point for names in it.
pub(crate) const OPEN_DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// How a directory is opened that is only passed through: search permission is enough.
pub(crate) const OPEN_TO_SEARCH: OFlag = OFlag::from_bits_retain(libc::O_SEARCH);

/// The groups whose members could do everything that root does anyway: `wheel`, and `daemon`, to which `/var/run` belongs.
pub(crate) const GROUPS_OF_ROOT: &[u32] = &[0, 1];

/// Moves `name` from one directory to another, where nothing has that name (`EEXIST`).
///
/// # References
///
/// [`renameatx_np(2)`](https://keith.github.io/xcode-man-pages/renameatx_np.2.html)
pub(crate) fn rename_new(from: impl AsFd, to: impl AsFd, name: &OsStr) -> nix::Result<()> {
    let name = std::ffi::CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    let name = name.as_ptr();
    // SAFETY: both descriptors and the name outlive the call, which changes no memory.
    Errno::result(unsafe { libc::renameatx_np(from, name, to, name, libc::RENAME_EXCL) }).map(drop)
}

/// There are no directories whose links lead to objects and not to names.
pub(crate) fn is_process_information(_directory: BorrowedFd<'_>) -> bool {
    false
}

/// Whether the group's permissions on a directory may be those of others, too. Access control lists are apart from them here.
pub(crate) fn has_access_list(_directory: BorrowedFd<'_>) -> bool {
    false
}

/// What lives as long as the machine is up.
pub(crate) const RUN_DIRECTORY: &str = "/private/var/run";

/// Below a user's home, beside the directories of its named daemons, so that removing one of those removes no lock.
pub(crate) const USER_LOCKS: &[&str] = &["Library", "Application Support", "daemonry-locks"];

/// How often the end of a process is looked for that was already exiting when it was opened.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// Every process, for `proc_listpids`.
const PROC_ALL_PIDS: u32 = 1;

/// What `proc_pidfdinfo` tells of a file.
const PROC_PIDFDVNODEINFO: libc::c_int = 1;

/// In `OpenFile::flags`: a `flock` was taken through this open file description (XNU's `FHASLOCK`, now `FWASLOCKED`).
const WAS_LOCKED: u32 = 0x4000;

/// In `pbsi_flags`: the process is working its way through exit (`PROC_FLAG_INEXIT`).
const IN_EXIT: u32 = 4;

/// The same: the process has executed a program since it was forked (`PROC_FLAG_EXEC`).
const HAS_EXECUTED: u32 = 0x4000;

/// `struct proc_fileinfo`: an open file as its descriptor shows it.
#[derive(Clone, Copy)]
#[repr(C)]
struct OpenFile {
    flags: u32,
    _status: u32,
    _offset: libc::off_t,
    _kind: i32,
    _guard_flags: u32,
}

/// `struct vnode_fdinfo`.
#[repr(C)]
struct OpenVnode {
    file: OpenFile,
    vnode: libc::vnode_info,
}

/// `struct kinfo_proc` of a 64-bit program, of which only two fields of its `extern_proc` are of interest.
#[repr(C)]
struct KernelProcess {
    started: libc::timeval,
    _until_signals: [u8; 220],
    /// `p_sigcatch`
    caught: u32,
    _rest: [u8; 408],
}

// What the kernel copies out; a wrong size is refused or, worse, read askew.
const _: () = assert!(size_of::<OpenVnode>() == 176);
const _: () = assert!(size_of::<libc::proc_bsdshortinfo>() == 64);
const _: () = assert!(offset_of!(KernelProcess, caught) == 236);
const _: () = assert!(size_of::<KernelProcess>() == 648);

/// A pipe, closed on exec: its read end and its write end.
///
/// There is no `pipe2`: a program that another thread starts in between inherits both ends.
pub(crate) fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe()?;
    for end in [&read, &write] {
        super::close_on_exec(end.as_raw_fd())?;
    }
    Ok((read, write))
}

/// A socket, closed on exec.
pub(crate) fn socket(family: AddressFamily, kind: SockType) -> nix::Result<OwnedFd> {
    let socket = nix::sys::socket::socket(family, kind, SockFlag::empty(), None)?;
    super::close_on_exec(socket.as_raw_fd())?;
    Ok(socket)
}

/// Where `NOTIFY_SOCKET` leads. There are no abstract sockets here.
pub(crate) fn notify_address(address: &OsStr) -> nix::Result<UnixAddr> {
    match address.as_bytes() {
        [b'/', ..] => UnixAddr::new(address),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// An empty append-only file without a name.
pub(crate) fn memory_file() -> nix::Result<OwnedFd> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let flags = OFlag::O_RDWR
        .union(OFlag::O_APPEND)
        .union(OFlag::O_CREAT)
        .union(OFlag::O_EXCL)
        .union(OFlag::O_NOFOLLOW)
        .union(OFlag::O_CLOEXEC);
    let directory = std::env::temp_dir();
    loop {
        // Somebody else's file of this name only makes us try the next one: O_EXCL decides.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".daemonry-stderr-{}-{count}", std::process::id()));
        match nix::fcntl::open(&path, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(file) => {
                nix::unistd::unlink(&path)?;
                return Ok(file);
            }
            Err(Errno::EEXIST | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// `fork(2)`.
///
/// # Safety
///
/// In the child only async-signal-safe calls are allowed.
pub(crate) unsafe fn fork() -> Result<libc::pid_t, Errno> {
    // SAFETY: by the caller's word.
    Errno::result(unsafe { libc::fork() })
}

/// There is no way to fork a child for one's own parent; the caller forks plainly.
///
/// # Safety
///
/// As for `fork`: in the child only async-signal-safe calls are allowed.
pub(crate) unsafe fn fork_sibling() -> Result<libc::pid_t, Errno> {
    Err(Errno::ENOSYS)
}

/// What a child in shared memory would start with.
pub(crate) type Entry = extern "C" fn(*mut libc::c_void) -> libc::c_int;

/// Nobody can fork into the launcher's own memory here: vfork(2) shares the stack, too.
pub(crate) enum Ground {}

impl Ground {
    #[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
    pub(crate) fn new() -> nix::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) unsafe fn fork_leader(&self, _entry: Entry, _argument: *mut libc::c_void) -> Result<libc::pid_t, Errno> {
        match *self {}
    }

    pub(crate) unsafe fn fork_daemon(
        &self,
        _sibling: bool,
        _entry: Entry,
        _argument: *mut libc::c_void,
    ) -> Result<libc::pid_t, Errno> {
        match *self {}
    }

    pub(crate) fn refuse(&self, _errno: Errno) {
        match *self {}
    }

    pub(crate) fn refusal(&self) -> Option<Errno> {
        match *self {}
    }

    pub(crate) fn leader(&self) -> Option<i32> {
        match *self {}
    }

    pub(crate) fn daemon(&self) -> Option<nix::Result<OwnedFd>> {
        match *self {}
    }

    pub(crate) fn has_executed(&self) -> Option<bool> {
        match *self {}
    }

    pub(crate) fn leave(&self) {
        match *self {}
    }

    pub(crate) fn clear(&self) {
        match *self {}
    }
}

/// Whether the kernel means that it does not have the call.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    errno == Errno::ENOSYS
}

/// Nothing here changes whether other processes may look into this one.
pub(crate) struct Dumpable;

impl Dumpable {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn restore(_before: Self) {}
}

/// Closes every descriptor from `first` on. Async-signal-safe: libproc's functions are bare system calls.
///
/// For forked children: descriptors that system libraries guard are not inherited by them, and closing one in the
/// process that owns it would kill that.
pub(crate) fn close_from(first: RawFd) -> Result<(), Errno> {
    let mut open = [libc::proc_fdinfo { proc_fd: 0, proc_fdtype: 0 }; 512];
    loop {
        // SAFETY: getpid touches no memory.
        let own = unsafe { libc::getpid() };
        let Some(listed) = list_descriptors(own, &mut open) else { return close_from_by_limit(first) };
        let mut closed = false;
        for descriptor in open.iter().take(listed).filter(|descriptor| descriptor.proc_fd >= first) {
            // SAFETY: closing descriptors touches no memory.
            closed |= unsafe { libc::close(descriptor.proc_fd) } == 0;
        }
        if listed < open.len() {
            return Ok(());
        }
        // The list starts at 0 each time: descriptors that stay may fill it.
        if !closed {
            return close_from_by_limit(first);
        }
    }
}

/// The same by trying every number, where a sandbox hides the list.
fn close_from_by_limit(first: RawFd) -> Result<(), Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call.
    Errno::result(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    // The soft limit may have been lowered below what is open; the hard one is often infinite.
    for fd in first..RawFd::try_from(limit.rlim_max).unwrap_or(1 << 20).min(1 << 20) {
        // SAFETY: closing descriptors touches no memory.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Fills `buffer` with the lowest descriptors of a process, in ascending order, and returns how many they are.
/// `None` where they may not be seen, or the process is ending. Async-signal-safe.
fn list_descriptors(pid: i32, buffer: &mut [libc::proc_fdinfo]) -> Option<usize> {
    let room = libc::c_int::try_from(size_of_val(buffer)).ok()?;
    // SAFETY: the kernel writes at most the length given into the buffer.
    let filled = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, buffer.as_mut_ptr().cast(), room) };
    let filled = usize::try_from(filled).ok().filter(|&filled| filled > 0)?;
    Some((filled / size_of::<libc::proc_fdinfo>()).min(buffer.len()))
}

/// Signals that the launcher caught or ignored do what they do by default. Async-signal-safe.
pub(crate) fn reset_dispositions() {
    const LAST_SIGNAL: libc::c_int = 31;
    // SAFETY: all-zero is SIG_DFL without flags and with an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=LAST_SIGNAL {
        // SIGKILL and SIGSTOP refuse; they have nothing to reset.
        // SAFETY: the structure outlives the call.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
}

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
    super::is_flocked(file).unwrap_or(false).then_some(claimed)
}

/// A process that has this file open through a description that was locked, as far as the caller may see: for messages.
pub(crate) fn flock_holder(file: BorrowedFd<'_>) -> Option<i32> {
    let identity = super::identity(file).ok()?;
    // Older kernels mark a description whose attempt failed, too: what the caller asks through says nothing.
    let asking = (own_pid(), file.as_raw_fd());
    let is_holder =
        |pid: i32| open_files(pid, identity).any(|(fd, open)| open.flags & WAS_LOCKED != 0 && (pid, fd) != asking);
    listed()?.into_iter().find(|&pid| is_holder(pid))
}

/// Whether a process has a descriptor for writing into this pipe that a program it executes inherits. It is not looked for here.
pub(crate) fn hands_on(_pid: i32, _pipe: (u64, u64)) -> bool {
    false
}

/// The TCP sockets that listen on a port. They are not looked for here.
pub(crate) fn tcp_listeners(_port: u16) -> Vec<(IpAddr, u64)> {
    Vec::new()
}

/// The Unix sockets that listen by this path. They are not looked for here.
pub(crate) fn unix_listeners(_path: &Path) -> Vec<u64> {
    Vec::new()
}

/// The sockets that a process has open. They are not looked for here.
pub(crate) fn sockets_of(_pid: i32) -> Option<Vec<u64>> {
    None
}

/// Whether a process other than the caller still has `file` open, as far as the caller may see.
pub(crate) fn others_hold(file: BorrowedFd<'_>) -> bool {
    let Ok(identity) = super::identity(file) else { return false };
    let own = own_pid();
    let Some(processes) = listed() else { return true };
    processes.into_iter().any(|pid| pid != own && open_files(pid, identity).next().is_some())
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// The command line of the calling process, as the kernel has handed it over.
pub(crate) fn command_line() -> Vec<std::ffi::OsString> {
    std::env::args_os().collect()
}

/// Whether `variable` (`NAME=value`) was in the environment that a process was executed with; `None` where that may not be seen.
///
/// The kernel keeps it behind the arguments, each string with a NUL at its end (`ps -E`).
pub(crate) fn has_variable(pid: i32, variable: &str) -> Option<bool> {
    let mut query = [libc::CTL_KERN, libc::KERN_PROCARGS2, pid];
    let mut buffer = vec![0_u8; 1 << 20];
    let mut length = buffer.len();
    // SAFETY: the kernel writes at most the length given into the buffer.
    let asked = unsafe {
        libc::sysctl(query.as_mut_ptr(), 3, buffer.as_mut_ptr().cast(), &raw mut length, std::ptr::null_mut(), 0)
    };
    Errno::result(asked).ok()?;
    Some(buffer.get(..length)?.split(|&byte| byte == 0).any(|one| one == variable.as_bytes()))
}

/// Every process that can be seen.
pub(crate) fn processes() -> impl Iterator<Item = i32> {
    listed().unwrap_or_default().into_iter()
}

/// Every process that there is, as far as the caller may see.
fn listed() -> Option<Vec<i32>> {
    let mut pids: Vec<i32> = Vec::new();
    loop {
        // Without a buffer the kernel returns the room that it wants, with some to spare.
        // SAFETY: a null buffer is not written to.
        let wanted = unsafe { libc::proc_listpids(PROC_ALL_PIDS, 0, std::ptr::null_mut(), 0) };
        let wanted = usize::try_from(wanted).ok().filter(|&wanted| wanted > 0)? / size_of::<i32>();
        pids.resize(wanted.max(pids.len() * 2), 0);
        let room = libc::c_int::try_from(size_of_val(pids.as_slice())).ok()?;
        // SAFETY: the kernel writes at most the length given into the buffer.
        let filled = unsafe { libc::proc_listpids(PROC_ALL_PIDS, 0, pids.as_mut_ptr().cast(), room) };
        let listed = usize::try_from(filled).ok().filter(|&filled| filled > 0)? / size_of::<i32>();
        if listed < pids.len() {
            pids.truncate(listed);
            // The kernel itself.
            pids.retain(|&pid| pid > 0);
            return Some(pids);
        }
    }
}

/// The descriptors through which a process has this file open. None where they may not be seen.
fn open_files(pid: i32, (device, inode): (u64, u64)) -> impl Iterator<Item = (RawFd, OpenFile)> {
    // The device is an unsigned number there and a signed one in `stat`.
    let device = device & u64::from(u32::MAX);
    descriptors(pid)
        .into_iter()
        .filter(|descriptor| libc::c_int::try_from(descriptor.proc_fdtype) == Ok(libc::PROX_FDTYPE_VNODE))
        .filter_map(move |descriptor| {
            let open = open_vnode(pid, descriptor.proc_fd)?;
            let stat = open.vnode.vi_stat;
            (u64::from(stat.vst_dev) == device && stat.vst_ino == inode).then_some((descriptor.proc_fd, open.file))
        })
}

fn descriptors(pid: i32) -> Vec<libc::proc_fdinfo> {
    let mut list = Vec::new();
    loop {
        let room = (list.len() * 2).max(256);
        list.resize(room, libc::proc_fdinfo { proc_fd: 0, proc_fdtype: 0 });
        let listed = list_descriptors(pid, &mut list).unwrap_or(0);
        if listed < room {
            list.truncate(listed);
            return list;
        }
    }
}

fn open_vnode(pid: i32, fd: RawFd) -> Option<OpenVnode> {
    let mut open = MaybeUninit::<OpenVnode>::uninit();
    let size = libc::c_int::try_from(size_of::<OpenVnode>()).ok()?;
    // SAFETY: the kernel writes at most the length given into the structure.
    let filled = unsafe { libc::proc_pidfdinfo(pid, fd, PROC_PIDFDVNODEINFO, open.as_mut_ptr().cast(), size) };
    // SAFETY: the kernel has filled all of it, and any bytes are valid integers.
    (filled == size).then(|| unsafe { open.assume_init() })
}

/// How an own child ended, without reaping it; `None` while it runs and for other processes.
pub(crate) fn peek_exit(pid: i32) -> Option<Exit> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all-zero is a valid siginfo.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = libc::id_t::try_from(pid).ok()?;
    // SAFETY: the structure outlives the call.
    retry(|| Errno::result(unsafe { libc::waitid(libc::P_PID, id, &raw mut info, flags) })).ok()?;
    match info.si_code {
        _ if info.si_pid != pid => None,
        libc::CLD_EXITED => Some(Exit::Code(info.si_status)),
        libc::CLD_KILLED | libc::CLD_DUMPED => Some(Exit::Signal(info.si_status)),
        _ => None,
    }
}

/// Whether the process is on its way out: exiting, or a zombie. Pending signals are not shown to others.
pub(crate) fn is_dying(pid: i32) -> bool {
    short_info(pid).is_some_and(|info| info.pbsi_status == libc::SZOMB || info.pbsi_flags & IN_EXIT != 0)
}

/// The same: pending signals are not shown to others.
pub(crate) fn is_exiting(pid: i32) -> bool {
    is_dying(pid)
}

/// What the kernel says about a process; `None` where there is none.
pub(crate) fn facts(pid: i32) -> Option<Facts> {
    let info = short_info(pid)?;
    let is_exiting = info.pbsi_status == libc::SZOMB || info.pbsi_flags & IN_EXIT != 0;
    Some(Facts { start: start_of(&kernel_process(pid)?), uid: info.pbsi_ruid, is_exiting })
}

/// Whether a forked process has executed a program, which is seen until it is reaped; `None` while it may still do so.
pub(crate) fn has_executed(pid: i32) -> Result<Option<bool>, Errno> {
    let info = short_info(pid).ok_or(Errno::ESRCH)?;
    let is_over = info.pbsi_status == libc::SZOMB || info.pbsi_flags & IN_EXIT != 0;
    Ok(if info.pbsi_flags & HAS_EXECUTED != 0 { Some(true) } else { is_over.then_some(false) })
}

/// The start time of the calling process as in [`Facts`]. Async-signal-safe: sysctl(3) of a process is a bare system call.
#[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
pub(crate) fn own_start_time() -> Result<u64, Errno> {
    // SAFETY: getpid touches no memory.
    Ok(kernel_process(unsafe { libc::getpid() }).map_or(0, |process| start_of(&process)))
}

/// Microseconds, fine enough to tell two processes of one pid apart.
fn start_of(process: &KernelProcess) -> u64 {
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(process.started.tv_sec).saturating_mul(1_000_000).saturating_add(part(process.started.tv_usec.into()))
}

/// There is no other number of a process. Async-signal-safe.
#[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
pub(crate) fn own_unique() -> Result<u64, Errno> {
    Ok(0)
}

/// The machine of the calling process. There are no PID namespaces.
pub(crate) fn machine() -> Machine {
    let mut boot = [0_u8; 64];
    let mut size = boot.len();
    let (to, from) = (boot.as_mut_ptr().cast(), std::ptr::null_mut());
    // SAFETY: the name is a C string, the kernel writes at most `size` bytes into the buffer, and nothing is set.
    let asked = unsafe { libc::sysctlbyname(c"kern.bootsessionuuid".as_ptr(), to, &raw mut size, from, 0) };
    let known = boot.get(..size).filter(|_| asked == 0).unwrap_or(&[]);
    let boot = String::from_utf8_lossy(known).trim_end_matches('\0').to_owned();
    Machine { boot, namespace: String::new(), init: 0 }
}

/// What is told of every process, whoever owns it, zombies included. `None` when there is no such process.
fn short_info(pid: i32) -> Option<libc::proc_bsdshortinfo> {
    const ALSO_ZOMBIES: u64 = 1;
    let mut info = MaybeUninit::<libc::proc_bsdshortinfo>::uninit();
    let size = libc::c_int::try_from(size_of::<libc::proc_bsdshortinfo>()).ok()?;
    let flavor = libc::PROC_PIDT_SHORTBSDINFO;
    // SAFETY: the kernel writes at most the length given into the structure.
    let filled = unsafe { libc::proc_pidinfo(pid, flavor, ALSO_ZOMBIES, info.as_mut_ptr().cast(), size) };
    // SAFETY: the kernel has filled all of it, and any bytes are valid integers.
    (filled == size).then(|| unsafe { info.assume_init() })
}

/// Whether the process has a handler for `signal`; `None` where that cannot be seen.
pub(crate) fn catches_signal(pid: i32, signal: i32) -> Option<bool> {
    kernel_process(pid).map(|process| process.caught & (1 << (signal - 1)) != 0)
}

/// Whether the calling thread is the process's first one.
pub(crate) fn is_main_thread() -> bool {
    // SAFETY: it only looks at the thread.
    unsafe { libc::pthread_main_np() != 0 }
}

/// When the process was started.
pub(crate) fn start_time(pid: i32) -> Option<SystemTime> {
    let started = kernel_process(pid)?.started;
    let seconds = Duration::from_secs(u64::try_from(started.tv_sec).ok()?);
    let rest = Duration::from_micros(u64::try_from(started.tv_usec).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds)?.checked_add(rest)
}

/// What ps(1) reads: unlike libproc's full record it is told of other users' processes, too.
fn kernel_process(pid: i32) -> Option<KernelProcess> {
    let mut name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid];
    let depth = libc::c_uint::try_from(name.len()).ok()?;
    let mut process = MaybeUninit::<KernelProcess>::uninit();
    let mut size = size_of::<KernelProcess>();
    let (to, from) = (process.as_mut_ptr().cast(), std::ptr::null_mut());
    // SAFETY: the kernel writes at most `size` bytes into the structure, and nothing is set.
    let asked = unsafe { libc::sysctl(name.as_mut_ptr(), depth, to, &raw mut size, from, 0) };
    // Of a process that does not exist the kernel tells nothing, successfully.
    // SAFETY: the kernel has filled all of it, and any bytes are valid integers.
    (asked == 0 && size == size_of::<KernelProcess>()).then(|| unsafe { process.assume_init() })
}

/// A process that is known to be the same one until its end is seen.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    /// Readable once the process has ended, for its one event is never taken from it. Missing when the process was
    /// exiting already: the kernel watches no such process.
    queue: Option<Kqueue>,
}

impl Process {
    /// Nobody has a descriptor of a process here.
    pub(crate) fn of(pid: i32, _pidfd: OwnedFd) -> Self {
        Self { pid, queue: None }
    }

    /// `None` when there is no such process.
    pub(crate) fn open(pid: i32) -> nix::Result<Option<Self>> {
        // 0 is the kernel, and negative numbers are groups to kill(2).
        let Some(ident) = usize::try_from(pid).ok().filter(|&pid| pid > 0) else { return Ok(None) };
        let queue = Kqueue::new()?;
        let exit = KEvent::new(ident, EventFilter::EVFILT_PROC, EvFlags::EV_ADD, FilterFlag::NOTE_EXIT, 0, 0);
        loop {
            match queue.kevent(&[exit], &mut [], None) {
                Ok(_) => return Ok(Some(Self { pid, queue: Some(queue) })),
                Err(Errno::ESRCH) if is_dying(pid) => return Ok(Some(Self { pid, queue: None })),
                Err(Errno::ESRCH) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// There is no number beside the pid.
    #[expect(clippy::unused_self, reason = "it is asked of the process on other platforms")]
    pub(crate) fn unique(&self) -> u64 {
        0
    }

    /// Sends a signal. `ESRCH` says that the process has ended.
    ///
    /// There is no way to signal what is watched: a process that ends, is reaped and whose pid is given to another one
    /// between the look at the queue and the call below leaves the signal to that other. The kernel hands pids out in
    /// ascending order, so that takes a full turn through all of them in these microseconds.
    pub(crate) fn signal(&self, signal: i32) -> nix::Result<()> {
        if self.queue.is_none() || self.has_ended() {
            return Err(Errno::ESRCH);
        }
        // SAFETY: kill touches no memory.
        Errno::result(unsafe { libc::kill(self.pid, signal) }).map(drop)
    }

    /// Readable once the process has ended; `None` where only asking again tells.
    pub(crate) fn exit_event(&self) -> Option<BorrowedFd<'_>> {
        self.queue.as_ref().map(Kqueue::as_fd)
    }

    /// Whether the process has ended, be it reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        match self.exit_event() {
            Some(event) => readable(event, Instant::now()),
            // What was exiting never does anything else: a process that is not has only the same pid.
            None => short_info(self.pid)
                .is_none_or(|info| info.pbsi_status == libc::SZOMB || info.pbsi_flags & IN_EXIT == 0),
        }
    }

    /// Waits for the end of the process; false when `deadline` came first.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        if let Some(event) = self.exit_event() {
            // One that cannot be waited for at this moment still has all its time.
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

fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], Some(deadline)).is_ok_and(|ready| ready > 0)
}
