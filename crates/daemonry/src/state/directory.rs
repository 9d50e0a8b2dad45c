//! Where the private state of a uid lies. The place follows from the uid alone: `HOME` and the XDG variables are different below
//! cron, sudo and ssh.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};

use crate::error::{Error, Result, Step};
use crate::sys::{self, retry};

/// A directory that only one uid can enter.
#[derive(Debug)]
pub(crate) struct PrivateDirectory {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
    /// Whose it is.
    pub(crate) owner: u32,
}

/// One of the places where it can be.
struct Candidate {
    /// It is there already, or the candidate is none.
    base: PathBuf,
    /// What is made below it; the last one is private.
    parts: &'static [&'static str],
    /// The last part, where it depends on the uid.
    last: Option<String>,
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl PrivateDirectory {
    /// The caller's own, made where it is missing.
    pub(crate) fn make() -> Result<Self> {
        let owner = nix::unistd::geteuid().as_raw();
        let mut refused = None;
        for candidate in candidates(owner) {
            match candidate.make(owner) {
                Ok(directory) => return Ok(directory),
                // A home or a file system that cannot have one; anything else, such as a full disk, is not forever.
                Err(error @ Error::System { errno, .. }) if is_no_place(errno) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::at(Step::MakeDirectory, "/tmp")(Errno::ENOENT)))
    }

    /// Those of `owner` that there are: a file system that was read-only for a while leaves two.
    pub(crate) fn find(owner: u32) -> Result<Vec<Self>> {
        candidates(owner).into_iter().filter_map(|candidate| candidate.find(owner).transpose()).collect()
    }
}

fn is_no_place(errno: Errno) -> bool {
    matches!(errno, Errno::EROFS | Errno::EACCES | Errno::EPERM | Errno::ENOENT | Errno::ENOTDIR)
}

fn is_private(stat: &FileStat, owner: u32) -> bool {
    sys::kind_of(stat) == SFlag::S_IFDIR && sys::is_private_to(stat, owner)
}

fn failed(path: &Path) -> impl FnOnce(Errno) -> Error + use<> {
    let path = path.to_owned();
    move |errno| Error::System { step: Step::MakeDirectory, errno, path: Some(path) }
}

/// In the order in which they are tried.
fn candidates(owner: u32) -> Vec<Candidate> {
    let usual = if owner == 0 {
        Some(Candidate { base: sys::RUN_DIRECTORY.into(), parts: &["daemonry", "locks"], last: None })
    } else {
        home_of(owner).map(|base| Candidate { base, parts: sys::USER_LOCKS, last: None })
    };
    let fallback = Candidate { base: "/tmp".into(), parts: &[], last: Some(format!("daemonry-{owner}")) };
    usual.into_iter().chain([fallback]).collect()
}

/// The home directory that the user database gives, if it is the user's own. Looked up once for each user: the database can be
/// on the network.
fn home_of(owner: u32) -> Option<PathBuf> {
    static KNOWN: Mutex<Vec<(u32, Option<PathBuf>)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, home)) = known.iter().find(|(uid, _)| *uid == owner) {
        return home.clone();
    }
    let home = sys::user_entry(owner).map(|user| user.dir).filter(|home| {
        let stat = nix::sys::stat::stat(home);
        home.is_absolute() && stat.is_ok_and(|stat| sys::kind_of(&stat) == SFlag::S_IFDIR && stat.st_uid == owner)
    });
    known.push((owner, home.clone()));
    home
}

impl Candidate {
    fn parts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().copied().chain(self.last.as_deref())
    }

    fn path(&self) -> PathBuf {
        self.parts().fold(self.base.clone(), |path, part| path.join(part))
    }

    fn find(&self, owner: u32) -> Result<Option<PrivateDirectory>> {
        let path = self.path();
        let fd = match retry(|| open(&path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())) {
            Ok(fd) => fd,
            // It is not there, or something is in its place that no start would have used.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => return Ok(None),
            Err(errno) => return Err(Error::at(Step::OpenLock, path)(errno)),
        };
        let stat = fstat(&fd).map_err(|errno| Error::at(Step::OpenLock, &path)(errno))?;
        Ok(is_private(&stat, owner).then_some(PrivateDirectory { fd, path, owner }))
    }

    fn make(&self, owner: u32) -> Result<PrivateDirectory> {
        let mut path = self.base.clone();
        let mut fd = retry(|| open(&path, DIRECTORY, Mode::empty())).map_err(failed(&path))?;
        let count = self.parts().count();
        for (part, number) in self.parts().zip(1..) {
            path.push(part);
            let is_last = number == count;
            let name = CString::new(path.file_name().unwrap_or_default().as_bytes())
                .map_err(|_| failed(&path)(Errno::EINVAL))?;
            // What lies above root's private directory can be entered: it holds nothing else.
            let mode = sys::file_mode(if owner == 0 && !is_last { 0o755 } else { 0o700 });
            let is_new = match mkdirat(&fd, name.as_c_str(), mode) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(failed(&path)(errno)),
            };
            // A user may have linked a directory of its home elsewhere; the private one itself is never behind a link.
            let follows = if is_last || owner == 0 { OFlag::O_NOFOLLOW } else { OFlag::empty() };
            fd = retry(|| openat(fd.as_fd(), name.as_c_str(), DIRECTORY | follows, Mode::empty()))
                .map_err(failed(&path))?;
            let stat = fstat(&fd).map_err(failed(&path))?;
            if stat.st_uid != owner && (is_last || owner == 0) {
                return Err(Error::NotOwn { path, owner: stat.st_uid });
            }
            if is_new || (is_last && !is_private(&stat, owner)) {
                // Exactly this mode, whatever the umask.
                fchmod(&fd, mode).map_err(failed(&path))?;
            } else if owner == 0 && sys::can_others_write(&stat) {
                return Err(Error::NotOwn { path, owner: stat.st_uid });
            }
        }
        Ok(PrivateDirectory { fd, path, owner })
    }
}
