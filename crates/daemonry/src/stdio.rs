//! The files behind a daemon's standard streams: how they are opened, reopened and read back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{Gid, Uid};

use crate::error::{Error, Result, Step};
use crate::protocol::{Finding, Findings};
use crate::sys::{self, retry};
use crate::trusted_path::{Entry, Obstacle, Trust, locate};
use crate::user::Ids;

/// Mode of a log that has to be created, by default.
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

impl Stream {
    /// The file's path.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(&file.path),
            _ => None,
        }
    }
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

/// The daemon that the launcher opens a file for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipient<'a> {
    /// A daemon that may do as much as its launcher, which is not root. What is made for it gets these ids, if any.
    Equal(Option<&'a Ids>),
    /// A daemon that runs as root.
    Root(Option<&'a Ids>),
    /// A daemon of a user who may do less than its launcher.
    User(&'a Ids),
}

impl<'a> Recipient<'a> {
    /// A daemon with these ids; `None`: with the caller's.
    pub(crate) fn with(ids: Option<&'a Ids>) -> Self {
        let own = nix::unistd::geteuid();
        match ids {
            Some(ids) if ids.uid != own.as_raw() => Self::User(ids),
            // In a namespace with no user but root, that is an ordinary user outside.
            _ if own.is_root() && !sys::is_only_user() => Self::Root(ids),
            _ => Self::Equal(ids),
        }
    }

    /// Who owns what is made.
    pub(crate) fn owner(self) -> Option<&'a Ids> {
        match self {
            Self::Equal(ids) | Self::Root(ids) => ids,
            Self::User(ids) => Some(ids),
        }
    }

    /// Whether what belongs to this user may be touched for it.
    pub(crate) fn may_use(self, owner: libc::uid_t) -> bool {
        match self {
            Self::Equal(_) => true,
            Self::Root(_) => owner == 0,
            Self::User(ids) => owner == 0 || owner == ids.uid,
        }
    }
}

/// A file for a standard stream.
#[derive(Debug)]
pub(crate) enum Opened<T> {
    /// Opened by the launcher.
    Here(T),
    /// The child has to open it, with the rights of the daemon's user: another user could exchange what the launcher would open.
    ByChild {
        /// As in [`DeferredFile`](crate::protocol::DeferredFile).
        is_exposed: bool,
    },
}

/// A log of a start, for what has to be known of it, or done with it, if the start fails.
#[derive(Debug)]
pub(crate) enum Log {
    /// The launcher has opened it for a daemon with this user id.
    Open { log: OpenLog, uid: Option<libc::uid_t> },
    /// The child opens it as this descriptor, with this user id.
    Deferred { path: PathBuf, target: RawFd, uid: libc::uid_t, findings: Arc<Findings> },
}

/// A log that this process has opened.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(crate) fd: OwnedFd,
    entry: Entry,
    created: bool,
    /// Where the daemon's own output begins.
    begins_at: u64,
}

/// No FIFO can block an open, and no terminal becomes the caller's.
const CAREFULLY: OFlag = OFlag::O_CLOEXEC.union(OFlag::O_NOCTTY).union(OFlag::O_NONBLOCK);
const INPUT: OFlag = OFlag::O_RDONLY.union(CAREFULLY);
const OUTPUT: OFlag = OFlag::O_WRONLY.union(OFlag::O_APPEND).union(CAREFULLY);

/// Opens a file for output. What is made belongs to the recipient.
///
/// For a daemon that is root, root opens what lies in directories that root alone can change, and elsewhere its own files alone.
/// For a daemon of another user it opens what is root's or that user's in such directories, and makes files in `/tmp` and the like.
pub(crate) fn open_log(log: &LogFile, step: Step, recipient: Recipient<'_>) -> Result<Opened<OpenLog>> {
    let failed = |errno| Error::opening(step, &log.path, errno);
    let stranger = |stat: &FileStat| {
        if recipient.may_use(stat.st_uid) { Ok(()) } else { Err(Error::stranger(step, &log.path, stat.st_uid)) }
    };
    let by_path = Want { flags: OUTPUT, may_exist: true, may_make: true };
    if let Recipient::Equal(owner) = recipient {
        let opened = open_entry(log, Entry::at(&log.path), by_path, owner).map_err(failed)?;
        return opened.ready(log.append).map(Opened::Here).map_err(failed);
    }
    let (place, may_exist) = match (locate(&log.path), recipient) {
        (Err(Obstacle { errno: Errno::ELOOP, .. }), Recipient::User(_)) => {
            return Ok(Opened::ByChild { is_exposed: false });
        }
        (Err(obstacle), _) => return Err(failed(obstacle.errno)),
        (Ok(place), Recipient::User(ids)) => match place.directory.trust() {
            Trust::Sticky => (place, false),
            Trust::Others if !place.directory.is_closed_to(ids) => return Ok(Opened::ByChild { is_exposed: false }),
            Trust::Others | Trust::Alone => (place, true),
        },
        (Ok(place), _) => (place, true),
    };
    let (trust, is_magic) = (place.directory.trust(), place.is_magic);
    let flags = if is_magic { OUTPUT } else { OUTPUT | OFlag::O_NOFOLLOW };
    let want = Want { flags, may_exist, may_make: !place.is_behind_link };
    let entry = Entry::from(place);
    if !may_exist {
        match entry.stat() {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(errno)),
            Ok(stat) if sys::kind_of(&stat) == SFlag::S_IFLNK => return Err(failed(Errno::ELOOP)),
            Ok(stat) => return stranger(&stat).map(|()| Opened::ByChild { is_exposed: true }),
        }
    }
    let opened = match open_entry(log, entry, want, recipient.owner()) {
        // The user, or another one, has made it an instant ago.
        Err(Errno::EEXIST) if !may_exist => return Ok(Opened::ByChild { is_exposed: true }),
        opened => opened.map_err(failed)?,
    };
    if !opened.created && !is_magic {
        let stat = nix::sys::stat::fstat(&opened.fd).map_err(failed)?;
        // What root has put where only root can put anything, root wants to be used.
        if trust != Trust::Alone || matches!(recipient, Recipient::User(_)) {
            stranger(&stat)?;
        }
        if trust != Trust::Alone && stat.st_nlink > 1 {
            return Err(failed(Errno::EMLINK));
        }
    }
    opened.ready(log.append).map(Opened::Here).map_err(failed)
}

/// How a log is opened.
#[derive(Clone, Copy)]
struct Want {
    flags: OFlag,
    /// An existing file is opened; otherwise it is an error, `EEXIST`.
    may_exist: bool,
    /// A missing file is made; otherwise it is an error, `ENOENT`.
    may_make: bool,
}

fn open_entry(log: &LogFile, entry: Entry, want: Want, owner: Option<&Ids>) -> nix::Result<OpenLog> {
    let mode = sys::file_mode(log.mode);
    let (fd, created) = loop {
        if want.may_exist {
            match entry.open(want.flags, Mode::empty()) {
                Err(Errno::ENOENT) if want.may_make => {}
                opened => break (opened?, false),
            }
        }
        match entry.open(want.flags | OFlag::O_CREAT | OFlag::O_EXCL, mode) {
            // Another process made it in between; but a link that leads nowhere exists and cannot be opened.
            Err(Errno::EEXIST) if entry.is_dangling() => return Err(Errno::ENOENT),
            Err(Errno::EEXIST) if want.may_exist => {}
            new => break (new?, true),
        }
    };
    let opened = OpenLog { fd, entry, created, begins_at: 0 };
    if created {
        let to_owner = |Ids { uid, gid, .. }: &Ids| {
            nix::unistd::fchown(&opened.fd, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
        };
        let arranged = owner.map_or(Ok(()), to_owner).and_then(|()| nix::sys::stat::fchmod(&opened.fd, mode));
        if let Err(errno) = arranged {
            opened.remove_if_unused(|owner| owner == 0);
            return Err(errno);
        }
    }
    Ok(opened)
}

/// Opens a file for input. Root follows no link that another user could have made, and for another user's daemon it opens only what
/// lies where root alone can change anything.
pub(crate) fn open_input(path: &Path, recipient: Recipient<'_>) -> Result<Opened<OwnedFd>> {
    let failed = |errno| Error::opening(Step::OpenStdin, path, errno);
    let start = |fd: OwnedFd| nix::fcntl::fcntl(&fd, FcntlArg::F_SETFL(OFlag::empty())).map(|_| Opened::Here(fd));
    if let Recipient::Equal(_) = recipient {
        return Entry::at(path).open(INPUT, Mode::empty()).and_then(start).map_err(failed);
    }
    let place = match locate(path) {
        Err(Obstacle { errno: Errno::ELOOP, .. }) if matches!(recipient, Recipient::User(_)) => {
            return Ok(Opened::ByChild { is_exposed: false });
        }
        place => place.map_err(|obstacle| failed(obstacle.errno))?,
    };
    let trust = place.directory.trust();
    if trust != Trust::Alone && matches!(recipient, Recipient::User(_)) {
        return Ok(Opened::ByChild { is_exposed: trust == Trust::Sticky });
    }
    let flags = if place.is_magic { INPUT } else { INPUT | OFlag::O_NOFOLLOW };
    let fd = Entry::from(place).open(flags, Mode::empty()).map_err(failed)?;
    // A second name could be of a file that only root may read.
    if trust != Trust::Alone && nix::sys::stat::fstat(&fd).map_err(failed)?.st_nlink > 1 {
        return Err(failed(Errno::EMLINK));
    }
    start(fd).map_err(failed)
}

/// Opens `log` again and puts it in the place of `descriptors` under the running process: whatever writes there, native code
/// included, writes on without losing a byte.
///
/// # Errors
///
/// [`Error::System`] with [`Step::ReopenLog`]; the descriptors then stay as they were.
pub fn reopen_log(log: &LogFile, descriptors: &[RawFd]) -> Result<()> {
    let log = LogFile { append: true, ..log.clone() };
    let Opened::Here(opened) = open_log(&log, Step::ReopenLog, Recipient::with(None))? else {
        return Err(Error::at(Step::ReopenLog, &log.path)(Errno::EPERM));
    };
    descriptors
        .iter()
        .try_for_each(|&target| sys::put(opened.fd.as_fd(), target))
        .map_err(Error::at(Step::ReopenLog, &log.path))
}

/// `/dev/null` for reading and writing.
pub(crate) fn open_null(step: Step) -> Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    retry(|| nix::fcntl::open(c"/dev/null", flags, Mode::empty())).map_err(Error::at(step, "/dev/null"))
}

impl OpenLog {
    /// With everything in its place for a daemon that writes to it.
    fn ready(mut self, append: bool) -> nix::Result<Self> {
        let stat = nix::sys::stat::fstat(&self.fd)?;
        // Only the open was not to block; the daemon's writes may.
        nix::fcntl::fcntl(&self.fd, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        if !append && is_regular(&stat) {
            nix::unistd::ftruncate(&self.fd, 0)?;
        }
        self.begins_at = if append { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        Ok(self)
    }

    fn tail(&self) -> Vec<u8> {
        let Ok(file) = self.entry.open(INPUT | OFlag::O_NOFOLLOW, Mode::empty()) else { return Vec::new() };
        let is_same = sys::identity(file.as_fd()).is_ok_and(|found| sys::identity(self.fd.as_fd()) == Ok(found));
        if is_same { read_tail(file.as_fd(), self.begins_at) } else { Vec::new() }
    }

    fn remove_if_unused(&self, may_change: impl FnOnce(libc::uid_t) -> bool) {
        if let Ok(stat) = nix::sys::stat::fstat(&self.fd)
            && self.created
            && is_regular(&stat)
            && stat.st_size == 0
        {
            self.entry.remove(sys::identity_of(&stat), may_change);
        }
    }
}

impl Log {
    /// The end of what the daemon has appended to it.
    pub(crate) fn tail(&self) -> Vec<u8> {
        match self {
            Self::Open { log, .. } => log.tail(),
            Self::Deferred { uid, .. } => self.find().map_or_else(Vec::new, |(entry, finding)| {
                let Ok(file) = entry.open(INPUT | OFlag::O_NOFOLLOW, Mode::empty()) else { return Vec::new() };
                let is_right = |stat: FileStat| {
                    sys::identity_of(&stat) == finding.identity
                        && stat.st_nlink == 1
                        && (stat.st_uid == 0 || stat.st_uid == *uid)
                };
                let is_right = nix::sys::stat::fstat(&file).is_ok_and(is_right);
                if is_right { read_tail(file.as_fd(), finding.length) } else { Vec::new() }
            }),
        }
    }

    /// Removes the log if this start has made it and nothing was written.
    pub(crate) fn remove_if_unused(&self) {
        match self {
            Self::Open { log, uid } => log.remove_if_unused(|owner| owner == 0 || Some(owner) == *uid),
            Self::Deferred { uid, .. } => {
                if let Some((entry, finding)) = self.find()
                    && finding.is_new
                    && entry.stat().is_ok_and(|stat| is_regular(&stat) && stat.st_size == 0)
                {
                    entry.remove(finding.identity, |owner| owner == 0 || owner == *uid);
                }
            }
        }
    }

    /// The name of a deferred one, if the child has opened it and no link lies on the way.
    fn find(&self) -> Option<(Entry, Finding)> {
        let Self::Deferred { path, target, findings, .. } = self else { return None };
        let finding = findings.get(*target)?;
        Some((locate(path).ok()?.into(), finding))
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
