//! Processes: kqueue, libproc and sysctl, and how a process ended.
//!
//! Layouts and semantics follow XNU's `bsd/sys/proc_info.h`, `bsd/sys/proc.h` and `bsd/kern/proc_info.c`.

use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

use crate::sys::{Exit, Facts, Machine, is_readable, retry};

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

/// The start time of the calling process as in [`Facts`]. Async-signal-safe: sysctl(3) of a process is a bare system call.
#[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
pub(crate) fn own_start_time() -> Result<u64, Errno> {
    // SAFETY: getpid touches no memory.
    Ok(kernel_process(unsafe { libc::getpid() }).map_or(0, |process| start_of(&process)))
}

/// Whether a forked process has executed a program, which is seen until it is reaped; `None` while it may still do so.
pub(crate) fn has_executed(pid: i32) -> Result<Option<bool>, Errno> {
    let info = short_info(pid).ok_or(Errno::ESRCH)?;
    let is_over = info.pbsi_status == libc::SZOMB || info.pbsi_flags & IN_EXIT != 0;
    Ok(if info.pbsi_flags & HAS_EXECUTED != 0 { Some(true) } else { is_over.then_some(false) })
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

/// A process that is known to be the same one until its end is seen.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    /// Readable once the process has ended, for its one event is never taken from it. Missing when the process was
    /// exiting already: the kernel watches no such process.
    queue: Option<Kqueue>,
}

impl Process {
    /// There are no descriptors of processes here.
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

    /// Readable once the process has ended; `None` if there is no such event, and [`Process::has_ended`] must be polled.
    pub(crate) fn exit_event(&self) -> Option<BorrowedFd<'_>> {
        self.queue.as_ref().map(Kqueue::as_fd)
    }

    /// Whether the process has ended, be it reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        match self.exit_event() {
            Some(event) => is_readable(event),
            // What was exiting never does anything else: a process that is not has only the same pid.
            None => short_info(self.pid)
                .is_none_or(|info| info.pbsi_status == libc::SZOMB || info.pbsi_flags & IN_EXIT == 0),
        }
    }
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

/// macOS has no such bond: the next start or stop ends what a supervisor has left behind.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn end_with_parent(_parent: libc::pid_t) -> Result<(), Errno> {
    Ok(())
}

/// macOS gives every orphan to launchd.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(crate) fn adopt_orphans() -> nix::Result<()> {
    Ok(())
}

/// Every process that can be seen.
pub(crate) fn processes() -> impl Iterator<Item = i32> {
    listed().unwrap_or_default().into_iter()
}

/// Every process that there is, as far as the caller may see.
pub(super) fn listed() -> Option<Vec<i32>> {
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

pub(super) fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Every process, for `proc_listpids`.
const PROC_ALL_PIDS: u32 = 1;

/// In `pbsi_flags`: the process is working its way through exit (`PROC_FLAG_INEXIT`).
const IN_EXIT: u32 = 4;

/// The same: the process has executed a program since it was forked (`PROC_FLAG_EXEC`).
const HAS_EXECUTED: u32 = 0x4000;

/// `struct kinfo_proc` of a 64-bit program, of which only two fields of its `extern_proc` are of interest.
#[repr(C)]
struct KernelProcess {
    started: libc::timeval,
    _until_signals: [u8; 220],
    /// `p_sigcatch`
    caught: u32,
    _rest: [u8; 408],
}

/// What the kernel reports about every process of any user, zombies included. `None` when there is no such process.
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

/// Microseconds, fine enough to distinguish two processes with one pid.
fn start_of(process: &KernelProcess) -> u64 {
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(process.started.tv_sec).saturating_mul(1_000_000).saturating_add(part(process.started.tv_usec.into()))
}

/// What ps(1) reads: unlike libproc's full record it covers other users' processes, too.
fn kernel_process(pid: i32) -> Option<KernelProcess> {
    let mut name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid];
    let depth = libc::c_uint::try_from(name.len()).ok()?;
    let mut process = MaybeUninit::<KernelProcess>::uninit();
    let mut size = size_of::<KernelProcess>();
    let (to, from) = (process.as_mut_ptr().cast(), std::ptr::null_mut());
    // SAFETY: the kernel writes at most `size` bytes into the structure, and nothing is set.
    let asked = unsafe { libc::sysctl(name.as_mut_ptr(), depth, to, &raw mut size, from, 0) };
    // For a process that does not exist the call succeeds and writes nothing.
    // SAFETY: the kernel has filled all of it, and any bytes are valid integers.
    (asked == 0 && size == size_of::<KernelProcess>()).then(|| unsafe { process.assume_init() })
}

const _: () = assert!(size_of::<libc::proc_bsdshortinfo>() == 64);

const _: () = assert!(offset_of!(KernelProcess, caught) == 236);

const _: () = assert!(size_of::<KernelProcess>() == 648);
