//! What a caller asks of the process above its daemon.

use std::path::PathBuf;
use std::time::Duration;

/// When a daemon that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    No,
    /// After an exit with another code than 0, a signal that does not ask it to end, or a start that fails.
    OnFailure,
    /// Whenever it ends without having been asked to.
    Always,
}

/// How often a daemon may be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartLimit {
    /// So many times
    pub times: u32,
    /// within so long.
    pub within: Duration,
}

/// The process above a daemon, and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervision {
    /// The native command.
    pub command: PathBuf,
    /// When the daemon is started again.
    pub restart: Restart,
    /// How often, before the supervisor gives up. Default: without end.
    pub limit: Option<RestartLimit>,
    /// What it gets when the supervisor gets SIGTERM.
    pub kill_signal: i32,
}

/// The signals that a supervisor passes on to its service.
pub(crate) const PASSED_ON: [i32; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// Whether a supervisor passes a signal on to its service.
pub(crate) fn is_passed_on(signal: i32) -> bool {
    PASSED_ON.contains(&signal)
}
