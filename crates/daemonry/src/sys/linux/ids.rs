//! User and group ids, privileges, limits and priorities: what daemon(7) and its kin set right before exec.
//!
//! Everything that a child calls is a bare system call: the C library's wrappers for ids make every thread of the process
//! follow, by signals and locks.

use std::ffi::CStr;

use nix::errno::Errno;
use nix::unistd::{Gid, getgrouplist};

/// Version 3 of the sets, of the calling thread.
const CAPABILITY_HEADER: [u32; 2] = [0x2008_0522, 0];

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
pub(crate) fn has_ids(uid: u32, gid: u32, groups: &[libc::gid_t], found: &mut [libc::gid_t]) -> bool {
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
    let found = usize::try_from(count).ok().and_then(|count| found.get(..count));
    asked == 0 && asked_again == 0 && user == [uid; 3] && group == [gid; 3] && found == Some(groups)
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

/// Nothing that is executed from here on gains privileges by set-user-id bits or file capabilities. Async-signal-safe.
pub(crate) fn forbid_new_privileges() -> Result<(), Errno> {
    // SAFETY: setting a flag touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// The groups whose members could do everything that root does anyway.
pub(crate) const GROUPS_OF_ROOT: &[u32] = &[0];
