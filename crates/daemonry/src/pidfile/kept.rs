//! Whether a running daemon can be found by its pidfile.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use super::public::Loss;
use super::{PidFile, held, own};

use crate::error::{Error, Result, Step};
use crate::state::{Claim, Key, Life, Lock, Role, Seen, program_of};
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

/// The record of a running instance, and what its journal begins with: in memory, because the private files can be removed as well.
#[derive(Debug)]
pub(crate) struct KeptRecord {
    pub(crate) path: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) json: String,
    pub(crate) claim: Claim,
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

    /// `None` unless the calling process is the daemon and has one of its own.
    pub(crate) fn kept_record(&self) -> Result<Option<&KeptRecord>> {
        if own() != self.holder {
            return Ok(None);
        }
        if let Some(kept) = self.kept_record.get() {
            return Ok(kept.as_ref());
        }
        let is_own = |seen: &Seen| seen.claim.role == Role::Daemon && seen.claim.pid == own();
        let found = self.find_state(|key, seen| {
            let Claim { journal: Some(journal), .. } = &seen.claim else { return Ok(None) };
            let json = program_of(key, &seen.claim)?.filter(|_| is_own(&seen));
            let (path, journal) = (journal.with_extension("json"), journal.clone());
            Ok(json.map(|json| KeptRecord { path, journal, json, claim: seen.claim }))
        })?;
        Ok(self.kept_record.get_or_init(|| found).as_ref())
    }

    /// The process that the lock names in the place of the caller. A daemon that has changed its user cannot see it.
    fn successor(&self) -> Result<Option<i32>> {
        let is_another = |seen: &Seen| {
            matches!(seen.life, Life::Alive(_)) && seen.claim.role == Role::Daemon && seen.claim.pid != own()
        };
        self.find_state(|_, seen| Ok(Some(seen).filter(is_another).map(|seen| seen.claim.pid)))
    }

    /// What is found in the private states of this pidfile that are the caller's.
    fn find_state<T>(&self, find: impl Fn(&Key, Seen) -> Result<Option<T>>) -> Result<Option<T>> {
        let keys = Key::find(self.public.place(), nix::unistd::geteuid().as_raw())?;
        let mut found = keys.iter().map(|key| key.look()?.map_or(Ok(None), |seen| find(key, seen)));
        let found = found.find_map(Result::transpose).transpose();
        // A look closes a descriptor of the lock, and the caller's record lock is dropped with it.
        let held = self.lock.as_ref().map(Lock::held).or_else(|| self.inherited.as_ref().map(AsFd::as_fd));
        if let Some(held) = held {
            let _named = sys::lock_record(held.as_raw_fd());
        }
        found
    }
}
