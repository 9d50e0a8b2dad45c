//! Descriptors: pipes, sockets and memory files that are closed on exec, and closing what is inherited.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};

use crate::sys::close_from_by_limit;

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
        // `/proc` is not mounted either.
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

pub(super) fn is_file(entry: &fs::DirEntry, identity: (u64, u64)) -> bool {
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
