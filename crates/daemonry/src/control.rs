//! Signalling and stopping a daemon by its pidfile: get hold of the process, prove that it is the daemon, only then signal.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Step};
use crate::herd::STARTER_PATIENCE;
use crate::pidfile::{self, Phase, RETRY_PAUSE, UNPROVEN_PATIENCE, probe_path};
use crate::sys::{self, Holder, Process};

/// How long a killed process may take to be gone.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How long a daemon may take to end by itself, unless told otherwise.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How a daemon was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It ended by itself.
    Ended {
        /// The pid that it had.
        pid: i32,
    },
    /// It did not, and was killed.
    Killed {
        /// The pid that it had.
        pid: i32,
    },
    /// There was nothing to stop.
    NotRunning,
}

/// How to stop a daemon.
#[derive(Debug, Clone, Copy)]
pub struct StopOptions {
    /// The signal that asks it to stop. Default: SIGTERM.
    pub signal: i32,
    /// How long it may take. Default: 10 s.
    pub timeout: Duration,
    /// Whether SIGKILL follows. Default: true.
    pub force: bool,
}

impl Default for StopOptions {
    fn default() -> Self {
        Self { signal: libc::SIGTERM, timeout: STOP_TIMEOUT, force: true }
    }
}

/// A daemon that cannot be mistaken for another process any more.
struct Proven {
    pid: i32,
    phase: Phase,
    process: Process,
}

/// First the process, then the proof: in the other order the pid could be somebody else's by the time it is opened.
fn prove(path: &Path) -> Result<Option<Proven>> {
    let begun = Instant::now();
    loop {
        let Some(first) = probe_path(path)? else { return Ok(None) };
        match (first.holder, first.pid) {
            (Holder::Nobody, _) => return Ok(None),
            (Holder::Proven, Some(pid)) => {
                let opened = Process::open(pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
                let second = probe_path(path)?;
                if let (Some(process), Some(second)) = (opened, second)
                    && second.holder == Holder::Proven
                    && second.pid == Some(pid)
                {
                    return Ok(Some(Proven { pid, phase: second.phase, process }));
                }
            }
            (Holder::Other(holder), _) if begun.elapsed() > UNPROVEN_PATIENCE => {
                return Err(Error::PidFileHeld { holder, path: path.to_owned() });
            }
            (Holder::Taker(pid), _) if begun.elapsed() > STARTER_PATIENCE => {
                return Err(Error::PidFileHeld { holder: Some(pid), path: path.to_owned() });
            }
            _ => {}
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// Sends `signal` to the daemon of the pidfile at `path`; returns the pid that got it.
///
/// # Errors
///
/// [`Error::NotRunning`]; [`Error::PidFileHeld`]; [`Error::NotAPidFile`]; [`Error::SignalRefused`] for a signal that a daemon
/// which is still starting, or a program without a handler for SIGHUP, would only die of; [`Error::System`].
pub fn send_signal(path: &Path, signal: i32) -> Result<i32> {
    let not_running = || Error::NotRunning { path: path.to_owned() };
    let Proven { pid, phase, process } = prove(path)?.ok_or_else(not_running)?;
    let is_safe_early = matches!(signal, libc::SIGTERM | libc::SIGKILL | libc::SIGSTOP | libc::SIGCONT);
    let refused = |reason| Err(Error::SignalRefused { pid, signal, reason });
    if phase == Phase::Starting && !is_safe_early {
        return refused("it is still starting, and could be ended by it");
    }
    if signal == libc::SIGHUP && sys::catches_signal(pid, signal) == Some(false) {
        return refused("it does not catch it, and would be ended by it");
    }
    match process.signal(signal) {
        Ok(()) => Ok(pid),
        Err(nix::errno::Errno::ESRCH) => Err(not_running()),
        Err(errno) => Err(Error::at(Step::Signal, path)(errno)),
    }
}

/// Stops the daemon of the pidfile at `path` and waits for its end. Blocks the calling thread. One that is stopping already gets no
/// second SIGTERM.
///
/// # Errors
///
/// [`Error::StopTimeout`] without `force`; [`Error::PidFileHeld`]; [`Error::NotAPidFile`]; [`Error::System`].
pub fn stop(path: &Path, options: StopOptions) -> Result<Stopped> {
    let Some(Proven { pid, phase, process }) = prove(path)? else { return Ok(Stopped::NotRunning) };
    let signal = |signal| match process.signal(signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::at(Step::Signal, path)(errno)),
    };
    // A second SIGTERM would cut off what the first one lets it finish.
    if phase != Phase::Stopping || options.signal != libc::SIGTERM {
        signal(options.signal)?;
    }
    let stopped = if process.wait(sys::deadline_after(options.timeout)) {
        Stopped::Ended { pid }
    } else if options.force {
        signal(libc::SIGKILL)?;
        if !process.wait(Instant::now() + KILL_PATIENCE) {
            return Err(Error::StopTimeout { pid, limit: options.timeout.saturating_add(KILL_PATIENCE) });
        }
        Stopped::Killed { pid }
    } else {
        return Err(Error::StopTimeout { pid, limit: options.timeout });
    };
    pidfile::remove_after_exit(path, pid)?;
    Ok(stopped)
}
