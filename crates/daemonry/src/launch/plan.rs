//! What to launch, and how.

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::interrupts::AbortHandle;
use crate::error::{Error, Result};
use crate::instance::IfRunning;
use crate::listen::{self, Listener};
use crate::pidfile;
use crate::protocol::{RehearsedSocket, WaitFor};
use crate::rlimit::Limit;
use crate::state::KillMode;
use crate::stdio::Stream;
use crate::store::Record;
use crate::supervision::Supervision;
use crate::sys;
use crate::user::RunAs;

/// How the launcher forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// Into its own memory where the platform, the kernel and its filters let it, else by copying.
    Automatic,
    /// By copying, as fork(2) does.
    Copy,
}

/// What is changed of the daemon's process before the program is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// File mode creation mask. Default: `0o022`.
    pub umask: u32,
    /// The user to run as, who also becomes the owner of the directories and logs that are made. Default: the launcher's.
    pub run_as: Option<RunAs>,
    /// Its resource limits. Default: the launcher's.
    pub limits: Vec<Limit>,
    /// Its niceness, -20 to 19. Default: the launcher's.
    pub nice: Option<i32>,
    /// Its OOM score adjustment, -1000 to 1000; Linux. Default: the launcher's.
    pub oom_score_adjust: Option<i32>,
    /// Nothing that it executes gains privileges; Linux. Default: false.
    pub no_new_privileges: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            umask: 0o022,
            run_as: None,
            limits: Vec::new(),
            nice: None,
            oom_score_adjust: None,
            no_new_privileges: false,
        }
    }
}

/// A program to launch as a daemon.
///
/// All paths are the launcher's: relative ones start at `directory`.
#[derive(Debug, Clone)]
pub struct LaunchPlan {
    /// The executable: a path, or a name without a slash that is looked for in the daemon's `PATH` as execvp(3) does.
    pub program: PathBuf,
    /// Its arguments, the name that it is called by (`argv[0]`) first.
    pub arguments: Vec<OsString>,
    /// What it inherits of the launcher's environment. A daemon that runs as another user gets that user's `HOME`, `USER`,
    /// `LOGNAME` and `SHELL`, and nothing that leads to the files or the session of the launcher's. Default: everything.
    pub inherited_env: Vec<(OsString, OsString)>,
    /// Variables to set in that environment; `None` removes one. Default: none.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Standard input. Default: [`Stream::Null`].
    pub stdin: Stream,
    /// Standard output. Default: [`Stream::Null`].
    pub stdout: Stream,
    /// Standard error; equal to `stdout`, both share one open file. Default: [`Stream::Null`].
    pub stderr: Stream,
    /// The directory where the relative paths of this plan start. Default: the launcher's working directory.
    pub directory: Option<PathBuf>,
    /// The working directory that the program is executed in. Default: the launcher's.
    pub working_directory: Option<PathBuf>,
    /// Sockets that are passed to it using `LISTEN_FDS` (`sd_listen_fds(3)`), bound once the pidfile is locked. Default: none.
    pub listeners: Vec<Listener>,
    /// What is changed of its process before the program is executed.
    pub attributes: Attributes,
    /// A file that it must be able to read, such as the script of an interpreter. Default: none.
    pub must_read: Option<PathBuf>,
    /// The pidfile to hold, locked before the fork. Default: none.
    pub pid_file: Option<PathBuf>,
    /// The mode of a pidfile that has to be made. Default: [`crate::DEFAULT_MODE`].
    pub pid_file_mode: u32,
    /// How long it takes to stop, at most: a caller that stops it waits that long and 2 s more. Default: unknown, and 10 s are waited.
    pub stop_timeout: Option<Duration>,
    /// What is ended besides the program itself when it is stopped. Default: [`KillMode::Session`].
    pub kill_mode: KillMode,
    /// The process above it, which starts it again. Default: none.
    pub supervision: Option<Supervision>,
    /// The daemon's name, under which it is one instance whatever its pidfile. The directories of its [`crate::Places`] are made.
    /// Default: none.
    pub name: Option<String>,
    /// Its version, for [`IfRunning::Reuse`]: an instance of another version is replaced. Default: none.
    pub version: Option<String>,
    /// What is started, written down while the pidfile is locked: [`Error::OtherProgram`] depends on it. Default: nothing.
    pub record: Option<Record>,
    /// What to do when the daemon runs already. Default: [`IfRunning::Error`].
    pub if_running: IfRunning,
    /// For the second half of a restart: how many stops had been requested when that began ([`crate::stops_requested`]). One more
    /// cancels the start. Default: none, and a start that replaces an instance itself counts from its own beginning.
    pub stops_before: Option<u64>,
    /// When the start counts as done. Default: [`WaitFor::Exec`].
    pub wait_for: WaitFor,
    /// How long the daemon must live on after that point. Default: zero.
    pub alive_for: Duration,
    /// After this a start has failed and is undone. Waiting for others, and a start after that, have twice as long together;
    /// ending another daemon does not count. Default: 30 s.
    pub start_timeout: Duration,
    /// The launcher exits when the daemon is up, so the daemon may be its own child and the launcher waits with handlers for
    /// SIGINT, SIGTERM and SIGHUP in place. False for a caller that lives on. Default: false.
    pub launcher_leaves: bool,
    /// Undoes the start when another thread says so. Default: none.
    pub abort: Option<AbortHandle>,
    /// How to fork. Default: [`Fork::Automatic`].
    pub fork: Fork,
    /// Handed to the daemon, which gets it back from [`crate::adopt`]. No NUL bytes.
    pub note: OsString,
}

impl LaunchPlan {
    /// A plan for `program` with the caller's environment and no arguments but the program itself.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        Self {
            arguments: vec![program.clone().into()],
            program,
            inherited_env: std::env::vars_os().collect(),
            env: Vec::new(),
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
            directory: None,
            working_directory: None,
            listeners: Vec::new(),
            attributes: Attributes::default(),
            must_read: None,
            pid_file: None,
            pid_file_mode: pidfile::DEFAULT_MODE,
            stop_timeout: None,
            kill_mode: KillMode::Session,
            supervision: None,
            name: None,
            version: None,
            record: None,
            if_running: IfRunning::Error,
            stops_before: None,
            wait_for: WaitFor::Exec,
            alive_for: Duration::ZERO,
            start_timeout: Duration::from_secs(30),
            launcher_leaves: false,
            abort: None,
            fork: Fork::Automatic,
            note: OsString::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |sentence: &str| Err(Error::InvalidPlan(sentence.to_owned()));
        if self.stdin == Stream::Capture || self.stdout == Stream::Capture {
            return refuse("only standard error can be captured");
        }
        if self.stderr == Stream::Capture && self.wait_for == WaitFor::Exec {
            return refuse("standard error can be captured only from a daemon that takes over its start");
        }
        if self.alive_for >= self.start_timeout && !self.alive_for.is_zero() {
            return refuse("the time to stay alive must be shorter than the start's time-out");
        }
        if self.pid_file.is_none() && (self.if_running != IfRunning::Error || self.record.is_some()) {
            return refuse("without a pidfile it cannot be known whether the daemon runs, and no record can be kept");
        }
        if self.supervision.is_some() && self.pid_file.is_none() {
            return refuse("a supervised daemon needs a name or a pidfile, by which it is stopped");
        }
        if self.supervision.is_some() && matches!(self.stdin, Stream::File(_)) {
            return refuse("a supervised daemon cannot read its standard input from a file");
        }
        if self.attributes.oom_score_adjust.is_some() && !sys::HAS_OOM_SCORE {
            return refuse("there are no OOM scores on this platform");
        }
        if self.attributes.no_new_privileges && !sys::HAS_NO_NEW_PRIVILEGES {
            return refuse("this platform has no flag against new privileges");
        }
        listen::check(&self.listeners)
    }

    /// Whether executing the program is all that a start waits for.
    pub(crate) fn is_up_at_exec(&self) -> bool {
        self.wait_for == WaitFor::Exec && self.alive_for.is_zero()
    }
}

/// What the child of a rehearsal checks.
pub(crate) struct Rehearsal {
    /// For each program, the places of its interpreter, if it has one.
    pub(crate) interpreters: Vec<Vec<CString>>,
    /// The sockets that it would bind itself.
    pub(crate) sockets: Vec<RehearsedSocket>,
}
