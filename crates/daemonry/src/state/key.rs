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
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directory::PrivateDirectory;
use crate::error::{Error, Result, Step};
use crate::sys::{self, retry};

/// How long a lock is waited for that is held only while something is decided and written. That takes microseconds, unless its
/// holder was stopped in the middle of it.
const DECISION_PATIENCE: Duration = Duration::from_secs(2);
const DECISION_PAUSE: Duration = Duration::from_millis(2);

/// How often a file is opened again that was replaced while it was opened.
const OPENINGS: u32 = 20;

/// Names the private files of a pidfile: by the real path of its directory and its name there, so that every spelling of the path
/// means the same instance, also when the directory was removed meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    directory: Arc<PrivateDirectory>,
    name: String,
    /// The pidfile by its real path.
    pub(crate) path: PathBuf,
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

    fn directory(&self) -> BorrowedFd<'_> {
        self.directory.fd.as_fd()
    }

    fn file(&self, kind: &str) -> CString {
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

    /// Makes one of its files anew, for writing: a process of the last instance may still have the old one. The caller holds the lock.
    pub(super) fn renew(&self, kind: &str) -> Result<OwnedFd> {
        self.remove(kind)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        retry(|| openat(self.directory(), self.file(kind).as_c_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR))
            .map_err(|errno| Error::at(Step::WriteLock, self.place(kind))(errno))
    }

    /// Removes one of its files, if it is there. The caller holds the lock.
    pub(super) fn remove(&self, kind: &str) -> Result<()> {
        match unlinkat(self.directory(), self.file(kind).as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::at(Step::WriteLock, self.place(kind))(errno)),
        }
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
