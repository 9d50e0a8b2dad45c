//! The N-API face of daemonry: JavaScript values in, plain data out. Failures cross as data; TypeScript throws them.
#![expect(clippy::needless_pass_by_value, reason = "N-API hands over owned values")]

mod failure;
mod plan;
pub mod store;

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use daemonry::{
    AbortHandle, Account, Adoption, BoundSocket, End, EndReason, Endpoint, Errno, Exit, FailedReload, Handlers, Kept,
    LaunchFailure, LaunchPlan, Listener, LogFile, Outcome, PidFile, PinnedPlan, Record, ReloadEvent, Reloaded, Remains,
    Report, Resource, RunAs, Source, Status, Step, StopOptions, Stopped, Supervisor, UserRef, WaitFor,
};
use napi::bindgen_prelude::{Either, Either5, Env, Object, panic_to_error};
use napi_derive::napi;

use failure::{Failure, fields_of, if_any, outcome};
use plan::{HoldRequest, LaunchRequest, NativeListener};
use store::NativeRecord;

/// The names of every step, in the order of a start.
#[napi(catch_unwind)]
pub fn steps() -> Vec<&'static str> {
    Step::ALL.iter().map(|step| step.name()).collect()
}

/// The variable that carries the start token.
#[napi(catch_unwind)]
pub fn start_variable() -> &'static str {
    daemonry::START_VARIABLE
}

/// A daemon that is up.
#[napi(object, object_from_js = false)]
pub struct Started {
    /// `started`, `reused` or `replaced`.
    #[napi(ts_type = "'started' | 'reused' | 'replaced'")]
    pub outcome: &'static str,
    /// Its pid.
    pub pid: i32,
    /// What it wrote to a captured stderr while it started.
    pub stderr: String,
    /// Where its sockets listen.
    pub listeners: Vec<NativeEndpoint>,
    /// Why its journal could not be written, in words.
    pub unwritten: Option<String>,
}

/// Where a socket listens: an address and a port, a path, or none of both.
#[napi(object, object_from_js = false)]
pub struct NativeEndpoint {
    /// Its name.
    pub name: String,
    /// The IP address.
    pub address: Option<String>,
    /// The TCP port.
    pub port: Option<u16>,
    /// The path of a Unix socket.
    pub path: Option<String>,
}

impl From<(String, Endpoint)> for NativeEndpoint {
    fn from((name, endpoint): (String, Endpoint)) -> Self {
        let plain = Self { name, address: None, port: None, path: None };
        match endpoint {
            Endpoint::Tcp(address) => {
                Self { address: Some(address.ip().to_string()), port: Some(address.port()), ..plain }
            }
            Endpoint::Unix(path) => Self { path: Some(path.to_string_lossy().into_owned()), ..plain },
            Endpoint::Other => plain,
        }
    }
}

impl From<daemonry::Started> for Started {
    fn from(started: daemonry::Started) -> Self {
        let outcome = match started.outcome {
            Outcome::Started => "started",
            Outcome::Reused => "reused",
            Outcome::Replaced => "replaced",
        };
        Self {
            outcome,
            pid: started.pid,
            stderr: String::from_utf8_lossy(&started.stderr).into_owned(),
            listeners: started.listeners.into_iter().map(Into::into).collect(),
            unwritten: started.unwritten.map(|error| error.to_string()),
        }
    }
}

/// The command line of this process as the kernel keeps it; empty where it cannot be read.
#[napi(catch_unwind)]
pub fn command_line() -> Vec<String> {
    daemonry::command_line().into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// Why a program cannot be executed.
#[napi(object, object_from_js = false)]
pub struct NotExecutable {
    /// The kind.
    #[napi(ts_type = "'missing' | 'mount' | 'permission' | 'format' | 'interpreter' | 'system'")]
    pub reason: &'static str,
    /// The same in words, to follow the path.
    pub message: String,
}

impl From<daemonry::NotExecutable> for NotExecutable {
    fn from(fault: daemonry::NotExecutable) -> Self {
        let reason = match fault {
            daemonry::NotExecutable::Missing => "missing",
            daemonry::NotExecutable::Mount => "mount",
            daemonry::NotExecutable::Permission => "permission",
            daemonry::NotExecutable::Format => "format",
            daemonry::NotExecutable::Interpreter(_) => "interpreter",
            _ => "system",
        };
        Self { reason, message: fault.to_string() }
    }
}

/// Checks without a process whether this machine can execute a compiled program.
#[napi(catch_unwind)]
pub fn check_executable(path: String) -> Option<NotExecutable> {
    daemonry::check_executable(Path::new(&path)).err().map(NotExecutable::from)
}

/// The first argument of this process that is not UTF-8, as a sentence shows it: JavaScript gets it with other bytes.
#[napi(catch_unwind)]
pub fn foreign_argument() -> Option<String> {
    daemonry::command_line().into_iter().find(|argument| argument.to_str().is_none()).map(|argument| quoted(&argument))
}

/// In quotes, its bytes as escapes.
#[expect(clippy::unnecessary_debug_formatting, reason = "only that shows the bytes")]
fn quoted(argument: &std::ffi::OsStr) -> String {
    format!("{argument:?}")
}

/// The names of every resource that the platform limits.
#[napi(catch_unwind)]
pub fn resources() -> Vec<&'static str> {
    Resource::all().map(Resource::name).collect()
}

/// The home directory of a user; `null` if the database does not have that user.
#[napi(catch_unwind)]
pub fn home_directory(user: String) -> Option<String> {
    let run_as = RunAs { user: Some(UserRef::Name(user)), ..RunAs::default() };
    Account::look_up(&run_as).ok().map(|account| account.home.to_string_lossy().into_owned())
}

/// Binds a socket for this process itself and returns its descriptor.
#[napi(catch_unwind)]
pub fn listen(listener: NativeListener) -> Either<i32, Failure> {
    use std::os::fd::IntoRawFd;
    outcome(match Listener::from(listener).source {
        Source::Descriptor(descriptor) => Ok(descriptor),
        // From here on it is JavaScript's.
        Source::Address(address) => BoundSocket::bind(&address, None).map(|socket| socket.fd.into_raw_fd()),
    })
}

/// The path of the Unix socket behind a descriptor, if it is one that has a path.
#[napi(catch_unwind)]
pub fn socket_path(descriptor: i32) -> Option<String> {
    match daemonry::endpoint(descriptor) {
        Endpoint::Unix(path) => Some(path.to_string_lossy().into_owned()),
        _ => None,
    }
}

/// Sends a message to the service manager at `address`, with descriptors to keep (`sd_notify(3)`).
#[napi(catch_unwind)]
pub fn notify(address: String, state: String, descriptors: Vec<i32>) -> Option<Failure> {
    daemonry::notify(OsStr::new(&address), &state, &descriptors).err().map(Failure::from)
}

/// Microseconds of the clock that the manager compares `MONOTONIC_USEC=` with.
#[napi(catch_unwind)]
pub fn monotonic_microseconds() -> Either<i64, Failure> {
    // A clock that counts from the start of the machine.
    outcome(daemonry::monotonic_clock().map(|clock| i64::try_from(clock.as_micros()).unwrap_or(i64::MAX)))
}

/// Whether the calling thread is the process's first one.
#[napi(catch_unwind)]
pub fn is_main_thread() -> bool {
    daemonry::is_main_thread()
}

/// Whether a process has a handler for a signal; `null` where that cannot be seen.
#[napi(catch_unwind)]
pub fn catches_signal(pid: i32, signal: i32) -> Option<bool> {
    daemonry::catches_signal(pid, signal)
}

/// Whether this process is in its parent's process group; `null` where that cannot be seen.
#[napi(catch_unwind)]
pub fn shares_group_of_parent() -> Option<bool> {
    daemonry::shares_group_of_parent()
}

/// Takes descriptors that were handed over: no program that this one executes gets them. False where one is not a socket.
#[napi(catch_unwind)]
pub fn take_sockets(first: i32, count: u32) -> bool {
    daemonry::take_sockets(first, count)
}

fn launched(plan: daemonry::Result<PinnedPlan>) -> Either<Started, Failure> {
    match plan.map_err(LaunchFailure::from).and_then(PinnedPlan::launch) {
        Ok(started) => Either::A(started.into()),
        Err(failure) => Either::B(failure.into()),
    }
}

/// Checks a start as far as possible while the daemon that it would replace is running.
#[napi(catch_unwind)]
pub fn rehearse(request: LaunchRequest) -> Option<Failure> {
    LaunchPlan::from(request).rehearse().err().map(Failure::from)
}

/// Launches a daemon and blocks until the outcome is known.
#[napi(catch_unwind)]
pub fn launch(request: LaunchRequest) -> Either<Started, Failure> {
    launched(LaunchPlan::from(request).pin())
}

/// Launches a daemon; a thread of its own waits for the outcome. What the caller changes after the call, such as a descriptor or
/// the working directory, is no part of the start any more.
#[napi(ts_return_type = "Promise<Started | Failure>", catch_unwind)]
pub fn launch_aside<'env>(env: &'env Env, request: LaunchRequest, abort: Option<&Abort>) -> napi::Result<Object<'env>> {
    let plan = LaunchPlan { abort: abort.and_then(|abort| abort.handle.clone()), ..request.into() }.pin();
    aside(
        env,
        Box::new(move || match launched(plan) {
            Either::A(started) => Either5::A(started),
            Either::B(failure) => Either5::E(failure),
        }),
    )
}

/// Duplicates of descriptors, for a launch that may come later.
#[napi]
pub struct HeldDescriptors {
    held: Vec<Option<OwnedFd>>,
}

/// Duplicates descriptors.
#[napi(catch_unwind)]
pub fn hold_descriptors(descriptors: Vec<i32>) -> HeldDescriptors {
    HeldDescriptors { held: descriptors.into_iter().map(|number| daemonry::duplicate(number).ok()).collect() }
}

#[napi]
impl HeldDescriptors {
    /// The duplicates in the order of the descriptors; -1, which is never open, if the descriptor was not open.
    #[napi(getter, catch_unwind)]
    pub fn numbers(&self) -> Vec<i32> {
        self.held.iter().map(|held| held.as_ref().map_or(-1, AsRawFd::as_raw_fd)).collect()
    }

    /// Closes them.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.held.clear();
    }
}

/// Undoes a launch that is under way.
#[napi]
pub struct Abort {
    handle: Option<AbortHandle>,
}

/// A handle for one launch.
#[napi(catch_unwind)]
pub fn create_abort() -> Either<Abort, Failure> {
    outcome(AbortHandle::new().map(|handle| Abort { handle: Some(handle) }))
}

#[napi]
impl Abort {
    /// Undoes it, if it is not too late.
    #[napi(catch_unwind)]
    pub fn abort(&self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }

    /// Lets go of its descriptors.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.handle = None;
    }
}

/// What a thread of its own has waited for.
type Settled = Either5<Started, StopOutcome, ReloadOutcome, i32, Failure>;

/// A promise of what `work` returns on a thread of its own.
fn aside(env: &Env, work: Box<dyn FnOnce() -> Settled + Send>) -> napi::Result<Object<'_>> {
    let (deferred, promise) = env.create_deferred::<Settled, Box<dyn FnOnce(Env) -> napi::Result<Settled>>>()?;
    // The thread that takes it out settles it: a promise that is never settled would keep the event loop alive.
    let shared = Arc::new(Mutex::new(Some(deferred)));
    let taken = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("daemonry".into()).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let Some(deferred) = taken.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        match outcome {
            Ok(outcome) => deferred.resolve(Box::new(move |_| Ok(outcome))),
            Err(panic) => deferred.reject(panic_to_error(panic)),
        }
    });
    if let Err(error) = thread
        && let Some(deferred) = shared.lock().unwrap_or_else(PoisonError::into_inner).take()
    {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        let failure = daemonry::Error::System { step: Step::Wait, errno, path: None }.into();
        deferred.resolve(Box::new(move |_| Ok(Either5::E(failure))));
    }
    Ok(promise)
}

/// Takes over the start that the start token is about; `null` when it is about another process.
#[napi(catch_unwind)]
pub fn adopt(token: String) -> Option<Either<DaemonStart, Failure>> {
    // SAFETY: TypeScript removes the start token from the environment, so it comes here once; nothing else knows the descriptors.
    let adopted = unsafe { daemonry::adopt(OsStr::new(&token)) };
    adopted.transpose().map(|adoption| outcome(adoption.map(|adoption| DaemonStart { adoption })))
}

/// A start that this process has taken over.
#[napi]
pub struct DaemonStart {
    adoption: Adoption,
}

#[napi]
impl DaemonStart {
    /// The note that the launcher passed.
    #[napi(getter, catch_unwind)]
    pub fn note(&self) -> String {
        self.adoption.note.to_string_lossy().into_owned()
    }

    /// The pidfile that the launcher locked for this process.
    #[napi(catch_unwind)]
    pub fn pid_file(&self) -> Option<NativePidFile> {
        self.adoption.pid_file.clone().map(|file| NativePidFile { file: Some(file), has_replaced: false })
    }

    /// Whether the launcher still watches, and would take an end for a failed start.
    #[napi(getter, catch_unwind)]
    pub fn is_watched(&self) -> bool {
        self.adoption.is_watched()
    }

    /// `daemonize()` has returned here and the event loop has turned.
    #[napi(catch_unwind)]
    pub fn started(&self) -> Option<Failure> {
        self.report(&Report::Started)
    }

    /// The daemon serves.
    #[napi(catch_unwind)]
    pub fn ready(&self) -> Option<Failure> {
        self.report(&Report::Ready)
    }

    /// The daemon has failed for a reason of its own.
    #[napi(catch_unwind)]
    pub fn failed(&self, reason: String) -> Option<Failure> {
        self.report(&Report::Failed(reason))
    }

    /// The daemon could not change to its working directory; `errno` as Node has it, negative.
    #[napi(catch_unwind)]
    pub fn failed_chdir(&self, errno: i32, path: String) -> Option<Failure> {
        self.report(&Report::FailedStep {
            step: Step::Chdir,
            errno: Errno::from_raw(errno.saturating_abs()),
            path: Some(path.into()),
        })
    }

    /// The daemon is about to exit with this code.
    #[napi(catch_unwind)]
    pub fn exiting(&self, code: i32) -> Option<Failure> {
        self.report(&Report::Exiting(code))
    }

    fn report(&self, report: &Report) -> Option<Failure> {
        self.adoption.report(report).err().map(Failure::from)
    }
}

/// Writes the record of a daemon whose lock this process holds.
#[napi(catch_unwind)]
pub fn write_record(record: NativeRecord) -> Option<Failure> {
    Record::from(record).write().err().map(Failure::from)
}

/// Locks a pidfile for this process, which stays in the foreground and is "starting" until it reports more.
#[napi(catch_unwind)]
pub fn acquire_pid_file(request: HoldRequest) -> Either<NativePidFile, Failure> {
    match LaunchPlan::from(request).hold() {
        Ok(held) => Either::A(NativePidFile { file: Some(Arc::new(held.pid_file)), has_replaced: held.has_replaced }),
        Err(failure) => Either::B(failure.into()),
    }
}

/// How many stops of the daemon of a pidfile were requested so far, for a restart.
#[napi(catch_unwind)]
pub fn stops_requested(path: String) -> Either<f64, Failure> {
    #[expect(clippy::cast_precision_loss, reason = "no daemon is stopped that often")]
    let count = daemonry::stops_requested(Path::new(&path)).map(|count| count as f64);
    outcome(count)
}

/// A pidfile that this process holds.
#[napi]
pub struct NativePidFile {
    file: Option<Arc<PidFile>>,
    has_replaced: bool,
}

#[napi]
impl NativePidFile {
    /// Its path; empty once released.
    #[napi(getter, catch_unwind)]
    pub fn path(&self) -> String {
        self.file.as_ref().map_or_else(String::new, |file| file.path().to_string_lossy().into_owned())
    }

    /// Whether another daemon was stopped to make room for this process.
    #[napi(getter, catch_unwind)]
    pub fn has_replaced(&self) -> bool {
        self.has_replaced
    }

    /// Why the start of this process could not be written down in its journal, in words.
    #[napi(getter, catch_unwind)]
    pub fn unwritten(&self) -> Option<String> {
        self.file.as_ref()?.unwritten().map(ToString::to_string)
    }

    /// Makes it go with the process: a signal that ends it removes it first, an exit last.
    #[napi(catch_unwind)]
    pub fn guard(&self) {
        if let Some(file) = &self.file {
            daemonry::guard(Arc::clone(file));
        }
    }

    /// Reports that the process, which has locked it itself, is up.
    #[napi(catch_unwind)]
    pub fn mark_up(&self) -> Option<Failure> {
        self.file.as_ref()?.mark_up().err().map(Failure::from)
    }

    /// Reports how long the process takes to stop, in ms.
    #[napi(catch_unwind)]
    pub fn mark_stop_timeout(&self, timeout: f64) -> Option<Failure> {
        self.file.as_ref()?.mark_stop_timeout(plan::duration(timeout)).err().map(Failure::from)
    }

    /// Reports that the process has begun to stop, or what became of its handlers then.
    #[napi(catch_unwind)]
    pub fn mark_stopping(
        &self,
        #[napi(ts_arg_type = "'failed' | 'timed-out' | undefined | null")] handlers: Option<String>,
    ) -> Option<Failure> {
        let file = self.file.as_ref()?;
        let marked = match handlers.as_deref() {
            None => file.mark_stopping(),
            Some("failed") => file.mark_handlers(Handlers::Failed),
            Some(_) => file.mark_handlers(Handlers::CutOff),
        };
        marked.err().map(Failure::from)
    }

    /// Reports the state of a reload of this process; `failed` with the reason.
    #[napi(catch_unwind)]
    pub fn mark_reload(
        &self,
        #[napi(ts_arg_type = "'possible' | 'begins' | 'done' | 'failed'")] event: String,
        reason: Option<String>,
    ) -> Option<Failure> {
        let event = match event.as_str() {
            "possible" => ReloadEvent::Possible,
            "begins" => ReloadEvent::Begins,
            "failed" => ReloadEvent::Failed(reason.as_deref().unwrap_or_default()),
            _ => ReloadEvent::Done,
        };
        self.file.as_ref()?.mark_reload(event).err().map(Failure::from)
    }

    /// Reports how the process ends: with an exit code, or by a signal.
    #[napi(catch_unwind)]
    pub fn mark_end(&self, exit_code: Option<i32>, signal: Option<i32>) -> Option<Failure> {
        let exit = exit_code.map(Exit::Code).or(signal.map(Exit::Signal))?;
        self.file.as_ref()?.mark_exit(exit).err().map(Failure::from)
    }

    /// Writes down in its journal how the process ends, as `markEnd` has reported. After a failure, the next process that asks for the
    /// status of the daemon tries again.
    #[napi(catch_unwind)]
    pub fn note_end(&self) -> Option<Failure> {
        self.file.as_ref()?.note_end().err().map(Failure::from)
    }

    /// Reports why the process will exit: what it has thrown, or `null` when it was idle.
    #[napi(catch_unwind)]
    pub fn mark_reason(&self, last_words: Option<String>) -> Option<Failure> {
        let file = self.file.as_ref()?;
        let marked = last_words.map_or_else(|| file.mark_idle(), |words| file.mark_last_words(&words));
        marked.err().map(Failure::from)
    }

    /// Checks that the file can be found, and makes it again if it was removed.
    #[napi(catch_unwind)]
    pub fn keep(&self) -> Either<KeptPidFile, Failure> {
        outcome(self.file.as_ref().map_or(Ok(Kept::InPlace), |file| file.keep()).map(Into::into))
    }

    /// Makes the record and the journal again if they were removed; true if one was.
    #[napi(catch_unwind)]
    pub fn keep_record(&self) -> Either<bool, Failure> {
        outcome(self.file.as_ref().map_or(Ok(false), |file| file.keep_record()))
    }

    /// Removes the file if it is still this process's, and lets go of the lock.
    #[napi(catch_unwind)]
    pub fn release(&mut self) -> Option<Failure> {
        let file = self.file.take()?;
        file.release().err().map(Failure::from)
    }
}

/// What a check of a pidfile has found.
#[napi(object, object_from_js = false)]
pub struct KeptPidFile {
    /// `superseded`: another process holds the lock.
    #[napi(ts_type = "'in-place' | 'made-again' | 'replaced' | 'superseded'")]
    pub state: &'static str,
    /// That process.
    pub by: Option<i32>,
}

impl From<Kept> for KeptPidFile {
    fn from(kept: Kept) -> Self {
        let (state, by) = match kept {
            Kept::InPlace => ("in-place", None),
            Kept::MadeAgain => ("made-again", None),
            Kept::Replaced => ("replaced", None),
            Kept::Superseded { pid } => ("superseded", Some(pid)),
        };
        Self { state, by }
    }
}

/// Makes `signal`, with whatever it does by default, remove the guarded pidfile first.
#[napi(catch_unwind)]
pub fn arm_signal(signal: i32) -> Option<Failure> {
    daemonry::arm(signal).err().map(Failure::from)
}

/// Makes the handler of `armSignal` do nothing until it is armed again.
#[napi(catch_unwind)]
pub fn disarm_signal(signal: i32) {
    daemonry::disarm(signal);
}

/// Ends the process by `signal` with its default action.
#[napi(catch_unwind)]
pub fn die_of_signal(signal: i32) {
    daemonry::die(signal);
}

/// Ends the process at once, without exit handlers.
#[napi(catch_unwind)]
pub fn exit_now(code: i32) {
    daemonry::exit_now(code);
}

/// Opens a log again and puts it in the place of the descriptors.
#[napi(catch_unwind)]
pub fn reopen_log(path: String, mode: u32, descriptors: Vec<i32>) -> Option<Failure> {
    daemonry::reopen_log(&LogFile { path: path.into(), mode, append: true }, &descriptors).err().map(Failure::from)
}

/// The state of the daemon of a pidfile; times in ms since the epoch.
#[napi(object, object_from_js = false)]
pub struct PidFileStatus {
    /// `running`, `stopping`, `starting`, `restarting`, `dead`, `unknown` or `stopped`.
    pub state: &'static str,
    /// The daemon's pid.
    pub pid: Option<i32>,
    /// When its process was started.
    pub since: Option<f64>,
    /// The pid that a dead daemon left in the file.
    pub last_pid: Option<i32>,
    /// The process above it.
    pub supervisor_pid: Option<i32>,
    /// How often that has restarted it.
    pub restarts: Option<u32>,
    /// When it restarts it next.
    pub restarts_at: Option<f64>,
    /// Who holds the lock instead.
    pub held_by: Option<i32>,
    /// Its last reload, if that failed.
    pub failed_reload: Option<NativeFailedReload>,
    /// How it has ended.
    pub ended: Option<NativeEnd>,
}

/// A reload that failed.
#[napi(object, object_from_js = false)]
pub struct NativeFailedReload {
    /// When.
    pub at: Option<f64>,
    /// Why.
    pub reason: String,
}

impl From<FailedReload> for NativeFailedReload {
    fn from(FailedReload { at, reason }: FailedReload) -> Self {
        Self { at: millis(at), reason }
    }
}

/// How a daemon has ended.
#[napi(object, object_from_js = false)]
pub struct NativeEnd {
    /// `stopped`, `replaced`, `finished`, `idle`, `crashed`, `killed`, `vanished` or `lost`.
    pub reason: &'static str,
    /// When.
    pub at: Option<f64>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The signal that it died of.
    pub signal: Option<String>,
    /// Who asked it to stop, as JSON.
    pub by: Option<String>,
    /// What it has thrown.
    pub last_words: Option<String>,
    /// It was to be replaced, and that has failed.
    pub replacement_failed: Option<bool>,
}

/// Milliseconds since the epoch.
fn millis(time: SystemTime) -> Option<f64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since_epoch| since_epoch.as_secs_f64() * 1000.0)
}

impl From<End> for NativeEnd {
    fn from(End { reason, at, exit, by, last_words }: End) -> Self {
        let (exit_code, signal) = fields_of(exit);
        let by = by.map(|by| by.to_json());
        Self {
            reason: reason.name(),
            at: at.and_then(millis),
            exit_code,
            signal,
            by,
            last_words,
            replacement_failed: None,
        }
    }
}

/// Writes down in a journal that a start has failed before it could do so itself.
#[napi(catch_unwind)]
pub fn note_failed_start(journal: String, reason: String) -> Option<Failure> {
    daemonry::note_failed_start(Path::new(&journal), reason).err().map(Failure::from)
}

/// Whether an end of this reason was requested, or intended by the program.
#[napi(catch_unwind)]
pub fn is_orderly_end(reason: String) -> bool {
    EndReason::by_name(&reason).is_some_and(EndReason::is_orderly)
}

/// Returns the state of the daemon that belongs to a pidfile. For a named daemon, its journal is read as well.
#[napi(catch_unwind)]
pub fn pid_file_status(path: String, journal: Option<String>) -> Either<PidFileStatus, Failure> {
    let path = Path::new(&path);
    let status = match &journal {
        Some(journal) => daemonry::status_of_named(path, Path::new(journal)),
        None => daemonry::status(path),
    };
    let failed = match &status {
        Ok(Status::Dead { ended: Some(end), .. } | Status::Stopped { ended: Some(end) }) => {
            daemonry::replacement_failed(end, journal.as_deref().map(Path::new))
        }
        _ => false,
    };
    let mut found = status.map(PidFileStatus::from);
    if let Ok(PidFileStatus { ended: Some(end), .. }) = &mut found {
        end.replacement_failed = failed.then_some(true);
    }
    outcome(found)
}

impl From<Status> for PidFileStatus {
    fn from(status: Status) -> Self {
        let plain = |state| Self {
            state,
            pid: None,
            since: None,
            last_pid: None,
            supervisor_pid: None,
            restarts: None,
            restarts_at: None,
            held_by: None,
            failed_reload: None,
            ended: None,
        };
        let below = |state, supervisor: Option<Supervisor>| Self {
            supervisor_pid: supervisor.map(|supervisor| supervisor.pid),
            restarts: supervisor.map(|supervisor| supervisor.restarts),
            ..plain(state)
        };
        let live = |state, pid, since: Option<SystemTime>, failed: Option<FailedReload>, supervisor| Self {
            pid: Some(pid),
            since: since.and_then(millis),
            failed_reload: failed.map(Into::into),
            ..below(state, supervisor)
        };
        match status {
            Status::Running { pid, since, failed_reload, supervisor } => {
                live("running", pid, since, failed_reload, supervisor)
            }
            Status::Stopping { pid, since, failed_reload, supervisor } => {
                live("stopping", pid, since, failed_reload, supervisor)
            }
            Status::Restarting { last_pid, at, supervisor } => {
                Self { last_pid: Some(last_pid), restarts_at: millis(at), ..below("restarting", Some(supervisor)) }
            }
            Status::Starting { pid, supervisor } => Self { pid, ..below("starting", supervisor) },
            Status::Dead { last_pid, ended } => Self { last_pid, ended: ended.map(Into::into), ..plain("dead") },
            Status::Unknown { held_by } => Self { held_by, ..plain("unknown") },
            Status::Stopped { ended } => Self { ended: ended.map(Into::into), ..plain("stopped") },
            _ => plain("stopped"),
        }
    }
}

/// Sends a signal to the daemon of a pidfile; the promise is of the pid that got it. A thread of its own waits for the proof.
#[napi(ts_return_type = "Promise<number | Failure>", catch_unwind)]
pub fn signal_daemon(env: &Env, path: String, signal: i32) -> napi::Result<Object<'_>> {
    let path = PathBuf::from(path);
    aside(
        env,
        Box::new(move || match daemonry::send_signal(&path, signal) {
            Ok(pid) => Either5::D(pid),
            Err(error) => Either5::E(error.into()),
        }),
    )
}

/// What became of a reload.
#[napi(object, object_from_js = false)]
pub struct ReloadOutcome {
    /// `reloaded`, or `signalled` where the daemon does not report it.
    pub outcome: &'static str,
    /// The daemon's pid.
    pub pid: i32,
}

/// Sends SIGHUP to the daemon of a pidfile; a thread of its own waits, at most `timeout` ms, until it has reloaded.
#[napi(ts_return_type = "Promise<ReloadOutcome | Failure>", catch_unwind)]
pub fn reload_daemon(env: &Env, path: String, timeout: f64) -> napi::Result<Object<'_>> {
    let path = PathBuf::from(path);
    let timeout = plan::duration(timeout);
    aside(
        env,
        Box::new(move || match daemonry::reload(&path, timeout) {
            Ok(Reloaded::Done { pid }) => Either5::C(ReloadOutcome { outcome: "reloaded", pid }),
            Ok(Reloaded::Unreported { pid }) => Either5::C(ReloadOutcome { outcome: "signalled", pid }),
            Err(error) => Either5::E(error.into()),
        }),
    )
}

/// How a daemon was stopped.
#[napi(object, object_from_js = false)]
pub struct StopOutcome {
    /// `stopped`, `killed` or `not-running`.
    pub outcome: &'static str,
    /// The pid that it had.
    pub pid: Option<i32>,
    /// The pid of a daemon that had ended before and left processes behind.
    pub last_pid: Option<i32>,
    /// What went wrong with its stop handlers: `failed` or `timed-out`.
    pub handlers: Option<&'static str>,
    /// How many other processes of its session were ended, if any.
    pub others_ended: Option<u32>,
    /// How many of them run on, if any.
    pub others_left: Option<u32>,
    /// Why its journal could not be written, in words.
    pub unwritten: Option<String>,
}

/// Stops the daemon of a pidfile, which another instance may replace; `timeout` in ms, or as long as the daemon has reported. A
/// thread of its own waits for the end.
#[napi(ts_return_type = "Promise<StopOutcome | Failure>", catch_unwind)]
pub fn stop_daemon(
    env: &Env,
    path: String,
    signal: i32,
    timeout: Option<f64>,
    force: bool,
    replaces: bool,
) -> napi::Result<Object<'_>> {
    let path = PathBuf::from(path);
    let options = StopOptions { signal, timeout: timeout.map(plan::duration), force, replaces };
    aside(
        env,
        Box::new(move || match daemonry::stop(&path, options) {
            Ok(stopped) => Either5::B(stopped.into()),
            Err(error) => Either5::E(error.into()),
        }),
    )
}

impl From<Stopped> for StopOutcome {
    fn from(stopped: Stopped) -> Self {
        let nothing = Self {
            outcome: "not-running",
            pid: None,
            last_pid: None,
            handlers: None,
            others_ended: None,
            others_left: None,
            unwritten: None,
        };
        let (outcome, remains) = match stopped {
            Stopped::Ended(remains) => ("stopped", remains),
            Stopped::Killed(remains) => ("killed", remains),
            Stopped::EndedBefore(remains) => {
                let Remains { pid, others_ended, others_left, unwritten, .. } = remains;
                let (others_ended, others_left) = (if_any(others_ended), if_any(others_left));
                return Self { last_pid: Some(pid), others_ended, others_left, unwritten, ..nothing };
            }
            Stopped::NotRunning => return nothing,
        };
        let Remains { pid, handlers, others_ended, others_left, unwritten } = remains;
        let handlers = match handlers {
            Handlers::Done => None,
            Handlers::Failed => Some("failed"),
            Handlers::CutOff => Some("timed-out"),
        };
        let (others_ended, others_left) = (if_any(others_ended), if_any(others_left));
        Self { outcome, pid: Some(pid), handlers, others_ended, others_left, unwritten, ..nothing }
    }
}

fn wait_for(name: &str) -> WaitFor {
    match name {
        "exec" => WaitFor::Exec,
        "start" => WaitFor::Start,
        _ => WaitFor::Ready,
    }
}
