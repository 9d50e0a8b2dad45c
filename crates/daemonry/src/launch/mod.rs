//! The launcher's side of a start: fork, wait until the outcome is known, undo what failed.

mod attributes;
mod c_strings;
mod child;
mod command;
mod created_files;
mod descriptors;
mod environment;
mod executable;
mod failed_step;
mod fork_service;
mod fork_thread;
mod interpreter;
mod interrupts;
mod order;
mod outcome;
mod pinned;
mod plan;
mod prepare;
mod prepared_instance;
mod rehearse;
mod signal_watch;
mod start;
mod streams;
mod supervised;
mod takeover;
mod undo;

pub use executable::{NotExecutable, check_executable};
pub(crate) use fork_service::Forked;
pub use interrupts::AbortHandle;
pub(crate) use order::Order;
pub use outcome::{Advice, LaunchFailure, Outcome, Started};
pub(crate) use pinned::FIRST;
pub use pinned::PinnedPlan;
pub use plan::{Attributes, Fork, LaunchPlan};
pub use takeover::Held;

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::instance::{Acquired, IfRunning, Status, status};
use crate::pidfile::PidFile;
use crate::store::Record;
use interrupts::Interrupts;
use prepare::Prepared;
use signal_watch::SignalWatch;
use start::Start;
use takeover::{Takeover, patience};

/// Launches a daemon as daemon(7) describes it (fork, setsid, fork, exec) and returns when the plan's `wait_for` is reached, or
/// when there is a daemon that the plan's `if_running` is content with.
///
/// Blocks the calling thread. With `launcher_leaves`, SIGINT, SIGTERM and SIGHUP that arrive meanwhile undo the start; a second
/// one kills at once.
///
/// # Errors
///
/// A [`LaunchFailure`] with any [`crate::Error`] of [`PidFile::acquire`]; [`crate::Error::System`] for a step that failed, in whichever
/// process; [`crate::Error::StartFailed`]; [`crate::Error::StartTimeout`]; [`crate::Error::StartInterrupted`]; [`crate::Error::StartAborted`];
/// [`crate::Error::WaitTimeout`] and [`crate::Error::StopTimeout`] for what others were waited for; [`crate::Error::InvalidPlan`].
pub fn launch(plan: &LaunchPlan) -> std::result::Result<Started, LaunchFailure> {
    plan.pin()?.launch()
}

impl PinnedPlan {
    /// Does what [`launch`] does.
    ///
    /// # Errors
    ///
    /// Those of [`launch`].
    pub fn launch(mut self) -> std::result::Result<Started, LaunchFailure> {
        // Before there is anything to undo.
        let signals = self.launcher_leaves.then(SignalWatch::install).transpose()?;
        let interrupts = Interrupts { signals, abort: self.abort.clone() };
        interrupts.check()?;
        self.make_places()?;
        let mut timeout = self.start_timeout;
        if self.needs_resolver() {
            if let Some(pid) = find_running(&self, &interrupts)? {
                return Ok(reuse(&self, pid)?);
            }
            // Before anything is locked: a resolver that hangs keeps no other caller out.
            let begun = Instant::now();
            self.resolve(timeout, &interrupts)?;
            timeout = timeout.saturating_sub(begun.elapsed());
        }
        let Some(path) = &self.pid_file else {
            return launch_locked(&self, None, timeout, &interrupts);
        };
        let rehearse = || self.rehearse_beside(&interrupts);
        let takeover = Takeover::begin(&self, path, &interrupts, &rehearse)?;
        self.find_or_launch(&takeover, timeout, &interrupts).map_err(|failure| takeover.explain(failure))
    }

    fn find_or_launch(
        &self,
        takeover: &Takeover<'_>,
        timeout: Duration,
        interrupts: &Interrupts,
    ) -> std::result::Result<Started, LaunchFailure> {
        let (pid_file, replaces, waited) = match takeover.find()? {
            Acquired::Free { pid_file, replaces, waited } => (pid_file, replaces, waited),
            Acquired::Running { pid, .. } => return Ok(reuse(self, pid)?),
        };
        let left = patience(self).saturating_sub(waited).min(timeout);
        let said = self.stop_timeout.map_or(Ok(()), |timeout| pid_file.mark_stop_timeout(timeout));
        let outcome =
            said.map_err(LaunchFailure::from).and_then(|()| launch_locked(self, Some(&pid_file), left, interrupts));
        if let Err(failure) = &outcome {
            let is_restart = self.stops_before.is_some() && self.if_running == IfRunning::Reuse;
            let joins = is_restart && matches!(failure.error, Error::StartFailed { .. }) && pid_file.is_replaced();
            // Why the start failed matters more than a file that stays behind and means nothing.
            let _left = pid_file.remove();
            if joins {
                // Another restart has ended it, and starts the next.
                drop(pid_file);
                return self.find_or_launch(takeover, timeout, interrupts);
            }
        }
        outcome.map(|started| if replaces { Started { outcome: Outcome::Replaced, ..started } } else { started })
    }
}

/// The daemon that runs already, unless the plan would replace it: to find it, no host name has to be resolved.
fn find_running(plan: &PinnedPlan, interrupts: &Interrupts) -> Result<Option<i32>> {
    let replaces =
        plan.if_running == IfRunning::Replace || plan.if_running == IfRunning::Reuse && plan.version.is_some();
    let Some(path) = plan.pid_file.as_ref().filter(|_| !replaces) else { return Ok(None) };
    let is_held = |status| {
        matches!(
            status,
            Status::Running { .. } | Status::Starting { .. } | Status::Restarting { .. } | Status::Stopping { .. }
        )
    };
    if !status(path).is_ok_and(is_held) {
        return Ok(None);
    }
    match Takeover::begin(plan, path, interrupts, &|| Ok(()))?.find()? {
        Acquired::Running { pid, .. } => Ok(Some(pid)),
        // It has ended since.
        Acquired::Free { pid_file, .. } => pid_file.remove().map(|()| None),
    }
}

/// The daemon that runs already, if it is of the program that the plan is about. A version says that by itself.
fn reuse(plan: &LaunchPlan, pid: i32) -> Result<Started> {
    let record = plan.record.as_ref().filter(|_| plan.version.is_none());
    match record.map_or(Ok(None), |record| record.other_program(pid))? {
        Some(other) => Err(other),
        None => {
            Ok(Started { outcome: Outcome::Reused, pid, stderr: Vec::new(), listeners: Vec::new(), unwritten: None })
        }
    }
}

fn launch_locked(
    plan: &PinnedPlan,
    pid_file: Option<&PidFile>,
    timeout: Duration,
    interrupts: &Interrupts,
) -> std::result::Result<Started, LaunchFailure> {
    let record = plan.record.as_ref().map_or(Ok(None), Record::place)?;
    let unbegun = pid_file.and_then(|pid_file| pid_file.note_start().err());
    let outcome = launch_recorded(plan, pid_file, timeout, interrupts);
    if let (Err(_), Some(record)) = (&outcome, record) {
        record.restore();
    }
    let Some(pid_file) = pid_file else { return outcome };
    match outcome {
        Ok(started) => Ok(Started { unwritten: pid_file.note_up().err().or(unbegun), ..started }),
        Err(failure) => {
            // Why the start failed matters more.
            let _unwritten = pid_file.note_failure(failure.pid, failure.to_string());
            Err(failure)
        }
    }
}

fn launch_recorded(
    plan: &PinnedPlan,
    pid_file: Option<&PidFile>,
    timeout: Duration,
    interrupts: &Interrupts,
) -> std::result::Result<Started, LaunchFailure> {
    let supervisor = plan.supervisor()?;
    let process = supervisor.as_ref().unwrap_or(plan);
    let (prepared, descriptors, ends) = Prepared::new(process, pid_file)?;
    let mut start = Start::begin(prepared, descriptors, ends, interrupts)?;
    start.service = supervisor.as_ref().map(|_| plan);
    match start.wait(process, pid_file, timeout) {
        Ok(pid) => {
            let pid = pid_file.and_then(PidFile::service_pid).unwrap_or(pid);
            if let Some(pid_file) = pid_file {
                pid_file.hand_over();
            }
            let stderr = start.captured();
            start.let_go();
            start.ends.created.keep();
            let listeners = std::mem::take(&mut start.ends.endpoints);
            Ok(Started { outcome: Outcome::Started, pid, stderr, listeners, unwritten: None })
        }
        Err(error) => Err(start.undo(error, plan)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::Error;
    use crate::property::holds;
    use crate::protocol::{Report, WaitFor, any_bytes};
    use crate::stdio::{LogFile, Stream};

    #[test]
    fn whatever_a_daemon_writes_into_the_status_pipe_its_launcher_knows_the_outcome() {
        let input = std::env::temp_dir().join(format!("daemonry-status-{}", std::process::id()));
        let plan = LaunchPlan {
            arguments: vec!["sh".into(), "-c".into(), "cat >&3".into()],
            stdin: Stream::File(LogFile::new(&input)),
            wait_for: WaitFor::Ready,
            ..LaunchPlan::new("/bin/sh")
        };
        holds("daemon that writes them", 50, &any_bytes(), |bytes| {
            fs::write(&input, &bytes).expect("the temporary directory can be written");
            let reports = Report::take(&mut bytes.clone());
            match launch(&plan) {
                Ok(_) => assert!(reports.contains(&Report::Ready)),
                Err(LaunchFailure { error: Error::StartFailed { .. }, .. }) => {}
                Err(LaunchFailure { error: Error::System { step, errno, path }, .. }) => {
                    assert!(reports.contains(&Report::FailedStep { step, errno, path }));
                }
                Err(failure) => panic!("{failure}"),
            }
        });
        fs::remove_file(&input).expect("it is there");
    }
}
