//! Errors as plain data.

use daemonry::{Advice, Errno, Error, Exit, LaunchFailure, ListenAddress, Step, signal_name};
use napi::bindgen_prelude::Either;
use napi_derive::napi;

/// Why something failed. No other result has an `error_code`.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct Failure {
    /// The code: one of daemonry's own, or the name of the failed system call's errno.
    pub error_code: String,
    /// One sentence.
    pub message: String,
    /// The step at which a system call failed.
    pub step: Option<&'static str>,
    /// The errno, negative as in Node's own errors.
    pub errno: Option<i32>,
    /// The system call.
    pub syscall: Option<&'static str>,
    /// The file that it was about.
    pub path: Option<String>,
    /// The address that could not be bound.
    pub address: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The resource whose limit could not be set.
    pub resource: Option<&'static str>,
    /// The process that it was about.
    pub pid: Option<i32>,
    /// The code that the daemon exited with.
    pub exit_code: Option<i32>,
    /// The signal that ended the daemon, or interrupted the start.
    pub signal: Option<String>,
    /// The end of what the daemon wrote to stderr.
    pub stderr: Option<String>,
    /// Whether a daemon was stopped for this start, so that none runs now.
    pub is_down: Option<bool>,
    /// The command, and the directory, of the daemon that runs as another program.
    pub running_command: Option<String>,
    /// The same of the start.
    pub command: Option<String>,
    /// How many other processes that a daemon had started were ended with its failed start, if any.
    pub others_ended: Option<u32>,
    /// How many of them run on, if any.
    pub others_left: Option<u32>,
    /// What it wrote that says most about why, to follow a colon; not in `message`.
    pub last_words: Option<String>,
    /// What to do about a program that ends and leaves others running; not in `message`.
    pub advice: Option<&'static str>,
}

/// Either the value or the failure.
pub(crate) fn outcome<T>(result: daemonry::Result<T>) -> Either<T, Failure> {
    match result {
        Ok(value) => Either::A(value),
        Err(error) => Either::B(error.into()),
    }
}

/// A count of processes; `None` for none.
pub(crate) fn if_any(count: u32) -> Option<u32> {
    Some(count).filter(|&count| count > 0)
}

/// The exit code, or the name of the signal.
pub(crate) fn fields_of(exit: Exit) -> (Option<i32>, Option<String>) {
    match exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(number) => (None, Some(signal_name(number))),
        _ => (None, None),
    }
}

/// The failure with the address that it is about.
fn about(address: ListenAddress, failure: Failure) -> Failure {
    match address {
        ListenAddress::Tcp { host, port, .. } => Failure { address: host, port: Some(port), ..failure },
        ListenAddress::Unix { path, .. } => Failure { path: Some(path.to_string_lossy().into_owned()), ..failure },
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let path = |path: std::path::PathBuf| Some(path.to_string_lossy().into_owned());
        let own = |code: &str| Self { error_code: code.to_owned(), message: message.clone(), ..Self::default() };
        let failed = |step: Step, errno: Errno| Self {
            step: Some(step.name()),
            errno: Some(-(errno as i32)),
            syscall: Some(step.syscall()),
            ..own(&format!("{errno:?}"))
        };
        match error {
            Error::System { step, errno, path: file } => Self { path: file.and_then(path), ..failed(step, errno) },
            Error::Directory { step, errno, path: file, .. } | Error::Explained { step, errno, path: file, .. } => {
                Self { path: path(file), ..failed(step, errno) }
            }
            Error::Listen { address, errno } => about(address, failed(Step::Listen, errno)),
            Error::Distrusted { step, path: file, .. } => Self { path: path(file), ..failed(step, Errno::EPERM) },
            Error::SetLimit { resource, errno, .. } => {
                Self { resource: Some(resource.name()), ..failed(Step::SetLimit, errno) }
            }
            Error::UnknownUser { .. } => own("ERR_UNKNOWN_USER"),
            Error::AlreadyRunning { pid, path: file } | Error::NotForgotten { pid, path: file, .. } => {
                Self { pid: Some(pid), path: path(file), ..own("ERR_ALREADY_RUNNING") }
            }
            Error::OtherProgram { pid, path: file, running, wanted, .. } => Self {
                pid: Some(pid),
                path: path(file),
                running_command: Some(running.into()),
                command: Some(wanted.into()),
                ..own("ERR_OTHER_PROGRAM")
            },
            Error::PidFileHeld { holder, path: file } => {
                Self { pid: holder, path: path(file), ..own("ERR_PIDFILE_HELD") }
            }
            Error::Unseen { pid, path: file } => Self { pid: Some(pid), path: path(file), ..own("ERR_PIDFILE_HELD") },
            Error::NotAPidFile { path: file, .. } => Self { path: path(file), ..own("ERR_NOT_A_PIDFILE") },
            Error::NotOwn { path: file, .. } => Self { path: path(file), ..failed(Step::OpenLock, Errno::EPERM) },
            Error::NotRunning { path: file } => Self { path: path(file), ..own("ERR_NOT_RUNNING") },
            Error::StartFailed { exit, .. } => {
                let (exit_code, signal) = fields_of(exit.unwrap_or(Exit::Unknown));
                Self { exit_code, signal, ..own("ERR_START_FAILED") }
            }
            Error::StartTimeout { .. } => own("ERR_START_TIMEOUT"),
            Error::ResolveTimeout { address, .. } => about(address, own("ERR_START_TIMEOUT")),
            Error::StartInterrupted { signal } => {
                Self { signal: Some(signal_name(signal)), ..own("ERR_START_INTERRUPTED") }
            }
            Error::StartAborted => own("ERR_START_INTERRUPTED"),
            Error::StartCancelled => own("ERR_START_CANCELLED"),
            Error::WaitTimeout { pid, path: file, .. } => {
                Self { pid: Some(pid), path: path(file), ..own("ERR_START_TIMEOUT") }
            }
            Error::StopTimeout { pid, .. } => Self { pid: Some(pid), ..own("ERR_STOP_TIMEOUT") },
            Error::ReloadFailed { pid, .. } => Self { pid: Some(pid), ..own("ERR_RELOAD_FAILED") },
            Error::ReloadTimeout { pid, .. } => Self { pid: Some(pid), ..own("ERR_RELOAD_TIMEOUT") },
            Error::SignalRefused { pid, signal, .. } => {
                Self { pid: Some(pid), signal: Some(signal_name(signal)), ..own("ERR_SIGNAL_REFUSED") }
            }
            _ => own("ERR_INVALID_OPTION"),
        }
    }
}

impl From<LaunchFailure> for Failure {
    fn from(failure: LaunchFailure) -> Self {
        let is_start = matches!(
            failure.error,
            Error::StartFailed { .. }
                | Error::StartTimeout { .. }
                | Error::WaitTimeout { .. }
                | Error::ResolveTimeout { .. }
                | Error::StartInterrupted { .. }
                | Error::StartAborted
                | Error::StartCancelled
        );
        let (message, last_words) = (failure.sentence(), failure.last_words());
        let advice = failure.advice.map(Advice::text);
        let mut converted = Self { message, last_words, advice, ..Self::from(failure.error) };
        if is_start {
            (converted.others_ended, converted.others_left) =
                (if_any(failure.others_ended), if_any(failure.others_left));
            converted.pid = converted.pid.or(failure.pid);
            converted.stderr = Some(String::from_utf8_lossy(&failure.stderr).into_owned());
        }
        converted.is_down = failure.is_down.then_some(true);
        converted
    }
}
