//! Sending a signal to an instance.

use std::path::Path;

use nix::unistd::{Pid, getsid};

use super::prove::{Proven, prove};
use crate::error::{Error, Result, Step};
use crate::state::{Phase, Service, ServiceState};
use crate::supervision::is_passed_on;
use crate::sys::{self, Process};

/// Sends `signal` to the daemon of the pidfile at `path`; returns the pid that got it.
///
/// # Errors
///
/// [`Error::NotRunning`]; [`Error::PidFileHeld`]; [`Error::NotAPidFile`]; [`Error::SignalRefused`] for a signal that a daemon
/// which is still starting, or a program without a handler for SIGHUP, would or could die of; [`Error::System`].
pub fn send_signal(path: &Path, signal: i32) -> Result<i32> {
    let proven = prove(path)?.ok_or_else(|| Error::NotRunning { path: path.to_owned() })?;
    send_to(&proven, path, signal)?;
    Ok(proven.service_pid())
}

/// The same for an instance that is proven already.
pub(super) fn send_to(proven: &Proven, path: &Path, signal: i32) -> Result<()> {
    let Proven { pid: main, phase, process, service, said, .. } = proven;
    let pid = &proven.service_pid();
    let is_safe_early = matches!(signal, libc::SIGTERM | libc::SIGKILL | libc::SIGSTOP | libc::SIGCONT);
    let refused = |reason| Err(Error::SignalRefused { pid: *pid, signal, reason });
    if *phase == Phase::Starting && !is_safe_early {
        return refused("it is still starting, and the signal could terminate it");
    }
    if !is_safe_early && service.is_some_and(|service| service.state != ServiceState::Up) {
        return refused("its supervisor is restarting it");
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
    let below = match service {
        Some(service) if !is_passed_on(signal) => Some(open_service(*service, *main, path)?),
        _ => None,
    };
    match below.as_ref().unwrap_or(process).signal(signal) {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::ESRCH) => Err(Error::NotRunning { path: path.to_owned() }),
        Err(errno) => Err(Error::at(Step::Signal, path)(errno)),
    }
}

/// The process of a service, for a signal that its supervisor cannot pass on. As long as that lives, only processes that have come
/// from it are in its session.
fn open_service(service: Service, supervisor: i32, path: &Path) -> Result<Process> {
    let not_running = || Error::NotRunning { path: path.to_owned() };
    let opened = Process::open(service.pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
    let process = opened.ok_or_else(not_running)?;
    let session = getsid(Some(Pid::from_raw(service.pid)));
    if session == Ok(Pid::from_raw(supervisor)) { Ok(process) } else { Err(not_running()) }
}
