//! Launch a program as a correct UNIX daemon, and learn the truth about whether it started.
//!
//! This is the core of the npm package of the same name, usable from Rust alone. [`launch`] forks a session leader, which
//! forks the daemon, which arranges its descriptors, writes its pid, takes its limits and ids and executes the program
//! (daemon(7)); every step that fails is told with its [`Step`] and errno, and undone. The program may call [`adopt()`] to take
//! over its start and [`Adoption::report`] when it is up. [`status`], [`send_signal`] and [`stop`] find it by its pidfile and
//! touch it only when the kernel names it as the holder.
//!
//! ```
//! use daemonry::{LaunchPlan, Status, StopOptions, Stopped};
//!
//! let directory = std::env::temp_dir().join(format!("daemonry-doc-{}", std::process::id()));
//! std::fs::create_dir(&directory)?;
//! let pid_file = directory.join("sleep.pid");
//!
//! let plan = LaunchPlan {
//!     arguments: vec!["sleep".into(), "60".into()],
//!     pid_file: Some(pid_file.clone()),
//!     ..LaunchPlan::new("/bin/sleep")
//! };
//! let started = daemonry::launch(&plan)?;
//! assert!(matches!(daemonry::status(&pid_file)?, Status::Running { pid, .. } if pid == started.pid));
//!
//! assert_eq!(daemonry::stop(&pid_file, StopOptions::default())?, Stopped::Ended { pid: started.pid });
//! assert_eq!(daemonry::status(&pid_file)?, Status::Stopped);
//! # std::fs::remove_dir(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
