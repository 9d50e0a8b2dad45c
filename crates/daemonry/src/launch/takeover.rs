//! Taking the place of an instance, for a start and for a program in the foreground alike: which of them may, what is checked before
//! the instance that runs is stopped, and what a failure says about it.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use super::interrupts::Interrupts;
use super::{LaunchFailure, LaunchPlan, PinnedPlan};
use crate::error::{Error, Result};
use crate::instance::{AcquireRequest, Acquired, IfRunning, refuse_cancelled, stops_requested};
use crate::pidfile::PidFile;
use crate::state::KillMode;
use crate::store::Record;

pub(crate) struct Takeover<'a> {
    plan: &'a PinnedPlan,
    path: &'a Path,
    interrupts: &'a Interrupts,
    /// Fails if what follows is known to fail.
    rehearse: &'a dyn Fn() -> Result<()>,
    /// One more stop than these cancels it.
    stops_before: Option<u64>,
    /// Whether an instance was asked to stop.
    has_stopped: Cell<bool>,
}

impl<'a> Takeover<'a> {
    pub(crate) fn begin(
        plan: &'a PinnedPlan,
        path: &'a Path,
        interrupts: &'a Interrupts,
        rehearse: &'a dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        let stops_before = match plan.if_running {
            IfRunning::Replace if plan.stops_before.is_none() => Some(stops_requested(path)?),
            _ => plan.stops_before,
        };
        Ok(Self { plan, path, interrupts, rehearse, stops_before, has_stopped: Cell::new(false) })
    }

    /// Locks the pidfile, or finds the instance that makes that unnecessary.
    pub(crate) fn find(&self) -> Result<Acquired> {
        let Self { plan, path, interrupts, rehearse, stops_before, ref has_stopped } = *self;
        AcquireRequest {
            path,
            mode: plan.pid_file_mode,
            name: plan.name.as_deref(),
            version: plan.version.as_deref(),
            journal: plan.record.as_ref().and_then(Record::journal),
            program: plan.record.as_ref().map(|record| record.json.as_str()),
            uids: plan.uids(),
            kill_mode: plan.kill_mode,
            if_running: plan.if_running,
            patience: patience(plan),
            pause: &|pause| interrupts.sleep(pause),
            rehearse,
            stops_before,
            has_stopped,
        }
        .acquire()
    }

    /// The failure of what followed, with what is known about the instance whose place it was to take.
    pub(crate) fn explain(&self, failure: LaunchFailure) -> LaunchFailure {
        let error = match failure.error {
            // The stop has ended it.
            Error::StartFailed { .. } if refuse_cancelled(self.path, self.stops_before).is_err() => {
                Error::StartCancelled
            }
            error => error,
        };
        let is_down = self.has_stopped.get() && !error.names_another_instance();
        LaunchFailure { error, is_down, ..failure }
    }
}

/// How long others are waited for.
pub(crate) fn patience(plan: &LaunchPlan) -> Duration {
    plan.start_timeout.saturating_mul(2)
}

/// A pidfile that a program in the foreground holds.
#[derive(Debug)]
pub struct Held {
    /// The pidfile.
    pub pid_file: PidFile,
    /// Whether another instance was stopped to make room for it.
    pub has_replaced: bool,
}

impl LaunchPlan {
    /// Locks the pidfile of the plan for the calling process, which is the program itself, and makes it the instance: "starting"
    /// until [`PidFile::mark_up`]. The plan says what its name, version, record and listeners are, and what to do about an instance
    /// that runs; nothing is launched. [`IfRunning::Reuse`] is as [`IfRunning::Error`].
    ///
    /// # Errors
    ///
    /// As for [`crate::launch`], with [`Error::AlreadyRunning`] for an instance that was started meanwhile, or for the caller itself.
    pub fn hold(&self) -> std::result::Result<Held, LaunchFailure> {
        hold(self, |pid_file| {
            self.record.as_ref().map_or(Ok(()), Record::write)?;
            pid_file.claim()
        })
    }
}

/// Locks the pidfile for the calling process. If what is then done with it fails, nothing of it stays.
pub(crate) fn hold(
    plan: &LaunchPlan,
    act: impl FnOnce(&mut PidFile) -> Result<()>,
) -> std::result::Result<Held, LaunchFailure> {
    let interrupts = Interrupts { signals: None, abort: plan.abort.clone() };
    // The caller has made no session.
    let mut plan = LaunchPlan { kill_mode: KillMode::Process, ..plan.clone() }.pin()?;
    let Some(path) = plan.pid_file.clone() else {
        return Err(Error::InvalidPlan("there is no pidfile to hold".to_owned()).into());
    };
    if plan.if_running == IfRunning::Replace && plan.needs_resolver() {
        plan.resolve(plan.start_timeout, &interrupts)?;
    }
    // The program runs already: all that can be known to fail is the place that it takes.
    let rehearse = || plan.rehearse_place().map(drop);
    let takeover = Takeover::begin(&plan, &path, &interrupts, &rehearse)?;
    let held = takeover.find().and_then(|acquired| match acquired {
        Acquired::Free { mut pid_file, replaces, .. } => {
            act(&mut pid_file).inspect_err(|_| {
                let _left = pid_file.release();
            })?;
            Ok(Held { pid_file: *pid_file, has_replaced: replaces })
        }
        Acquired::Running { pid, path } => Err(Error::AlreadyRunning { pid, path }),
    });
    held.map_err(|error| takeover.explain(error.into()))
}

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
        hold(&plan, |_| Ok(())).map(|held| held.pid_file).map_err(|failure| failure.error)
    }
}
