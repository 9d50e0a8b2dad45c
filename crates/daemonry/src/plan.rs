//! What to launch and how, and its preparation: everything that can allocate or fail happens here, before the fork.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::deferred::{Access, DeferredFile, DeferredPidFile, DeferredSocket, Findings, RehearsedSocket};
use crate::digits::Digits;
use crate::error::{Error, Result, Step};
use crate::ids::Ids;
use crate::instance::{IfRunning, Origin};
use crate::interpreter;
use crate::interrupt::AbortHandle;
use crate::limits::{Limit, Resource};
use crate::listen::{self, BoundSocket, Endpoint, Listener, Source};
use crate::marker::{Marker, START_VARIABLE};
use crate::pidfile::{self, Handed, PidFile};
use crate::pinned::PinnedPlan;
use crate::state::{KillMode, Lock, SESSION_VARIABLE, SessionMark, Template};
use crate::stdio::{self, Log, LogFile, Opened, Recipient, Stream};
use crate::store::Record;
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

/// How the launcher forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// Into its own memory where the platform, the kernel and its filters let it, else by copying.
    Automatic,
    /// By copying, as fork(2) does.
    Copy,
}

/// A program to launch as a daemon.
///
/// All paths are the launcher's: relative ones start at `directory`.
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
    /// The directory where the relative paths of this plan start. Default: the launcher's working directory.
    pub directory: Option<PathBuf>,
    /// The working directory that the program is executed in. Default: the launcher's.
    pub working_directory: Option<PathBuf>,
    /// File mode creation mask. Default: `0o022`.
    pub umask: u32,
    /// Sockets that it gets as `LISTEN_FDS` tells it (`sd_listen_fds(3)`), bound once the pidfile is locked. Default: none.
    pub listeners: Vec<Listener>,
    /// Who it is to be. Default: who the launcher is.
    pub ids: Option<Ids>,
    /// Its resource limits. Default: the launcher's.
    pub limits: Vec<Limit>,
    /// Its niceness, -20 to 19. Default: the launcher's.
    pub nice: Option<i32>,
    /// Its OOM score adjustment, -1000 to 1000; Linux. Default: the launcher's.
    pub oom_score: Option<i32>,
    /// Nothing that it executes gains privileges; Linux. Default: false.
    pub no_new_privileges: bool,
    /// A file that it must be able to read, such as the script of an interpreter. Default: none.
    pub must_read: Option<PathBuf>,
    /// The pidfile to hold, locked before the fork. Default: none.
    pub pid_file: Option<PathBuf>,
    /// The mode of a pidfile that has to be made. Default: [`crate::DEFAULT_MODE`].
    pub pid_file_mode: u32,
    /// How long it takes to stop, at most: who stops it waits as long, and 2 s. Default: unknown, and 10 s are waited.
    pub stop_timeout: Option<Duration>,
    /// What is ended besides the program itself when it is stopped. Default: [`KillMode::Session`].
    pub kill_mode: KillMode,
    /// The daemon's name, under which it is one instance whatever its pidfile. Default: none.
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
            environment: std::env::vars_os().collect(),
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
            directory: None,
            working_directory: None,
            umask: 0o022,
            listeners: Vec::new(),
            ids: None,
            limits: Vec::new(),
            nice: None,
            oom_score: None,
            no_new_privileges: false,
            must_read: None,
            pid_file: None,
            pid_file_mode: pidfile::DEFAULT_MODE,
            stop_timeout: None,
            kill_mode: KillMode::Session,
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
        if self.oom_score.is_some() && !sys::HAS_OOM_SCORE {
            return refuse("there are no OOM scores on this platform");
        }
        if self.no_new_privileges && !sys::HAS_NO_NEW_PRIVILEGES {
            return refuse("this platform has no flag against new privileges");
        }
        listen::check(&self.listeners)?;
        if let Some(ids) = self.new_ids()? {
            ids.check_privilege()?;
        }
        Ok(())
    }

    /// Whether executing the program is all that a start waits for.
    pub(crate) fn is_up_at_exec(&self) -> bool {
        self.wait_for == WaitFor::Exec && self.alive_for.is_zero()
    }

    /// The ids to change to, if they are not the launcher's anyway.
    pub(crate) fn new_ids(&self) -> Result<Option<&Ids>> {
        match &self.ids {
            Some(ids) if !ids.are_own()? => Ok(Some(ids)),
            _ => Ok(None),
        }
    }

    /// The real uids that its processes may have.
    pub(crate) fn uids(&self) -> Result<Vec<u32>> {
        Ok(vec![self.new_ids()?.map_or_else(|| nix::unistd::getuid().as_raw(), |ids| ids.uid)])
    }

    /// A step of the child that failed, as an error.
    pub(crate) fn failure_at(&self, step: Step, index: u8, errno: Errno) -> Error {
        if step == Step::SetLimit
            && let Some(limit) = self.limits.get(usize::from(index))
            && let Ok((resource, limit)) = limit.resolve()
        {
            return Error::SetLimit { resource, soft: limit.rlim_cur, hard: limit.rlim_max, errno };
        }
        if step == Step::Listen
            && let Some(Listener { source: Source::Address(address), .. }) = self.listeners.get(usize::from(index))
        {
            return Error::Listen { address: address.clone(), errno };
        }
        if step == Step::ReadPidFile
            && let (Some(path), Some(reason)) =
                (&self.pid_file, pidfile::FAULTS.get(usize::from(index).wrapping_sub(1)))
        {
            return Error::NotAPidFile { reason, path: path.clone() };
        }
        if step == Step::Exec
            && let Some(program) = self.candidates(&self.program).into_iter().find(|program| program.exists())
            && let Some((errno, reason)) = interpreter::explain(&program, self.directory_at_exec())
        {
            return Error::Explained { step, path: self.program.clone(), reason, errno };
        }
        match self.path_at(step) {
            Some(path) => Error::opening(step, path, errno),
            None => Error::system(step, errno),
        }
    }

    /// Where relative paths lead when the program is executed.
    fn directory_at_exec(&self) -> &Path {
        self.working_directory.as_deref().or(self.directory.as_deref()).unwrap_or_else(|| Path::new(""))
    }

    /// The file that a step of the child is about.
    fn path_at(&self, step: Step) -> Option<&Path> {
        match step {
            Step::ReadScript => self.must_read.as_deref(),
            Step::OpenPidFile
            | Step::ReadPidFile
            | Step::ClearPidFile
            | Step::WritePid
            | Step::WriteLock
            | Step::MarkPhase => self.pid_file.as_deref(),
            Step::Chdir => self.working_directory.as_deref(),
            Step::OpenStdin => self.stdin.path(),
            Step::OpenStdout => self.stdout.path(),
            Step::OpenStderr => self.stderr.path(),
            Step::Exec => Some(&self.program),
            _ => None,
        }
    }
}

/// Null-terminated pointers to strings that it keeps alive, and into which the child may write.
struct Pointers {
    pointers: Vec<*mut libc::c_char>,
    _strings: Vec<Box<[UnsafeCell<u8>]>>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        let strings: Vec<Box<[UnsafeCell<u8>]>> = strings
            .into_iter()
            .map(|string| string.into_bytes_with_nul().into_iter().map(UnsafeCell::new).collect())
            .collect();
        let pointers =
            strings.iter().map(|string| string.as_ptr().cast_mut().cast()).chain([ptr::null_mut()]).collect();
        Self { pointers, _strings: strings }
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr().cast()
    }
}

/// A plan in the form in which a forked child can follow it without allocating.
///
/// The daemon's descriptors are 0 to 2, the sockets that it is to listen on, the status pipe, then the pidfile: without a gap,
/// because `LISTEN_FDS` counts from 3, and because Node marks inherited descriptors close-on-exec at boot only as far as they
/// are contiguous. The exec pipe comes right behind them. Every source lies above all of these numbers, so that no `dup2` can
/// hit a source that is still needed.
pub(crate) struct Prepared {
    /// Where to try to find the program, one after the other.
    programs: Vec<CString>,
    arguments: Pointers,
    /// How a shell is called for a program that is a script without an interpreter; the place of its path is filled in by the
    /// child, which knows where it was found.
    shell_arguments: Vec<Cell<*const libc::c_char>>,
    environment: Pointers,
    /// Where the child writes its pid into the environment: with leading zeros into the marker, without into `LISTEN_PID`.
    marker_pid: *mut u8,
    listen_pid: Option<*mut u8>,
    /// What goes to descriptor 0, 1, 2, …; numbers of [`Descriptors`], as all here.
    sources: Vec<RawFd>,
    /// The leader waits on it where it is the daemon's parent.
    pub(crate) hold_pipe: RawFd,
    working_directory: Option<CString>,
    /// Where the launcher is, if the daemon's user is another: that user may not be able to get there.
    launchers_directory: Option<CString>,
    must_read: Option<CString>,
    pub(crate) instance: Option<PreparedInstance>,
    /// What the child opens itself, and where it says what it has found.
    pub(crate) deferred_files: Vec<DeferredFile>,
    pub(crate) deferred_sockets: Vec<DeferredSocket>,
    pub(crate) findings: Arc<Findings>,
    pub(crate) umask: libc::mode_t,
    pub(crate) ids: Option<Ids>,
    /// What the launcher has and the daemon's user, who is another, could not have.
    pub(crate) elevated: Option<sys::Elevated>,
    /// Room for the groups that the child finds, and for one more.
    found_groups: UnsafeCell<Vec<libc::gid_t>>,
    pub(crate) limits: Vec<(Resource, libc::rlimit)>,
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score: Option<CString>,
    pub(crate) no_new_privileges: bool,
    pub(crate) siblings: bool,
    pub(crate) fork: Fork,
    /// Nothing is bound or executed, but checked.
    pub(crate) rehearsal: Option<Rehearsal>,
    /// Into which the children write.
    pub(crate) exec_pipe: RawFd,
}

/// What the child of a rehearsal checks.
pub(crate) struct Rehearsal {
    /// For each program, the places of its interpreter, if it has one.
    pub(crate) interpreters: Vec<Vec<CString>>,
    /// The sockets that it would bind itself.
    pub(crate) sockets: Vec<RehearsedSocket>,
}

/// What the child writes down about the instance that it becomes.
pub(crate) struct PreparedInstance {
    /// Its claim, and the descriptor of the lock for it: above the targets, and closed before exec.
    pub(crate) claim: Template,
    pub(crate) lock: RawFd,
    /// The descriptor of the pidfile for its pid, likewise; or what the child needs to open it itself.
    pub(crate) pid_file: std::result::Result<RawFd, DeferredPidFile>,
    /// The descriptor that the daemon keeps of the pidfile.
    pub(crate) pid_file_target: RawFd,
    /// The same of the lock.
    pub(crate) lock_target: Option<RawFd>,
    /// Whether the child can learn when it was started, as the launcher could.
    pub(crate) must_have_start: bool,
    /// Where it says that it is up, if executing the program means that, and how long it must live on.
    pub(crate) phase: RawFd,
    pub(crate) up_at_exec: Option<Duration>,
}

/// The launcher's copies of what the children use. Nobody needs them once the daemon has executed its program.
pub(crate) struct Descriptors {
    /// The end into which the children write: it is at EOF when they are done, and this copy closed.
    pub(crate) exec_pipe: Option<OwnedFd>,
    _others: Vec<OwnedFd>,
}

// SAFETY: its pointers lead to its own heap memory, which moves with it to the thread that forks; that thread sleeps while a
// child writes there.
unsafe impl Send for Prepared {}

/// As many digits as the longest pid has.
const PID_ROOM: &str = "0000000000";

/// What the launcher keeps of the preparation.
pub(crate) struct LauncherEnds {
    pub(crate) exec: OwnedFd,
    pub(crate) status: OwnedFd,
    /// Closing it lets the leader go.
    pub(crate) hold: Option<OwnedFd>,
    pub(crate) traces: Traces,
    /// Where the sockets listen, in the plan's order.
    pub(crate) endpoints: Vec<(String, Endpoint)>,
    /// The captured stderr.
    pub(crate) memory: Option<OwnedFd>,
    pub(crate) origin: Origin,
}

/// What a start has made in the file system: it goes with this, unless the start has succeeded.
pub(crate) struct Traces {
    logs: Vec<Log>,
    sockets: Vec<BoundSocket>,
    stay: bool,
}

impl Traces {
    /// The daemon is up, and they are its own.
    pub(crate) fn keep(&mut self) {
        self.stay = true;
    }

    /// The log of standard error, if it has one.
    pub(crate) fn last_log(&self) -> Option<&Log> {
        self.logs.last()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if !self.stay {
            self.logs.iter().for_each(Log::remove_if_unused);
            self.sockets.iter().for_each(BoundSocket::remove);
        }
    }
}

impl Prepared {
    pub(crate) fn new(plan: &PinnedPlan, pid_file: Option<&PidFile>) -> Result<(Self, Descriptors, LauncherEnds)> {
        let pipe = || sys::pipe().map_err(|errno| Error::system(Step::OpenPipe, errno));
        plan.refuse_what_env_misses()?;
        let ids = plan.new_ids()?;
        let limits = plan.limits.iter().map(|limit| limit.resolve()).collect::<Result<Vec<_>>>()?;
        let mut traces = Traces { logs: Vec::new(), sockets: Vec::new(), stay: false };
        let is_other_user = matches!(Recipient::with(ids), Recipient::User(_));
        // The streams, the sockets, the status pipe, the pidfile.
        let room = if is_other_user { 3 + plan.listeners.len() + 2 } else { 0 };
        let findings = Arc::new(Findings::new(room).map_err(|errno| Error::system(Step::Fork, errno))?);
        let Streams { opened: streams, memory, deferred: deferred_files } =
            open_streams(plan, ids, &findings, &mut traces.logs)?;
        let first_socket = target(streams.len());
        let deferred_sockets =
            listen::open(&plan.listeners, plan.addresses(), ids, first_socket, &findings, &mut traces.sockets)?;
        let (exec, exec_pipe) = pipe()?;
        let (status, status_pipe) = pipe()?;
        let (hold_pipe, hold) = pipe()?;

        let sockets = traces.sockets.iter().map(|socket| socket.fd.as_fd());
        let mut sources: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).chain(sockets).collect();
        let status_fd = target(sources.len());
        sources.push(status_pipe.as_fd());
        let handed = pid_file.map(|pid_file| {
            pid_file.public().expect(&findings, status_fd + 1);
            hand_on(pid_file, ids, status_fd + 1, &mut sources)
        });
        let floor = target(sources.len()) + 1;
        let moved = sources.iter().map(|source| move_above(*source, floor)).collect::<Result<Vec<_>>>()?;

        let marker = Marker {
            pid: 0,
            status_fd,
            status_identity: sys::identity(status_pipe.as_fd())
                .map_err(|errno| Error::system(Step::OpenPipe, errno))?,
            wait_for: plan.wait_for,
            captures: memory.is_some(),
            alive_for: plan.alive_for,
            pid_file: pid_file.zip(handed).map(|(file, handed)| (handed, file.path().to_owned())),
            note: plan.note.clone(),
        };
        let exec_pipe = move_above(exec_pipe.as_fd(), floor)?;
        let hold_pipe = move_above(hold_pipe.as_fd(), floor)?;
        let instance =
            pid_file.zip(handed).and_then(|(pid_file, handed)| prepare_instance(plan, pid_file, handed, floor));
        let (instance, of_instance) = instance.transpose()?.unzip();
        let origin = Origin { mark: session_mark(pid_file), pipe: marker.status_identity, uids: plan.uids()? };
        let Environment { variables, marker_pid, listen_pid } = environment(plan, &origin.mark, &marker)?;
        let programs = plan
            .programs()
            .iter()
            .map(|path| c_string(path.as_os_str(), "the program's path"))
            .collect::<Result<Vec<_>>>()?;
        let arguments =
            plan.arguments.iter().map(|argument| c_string(argument, "an argument")).collect::<Result<Vec<_>>>()?;
        let arguments = Pointers::new(arguments);
        let rest = arguments.pointers.iter().skip(1).map(|&argument| argument.cast_const());
        let shell_arguments = [c"sh".as_ptr(), ptr::null()].into_iter().chain(rest).map(Cell::new).collect();
        let path =
            |path: &Option<PathBuf>, what: &str| path.as_ref().map(|path| c_string(path.as_os_str(), what)).transpose();
        // A better place than others have is for those who may take it.
        let (own_nice, own_score) = if is_other_user { sys::own_priorities() } else { (0, 0) };
        let nice = plan.nice.or((own_nice < 0).then_some(0));
        let oom_score = plan.oom_score.or((own_score < 0).then_some(0));
        let oom_score = oom_score.map(|adjustment| OsString::from(adjustment.to_string()));
        let stays = plan.working_directory.is_none() && is_other_user;
        let launchers_directory = path(
            // One that has been removed has no path, and none of its files can be reached.
            &stays.then(|| std::env::current_dir().unwrap_or_else(|_| "/".into())),
            "the working directory",
        )?;
        let prepared = Self {
            programs,
            arguments,
            shell_arguments,
            environment: variables,
            marker_pid,
            listen_pid,
            exec_pipe: exec_pipe.as_raw_fd(),
            hold_pipe: hold_pipe.as_raw_fd(),
            working_directory: path(&plan.working_directory, "the working directory")?,
            launchers_directory,
            must_read: path(&plan.must_read, "the script's path")?,
            instance,
            deferred_files,
            deferred_sockets,
            findings,
            sources: moved.iter().map(AsRawFd::as_raw_fd).collect(),
            umask: sys::file_mode(plan.umask).bits(),
            found_groups: UnsafeCell::new(vec![0; ids.map_or(0, |ids| ids.groups.len() + 1)]),
            ids: ids.cloned(),
            elevated: is_other_user.then(sys::Elevated::now),
            limits,
            nice,
            oom_score: oom_score.map(|text| c_string(&text, "the OOM score")).transpose()?,
            no_new_privileges: plan.no_new_privileges,
            siblings: plan.launcher_leaves,
            fork: plan.fork,
            rehearsal: None,
        };
        let names = plan.listeners.iter().map(|listener| listener.name.clone());
        let endpoints = names.zip(traces.sockets.iter().map(BoundSocket::endpoint)).collect();
        let ends = LauncherEnds { exec, status, hold: Some(hold), traces, endpoints, memory, origin };
        let others = moved.into_iter().chain([hold_pipe]).chain(of_instance.into_iter().flatten().flatten()).collect();
        Ok((prepared, Descriptors { exec_pipe: Some(exec_pipe), _others: others }, ends))
    }

    pub(crate) fn must_read(&self) -> Option<&CStr> {
        self.must_read.as_deref()
    }

    /// Writes the child's pid wherever its environment tells it. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// In the child, while nobody else reads its environment.
    pub(crate) unsafe fn sign(&self, pid: libc::pid_t) {
        // SAFETY: the place was prepared for it.
        unsafe { Marker::sign(self.marker_pid, pid) };
        if let Some(place) = self.listen_pid {
            let digits = Digits::of_pid(pid);
            let digits = digits.as_bytes();
            // SAFETY: there is room for the longest pid, behind which the string ends anyway.
            unsafe { ptr::copy_nonoverlapping(digits.as_ptr(), place, digits.len()) };
            // SAFETY: as above.
            let end = unsafe { place.add(digits.len()) };
            // SAFETY: as above.
            unsafe { end.write(0) };
        }
    }

    /// Room for the groups that the child finds. Async-signal-safe.
    #[expect(clippy::mut_from_ref, reason = "only the one child asks, once")]
    pub(crate) fn found_groups(&self) -> &mut [libc::gid_t] {
        // SAFETY: nobody else looks at it while the child lives in this memory.
        unsafe { &mut *self.found_groups.get() }
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

    pub(crate) fn launchers_directory(&self) -> Option<&CStr> {
        self.launchers_directory.as_deref()
    }

    pub(crate) fn working_directory(&self) -> Option<&CStr> {
        self.working_directory.as_deref()
    }

    pub(crate) fn environment(&self) -> *const *const libc::c_char {
        self.environment.as_ptr()
    }

    /// Whether the length of files is limited.
    pub(crate) fn limits_files(&self) -> bool {
        self.limits.iter().any(|(resource, _)| resource.name() == "fsize")
    }

    pub(crate) fn sources(&self) -> &[RawFd] {
        &self.sources
    }
}

/// What the daemon inherits of its pidfile, from descriptor `first` on.
fn hand_on<'a>(pid_file: &'a PidFile, ids: Option<&Ids>, first: RawFd, sources: &mut Vec<BorrowedFd<'a>>) -> Handed {
    let phase = pid_file.phase().as_fd();
    // Until the child has opened the pidfile, another descriptor takes its place.
    sources.extend([pid_file.public().read().unwrap_or(phase), phase]);
    // Another user could keep the lock from everyone by a process that outlives the daemon. But where `/proc` is missing nothing
    // else proves the daemon.
    let has_start = pid_file.claim_of_starter().is_some_and(|claim| claim.start != 0);
    let lock = pid_file.lock().filter(|_| ids.is_none() || !has_start).map(Lock::held);
    sources.extend(lock);
    Handed { file: first, phase: first + 1, lock: lock.map(|_| first + 2) }
}

/// With the descriptors above `floor` that the child writes through.
fn prepare_instance(
    plan: &LaunchPlan,
    pid_file: &PidFile,
    handed: Handed,
    floor: RawFd,
) -> Option<Result<(PreparedInstance, [Option<OwnedFd>; 2])>> {
    let (lock, claim) = (pid_file.lock()?, pid_file.claim_of_starter()?);
    let write = pid_file.public().write();
    let prepare = || {
        let lock = move_above(lock.text(), floor)?;
        let write = write.map(|write| move_above(write, floor)).transpose()?;
        let path = c_string(pid_file.path().as_os_str(), "the pidfile's path")?;
        Ok((
            lock,
            write,
            DeferredPidFile { path, mode: sys::file_mode(pid_file.public().by_child().unwrap_or(0)).bits() },
        ))
    };
    Some(prepare().map(|(lock, write, deferred)| {
        let instance = PreparedInstance {
            claim: Template::of(claim),
            lock: lock.as_raw_fd(),
            pid_file: write.as_ref().map(AsRawFd::as_raw_fd).ok_or(deferred),
            pid_file_target: handed.file,
            lock_target: handed.lock,
            must_have_start: claim.start != 0,
            phase: handed.phase,
            up_at_exec: (plan.wait_for == WaitFor::Exec).then_some(plan.alive_for),
        };
        (instance, [Some(lock), write])
    }))
}

struct Environment {
    variables: Pointers,
    marker_pid: *mut u8,
    listen_pid: Option<*mut u8>,
}

/// The mark of the session, which the claim has too.
fn session_mark(pid_file: Option<&PidFile>) -> SessionMark {
    let claim = pid_file.and_then(PidFile::claim_of_starter);
    claim.map_or_else(SessionMark::new, |claim| claim.session_mark.clone())
}

/// The environment, with the variables for the session, the sockets and the marker.
fn environment(plan: &LaunchPlan, mark: &SessionMark, marker: &Marker) -> Result<Environment> {
    const LISTEN_PID: &str = "LISTEN_PID=";
    let listens = !plan.listeners.is_empty();
    let is_ours = |name: &OsStr| {
        name == START_VARIABLE
            || name == SESSION_VARIABLE
            || listens && ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].iter().any(|ours| name == *ours)
    };
    let mut strings = Vec::with_capacity(plan.environment.len() + 5);
    for (name, value) in plan.environment.iter().filter(|(name, _)| !is_ours(name)) {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        strings.push(c_string(&variable, "an environment variable")?);
    }
    strings.push(c_string(OsStr::new(&mark.variable()), "the session's mark")?);
    if listens {
        let names = plan.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(":");
        let variables = [
            format!("LISTEN_FDS={}", plan.listeners.len()),
            format!("LISTEN_FDNAMES={names}"),
            format!("{LISTEN_PID}{PID_ROOM}"),
        ];
        for variable in variables {
            strings.push(c_string(OsStr::new(&variable), "a socket's name")?);
        }
    }
    let impossible = || Error::InvalidPlan("the note or the pidfile's path contains a NUL byte".to_owned());
    let (variable, in_marker) = marker.to_variable().ok_or_else(impossible)?;
    strings.push(variable);
    let (last, variables) = (strings.len() - 1, Pointers::new(strings));
    let place = |index: usize, offset: usize| {
        let start = variables.pointers.get(index).copied().unwrap_or(ptr::null_mut());
        // SAFETY: the pid's digits lie inside the string, behind the variable's name.
        unsafe { start.add(offset) }.cast::<u8>()
    };
    let marker_pid = place(last, in_marker);
    let listen_pid = listens.then(|| place(last - 1, LISTEN_PID.len()));
    Ok(Environment { variables, marker_pid, listen_pid })
}

/// The number that the source with this index gets in the daemon.
fn target(index: usize) -> RawFd {
    RawFd::try_from(index).unwrap_or(RawFd::MAX - 2)
}

pub(crate) fn c_string(text: &OsStr, what: &str) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::InvalidPlan(format!("{what} contains a NUL byte")))
}

fn move_above(source: BorrowedFd<'_>, floor: RawFd) -> Result<OwnedFd> {
    sys::duplicate_above(source, floor).map_err(|errno| Error::system(Step::MoveDescriptor, errno))
}

/// The files behind the three streams.
struct Streams {
    /// Those that the child opens are `/dev/null` until then.
    opened: Vec<OwnedFd>,
    /// The one that captures standard error.
    memory: Option<OwnedFd>,
    /// What is left to the child.
    deferred: Vec<DeferredFile>,
}

/// Opens what the launcher may open for the daemon. Logs that are made belong to the daemon's user.
fn open_streams(
    plan: &LaunchPlan,
    ids: Option<&Ids>,
    findings: &Arc<Findings>,
    logs: &mut Vec<Log>,
) -> Result<Streams> {
    let duplicate = |fd: &OwnedFd| sys::duplicate_above(fd.as_fd(), 0);
    let recipient = Recipient::with(ids);
    let uid = ids.map(|ids| ids.uid);
    let mut memory = None;
    let mut opened: Vec<OwnedFd> = Vec::with_capacity(3);
    let mut deferred: Vec<DeferredFile> = Vec::new();
    let streams = [&plan.stdin, &plan.stdout, &plan.stderr];
    for ((stream, step), number) in streams.into_iter().zip(Step::STREAMS).zip(0..) {
        let failed = |errno| Error::system(step, errno);
        let fd = match stream {
            Stream::Null => stdio::open_null(step)?,
            Stream::Inherit => sys::duplicate_number(number).map_err(failed)?,
            Stream::Descriptor(fd) => sys::duplicate_number(*fd).map_err(failed)?,
            // One open file for both, so that their lines come in the order in which they were written.
            Stream::File(file) if number == 2 && plan.stderr == plan.stdout => {
                if let Some(shared) = deferred.iter_mut().find(|file| file.targets.contains(&1)) {
                    shared.targets = &[1, 2];
                }
                let shared = opened.last().ok_or_else(|| Error::system(step, Errno::EBADF))?;
                duplicate(shared).map_err(|errno| Error::at(step, &file.path)(errno))?
            }
            Stream::File(file) if number == 0 => match stdio::open_input(&file.path, recipient)? {
                Opened::Here(fd) => fd,
                Opened::ByChild { is_exposed } => {
                    deferred.push(deferred_file(file, step, number, Access::Input, is_exposed)?);
                    stdio::open_null(step)?
                }
            },
            Stream::File(file) => match stdio::open_log(file, step, recipient)? {
                Opened::Here(log) => {
                    let fd = duplicate(&log.fd).map_err(|errno| Error::at(step, &file.path)(errno));
                    logs.push(Log::Open { log, uid });
                    fd?
                }
                Opened::ByChild { is_exposed } => {
                    let access = Access::Output { mode: sys::file_mode(file.mode).bits(), truncates: !file.append };
                    deferred.push(deferred_file(file, step, number, access, is_exposed)?);
                    let (path, uid, findings) = (file.path.clone(), uid.unwrap_or(0), Arc::clone(findings));
                    logs.push(Log::Deferred { path, target: number, uid, findings });
                    stdio::open_null(step)?
                }
            },
            Stream::Capture => {
                let file = memory.insert(sys::memory_file().map_err(failed)?);
                duplicate(file).map_err(failed)?
            }
        };
        opened.push(fd);
    }
    Ok(Streams { opened, memory, deferred })
}

fn deferred_file(file: &LogFile, step: Step, number: RawFd, access: Access, is_exposed: bool) -> Result<DeferredFile> {
    const TARGETS: [&[RawFd]; 3] = [&[0], &[1], &[2]];
    let targets = usize::try_from(number).ok().and_then(|number| TARGETS.get(number)).copied().unwrap_or(&[]);
    let path = c_string(file.path.as_os_str(), "the path of a standard stream")?;
    Ok(DeferredFile { path, step, targets, access, is_exposed })
}
