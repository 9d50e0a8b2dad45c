//! The N-API face of daemonry: JavaScript values in, plain data out. Failures cross as data; TypeScript throws them.
#![expect(clippy::needless_pass_by_value, reason = "N-API hands over owned values")]

mod failure;
mod plan;

use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use daemonry::{
    AbortHandle, Account, Adoption, BoundSocket, Endpoint, Errno, LaunchPlan, Listener, LogFile, Outcome, PidFile,
    Record, Report, Resource, Source, Status, Step, StopOptions, Stopped, WaitFor, Who,
};
use napi::bindgen_prelude::{Either, Either3, Env, Object, panic_to_error};
use napi_derive::napi;

use failure::{Failure, outcome};
use plan::{LaunchRequest, NativeIds, NativeListener, NativeRecord};

/// The names of every step, in the order of a start.
#[napi(catch_unwind)]
pub fn steps() -> Vec<&'static str> {
    Step::ALL.iter().map(|step| step.name()).collect()
}

/// The variable that carries the marker.
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
        }
    }
}

/// The command line of this process as the kernel keeps it; empty where it cannot be read.
#[napi(catch_unwind)]
pub fn command_line() -> Vec<String> {
    daemonry::command_line().into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// The names of every resource that the platform limits.
#[napi(catch_unwind)]
pub fn resources() -> Vec<&'static str> {
    Resource::all().map(Resource::name).collect()
}

/// Who a daemon is to be, and what the database tells of that user.
#[napi(object, object_from_js = false)]
pub struct NativeAccount {
    /// Its ids.
    pub ids: NativeIds,
    /// Its name.
    pub name: Option<String>,
    /// Its home directory.
    pub home: String,
    /// Its shell.
    pub shell: String,
}

fn who(who: Either<String, u32>) -> Who {
    match who {
        Either::A(name) => Who::Name(name),
        Either::B(id) => Who::Id(id),
    }
}

/// Looks up a user, with another group or other supplementary groups.
#[napi(catch_unwind)]
pub fn look_up_user(
    user: Option<Either<String, u32>>,
    group: Option<Either<String, u32>>,
    groups: Option<Vec<Either<String, u32>>>,
) -> Either<NativeAccount, Failure> {
    let groups: Option<Vec<Who>> = groups.map(|groups| groups.into_iter().map(who).collect());
    let account = Account::look_up(user.map(who).as_ref(), group.map(who).as_ref(), groups.as_deref());
    outcome(account.map(|account| NativeAccount {
        ids: account.ids.into(),
        name: account.name,
        home: account.home.to_string_lossy().into_owned(),
        shell: account.shell.to_string_lossy().into_owned(),
    }))
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

/// Tells the service manager at `address` something, and gives it descriptors to keep (`sd_notify(3)`).
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

fn launched(plan: &LaunchPlan) -> Either<Started, Failure> {
    match daemonry::launch(plan) {
        Ok(started) => Either::A(started.into()),
        Err(failure) => Either::B(failure.into()),
    }
}

/// Launches a daemon and blocks until the outcome is known.
#[napi(catch_unwind)]
pub fn launch(request: LaunchRequest) -> Either<Started, Failure> {
    launched(&request.into())
}

/// Launches a daemon; a thread of its own waits for the outcome.
#[napi(ts_return_type = "Promise<Started | Failure>", catch_unwind)]
pub fn launch_aside<'env>(env: &'env Env, request: LaunchRequest, abort: Option<&Abort>) -> napi::Result<Object<'env>> {
    let plan = LaunchPlan { abort: abort.and_then(|abort| abort.handle.clone()), ..request.into() };
    aside(
        env,
        Box::new(move || match launched(&plan) {
            Either::A(started) => Either3::A(started),
            Either::B(failure) => Either3::C(failure),
        }),
    )
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
type Settled = Either3<Started, StopOutcome, Failure>;

/// A promise of what `work` returns on a thread of its own.
fn aside(env: &Env, work: Box<dyn FnOnce() -> Settled + Send>) -> napi::Result<Object<'_>> {
    let (deferred, promise) = env.create_deferred::<Settled, Box<dyn FnOnce(Env) -> napi::Result<Settled>>>()?;
    // Whoever takes it out settles it: one that nobody settles would keep the event loop alive.
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
        deferred.resolve(Box::new(move |_| Ok(Either3::C(failure))));
    }
    Ok(promise)
}

/// Takes over the start that the marker is about; `null` when it is about another process.
#[napi(catch_unwind)]
pub fn adopt(marker: String) -> Option<Either<DaemonStart, Failure>> {
    // SAFETY: TypeScript removes the marker from the environment, so it comes here once; nothing else knows the descriptors.
    let adopted = unsafe { daemonry::adopt(OsStr::new(&marker)) };
    adopted.transpose().map(|adoption| outcome(adoption.map(|adoption| DaemonStart { adoption })))
}

/// A start that this process has taken over.
#[napi]
pub struct DaemonStart {
    adoption: Adoption,
}

#[napi]
impl DaemonStart {
    /// What the launcher wanted its daemon to know.
    #[napi(getter, catch_unwind)]
    pub fn note(&self) -> String {
        self.adoption.note.to_string_lossy().into_owned()
    }

    /// The pidfile that the launcher locked for this process.
    #[napi(catch_unwind)]
    pub fn pid_file(&self) -> Option<NativePidFile> {
        self.adoption.pid_file.clone().map(|file| NativePidFile { file: Some(file) })
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

/// Writes the record of this process, which holds the pidfile.
#[napi(catch_unwind)]
pub fn write_record(record: NativeRecord) -> Option<Failure> {
    Record::from(record).write(own_pid()).err().map(Failure::from)
}

/// Locks a pidfile for this process, which stays in the foreground and is "starting" until it says more. With
/// `replace_within`, in ms, ends the daemon that holds it, for whose start it waits as long.
#[napi(catch_unwind)]
pub fn acquire_pid_file(
    path: String,
    mode: u32,
    replace_within: Option<f64>,
    record: Option<NativeRecord>,
) -> Either<NativePidFile, Failure> {
    let path = Path::new(&path);
    let acquired = match replace_within {
        None => PidFile::acquire(path, mode),
        Some(patience) => PidFile::acquire_replacing(path, mode, plan::duration(patience)),
    };
    let claimed = acquired.and_then(|mut file| {
        let recorded = record.map_or(Ok(()), |record| Record::from(record).write(own_pid()));
        if let Err(error) = recorded.and_then(|()| file.claim()) {
            // Nothing of a claim that failed stays; the claim's error says more than one of the removal.
            let _left = file.remove(None);
            return Err(error);
        }
        Ok(NativePidFile { file: Some(Arc::new(file)) })
    });
    outcome(claimed)
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// A pidfile that this process holds.
#[napi]
pub struct NativePidFile {
    file: Option<Arc<PidFile>>,
}

#[napi]
impl NativePidFile {
    /// Its path; empty once released.
    #[napi(getter, catch_unwind)]
    pub fn path(&self) -> String {
        self.file.as_ref().map_or_else(String::new, |file| file.path().to_string_lossy().into_owned())
    }

    /// Makes it go with the process: a signal that ends it removes it first, an exit last.
    #[napi(catch_unwind)]
    pub fn guard(&self) {
        if let Some(file) = &self.file {
            daemonry::guard(Arc::clone(file));
        }
    }

    /// Says that the process, which has locked it itself, is up.
    #[napi(catch_unwind)]
    pub fn mark_up(&self) -> Option<Failure> {
        self.file.as_ref().and_then(|file| file.mark_up().err()).map(Failure::from)
    }

    /// Says that the process has begun to stop.
    #[napi(catch_unwind)]
    pub fn mark_stopping(&self) -> Option<Failure> {
        self.file.as_ref().and_then(|file| file.mark_stopping().err()).map(Failure::from)
    }

    /// Removes the file if it is still this process's, and lets go of the lock.
    #[napi(catch_unwind)]
    pub fn release(&mut self) -> Option<Failure> {
        let file = self.file.take()?;
        file.remove(Some(own_pid())).err().map(Failure::from)
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

/// What a look at a pidfile tells; times in ms since the epoch.
#[napi(object, object_from_js = false)]
pub struct PidFileStatus {
    /// `running`, `stopping`, `starting`, `dead`, `unknown` or `stopped`.
    pub state: &'static str,
    /// The daemon's pid.
    pub pid: Option<i32>,
    /// When its process was started.
    pub since: Option<f64>,
    /// The pid that a dead daemon left in the file.
    pub last_pid: Option<i32>,
    /// Who holds the lock instead.
    pub held_by: Option<i32>,
}

/// Tells the state of the daemon that belongs to a pidfile.
#[napi(catch_unwind)]
pub fn pid_file_status(path: String) -> Either<PidFileStatus, Failure> {
    outcome(daemonry::status(Path::new(&path)).map(PidFileStatus::from))
}

impl From<Status> for PidFileStatus {
    fn from(status: Status) -> Self {
        let millis = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since_epoch| since_epoch.as_secs_f64() * 1000.0)
        };
        let plain = |state| Self { state, pid: None, since: None, last_pid: None, held_by: None };
        match status {
            Status::Running { pid, since } => {
                Self { pid: Some(pid), since: since.and_then(millis), ..plain("running") }
            }
            Status::Stopping { pid, since } => {
                Self { pid: Some(pid), since: since.and_then(millis), ..plain("stopping") }
            }
            Status::Starting { pid } => Self { pid, ..plain("starting") },
            Status::Dead { last_pid } => Self { last_pid, ..plain("dead") },
            Status::Unknown { held_by } => Self { held_by, ..plain("unknown") },
            _ => plain("stopped"),
        }
    }
}

/// Sends a signal to the daemon of a pidfile and returns the pid that got it.
#[napi(catch_unwind)]
pub fn signal_daemon(path: String, signal: i32) -> Either<i32, Failure> {
    outcome(daemonry::send_signal(Path::new(&path), signal))
}

/// How a daemon was stopped.
#[napi(object, object_from_js = false)]
pub struct StopOutcome {
    /// `stopped`, `killed` or `not-running`.
    pub outcome: &'static str,
    /// The pid that it had.
    pub pid: Option<i32>,
}

/// Stops the daemon of a pidfile; `timeout` in ms. A thread of its own waits for the end.
#[napi(ts_return_type = "Promise<StopOutcome | Failure>", catch_unwind)]
pub fn stop_daemon(env: &Env, path: String, signal: i32, timeout: f64, force: bool) -> napi::Result<Object<'_>> {
    let path = PathBuf::from(path);
    let options = StopOptions { signal, timeout: plan::duration(timeout), force };
    aside(
        env,
        Box::new(move || match daemonry::stop(&path, options) {
            Ok(stopped) => Either3::B(stopped.into()),
            Err(error) => Either3::C(error.into()),
        }),
    )
}

impl From<Stopped> for StopOutcome {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Ended { pid } => Self { outcome: "stopped", pid: Some(pid) },
            Stopped::Killed { pid } => Self { outcome: "killed", pid: Some(pid) },
            Stopped::NotRunning => Self { outcome: "not-running", pid: None },
        }
    }
}

fn wait_for(name: &str) -> WaitFor {
    match name {
        "exec" => WaitFor::Exec,
        "start" => WaitFor::Start,
        _ => WaitFor::Ready,
    }
}
