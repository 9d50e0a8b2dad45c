//! Files, directories and their permissions, and where the system keeps them.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MntFlags;
use nix::sys::stat::Mode;
use nix::sys::statfs::statfs;

/// How a directory is opened that is only a starting point for names in it.
pub(crate) const OPEN_DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// How a directory is opened that is only passed through: search permission is enough.
pub(crate) const OPEN_TO_SEARCH: OFlag = OFlag::from_bits_retain(libc::O_SEARCH);

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

/// `access(2)`, with the real ids. Async-signal-safe.
pub(crate) fn access(path: &CStr, mode: libc::c_int) -> nix::Result<()> {
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, 0) }).map(drop)
}

/// Whether a file is in a file system from which nothing is executed (`noexec`). False where that cannot be found out.
///
/// # References
///
/// [`statfs(2)`](https://keith.github.io/xcode-man-pages/statfs.2.html)
pub(crate) fn forbids_execution(file: &Path) -> bool {
    statfs(file).is_ok_and(|system| system.flags().contains(MntFlags::MNT_NOEXEC))
}

/// Whether a file that begins like this is a program for this processor, alone or among those for others (`<mach-o/loader.h>`,
/// `<mach-o/fat.h>`, `<mach/machine.h>`).
pub(crate) fn is_own_format(start: &[u8]) -> bool {
    const FOR_SEVERAL: [u8; 4] = [0xca, 0xfe, 0xba, 0xbe];
    const MACHINE: u32 = if cfg!(target_arch = "aarch64") { 0x0100_000c } else { 0x0100_0007 };
    let own = [libc::MH_MAGIC_64.to_ne_bytes(), MACHINE.to_ne_bytes()].concat();
    start.starts_with(&own) || start.starts_with(&FOR_SEVERAL)
}

/// Gives a socket in the file system its mode and owner, and follows no link in its place.
pub(crate) fn arrange_socket(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mode: Mode,
    owner: Option<(u32, u32)>,
) -> nix::Result<()> {
    use nix::fcntl::AtFlags;
    use nix::sys::stat::{FchmodatFlags, fchmodat};
    use nix::unistd::{Gid, Uid, fchownat};
    fchmodat(directory, name, mode, FchmodatFlags::NoFollowSymlink)?;
    match owner {
        Some((uid, gid)) => {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fchownat(directory, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
        }
        None => Ok(()),
    }
}
