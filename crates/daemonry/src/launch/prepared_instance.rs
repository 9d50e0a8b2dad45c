//! The instance that a start makes: what the child writes down about it, and what it inherits of the pidfile.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::c_strings::c_string;
use super::descriptors::{move_above, target};
use super::plan::LaunchPlan;
use crate::error::Result;
use crate::pidfile::PidFile;
use crate::protocol::{DeferredPidFile, Findings, Handed, WaitFor};
use crate::state::{Lock, SessionMark, Template};
use crate::sys;
use crate::user::Ids;

/// What the child writes down about the instance that it becomes.
pub(crate) struct PreparedInstance {
    /// Its claim, and the descriptor of the lock for it: above the targets, and closed before exec.
    pub(crate) claim: Template,
    pub(crate) lock: RawFd,
    /// The descriptor of the pidfile for its pid, likewise; or what the child needs to open it itself.
    pub(crate) pid_file: std::result::Result<RawFd, DeferredPidFile>,
    /// The descriptor that the daemon keeps of the pidfile.
    pub(crate) pid_file_target: RawFd,
    /// The same of the lock.
    pub(crate) lock_target: Option<RawFd>,
    /// Whether the child can learn when it was started, as the launcher could.
    pub(crate) must_have_start: bool,
    /// Where it says that it is up, if executing the program means that, and how long it must live on.
    pub(crate) phase: RawFd,
    pub(crate) up_at_exec: Option<Duration>,
}

/// The mark of the session, which the claim has too.
pub(super) fn session_mark(pid_file: Option<&PidFile>) -> SessionMark {
    let claim = pid_file.and_then(PidFile::claim_of_starter);
    claim.map_or_else(SessionMark::new, |claim| claim.session_mark.clone())
}

/// What the daemon inherits of its pidfile, behind the `sources` that there are.
pub(super) fn hand_on<'a>(
    pid_file: &'a PidFile,
    ids: Option<&Ids>,
    findings: &Arc<Findings>,
    sources: &mut Vec<BorrowedFd<'a>>,
) -> Handed {
    let first = target(sources.len());
    pid_file.public().expect(findings, first);
    let phase = pid_file.phase().as_fd();
    // Until the child has opened the pidfile, another descriptor takes its place.
    sources.extend([pid_file.public().read().unwrap_or(phase), phase]);
    // Another user could keep the lock from everyone by a process that outlives the daemon. But where `/proc` is missing nothing
    // else proves the daemon.
    let has_start = pid_file.claim_of_starter().is_some_and(|claim| claim.start != 0);
    let lock = pid_file.lock().filter(|_| ids.is_none() || !has_start).map(Lock::held);
    sources.extend(lock);
    Handed { file: first, phase: first + 1, lock: lock.map(|_| first + 2) }
}

/// The instance, with the descriptors above `floor` that the child writes through.
pub(super) fn prepare_instance(
    plan: &LaunchPlan,
    pid_file: &PidFile,
    handed: Handed,
    floor: RawFd,
) -> Option<Result<(PreparedInstance, [Option<OwnedFd>; 2])>> {
    let (lock, claim) = (pid_file.lock()?, pid_file.claim_of_starter()?);
    let write = pid_file.public().write();
    let prepare = || {
        let lock = move_above(lock.text(), floor)?;
        let write = write.map(|write| move_above(write, floor)).transpose()?;
        let path = c_string(pid_file.path().as_os_str(), "the pidfile's path")?;
        Ok((
            lock,
            write,
            DeferredPidFile { path, mode: sys::file_mode(pid_file.public().by_child().unwrap_or(0)).bits() },
        ))
    };
    Some(prepare().map(|(lock, write, deferred)| {
        let instance = PreparedInstance {
            claim: Template::of(claim),
            lock: lock.as_raw_fd(),
            pid_file: write.as_ref().map(AsRawFd::as_raw_fd).ok_or(deferred),
            pid_file_target: handed.file,
            lock_target: handed.lock,
            must_have_start: claim.start != 0,
            phase: handed.phase,
            up_at_exec: (plan.wait_for == WaitFor::Exec).then_some(plan.alive_for),
        };
        (instance, [Some(lock), write])
    }))
}
