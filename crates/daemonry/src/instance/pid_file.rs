//! What a pidfile's holder writes down of its instance: in its journal and its record.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::events;
use crate::error::Result;
use crate::pidfile::{KeptRecord, PidFile};
use crate::state::{Claim, Key};
use crate::store::{Record, Recorded};

impl PidFile {
    /// Makes this process the instance, for programs that stay in the foreground. It is "starting" until [`PidFile::mark_up`].
    pub fn claim(&mut self) -> Result<()> {
        self.become_instance()?;
        self.unwritten = self.note_start().err();
        Ok(())
    }

    /// Says that this process is up.
    pub fn mark_up(&self) -> Result<()> {
        self.mark_up_after(Duration::ZERO)?;
        // What could not be written down is, by the next look.
        let _unwritten = self.note_up();
        Ok(())
    }

    /// Writes down in the journal that a start has begun; [`PidFile::claim`] does it for a program that stays in the foreground.
    ///
    /// # Errors
    ///
    /// [`crate::Error::System`] with [`crate::Step::WriteJournal`], as for all that write there: no reason for a start to fail.
    pub(crate) fn note_start(&self) -> Result<()> {
        self.with_claim(events::note_start)
    }

    /// Writes down what has become of a start by the caller: the daemon is up.
    pub(crate) fn note_up(&self) -> Result<()> {
        self.lock().map_or(Ok(()), events::note_held_progress)
    }

    /// Writes down what has become of a start by the caller: it has failed.
    pub(crate) fn note_failure(&self, pid: Option<i32>, reason: String) -> Result<()> {
        self.with_claim(|key, claim| events::note_failure(key, claim, pid, reason))
    }

    /// Writes down in the journal how this process ends, once it has said so. Not for one whose start is still under way: how that
    /// has failed is for its launcher to say.
    ///
    /// # Errors
    ///
    /// [`crate::Error::System`] with [`crate::Step::WriteJournal`]: the next look tries again.
    pub fn note_end(&self) -> Result<()> {
        events::note_own_end(self.path())
    }

    /// Makes the record and the journal of the daemon, which must be the calling process, again if they were removed. Returns whether
    /// one was. A record that another user keeps, as root does for a daemon that has changed its user, is left to that user.
    ///
    /// # Errors
    ///
    /// [`crate::Error::System`], whose errno is `ENOENT` if the directory is missing.
    pub fn keep_record(&self) -> Result<bool> {
        let Some(KeptRecord { path, journal, json, claim }) = self.kept_record()? else { return Ok(false) };
        let (lacks_record, lacks_journal) = (is_missing(path), is_missing(journal));
        if lacks_record {
            Record { path: Some(path.clone()), json: json.clone() }.write()?;
        }
        if lacks_journal && let Some(recorded) = Recorded::parse(json) {
            events::note_again(journal, claim, &recorded.started_by)?;
        }
        Ok(lacks_record || lacks_journal)
    }

    fn with_claim(&self, note: impl FnOnce(&Key, &Claim) -> Result<()>) -> Result<()> {
        self.lock().zip(self.claim_of_starter()).map_or(Ok(()), |(lock, claim)| note(&lock.key, claim))
    }
}

/// A directory that this process may not search says nothing.
fn is_missing(file: &Path) -> bool {
    matches!(nix::sys::stat::lstat(file), Err(Errno::ENOENT | Errno::ENOTDIR))
}
