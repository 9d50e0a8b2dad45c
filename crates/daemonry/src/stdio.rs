//! The files behind a daemon's standard streams: how they are opened, reopened and read back.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{Gid, Uid};

use crate::error::{Error, Result, Step};
use crate::ids::Ids;
use crate::sys::{self, retry};

/// Mode of a log that has to be created, unless told otherwise.
pub const DEFAULT_LOG_MODE: u32 = 0o640;

/// At most this much of what a daemon wrote to stderr comes back with a failed start, in bytes.
const TAIL_LENGTH: u64 = 8192;

/// What one of the daemon's standard streams is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    /// `/dev/null`.
    Null,
    /// The launcher's own stream.
    Inherit,
    /// An open descriptor of the launcher, which keeps it.
    Descriptor(RawFd),
    /// A file; read from for stdin, appended to otherwise.
    File(LogFile),
    /// For stderr only: a memory file until the daemon is up, `/dev/null` from then on. The launcher gets what was written
    /// into it. The daemon must take over its start with [`crate::adopt`].
    Capture,
}

/// A file that a daemon writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Exactly this mode when it has to be created, whatever the umask; an existing file keeps its own.
    pub mode: u32,
    /// False empties the file first.
    pub append: bool,
}

impl LogFile {
    /// A log that is appended to and created with [`DEFAULT_LOG_MODE`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: DEFAULT_LOG_MODE, append: true }
    }
}

/// A log as it was when the launcher opened it.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(crate) fd: OwnedFd,
    path: PathBuf,
    created: bool,
    /// Where the daemon's own output begins.
    begins_at: u64,
}

/// Opens a file for output. A FIFO cannot block it, and root follows nobody else's links. A file that is created belongs to
/// `owner`.
pub(crate) fn open_log(log: &LogFile, step: Step, owner: Option<&Ids>) -> Result<OpenLog> {
    open_for_output(log, owner).map_err(Error::at(step, &log.path))
}

fn open_for_output(log: &LogFile, owner: Option<&Ids>) -> nix::Result<OpenLog> {
    let guarded = needs_guard(&log.path)?;
    let mut flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    if guarded {
        flags |= OFlag::O_NOFOLLOW;
    }
    let mode = sys::file_mode(log.mode);
    let (fd, created) = loop {
        match retry(|| nix::fcntl::open(&log.path, flags, Mode::empty())) {
            Err(Errno::ENOENT) => {}
            opened => break (opened?, false),
        }
        match retry(|| nix::fcntl::open(&log.path, flags | OFlag::O_CREAT | OFlag::O_EXCL, mode)) {
            // Somebody else made it in between; but a link that leads nowhere exists and cannot be opened.
            Err(Errno::EEXIST) if nix::sys::stat::stat(&log.path) == Err(Errno::ENOENT) && is_link(&log.path) => {
                return Err(Errno::ENOENT);
            }
            Err(Errno::EEXIST) => {}
            created => break (created?, true),
        }
    };
    if created {
        let to_owner =
            |Ids { uid, gid, .. }: &Ids| nix::unistd::fchown(&fd, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
        owner.map_or(Ok(()), to_owner).and_then(|()| nix::sys::stat::fchmod(&fd, mode)).inspect_err(|_| {
            let _left = nix::unistd::unlink(&log.path);
        })?;
    }
    let stat = nix::sys::stat::fstat(&fd)?;
    if guarded && stat.st_nlink > 1 {
        return Err(Errno::EMLINK);
    }
    // Only the open was not to block; the daemon's writes may.
    nix::fcntl::fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    if !log.append && is_regular(&stat) {
        nix::unistd::ftruncate(&fd, 0)?;
    }
    let length = if log.append { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    Ok(OpenLog { fd, path: log.path.clone(), created, begins_at: length })
}

/// Opens a file for input.
pub(crate) fn open_input(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let open = || {
        let fd = retry(|| nix::fcntl::open(path, flags, Mode::empty()))?;
        nix::fcntl::fcntl(&fd, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok(fd)
    };
    open().map_err(Error::at(Step::OpenStdin, path))
}

/// Opens `log` again and puts it in the place of `descriptors` under the running process: whatever writes there, native code
/// included, writes on without losing a byte.
///
/// # Errors
///
/// [`Error::System`] with [`Step::ReopenLog`]; the descriptors then stay as they were.
pub fn reopen_log(log: &LogFile, descriptors: &[RawFd]) -> Result<()> {
    let log = LogFile { append: true, ..log.clone() };
    let opened = open_log(&log, Step::ReopenLog, None)?;
    descriptors
        .iter()
        .try_for_each(|&target| put(opened.fd.as_fd(), target))
        .map_err(Error::at(Step::ReopenLog, &log.path))
}

/// `dup2`, again after EINTR.
pub(crate) fn put(source: BorrowedFd<'_>, target: RawFd) -> nix::Result<()> {
    // SAFETY: replacing a standard stream touches no memory; whoever owns the number keeps owning it.
    retry(|| Errno::result(unsafe { libc::dup2(source.as_raw_fd(), target) })).map(drop)
}

/// `/dev/null` for reading and writing.
pub(crate) fn open_null(step: Step) -> Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    retry(|| nix::fcntl::open(c"/dev/null", flags, Mode::empty())).map_err(Error::at(step, "/dev/null"))
}

impl OpenLog {
    /// The end of what was appended since it was opened.
    pub(crate) fn tail(&self) -> Vec<u8> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
        let Ok(file) = nix::fcntl::open(&self.path, flags, Mode::empty()) else { return Vec::new() };
        let is_same = sys::identity(file.as_fd()).is_ok_and(|found| sys::identity(self.fd.as_fd()) == Ok(found));
        if is_same { read_tail(file.as_fd(), self.begins_at) } else { Vec::new() }
    }

    /// Removes the log if this start created it and nothing was written.
    pub(crate) fn remove_if_unused(&self) {
        let is_empty = nix::sys::stat::fstat(&self.fd).is_ok_and(|stat| is_regular(&stat) && stat.st_size == 0);
        let is_named = nix::sys::stat::lstat(&self.path)
            .is_ok_and(|stat| sys::identity(self.fd.as_fd()) == Ok(sys::identity_of(&stat)));
        if self.created && is_empty && is_named {
            let _left_behind = nix::unistd::unlink(&self.path);
        }
    }
}

/// The last whole lines of a file behind `offset`.
pub(crate) fn read_tail(file: BorrowedFd<'_>, offset: u64) -> Vec<u8> {
    let Ok(stat) = nix::sys::stat::fstat(file) else { return Vec::new() };
    let end = u64::try_from(stat.st_size).unwrap_or(0);
    if !is_regular(&stat) || end <= offset {
        return Vec::new();
    }
    let from = offset.max(end.saturating_sub(TAIL_LENGTH));
    let mut bytes = vec![0; usize::try_from(end - from).unwrap_or(0)];
    let place = libc::off_t::try_from(from).unwrap_or(libc::off_t::MAX);
    let read = retry(|| nix::sys::uio::pread(file, &mut bytes, place)).unwrap_or(0);
    bytes.truncate(read);
    if from > offset
        && let Some(newline) = bytes.iter().position(|&byte| byte == b'\n')
    {
        bytes.drain(..=newline);
    }
    bytes
}

fn is_regular(stat: &FileStat) -> bool {
    sys::kind_of(stat) == SFlag::S_IFREG
}

fn is_link(path: &Path) -> bool {
    nix::sys::stat::lstat(path).is_ok_and(|stat| sys::kind_of(&stat) == SFlag::S_IFLNK)
}

/// Whether root is about to write in a directory where somebody else can plant links.
fn needs_guard(path: &Path) -> nix::Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(false);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = nix::sys::stat::stat(parent)?;
    Ok(stat.st_uid != 0 || Mode::from_bits_truncate(stat.st_mode).intersects(Mode::S_IWGRP | Mode::S_IWOTH))
}
