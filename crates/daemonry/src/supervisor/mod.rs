//! The process above a daemon: it holds the lock, the pidfile and the sockets, starts the service below it, and starts it again when
//! it ends. docs/supervisor.md describes the theory.
//!
//! One event loop on the main thread, which is the only one: the kernel ends the service with the thread that has forked it.

mod events;
mod logs;
mod machine;
mod process;
mod signals;
mod sockets;

use std::ffi::OsStr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use crate::adopt::adopt;
use crate::error::{Error, Result, Step};
use crate::launch::Order;
use crate::protocol::START_VARIABLE;
use crate::sys;
use events::Supervisor;

/// The exit code of a supervisor whose service has failed, or that could not do its work.
const FAILED: u8 = 1;

/// Supervises what its launcher has ordered, until the service is over. For the main thread of a process that has done nothing else.
///
/// # Errors
///
/// [`Error::InvalidPlan`] for a process that was not started as a supervisor.
pub fn supervise() -> Result<ExitCode> {
    let not_ordered = || Error::InvalidPlan("a supervisor is started by daemonry itself".to_owned());
    let token = std::env::var_os(START_VARIABLE).ok_or_else(not_ordered)?;
    // SAFETY: once, at the beginning of a process that has opened nothing.
    let adoption = unsafe { adopt(&token) }?.ok_or_else(not_ordered)?;
    let (status, pid_file, note) = adoption.into_parts();
    let (Some(pid_file), Some(order)) = (pid_file, order_descriptor(&note)) else { return Err(not_ordered()) };
    let failed = |errno| Error::system(Step::Adopt, errno);
    sys::close_on_exec(order).map_err(failed)?;
    // SAFETY: the launcher made this descriptor for this process, by the number in its note.
    let order = Order::read(unsafe { OwnedFd::from_raw_fd(order) })?;
    // The launcher's session leader has ended: this session is the one that the service is in.
    let _is_leader_already = nix::unistd::setsid();
    sys::adopt_orphans().map_err(failed)?;
    let is_orderly = Supervisor::begin(order, status, pid_file)?.run()?;
    Ok(if is_orderly { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn order_descriptor(note: &OsStr) -> Option<RawFd> {
    note.to_str()?.parse().ok().filter(|&fd| fd > 2)
}
