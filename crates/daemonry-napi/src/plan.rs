//! The launch plan as JavaScript spells it.

use std::ffi::OsString;
use std::time::Duration;

use daemonry::{
    Attributes, Bound, DEFAULT_MODE, Fork, IfRunning, KillMode, LaunchPlan, Limit, ListenAddress, Listener, LogFile,
    Resource, Restart, RestartLimit, RunAs, Source, Stream, Supervision, UserRef,
};
use napi::bindgen_prelude::Either;
use napi_derive::napi;

use crate::store::NativeRecord;

/// One standard stream.
#[napi(object, object_to_js = false)]
pub struct NativeStream {
    /// What it is connected to.
    #[napi(ts_type = "'null' | 'inherit' | 'descriptor' | 'file' | 'capture'")]
    pub kind: String,
    /// For `descriptor`.
    pub descriptor: Option<i32>,
    /// For `file`.
    pub path: Option<String>,
    /// For `file`.
    pub mode: Option<u32>,
    /// For `file`.
    pub append: Option<bool>,
}

/// The user to run as, by names and numbers.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeRunAs {
    /// The user.
    pub user: Option<Either<String, u32>>,
    /// The primary group.
    pub group: Option<Either<String, u32>>,
    /// All supplementary groups.
    pub groups: Option<Vec<Either<String, u32>>>,
}

/// What is changed of the daemon's process before the program is executed.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeAttributes {
    /// File mode creation mask.
    pub umask: u32,
    /// The user to run as.
    pub run_as: Option<NativeRunAs>,
    /// Resource limits.
    pub limits: Vec<NativeLimit>,
    /// Niceness.
    pub nice: Option<i32>,
    /// OOM score adjustment.
    pub oom_score_adjust: Option<i32>,
    /// Nothing that it executes gains privileges.
    pub no_new_privileges: bool,
}

/// The process above the daemon; times in ms.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeSupervision {
    /// The native command.
    pub command: String,
    /// When the daemon is started again.
    #[napi(ts_type = "'no' | 'on-failure' | 'always'")]
    pub restart: String,
    /// How often, before the supervisor gives up.
    pub limit: Option<NativeRestartLimit>,
    /// What the daemon gets when it is to stop.
    pub kill_signal: i32,
}

/// So many restarts within so long.
#[napi(object, object_to_js = false)]
pub struct NativeRestartLimit {
    /// How many.
    pub times: u32,
    /// Within how long, in ms.
    pub within: f64,
}

/// A resource limit; negative numbers mean none.
#[napi(object, object_to_js = false)]
pub struct NativeLimit {
    /// The resource's name.
    pub resource: String,
    /// What is enforced.
    pub soft: Option<f64>,
    /// What that can be raised to.
    pub hard: Option<f64>,
}

/// A socket to hand to the daemon: an open descriptor, a path or a port.
#[napi(object, object_to_js = false)]
pub struct NativeListener {
    /// Its name.
    pub name: String,
    /// An open descriptor.
    pub descriptor: Option<i32>,
    /// The path of a Unix socket.
    pub path: Option<String>,
    /// Its mode.
    pub mode: Option<u32>,
    /// Where the port is bound.
    pub host: Option<String>,
    /// A TCP port.
    pub port: Option<u16>,
    /// No IPv4 connections.
    pub ipv6_only: Option<bool>,
    /// How many connections wait.
    pub backlog: Option<i32>,
}

/// What to launch and how; times in ms.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct LaunchRequest {
    /// The executable, or its name on `PATH`.
    pub program: String,
    /// Its arguments, `argv[0]` first.
    pub arguments: Vec<String>,
    /// What it inherits of the launcher's environment: `NAME=value`.
    pub inherited_env: Vec<String>,
    /// What changes in it: `NAME=value` sets a variable, `NAME` removes one.
    pub env: Vec<String>,
    /// Standard input.
    pub stdin: NativeStream,
    /// Standard output.
    pub stdout: NativeStream,
    /// Standard error.
    pub stderr: NativeStream,
    /// Where relative paths start, unless it is this process's working directory.
    pub directory: Option<String>,
    /// The directory to execute it in, unless it is the launcher's.
    pub working_directory: Option<String>,
    /// Sockets to hand over.
    pub listeners: Vec<NativeListener>,
    /// Its user, its limits, its priority.
    pub attributes: NativeAttributes,
    /// A file that it must be able to read.
    pub must_read: Option<String>,
    /// Fork by copying.
    pub copies: bool,
    /// The pidfile to hold.
    pub pid_file: Option<String>,
    /// How long it takes to stop.
    pub stop_timeout: f64,
    /// What is ended besides the program itself when it is stopped.
    #[napi(ts_type = "'session' | 'process'")]
    pub kill_mode: String,
    /// The process above it.
    pub supervision: Option<NativeSupervision>,
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What to leave on record.
    pub record: Option<NativeRecord>,
    /// What to do when the daemon runs already.
    #[napi(ts_type = "'error' | 'reuse' | 'replace'")]
    pub if_running: String,
    /// How many stops had been requested before the restart that this start is a part of.
    pub stops_before: Option<f64>,
    /// When the start counts as done.
    #[napi(ts_type = "'exec' | 'start' | 'ready'")]
    pub wait_for: String,
    /// How long the daemon must live on after that.
    pub alive_for: f64,
    /// When a start has failed.
    pub start_timeout: f64,
    /// Whether this process exits when the daemon is up.
    pub launcher_leaves: bool,
    /// Passed to the daemon as it is.
    pub note: String,
}

/// A pidfile to hold in the foreground; times in ms.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct HoldRequest {
    /// The pidfile.
    pub pid_file: String,
    /// Its mode if it has to be made.
    pub mode: u32,
    /// The daemon's name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What to leave on record.
    pub record: Option<NativeRecord>,
    /// The sockets that this process binds once it holds the pidfile.
    pub listeners: Vec<NativeListener>,
    /// Whether to stop a daemon that runs already.
    pub replaces: bool,
    /// A daemon to replace that is still starting is waited for twice as long.
    pub start_timeout: f64,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn count(number: f64) -> u64 {
    number as u64
}

/// Milliseconds, as far as they make sense.
pub(crate) fn duration(milliseconds: f64) -> Duration {
    Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or(Duration::ZERO)
}

impl From<NativeStream> for Stream {
    fn from(stream: NativeStream) -> Self {
        match (stream.kind.as_str(), stream.descriptor, stream.path) {
            ("inherit", ..) => Self::Inherit,
            ("capture", ..) => Self::Capture,
            ("descriptor", Some(fd), _) => Self::Descriptor(fd),
            ("file", _, Some(path)) => {
                let log = LogFile::new(path);
                Self::File(LogFile {
                    mode: stream.mode.unwrap_or(log.mode),
                    append: stream.append.unwrap_or(true),
                    ..log
                })
            }
            _ => Self::Null,
        }
    }
}

fn parse_if_running(name: &str) -> IfRunning {
    match name {
        "reuse" => IfRunning::Reuse,
        "replace" => IfRunning::Replace,
        _ => IfRunning::Error,
    }
}

fn user_ref(user: Either<String, u32>) -> UserRef {
    match user {
        Either::A(name) => UserRef::Name(name),
        Either::B(id) => UserRef::Id(id),
    }
}

impl From<NativeRunAs> for RunAs {
    fn from(NativeRunAs { user, group, groups }: NativeRunAs) -> Self {
        Self {
            user: user.map(user_ref),
            group: group.map(user_ref),
            groups: groups.map(|groups| groups.into_iter().map(user_ref).collect()),
        }
    }
}

impl From<NativeAttributes> for Attributes {
    fn from(attributes: NativeAttributes) -> Self {
        let NativeAttributes { umask, run_as, limits, nice, oom_score_adjust, no_new_privileges } = attributes;
        Self {
            umask,
            run_as: run_as.map(Into::into),
            limits: limits.into_iter().filter_map(limit).collect(),
            nice,
            oom_score_adjust,
            no_new_privileges,
        }
    }
}

impl From<NativeSupervision> for Supervision {
    fn from(NativeSupervision { command, restart, limit, kill_signal }: NativeSupervision) -> Self {
        let limit = limit.map(|NativeRestartLimit { times, within }| RestartLimit { times, within: duration(within) });
        let restart = match restart.as_str() {
            "always" => Restart::Always,
            "on-failure" => Restart::OnFailure,
            _ => Restart::No,
        };
        Self { command: command.into(), restart, limit, kill_signal }
    }
}

impl From<NativeListener> for Listener {
    fn from(listener: NativeListener) -> Self {
        let backlog = listener.backlog.unwrap_or(daemonry::DEFAULT_BACKLOG);
        let source = match (listener.descriptor, listener.path) {
            (Some(descriptor), _) => Source::Descriptor(descriptor),
            (None, Some(path)) => {
                let mode = listener.mode.unwrap_or(daemonry::DEFAULT_SOCKET_MODE);
                Source::Address(ListenAddress::Unix { path: path.into(), mode, backlog })
            }
            (None, None) => Source::Address(ListenAddress::Tcp {
                host: listener.host,
                port: listener.port.unwrap_or(0),
                ipv6_only: listener.ipv6_only.unwrap_or(false),
                backlog,
            }),
        };
        Self { name: listener.name, source }
    }
}

/// `None` for a resource that the platform does not have, which TypeScript refuses.
fn limit(limit: NativeLimit) -> Option<Limit> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers that are not negative")]
    let bound = |limit: f64| if limit < 0.0 { Bound::Unlimited } else { Bound::At(limit as u64) };
    let resource = Resource::by_name(&limit.resource)?;
    Some(Limit { resource, soft: limit.soft.map(bound), hard: limit.hard.map(bound) })
}

/// A variable with the bytes that this process has in its environment: JavaScript gets others for what is not UTF-8.
fn variable(variable: String) -> (OsString, OsString) {
    let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
    let own = value.contains(char::REPLACEMENT_CHARACTER).then(|| std::env::var_os(name)).flatten();
    (name.into(), own.filter(|own| own.to_string_lossy() == value).unwrap_or_else(|| value.into()))
}

/// A change of the environment.
fn change(change: String) -> (OsString, Option<OsString>) {
    match change.split_once('=') {
        Some((name, value)) => (name.into(), Some(value.into())),
        None => (change.into(), None),
    }
}

impl From<LaunchRequest> for LaunchPlan {
    fn from(request: LaunchRequest) -> Self {
        let LaunchRequest {
            program,
            arguments,
            inherited_env,
            env,
            stdin,
            stdout,
            stderr,
            directory,
            working_directory,
            listeners,
            attributes,
            must_read,
            copies,
            pid_file,
            stop_timeout,
            kill_mode,
            supervision,
            name,
            version,
            record,
            if_running,
            stops_before,
            wait_for,
            alive_for,
            start_timeout,
            launcher_leaves,
            note,
        } = request;
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            inherited_env: inherited_env.into_iter().map(variable).collect(),
            env: env.into_iter().map(change).collect(),
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
            directory: directory.map(Into::into),
            working_directory: working_directory.map(Into::into),
            listeners: listeners.into_iter().map(Into::into).collect(),
            attributes: attributes.into(),
            must_read: must_read.map(Into::into),
            pid_file: pid_file.map(Into::into),
            pid_file_mode: DEFAULT_MODE,
            stop_timeout: Some(duration(stop_timeout)),
            kill_mode: if kill_mode == "process" { KillMode::Process } else { KillMode::Session },
            supervision: supervision.map(Into::into),
            name,
            version,
            record: record.map(Into::into),
            if_running: parse_if_running(&if_running),
            stops_before: stops_before.map(count),
            wait_for: crate::wait_for(&wait_for),
            alive_for: duration(alive_for),
            start_timeout: duration(start_timeout),
            launcher_leaves,
            // Not a request's: it is a handle of the caller.
            abort: None,
            fork: if copies { Fork::Copy } else { Fork::Automatic },
            note: note.into(),
        }
    }
}

impl From<HoldRequest> for LaunchPlan {
    fn from(request: HoldRequest) -> Self {
        let HoldRequest { pid_file, mode, name, version, record, listeners, replaces, start_timeout } = request;
        Self {
            pid_file: Some(pid_file.into()),
            pid_file_mode: mode,
            name,
            version,
            record: record.map(Into::into),
            listeners: listeners.into_iter().map(Into::into).collect(),
            if_running: if replaces { IfRunning::Replace } else { IfRunning::Error },
            start_timeout: duration(start_timeout),
            // The rest is about what is launched.
            ..Self::new("")
        }
    }
}
