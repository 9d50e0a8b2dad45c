//! The pidfile: locked from before the fork until the daemon's death, trusted only when the kernel names its holder.
//!
//! Acquiring follows FreeBSD's `pidfile_open(3)` and `flopen(3)`: lock, then check that the name still names the inode,
//! then trust; remove only what is still one's own.

mod content;
mod held;
mod probe;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

pub(crate) use content::{Digits, Phase};
pub(crate) use probe::{Probe, probe_path};

use crate::error::{Error, Result, Step};
use crate::herd::{Found, IfRunning, Wish};
use crate::sys::{self, Holder, retry};
use content::Content;

/// Mode of a pidfile unless told otherwise: everybody may ask whether the daemon runs.
pub const DEFAULT_MODE: u32 = 0o644;

/// How long a holder that cannot be proven is given to become one: the gap between a lock and a pid, or between a
/// SIGKILL and the death.
pub(crate) const UNPROVEN_PATIENCE: Duration = Duration::from_millis(600);

/// Between two tries, jittered between half and the whole of it.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Between two looks at a launcher that is about to let go.
const LET_GO_PAUSE: Duration = Duration::from_millis(2);

/// A pidfile whose lock this process holds or shares.
///
/// The lock is a `flock(2)` and belongs to the open file, so it goes through fork and exec without a gap; closing the last
/// descriptor releases it. Dropping a `PidFile` closes this process's descriptor and leaves the file: see [`PidFile::remove`].
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Missing where this process may not enter it, for it has given up the rights with which the file was opened.
    directory: Option<OwnedFd>,
    name: CString,
    file: OwnedFd,
    held: bool,
}

impl PidFile {
    /// Locks the pidfile at `path`, creating it with exactly `mode` if there is none, and empties it.
    ///
    /// A holder that cannot be proven is given a moment: it may be about to write its pid, or to die.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] with the holder's pid; [`Error::PidFileHeld`] when the lock is held but not by the process in
    /// the file; [`Error::NotAPidFile`], the file untouched, when it is not a regular file with one link that is empty or
    /// holds a number; [`Error::System`].
    pub fn acquire(path: &Path, mode: u32) -> Result<Self> {
        Self::acquire_or(path, mode, IfRunning::Error, UNPROVEN_PATIENCE)
    }

    /// The same, but a daemon that holds it is ended first as [`crate::stop`] does; one that is still starting has `patience` to
    /// get up.
    ///
    /// # Errors
    ///
    /// As for [`PidFile::acquire`], with [`Error::AlreadyRunning`] only for a daemon that was started meanwhile, or for the
    /// caller itself; [`Error::StopTimeout`]; [`Error::WaitTimeout`].
    pub fn acquire_replacing(path: &Path, mode: u32, patience: Duration) -> Result<Self> {
        Self::acquire_or(path, mode, IfRunning::Replace, patience)
    }

    fn acquire_or(path: &Path, mode: u32, if_running: IfRunning, patience: Duration) -> Result<Self> {
        let pause = |pause| {
            std::thread::sleep(pause);
            Ok(())
        };
        match (Wish { path, mode, if_running, record: None, patience, pause: &pause }).find()? {
            Found::Free { pid_file, .. } => Ok(pid_file),
            Found::Running { pid } => Err(Error::AlreadyRunning { pid, path: path.to_owned() }),
        }
    }

    /// Tries once to lock the pidfile at `path`, creating it with exactly `mode` if there is none, and empties it.
    pub(crate) fn attempt(path: &Path, mode: u32) -> Result<Attempt> {
        let (directory, name) = open_directory(path)?;
        if held::by_this_process(directory.as_fd(), &name) {
            return Ok(probe_path(path)?.map_or(Attempt::Vanished, Attempt::Held));
        }
        Ok(match try_acquire(directory.as_fd(), &name, path, mode)? {
            Taken::Locked(file) => {
                Attempt::Locked(Self { path: path.to_owned(), directory: Some(directory), name, file, held: false })
            }
            Taken::Held(probe) => Attempt::Held(probe),
            Taken::Vanished => Attempt::Vanished,
        })
    }

    /// Takes over descriptor `fd`, on which a launcher holds the lock for this process, and closes it on exec from now on, so
    /// that no helper keeps the lock alive.
    ///
    /// # Safety
    ///
    /// `fd` must be open and owned by nobody else in this process.
    pub(crate) unsafe fn adopt(path: &Path, fd: RawFd) -> Result<Self> {
        let (directory, name) = match open_directory(path) {
            Ok((directory, name)) => (Some(directory), name),
            Err(Error::System { errno: Errno::EACCES, .. }) => (None, name_of(path)?),
            Err(error) => return Err(error),
        };
        // SAFETY: the caller hands the descriptor over.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut adopted = Self { path: path.to_owned(), directory, name, file, held: false };
        adopted.note_held()?;
        // Whatever looked at the pidfile in this process before, and closed it again, has dropped the record lock.
        sys::lock_record(fd).map_err(Error::at(Step::LockRecord, path))?;
        Ok(adopted)
    }

    /// Makes this process the holder: its pid and its record lock, for programs that stay in the foreground. It is "starting"
    /// until [`PidFile::mark_up`].
    pub fn claim(&mut self) -> Result<()> {
        let pid = std::process::id().cast_signed();
        write_all_at(self.file.as_fd(), Digits::of(pid).as_bytes(), 0)
            .map_err(Error::at(Step::WritePid, &self.path))?;
        sys::lock_record(self.file.as_raw_fd()).map_err(Error::at(Step::LockRecord, &self.path))?;
        self.note_held()
    }

    fn note_held(&mut self) -> Result<()> {
        held::add(self.file.as_fd()).map_err(Error::at(Step::ReadPidFile, &self.path))?;
        self.held = true;
        Ok(())
    }

    /// The path that it was acquired by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the daemon is up, if the content is still the pid of `pid` and does not say so yet.
    pub(crate) fn commit(&self, pid: i32) -> Result<()> {
        self.reach(pid, Phase::Up)
    }

    /// Says that this process is up.
    pub fn mark_up(&self) -> Result<()> {
        self.commit(std::process::id().cast_signed())
    }

    /// Says that this process has begun to stop, be it while it starts.
    pub fn mark_stopping(&self) -> Result<()> {
        self.reach(std::process::id().cast_signed(), Phase::Stopping)
    }

    /// Whether `pid` has said that it has begun to stop.
    pub(crate) fn is_stopping(&self, pid: i32) -> bool {
        let content = read_content(self.file.as_fd()).ok().and_then(|bytes| Content::parse(&bytes));
        content.is_some_and(|content| content.pid == Some(pid) && content.phase == Phase::Stopping)
    }

    /// Appends the newlines that are missing. Each has its own place: two writers of the same newline are one, and whoever
    /// says "up" too late does not undo "stopping".
    fn reach(&self, pid: i32, phase: Phase) -> Result<()> {
        let bytes = read_content(self.file.as_fd()).map_err(Error::at(Step::Commit, &self.path))?;
        match Content::parse(&bytes) {
            Some(content) if content.pid == Some(pid) && content.phase < phase => {
                let missing: &[u8] =
                    if (content.phase, phase) == (Phase::Starting, Phase::Stopping) { b"\n\n" } else { b"\n" };
                write_all_at(self.file.as_fd(), missing, bytes.len()).map_err(Error::at(Step::Commit, &self.path))
            }
            _ => Ok(()),
        }
    }

    /// Removes the file if its name still names it; empties it where the directory cannot be written. With `pid` only if that
    /// is what it holds, or nothing; without, whatever it holds, as the process may that took the lock and whose start has failed.
    pub fn remove(&self, pid: Option<i32>) -> Result<()> {
        self.removal().run(pid).map_err(Error::at(Step::RemovePidFile, &self.path))
    }

    /// What a signal handler needs for the removal.
    pub(crate) fn removal(&self) -> Removal<'_> {
        let directory = self.directory.as_ref().map(AsRawFd::as_raw_fd);
        Removal { directory, name: &self.name, file: self.file.as_raw_fd() }
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.held {
            held::remove(self.file.as_fd());
        }
    }
}

/// What it takes to remove a pidfile, as plain numbers: usable in a signal handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removal<'a> {
    pub(crate) directory: Option<RawFd>,
    pub(crate) name: &'a CStr,
    pub(crate) file: RawFd,
}

impl Removal<'_> {
    /// Compares, then unlinks. Async-signal-safe.
    pub(crate) fn run(self, pid: Option<i32>) -> nix::Result<()> {
        // SAFETY: both descriptors are open as long as the PidFile that this was made from.
        let file = unsafe { BorrowedFd::borrow_raw(self.file) };
        if let Some(pid) = pid {
            let mut buffer = [0; 64];
            let length = retry(|| nix::sys::uio::pread(file, &mut buffer, 0))?;
            let content = buffer.get(..length).and_then(Content::parse);
            // An empty one is what is left where only its content could be removed.
            if length > 0 && content.is_none_or(|content| content.pid != Some(pid)) {
                return Ok(());
            }
        }
        let Some(directory) = self.directory else { return nix::unistd::ftruncate(file, 0) };
        // SAFETY: as above.
        let directory = unsafe { BorrowedFd::borrow_raw(directory) };
        match is_named(directory, self.name, file) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(Errno::EACCES) => return nix::unistd::ftruncate(file, 0),
            Err(errno) => return Err(errno),
        }
        match nix::unistd::unlinkat(directory, self.name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EACCES | Errno::EPERM | Errno::EROFS) => nix::unistd::ftruncate(file, 0),
            result => result,
        }
    }
}

/// What a look at a pidfile tells.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Up: the kernel names the process in the file as its holder.
    Running {
        /// The daemon's pid.
        pid: i32,
        /// When the process was started, where that can be seen.
        since: Option<SystemTime>,
    },
    /// Up, and on its way out.
    Stopping {
        /// The daemon's pid.
        pid: i32,
        /// When the process was started, where that can be seen.
        since: Option<SystemTime>,
    },
    /// A start is under way.
    Starting {
        /// The daemon's pid, once it has one.
        pid: Option<i32>,
    },
    /// A pidfile that nobody holds.
    Dead {
        /// The pid in it.
        last_pid: Option<i32>,
    },
    /// Locked, but not by the process whose pid is in it.
    Unknown {
        /// Who holds it, where that can be found.
        held_by: Option<i32>,
    },
    /// No pidfile.
    Stopped,
}

/// Tells the state of the daemon that belongs to the pidfile at `path`, without disturbing it.
///
/// # Errors
///
/// [`Error::NotAPidFile`]; [`Error::System`] when the file cannot be opened or read.
pub fn status(path: &Path) -> Result<Status> {
    let Some(probe) = probe_path(path)? else { return Ok(Status::Stopped) };
    Ok(match (probe.holder, probe.pid) {
        (Holder::Proven, Some(pid)) => match probe.phase {
            Phase::Starting => Status::Starting { pid: Some(pid) },
            Phase::Up => Status::Running { pid, since: sys::start_time(pid) },
            Phase::Stopping => Status::Stopping { pid, since: sys::start_time(pid) },
        },
        (Holder::Taker(_), _) => Status::Starting { pid: None },
        (Holder::Other(held_by), _) => Status::Unknown { held_by },
        (Holder::Proven | Holder::Nobody, last_pid) => Status::Dead { last_pid },
    })
}

/// Removes the pidfile of a daemon whose end was seen, unless somebody else has taken it since.
pub(crate) fn remove_after_exit(path: &Path, pid: i32) -> Result<()> {
    let (directory, name) = open_directory(path)?;
    let file = match open_existing(directory.as_fd(), &name) {
        Ok(file) => file,
        // Removed by its daemon, or not ours to write: then it stays, unlocked and harmless.
        Err(Errno::ENOENT | Errno::EACCES | Errno::EROFS) => return Ok(()),
        Err(errno) => return Err(Error::at(Step::RemovePidFile, path)(errno)),
    };
    let begun = Instant::now();
    while !try_lock(&file).map_err(Error::at(Step::LockPidFile, path))? {
        // A launcher that has just told of its start lets go in a moment, and a look that tries the lock at once. A helper of the
        // daemon does not, nor does the next start.
        let waited = begun.elapsed();
        if waited > UNPROVEN_PATIENCE || (waited > RETRY_PAUSE && !sys::is_launched_still(file.as_fd(), pid)) {
            return Ok(());
        }
        std::thread::sleep(LET_GO_PAUSE);
    }
    let removal = Removal { directory: Some(directory.as_raw_fd()), name: &name, file: file.as_raw_fd() };
    removal.run(Some(pid)).map_err(Error::at(Step::RemovePidFile, path))
}

/// What one try to lock a pidfile leads to.
pub(crate) enum Attempt {
    Locked(PidFile),
    Held(Probe),
    /// Removed or replaced between two looks.
    Vanished,
}

enum Taken {
    Locked(OwnedFd),
    Held(Probe),
    Vanished,
}

fn try_acquire(directory: BorrowedFd<'_>, name: &CStr, path: &Path, mode: u32) -> Result<Taken> {
    let open_error = |errno| cannot_open(errno, path);
    // Without O_CREAT first: with it, another user's file in a sticky directory is EACCES even for root.
    match open_existing(directory, name) {
        Ok(file) => take(directory, name, path, file),
        Err(Errno::ENOENT) => match create(directory, name, mode) {
            Ok(file) => {
                let twin = file.try_clone();
                take(directory, name, path, file).inspect_err(|_| {
                    // Nobody can use a file that its maker could not: it would only lie about.
                    if let Ok(twin) = &twin {
                        let _left =
                            Removal { directory: Some(directory.as_raw_fd()), name, file: twin.as_raw_fd() }.run(None);
                    }
                })
            }
            Err(Errno::EEXIST) => Ok(Taken::Vanished),
            Err(errno) => Err(open_error(errno)),
        },
        Err(errno) => Err(open_error(errno)),
    }
}

fn take(directory: BorrowedFd<'_>, name: &CStr, path: &Path, file: OwnedFd) -> Result<Taken> {
    let read_error = || Error::at(Step::ReadPidFile, path);
    if !is_pidfile(file.as_fd(), path)? {
        return Ok(Taken::Vanished);
    }
    if !try_lock(&file).map_err(Error::at(Step::LockPidFile, path))? {
        let probe = Probe::of(file.as_fd(), path)?;
        // A holder of what the name meant a moment ago is nobody.
        return Ok(if is_named(directory, name, file.as_fd()).map_err(read_error())? {
            Taken::Held(probe)
        } else {
            Taken::Vanished
        });
    }
    // Somebody may have removed it, or put something else into it, before the lock was ours.
    if !is_named(directory, name, file.as_fd()).map_err(read_error())? || !is_pidfile(file.as_fd(), path)? {
        return Ok(Taken::Vanished);
    }
    nix::unistd::ftruncate(&file, 0).map_err(Error::at(Step::ClearPidFile, path))?;
    Ok(Taken::Locked(file))
}

const OPEN_FLAGS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// The kinds of files that cannot even be opened are no pidfiles either.
fn cannot_open(errno: Errno, path: &Path) -> Error {
    let reason = match errno {
        Errno::EISDIR => "it is a directory",
        Errno::ENXIO | Errno::EOPNOTSUPP => "it is a socket, or a device that is not there",
        errno => return Error::at(Step::OpenPidFile, path)(errno),
    };
    Error::NotAPidFile { reason, path: path.to_owned() }
}

fn open_existing(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    retry(|| nix::fcntl::openat(directory, name, OPEN_FLAGS | OFlag::O_RDWR, Mode::empty()))
}

fn create(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> nix::Result<OwnedFd> {
    let mode = sys::file_mode(mode);
    let flags = OPEN_FLAGS | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = retry(|| nix::fcntl::openat(directory, name, flags, mode))?;
    // Exactly this mode, whatever the umask.
    nix::sys::stat::fchmod(&file, mode).inspect_err(|_| {
        let _gone = nix::unistd::unlinkat(directory, name, nix::unistd::UnlinkatFlags::NoRemoveDir);
    })?;
    Ok(file)
}

/// False when the file has lost its name; an error when it is something that a pidfile never is.
fn is_pidfile(file: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let read_error = || Error::at(Step::ReadPidFile, path);
    let not_a_pidfile = |reason| Err(Error::NotAPidFile { reason, path: path.to_owned() });
    let stat = nix::sys::stat::fstat(file).map_err(read_error())?;
    if let Some(kind) = other_kind(&stat) {
        return not_a_pidfile(kind);
    }
    match stat.st_nlink {
        0 => return Ok(false),
        1 => {}
        _ => return not_a_pidfile("it has more than one hard link"),
    }
    let bytes = read_content(file).map_err(read_error())?;
    if Content::parse(&bytes).is_none() {
        return not_a_pidfile("it holds something other than a process id");
    }
    Ok(true)
}

/// What a file is that is not a regular one.
fn other_kind(stat: &FileStat) -> Option<&'static str> {
    let kind = sys::kind_of(stat);
    match kind {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("it is a directory"),
        SFlag::S_IFIFO => Some("it is a FIFO"),
        SFlag::S_IFSOCK => Some("it is a socket"),
        _ => Some("it is a device"),
    }
}

/// Everything in the file, or enough of it to see that it is no pidfile.
fn read_content(file: BorrowedFd<'_>) -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; content::MAX_LENGTH + 1];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let offset = libc::off_t::try_from(length).unwrap_or(libc::off_t::MAX);
        match retry(|| nix::sys::uio::pread(file, rest, offset))? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn try_lock(file: &OwnedFd) -> nix::Result<bool> {
    // SAFETY: flock touches no memory.
    match retry(|| Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })) {
        Ok(_) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether `name` still names this file.
fn is_named(directory: BorrowedFd<'_>, name: &CStr, file: BorrowedFd<'_>) -> nix::Result<bool> {
    match nix::sys::stat::fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(named) => Ok(sys::identity_of(&named) == sys::identity(file)?),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn open_directory(path: &Path) -> Result<(OwnedFd, CString)> {
    let name = name_of(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = retry(|| nix::fcntl::open(parent, sys::OPEN_DIRECTORY, Mode::empty()))
        .map_err(Error::at(Step::OpenDirectory, parent))?;
    Ok((directory, name))
}

fn name_of(path: &Path) -> Result<CString> {
    path.file_name()
        .and_then(|name| CString::new(name.as_bytes()).ok())
        .ok_or_else(|| Error::NotAPidFile { reason: "the path names no file", path: path.to_owned() })
}

fn write_all_at(file: BorrowedFd<'_>, bytes: &[u8], offset: usize) -> nix::Result<()> {
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EFBIG)?;
    match retry(|| nix::sys::uio::pwrite(file, bytes, offset))? {
        written if written == bytes.len() => Ok(()),
        // The kernel writes less than asked only when there is no room for more.
        _ => Err(Errno::ENOSPC),
    }
}

/// Between half of `pause` and all of it, so that starters that collided do not collide again.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let noise = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let noise = noise.wrapping_mul(2_654_435_761).wrapping_add(std::process::id().wrapping_mul(40_503)) >> 16;
    pause / 2 + pause / 2 * (noise & 0xff) / 256
}
