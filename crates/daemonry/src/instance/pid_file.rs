//! A pidfile as a caller acquires it: the instance behind it is found, waited for or replaced, and noted in its journal.

use std::path::Path;
use std::time::Duration;

use super::events;
use crate::error::Result;
use crate::launch::LaunchPlan;
use crate::pidfile::PidFile;
use crate::state::{Claim, Key};
use crate::takeover;

impl PidFile {
    /// Locks the pidfile at `path` and empties it, creating it with exactly `mode` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] with the pid of the daemon; [`Error::PidFileHeld`] when the lock is held by a process that is not
    /// the daemon; [`Error::NotAPidFile`], the file untouched, when it is not a regular file of the caller's own with one link that
    /// is empty or holds a number; [`Error::System`].
    pub fn acquire(path: &Path, mode: u32) -> Result<Self> {
        let plan = LaunchPlan { pid_file: Some(path.to_owned()), pid_file_mode: mode, ..LaunchPlan::new("") };
        takeover::hold(&plan, |_| Ok(())).map(|held| held.pid_file).map_err(|failure| failure.error)
    }

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
    /// [`Error::System`] with [`crate::Step::WriteJournal`], as for all that write there: no reason for a start to fail.
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
    /// [`Error::System`] with [`crate::Step::WriteJournal`]: the next look tries again.
    pub fn note_end(&self) -> Result<()> {
        events::note_own_end(self.path())
    }

    fn with_claim(&self, note: impl FnOnce(&Key, &Claim) -> Result<()>) -> Result<()> {
        self.lock().zip(self.claim_of_starter()).map_or(Ok(()), |(lock, claim)| note(&lock.key, claim))
    }
}
