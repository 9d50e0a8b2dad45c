//! Whether a running daemon can be found by its pidfile.

use std::os::fd::{AsFd, AsRawFd};

use super::public::Loss;
use super::{PidFile, held, own};
use crate::error::{Error, Result, Step};
use crate::state::{Key, Life, Lock, Role, Seen};
use crate::sys;

/// What [`PidFile::keep`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The pidfile is where it was, or in a directory that this process may not search.
    InPlace,
    /// It was missing and has been made again.
    MadeAgain,
    /// Another file is in its place, and was left alone.
    Replaced,
    /// The private files were removed, and another process holds the lock of this pidfile now: the caller is not the daemon any
    /// more.
    Superseded {
        /// That process.
        pid: i32,
    },
}

impl PidFile {
    /// Checks that the daemon, which must be the calling process, can be found by its pidfile, and makes the file again if it was
    /// removed. As long as nothing has happened that takes three calls of stat(2).
    ///
    /// # Errors
    ///
    /// [`Error::System`] with [`Step::OpenDirectory`] if the directory is missing, and with the step that failed for another reason;
    /// [`Error::Distrusted`] if the caller is root and another user can exchange a directory on the way.
    pub fn keep(&self) -> Result<Kept> {
        if own() != self.holder {
            return Ok(Kept::InPlace);
        }
        let loss = self.public.loss().map_err(Error::at(Step::ReadPidFile, self.path()))?;
        // Every start makes this file anew.
        let phase = nix::sys::stat::fstat(&self.phase).map_err(Error::at(Step::ReadLock, self.path()))?;
        if (loss.is_some() || phase.st_nlink == 0)
            && let Some(pid) = self.successor()?
        {
            return Ok(Kept::Superseded { pid });
        }
        match loss {
            None => Ok(Kept::InPlace),
            Some(Loss::Replaced) => Ok(Kept::Replaced),
            Some(Loss::Removed) => {
                self.public.make_again()?;
                if let Some(file) = self.public.read() {
                    held::remove(file);
                }
                self.note_held()?;
                Ok(Kept::MadeAgain)
            }
        }
    }

    /// The process that the lock names in the place of the caller. A daemon that has changed its user cannot see it.
    fn successor(&self) -> Result<Option<i32>> {
        let is_another = |seen: &Seen| {
            matches!(seen.life, Life::Alive(_)) && seen.claim.role == Role::Daemon && seen.claim.pid != own()
        };
        let keys = Key::find(self.public.place(), nix::unistd::geteuid().as_raw())?;
        let mut found = keys.iter().map(|key| Ok(key.look()?.filter(is_another).map(|seen| seen.claim.pid)));
        let successor = found.find_map(Result::transpose).transpose();
        // A look closes a descriptor of the lock, and the caller's record lock is dropped with it.
        let held = self.lock.as_ref().map(Lock::held).or_else(|| self.inherited.as_ref().map(AsFd::as_fd));
        if let Some(held) = held {
            let _named = sys::lock_record(held.as_raw_fd());
        }
        successor
    }
}
