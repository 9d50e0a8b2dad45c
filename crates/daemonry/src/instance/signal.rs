//! Sending a signal to an instance.

use std::path::Path;

use super::prove::{Proven, prove};
use crate::error::{Error, Result, Step};
use crate::state::Phase;
use crate::sys;

/// Sends `signal` to the daemon of the pidfile at `path`; returns the pid that got it.
///
/// # Errors
///
/// [`Error::NotRunning`]; [`Error::PidFileHeld`]; [`Error::NotAPidFile`]; [`Error::SignalRefused`] for a signal that a daemon
/// which is still starting, or a program without a handler for SIGHUP, would or could die of; [`Error::System`].
pub fn send_signal(path: &Path, signal: i32) -> Result<i32> {
    let proven = prove(path)?.ok_or_else(|| Error::NotRunning { path: path.to_owned() })?;
    send_to(&proven, path, signal)?;
    Ok(proven.pid)
}

/// The same for an instance that is proven already.
pub(super) fn send_to(proven: &Proven, path: &Path, signal: i32) -> Result<()> {
    let Proven { pid, phase, process, said, .. } = proven;
    let is_safe_early = matches!(signal, libc::SIGTERM | libc::SIGKILL | libc::SIGSTOP | libc::SIGCONT);
    let refused = |reason| Err(Error::SignalRefused { pid: *pid, signal, reason });
    if *phase == Phase::Starting && !is_safe_early {
        return refused("it is still starting, and the signal could terminate it");
    }
    if signal == libc::SIGHUP {
        match sys::catches_signal(*pid, signal) {
            Some(true) => {}
            Some(false) => return refused("the program does not handle it, and would be terminated"),
            // By its own word it does.
            None if said.reloads.is_some() || process.has_ended() => {}
            None => return refused("without /proc it cannot be known whether the program handles it"),
        }
    }
    match process.signal(signal) {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::ESRCH) => Err(Error::NotRunning { path: path.to_owned() }),
        Err(errno) => Err(Error::at(Step::Signal, path)(errno)),
    }
}
