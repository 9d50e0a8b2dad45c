//! Looking at an instance without disturbing it.

use std::path::Path;
use std::time::SystemTime;

use super::end::end_of;
use super::events::note_end;
use super::left_behind::is_something_left;
use super::prove::keys;
use super::timing::{LOOKS, REPLACEMENT_PATIENCE};
use crate::error::Result;
use crate::pidfile::{self, Holder, Outside};
use crate::state::{FailedReload, Life, Phase, Reloads, Role, Seen, Service, ServiceState, Settled};
use crate::store::{self, End, EndReason};
use crate::sys;

/// The state of a daemon.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Up.
    Running {
        /// The daemon's pid.
        pid: i32,
        /// When the process was started, if that can be seen.
        since: Option<SystemTime>,
        /// Its last reload, if that failed.
        failed_reload: Option<FailedReload>,
        /// The process above it, if it has one.
        supervisor: Option<Supervisor>,
    },
    /// Up, and on its way out.
    Stopping {
        /// The daemon's pid.
        pid: i32,
        /// When the process was started, if that can be seen.
        since: Option<SystemTime>,
        /// Its last reload, if that failed.
        failed_reload: Option<FailedReload>,
        /// The process above it, if it has one.
        supervisor: Option<Supervisor>,
    },
    /// A start is under way.
    Starting {
        /// The daemon's pid, once it has one.
        pid: Option<i32>,
        /// The process above it, once it is there, if it has one.
        supervisor: Option<Supervisor>,
    },
    /// It has ended, and its supervisor starts it again.
    Restarting {
        /// The pid that it had.
        last_pid: i32,
        /// When the next one is started.
        at: SystemTime,
        /// The process above it.
        supervisor: Supervisor,
    },
    /// It has ended without having been asked to, or has left processes behind, or a pidfile that no process holds.
    Dead {
        /// The pid that it had.
        last_pid: Option<i32>,
        /// How it has ended, as far as that is known.
        ended: Option<End>,
    },
    /// Locked by a process that is not the daemon, or cannot be seen from here.
    Unknown {
        /// The process that holds the lock, if it can be found.
        held_by: Option<i32>,
    },
    /// Nothing runs, and there is no pidfile.
    Stopped {
        /// How the last one has ended, as far as that is known.
        ended: Option<End>,
    },
}

/// The process above a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervisor {
    /// Its pid.
    pub pid: i32,
    /// How often it has restarted the daemon.
    pub restarts: u32,
}

/// Returns the state of the daemon that belongs to the pidfile at `path`, without disturbing it.
///
/// The private lock decides where the caller may read it: its own, and for root everyone's. For other users the pidfile has to do.
///
/// # Errors
///
/// [`crate::Error::NotAPidFile`]; [`crate::Error::System`] when the file cannot be opened or read.
pub fn status(path: &Path) -> Result<Status> {
    let mut status = Status::Stopped { ended: None };
    // A start that begins between the two looks holds the pidfile as well; the next look finds its lock.
    for _ in 0..LOOKS {
        let mut last = None;
        for key in keys(path)? {
            match key.settle()? {
                Settled::Live(seen) => return Ok(of_live(&seen)),
                Settled::Held { ended: Some(last) } | Settled::Nothing { ended: Some(last) }
                    if is_something_left(&last, key.owner()) =>
                {
                    let _unwritten = note_end(&key, &last);
                    return Ok(Status::Dead { last_pid: Some(last.claim.pid), ended: end_of(&last) });
                }
                Settled::Held { .. } => return Ok(Status::Unknown { held_by: key.holder() }),
                Settled::Nothing { ended } => {
                    if let Some(seen) = &ended {
                        // What no process has seen; where it cannot be written, the next look tries again.
                        let _unwritten = note_end(&key, seen);
                    }
                    last = last.or(ended);
                }
            }
        }
        status = from_outside(path, last.as_deref())?;
        if !matches!(status, Status::Unknown { .. }) {
            break;
        }
    }
    Ok(status)
}

/// The same for a daemon with a name: its journal still says how it has ended when the private state does not, as after a reboot.
///
/// # Errors
///
/// Those of [`status`].
pub fn status_of_named(path: &Path, journal: &Path) -> Result<Status> {
    Ok(match status(path)? {
        status @ (Status::Stopped { ended: None } | Status::Dead { ended: None, .. }) => {
            let is_left = matches!(status, Status::Dead { .. });
            match store::settle(journal) {
                Some((pid, end)) if is_left || !end.reason.is_orderly() => {
                    Status::Dead { last_pid: Some(pid), ended: Some(end) }
                }
                Some((_, end)) => Status::Stopped { ended: Some(end) },
                None => status,
            }
        }
        status => status,
    })
}

/// Whether a daemon that was to be replaced is down instead: the start that followed has failed, or none has begun for longer than
/// that takes. `ended` is how it has ended according to its status, and `journal` belongs to its name.
pub fn replacement_failed(ended: &End, journal: Option<&Path>) -> bool {
    let has_waited = || ended.at.is_some_and(|at| at.elapsed().is_ok_and(|waited| waited > REPLACEMENT_PATIENCE));
    ended.reason == EndReason::Replaced && (journal.is_some_and(store::has_failed_since_end) || has_waited())
}

fn from_outside(path: &Path, last: Option<&Seen>) -> Result<Status> {
    let ended = last.and_then(end_of);
    let Some(Outside { pid, holder, .. }) = pidfile::look(path)? else {
        return Ok(match ended {
            Some(End { reason, .. }) if !reason.is_orderly() => {
                Status::Dead { last_pid: last.map(|last| last.claim.pid), ended }
            }
            _ => Status::Stopped { ended },
        });
    };
    Ok(match (holder, pid) {
        // A lock of another process on the pidfile of an instance whose end is known says nothing: any user can take it.
        _ if last.is_some() && nix::unistd::geteuid().is_root() => Status::Dead { last_pid: pid, ended },
        (Holder::Proven, Some(pid)) => {
            Status::Running { pid, since: sys::start_time(pid), failed_reload: None, supervisor: None }
        }
        (Holder::Other(held_by), _) => Status::Unknown { held_by },
        (Holder::Proven | Holder::None, last_pid) => Status::Dead { last_pid, ended },
    })
}

/// Whether the daemon of the pidfile at `path` runs, and was started with another version than this, or with none.
///
/// # Errors
///
/// [`crate::Error::System`] when its lock cannot be read.
pub fn runs_other_version(path: &Path, version: &str) -> Result<bool> {
    for key in keys(path)? {
        if let Settled::Live(seen) = key.settle()? {
            return Ok(seen.claim.role == Role::Daemon && seen.claim.version.as_deref() != Some(version));
        }
    }
    Ok(false)
}

fn of_live(seen: &Seen) -> Status {
    if seen.claim.role == Role::Starter {
        return Status::Starting { pid: None, supervisor: None };
    }
    let pid = seen.pid();
    let above = |service: Service| Supervisor { pid: seen.claim.pid, restarts: service.restarts };
    let supervisor = seen.service.map(above);
    if let (Phase::Up, Some(service)) = (seen.phase, seen.service) {
        match service.state {
            ServiceState::Waiting { until } => {
                return Status::Restarting { last_pid: pid, at: until, supervisor: above(service) };
            }
            ServiceState::Starting if service.restarts > 0 => return Status::Starting { pid: Some(pid), supervisor },
            ServiceState::Starting | ServiceState::Up => {}
        }
    }
    let since = sys::start_time(pid);
    let failed_reload = seen.said.reloads.clone().and_then(|Reloads { failed, .. }| failed);
    match (&seen.life, seen.phase) {
        (Life::Exiting(_), _) | (_, Phase::Stopping) => Status::Stopping { pid, since, failed_reload, supervisor },
        (_, Phase::Starting) => Status::Starting { pid: Some(pid), supervisor },
        (_, Phase::Up) => Status::Running { pid, since, failed_reload, supervisor },
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::store::{Event, EventKind, append};

    #[test]
    fn a_replacement_has_failed_when_its_start_has_or_when_none_begins() {
        let ended = |reason, ago| End { at: SystemTime::now().checked_sub(ago), ..End::unseen(reason) };
        let (now, long_ago) = (Duration::ZERO, REPLACEMENT_PATIENCE + Duration::from_secs(1));
        assert!(!replacement_failed(&ended(EndReason::Replaced, now), None));
        assert!(replacement_failed(&ended(EndReason::Replaced, long_ago), None));
        assert!(!replacement_failed(&ended(EndReason::Stopped, long_ago), None));
        assert!(!replacement_failed(&End::unseen(EndReason::Replaced), None), "nor if it is not known when");

        let journal = PathBuf::from(format!("daemonry-replaced-{}.jsonl", std::process::id()));
        let journal = std::env::temp_dir().join(journal);
        let _none = std::fs::remove_file(&journal);
        let has_failed = |kind| {
            append(&journal, true, |_| vec![Event::now("a", kind)]).expect("it can be written");
            replacement_failed(&ended(EndReason::Replaced, now), Some(&journal))
        };
        has_failed(EventKind::Failed { pid: None, reason: "an earlier one".into() });
        let exit = || EventKind::Exit { pid: 7, end: ended(EndReason::Replaced, now) };
        assert!(!has_failed(exit()));
        assert!(has_failed(EventKind::Failed { pid: None, reason: "no luck".into() }));
        assert!(!has_failed(EventKind::Up { pid: 8 }));
        std::fs::remove_file(&journal).expect("it is there");
    }
}
