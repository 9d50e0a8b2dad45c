//! A stop cancels a restart that is under way: every request to stop is counted, and a start that follows the stop of another
//! instance does not go on if there is one more than when the restart began.

use std::path::Path;

use super::prove::keys;
use crate::error::{Error, Result};
use crate::state::{self, Key};

/// Counts a request to stop. Made before anything is looked at: a start that misses it has its lock already, and is found.
pub(super) fn count_stop(path: &Path) -> Result<()> {
    keys(path)?.iter().try_for_each(state::count_stop)
}

/// How many stops of the daemon of the pidfile at `path` were requested so far, for a caller that is about to stop it and then
/// start it again ([`crate::LaunchPlan::stops_before`]).
///
/// # Errors
///
/// [`Error::System`] when its private state cannot be read.
pub fn stops_requested(path: &Path) -> Result<u64> {
    // Which of its places a start uses is known only when it does.
    Key::find(path, nix::unistd::geteuid().as_raw())?.iter().map(state::stops).sum()
}

/// Fails if a stop was requested since there had been as many as `before`; a start that replaces nothing has no such number.
pub(crate) fn refuse_cancelled(path: &Path, before: Option<u64>) -> Result<()> {
    match before {
        Some(before) if stops_requested(path)? != before => Err(Error::StartCancelled),
        _ => Ok(()),
    }
}
