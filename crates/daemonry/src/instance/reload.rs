//! Reloading an instance: signal it, and wait until a reload is over that began after the caller asked for it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::prove::prove;
use super::signal::send_to;
use super::timing::RETRY_PAUSE;
use crate::error::{Error, Result};
use crate::state::{ReloadReports, Reloads};
use crate::sys;

/// What became of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// It is done.
    Done {
        /// The daemon's pid.
        pid: i32,
    },
    /// The signal was sent to a program that has a handler of its own for it and reports nothing, or whose report the caller
    /// may not read.
    Unreported {
        /// The daemon's pid.
        pid: i32,
    },
}

/// Sends SIGHUP to the daemon of the pidfile at `path`, and waits for at most `timeout` until it has reloaded. Blocks the calling
/// thread. What is reported is the outcome of a reload that began after this call, whichever caller has asked for it.
///
/// # Errors
///
/// [`Error::ReloadFailed`]; [`Error::ReloadTimeout`]; those of [`crate::send_signal`].
pub fn reload(path: &Path, timeout: Duration) -> Result<Reloaded> {
    let not_running = || Error::NotRunning { path: path.to_owned() };
    let proven = prove(path)?.ok_or_else(not_running)?;
    let pid = proven.service_pid();
    let reports = proven.locked.as_ref().map_or(Ok(None), |(key, _)| ReloadReports::open(key))?;
    if proven.process.has_ended() {
        // The file may be that of another instance already.
        return Err(not_running());
    }
    let read = || reports.as_ref().map_or(Ok(None), ReloadReports::read);
    let begun = read()?.map_or(0, |reloads| reloads.begun);
    send_to(&proven, path, libc::SIGHUP)?;
    let deadline = sys::deadline_after(timeout);
    let mut has_ended = false;
    loop {
        // Only now: a program says that it reports before it catches the signal, which may have been an instant ago.
        let Some(now) = read()? else { return Ok(Reloaded::Unreported { pid }) };
        if let Reloads { ended, failed, .. } = &now
            && *ended > begun
        {
            let failed = failed.as_ref().map(|failed| Error::ReloadFailed { pid, reason: failed.reason.clone() });
            return failed.map_or(Ok(Reloaded::Done { pid }), Err);
        }
        if has_ended {
            return Err(Error::ReloadFailed { pid, reason: "it exited first".into() });
        }
        if Instant::now() >= deadline {
            return Err(Error::ReloadTimeout { pid, limit: timeout, has_begun: now.begun > now.ended });
        }
        has_ended = proven.process.wait(deadline.min(Instant::now() + RETRY_PAUSE));
    }
}
