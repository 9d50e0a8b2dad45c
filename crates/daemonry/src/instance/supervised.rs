//! What a supervisor does with the instance that it is.

use std::path::Path;
use std::time::SystemTime;

use super::end::end_by_now;
use super::session::Session;
use super::timing::{SESSION_GRACE, sleep};
use crate::error::{Error, Result, Step};
use crate::state::{Claim, Key, ServiceFile, SessionMark};
use crate::store::{End, EndReason, Event, EventKind, append};
use crate::sys::{Exit, Process};

/// The instance that the caller is, by its private state.
#[derive(Debug)]
pub(crate) struct Supervised {
    key: Key,
    claim: Claim,
}

impl Supervised {
    /// The instance of the pidfile at `path`, if that is the caller.
    pub(crate) fn own(path: &Path) -> Result<Self> {
        for key in Key::find(path, nix::unistd::geteuid().as_raw())? {
            if let Some(seen) = key.look()?
                && seen.claim.pid == std::process::id().cast_signed()
            {
                return Ok(Self { key, claim: seen.claim });
            }
        }
        Err(Error::at(Step::ReadLock, path)(nix::errno::Errno::ENOENT))
    }

    /// The mark of the start, which every process below has in its environment.
    pub(crate) fn mark(&self) -> SessionMark {
        self.claim.session_mark.clone()
    }

    /// Where the caller writes about its service.
    pub(crate) fn service_file(&self) -> Result<ServiceFile> {
        ServiceFile::create(&self.key, &self.claim)
    }

    /// Whether another process stops this instance, and ends the rest of its session afterwards.
    pub(crate) fn is_being_stopped(&self) -> bool {
        self.key.look().ok().flatten().is_some_and(|seen| seen.decision.is_some())
    }

    /// Ends what the service has left in its session.
    pub(crate) fn end_rest(&self) -> Result<()> {
        let failed = |errno| Error::system(Step::OpenProcess, errno);
        let Some(own) = Process::open(std::process::id().cast_signed()).map_err(failed)? else { return Ok(()) };
        Session::of(&self.claim, self.key.owner(), &own).end(Vec::new(), SESSION_GRACE, true, &sleep).map(drop)
    }

    /// Writes events about the service into the journal, if it has one.
    pub(crate) fn note(&self, kinds: Vec<EventKind>) -> Result<()> {
        let Some(journal) = &self.claim.journal else { return Ok(()) };
        let start = self.claim.session_mark.short();
        let event = |kind| match kind {
            EventKind::Exit { pid, end } => Event::exit(start, pid, end),
            kind => Event::now(start, kind),
        };
        append(journal, false, |_| kinds.into_iter().map(event).collect())
    }

    /// How a service has ended that was not asked to.
    pub(crate) fn end_of_service(exit: Exit, last_words: Option<String>) -> End {
        let reason = match exit {
            Exit::Code(0) => EndReason::Finished,
            _ => EndReason::Crashed,
        };
        End { at: Some(SystemTime::now()), exit, last_words, ..End::unseen(reason) }
    }

    /// How the last service has ended, by what the caller has written down.
    pub(crate) fn note_last_end(&self) -> Result<()> {
        let Some(seen) = self.key.look()? else { return Ok(()) };
        self.note(vec![EventKind::Exit { pid: seen.pid(), end: end_by_now(&seen) }])
    }
}
