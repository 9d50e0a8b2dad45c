//! Descriptors: pipes, sockets and files without a name that are closed on exec, and closing what is inherited.

use std::ffi::OsStr;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::stat::Mode;

use crate::sys::close_from_by_limit;

/// A pipe, closed on exec: its read end and its write end.
///
/// There is no `pipe2`: a program that another thread starts in between inherits both ends.
pub(crate) fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe()?;
    for end in [&read, &write] {
        crate::sys::close_on_exec(end.as_raw_fd())?;
    }
    Ok((read, write))
}

/// A socket, closed on exec.
pub(crate) fn socket(family: AddressFamily, kind: SockType) -> nix::Result<OwnedFd> {
    let socket = nix::sys::socket::socket(family, kind, SockFlag::empty(), None)?;
    crate::sys::close_on_exec(socket.as_raw_fd())?;
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
        // If another process has a file of this name, the next name is tried: O_EXCL decides.
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

/// Closes every descriptor from `first` on. Async-signal-safe: libproc's functions are bare system calls.
///
/// For forked children: descriptors that system libraries guard are not inherited by them, and closing one in the
/// process that owns it would kill that.
pub(crate) fn close_from(first: RawFd) -> Result<(), Errno> {
    let mut open = [libc::proc_fdinfo { proc_fd: 0, proc_fdtype: 0 }; 512];
    loop {
        // SAFETY: getpid touches no memory.
        let own = unsafe { libc::getpid() };
        // A sandbox can hide the list.
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

/// Fills `buffer` with the lowest descriptors of a process, in ascending order, and returns how many they are.
/// `None` where they may not be seen, or the process is ending. Async-signal-safe.
fn list_descriptors(pid: i32, buffer: &mut [libc::proc_fdinfo]) -> Option<usize> {
    let room = libc::c_int::try_from(size_of_val(buffer)).ok()?;
    // SAFETY: the kernel writes at most the length given into the buffer.
    let filled = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, buffer.as_mut_ptr().cast(), room) };
    let filled = usize::try_from(filled).ok().filter(|&filled| filled > 0)?;
    Some((filled / size_of::<libc::proc_fdinfo>()).min(buffer.len()))
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

/// Whether a process has a descriptor for writing into this pipe that a program it executes inherits. It is not looked for here.
pub(crate) fn hands_on(_pid: i32, _pipe: (u64, u64)) -> bool {
    false
}

/// The descriptors through which a process has this file open. None where they may not be seen.
pub(super) fn open_files(pid: i32, (device, inode): (u64, u64)) -> impl Iterator<Item = (RawFd, OpenFile)> {
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

fn open_vnode(pid: i32, fd: RawFd) -> Option<OpenVnode> {
    let mut open = MaybeUninit::<OpenVnode>::uninit();
    let size = libc::c_int::try_from(size_of::<OpenVnode>()).ok()?;
    // SAFETY: the kernel writes at most the length given into the structure.
    let filled = unsafe { libc::proc_pidfdinfo(pid, fd, PROC_PIDFDVNODEINFO, open.as_mut_ptr().cast(), size) };
    // SAFETY: the kernel has filled all of it, and any bytes are valid integers.
    (filled == size).then(|| unsafe { open.assume_init() })
}

/// `struct proc_fileinfo`: an open file as its descriptor shows it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct OpenFile {
    pub(super) flags: u32,
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

/// The flavor of `proc_pidfdinfo` for files.
const PROC_PIDFDVNODEINFO: libc::c_int = 1;

// What the kernel copies out; a wrong size is refused or, worse, read askew.
const _: () = assert!(size_of::<OpenVnode>() == 176);
