//! Stopping the daemon of a pidfile, or what it has left behind.

use std::path::Path;
use std::time::Duration;

use super::cancel::count_stop;
use super::events::note_end;
use super::left_behind::{clean_up, end_left_behind};
use super::prove::{keys, prove};
use super::session::Others;
use super::stopping::Stopping;
use super::timing::{sleep, stop_timeout};
use crate::error::{Error, Result};
use crate::pidfile::{self, Holder, Outside};
use crate::state::{Handlers, Settled};

/// How a daemon was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It ended by itself.
    Ended(Remains),
    /// It did not, and was killed.
    Killed(Remains),
    /// It had ended before, and had left processes behind.
    EndedBefore(Remains),
    /// There was nothing to stop.
    NotRunning,
}

/// What a daemon that has stopped had been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// The pid that it had.
    pub pid: i32,
    /// What became of its stop handlers.
    pub handlers: Handlers,
    /// How many other processes of its session the caller has ended.
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
    /// How long it may take. Default: what the daemon has reported, and 2 s more; 10 s if it has reported nothing.
    pub timeout: Option<Duration>,
    /// Whether SIGKILL follows. Default: true.
    pub force: bool,
    /// Whether another instance takes its place, which is then the reason of its end ([`EndReason::Replaced`]). Default: false.
    ///
    /// [`EndReason::Replaced`]: crate::EndReason::Replaced
    pub replaces: bool,
}

impl Default for StopOptions {
    fn default() -> Self {
        Self { signal: libc::SIGTERM, timeout: None, force: true, replaces: false }
    }
}

impl Remains {
    pub(super) fn new(pid: i32, handlers: Handlers, others: Others, unwritten: Option<Error>) -> Self {
        let Others { ended: others_ended, left: others_left, .. } = others;
        Self { pid, handlers, others_ended, others_left, unwritten: unwritten.map(|error| error.to_string()) }
    }
}

/// Stops the daemon of the pidfile at `path`, waits for its end, and ends what is left of its session ([`crate::KillMode`]). Blocks
/// the calling thread. If it is stopping already, it gets no second SIGTERM. If it has ended by itself, the processes
/// that it left behind are stopped, and its pidfile is removed.
///
/// # Errors
///
/// [`Error::StopTimeout`] without `force`; [`Error::PidFileHeld`]; [`Error::NotAPidFile`]; [`Error::System`].
pub fn stop(path: &Path, options: StopOptions) -> Result<Stopped> {
    let StopOptions { signal, timeout, force, replaces } = options;
    if !replaces {
        count_stop(path)?;
    }
    let Some(proven) = prove(path)? else { return stop_left_behind(path, timeout, force) };
    let limit = timeout.unwrap_or_else(|| stop_timeout(proven.said.stops_within));
    Stopping::begin(&proven, path, signal, replaces)?.finish(limit, force, &sleep)
}

/// What an instance that has ended without a stop has left.
fn stop_left_behind(path: &Path, timeout: Option<Duration>, force: bool) -> Result<Stopped> {
    let mut stopped = Stopped::NotRunning;
    for key in keys(path)? {
        let (Settled::Nothing { ended: Some(last) } | Settled::Held { ended: Some(last) }) = key.settle()? else {
            continue;
        };
        // What no process has seen.
        let unseen = note_end(&key, &last).err();
        let grace = timeout.unwrap_or_else(|| stop_timeout(last.said.stops_within));
        let (others, unwritten) = end_left_behind(&key, &last, grace, force, &sleep)?;
        if matches!(pidfile::look(path), Ok(Some(Outside { holder: Holder::None, .. }))) {
            // If it cannot be removed, it means nothing.
            let _stale = clean_up(&key, &last.claim, path);
        }
        others.refuse_stubborn(grace)?;
        if others.ended > 0 || others.left > 0 {
            let (pid, handlers) = (last.pid(), last.said.handlers);
            stopped = Stopped::EndedBefore(Remains::new(pid, handlers, others, unwritten.or(unseen)));
        }
    }
    Ok(stopped)
}
