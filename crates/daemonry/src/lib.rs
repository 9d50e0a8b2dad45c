#![doc = include_str!("../README.md")]

mod adopt;
mod error;
mod exit_hooks;
mod instance;
mod json;
mod last_words;
mod launch;
mod listen;
mod listen_address;
mod notify;
mod pidfile;
#[cfg(test)]
mod property;
mod protocol;
mod rlimit;
mod shown;
mod state;
mod stdio;
mod store;
mod supervision;
mod supervisor;
mod sys;
mod trusted_path;
mod user;

pub use adopt::{Adoption, adopt};
pub use error::{Error, Result, Step};
pub use exit_hooks::{arm, die, disarm, exit_now, guard};
pub use instance::{
    Forgotten, IfRunning, JournalWatch, Located, Reloaded, Remains, Status, StopOptions, Stopped, Supervisor, Target,
    forget, list, list_journals, locate, note_failed_start, reload, replacement_failed, runs_other_version,
    send_signal, status, status_of_named, stop, stops_requested,
};
pub use launch::{
    AbortHandle, Advice, Attributes, Fork, Held, LaunchFailure, LaunchPlan, NotExecutable, Outcome, PinnedPlan,
    Started, check_executable, launch,
};
pub use listen::{
    BoundSocket, DEFAULT_BACKLOG, DEFAULT_SOCKET_MODE, Endpoint, Listener, Source, endpoint, take_sockets,
};
pub use listen_address::ListenAddress;
pub use nix::errno::Errno;
pub use notify::{monotonic_clock, notify};
pub use pidfile::{DEFAULT_MODE, Kept, PidFile};
pub use protocol::{Report, START_VARIABLE, WaitFor};
pub use rlimit::{Bound, Limit};
pub use state::{FailedReload, Handlers, KillMode, ReloadEvent, SESSION_VARIABLE};
pub use stdio::{DEFAULT_LOG_MODE, LogFile, Stream, reopen_log};
pub use store::{
    Caller, End, EndReason, Event, EventKind, JournalReader, Name, Owner, PlaceFile, Places, Record, Recorded, Request,
    SelfReport, StartMethod, logical_directory, script_among, stay_in_system_places,
};
pub use supervision::{Restart, RestartLimit, Supervision};
pub use supervisor::supervise;
pub use sys::{Exit, Resource, signal_name};
pub use user::{Account, Ids, RunAs, UserRef};

/// The command line of the calling process as the kernel keeps it, for runtimes that do not report their flags; empty where it
/// cannot be read.
pub fn command_line() -> Vec<std::ffi::OsString> {
    sys::command_line()
}

/// A second descriptor, closed on exec and above the standard streams, of what an open number means.
///
/// # Errors
///
/// [`Error::System`] for a number that is not open.
pub fn duplicate(descriptor: std::os::fd::RawFd) -> Result<std::os::fd::OwnedFd> {
    sys::duplicate_number_above(descriptor, launch::FIRST).map_err(|errno| Error::system(Step::MoveDescriptor, errno))
}

/// Whether the calling process shares its parent's process group: as what a script or another program runs does, and what a
/// shell with job control has started does not. `None` where that cannot be seen.
pub fn shares_group_of_parent() -> Option<bool> {
    let group = |pid| nix::unistd::getpgid(Some(pid)).ok();
    // A parent in another PID namespace is 0, which getpgid(2) takes for the caller.
    let parent = nix::unistd::getppid();
    if parent.as_raw() == 0 { None } else { Some(group(parent)? == nix::unistd::getpgrp()) }
}

/// Whether a process has a handler for a signal; `None` where that cannot be seen.
pub fn catches_signal(pid: i32, signal: i32) -> Option<bool> {
    sys::catches_signal(pid, signal)
}

/// Whether the calling thread is the process's first one: nothing else may turn the process into a daemon.
pub fn is_main_thread() -> bool {
    sys::is_main_thread()
}
