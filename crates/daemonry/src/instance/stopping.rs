//! Stopping an instance that is proven, for a stop as for a start that replaces it: ask, wait, kill, note its end, and end what is left
//! of its session.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::events;
use super::left_behind::clean_up;
use super::prove::Proven;
use super::session::{Others, Session};
use super::stop::{Remains, Stopped};
use super::timing::{EXIT_PATIENCE, RETRY_PAUSE, SESSION_GRACE};
use crate::error::{Error, Result, Step};
use crate::state::{Claim, Handlers, Key, Phase, Seen, Transition, note_end};
use crate::store::{Caller, Request};
use crate::sys::{self, Process};

/// How much of the caller's command line is kept with the decision, in bytes.
const LONGEST_BY: usize = 1024;

/// An instance that was asked to stop.
pub(super) struct Stopping<'a> {
    proven: &'a Proven,
    path: &'a Path,
    /// With the processes that were in it while the instance lived.
    session: Option<Session<'a>>,
    unwritten: Option<Error>,
    begun: Instant,
}

impl<'a> Stopping<'a> {
    /// Asks it to stop, unless that has been done already.
    pub(super) fn begin(proven: &'a Proven, path: &'a Path, signal: i32, replaces: bool) -> Result<Self> {
        let begun = Instant::now();
        let Proven { phase, process, locked, .. } = proven;
        let session = locked.as_ref().map(|(key, claim)| Session::of(claim, key.owner(), process));
        let mut unwritten = None;
        match locked {
            Some((key, claim)) => unwritten = ask(key, claim, proven, signal, replaces)?,
            // A second SIGTERM would cut off what the first one lets it finish.
            None if *phase == Phase::Stopping && signal == libc::SIGTERM => {}
            None => send(process, signal, path)?,
        }
        Ok(Self { proven, path, session, unwritten, begun })
    }

    /// Waits at most `limit` for its end, and then, if `force`, kills it. Ends what is left of its session within the rest of the
    /// time. `pause` sleeps, or fails because the caller was interrupted.
    pub(super) fn finish(
        mut self,
        limit: Duration,
        force: bool,
        pause: &dyn Fn(Duration) -> Result<()>,
    ) -> Result<Stopped> {
        let pid = self.proven.service_pid();
        let is_killed = !self.wait(limit, pause)?;
        if is_killed {
            if !force {
                return Err(Error::StopTimeout { pid, limit });
            }
            send(&self.proven.process, libc::SIGKILL, self.path)?;
            if !self.wait(EXIT_PATIENCE, pause)? {
                return Err(Error::StopTimeout { pid, limit: limit.saturating_add(EXIT_PATIENCE) });
            }
        }
        // First: it has ended, whatever becomes of the others.
        let handlers = self.note_end(is_killed)?;
        let grace = limit.saturating_sub(self.begun.elapsed()).max(SESSION_GRACE);
        let end = |session: &Session<'_>| session.end(Vec::new(), grace, force, pause);
        let others = self.session.as_ref().map_or(Ok(Others::default()), end)?;
        if let Some((key, claim)) = &self.proven.locked {
            clean_up(key, claim, self.path)?;
        }
        others.refuse_stubborn(grace)?;
        let remains = Remains::new(pid, handlers, others, self.unwritten);
        Ok(if is_killed { Stopped::Killed(remains) } else { Stopped::Ended(remains) })
    }

    /// Whether it has ended within `limit`.
    fn wait(&self, limit: Duration, pause: &dyn Fn(Duration) -> Result<()>) -> Result<bool> {
        let deadline = sys::deadline_after(limit);
        while !self.proven.process.wait(deadline.min(Instant::now() + RETRY_PAUSE)) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            pause(Duration::ZERO)?;
        }
        Ok(true)
    }

    /// Writes down that it has ended; returns what became of its stop handlers.
    fn note_end(&mut self, is_killed: bool) -> Result<Handlers> {
        let Some((key, claim)) = &self.proven.locked else { return Ok(Handlers::Done) };
        // It has stopped all the same; only how will not be known.
        let _unknown = note_end(key, claim, is_killed);
        let Some(last) = key.look()?.filter(|seen| seen.claim.names_same(claim)) else { return Ok(Handlers::Done) };
        if let Err(error) = events::note_end(key, &last) {
            self.unwritten = Some(error);
        }
        Ok(last.said.handlers)
    }
}

/// Asks the instance to stop, unless that has been done already: of many callers one sends the signal, because a second SIGTERM
/// would cut its clean-up short. What was decided is written down before. Returns why the journal could not be written.
fn ask(key: &Key, claim: &Claim, proven: &Proven, signal: i32, replaces: bool) -> Result<Option<Error>> {
    let (by, pid) = (Caller::own(), proven.service_pid());
    let transition = Transition::begin(key)?;
    match key.look()? {
        Some(Seen { claim: now, phase, decision, .. }) if now.names_same(claim) => {
            if phase == Phase::Stopping && signal == libc::SIGTERM {
                // No other one takes its place any more.
                if let Some(transition) = transition.filter(|_| !replaces && decision.is_some_and(|it| it.replaces)) {
                    transition.stop(key, claim, replaces, &by.to_short_json(LONGEST_BY))?;
                    return Ok(events::note_request(key, claim, Request { pid, signal, by: Some(by) }, replaces).err());
                }
                return Ok(None);
            }
        }
        // It has ended, and another one may have come since.
        _ => return Ok(None),
    }
    if let Some(transition) = &transition {
        transition.stop(key, claim, replaces, &by.to_short_json(LONGEST_BY))?;
    }
    let unwritten = events::note_request(key, claim, Request { pid, signal, by: Some(by) }, replaces).err();
    send(&proven.process, signal, &key.path).inspect_err(|_| {
        // Otherwise the next stop would wait for an end that no process has requested.
        if let Some(transition) = &transition {
            transition.take_back();
        }
    })?;
    Ok(unwritten)
}

/// A suspended process handles the signal only when it continues.
fn send(process: &Process, signal: i32, path: &Path) -> Result<()> {
    for signal in [signal, libc::SIGCONT] {
        match process.signal(signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::at(Step::Signal, path)(errno)),
        }
    }
    Ok(())
}
