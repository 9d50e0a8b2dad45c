//! The file that outsiders look at: a pid as text, and two locks by which `pgrep -L`, `flock -n` and other users see that it is in
//! use. No decision of ours depends on them, because every user that may read the file can take, and queue for, its locks.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::content::{self, Content};
use super::kind::{OPEN_FLAGS, cannot_open, check};
use super::outside;
use crate::error::{Error, Result, Step};
use crate::protocol::Findings;
use crate::state::real_path;
use crate::sys::{self, Digits, retry};
use crate::trusted_path::{self, Trust};

/// A pidfile that belongs to the caller.
#[derive(Debug)]
pub(crate) struct PublicFile {
    pub(crate) path: PathBuf,
    /// The same without links, wherever they lead later.
    place: PathBuf,
    /// Missing where this process may not enter it, because it has given up the rights with which the file was opened.
    directory: Option<OwnedFd>,
    name: CString,
    /// Has the locks, and only reads: what a program inherits. Missing where the child opens the file.
    read: Option<OwnedFd>,
    /// For the pid. A process that has its record lock must not have this, because closing it would drop that lock.
    write: Option<OwnedFd>,
    /// With which mode the child makes it, because another user can exchange what the launcher would open.
    by_child: Option<u32>,
    /// What the child has found at its place.
    found: OnceLock<(Arc<Findings>, RawFd)>,
}

/// What stands in the place of a pidfile.
pub(crate) enum Opened {
    /// A file of the caller's, empty, or one that the child has to open.
    Ours(PublicFile),
    /// A process that the kernel names as its holder, and that another uid has started.
    InUse(InUse),
}

/// A process that holds a pidfile without the lock of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InUse {
    pub(crate) pid: i32,
    /// It runs as the user that the caller's own instance would run as.
    pub(crate) is_same_user: bool,
}

/// How often a pidfile is opened again that is removed or replaced meanwhile.
const OPENINGS: u32 = 20;

impl PublicFile {
    /// Opens the pidfile at `path`, creates it with exactly `mode` if there is none, and empties it. The caller holds the lock.
    ///
    /// For a daemon of another `user` it is left to the child if another user than root can exchange the way there.
    pub(crate) fn open(path: &Path, mode: u32, user: Option<u32>) -> Result<Opened> {
        let Place { directory, name, trust } = find(path)?;
        if let (Some(user), Trust::Others) = (user, trust) {
            return Self::leave_to_child(directory, name, path, mode, user);
        }
        for _ in 0..OPENINGS {
            match Self::open_in(directory.as_fd(), &name, path, mode)? {
                Some(Opened::Ours(file)) => return Ok(Opened::Ours(Self { directory: Some(directory), ..file })),
                Some(in_use) => return Ok(in_use),
                None => {}
            }
        }
        Err(Error::NotAPidFile { reason: "it is removed or replaced all the time", path: path.to_owned() })
    }

    /// `None` where it was made, removed or replaced by another process at this moment.
    fn open_in(directory: BorrowedFd<'_>, name: &CStr, path: &Path, mode: u32) -> Result<Option<Opened>> {
        let (write, is_new) = match open_existing(directory, name, OFlag::O_RDWR) {
            Ok(file) => (file, false),
            Err(Errno::ENOENT) => match create(directory, name, sys::file_mode(mode)) {
                Ok(file) => (file, true),
                Err(Errno::EEXIST) => return Ok(None),
                Err(errno) => return Err(cannot_open(errno, path)),
            },
            Err(errno) => {
                let pid = outside::in_use(path).ok().flatten().ok_or_else(|| cannot_open(errno, path))?;
                return Ok(Some(Opened::InUse(InUse { pid, is_same_user: false })));
            }
        };
        match prepare(directory, name, write.as_fd(), path, is_new) {
            Ok(Ready::ToUse(read)) => {
                let (read, write) = (Some(read), Some(write));
                Ok(Some(Opened::Ours(Self { read, write, ..Self::new(path, None, name.to_owned()) })))
            }
            Ok(Ready::InUse(in_use)) => Ok(Some(Opened::InUse(in_use))),
            Ok(Ready::Replaced) => Ok(None),
            Err(error) => {
                if is_new {
                    // A file that its maker cannot use would only lie about.
                    let _left = sys::identity(write.as_fd()).and_then(|made| unlink(directory, name, made));
                }
                Err(error)
            }
        }
    }

    fn leave_to_child(directory: OwnedFd, name: CString, path: &Path, mode: u32, user: u32) -> Result<Opened> {
        // Where that user has started an instance itself, it is running already.
        if let Ok(file) = open_existing(directory.as_fd(), &name, OFlag::O_RDONLY)
            && let Some(pid) = outside::held_by(file.as_fd(), path, user)?
        {
            return Ok(Opened::InUse(InUse { pid, is_same_user: true }));
        }
        Ok(Opened::Ours(Self { by_child: Some(mode), ..Self::new(path, Some(directory), name) }))
    }

    fn new(path: &Path, directory: Option<OwnedFd>, name: CString) -> Self {
        let (path, place) = (path.to_owned(), real_path(path));
        Self { path, place, directory, name, read: None, write: None, by_child: None, found: OnceLock::new() }
    }

    /// Takes over the descriptor that this process was handed.
    ///
    /// # Safety
    ///
    /// `fd` must be open and owned by nothing else in this process.
    pub(super) unsafe fn adopt(path: &Path, fd: RawFd) -> Result<Self> {
        let (directory, name) = match find(path) {
            Ok(Place { directory, name, .. }) => (Some(directory), name),
            // The directory may have been removed, or be closed to the user that this process is now.
            Err(Error::System { .. }) => (None, name_of(path)?),
            Err(error) => return Err(error),
        };
        // SAFETY: the caller hands the descriptor over.
        let read = Some(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { read, ..Self::new(path, directory, name) })
    }

    /// Writes the pid of the calling process, and takes the record lock for it.
    pub(super) fn claim(&mut self) -> Result<()> {
        if let Some(write) = self.write.take() {
            let line = Line::of(std::process::id().cast_signed());
            sys::write_start(write.as_fd(), line.as_bytes()).map_err(Error::at(Step::WritePid, &self.path))?;
        }
        if let Some(read) = &self.read {
            let _outsiders_only = sys::lock_record(read.as_raw_fd());
        }
        Ok(())
    }

    pub(crate) fn read(&self) -> Option<BorrowedFd<'_>> {
        self.read.as_ref().map(OwnedFd::as_fd)
    }

    /// The mode with which the child has to make it.
    pub(crate) fn by_child(&self) -> Option<u32> {
        self.by_child
    }

    /// Where the child says what it has opened as descriptor `target`.
    pub(crate) fn expect(&self, findings: &Arc<Findings>, target: RawFd) {
        let _once = self.found.set((Arc::clone(findings), target));
    }

    pub(crate) fn write(&self) -> Option<BorrowedFd<'_>> {
        self.write.as_ref().map(OwnedFd::as_fd)
    }

    /// Compares, then unlinks. A file that may not be removed stays and means nothing. Async-signal-safe.
    pub(super) fn remove(&self) -> nix::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let identity = match (&self.read, self.found.get()) {
            (Some(read), _) => sys::identity(read.as_fd())?,
            (None, Some((findings, target))) => match findings.get(*target) {
                Some(finding) => finding.identity,
                None => return Ok(()),
            },
            (None, None) => return Ok(()),
        };
        unlink(directory.as_fd(), &self.name, identity)
    }

    /// The same for the process that is the instance: a start that does not see its lock has taken over the very file that names
    /// another process. Async-signal-safe.
    pub(super) fn remove_own(&self, pid: i32) -> nix::Result<()> {
        let mut bytes = [0; 16];
        let length = self.read.as_ref().and_then(|read| nix::sys::uio::pread(read, &mut bytes, 0).ok());
        let content = length.and_then(|length| bytes.get(..length)).and_then(Content::parse);
        if content.and_then(|content| content.pid).is_some_and(|found| found != pid) { Ok(()) } else { self.remove() }
    }

    /// Where it is, without links.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// What has become of its name.
    pub(super) fn loss(&self) -> nix::Result<Option<Loss>> {
        let Some(read) = &self.read else { return Ok(None) };
        match nix::sys::stat::lstat(&self.place) {
            Ok(stat) if sys::identity_of(&stat) == sys::identity(read.as_fd())? => Ok(None),
            Ok(_) => Ok(Some(Loss::Replaced)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(Some(Loss::Removed)),
            // A directory that this process may not search.
            Err(_) => Ok(None),
        }
    }

    /// Makes the file again under its name, and takes its locks: for the calling process, which is the daemon. The descriptors
    /// keep their numbers, because the handler of a signal may be using them.
    pub(super) fn make_again(&self) -> Result<()> {
        let failed = |step| move |errno| Error::at(step, &self.path)(errno);
        let Place { directory, name, trust } = find(&self.place)?;
        if nix::unistd::geteuid().is_root() && trust == Trust::Others {
            return Err(Error::distrusted(Step::OpenPidFile, &self.path, EXCHANGEABLE));
        }
        let (Some(read), Some(former)) = (&self.read, &self.directory) else {
            return Err(failed(Step::OpenDirectory)(Errno::EBADF));
        };
        let stat = nix::sys::stat::fstat(read).map_err(failed(Step::ReadPidFile))?;
        let mode = Mode::from_bits_truncate(stat.st_mode);
        let write = create(directory.as_fd(), &name, mode).map_err(failed(Step::OpenPidFile))?;
        let identity = sys::identity(write.as_fd()).map_err(failed(Step::ReadPidFile))?;
        let fill = || {
            sys::write_start(write.as_fd(), Line::of(std::process::id().cast_signed()).as_bytes())?;
            let again = open_existing(directory.as_fd(), &name, OFlag::O_RDONLY)?;
            if sys::identity(again.as_fd())? != identity {
                return Err(Errno::EEXIST);
            }
            let _outsiders_only = sys::try_flock(again.as_fd());
            sys::replace(again.as_fd(), read.as_raw_fd())?;
            sys::replace(directory.as_fd(), former.as_raw_fd())
        };
        let filled = fill().map_err(failed(Step::WritePid)).inspect_err(|_| {
            let _left = unlink(directory.as_fd(), &name, identity);
        });
        // Closing any descriptor of the file drops the record lock, so that comes last.
        drop(write);
        filled?;
        let _outsiders_only = sys::lock_record(read.as_raw_fd());
        Ok(())
    }
}

/// Whether a start could have the pidfile at `path`, which another instance may hold now. Nothing is made or locked. What is left to
/// the child of another `user` is not known.
pub(crate) fn rehearse(path: &Path, user: Option<u32>) -> Result<()> {
    let Place { directory, name, trust } = find(path)?;
    if user.is_some() && trust == Trust::Others {
        return Ok(());
    }
    let file = match open_existing(directory.as_fd(), &name, OFlag::O_RDWR) {
        // An existing pidfile stays if its instance cannot remove it.
        Err(Errno::ENOENT) => {
            let may_change = sys::may_change(directory.as_fd(), Path::new("."));
            return may_change.map_err(|errno| cannot_open(errno, path));
        }
        file => file.map_err(|errno| cannot_open(errno, path))?,
    };
    if check(file.as_fd(), path)?.st_uid != nix::unistd::geteuid().as_raw() && outside::in_use(path)?.is_none() {
        return Err(Error::NotAPidFile { reason: "it belongs to another user", path: path.to_owned() });
    }
    Ok(())
}

/// Why root does not make a pidfile again.
const EXCHANGEABLE: &str = "another user can exchange a directory on the way there";

/// What has become of the name of a pidfile whose daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Removed,
    /// Another file has it.
    Replaced,
}

enum Ready {
    /// With the descriptor that has the locks.
    ToUse(OwnedFd),
    InUse(InUse),
    /// Its name is gone, or leads elsewhere.
    Replaced,
}

/// Checks an open file, locks it for outsiders, and empties it.
fn prepare(directory: BorrowedFd<'_>, name: &CStr, write: BorrowedFd<'_>, path: &Path, is_new: bool) -> Result<Ready> {
    let stat = check(write, path)?;
    if stat.st_uid != nix::unistd::geteuid().as_raw() {
        let not_ours = Error::NotAPidFile { reason: "it belongs to another user", path: path.to_owned() };
        let in_use = |pid| Ready::InUse(InUse { pid, is_same_user: false });
        return outside::in_use(path)?.map(in_use).ok_or(not_ours);
    }
    if let Some(pid) = outside::started_by_another(write, path)? {
        return Ok(Ready::InUse(InUse { pid, is_same_user: true }));
    }
    let failed = |step| move |errno| Error::at(step, path)(errno);
    let read = match open_existing(directory, name, OFlag::O_RDONLY) {
        Err(Errno::ENOENT) => return Ok(Ready::Replaced),
        read => read.map_err(|errno| cannot_open(errno, path))?,
    };
    let identity = |file| sys::identity(file).map_err(failed(Step::ReadPidFile));
    if identity(read.as_fd())? != identity(write)? {
        return Ok(Ready::Replaced);
    }
    // Another user's lock on it keeps nothing from starting: the lock of the instance is held.
    let _outsiders_only = sys::try_flock(read.as_fd());
    if !is_new && sys::can_others_write(&stat) {
        let others = Mode::S_IWGRP | Mode::S_IWOTH;
        nix::sys::stat::fchmod(write, Mode::from_bits_truncate(stat.st_mode) & !others)
            .map_err(failed(Step::OpenPidFile))?;
    }
    nix::unistd::ftruncate(write, 0).map_err(failed(Step::ClearPidFile))?;
    Ok(Ready::ToUse(read))
}

/// What a forked child writes into its pidfile. Async-signal-safe.
pub(crate) struct Line {
    bytes: [u8; 11],
    length: usize,
}

impl Line {
    pub(crate) fn of(pid: i32) -> Self {
        let digits = Digits::of_pid(pid);
        let digits = digits.as_bytes();
        let mut bytes = [b'\n'; 11];
        for (slot, digit) in bytes.iter_mut().zip(digits) {
            *slot = *digit;
        }
        Self { bytes, length: digits.len() + 1 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// Async-signal-safe.
fn unlink(directory: BorrowedFd<'_>, name: &CStr, identity: (u64, u64)) -> nix::Result<()> {
    match nix::sys::stat::fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if sys::identity_of(&stat) == identity => {}
        Ok(_) | Err(Errno::ENOENT | Errno::EACCES) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    match nix::unistd::unlinkat(directory, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT | Errno::EACCES | Errno::EPERM | Errno::EROFS) => Ok(()),
        result => result,
    }
}

/// Removes the pidfile of an instance whose end was seen, if it still names that. The caller holds the lock, which is `owner`'s. For
/// an instance of other `users` root removes what is theirs only in a directory of theirs or of root's own; what a lock of another
/// owner says of users does not count.
pub(crate) fn remove_left_behind(path: &Path, pid: i32, owner: u32, users: &[u32]) -> Result<()> {
    // Nothing is left where there is no directory.
    let Ok(Place { directory, name, trust }) = find(path) else { return Ok(()) };
    let Ok(file) = open_existing(directory.as_fd(), &name, OFlag::O_RDONLY) else { return Ok(()) };
    let Ok(stat) = check(file.as_fd(), path) else { return Ok(()) };
    let failed = |step| move |errno| Error::at(step, path)(errno);
    let bytes = sys::read_start(file.as_fd(), content::MAX_LENGTH).map_err(failed(Step::ReadPidFile))?;
    let is_its = Content::parse(&bytes).is_some_and(|content| content.pid.is_none_or(|found| found == pid));
    let is_own = owner == nix::unistd::geteuid().as_raw();
    let is_theirs = |uid| uid == owner || is_own && users.contains(&uid);
    let directory_owner = nix::sys::stat::fstat(&directory).map_err(failed(Step::RemovePidFile))?.st_uid;
    let is_closed_to_others = is_own && trust != Trust::Others || is_theirs(directory_owner);
    if is_its && is_theirs(stat.st_uid) && is_closed_to_others {
        unlink(directory.as_fd(), &name, sys::identity_of(&stat)).map_err(failed(Step::RemovePidFile))?;
    }
    Ok(())
}

/// What is wrong with a pidfile that the child has opened, by the number that it reports.
pub(crate) const FAULTS: [&str; 4] = [
    "it is not a regular file",
    "it has more than one hard link",
    "it belongs to another user",
    "it holds something other than a process id",
];

/// Which of [`FAULTS`] an open file has, counted from 1. Async-signal-safe.
pub(crate) fn fault_of(file: BorrowedFd<'_>, stat: &FileStat, user: u32) -> nix::Result<Option<u8>> {
    if sys::kind_of(stat) != SFlag::S_IFREG {
        return Ok(Some(1));
    }
    if stat.st_nlink > 1 {
        return Ok(Some(2));
    }
    if stat.st_uid != user {
        return Ok(Some(3));
    }
    let mut bytes = [0; content::MAX_LENGTH + 1];
    let read = retry(|| nix::sys::uio::pread(file, &mut bytes, 0))?;
    Ok(bytes.get(..read).and_then(Content::parse).is_none().then_some(4))
}

fn open_existing(directory: BorrowedFd<'_>, name: &CStr, access: OFlag) -> nix::Result<OwnedFd> {
    retry(|| nix::fcntl::openat(directory, name, OPEN_FLAGS | access, Mode::empty()))
}

fn create(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> nix::Result<OwnedFd> {
    let flags = OPEN_FLAGS | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = retry(|| nix::fcntl::openat(directory, name, flags, mode))?;
    // Exactly this mode, whatever the umask.
    nix::sys::stat::fchmod(&file, mode).inspect_err(|_| {
        let _gone = sys::identity(file.as_fd()).and_then(|made| unlink(directory, name, made));
    })?;
    Ok(file)
}

/// A pidfile's place, and who could have changed the way there.
struct Place {
    directory: OwnedFd,
    name: CString,
    trust: Trust,
}

fn find(path: &Path) -> Result<Place> {
    let name = name_of(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |errno| Error::at(Step::OpenDirectory, parent)(errno);
    if nix::unistd::geteuid().is_root() {
        let found = trusted_path::walk(parent).map_err(|obstacle| failed(obstacle.errno))?;
        let trust = found.trust();
        return Ok(Place { directory: found.into(), name, trust });
    }
    let directory = retry(|| nix::fcntl::open(parent, sys::OPEN_DIRECTORY, Mode::empty())).map_err(failed)?;
    Ok(Place { directory, name, trust: Trust::Alone })
}

fn name_of(path: &Path) -> Result<CString> {
    path.file_name()
        .and_then(|name| CString::new(name.as_bytes()).ok())
        .ok_or_else(|| Error::NotAPidFile { reason: "the path names no file", path: path.to_owned() })
}
