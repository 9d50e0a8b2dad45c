//! A look at a pidfile from outside: what it says, and whether the kernel agrees.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::content::{Content, Phase};
use super::{OPEN_FLAGS, cannot_open, held, is_pidfile, read_content};
use crate::error::{Error, Result, Step};
use crate::sys::{self, Holder, retry};

/// Readers on tmpfs and overlayfs see torn content while it is written; a second look sees it whole. Only looks in a row that
/// agree tell of a mismatch that lasts.
const LOOKS: usize = 4;

/// Enough for them to agree, while one daemon gets up or ends.
const MOST_LOOKS: usize = 4 * LOOKS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) pid: Option<i32>,
    pub(crate) phase: Phase,
    pub(crate) holder: Holder,
}

impl Probe {
    pub(super) fn of(file: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        let mut look = Self::once(file, path)?;
        let mut agreeing = 1;
        for _ in 1..MOST_LOOKS {
            // The content was read before the holder was asked for: a mismatch may only mean that it was too early.
            if agreeing == LOOKS || !matches!(look.holder, Holder::Other(Some(_)) | Holder::Taker(_)) {
                break;
            }
            let next = Self::once(file, path)?;
            agreeing = if next == look { agreeing + 1 } else { 1 };
            look = next;
        }
        Ok(look)
    }

    fn once(file: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        let Content { pid, phase } = Self::content(file, path)?;
        Ok(Self { pid, phase, holder: sys::holder(file, pid) })
    }

    fn content(file: BorrowedFd<'_>, path: &Path) -> Result<Content> {
        let bytes = read_content(file).map_err(Error::at(Step::ReadPidFile, path))?;
        Content::parse(&bytes).ok_or_else(|| Error::NotAPidFile {
            reason: "it holds something other than a process id",
            path: path.to_owned(),
        })
    }
}

/// `None` when there is no file at `path`.
pub(crate) fn probe_path(path: &Path) -> Result<Option<Probe>> {
    if let Some(fd) = held::descriptor(path) {
        // SAFETY: the descriptor stays open as long as it is listed.
        let file = unsafe { BorrowedFd::borrow_raw(fd) };
        let Content { phase, .. } = Probe::content(file, path)?;
        return Ok(Some(Probe { pid: Some(std::process::id().cast_signed()), phase, holder: Holder::Proven }));
    }
    let file = match retry(|| nix::fcntl::open(path, OPEN_FLAGS | OFlag::O_RDONLY, Mode::empty())) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(cannot_open(errno, path)),
    };
    if !is_pidfile(file.as_fd(), path)? {
        return Ok(None);
    }
    Probe::of(file.as_fd(), path).map(Some)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use proptest::prelude::{Just, Strategy, prop_oneof};
    use proptest::sample::select;

    use super::super::content::tests::anything;
    use super::super::{Status, status};
    use super::*;
    use crate::plan::LaunchPlan;
    use crate::property::holds;
    use crate::{StopOptions, Stopped, launch, stop};

    /// A daemon that sleeps; ended with its pidfile.
    struct Sleeper {
        pid: i32,
        pid_file: PathBuf,
    }

    impl Sleeper {
        fn start() -> Self {
            let pid_file = std::env::temp_dir().join(format!("daemonry-probe-{}.pid", std::process::id()));
            let plan = LaunchPlan {
                arguments: vec!["sleep".into(), "100000".into()],
                pid_file: Some(pid_file.clone()),
                ..LaunchPlan::new("/bin/sleep")
            };
            Self { pid: launch(&plan).expect("it starts").pid, pid_file }
        }

        /// In place: another file would be another lock.
        fn write(&self, content: &[u8]) {
            fs::write(&self.pid_file, content).expect("the pidfile can be written");
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.write(format!("{}\n", self.pid).as_bytes());
            let stopped = stop(&self.pid_file, StopOptions::default()).expect("it can be stopped");
            assert_eq!(stopped, Stopped::Ended { pid: self.pid });
        }
    }

    /// The pidfile of `own` at any moment of being written over another, or with anything else in it.
    fn content(own: i32) -> impl Strategy<Value = Vec<u8>> {
        let others = [1, std::process::id().cast_signed(), own / 10, own + 1, own.saturating_mul(10)];
        let pid = prop_oneof![Just(own), select(others.to_vec()), 1..=i32::MAX];
        let written = (pid, select(vec!["", "\n", "\n\n"])).prop_map(|(pid, newlines)| format!("{pid}{newlines}"));
        let torn = (written.clone(), written.clone(), 0..13_usize).prop_map(|(old, new, cut)| {
            let cut = cut.min(new.len());
            [&new.as_bytes()[..cut], old.as_bytes().get(cut..).unwrap_or(&[])].concat()
        });
        prop_oneof![written.prop_map(String::into_bytes), torn, anything()]
    }

    #[test]
    fn whatever_stands_in_a_pidfile_only_its_holder_is_the_daemon() {
        let sleeper = Sleeper::start();
        let own = sleeper.pid;
        holds("pidfile of a running daemon, torn and rewritten", 200, &content(own), |bytes| {
            sleeper.write(&bytes);
            let named = Content::parse(&bytes);
            match status(&sleeper.pid_file) {
                Ok(
                    Status::Starting { pid: Some(pid) } | Status::Running { pid, .. } | Status::Stopping { pid, .. },
                ) => {
                    assert_eq!((pid, named.and_then(|content| content.pid)), (own, Some(own)));
                }
                Ok(Status::Unknown { held_by }) => {
                    assert_eq!(held_by, Some(own));
                    assert_ne!(named.expect("a pidfile").pid, Some(own));
                }
                Err(Error::NotAPidFile { .. }) => assert_eq!(named, None),
                other => panic!("{other:?}"),
            }
        });
    }
}
