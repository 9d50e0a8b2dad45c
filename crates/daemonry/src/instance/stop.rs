//! Stopping an instance: get hold of the process, prove that it is the instance, decide, signal, and wait for its end.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::cancel::count_stop;
use super::events::{self, note_progress};
use super::prove::{Proven, keys, prove};
use super::session::{Others, Session};
use super::timing::{EXIT_PATIENCE, RETRY_PAUSE, SESSION_GRACE, stop_timeout};
use crate::error::{Error, Result, Step};
use crate::pidfile::remove_left_behind;
use crate::state::{Attempt, Claim, Handlers, Key, Life, Lock, Phase, Seen, Settled, Transition, note_end};
use crate::store::Caller;
use crate::sys::{self, Process};

/// How much of the caller's command line is kept with the decision, in bytes.
const LONGEST_BY: usize = 1024;

/// How a daemon was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It ended by itself.
    Ended(Remains),
    /// It did not, and was killed.
    Killed(Remains),
    /// There was nothing to stop.
    NotRunning,
}

/// What a daemon that was stopped had been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// The pid that it had.
    pub pid: i32,
    /// What became of its stop handlers.
    pub handlers: Handlers,
    /// How many other processes of its session were ended after it.
    pub others_ended: u32,
    /// How many run on, because they are another user's, or cannot be proven to be of the session.
    pub others_left: u32,
    /// Why its journal could not be written, if it could not.
    pub unwritten: Option<String>,
}

/// How to stop a daemon.
#[derive(Debug, Clone, Copy)]
pub struct StopOptions {
    /// The signal that asks it to stop. Default: SIGTERM.
    pub signal: i32,
    /// How long it may take. Default: as long as the daemon has said, and 2 s; 10 s for one that has said nothing.
    pub timeout: Option<Duration>,
    /// Whether SIGKILL follows. Default: true.
    pub force: bool,
    /// Whether another instance is to take its place, which its end then says ([`EndReason::Replaced`]). Default: false.
    ///
    /// [`EndReason::Replaced`]: crate::EndReason::Replaced
    pub replaces: bool,
}

impl Default for StopOptions {
    fn default() -> Self {
        Self { signal: libc::SIGTERM, timeout: None, force: true, replaces: false }
    }
}

/// Stops the daemon of the pidfile at `path`, waits for its end, and ends what is left of its session ([`crate::KillMode`]). Blocks
/// the calling thread. One that is stopping already gets no second SIGTERM. Of a daemon that has ended by itself, what it has left
/// behind is ended.
///
/// # Errors
///
/// [`Error::StopTimeout`] without `force`; [`Error::PidFileHeld`]; [`Error::NotAPidFile`]; [`Error::System`].
pub fn stop(path: &Path, options: StopOptions) -> Result<Stopped> {
    let begun = Instant::now();
    if !options.replaces {
        count_stop(path)?;
    }
    let Some(proven) = prove(path)? else { return end_left_behind(path, options) };
    let Proven { pid, phase, process, said, locked } = proven;
    let session = locked.as_ref().map(|(key, claim)| Session::of(claim, key.owner(), &process));
    let mut unwritten = None;
    match &locked {
        Some((key, claim)) => unwritten = ask(key, claim, &process, options.signal, options.replaces)?,
        // A second SIGTERM would cut off what the first one lets it finish.
        None if phase == Phase::Stopping && options.signal == libc::SIGTERM => {}
        None => send(&process, options.signal, path)?,
    }
    let limit = options.timeout.unwrap_or_else(|| stop_timeout(said.stops_within));
    let is_killed = !process.wait(sys::deadline_after(limit));
    if is_killed {
        if !options.force {
            return Err(Error::StopTimeout { pid, limit });
        }
        kill(&process, path)?;
        if !process.wait(Instant::now() + EXIT_PATIENCE) {
            return Err(Error::StopTimeout { pid, limit: limit.saturating_add(EXIT_PATIENCE) });
        }
    }
    let grace = limit.saturating_sub(begun.elapsed()).max(SESSION_GRACE);
    let others =
        session.map_or(Ok(Others::default()), |session| session.end(Vec::new(), grace, options.force, &sleep))?;
    refuse_stubborn(&others, grace)?;
    let mut handlers = Handlers::Done;
    if let Some((key, claim)) = &locked {
        let last = key.look()?.filter(|seen| seen.claim.names_same(claim));
        handlers = last.map_or(handlers, |seen| seen.said.handlers);
        // It has stopped all the same; only how will not be known.
        let _unknown = note_end(key, claim, is_killed);
        unwritten = note_progress(key).err().or(unwritten);
        clean_up(key, claim, path)?;
    }
    let (others_ended, others_left, unwritten) = (others.ended, others.left, unwritten.map(|error| error.to_string()));
    let remains = Remains { pid, handlers, others_ended, others_left, unwritten };
    Ok(if is_killed { Stopped::Killed(remains) } else { Stopped::Ended(remains) })
}

/// What an instance that has ended without a stop has left in its session.
fn end_left_behind(path: &Path, options: StopOptions) -> Result<Stopped> {
    for key in keys(path)? {
        let (Settled::Nothing { ended: Some(last) } | Settled::Held { ended: Some(last) }) = key.settle()? else {
            continue;
        };
        // What no process has seen; the next look tries again.
        let _unwritten = events::note_end(&key, &last);
        let grace = options.timeout.unwrap_or_else(|| stop_timeout(last.said.stops_within));
        let others = Session::of_ended(&last.claim, key.owner()).end(Vec::new(), grace, options.force, &sleep)?;
        refuse_stubborn(&others, grace)?;
        if others.ended > 0 {
            let Seen { claim, said, .. } = *last;
            let (pid, handlers) = (claim.pid, said.handlers);
            clean_up(&key, &claim, path)?;
            let (others_ended, others_left) = (others.ended, others.left);
            let remains = Remains { pid, handlers, others_ended, others_left, unwritten: None };
            return Ok(Stopped::Ended(remains));
        }
    }
    Ok(Stopped::NotRunning)
}

/// Nothing has stopped as long as a part of it runs.
fn refuse_stubborn(others: &Others, limit: Duration) -> Result<()> {
    others.stubborn.map_or(Ok(()), |pid| Err(Error::StopTimeout { pid, limit }))
}

#[expect(clippy::unnecessary_wraps, reason = "a start can be interrupted in the same place")]
fn sleep(pause: Duration) -> Result<()> {
    std::thread::sleep(pause);
    Ok(())
}

/// Asks the instance to stop, unless that has been done already: of many callers one sends the signal, because a second SIGTERM
/// would cut its clean-up short. What was decided is written down before. Returns why the journal could not be written.
pub(super) fn ask(key: &Key, claim: &Claim, process: &Process, signal: i32, replaces: bool) -> Result<Option<Error>> {
    let by = Caller::own();
    let transition = Transition::begin(key)?;
    match key.look()? {
        Some(Seen { claim: now, phase, decision, .. }) if now.names_same(claim) => {
            if phase == Phase::Stopping && signal == libc::SIGTERM {
                // No other one takes its place any more.
                if let Some(transition) = transition.filter(|_| !replaces && decision.is_some_and(|it| it.replaces)) {
                    transition.stop(key, claim, replaces, &by.to_short_json(LONGEST_BY))?;
                    return Ok(events::note_request(key, claim, signal, replaces, by).err());
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
    let unwritten = events::note_request(key, claim, signal, replaces, by).err();
    send(process, signal, &key.path).inspect_err(|_| {
        // Otherwise the next stop would wait for an end that no process has requested.
        if let Some(transition) = &transition {
            transition.take_back();
        }
    })?;
    Ok(unwritten)
}

pub(super) fn kill(process: &Process, path: &Path) -> Result<()> {
    send(process, libc::SIGKILL, path)
}

/// A process that is stopped notices what asks it to end only when it goes on.
fn send(process: &Process, signal: i32, path: &Path) -> Result<()> {
    for signal in [signal, libc::SIGCONT] {
        match process.signal(signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::at(Step::Signal, path)(errno)),
        }
    }
    Ok(())
}

/// Removes the pidfile of an instance that could not do so itself, under its lock. Where another start has that, or a process that
/// the instance has left behind, it is not ours to remove. Of an instance that a user has started root removes what is that user's,
/// in a directory of that user's: whatever the name there leads to, its owner could have removed it.
fn clean_up(key: &Key, claim: &Claim, path: &Path) -> Result<()> {
    for _ in 0..5 {
        match Lock::attempt(key)? {
            Attempt::Taken(lock, Some(Seen { claim: last, life: Life::Gone, .. })) if last.names_same(claim) => {
                let removed = remove_left_behind(path, claim.pid, key.owner(), &claim.uids);
                drop(lock);
                return removed;
            }
            // A launcher closes its copy of the lock as soon as it runs again, and a look takes it for an instant.
            Attempt::Busy(Some(Seen { life: Life::Gone, .. })) => std::thread::sleep(RETRY_PAUSE),
            Attempt::Taken(..) | Attempt::Busy(_) => return Ok(()),
        }
    }
    Ok(())
}
