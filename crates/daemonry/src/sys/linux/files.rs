//! Files, directories and their permissions, and where the system keeps them.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::FsFlags;

use crate::sys::retry;

/// How a directory is opened that is only a starting point for names in it.
pub(crate) const OPEN_DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// How a directory is opened that is only passed through: search permission is enough.
pub(crate) const OPEN_TO_SEARCH: OFlag = OFlag::O_PATH;

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

/// What lives as long as the machine is up (hier(7)).
pub(crate) const RUN_DIRECTORY: &str = "/run";

/// Below a user's home, beside the directories of its named daemons, so that removing one of those removes no lock.
pub(crate) const USER_LOCKS: &[&str] = &[".local", "state", "daemonry-locks"];

/// `access(2)`, with the real ids. Async-signal-safe: the C library's function does more than ask.
pub(crate) fn access(path: &CStr, mode: libc::c_int) -> nix::Result<()> {
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), mode) }).map(drop)
}

/// Whether a file is in a file system from which nothing is executed (`noexec`). False where that cannot be found out.
///
/// # References
///
/// [`statfs(2)`](https://man7.org/linux/man-pages/man2/statfs.2.html)
pub(crate) fn forbids_execution(file: &Path) -> bool {
    statfs(file).is_ok_and(|system| system.flags().contains(FsFlags::ST_NOEXEC))
}

/// Whether a file that begins like this is a program for this processor.
///
/// # References
///
/// [`elf(5)`](https://man7.org/linux/man-pages/man5/elf.5.html)
pub(crate) fn is_own_format(start: &[u8]) -> bool {
    const CLASS: u8 = if cfg!(target_pointer_width = "64") { 2 } else { 1 };
    const ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
    let machine = if cfg!(target_arch = "x86_64") {
        libc::EM_X86_64
    } else if cfg!(target_arch = "aarch64") {
        libc::EM_AARCH64
    } else {
        return true;
    };
    start.starts_with(&[0x7f, b'E', b'L', b'F', CLASS, ORDER]) && start.get(18..20) == Some(&machine.to_ne_bytes())
}

/// Gives a socket in the file system its mode and owner: by a descriptor, and only if it is a socket.
pub(crate) fn arrange_socket(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mode: Mode,
    owner: Option<(u32, u32)>,
) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = retry(|| nix::fcntl::openat(directory, name, flags, Mode::empty()))?;
    if crate::sys::kind_of(&fstat(&file)?) != SFlag::S_IFSOCK {
        return Err(Errno::ENOTSOCK);
    }
    let by_descriptor = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path is a C string.
    Errno::result(unsafe { libc::chmod(by_descriptor.as_ptr(), mode.bits()) })?;
    if let Some((uid, gid)) = owner {
        // SAFETY: the path is a C string, an empty one, which means the descriptor itself.
        Errno::result(unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) })?;
    }
    Ok(())
}
