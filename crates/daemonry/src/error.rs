//! What can go wrong, and at which step: the one list of errors and steps.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::listen_address::ListenAddress;
use crate::shown::Shown;
use crate::sys::{self, Exit, Resource, shown, signal_name};

macro_rules! steps {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $syscall:literal, $phrase:literal;)*) => {
        /// The step of a start, a look-up or a stop at which a system call failed.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Step {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Step {
            /// Every step, in the order in which a start goes through them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The step's name as the public interfaces spell it, such as `"write-pid"`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The system call at the heart of the step, as Node's errors name it.
            pub const fn syscall(self) -> &'static str {
                match self {
                    $(Self::$variant => $syscall,)*
                }
            }

            /// What was being done, to follow "cannot".
            const fn phrase(self) -> &'static str {
                match self {
                    $(Self::$variant => $phrase,)*
                }
            }

            /// The step of a number that came over the exec pipe.
            pub(crate) fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|step| *step as u8 == number)
            }
        }
    };
}

steps! {
    /// Looking up a user or a group in the database.
    LookUpUser = 31, "look-up-user", "getpwnam_r", "look up the user";
    /// Opening the private lock of an instance.
    OpenLock = 50, "open-lock", "open", "open the lock";
    /// `flock(2)` on it.
    TakeLock = 51, "take-lock", "flock", "take the lock";
    /// Reading what the last starter has left in it.
    ReadLock = 52, "read-lock", "read", "read the lock";
    /// Writing into it, or making the files beside it; the forked child writes its pid.
    WriteLock = 53, "write-lock", "write", "write the lock";
    /// Opening the directory that the pidfile lies in.
    OpenDirectory = 1, "open-directory", "open", "open the pidfile's directory";
    /// Opening or creating the pidfile.
    OpenPidFile = 2, "open-pidfile", "open", "open the pidfile";
    /// Reading the pidfile or comparing it with its name.
    ReadPidFile = 4, "read-pidfile", "read", "read the pidfile";
    /// Emptying a stale pidfile, once it is locked.
    ClearPidFile = 5, "clear-pidfile", "ftruncate", "clear the pidfile";
    /// Writing the record of a named daemon, or the daemon what it says about itself.
    WriteRecord = 29, "write-record", "write", "write the record";
    /// Removing the record of a named daemon, or what the daemon says about itself.
    RemoveRecord = 60, "remove-record", "unlink", "remove the record";
    /// Writing an event into the journal of a named daemon.
    WriteJournal = 54, "write-journal", "write", "write the journal";
    /// Reading that journal.
    ReadJournal = 55, "read-journal", "read", "read the journal";
    /// Opening the file for standard input.
    OpenStdin = 6, "open-stdin", "open", "open standard input";
    /// Opening the file for standard output, or the log.
    OpenStdout = 7, "open-stdout", "open", "open standard output";
    /// Opening the file for standard error, or the memory file that keeps start-up messages.
    OpenStderr = 8, "open-stderr", "open", "open standard error";
    /// Making the exec pipe or the status pipe.
    OpenPipe = 9, "open-pipe", "pipe", "open a pipe to the daemon";
    /// Moving a descriptor out of the way of the ones that the daemon gets.
    MoveDescriptor = 10, "move-descriptor", "fcntl", "move a descriptor";
    /// Binding a socket and listening on it.
    Listen = 30, "listen", "bind", "listen on a socket";
    /// Installing the handlers that let a waiting launcher notice SIGINT, SIGTERM and SIGHUP.
    CatchSignals = 11, "catch-signals", "sigaction", "watch for signals";
    /// The first fork.
    Fork = 12, "fork", "fork", "fork the session leader";
    /// `setsid(2)` in the session leader.
    Setsid = 13, "setsid", "setsid", "start a session";
    /// The second fork.
    ForkAgain = 14, "fork-again", "fork", "fork the daemon";
    /// `dup2(2)` onto descriptors 0 to 2 and those handed over.
    Dup = 15, "dup", "dup2", "put a descriptor in its place";
    /// Closing every descriptor that was not handed over.
    CloseDescriptors = 16, "close-descriptors", "close_range", "close inherited descriptors";
    /// The child writing its own pid.
    WritePid = 17, "write-pid", "pwrite", "write the pidfile";
    /// The OOM score adjustment.
    SetOomScore = 32, "set-oom-score", "write", "set the OOM score";
    /// `setpgid(2)` in the service of a supervisor.
    SetProcessGroup = 61, "set-process-group", "setpgid", "make a process group";
    /// `setpriority(2)`.
    SetPriority = 33, "set-priority", "setpriority", "set the niceness";
    /// `setrlimit(2)`.
    SetLimit = 34, "set-limit", "setrlimit", "set a resource limit";
    /// Giving up a real-time priority and the like, which the daemon's user could not have.
    ResetPriority = 42, "reset-priority", "sched_setscheduler", "give up the launcher's priority";
    /// `setgroups(2)`.
    SetGroups = 35, "set-groups", "setgroups", "set the supplementary groups";
    /// `setresgid(2)`.
    SetGid = 36, "set-gid", "setresgid", "change the group";
    /// `setresuid(2)`.
    SetUid = 37, "set-uid", "setresuid", "change the user";
    /// Looking whether all ids are as they were to be, and stay so.
    VerifyIds = 38, "verify-ids", "getresuid", "give up the launcher's ids";
    /// Getting a session keyring that is not the launcher's.
    JoinKeyring = 43, "join-keyring", "keyctl", "get a session keyring of its own";
    /// The flag that keeps what is executed from gaining privileges.
    NoNewPrivileges = 39, "no-new-privileges", "prctl", "forbid new privileges";
    /// Asking the kernel to end the service with its supervisor.
    EndWithSupervisor = 62, "end-with-supervisor", "prctl", "end with the supervisor";
    /// Looking whether the daemon's user may read the script.
    ReadScript = 40, "read-script", "faccessat", "read the script";
    /// `execve(2)`.
    Exec = 19, "exec", "execve", "execute";
    /// The new image taking over what it was handed.
    Adopt = 20, "adopt", "fcntl", "take over the start";
    /// `chdir(2)` in the daemon.
    Chdir = 21, "chdir", "chdir", "change the working directory to";
    /// The launcher waiting for the outcome.
    Wait = 22, "wait", "poll", "wait for the daemon";
    /// Writing down that the daemon is up, or that it has begun to stop.
    MarkPhase = 23, "mark-phase", "write", "record the daemon's phase beside the pidfile";
    /// Removing the pidfile.
    RemovePidFile = 24, "remove-pidfile", "unlink", "remove the pidfile";
    /// Opening a log again under a running daemon.
    ReopenLog = 25, "reopen-log", "open", "reopen the log";
    /// Getting hold of the process behind a pid.
    OpenProcess = 26, "open-process", "pidfd_open", "open the daemon's process";
    /// Sending a signal.
    Signal = 27, "signal", "kill", "signal the daemon";
    /// Telling the service manager something.
    Notify = 41, "notify", "sendmsg", "notify the service manager at";
    /// Making the conventional directory of a named daemon.
    MakeDirectory = 28, "make-directory", "mkdir", "make the directory";
}

/// Why a start, a look-up or a stop failed.
///
/// The text of an error is one sentence that names the step, the path and the reason.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {}{}: {} ({errno:?})", doing(*step, path.is_some()), Quoted(path.as_ref()), reason(*step, *errno))]
    System {
        /// What was being done.
        step: Step,
        /// The reason that the kernel gave.
        errno: Errno,
        /// The file that it was about.
        path: Option<PathBuf>,
    },
    /// A directory of a named daemon cannot be used.
    #[error("cannot {doing} {}: {reason} ({errno:?})", path.display())]
    Directory {
        /// [`Step::MakeDirectory`] or [`Step::OpenDirectory`].
        step: Step,
        /// What was being done, to follow "cannot".
        doing: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
        /// The reason as a number: the kernel's, or `EPERM` for a directory that was refused.
        errno: Errno,
    },
    /// A system call failed on a file for a reason that its errno alone does not show, such as a program whose interpreter is
    /// missing.
    #[error("cannot {} {}: {reason} ({errno:?})", doing(*step, true), Shown(path.display()))]
    Explained {
        /// What was being done.
        step: Step,
        /// The file that it was about.
        path: PathBuf,
        /// Why it failed.
        reason: String,
        /// The same as a number: the kernel's, or `ENOEXEC` for an interpreter whose name ends with a carriage return.
        errno: Errno,
    },
    /// A resource limit could not be set.
    #[error("cannot set the limit of {} to {} (hard {}): {} ({errno:?})", resource.name(), shown(*soft), shown(*hard), reason(Step::SetLimit, *errno))]
    SetLimit {
        /// Of what.
        resource: Resource,
        /// The soft limit; the platform's highest number means none.
        soft: u64,
        /// The hard limit.
        hard: u64,
        /// The reason that the kernel gave.
        errno: Errno,
    },
    /// An address could not be bound.
    #[error("cannot listen on {}: {} ({errno:?})", Shown(address), why_not_listen(address, *errno))]
    Listen {
        /// The address.
        address: ListenAddress,
        /// The reason that the kernel gave.
        errno: Errno,
    },
    /// A file or socket that root was to use for a daemon may be another user's. It was left untouched.
    #[error("cannot {} {}: {reason} (EPERM)", doing(*step, true), path.display())]
    Distrusted {
        /// What was being done.
        step: Step,
        /// The file.
        path: PathBuf,
        /// Why root does not use it.
        reason: String,
    },
    /// The database does not have a user or a group.
    #[error("{}", UnknownUser(kind, name, *needs_group))]
    UnknownUser {
        /// `"user"` or `"group"`.
        kind: &'static str,
        /// How it was called.
        name: String,
        /// It is a number, for which a group would have been enough.
        needs_group: bool,
    },
    /// The pidfile is held by a daemon whose pid the kernel confirms.
    #[error("already running with pid {pid} (pidfile {})", Shown(path.display()))]
    AlreadyRunning {
        /// The daemon's pid.
        pid: i32,
        /// The pidfile.
        path: PathBuf,
    },
    /// The daemon that runs is of another program, or in another directory, than the one to start.
    #[error(
        "already running, but as another program: process {pid} runs {running}, and this start asks for {wanted}: choose another {}, or replace the daemon that runs",
        if *is_named { "name" } else { "pidfile" }
    )]
    OtherProgram {
        /// The pid of the daemon that runs.
        pid: i32,
        /// The pidfile.
        path: PathBuf,
        /// Its command and directory.
        running: Box<str>,
        /// The command to start, and its directory.
        wanted: Box<str>,
        /// Whether it is about a name, and not a mere pidfile.
        is_named: bool,
    },
    /// The pidfile is locked, but not by the process whose pid is in it.
    #[error("the pidfile {} is locked by {}, not by the daemon named in it", Shown(path.display()), HeldBy(*holder))]
    PidFileHeld {
        /// The process that holds the lock, where it can be found.
        holder: Option<i32>,
        /// The pidfile.
        path: PathBuf,
    },
    /// A process holds the pidfile whose lock cannot be seen from here. It was not signalled.
    #[error("process {pid} holds the pidfile {}, but its lock cannot be seen from here: stop it where it was started, such as in its container or by its service manager", Shown(path.display()))]
    Unseen {
        /// The process that the pidfile names.
        pid: i32,
        /// The pidfile.
        path: PathBuf,
    },
    /// The file given as a pidfile is something else. It was left untouched.
    #[error("{} is not a pidfile: {reason}", Shown(path.display()))]
    NotAPidFile {
        /// What it is instead.
        reason: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A private file or directory of the caller's belongs to another user, or others can write there. It was left untouched.
    #[error("cannot use {}: it belongs to user {owner}, or other users can write to it", Shown(path.display()))]
    NotOwn {
        /// The file or directory.
        path: PathBuf,
        /// The uid of its owner.
        owner: u32,
    },
    /// No daemon holds the pidfile.
    #[error("no daemon is running (pidfile {})", Shown(path.display()))]
    NotRunning {
        /// The pidfile.
        path: PathBuf,
    },
    /// The daemon ended, or said that it failed, before it was up.
    #[error("the daemon {}", FailedStart(*exit, reason.as_deref()))]
    StartFailed {
        /// How it ended; `None` when it reported a failure and had to be ended.
        exit: Option<Exit>,
        /// What the daemon itself gave as the reason.
        reason: Option<String>,
    },
    /// The daemon was not up in time, and was ended.
    #[error("the daemon was not up within {} ms and was stopped", limit.as_millis())]
    StartTimeout {
        /// The limit that it missed.
        limit: std::time::Duration,
    },
    /// A host name to listen on was not resolved in time. Nothing was locked or forked.
    #[error("cannot listen on {}: the host name was not resolved within {} ms", Shown(address), limit.as_millis())]
    ResolveTimeout {
        /// The address with the host name.
        address: ListenAddress,
        /// The limit that the resolver missed.
        limit: std::time::Duration,
    },
    /// The launcher got a signal while it waited; the start was undone.
    #[error("the start was interrupted by {} and rolled back", signal_name(*signal))]
    StartInterrupted {
        /// The signal's number.
        signal: i32,
    },
    /// The caller gave the start up; it was undone.
    #[error("the start was aborted and rolled back")]
    StartAborted,
    /// The start was to follow the stop of another instance, and a stop was requested meanwhile. Nothing runs.
    #[error("a stop was requested meanwhile, which cancelled the start")]
    StartCancelled,
    /// The start by another process was not done in time. It was left alone.
    #[error("another process is starting it (pid {pid}), but it was not up within {} ms (pidfile {})", limit.as_millis(), Shown(path.display()))]
    WaitTimeout {
        /// The pid of the daemon, or of the process that starts it.
        pid: i32,
        /// The pidfile.
        path: PathBuf,
        /// The limit that it missed.
        limit: std::time::Duration,
    },
    /// The daemon, or a process of its session, did not end in time, and was not to be killed.
    #[error("the daemon did not stop within {} ms: process {pid} is still running", limit.as_millis())]
    StopTimeout {
        /// The pid of the process.
        pid: i32,
        /// The limit that it missed.
        limit: std::time::Duration,
    },
    /// A process of the daemon runs, so it was not forgotten.
    #[error("cannot be forgotten, because {reason}")]
    NotForgotten {
        /// The process.
        pid: i32,
        /// The pidfile.
        path: PathBuf,
        /// Which process it is, and what to do about it.
        reason: String,
    },
    /// The signal would end the daemon instead of telling it something, so it was not sent.
    #[error("{} was not sent to pid {pid}: {reason}", signal_name(*signal))]
    SignalRefused {
        /// The daemon's pid.
        pid: i32,
        /// The signal's number.
        signal: i32,
        /// Why it would do harm.
        reason: &'static str,
    },
    /// The daemon could not reload, or ended before it had.
    #[error("the daemon with pid {pid} did not reload: {}", Shown(reason))]
    ReloadFailed {
        /// The daemon's pid.
        pid: i32,
        /// What its handlers threw.
        reason: String,
    },
    /// The daemon had not reloaded in time. It may do so later.
    #[error("the daemon with pid {pid} {} {} ms", if *has_begun { "is still reloading after" } else { "has not begun to reload within" }, limit.as_millis())]
    ReloadTimeout {
        /// The daemon's pid.
        pid: i32,
        /// The limit that it missed.
        limit: std::time::Duration,
        /// A reload is under way.
        has_begun: bool,
    },
    /// The launch plan itself is impossible.
    #[error("{}", Shown(_0))]
    InvalidPlan(String),
}

impl Step {
    /// Opening the standard streams, in the order of their numbers.
    pub(crate) const STREAMS: [Self; 3] = [Self::OpenStdin, Self::OpenStdout, Self::OpenStderr];
}

impl Error {
    /// Whether it is about an instance that runs, or may.
    pub(crate) fn names_another_instance(&self) -> bool {
        matches!(
            self,
            Self::AlreadyRunning { .. }
                | Self::OtherProgram { .. }
                | Self::WaitTimeout { .. }
                | Self::StopTimeout { .. }
                | Self::PidFileHeld { .. }
        )
    }

    pub(crate) fn system(step: Step, errno: Errno) -> Self {
        Self::System { step, errno, path: None }
    }

    /// From the standard library's calls.
    pub(crate) fn io(step: Step) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::system(step, Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }

    /// The same with the file that it was about.
    pub(crate) fn io_at(step: Step, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::at(step, path)(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }

    pub(crate) fn distrusted(step: Step, path: &Path, reason: &str) -> Self {
        Self::Distrusted { step, path: path.to_owned(), reason: reason.to_owned() }
    }

    /// What is at `path` belongs to another user than it must.
    pub(crate) fn stranger(step: Step, path: &Path, owner: libc::uid_t) -> Self {
        let name = sys::user_entry(owner).map_or_else(String::new, |user| user.name + ", ");
        let reason =
            format!("it belongs to {name}user {owner}, and root uses there only what is its own or the daemon user's");
        Self::distrusted(step, path, &reason)
    }

    pub(crate) fn at(step: Step, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |errno| Self::System { step, errno, path: Some(path) }
    }

    /// The same for a file that is opened: a link that leads nowhere is there, whatever `ENOENT` says.
    pub(crate) fn opening(step: Step, path: &Path, errno: Errno) -> Self {
        match path.read_link() {
            Ok(target) if errno == Errno::ENOENT && !path.exists() => {
                let reason = format!("it is a symbolic link to {}, which does not exist", Shown(target.display()));
                Self::Explained { step, path: path.to_owned(), reason, errno }
            }
            _ => Self::at(step, path)(errno),
        }
    }
}

/// What was being done, to follow "cannot". A file that a daemon writes to is a log, whichever of its streams leads there.
const fn doing(step: Step, is_about_file: bool) -> &'static str {
    match step {
        Step::OpenStdout | Step::OpenStderr if is_about_file => "open the log",
        Step::Listen if is_about_file => "listen on",
        _ => step.phrase(),
    }
}

/// The kernel's reason in words, put more plainly where the step says more than the errno.
fn reason(step: Step, errno: Errno) -> &'static str {
    use Step::{Chdir, ReadScript};
    use Step::{OpenPidFile, OpenStderr, OpenStdin, OpenStdout, ReopenLog};
    use Step::{SetGid, SetGroups, SetLimit, SetOomScore, SetPriority, SetUid, VerifyIds};
    match (step, errno) {
        (OpenPidFile | OpenStdin | OpenStdout | OpenStderr | ReopenLog, Errno::ELOOP) => {
            "it is a symbolic link, or leads through too many"
        }
        (OpenStdout | OpenStderr | ReopenLog, Errno::ENXIO) => "it is a FIFO that no process reads",
        (OpenStdin | OpenStdout | OpenStderr, Errno::EBADF) => "it is not an open descriptor",
        (OpenStdin | OpenStdout | OpenStderr | ReopenLog, Errno::EMLINK) => {
            "it has hard links in a directory that is not root's alone"
        }
        (SetUid | SetGid | SetGroups, Errno::EPERM) => "this requires root",
        (ReadScript, Errno::EACCES) => "the daemon's user may not read it, or may not enter a directory above it",
        (Chdir, Errno::EACCES) => "the daemon's user may not enter it",
        (VerifyIds, Errno::EPERM) => "some are left, or the daemon could become root again",
        (SetPriority | SetLimit | SetOomScore, Errno::EACCES | Errno::EPERM) => "raising it this far requires root",
        _ => errno.desc(),
    }
}

fn why_not_listen(address: &ListenAddress, errno: Errno) -> &'static str {
    match (address, errno) {
        (ListenAddress::Tcp { .. }, Errno::EACCES) => "a port this low requires root",
        (ListenAddress::Tcp { .. }, Errno::EADDRNOTAVAIL) => {
            "it is not an address of this machine, or its name cannot be resolved"
        }
        (ListenAddress::Unix { .. }, Errno::EADDRINUSE) => "another process listens there, or it is not a socket",
        _ => errno.desc(),
    }
}

struct Quoted<'a>(Option<&'a PathBuf>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |path| write!(f, " {}", Shown(path.display())))
    }
}

struct UnknownUser<'a>(&'a str, &'a str, bool);

impl fmt::Display for UnknownUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, name, needs_group) = self;
        if *needs_group {
            return write!(f, "the user database does not have user {name}, so its group must be given, too");
        }
        write!(f, "there is no {kind} {name:?}")
    }
}

struct HeldBy(Option<i32>);

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => write!(f, "a process that cannot be seen from here"),
        }
    }
}

struct FailedStart<'a>(Option<Exit>, Option<&'a str>);

impl fmt::Display for FailedStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(exit) => write!(f, "{exit} before it was up")?,
            None => write!(f, "failed to start")?,
        }
        self.1.map_or(Ok(()), |reason| write!(f, ": {}", Shown(reason)))
    }
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
