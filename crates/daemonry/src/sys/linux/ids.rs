//! User and group ids, privileges, limits and priorities: what daemon(7) and its kin set right before exec.
//!
//! Everything that a child calls is a bare system call: the C library's wrappers for ids make every thread of the process
//! follow, by signals and locks.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, getgrouplist};

use crate::ids::Ids;
use crate::trusted_path::Entry;

/// The type that the C library's headers give the names of resources.
#[cfg(target_env = "gnu")]
pub(crate) type ResourceNumber = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
pub(crate) type ResourceNumber = libc::c_int;

/// The resources of setrlimit(2).
pub(crate) const RESOURCES: &[(&str, ResourceNumber)] = &[
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Version 3 of the sets, of the calling thread.
const CAPABILITY_HEADER: [u32; 2] = [0x2008_0522, 0];

const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const PR_SET_IO_FLUSHER: libc::c_int = 57;
const PR_GET_IO_FLUSHER: libc::c_int = 58;

/// A number that a limit can have.
pub(crate) fn finite(limit: u64) -> libc::rlim_t {
    limit
}

/// Whether there are OOM scores and the no-new-privileges flag.
pub(crate) const HAS_OOM_SCORE: bool = true;
/// As above.
pub(crate) const HAS_NO_NEW_PRIVILEGES: bool = true;

/// Real, effective and saved user ids, then the same of the group.
pub(crate) fn own_ids() -> nix::Result<([u32; 3], [u32; 3])> {
    let (user, group) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    Ok((
        [user.real, user.effective, user.saved].map(nix::unistd::Uid::as_raw),
        [group.real, group.effective, group.saved].map(Gid::as_raw),
    ))
}

/// The supplementary groups of the calling process.
pub(crate) fn own_groups() -> nix::Result<Vec<u32>> {
    Ok(nix::unistd::getgroups()?.into_iter().map(Gid::as_raw).collect())
}

/// The groups that the database gives a user, `gid` among them.
pub(crate) fn groups_of(user: &CStr, gid: u32) -> nix::Result<Vec<u32>> {
    Ok(getgrouplist(user, Gid::from_raw(gid))?.into_iter().map(Gid::as_raw).collect())
}

/// Whether the calling process may take any user id, and any group id: `CAP_SETUID` and `CAP_SETGID` (capabilities(7)).
pub(crate) fn may_set_ids() -> (bool, bool) {
    const SETGID: u32 = 1 << 6;
    const SETUID: u32 = 1 << 7;
    let effective = capabilities().map_or(0, |[effective, ..]| effective);
    (effective & SETUID != 0, effective & SETGID != 0)
}

/// Whether there is no other user in the namespace of the calling process, so that no file can belong to one that it could harm
/// (`user_namespaces(7)`).
pub(crate) fn is_only_user() -> bool {
    // One line: the first id inside, the first id outside, how many.
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.lines().count() == 1 && map.split_ascii_whitespace().nth(2) == Some("1"))
}

/// Takes exactly these supplementary groups. Async-signal-safe.
pub(crate) fn set_groups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    // SAFETY: the kernel reads as many numbers as there are.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets the real, effective and saved group id. Async-signal-safe.
pub(crate) fn set_gid(gid: libc::gid_t) -> Result<(), Errno> {
    // SAFETY: changing ids touches no memory.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the real, effective and saved user id. Async-signal-safe.
pub(crate) fn set_uid(uid: libc::uid_t) -> Result<(), Errno> {
    // SAFETY: changing ids touches no memory.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Whether the calling process has these ids and no others. Async-signal-safe. `found` has room for one group more.
pub(crate) fn has_ids(ids: &Ids, found: &mut [libc::gid_t]) -> bool {
    let mut user = [u32::MAX; 3];
    let [real, effective, saved] = &mut user;
    // SAFETY: the kernel writes three numbers.
    let asked = unsafe { libc::syscall(libc::SYS_getresuid, &raw mut *real, &raw mut *effective, &raw mut *saved) };
    let mut group = [u32::MAX; 3];
    let [real, effective, saved] = &mut group;
    // SAFETY: the kernel writes three numbers.
    let asked_again =
        unsafe { libc::syscall(libc::SYS_getresgid, &raw mut *real, &raw mut *effective, &raw mut *saved) };
    // SAFETY: the kernel writes at most as many numbers as there is room for.
    let count = unsafe { libc::syscall(libc::SYS_getgroups, found.len(), found.as_mut_ptr()) };
    // The kernel keeps them sorted, as they are here.
    let groups = usize::try_from(count).ok().and_then(|count| found.get(..count));
    asked == 0
        && asked_again == 0
        && user == [ids.uid; 3]
        && group == [ids.gid; 3]
        && groups == Some(ids.groups.as_slice())
}

/// Whether the calling process can still become root. Async-signal-safe.
pub(crate) fn can_become_root() -> bool {
    // SAFETY: changing ids touches no memory.
    unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0 }
}

/// The capabilities of the calling process: effective, permitted and inheritable, twice. Async-signal-safe.
fn capabilities() -> Result<[u32; 6], Errno> {
    let mut header = CAPABILITY_HEADER;
    let mut sets = [0; 6];
    // SAFETY: both have the kernel's layout and outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) }).map(|_| sets)
}

/// Gives up every capability, also those that are inherited by what is executed. Whether that has succeeded,
/// [`has_capabilities`] tells. Async-signal-safe.
pub(crate) fn drop_capabilities() {
    let mut header = CAPABILITY_HEADER;
    let none = [0_u32; 6];
    // SAFETY: clearing a set touches no memory. Kernels before Linux 4.3 have no such set.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    // SAFETY: both have the kernel's layout and outlive the call.
    unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), none.as_ptr()) };
}

/// Whether the calling process has any capability, or could hand one on. True where that cannot be found out.
/// Async-signal-safe.
pub(crate) fn has_capabilities() -> bool {
    capabilities() != Ok([0; 6])
}

/// Gives the calling process an empty session keyring of its own user (`session-keyring(7)`). Async-signal-safe.
///
/// A kernel without keyrings has none to keep, and a filter that forbids the call forbids it to the daemon, too.
pub(crate) fn join_own_keyring() -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: no name is passed, so nothing is read from memory.
    match Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) }) {
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        joined => joined.map(drop),
    }
}

/// What only a privileged process can have, and what a change of the user leaves to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elevated {
    /// A real-time or deadline policy (`sched(7)`).
    is_real_time: bool,
    /// A real-time I/O priority (`ioprio_set(2)`).
    has_io_priority: bool,
    /// Memory reserves for those that write memory out (`PR_SET_IO_FLUSHER(2const)`).
    is_io_flusher: bool,
    /// The secure bits without those by which a change of the user leaves capabilities, if any of them are set
    /// (capabilities(7)).
    secure_bits: Option<libc::c_int>,
}

impl Elevated {
    /// What the calling thread has of it.
    pub(crate) fn now() -> Self {
        const KEEP_CAPS: libc::c_int = 1 << 4;
        const NO_SETUID_FIXUP: libc::c_int = 1 << 2;
        const REAL_TIME_CLASS: libc::c_long = 1;
        // SAFETY: asking touches no memory.
        let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
        // SAFETY: as above.
        let io = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
        // SAFETY: as above. Older kernels do not know it.
        let flusher = unsafe { libc::prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) };
        // SAFETY: as above.
        let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) };
        let keeping = KEEP_CAPS | NO_SETUID_FIXUP;
        Self {
            is_real_time: [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].iter().any(|elevated| {
                policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK) == libc::c_long::from(*elevated)
            }),
            has_io_priority: io >= 0 && io >> 13 == REAL_TIME_CLASS,
            is_io_flusher: flusher == 1,
            secure_bits: (bits > 0 && bits & keeping != 0).then_some(bits & !keeping),
        }
    }

    /// Gives it up. Async-signal-safe.
    pub(crate) fn give_up(self) -> Result<(), Errno> {
        if let Some(bits) = self.secure_bits {
            // Locked ones stay; the capabilities themselves are given up later, whatever these say.
            // SAFETY: setting flags touches no memory.
            unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) };
        }
        if self.is_real_time {
            let priority: libc::c_int = 0;
            // SAFETY: the kernel reads one number.
            let set = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const priority) };
            Errno::result(set)?;
        }
        if self.has_io_priority {
            // SAFETY: setting a priority touches no memory. 0 follows the niceness.
            Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0) })?;
        }
        if self.is_io_flusher {
            // SAFETY: setting a flag touches no memory.
            Errno::result(unsafe { libc::prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0) })?;
        }
        Ok(())
    }
}

/// The niceness of the calling thread, and the OOM score adjustment of its process; 0 where they cannot be found out.
pub(crate) fn own_priorities() -> (i32, i32) {
    Errno::clear();
    // SAFETY: asking touches no memory.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    (nice, score.unwrap_or(0))
}

/// Whether the calling process may read a file. Async-signal-safe; the C library's function does more than ask.
pub(crate) fn may_read(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::R_OK) }).map(drop)
}

/// Whether the calling process may make and remove names in a directory. Async-signal-safe.
pub(crate) fn may_change_at(directory: &CStr) -> Result<(), Errno> {
    let access = libc::W_OK | libc::X_OK;
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, directory.as_ptr(), access) }).map(drop)
}

/// Whether the calling process may execute a file; not what a directory's permission to search says. Async-signal-safe.
pub(crate) fn may_execute(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::X_OK) })?;
    // SAFETY: all-zero is a valid structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and the structure outlives the call.
    Errno::result(unsafe { libc::stat(path.as_ptr(), &raw mut stat) })?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFREG { Ok(()) } else { Err(Errno::EACCES) }
}

/// Sets the OOM score adjustment of the calling process (`proc_pid_oom_score_adj(5)`). Async-signal-safe.
pub(crate) fn set_oom_score(adjustment: &CStr) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string.
    let file = Errno::result(unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), flags) })?;
    let bytes = adjustment.to_bytes();
    // SAFETY: the bytes outlive the call.
    let written = Errno::result(unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) });
    // SAFETY: closing descriptors touches no memory.
    unsafe { libc::close(file) };
    // Half of a number is another one.
    if usize::try_from(written?) == Ok(bytes.len()) { Ok(()) } else { Err(Errno::EIO) }
}

/// Nothing that is executed from here on gains privileges by set-user-id bits or file capabilities. Async-signal-safe.
pub(crate) fn forbid_new_privileges() -> Result<(), Errno> {
    // SAFETY: setting a flag touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Gives a socket in the file system its mode and owner: by a descriptor, and only if it is a socket.
pub(crate) fn arrange_socket(entry: &Entry, mode: Mode, owner: Option<&Ids>) -> nix::Result<()> {
    use nix::fcntl::OFlag;
    use nix::sys::stat::{SFlag, fstat};
    let file = entry.open(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if crate::sys::kind_of(&fstat(&file)?) != SFlag::S_IFSOCK {
        return Err(Errno::ENOTSOCK);
    }
    let by_descriptor = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::chmod(by_descriptor.as_ptr(), mode.bits()) })?;
    if let Some(Ids { uid, gid, .. }) = owner {
        // SAFETY: the path is a C string, an empty one, which means the descriptor itself.
        Errno::result(unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), *uid, *gid, libc::AT_EMPTY_PATH) })?;
    }
    Ok(())
}
