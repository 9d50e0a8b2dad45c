#![doc = include_str!("../README.md")]

mod adopt;
mod child;
mod control;
mod error;
mod frame;
mod herd;
mod host;
mod ids;
mod interrupt;
mod launch;
mod limits;
mod listen;
mod marker;
mod notify;
mod pidfile;
mod plan;
#[cfg(test)]
mod property;
mod record;
mod signals;
mod stdio;
mod sys;
mod terminate;

pub use adopt::{Adoption, adopt};
pub use control::{StopOptions, Stopped, send_signal, stop};
pub use error::{Error, Exit, Result, Step, signal_name};
pub use frame::Report;
pub use herd::IfRunning;
pub use ids::{Account, Ids, Who};
pub use interrupt::AbortHandle;
pub use launch::{LaunchFailure, Outcome, Started, launch};
pub use limits::{Bound, Limit, Resource};
pub use listen::{
    BoundSocket, DEFAULT_BACKLOG, DEFAULT_SOCKET_MODE, Endpoint, ListenAddress, Listener, Source, endpoint,
    take_sockets,
};
pub use marker::START_VARIABLE;
pub use nix::errno::Errno;
pub use notify::{monotonic_clock, notify};
pub use pidfile::{DEFAULT_MODE, PidFile, Status, status};
pub use plan::{Fork, LaunchPlan, WaitFor};
pub use record::Record;
pub use stdio::{DEFAULT_LOG_MODE, LogFile, Stream, reopen_log};
pub use terminate::{arm, die, disarm, exit_now, guard};

/// The command line of the calling process as the kernel keeps it, for runtimes that do not tell their flags; empty where it
/// cannot be read.
pub fn command_line() -> Vec<std::ffi::OsString> {
    sys::command_line()
}

/// Whether the calling process shares its parent's process group: as what a script or another program runs does, and what a
/// shell with job control has started does not. `None` where that cannot be seen.
pub fn shares_group_of_parent() -> Option<bool> {
    let group = |pid| nix::unistd::getpgid(Some(pid)).ok();
    // A parent in another PID namespace is 0, which getpgid(2) takes for the caller.
    let parent = nix::unistd::getppid();
    if parent.as_raw() == 0 { None } else { Some(group(parent)? == nix::unistd::getpgrp()) }
}

/// Whether the calling thread is the process's first one: nothing else may turn the process into a daemon.
pub fn is_main_thread() -> bool {
    sys::is_main_thread()
}
