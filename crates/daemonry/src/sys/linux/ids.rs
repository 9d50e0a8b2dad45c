//! User and group ids, privileges, limits and priorities: what daemon(7) and its kin set right before exec.
//!
//! Everything that a child calls is a bare system call: the C library's wrappers for ids make every thread of the process
//! follow, by signals and locks.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, getgrouplist};

use crate::ids::Ids;

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
    const VERSION_3: u32 = 0x2008_0522;
    const SETGID: u32 = 1 << 6;
    const SETUID: u32 = 1 << 7;
    let mut header = [VERSION_3, 0];
    // Two sets of effective, permitted and inheritable.
    let mut sets = [0_u32; 6];
    // SAFETY: both have the kernel's layout and outlive the call.
    let asked = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    let effective = if asked == 0 { sets[0] } else { 0 };
    (effective & SETUID != 0, effective & SETGID != 0)
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

/// Whether the calling process may read a file. Async-signal-safe; the C library's function does more than ask.
pub(crate) fn may_read(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::R_OK) }).map(drop)
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

/// Gives a socket in the file system its mode and owner. The directory may belong to somebody who puts a link in its place:
/// hence by a descriptor, and only if that is a socket.
pub(crate) fn arrange_socket(path: &Path, mode: Mode, owner: Option<&Ids>) -> nix::Result<()> {
    use nix::fcntl::{AT_FDCWD, OFlag, openat};
    use nix::sys::stat::{SFlag, fstat};
    let file: OwnedFd = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
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
