//! User and group ids, limits and priorities: what daemon(7) and its kin set right before exec.

use std::ffi::CStr;

use nix::errno::Errno;

/// As above.
pub(crate) const HAS_NO_NEW_PRIVILEGES: bool = false;

/// Real and effective user ids (the saved ones cannot be asked for), then the same of the group.
#[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
pub(crate) fn own_ids() -> nix::Result<([u32; 2], [u32; 2])> {
    use nix::unistd::{getegid, geteuid, getgid, getuid};
    Ok(([getuid().as_raw(), geteuid().as_raw()], [getgid().as_raw(), getegid().as_raw()]))
}

/// The supplementary groups of the calling process.
pub(crate) fn own_groups() -> nix::Result<Vec<u32>> {
    let mut groups = vec![0; 64];
    let room = libc::c_int::try_from(groups.len()).unwrap_or(0);
    // SAFETY: at most as many numbers are written as there is room for.
    let count = Errno::result(unsafe { libc::getgroups(room, groups.as_mut_ptr()) })?;
    groups.truncate(usize::try_from(count).unwrap_or(0));
    Ok(groups)
}

/// The groups that the database gives a user, `gid` among them; as many as setgroups(2) takes.
pub(crate) fn groups_of(user: &CStr, gid: u32) -> nix::Result<Vec<u32>> {
    const MOST: usize = 16;
    let mut groups = [0_i32; MOST];
    let mut count = libc::c_int::try_from(MOST).unwrap_or(0);
    let gid = libc::c_int::try_from(gid).map_err(|_| Errno::EINVAL)?;
    // With more groups than room it returns -1 and has filled all of it.
    // SAFETY: at most as many numbers are written as there is room for.
    unsafe { libc::getgrouplist(user.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
    let count = usize::try_from(count).unwrap_or(0).min(MOST);
    Ok(groups.iter().take(count).map(|group| group.cast_unsigned()).collect())
}

/// Whether the calling process may take any user id, and any group id.
pub(crate) fn may_set_ids() -> (bool, bool) {
    let is_root = nix::unistd::geteuid().is_root();
    (is_root, is_root)
}

/// There are no namespaces of users.
pub(crate) fn is_only_user() -> bool {
    false
}

/// Takes exactly these supplementary groups.
pub(crate) fn set_groups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    let count = libc::c_int::try_from(groups.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: as many numbers are read as there are.
    Errno::result(unsafe { libc::setgroups(count, groups.as_ptr()) }).map(drop)
}

/// Sets the real, effective and saved group id, for root.
pub(crate) fn set_gid(gid: libc::gid_t) -> Result<(), Errno> {
    // SAFETY: changing ids touches no memory.
    Errno::result(unsafe { libc::setgid(gid) }).map(drop)
}

/// Sets the real, effective and saved user id, for root.
pub(crate) fn set_uid(uid: libc::uid_t) -> Result<(), Errno> {
    // SAFETY: changing ids touches no memory.
    Errno::result(unsafe { libc::setuid(uid) }).map(drop)
}

/// Whether the calling process has these ids. The groups are not compared: the kernel counts the effective one among them.
pub(crate) fn has_ids(uid: u32, gid: u32, _groups: &[libc::gid_t], _found: &mut [libc::gid_t]) -> bool {
    own_ids().is_ok_and(|(users, groups)| users == [uid; 2] && groups == [gid; 2])
}

/// Whether the calling process can still become root.
pub(crate) fn can_become_root() -> bool {
    // SAFETY: changing ids touches no memory.
    let by_real = unsafe { libc::setuid(0) } == 0;
    // SAFETY: as above.
    by_real || unsafe { libc::seteuid(0) } == 0
}

/// There are no capabilities.
pub(crate) fn drop_capabilities() {}

/// As above.
pub(crate) fn has_capabilities() -> bool {
    false
}

/// There are no keyrings that a process inherits.
#[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
pub(crate) fn join_own_keyring() -> Result<(), Errno> {
    Ok(())
}

/// There is no such flag; plans that ask for it are refused.
pub(crate) fn forbid_new_privileges() -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}

/// The groups whose members could do everything that root does anyway: `wheel`, and `daemon`, to which `/var/run` belongs.
pub(crate) const GROUPS_OF_ROOT: &[u32] = &[0, 1];
