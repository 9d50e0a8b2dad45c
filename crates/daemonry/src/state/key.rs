//! The private files of one pidfile, and what they say.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::claim::{self, Claim, Place, Role};
use super::directory::PrivateDirectory;
use super::phase::{self, Phase, Said};
use super::transition::{self, Decision};
use crate::error::{Error, Result, Step};
use crate::sys::{self, Process, retry};

/// How long a lock is waited for that is held only while something is decided and written. That takes microseconds, unless its
/// holder was stopped in the middle of it.
const DECISION_PATIENCE: Duration = Duration::from_secs(2);
const DECISION_PAUSE: Duration = Duration::from_millis(2);

/// How often a file is opened again that was replaced while it was opened.
const OPENINGS: u32 = 20;

/// How often a claim is read again that is being written at this moment.
const LOOKS: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Names the private files of a pidfile: by the real path of its directory and its name there, so that every spelling of the path
/// means the same instance, also when the directory was removed meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    directory: Arc<PrivateDirectory>,
    name: String,
    /// The pidfile by its real path.
    pub(crate) path: PathBuf,
}

/// An instance, or the start of one, as its lock names it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) claim: Claim,
    pub(crate) life: Life,
    pub(crate) phase: Phase,
    /// Everything that it has said itself.
    pub(crate) said: Said,
    /// What another process has decided about it.
    pub(crate) decision: Option<Decision>,
}

/// Whether the process in a lock lives.
#[derive(Debug)]
pub(crate) enum Life {
    Alive(Process),
    /// On its way out: its descriptors, sockets among them, may still be open.
    Exiting(Process),
    /// There is no such process any more.
    Gone,
    /// It cannot be said from here: the process is in another PID namespace, or `/proc` is missing.
    Unseen,
}

/// What a lock says when its text and its flock agree.
#[derive(Debug)]
pub(crate) enum Settled {
    /// An instance, or the start of one, whose process lives.
    Live(Box<Seen>),
    /// A process holds the lock that is not the instance in it, with what stands in it about one that has ended.
    Held { ended: Option<Box<Seen>> },
    /// With what the instance that has ended last left behind, if there was any.
    Nothing { ended: Option<Box<Seen>> },
}

impl Key {
    /// For a start by the caller: makes the private directory.
    pub(crate) fn make(path: &Path) -> Result<Self> {
        Ok(Self::of(path, Arc::new(PrivateDirectory::make()?)))
    }

    /// For looking: none where `owner` has never started anything.
    pub(crate) fn find(path: &Path, owner: u32) -> Result<Vec<Self>> {
        let found = PrivateDirectory::find(owner)?;
        Ok(found.into_iter().map(|directory| Self::of(path, Arc::new(directory))).collect())
    }

    /// The same pidfile in the other directories of the same owner.
    pub(crate) fn elsewhere(&self) -> Result<Vec<Self>> {
        let others = Self::find(&self.path, self.owner())?.into_iter();
        Ok(others.filter(|other| other.directory.path != self.directory.path).collect())
    }

    fn of(path: &Path, directory: Arc<PrivateDirectory>) -> Self {
        let path = real_path(path);
        let name = format!("{:032x}", fingerprint(path.as_os_str().as_bytes()));
        Self { directory, name, path }
    }

    /// The same directory for another pidfile.
    pub(crate) fn sibling(&self, path: &Path) -> Self {
        Self::of(path, Arc::clone(&self.directory))
    }

    /// Whose state it is.
    pub(crate) fn owner(&self) -> u32 {
        self.directory.owner
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.fd.as_fd()
    }

    pub(super) fn file(&self, kind: &str) -> CString {
        // Neither a hexadecimal number nor a kind has a NUL in it.
        CString::new(format!("{}.{kind}", self.name)).unwrap_or_default()
    }

    /// Where one of its files is, for messages.
    pub(super) fn place(&self, kind: &str) -> PathBuf {
        self.directory.path.join(format!("{}.{kind}", self.name))
    }

    /// Opens one of its files. What is not a plain file of the owner's is an error, whatever put it there.
    pub(super) fn open(&self, kind: &str, flags: OFlag, step: Step) -> Result<Option<OwnedFd>> {
        let failed = |errno| Error::at(step, self.place(kind))(errno);
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let name = self.file(kind);
        let mut openings = 1..OPENINGS;
        let (fd, stat) = loop {
            let fd = match retry(|| openat(self.directory(), name.as_c_str(), flags, mode)) {
                Err(Errno::ENOENT) => return Ok(None),
                fd => fd.map_err(failed)?,
            };
            let stat = fstat(&fd).map_err(failed)?;
            // A start has put a new file in its place meanwhile.
            if stat.st_nlink > 0 || openings.next().is_none() {
                break (fd, stat);
            }
        };
        if sys::kind_of(&stat) != SFlag::S_IFREG || stat.st_uid != self.owner() || stat.st_nlink != 1 {
            return Err(Error::NotOwn { path: self.place(kind), owner: stat.st_uid });
        }
        if Mode::from_bits_truncate(stat.st_mode) != mode {
            // Made under an umask that takes rights from its owner, or opened to others by hand.
            nix::sys::stat::fchmod(&fd, mode).map_err(failed)?;
        }
        Ok(Some(fd))
    }

    /// Locks one of its files that is locked only while something is decided. False where another process does not let go of it.
    pub(super) fn lock_soon(&self, file: BorrowedFd<'_>, kind: &str) -> Result<bool> {
        let deadline = Instant::now() + DECISION_PATIENCE;
        while !sys::try_flock(file).map_err(|errno| Error::at(Step::TakeLock, self.place(kind))(errno))? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(DECISION_PAUSE);
        }
        Ok(true)
    }

    /// What the lock says; `None` where nothing was ever started, or nothing is left of it.
    pub(crate) fn look(&self) -> Result<Option<Seen>> {
        let Some(file) = self.open("lock", OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(None) };
        self.look_at(file.as_fd())
    }

    /// The same through an open lock.
    pub(super) fn look_at(&self, file: BorrowedFd<'_>) -> Result<Option<Seen>> {
        let failed = |errno| Error::at(Step::ReadLock, self.place("lock"))(errno);
        let bytes = sys::read_start(file, claim::MOST).map_err(failed)?;
        let Some(claim) = Claim::parse(&bytes) else { return Ok(None) };
        let life = self.life(&claim, file)?;
        let said = phase::read(self)?;
        let decision = transition::read(self, &claim)?;
        let phase = if decision.is_some() { Phase::Stopping } else { said.phase };
        Ok(Some(Seen { claim, life, phase, said, decision }))
    }

    /// The process first, then what it is: in the other order the pid could be another process's by the time it is opened.
    fn life(&self, claim: &Claim, lock: BorrowedFd<'_>) -> Result<Life> {
        match claim.place() {
            Place::Here => {}
            Place::Elsewhere => return Ok(Life::Unseen),
            Place::Gone => return Ok(Life::Gone),
        }
        let opened = Process::open(claim.pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
        let Some(process) = opened else { return Ok(Life::Gone) };
        let Some(facts) = sys::facts(claim.pid).filter(|_| claim.start != 0) else {
            // Where `/proc` is missing the kernel still names the owner of a record lock, which only the owner's own processes
            // can take on this file.
            return Ok(match sys::record_owner(lock, claim.pid) {
                _ if process.has_ended() => Life::Gone,
                Some(owner) if owner == claim.pid => Life::Alive(process),
                _ => Life::Unseen,
            });
        };
        let is_another = claim.unique != 0 && process.unique() != claim.unique;
        if is_another || facts.start != claim.start || !claim.permits(facts.uid, self.owner()) || process.has_ended() {
            return Ok(Life::Gone);
        }
        Ok(if facts.is_exiting { Life::Exiting(process) } else { Life::Alive(process) })
    }

    /// What the lock says, once it says the same as its flock: a start takes the one an instant before it writes the other.
    pub(crate) fn settle(&self) -> Result<Settled> {
        let mut ended = None;
        for _ in 0..LOOKS {
            match self.look()? {
                // The starter whose lock is free has given up, or lives on after its start.
                Some(Seen { life: Life::Alive(_), claim, .. })
                    if claim.role == Role::Starter && !self.is_locked()? =>
                {
                    return Ok(Settled::Nothing { ended: None });
                }
                Some(seen @ Seen { life: Life::Alive(_) | Life::Exiting(_), .. }) => {
                    return Ok(Settled::Live(Box::new(seen)));
                }
                seen => {
                    ended = seen.filter(|seen| matches!(seen.life, Life::Gone)).map(Box::new);
                    if !self.is_locked()? {
                        return Ok(Settled::Nothing { ended });
                    }
                    std::thread::sleep(LOOK_PAUSE);
                }
            }
        }
        Ok(Settled::Held { ended })
    }

    /// Whether some process holds the lock. Asking takes it for an instant, which makes another attempt of that instant fail:
    /// every start tries more than once.
    pub(crate) fn is_locked(&self) -> Result<bool> {
        let Some(file) = self.open("lock", OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(false) };
        sys::is_flocked(file.as_fd()).map_err(|errno| Error::at(Step::TakeLock, self.place("lock"))(errno))
    }

    /// A process that has the lock open and holds it, if it can be found: what a dead instance has left behind.
    pub(crate) fn holder(&self) -> Option<i32> {
        let file = self.open("lock", OFlag::O_RDONLY, Step::ReadLock).ok()??;
        sys::flock_holder(file.as_fd())
    }
}

/// The path without links, as far as it exists.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path };
    let mut missing = vec![name];
    let mut directory = parent;
    loop {
        match (std::fs::canonicalize(directory), directory.parent(), directory.file_name()) {
            (Ok(real), ..) => return missing.iter().rev().fold(real, |path, name| path.join(name)),
            (Err(_), Some(parent), Some(name)) => {
                missing.push(name);
                directory = parent;
            }
            _ => return path,
        }
    }
}

/// FNV-1a of 128 bits: paths of one user that have the same do not occur, and neither do whole texts and torn ones.
pub(super) fn fingerprint(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_the_specification() {
        // The test vectors of the FNV draft.
        assert_eq!(fingerprint(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fingerprint(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn every_spelling_of_a_path_is_the_same_one_also_when_its_directory_is_gone() {
        let base = std::fs::canonicalize(std::env::temp_dir()).expect("there is a temporary directory");
        let link = base.join(format!("daemonry-key-{}", std::process::id()));
        std::os::unix::fs::symlink(&base, &link).expect("it can be linked");
        assert_eq!(real_path(&link.join("a.pid")), base.join("a.pid"));
        assert_eq!(real_path(&link.join("gone/b/a.pid")), base.join("gone/b/a.pid"));
        std::fs::remove_file(&link).expect("it is there");
    }
}
