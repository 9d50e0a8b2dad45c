#![doc = include_str!("../README.md")]

mod adopt;
mod child;
mod deferred;
mod digits;
mod error;
mod frame;
mod host;
mod ids;
mod instance;
mod interpreter;
mod interrupt;
mod last_words;
mod launch;
mod limits;
mod listen;
mod marker;
mod notify;
mod pidfile;
mod pinned;
mod plan;
#[cfg(test)]
mod property;
mod rehearse;
mod shown;
mod signals;
mod state;
mod stdio;
mod store;
mod sys;
mod takeover;
mod terminate;
mod trusted_path;

pub use adopt::{Adoption, adopt};
pub use error::{Error, Exit, Result, Step, signal_name};
pub use frame::Report;
pub use ids::{Account, Ids, Who};
pub use instance::{
    IfRunning, Reloaded, Remains, Status, StopOptions, Stopped, note_failed_start, reload, replacement_failed,
    runs_other_version, send_signal, status, status_of_named, stop, stops_requested,
};
pub use interrupt::AbortHandle;
pub use launch::{Advice, LaunchFailure, Outcome, Started, launch};
pub use limits::{Bound, Limit, Resource};
pub use listen::{
    BoundSocket, DEFAULT_BACKLOG, DEFAULT_SOCKET_MODE, Endpoint, ListenAddress, Listener, Source, endpoint,
    take_sockets,
};
pub use marker::START_VARIABLE;
pub use nix::errno::Errno;
pub use notify::{monotonic_clock, notify};
pub use pidfile::{DEFAULT_MODE, Kept, PidFile};
pub use pinned::PinnedPlan;
pub use plan::{Fork, LaunchPlan, WaitFor};
pub use state::{FailedReload, Handlers, KillMode, ReloadEvent, SESSION_VARIABLE};
pub use stdio::{DEFAULT_LOG_MODE, LogFile, Stream, reopen_log};
pub use store::{
    Caller, End, EndReason, Event, EventKind, Forgotten, JournalReader, JournalWatch, Located, Name, Owner, PlaceFile,
    Places, Record, Recorded, Request, SelfReport, StartMethod, Target, forget, list, list_journals, locate,
    logical_directory, script_among, stay_in_system_places,
};
pub use takeover::Held;
pub use terminate::{arm, die, disarm, exit_now, guard};

/// The command line of the calling process as the kernel keeps it, for runtimes that do not tell their flags; empty where it
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
    sys::duplicate_number_above(descriptor, pinned::FIRST).map_err(|errno| Error::system(Step::MoveDescriptor, errno))
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
