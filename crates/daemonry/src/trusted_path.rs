//! A path opened one directory at a time, so that what was checked is what is used.
//!
//! Root opens, makes and gives away files in directories whose names other users may be able to exchange at any moment. A check
//! by path and a use by path are then about two different directories. Here each directory is opened relative to the one before,
//! and what was found out about it belongs to its descriptor.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::UnlinkatFlags;

use crate::sys::{self, retry};
use crate::user::Ids;

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Who can change what a path leads to, from the least to the most trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Another user can rename or replace the directory itself, or whatever lies in it.
    Others,
    /// Only the caller and root can rename or replace what they own in it, but others can add names: a sticky directory such as
    /// `/tmp`.
    Sticky,
    /// Only the caller and root can change anything, in this directory and in all above it.
    Alone,
}

/// An open directory, and who could have changed the way to it.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Good for calls that end in `at`, `fstat` and `fchdir`; not for reading, `fchown` and `fchmod`.
    fd: OwnedFd,
    trust: Trust,
    /// The same of the directory through which the way led here.
    way: Trust,
    /// As the caller spelled it, for messages.
    path: PathBuf,
}

/// Where a walk ended early, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) path: PathBuf,
    pub(crate) errno: Errno,
}

/// Opens the directory `path`, which is relative to the working directory unless it is absolute.
///
/// If the caller is root, a symbolic link is followed only if root owns it and the way to it is root's [`Trust::Alone`];
/// any other link is an obstacle (`ELOOP`). For every other caller links are followed as the kernel follows them.
///
/// # References
///
/// [`openat(2)`](https://man7.org/linux/man-pages/man2/open.2.html),
/// [`path_resolution(7)`](https://man7.org/linux/man-pages/man7/path_resolution.7.html)
pub(crate) fn walk(path: &Path) -> Result<Directory, Obstacle> {
    walk_making(path, &mut |_, _| Err(Errno::ENOENT))
}

/// The same, but asks `make` for each directory that is missing; then it is looked for once more.
pub(crate) fn walk_making(
    path: &Path,
    make: &mut dyn FnMut(&Directory, &OsStr) -> nix::Result<()>,
) -> Result<Directory, Obstacle> {
    let absolute = absolute(path)?;
    let directory = follow(Directory::root()?, steps_of(&absolute), &mut 0, make)?;
    Ok(Directory { path: absolute, ..directory })
}

/// A name in an open directory, which leads to the same entry whatever becomes of the way there.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Without one the name is a path, as the kernel follows it.
    directory: Option<Directory>,
    name: OsString,
}

impl Entry {
    /// Whatever `path` leads to at the moment of each use.
    pub(crate) fn at(path: &Path) -> Self {
        Self { directory: None, name: path.into() }
    }

    /// Who can change what the way to the directory leads to; `None` for a path.
    pub(crate) fn trust(&self) -> Option<Trust> {
        self.directory.as_ref().map(Directory::trust)
    }

    /// The directory, for calls that end in `at`.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_ref().map_or(AT_FDCWD, AsFd::as_fd)
    }

    /// The name in the directory.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// `openat(2)`.
    pub(crate) fn open(&self, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
        retry(|| nix::fcntl::openat(self.directory(), self.name.as_os_str(), flags, mode))
    }

    /// What is there; of a link the link itself.
    pub(crate) fn stat(&self) -> nix::Result<FileStat> {
        nix::sys::stat::fstatat(self.directory(), self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Whether the caller may make and remove names where this one is.
    pub(crate) fn may_change(&self) -> nix::Result<()> {
        let parent = match &self.directory {
            Some(_) => Path::new(""),
            None => Path::new(&self.name).parent().unwrap_or(Path::new("")),
        };
        // As the directory that it must be.
        sys::may_change(self.directory(), &parent.join("."))
    }

    /// Whether it is a link that leads to nothing.
    pub(crate) fn is_dangling(&self) -> bool {
        let is_link = self.stat().is_ok_and(|stat| sys::kind_of(&stat) == SFlag::S_IFLNK);
        is_link
            && nix::sys::stat::fstatat(self.directory(), self.name.as_os_str(), AtFlags::empty()) == Err(Errno::ENOENT)
    }

    /// Removes the name if it still leads to the file with this identity, in a directory that `may_change` agrees to by its owner.
    pub(crate) fn remove(&self, identity: (u64, u64), may_change: impl FnOnce(libc::uid_t) -> bool) {
        let is_the_same = || self.stat().is_ok_and(|stat| sys::identity_of(&stat) == identity);
        let is_allowed = |directory: &Directory| directory.stat().is_ok_and(|stat| may_change(stat.st_uid));
        if self.directory.as_ref().is_none_or(is_allowed) && is_the_same() {
            let _left_behind =
                nix::unistd::unlinkat(self.directory(), self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Where a file lies, or would lie.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: Directory,
    pub(crate) name: OsString,
    /// A link of root's led here, which must lead to something.
    pub(crate) is_behind_link: bool,
    /// The name is a link of the kernel's own, such as `/proc/self/fd/1`: it leads to an open file, whatever its text says.
    pub(crate) is_magic: bool,
}

impl From<Place> for Entry {
    fn from(Place { directory, name, .. }: Place) -> Self {
        Self { directory: Some(directory), name }
    }
}

/// Opens the directory that the file `path` lies in, as [`walk`] does. If `path` itself is a link that may be followed, it is the
/// directory of what the link leads to; any other link is left for the caller to refuse when it opens the file.
pub(crate) fn locate(path: &Path) -> Result<Place, Obstacle> {
    let absolute = absolute(path)?;
    let mut names = steps_of(&absolute);
    let (mut directory, mut links, mut is_behind_link) = (Directory::root()?, 0, false);
    loop {
        // `/` and what ends in `..` are directories.
        let name = names.pop_back().filter(|name| name != "..");
        let Some(name) = name else { return Err(Obstacle { path: absolute, errno: Errno::EISDIR }) };
        directory = follow(directory, names, &mut links, &mut |_, _| Err(Errno::ENOENT))?;
        let target = match directory.link(&name) {
            Ok(Some(target)) => target,
            Ok(None) | Err(Errno::ELOOP | Errno::ENOENT) => {
                return Ok(Place { directory, name, is_behind_link, is_magic: false });
            }
            Err(errno) => return Err(Obstacle { path: directory.path.join(name), errno }),
        };
        if sys::is_process_information(directory.as_fd()) {
            return Ok(Place { directory, name, is_behind_link: true, is_magic: true });
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Obstacle { path: absolute, errno: Errno::ELOOP });
        }
        is_behind_link = true;
        names = steps_of(&target);
        if target.is_absolute() {
            directory = Directory::root()?.behind(directory.trust);
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Obstacle> {
    std::path::absolute(path)
        .map_err(|error| Obstacle { path: path.to_owned(), errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)) })
}

/// Walks from `directory` on.
fn follow(
    mut directory: Directory,
    mut names: VecDeque<OsString>,
    links: &mut usize,
    make: &mut dyn FnMut(&Directory, &OsStr) -> nix::Result<()>,
) -> Result<Directory, Obstacle> {
    while let Some(name) = names.pop_front() {
        let obstacle = |errno| Obstacle { path: directory.path.join(&name), errno };
        let entered = match directory.enter(&name) {
            Err(Errno::ENOENT) => {
                make(&directory, &name).map_err(obstacle)?;
                directory.enter(&name)
            }
            entered => entered,
        };
        directory = match entered {
            Ok(entered) => entered,
            // The kernels differ in what they say of a link.
            Err(errno @ (Errno::ELOOP | Errno::ENOTDIR | Errno::EMLINK)) => {
                let Some(target) = directory.link(&name).map_err(obstacle)? else { return Err(obstacle(errno)) };
                *links += 1;
                if *links > MOST_LINKS {
                    return Err(obstacle(Errno::ELOOP));
                }
                for step in steps_of(&target).into_iter().rev() {
                    names.push_front(step);
                }
                if target.is_absolute() { Directory::root()?.behind(directory.trust) } else { directory }
            }
            Err(errno) => return Err(obstacle(errno)),
        };
    }
    Ok(directory)
}

/// The names on a path. `..` stays: behind a link it leads elsewhere than the text says.
fn steps_of(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

impl Directory {
    fn root() -> Result<Self, Obstacle> {
        let path = PathBuf::from("/");
        let open = || {
            let fd = retry(|| nix::fcntl::open(&path, OPEN, Mode::empty()))?;
            let trust = trust_in(fd.as_fd())?;
            Ok(Self { fd, trust, way: Trust::Alone, path: path.clone() })
        };
        open().map_err(|errno| Obstacle { path: path.clone(), errno })
    }

    /// A directory that the caller has made for itself alone, wherever it lies now: no other user can change what is in it.
    /// `EPERM` for any other.
    pub(crate) fn private(fd: OwnedFd, path: PathBuf) -> nix::Result<Self> {
        if !sys::is_private_to(&nix::sys::stat::fstat(&fd)?, nix::unistd::geteuid().as_raw()) {
            return Err(Errno::EPERM);
        }
        Ok(Self { fd, trust: Trust::Alone, way: Trust::Alone, path })
    }

    /// Who can change what the path leads to.
    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    /// Whether it is root's, and others can change the names in it, but only as members of a group that these
    /// ids do not have, such as `/var/log` with the group of the system's logger.
    pub(crate) fn is_closed_to(&self, ids: &Ids) -> bool {
        let is_closed = |stat: FileStat| {
            let mode = Mode::from_bits_truncate(stat.st_mode);
            let group_alone = mode.contains(Mode::S_IWGRP) && !mode.contains(Mode::S_IWOTH);
            stat.st_uid == 0 && group_alone && stat.st_gid != ids.gid && !ids.groups.contains(&stat.st_gid)
        };
        self.way != Trust::Others && self.stat().is_ok_and(is_closed) && !sys::has_access_list(self.as_fd())
    }

    /// Its path as the caller spelled it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the kernel knows about it.
    pub(crate) fn stat(&self) -> nix::Result<FileStat> {
        nix::sys::stat::fstat(&self.fd)
    }

    /// Opens the directory `name` in it, which is no link.
    pub(crate) fn enter(&self, name: &OsStr) -> nix::Result<Self> {
        let fd = retry(|| nix::fcntl::openat(&self.fd, name, OPEN, Mode::empty()))?;
        let trust = trust_in(fd.as_fd())?;
        Ok(Self { fd, trust, way: self.trust, path: self.path.join(name) }.behind(self.trust))
    }

    /// With no more trust than the way here deserves: what lies in a sticky directory and is root's stays root's.
    fn behind(self, way: Trust) -> Self {
        if way == Trust::Others { Self { trust: way, way, ..self } } else { self }
    }

    /// Where the symbolic link `name` leads; `None` if it is no link, `ELOOP` if it may not be followed.
    fn link(&self, name: &OsStr) -> nix::Result<Option<PathBuf>> {
        let stat = nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if sys::kind_of(&stat) != SFlag::S_IFLNK {
            return Ok(None);
        }
        // Where names cannot be added by others, the link that is read below is the one that was looked at.
        if nix::unistd::geteuid().is_root() && (stat.st_uid != 0 || self.trust != Trust::Alone) {
            return Err(Errno::ELOOP);
        }
        nix::fcntl::readlinkat(&self.fd, name).map(|target| Some(target.into()))
    }
}

impl From<Directory> for OwnedFd {
    fn from(directory: Directory) -> Self {
        directory.fd
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a directory is opened that is only passed through: search permission is enough for it.
const OPEN: OFlag = sys::OPEN_TO_SEARCH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Who can change what is in this directory, whatever lies above it.
fn trust_in(directory: BorrowedFd<'_>) -> nix::Result<Trust> {
    let stat = nix::sys::stat::fstat(directory)?;
    let mode = Mode::from_bits_truncate(stat.st_mode);
    let is_ours = stat.st_uid == 0 || stat.st_uid == nix::unistd::geteuid().as_raw();
    // With an access control list, the group's permissions are those of any user or group on the list.
    let is_roots_group = || sys::GROUPS_OF_ROOT.contains(&stat.st_gid) && !sys::has_access_list(directory);
    let group_writes = mode.contains(Mode::S_IWGRP) && !is_roots_group();
    Ok(match (is_ours, group_writes || mode.contains(Mode::S_IWOTH)) {
        (true, false) => Trust::Alone,
        (true, true) if mode.contains(Mode::S_ISVTX) => Trust::Sticky,
        _ => Trust::Others,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    const NOBODY: u32 = 65534;

    /// A directory that root alone can change, with everything in it; removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = PathBuf::from(format!("/run/daemonry-test-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("root can");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
            Self(path)
        }

        fn make(&self, name: &str, mode: u32, uid: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(&path).expect("root can");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
            chown(&path, Some(uid), None).expect("root can");
            path
        }

        fn link(&self, name: &str, target: &Path, uid: u32) -> PathBuf {
            let path = self.0.join(name);
            symlink(target, &path).expect("root can");
            lchown(&path, Some(uid), None).expect("root can");
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    fn is_root() -> bool {
        nix::unistd::geteuid().is_root() && Path::new("/run").is_dir()
    }

    fn trust(path: impl AsRef<Path>) -> Result<Trust, Errno> {
        walk(path.as_ref()).map(|directory| directory.trust()).map_err(|obstacle| obstacle.errno)
    }

    #[test]
    fn a_path_is_trusted_only_if_every_directory_on_it_is() {
        if !is_root() {
            return;
        }
        let place = Place::new("trust");
        assert_eq!(trust(place.make("root", 0o755, 0)), Ok(Trust::Alone));
        assert_eq!(trust(place.make("root/group", 0o775, 0)), Ok(Trust::Alone), "group 0 is root");
        assert_eq!(trust(place.make("sticky", 0o1777, 0)), Ok(Trust::Sticky));
        assert_eq!(trust(place.make("sticky/in", 0o755, 0)), Ok(Trust::Alone));
        assert_eq!(trust(place.make("open", 0o777, 0)), Ok(Trust::Others));
        assert_eq!(trust(place.make("open/in", 0o755, 0)), Ok(Trust::Others));
        assert_eq!(trust(place.make("other", 0o755, NOBODY)), Ok(Trust::Others));
        assert_eq!(trust(place.make("other/in", 0o700, 0)), Ok(Trust::Others));
        assert_eq!(trust(place.0.join("other/in/../../root")), Ok(Trust::Others), "not even on the way back");
        chown(place.0.join("root/group"), None, Some(NOBODY)).expect("root can");
        assert_eq!(trust(place.0.join("root/group")), Ok(Trust::Others), "another group can write");
    }

    #[test]
    fn root_follows_only_links_that_nobody_else_can_have_made() {
        if !is_root() {
            return;
        }
        let place = Place::new("links");
        let target = place.make("target", 0o755, 0);
        place.make("target/in", 0o755, 0);
        assert_eq!(trust(place.link("own", &target, 0).join("in")), Ok(Trust::Alone));
        assert_eq!(trust(place.link("relative", Path::new("own/../target"), 0).join("in")), Ok(Trust::Alone));
        assert_eq!(trust(place.link("foreign", &target, NOBODY).join("in")), Err(Errno::ELOOP));
        for (directory, mode, uid) in [("sticky", 0o1777, 0), ("open", 0o777, 0), ("other", 0o755, NOBODY)] {
            place.make(directory, mode, uid);
            let link = place.link(&format!("{directory}/link"), &target, 0);
            assert_eq!(trust(link.join("in")), Err(Errno::ELOOP), "{directory}");
        }
        place.make("other/way", 0o755, 0);
        assert_eq!(trust(place.link("through", Path::new("other/way"), 0)), Ok(Trust::Others));
        assert_eq!(trust(place.link("around", Path::new("around"), 0)), Err(Errno::ELOOP));
    }

    #[test]
    fn an_obstacle_is_named() {
        let missing = PathBuf::from("/no-such/directory");
        assert_eq!(
            walk(&missing).expect_err("it is missing"),
            Obstacle { path: "/no-such".into(), errno: Errno::ENOENT }
        );
        let file = Obstacle { path: "/dev/null".into(), errno: Errno::ENOTDIR };
        assert_eq!(walk(Path::new("/dev/null/in")).expect_err("it is a file"), file);
    }
}
