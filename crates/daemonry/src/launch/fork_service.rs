//! How a supervisor forks its service: from its main and only thread, without a session leader in between. The kernel ends the
//! service when that thread ends.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use super::child;
use super::pinned::PinnedPlan;
use super::prepare::{LauncherEnds, Prepared};
use crate::error::{Error, Result, Step};
use crate::sys;

/// A service that was just forked.
pub(crate) struct Forked {
    pub(crate) pid: i32,
    /// At end of file when it has executed its program, behind the step that failed otherwise.
    pub(crate) exec: OwnedFd,
    /// Where it reports.
    pub(crate) status: OwnedFd,
}

impl PinnedPlan {
    /// Forks the service; every signal is blocked until its program is executed.
    pub(crate) fn fork_service(&self) -> Result<Forked> {
        let (prepared, descriptors, ends) = Prepared::new(self, None)?;
        let failed = |errno| Error::system(Step::Fork, errno);
        let before = block_signals().map_err(failed)?;
        // SAFETY: the child only runs child::service, which keeps to async-signal-safe calls.
        let forked = unsafe { sys::fork() };
        if forked == Ok(0) {
            // SAFETY: this is the forked child, with every signal blocked.
            unsafe { child::service(&prepared) };
        }
        let restored = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
        debug_assert!(restored.is_ok());
        drop(descriptors);
        let LauncherEnds { exec, status, mut created, .. } = ends;
        created.keep();
        Ok(Forked { pid: forked.map_err(failed)?, exec, status })
    }
}

fn block_signals() -> nix::Result<SigSet> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    Ok(before)
}
