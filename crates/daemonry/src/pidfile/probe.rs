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
