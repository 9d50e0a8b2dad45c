//! The preparation of a start: everything that can allocate or fail happens here, before the fork.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::c_strings::{Pointers, c_string};
use super::created_files::CreatedFiles;
use super::environment::{Environment, environment};
use super::pinned::PinnedPlan;
use super::plan::{Fork, LaunchPlan, Rehearsal};
use super::streams::{Streams, open_streams};
use crate::error::{Error, Result, Step};
use crate::instance::Origin;
use crate::listen::{self, BoundSocket, Endpoint};
use crate::pidfile::PidFile;
use crate::protocol::{DeferredFile, DeferredPidFile, DeferredSocket, Findings, Handed, StartToken, WaitFor};
use crate::state::{Lock, SessionMark, Template};
use crate::stdio::Recipient;
use crate::sys::{self, Digits, Resource};
use crate::user::Ids;

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
    /// Where the child writes its pid into the environment: with leading zeros into the start token, without into `LISTEN_PID`.
    token_pid: *mut u8,
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

// SAFETY: its pointers lead to its own heap memory, which moves with it to the thread that forks; that thread sleeps while a
// child writes there.
unsafe impl Send for Prepared {}

impl Prepared {
    pub(crate) fn new(plan: &PinnedPlan, pid_file: Option<&PidFile>) -> Result<(Self, Descriptors, LauncherEnds)> {
        let pipe = || sys::pipe().map_err(|errno| Error::system(Step::OpenPipe, errno));
        plan.refuse_what_env_misses()?;
        let ids = plan.new_ids()?;
        let limits = plan.limits.iter().map(|limit| limit.resolve()).collect::<Result<Vec<_>>>()?;
        let mut created = CreatedFiles { logs: Vec::new(), sockets: Vec::new(), stay: false };
        let is_other_user = matches!(Recipient::with(ids), Recipient::User(_));
        // The streams, the sockets, the status pipe, the pidfile.
        let room = if is_other_user { 3 + plan.listeners.len() + 2 } else { 0 };
        let findings = Arc::new(Findings::new(room).map_err(|errno| Error::system(Step::Fork, errno))?);
        let Streams { opened: streams, memory, deferred: deferred_files } =
            open_streams(plan, ids, &findings, &mut created.logs)?;
        let first_socket = target(streams.len());
        let deferred_sockets =
            listen::open(&plan.listeners, plan.addresses(), ids, first_socket, &findings, &mut created.sockets)?;
        let (exec, exec_pipe) = pipe()?;
        let (status, status_pipe) = pipe()?;
        let (hold_pipe, hold) = pipe()?;

        let sockets = created.sockets.iter().map(|socket| socket.fd.as_fd());
        let mut sources: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).chain(sockets).collect();
        let status_fd = target(sources.len());
        sources.push(status_pipe.as_fd());
        let handed = pid_file.map(|pid_file| {
            pid_file.public().expect(&findings, status_fd + 1);
            hand_on(pid_file, ids, status_fd + 1, &mut sources)
        });
        let floor = target(sources.len()) + 1;
        let moved = sources.iter().map(|source| move_above(*source, floor)).collect::<Result<Vec<_>>>()?;

        let token = StartToken {
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
        let origin = Origin { mark: session_mark(pid_file), pipe: token.status_identity, uids: plan.uids()? };
        let Environment { variables, token_pid, listen_pid } = environment(plan, &origin.mark, &token)?;
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
            token_pid,
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
        let endpoints = names.zip(created.sockets.iter().map(BoundSocket::endpoint)).collect();
        let ends = LauncherEnds { exec, status, hold: Some(hold), created, endpoints, memory, origin };
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
        unsafe { StartToken::sign(self.token_pid, pid) };
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

/// The mark of the session, which the claim has too.
fn session_mark(pid_file: Option<&PidFile>) -> SessionMark {
    let claim = pid_file.and_then(PidFile::claim_of_starter);
    claim.map_or_else(SessionMark::new, |claim| claim.session_mark.clone())
}

/// The number that the source with this index gets in the daemon.
fn target(index: usize) -> RawFd {
    RawFd::try_from(index).unwrap_or(RawFd::MAX - 2)
}

fn move_above(source: BorrowedFd<'_>, floor: RawFd) -> Result<OwnedFd> {
    sys::duplicate_above(source, floor).map_err(|errno| Error::system(Step::MoveDescriptor, errno))
}
