//! The preparation of a start: everything that can allocate or fail happens here, before the fork.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use super::attributes::PreparedAttributes;
use super::c_strings::c_string;
use super::command::Command;
use super::created_files::CreatedFiles;
use super::descriptors::{Descriptors, move_above, target};
use super::environment::Environment;
use super::pinned::{Layer, PinnedPlan};
use super::plan::{Fork, LaunchPlan, Rehearsal};
use super::prepared_instance::{PreparedInstance, hand_on, prepare_instance, session_mark};
use super::streams::{Streams, open_streams};
use crate::error::{Error, Result, Step};
use crate::instance::Origin;
use crate::listen::{self, BoundSocket, Endpoint};
use crate::pidfile::PidFile;
use crate::protocol::{DeferredFile, DeferredSocket, Findings, StartToken};
use crate::stdio::Recipient;
use crate::sys;
use crate::user::Ids;

/// A plan in the form in which a forked child can follow it without allocating.
///
/// The daemon's descriptors are 0 to 2, the sockets that it is to listen on, the status pipe, then the pidfile: without a gap,
/// because `LISTEN_FDS` counts from 3, and because Node marks inherited descriptors close-on-exec at boot only as far as they
/// are contiguous. The exec pipe comes right behind them. Every source lies above all of these numbers, so that no `dup2` can
/// hit a source that is still needed.
pub(crate) struct Prepared {
    pub(crate) command: Command,
    pub(crate) attributes: PreparedAttributes,
    pub(crate) paths: Paths,
    pub(crate) instance: Option<PreparedInstance>,
    /// What goes to descriptor 0, 1, 2, …; numbers of [`Descriptors`], as all here.
    pub(crate) sources: Vec<RawFd>,
    /// What the child opens itself, and where it says what it has found.
    pub(crate) deferred_files: Vec<DeferredFile>,
    pub(crate) deferred_sockets: Vec<DeferredSocket>,
    pub(crate) findings: Arc<Findings>,
    /// Into which the children write.
    pub(crate) exec_pipe: RawFd,
    /// The leader waits on it where it is the daemon's parent.
    pub(crate) hold_pipe: RawFd,
    pub(crate) siblings: bool,
    pub(crate) fork: Fork,
    /// The process whose end ends the daemon.
    pub(crate) ends_with: Option<libc::pid_t>,
    /// Nothing is bound or executed, but checked.
    pub(crate) rehearsal: Option<Rehearsal>,
}

// SAFETY: its pointers lead to its own heap memory, which moves with it to the thread that forks; that thread sleeps while a
// child writes there.
unsafe impl Send for Prepared {}

impl Prepared {
    pub(crate) fn new(plan: &PinnedPlan, pid_file: Option<&PidFile>) -> Result<(Self, Descriptors, LauncherEnds)> {
        plan.refuse_what_env_misses()?;
        let ids = plan.ids();
        let attributes = PreparedAttributes::new(&plan.attributes, ids)?;
        let opened = Opened::open(plan, ids)?;
        let (exec, exec_pipe) = pipe()?;
        let (status, status_pipe) = pipe()?;
        let (hold_pipe, hold) = pipe()?;

        let mut sources = opened.descriptors();
        let status_fd = target(sources.len());
        sources.push(status_pipe.as_fd());
        let handed = pid_file.map(|pid_file| hand_on(pid_file, ids, &opened.findings, &mut sources));
        // A supervisor finds its order by its number.
        let note = match plan.layer() {
            Layer::Supervisor { order } => {
                sources.push(order.as_fd());
                target(sources.len() - 1).to_string().into()
            }
            Layer::Alone | Layer::Service { .. } => plan.note.clone(),
        };
        let floor = target(sources.len()) + 1;
        let sources = sources.into_iter().map(|source| move_above(source, floor)).collect::<Result<Vec<_>>>()?;
        let exec_pipe = move_above(exec_pipe.as_fd(), floor)?;
        let hold_pipe = move_above(hold_pipe.as_fd(), floor)?;

        let status_identity =
            sys::identity(status_pipe.as_fd()).map_err(|errno| Error::system(Step::OpenPipe, errno))?;
        let (mark, captures) = match plan.layer() {
            Layer::Service { mark, captures } => (mark.clone(), *captures),
            Layer::Alone | Layer::Supervisor { .. } => (session_mark(pid_file), opened.memory.is_some()),
        };
        let origin = Origin { mark, pipe: status_identity, uids: plan.uids() };
        let token = StartToken {
            pid: 0,
            status_fd,
            status_identity,
            wait_for: plan.wait_for,
            captures,
            alive_for: plan.alive_for,
            pid_file: pid_file.zip(handed).map(|(file, handed)| (handed, file.path().to_owned())),
            note,
        };
        let instance =
            pid_file.zip(handed).and_then(|(pid_file, handed)| prepare_instance(plan, pid_file, handed, floor));
        let (instance, of_instance) = instance.transpose()?.unzip();
        let Opened { deferred_files, deferred_sockets, findings, created, memory, .. } = opened;
        let prepared = Self {
            command: Command::new(plan, Environment::new(plan, &origin.mark, &token)?)?,
            paths: Paths::new(plan, &attributes)?,
            attributes,
            instance,
            sources: sources.iter().map(AsRawFd::as_raw_fd).collect(),
            deferred_files,
            deferred_sockets,
            findings,
            exec_pipe: exec_pipe.as_raw_fd(),
            hold_pipe: hold_pipe.as_raw_fd(),
            siblings: plan.launcher_leaves,
            fork: plan.fork,
            ends_with: matches!(plan.layer(), Layer::Service { .. }).then(|| std::process::id().cast_signed()),
            rehearsal: None,
        };
        let names = plan.listeners.iter().map(|listener| listener.name.clone());
        let endpoints = names.zip(created.sockets.iter().map(BoundSocket::endpoint)).collect();
        let ends = LauncherEnds { exec, status, hold: Some(hold), created, endpoints, memory, origin };
        let others =
            sources.into_iter().chain([hold_pipe]).chain(of_instance.into_iter().flatten().flatten()).collect();
        Ok((prepared, Descriptors { exec_pipe: Some(exec_pipe), _others: others }, ends))
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    sys::pipe().map_err(|errno| Error::system(Step::OpenPipe, errno))
}

/// The files and sockets that the daemon gets, opened as far as the launcher may do that.
struct Opened {
    streams: Vec<OwnedFd>,
    memory: Option<OwnedFd>,
    deferred_files: Vec<DeferredFile>,
    deferred_sockets: Vec<DeferredSocket>,
    findings: Arc<Findings>,
    created: CreatedFiles,
}

impl Opened {
    fn open(plan: &PinnedPlan, ids: Option<&Ids>) -> Result<Self> {
        let is_other_user = matches!(Recipient::with(ids), Recipient::User(_));
        // The streams, the sockets, the status pipe, the pidfile.
        let room = if is_other_user { 3 + plan.listeners.len() + 2 } else { 0 };
        let findings = Arc::new(Findings::new(room).map_err(|errno| Error::system(Step::Fork, errno))?);
        let mut created = CreatedFiles { logs: Vec::new(), sockets: Vec::new(), stay: false };
        let Streams { opened: streams, memory, deferred: deferred_files } =
            open_streams(plan, ids, &findings, &mut created.logs)?;
        let first_socket = target(streams.len());
        let deferred_sockets =
            listen::open(&plan.listeners, plan.addresses(), ids, first_socket, &findings, &mut created.sockets)?;
        Ok(Self { streams, memory, deferred_files, deferred_sockets, findings, created })
    }

    /// In the order that they have in the daemon.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.created.sockets.iter().map(|socket| socket.fd.as_fd());
        self.streams.iter().map(AsFd::as_fd).chain(sockets).collect()
    }
}

/// Where the child goes, and what it must be able to read there.
pub(crate) struct Paths {
    working_directory: Option<CString>,
    /// Where the launcher is, if the daemon's user is another: that user may not be able to get there.
    launchers_directory: Option<CString>,
    must_read: Option<CString>,
}

impl Paths {
    fn new(plan: &LaunchPlan, attributes: &PreparedAttributes) -> Result<Self> {
        let is_other_user = attributes.elevated.is_some();
        let path = |path: Option<&Path>, what: &str| path.map(|path| c_string(path.as_os_str(), what)).transpose();
        let stays = plan.working_directory.is_none() && is_other_user;
        // A directory that was removed has no path, and none of its files can be reached.
        let launchers_directory = stays.then(|| std::env::current_dir().unwrap_or_else(|_| "/".into()));
        Ok(Self {
            working_directory: path(plan.working_directory.as_deref(), "the working directory")?,
            launchers_directory: path(launchers_directory.as_deref(), "the working directory")?,
            must_read: path(plan.must_read.as_deref(), "the script's path")?,
        })
    }

    pub(crate) fn working_directory(&self) -> Option<&CStr> {
        self.working_directory.as_deref()
    }

    pub(crate) fn launchers_directory(&self) -> Option<&CStr> {
        self.launchers_directory.as_deref()
    }

    pub(crate) fn must_read(&self) -> Option<&CStr> {
        self.must_read.as_deref()
    }
}

/// What the launcher keeps of the preparation.
pub(crate) struct LauncherEnds {
    pub(crate) exec: OwnedFd,
    pub(crate) status: OwnedFd,
    /// Closing it lets the leader go.
    pub(crate) hold: Option<OwnedFd>,
    pub(crate) created: CreatedFiles,
    /// Where the sockets listen, in the plan's order.
    pub(crate) endpoints: Vec<(String, Endpoint)>,
    /// The captured stderr.
    pub(crate) memory: Option<OwnedFd>,
    pub(crate) origin: Origin,
}
