//! The directories of a named daemon: made when a start needs them, and refused if another user could exchange what lies there.
//!
//! What root makes for another user is given to that user through the descriptor of the very directory that was made. The owner
//! of a directory that exists never changes.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode};
use nix::unistd::{AccessFlags, Gid, Uid, UnlinkatFlags, geteuid};

use super::places::{Owner, Places, lacks_home};
use crate::error::{Error, Result, Step};
use crate::sys::{self, retry};
use crate::trusted_path::{Directory, Obstacle, Trust, walk, walk_making};
use crate::user::Ids;

/// How often a directory is looked for that another process makes or removes meanwhile.
const TRIES: u32 = 100;

/// One of the files whose directory is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceFile {
    /// [`Places::pid_file`].
    PidFile,
    /// [`Places::log_file`].
    Log,
    /// [`Places::record`].
    Record,
}

impl Places {
    /// Makes sure that a daemon can be started in its places: the directories are there, and belong to the caller, to root, or
    /// to `owner`, the user of the daemon, and no other user can write in them. A directory that is made belongs to `owner`,
    /// so that the daemon can remove its pidfile and make its log anew. It stays when the start fails, because another caller
    /// may count on it already.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] with [`Step::MakeDirectory`].
    pub fn make(&self, owner: Option<&Ids>) -> Result<()> {
        self.make_for(&self.record, None)?;
        self.make_for(&self.pid_file, owner)?;
        self.make_for(&self.log_file, owner).map(drop)
    }

    /// The same for one of the files and the caller itself, which must be able to write there.
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] with [`Step::MakeDirectory`].
    pub fn claim(&self, file: PlaceFile) -> Result<()> {
        let file = match file {
            PlaceFile::PidFile => &self.pid_file,
            PlaceFile::Log => &self.log_file,
            PlaceFile::Record => &self.record,
        };
        let directory = self.make_for(file, None)?;
        nix::unistd::faccessat(&directory, ".", AccessFlags::W_OK, AtFlags::AT_EACCESS)
            .map_err(|errno| failed("write in the directory", directory.path(), errno))
    }

    fn make_for(&self, file: &Path, owner: Option<&Ids>) -> Result<Directory> {
        self.open_or_make(file, owner).map_err(|error| match error {
            Error::Directory { step, doing, path, errno, .. } if self.owner == Owner::User && lacks_home() => {
                let reason =
                    format!("{} has no home directory: set HOME to a directory of its own", user(geteuid().as_raw()));
                Error::Directory { step, doing, path, reason, errno }
            }
            error => error,
        })
    }

    fn open_or_make(&self, file: &Path, owner: Option<&Ids>) -> Result<Directory> {
        let directory = file.parent().unwrap_or(file);
        // What lies above a user's directories could be renamed by another user who can write there.
        if self.owner == Owner::User
            && let Some(above) = directory.parent()
        {
            make(above, None)?;
        }
        make(directory, owner)
    }
}

/// Opens a directory that is fit for use by the caller and `owner`; makes it, and those above it, where they are missing.
fn make(path: &Path, owner: Option<&Ids>) -> Result<Directory> {
    let owner = owner.filter(|_| geteuid().is_root());
    let obstructed = |Obstacle { path, errno }| failed("make the directory", &path, errno);
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return walk(path).map_err(obstructed) };
    for _ in 0..TRIES {
        match walk(path) {
            Ok(directory) => return check(directory, owner),
            Err(Obstacle { errno: Errno::ENOENT, .. }) => {}
            Err(obstacle) => return Err(obstructed(obstacle)),
        }
        let parent = walk_making(above, &mut |parent, name| make_in(parent, name, None)).map_err(obstructed)?;
        make_in(&parent, name, owner).map_err(|errno| failed("make the directory", path, errno))?;
    }
    // Such as a symbolic link that leads nowhere.
    Err(failed("make the directory", path, Errno::ENOENT))
}

/// Makes a directory of exactly the conventional mode, whatever the umask, which belongs to `owner` from the start. Another
/// process may be faster.
fn make_in(parent: &Directory, name: &OsStr, owner: Option<&Ids>) -> nix::Result<()> {
    let made = if owner.is_some() && parent.trust() == Trust::Others {
        make_aside(parent, name, owner)
    } else {
        make_at(parent, name, owner)
    };
    if made == Err(Errno::EEXIST) { Ok(()) } else { made }
}

/// Where no other user can exchange what the caller has made.
fn make_at(parent: &Directory, name: &OsStr, owner: Option<&Ids>) -> nix::Result<()> {
    let mode = Mode::from_bits_truncate(if geteuid().is_root() { 0o755 } else { 0o700 });
    nix::sys::stat::mkdirat(parent, name, mode)?;
    let finish = || {
        let fd = open(parent, name)?;
        nix::sys::stat::fchmod(&fd, mode)?;
        owner.map_or(Ok(()), |Ids { uid, gid, .. }| {
            nix::unistd::fchown(&fd, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
        })
    };
    finish().inspect_err(|_| remove(parent, name))
}

/// Where another user can rename what root has made: on Ubuntu the group `syslog` can write in `/var/log`. The directory is made
/// inside another one that is root's alone, so that the one that is given away is the one that was made, and then moved into
/// its place.
fn make_aside(parent: &Directory, name: &OsStr, owner: Option<&Ids>) -> nix::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = OsString::from(format!(".daemonry-{}-{count}", std::process::id()));
    nix::sys::stat::mkdirat(parent, aside.as_os_str(), Mode::S_IRWXU)?;
    let move_in = || {
        let fd = open(parent, &aside)?;
        let inside = Directory::private(fd, parent.path().join(&aside))?;
        make_at(&inside, name, owner)?;
        sys::rename_new(&inside, parent, name).inspect_err(|_| remove(&inside, name))
    };
    let moved = move_in();
    remove(parent, &aside);
    moved
}

/// For `fchown` and `fchmod`, unlike the descriptor of a [`Directory`].
fn open(parent: &Directory, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    retry(|| nix::fcntl::openat(parent, name, flags, Mode::empty()))
}

fn remove(parent: &Directory, name: &OsStr) {
    let _left = nix::unistd::unlinkat(parent, name, UnlinkatFlags::RemoveDir);
}

/// Refuses a directory that another user owns, or can write in.
fn check(directory: Directory, owner: Option<&Ids>) -> Result<Directory> {
    let refuse = |reason| Error::Directory {
        step: Step::MakeDirectory,
        doing: "use the directory",
        path: directory.path().to_owned(),
        reason,
        errno: Errno::EPERM,
    };
    let stat = directory.stat().map_err(|errno| failed("use the directory", directory.path(), errno))?;
    let own = geteuid().as_raw();
    let fitting = owner.map_or(own, |owner| owner.uid);
    if ![0, own, fitting].contains(&stat.st_uid) {
        let (has, wanted) = (user(stat.st_uid), user(fitting));
        let fits = if fitting == 0 { wanted.clone() } else { format!("root or {wanted}") };
        return Err(refuse(format!(
            "it belongs to {has}, not to {fits}: remove it, or give it to {wanted} with chown"
        )));
    }
    if can_be_written_by_others(&stat) {
        return Err(refuse("other users can write in it: take that right away with chmod go-w".to_owned()));
    }
    Ok(directory)
}

fn can_be_written_by_others(stat: &FileStat) -> bool {
    let mode = Mode::from_bits_truncate(stat.st_mode);
    let is_groups = mode.contains(Mode::S_IWGRP);
    let is_roots = stat.st_uid == 0 && sys::GROUPS_OF_ROOT.contains(&stat.st_gid);
    mode.contains(Mode::S_IWOTH) || is_groups && !is_roots
}

/// As the database calls a user, with the number if it does not.
fn user(uid: u32) -> String {
    sys::user_entry(uid).map_or_else(|| format!("user {uid}"), |entry| entry.name)
}

fn failed(doing: &'static str, path: &Path, errno: Errno) -> Error {
    let reason = match errno {
        Errno::ELOOP => "it leads through a symbolic link that another user could have made".to_owned(),
        errno => errno.desc().to_owned(),
    };
    Error::Directory { step: Step::MakeDirectory, doing, path: PathBuf::from(path), reason, errno }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use super::*;

    const WWW: u32 = 65534;

    fn www() -> Ids {
        Ids { uid: WWW, gid: WWW, groups: Vec::new() }
    }

    /// A directory in `/run` in which a group can write; removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, mode: u32, group: u32) -> Self {
            let path = PathBuf::from(format!("/run/daemonry-test-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("root can");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
            chown(&path, None, Some(group)).expect("root can");
            Self(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    fn is_root() -> bool {
        geteuid().is_root() && Path::new("/run").is_dir()
    }

    fn owner_of(path: &Path) -> (u32, u32) {
        let stat = fs::symlink_metadata(path).expect("it is there");
        (stat.uid(), stat.mode() & 0o7777)
    }

    #[test]
    fn a_directory_is_given_away_only_by_the_start_that_makes_it() {
        if !is_root() {
            return;
        }
        for (mode, group) in [(0o755, 0), (0o775, WWW), (0o1777, 0)] {
            let place = Place::new("give", mode, group);
            make(&place.0.join("above/api"), Some(&www())).expect("root can");
            assert_eq!(owner_of(&place.0.join("above")), (0, 0o755), "{mode:o}");
            assert_eq!(owner_of(&place.0.join("above/api")), (WWW, 0o755), "{mode:o}");
            make(&place.0.join("api"), Some(&www())).expect("root can");
            assert_eq!(owner_of(&place.0.join("api")), (WWW, 0o755), "{mode:o}");
            make(&place.0.join("api"), Some(&www())).expect("it is there");
            make(&place.0.join("api"), None).expect_err("it is another user's");
            let names = fs::read_dir(&place.0).expect("root can").count();
            assert_eq!(names, 2, "nothing is left beside them");

            fs::create_dir(place.0.join("old")).expect("root can");
            make(&place.0.join("old"), Some(&www())).expect("root's will do");
            assert_eq!(owner_of(&place.0.join("old")).0, 0);
            symlink("nowhere", place.0.join("dangling")).expect("root can");
            make(&place.0.join("dangling"), None).expect_err("it leads nowhere");
        }
    }

    /// What a member of the group that can write in `/var/log` can do.
    #[test]
    fn while_root_makes_a_directory_nobody_can_exchange_it_for_one_of_roots() {
        if !is_root() {
            return;
        }
        let place = Place::new("exchange", 0o775, WWW);
        let secret = place.0.join("secret");
        fs::create_dir(&secret).expect("root can");
        fs::write(secret.join("key"), "").expect("root can");
        let opened = fs::File::open(&secret).expect("root can");
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let entries = fs::read_dir(&place.0).into_iter().flatten().flatten();
                    for path in entries.map(|entry| entry.path()).filter(|path| *path != secret) {
                        let other = place.0.join("stolen");
                        if fs::rename(&path, &other).is_ok() && fs::rename(&secret, &path).is_ok() {
                            std::thread::yield_now();
                            let _gone = fs::rename(&path, &secret);
                        }
                        let _left = fs::remove_dir_all(&other);
                    }
                }
            });
            let begun = Instant::now();
            let mut rounds = 0;
            while begun.elapsed() < Duration::from_secs(2) {
                let _outcome = make(&place.0.join("api"), Some(&www()));
                let _left = fs::remove_dir(place.0.join("api"));
                rounds += 1;
            }
            is_done.store(true, Ordering::Relaxed);
            assert!(rounds > 100);
        });
        let owner = opened.metadata().expect("it is open").uid();
        assert_eq!(owner, 0, "root's directory was given away");
    }
}
