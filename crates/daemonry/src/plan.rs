//! What to launch and how, and its preparation: everything that can allocate or fail happens here, before the fork.

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::FcntlArg;

use crate::error::{Error, Result, Step};
use crate::herd::IfRunning;
use crate::interrupt::AbortHandle;
use crate::marker::{Marker, START_VARIABLE};
use crate::pidfile::PidFile;
use crate::record::{PlacedRecord, Record};
use crate::stdio::{self, OpenLog, Stream};
use crate::sys;

/// When a start counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitFor {
    /// The program's image has replaced the forked child.
    Exec,
    /// The daemon has taken over the start and reported [`crate::Report::Started`].
    Start,
    /// The daemon has reported [`crate::Report::Ready`].
    Ready,
}

/// A program to launch as a daemon.
///
/// All paths are the launcher's.
#[derive(Debug, Clone)]
pub struct LaunchPlan {
    /// The executable: a path, or a name without a slash that is looked for in the `PATH` of `environment` as execvp(3) does.
    pub program: PathBuf,
    /// Its arguments, the name that it is called by (`argv[0]`) first.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Standard input. Default: [`Stream::Null`].
    pub stdin: Stream,
    /// Standard output. Default: [`Stream::Null`].
    pub stdout: Stream,
    /// Standard error; equal to `stdout`, both share one open file. Default: [`Stream::Null`].
    pub stderr: Stream,
    /// The working directory that the program is executed in. Default: the launcher's.
    pub working_directory: Option<PathBuf>,
    /// File mode creation mask. Default: `0o022`.
    pub umask: u32,
    /// The pidfile to hold, locked before the fork. Default: none.
    pub pid_file: Option<PathBuf>,
    /// What to leave on record about the daemon, while the pidfile is locked. Default: nothing.
    pub record: Option<Record>,
    /// What to do when the daemon runs already. Default: [`IfRunning::Error`].
    pub if_running: IfRunning,
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
            environment: std::env::vars_os().collect(),
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
            working_directory: None,
            umask: 0o022,
            pid_file: None,
            record: None,
            if_running: IfRunning::Error,
            wait_for: WaitFor::Exec,
            alive_for: Duration::ZERO,
            start_timeout: Duration::from_secs(30),
            launcher_leaves: false,
            abort: None,
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
            return refuse("without a pidfile nobody can tell whether the daemon runs, and no record can be kept");
        }
        self.record.as_ref().map_or(Ok(()), Record::check)
    }

    /// The file that a step of the child is about.
    pub(crate) fn path_at(&self, step: Step) -> Option<&Path> {
        match step {
            Step::WritePid | Step::LockRecord => self.pid_file.as_deref(),
            Step::WriteRecord => self.record.as_ref().map(|record| record.path.as_path()),
            Step::Chdir => self.working_directory.as_deref(),
            Step::Exec => Some(&self.program),
            _ => None,
        }
    }
}

/// Null-terminated pointers to strings that it keeps alive.
struct Pointers {
    strings: Vec<*mut libc::c_char>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        Self { strings: strings.into_iter().map(CString::into_raw).chain([ptr::null_mut()]).collect() }
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.strings.as_ptr().cast()
    }

    fn last(&self) -> *mut libc::c_char {
        self.strings.iter().rev().nth(1).copied().unwrap_or(ptr::null_mut())
    }
}

impl Drop for Pointers {
    fn drop(&mut self) {
        for &string in self.strings.iter().filter(|string| !string.is_null()) {
            // SAFETY: it came from into_raw, and its length has not changed.
            drop(unsafe { CString::from_raw(string) });
        }
    }
}

/// A plan in the form in which a forked child can follow it without allocating.
///
/// The daemon's descriptors are 0 to 2, the status pipe, then the pidfile: without a gap, because Node marks inherited
/// descriptors close-on-exec at boot only as far as they are contiguous. The exec pipe comes right behind them. Every source
/// lies above all of these numbers, so that no `dup2` can hit a source that is still needed.
pub(crate) struct Prepared {
    /// Where to try to find the program, one after the other.
    programs: Vec<CString>,
    arguments: Pointers,
    /// How a shell is called for a program that is a script without an interpreter; the place of its path is filled in by the
    /// child, which knows where it was found.
    shell_arguments: Vec<Cell<*const libc::c_char>>,
    environment: Pointers,
    /// Where the child writes its pid into the environment.
    marker_pid: *mut u8,
    /// What goes to descriptor 0, 1, 2, …
    sources: Vec<OwnedFd>,
    pub(crate) exec_pipe: OwnedFd,
    /// The leader waits on it where it is the daemon's parent.
    pub(crate) hold_pipe: OwnedFd,
    working_directory: Option<CString>,
    /// Where the child writes its pid, too; it lies above the targets and is closed before exec.
    pub(crate) record: Option<OwnedFd>,
    pub(crate) umask: libc::mode_t,
    pub(crate) has_pid_file: bool,
    pub(crate) commits_at_exec: bool,
    pub(crate) siblings: bool,
}

pub(crate) const STATUS_TARGET: RawFd = 3;
pub(crate) const PID_FILE_TARGET: RawFd = 4;

/// What the launcher keeps of the preparation.
pub(crate) struct LauncherEnds {
    pub(crate) exec: OwnedFd,
    pub(crate) status: OwnedFd,
    /// Closing it lets the leader go.
    pub(crate) hold: Option<OwnedFd>,
    pub(crate) logs: Vec<OpenLog>,
    /// The captured stderr.
    pub(crate) memory: Option<OwnedFd>,
}

impl Prepared {
    pub(crate) fn new(
        plan: &LaunchPlan,
        pid_file: Option<&PidFile>,
        record: Option<&PlacedRecord>,
    ) -> Result<(Self, LauncherEnds)> {
        let pipe = || sys::pipe().map_err(|errno| Error::system(Step::OpenPipe, errno));
        let mut files = OpenStreams::of(plan)?;
        let outcome = (|| {
            let (exec, exec_pipe) = pipe()?;
            let (status, status_pipe) = pipe()?;
            let (hold_pipe, hold) = pipe()?;

            let mut sources: Vec<BorrowedFd<'_>> = files.streams.iter().map(AsFd::as_fd).collect();
            sources.push(status_pipe.as_fd());
            sources.extend(pid_file.map(|pid_file| pid_file.file().as_fd()));
            let targets = RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX);
            let floor = targets + 1;
            let moved = sources.iter().map(|source| move_above(*source, floor)).collect::<Result<Vec<_>>>()?;
            let exec_pipe = move_above(exec_pipe.as_fd(), floor)?;
            let hold_pipe = move_above(hold_pipe.as_fd(), floor)?;

            let marker = Marker {
                pid: 0,
                status_fd: STATUS_TARGET,
                status_identity: sys::identity(status_pipe.as_fd())
                    .map_err(|errno| Error::system(Step::OpenPipe, errno))?,
                wait_for: plan.wait_for,
                captures: files.memory.is_some(),
                pid_file: pid_file.map(|pid_file| (PID_FILE_TARGET, pid_file.path().to_owned())),
                note: plan.note.clone(),
            };
            let (environment, marker_pid) = environment(plan, &marker)?;
            let programs = candidates(plan)
                .iter()
                .map(|path| c_string(path.as_os_str(), "the program's path"))
                .collect::<Result<Vec<_>>>()?;
            let arguments =
                plan.arguments.iter().map(|argument| c_string(argument, "an argument")).collect::<Result<Vec<_>>>()?;
            let arguments = Pointers::new(arguments);
            let rest = arguments.strings.iter().skip(1).map(|&argument| argument.cast_const());
            let shell_arguments = [c"sh".as_ptr(), ptr::null()].into_iter().chain(rest).map(Cell::new).collect();
            let prepared = Self {
                programs,
                arguments,
                shell_arguments,
                working_directory: plan
                    .working_directory
                    .as_ref()
                    .map(|directory| c_string(directory.as_os_str(), "the working directory"))
                    .transpose()?,
                record: record.map(|record| move_above(record.as_fd(), floor)).transpose()?,
                environment,
                marker_pid,
                sources: moved,
                exec_pipe,
                hold_pipe,
                umask: sys::file_mode(plan.umask).bits(),
                has_pid_file: pid_file.is_some(),
                commits_at_exec: plan.wait_for == WaitFor::Exec && plan.alive_for.is_zero(),
                siblings: plan.launcher_leaves,
            };
            Ok((prepared, exec, status, hold))
        })();
        match outcome {
            Ok((prepared, exec, status, hold)) => {
                let ends =
                    LauncherEnds { exec, status, hold: Some(hold), logs: files.logs, memory: files.memory.take() };
                Ok((prepared, ends))
            }
            Err(error) => {
                files.logs.iter().for_each(OpenLog::remove_if_unused);
                Err(error)
            }
        }
    }

    pub(crate) fn programs(&self) -> &[CString] {
        &self.programs
    }

    pub(crate) fn arguments(&self) -> *const *const libc::c_char {
        self.arguments.as_ptr()
    }

    /// The arguments of a shell that reads `script`, which must outlive them. Async-signal-safe.
    pub(crate) fn shell_arguments(&self, script: &CStr) -> *const *const libc::c_char {
        if let Some(place) = self.shell_arguments.get(1) {
            place.set(script.as_ptr());
        }
        // A cell lies in memory like what it holds.
        self.shell_arguments.as_ptr().cast()
    }

    pub(crate) fn working_directory(&self) -> Option<&CStr> {
        self.working_directory.as_deref()
    }

    pub(crate) fn environment(&self) -> *const *const libc::c_char {
        self.environment.as_ptr()
    }

    pub(crate) fn marker_pid(&self) -> *mut u8 {
        self.marker_pid
    }

    pub(crate) fn sources(&self) -> &[OwnedFd] {
        &self.sources
    }
}

/// The environment with the marker as its last variable.
fn environment(plan: &LaunchPlan, marker: &Marker) -> Result<(Pointers, *mut u8)> {
    let impossible = || Error::InvalidPlan("the note or the pidfile's path contains a NUL byte".to_owned());
    let mut variables = Vec::with_capacity(plan.environment.len() + 1);
    for (name, value) in plan.environment.iter().filter(|(name, _)| name != START_VARIABLE) {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        variables.push(c_string(&variable, "an environment variable")?);
    }
    let (variable, place) = marker.to_variable().ok_or_else(impossible)?;
    variables.push(variable);
    let environment = Pointers::new(variables);
    // SAFETY: the pid's digits lie inside the last string, behind the variable's name.
    let marker_pid = unsafe { environment.last().add(place) }.cast::<u8>();
    Ok((environment, marker_pid))
}

/// Where execvp(3) looks for a program: at its path, or for a mere name in the directories of `PATH`.
fn candidates(plan: &LaunchPlan) -> Vec<PathBuf> {
    const DEFAULT_PATH: &str = "/bin:/usr/bin";
    let program = &plan.program;
    if program.as_os_str().as_bytes().contains(&b'/') {
        // The child has changed to another directory by then.
        return vec![std::path::absolute(program).unwrap_or_else(|_| program.clone())];
    }
    let path = plan.environment.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    // An empty element means the working directory, which is the launcher's here as for every other path.
    std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)))
        .map(|directory| std::path::absolute(directory.join(program)).unwrap_or_else(|_| directory.join(program)))
        .collect()
}

fn c_string(text: &OsStr, what: &str) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::InvalidPlan(format!("{what} contains a NUL byte")))
}

fn move_above(source: BorrowedFd<'_>, floor: RawFd) -> Result<OwnedFd> {
    duplicate_above(source, floor).map_err(|errno| Error::system(Step::MoveDescriptor, errno))
}

fn duplicate_above(source: BorrowedFd<'_>, floor: RawFd) -> nix::Result<OwnedFd> {
    let duplicate = nix::fcntl::fcntl(source, FcntlArg::F_DUPFD_CLOEXEC(floor))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

fn duplicate(source: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    duplicate_above(source, 0)
}

/// `EBADF` when no such descriptor is open.
fn duplicate_number(number: RawFd) -> nix::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: a number that is not open is told by the kernel; nothing else is done with it.
    duplicate(unsafe { BorrowedFd::borrow_raw(number) })
}

/// The files behind the three streams, opened in the launcher.
struct OpenStreams {
    streams: Vec<OwnedFd>,
    logs: Vec<OpenLog>,
    memory: Option<OwnedFd>,
}

impl OpenStreams {
    fn of(plan: &LaunchPlan) -> Result<Self> {
        let mut open = Self { streams: Vec::with_capacity(3), logs: Vec::new(), memory: None };
        let outcome = open.fill(plan);
        if let Err(error) = outcome {
            open.logs.iter().for_each(OpenLog::remove_if_unused);
            return Err(error);
        }
        Ok(open)
    }

    fn fill(&mut self, plan: &LaunchPlan) -> Result<()> {
        let streams = [&plan.stdin, &plan.stdout, &plan.stderr];
        let steps = [Step::OpenStdin, Step::OpenStdout, Step::OpenStderr];
        for ((stream, step), number) in streams.into_iter().zip(steps).zip(0..) {
            let failed = |errno| Error::system(step, errno);
            let fd = match stream {
                Stream::Null => stdio::open_null(step)?,
                Stream::Inherit => duplicate_number(number).map_err(failed)?,
                Stream::Descriptor(fd) => duplicate_number(*fd).map_err(failed)?,
                Stream::File(file) if number == 0 => stdio::open_input(&file.path)?,
                Stream::File(file) => {
                    // One open file for both, so that their lines come in the order in which they were written.
                    if number != 2 || plan.stderr != plan.stdout {
                        self.logs.push(stdio::open_log(file, step)?);
                    }
                    let log = self.logs.last().ok_or_else(|| Error::system(step, Errno::EBADF))?;
                    duplicate(log.fd.as_fd()).map_err(|errno| Error::at(step, &file.path)(errno))?
                }
                Stream::Capture => {
                    let memory = self.memory.insert(sys::memory_file().map_err(failed)?);
                    duplicate(memory.as_fd()).map_err(failed)?
                }
            };
            self.streams.push(fd);
        }
        Ok(())
    }
}
