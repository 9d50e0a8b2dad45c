//! A pidfile with the private state behind it: what a starter acquires, a daemon is handed, and a program in the foreground holds.

mod content;
mod held;
mod kept;
mod kind;
mod outside;
mod public;

pub use kept::Kept;
pub(crate) use outside::{Holder, Outside, look};
pub(crate) use public::{FAULTS, InUse, Line, Opened, PublicFile, fault_of, rehearse, remove_left_behind};

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result, Step};
use crate::protocol::Handed;
use crate::state::{self, Claim, Entry, Handlers, Lock, Phase, ReloadEvent, Reloads, Role, Seen, UpAt};
use crate::sys::{self, Exit};
pub(crate) use kept::KeptRecord;

/// The default mode of a pidfile: every user may ask whether the daemon runs.
pub const DEFAULT_MODE: u32 = 0o644;

/// A pidfile that this process has acquired, and the lock of the instance behind it.
///
/// Dropping it without [`PidFile::remove`] lets go of the lock and leaves the file, which then means nothing.
#[derive(Debug)]
pub struct PidFile {
    public: PublicFile,
    lock: Option<Lock>,
    /// The lock that a daemon has inherited, which lasts as long as the process.
    inherited: Option<OwnedFd>,
    /// To which the instance appends how far it is.
    phase: OwnedFd,
    /// What it has said about its reloads.
    reloads: Mutex<Reloads>,
    claim: Option<Claim>,
    /// The process whose end removes the file; a forked child of it is another one.
    holder: i32,
    /// The lock is the daemon's now.
    is_handed_over: AtomicBool,
    /// Why the start of this process could not be written down, if it could not.
    pub(crate) unwritten: Option<Error>,
    /// What the running instance keeps on record, once it has looked that up.
    kept_record: OnceLock<Option<KeptRecord>>,
}

/// What taking a pidfile comes to.
pub(crate) enum Taken {
    Free(Box<PidFile>),
    InUse(InUse),
    /// The name is served under another pidfile.
    Elsewhere {
        pid: i32,
        path: PathBuf,
    },
}

fn own() -> i32 {
    std::process::id().cast_signed()
}

impl PidFile {
    /// For a caller that has the lock: writes down by `claim` and `program` what it starts, opens the file, and writes down that
    /// `name` is served here.
    pub(crate) fn take(
        lock: Lock,
        claim: Claim,
        program: Option<&str>,
        path: &Path,
        mode: u32,
        name: Option<&str>,
    ) -> Result<Taken> {
        // First of all: other callers then know which process they wait for.
        let phase = lock.begin(&claim, program)?;
        // What the child does with the rights of another user it does for a daemon of one user alone.
        let own_uid = nix::unistd::getuid().as_raw();
        let user = claim.uids.iter().copied().find(|uid| *uid != own_uid);
        let public = match PublicFile::open(path, mode, user).inspect_err(|_| lock.give_up())? {
            Opened::Ours(public) => public,
            Opened::InUse(in_use) => {
                lock.give_up();
                return Ok(Taken::InUse(in_use));
            }
        };
        let pid_file = Self {
            public,
            lock: Some(lock),
            inherited: None,
            phase,
            reloads: Mutex::default(),
            claim: Some(claim),
            holder: own(),
            is_handed_over: AtomicBool::new(false),
            unwritten: None,
            kept_record: OnceLock::new(),
        };
        let served = match (name, &pid_file.lock) {
            (Some(name), Some(lock)) => state::serve_under(&lock.key, name),
            _ => Ok(None),
        };
        if !matches!(served, Ok(None)) {
            let _left = pid_file.remove();
        }
        Ok(match served? {
            None => Taken::Free(Box::new(pid_file)),
            Some((path, pid)) => Taken::Elsewhere { pid, path },
        })
    }

    /// Takes over what a launcher has handed to this process, and closes it on exec from now on, so that no helper keeps the lock.
    ///
    /// # Safety
    ///
    /// The descriptors must be open and owned by nothing else in this process.
    pub(crate) unsafe fn adopt(path: &Path, handed: Handed) -> Result<Self> {
        for fd in [Some(handed.file), Some(handed.phase), handed.lock].into_iter().flatten() {
            sys::close_on_exec(fd).map_err(|errno| Error::system(Step::Adopt, errno))?;
        }
        // SAFETY: the caller hands them over.
        let own_fd = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
        let (phase, inherited) = (own_fd(handed.phase), handed.lock.map(own_fd));
        // SAFETY: as above.
        let public = unsafe { PublicFile::adopt(path, handed.file) }?;
        let mut adopted = Self {
            public,
            lock: None,
            inherited,
            phase,
            reloads: Mutex::default(),
            claim: None,
            holder: own(),
            is_handed_over: AtomicBool::new(true),
            unwritten: None,
            kept_record: OnceLock::new(),
        };
        // What has looked at the pidfile in this process before, and closed it again, has dropped the record lock.
        adopted.public.claim()?;
        adopted.note_held()?;
        Ok(adopted)
    }

    /// Makes this process the instance.
    pub(crate) fn become_instance(&mut self) -> Result<()> {
        if let (Some(lock), Some(claim)) = (&self.lock, &self.claim) {
            lock.become_daemon(claim)?;
            let _named = sys::lock_record(lock.held().as_raw_fd());
        }
        self.public.claim()?;
        self.note_held()
    }

    fn note_held(&self) -> Result<()> {
        self.public.read().map_or(Ok(()), |file| held::add(file).map_err(Error::at(Step::ReadPidFile, self.path())))
    }

    /// The path that it was acquired by.
    pub fn path(&self) -> &Path {
        &self.public.path
    }

    /// Why the start of this process could not be written down in its journal, if it could not.
    pub fn unwritten(&self) -> Option<&Error> {
        self.unwritten.as_ref()
    }

    /// Reports that the instance is up once it has lived on for so long.
    pub(crate) fn mark_up_after(&self, alive_for: Duration) -> Result<()> {
        self.append(UpAt::after(alive_for).as_bytes())
    }

    /// Reports that this process has begun to stop, also while it starts.
    pub fn mark_stopping(&self) -> Result<()> {
        self.mark(Entry::Stopping)
    }

    /// Reports how long this process takes to stop, at most: a caller that stops it waits that long.
    pub fn mark_stop_timeout(&self, timeout: Duration) -> Result<()> {
        self.mark(Entry::StopsWithin(timeout))
    }

    /// Reports what went wrong with the stop handlers.
    pub fn mark_handlers(&self, handlers: Handlers) -> Result<()> {
        match handlers {
            Handlers::Done => Ok(()),
            Handlers::Failed => self.mark(Entry::HandlerFailed),
            Handlers::CutOff => self.mark(Entry::HandlersCutOff),
        }
    }

    /// Reports why this process will exit: it was idle for too long.
    pub fn mark_idle(&self) -> Result<()> {
        self.mark(Entry::Idle)
    }

    /// Reports what has gone wrong, for a later report of how this process ended; only the beginning of a long text is kept.
    pub fn mark_last_words(&self, words: &str) -> Result<()> {
        self.mark(Entry::LastWords(words))
    }

    /// Reports that this process is about to exit, or to be killed by a signal. The first report counts.
    pub fn mark_exit(&self, exit: Exit) -> Result<()> {
        match exit {
            Exit::Code(code) => self.mark(Entry::Exits(code)),
            Exit::Signal(signal) => self.mark(Entry::Dies(signal)),
            Exit::Unknown => Ok(()),
        }
    }

    /// Reports the state of a reload of this process.
    pub fn mark_reload(&self, event: ReloadEvent<'_>) -> Result<()> {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        reloads.note(event);
        reloads.write(&self.phase).map_err(Error::at(Step::MarkPhase, self.path()))
    }

    fn mark(&self, entry: Entry<'_>) -> Result<()> {
        entry.append(&self.phase).map_err(Error::at(Step::MarkPhase, self.path()))
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        sys::append(&self.phase, bytes).map_err(Error::at(Step::MarkPhase, self.path()))
    }

    /// Removes the file if its name still leads to it and it may be removed; the instance is over.
    pub fn remove(&self) -> Result<()> {
        self.end_instance();
        self.public.remove().map_err(Error::at(Step::RemovePidFile, self.path()))
    }

    /// The same for the process that is the instance: a file that names another process by now is that one's.
    pub fn release(&self) -> Result<()> {
        self.end_instance();
        self.public.remove_own(own()).map_err(Error::at(Step::RemovePidFile, self.path()))
    }

    fn end_instance(&self) {
        if let Some(lock) = &self.lock {
            lock.give_up();
        }
    }

    /// The same at the exit or, with the number of it, in the handler of a signal, for the process that holds the file.
    /// Async-signal-safe.
    pub(crate) fn remove_at_end(&self, signal: Option<i32>) {
        // SAFETY: getpid touches no memory.
        if unsafe { libc::getpid() } == self.holder {
            let entry = signal.map_or(Entry::Stopping, Entry::Dies);
            let _unsaid = entry.append(&self.phase);
            // A file that cannot be removed stays: the process in it is dead.
            let _left = self.public.remove_own(self.holder);
        }
    }

    /// The daemon has the lock now, or needs none: dropping this leaves everything as it is.
    pub(crate) fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn public(&self) -> &PublicFile {
        &self.public
    }

    pub(crate) fn phase(&self) -> &OwnedFd {
        &self.phase
    }

    pub(crate) fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    pub(crate) fn claim_of_starter(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Whether the daemon that the caller has started is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.seen().is_some_and(|seen| seen.phase == Phase::Stopping)
    }

    /// Whether another caller has stopped that daemon since it was up.
    pub(crate) fn was_stopped_when_up(&self) -> bool {
        self.seen().is_some_and(|seen| seen.said.was_up && seen.decision.is_some())
    }

    /// Whether another caller has decided to put another daemon in the place of that one.
    pub(crate) fn is_replaced(&self) -> bool {
        self.seen().and_then(|seen| seen.decision).is_some_and(|decision| decision.replaces)
    }

    /// The process of the service below the supervisor that the caller has started.
    pub(crate) fn service_pid(&self) -> Option<i32> {
        self.seen()?.service.map(|service| service.pid)
    }

    fn seen(&self) -> Option<Seen> {
        self.lock.as_ref().and_then(|lock| lock.key.look().ok()?).filter(|seen| seen.claim.role == Role::Daemon)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(file) = self.public.read() {
            held::remove(file);
        }
        if let Some(lock) = self.lock.as_ref().filter(|_| !self.is_handed_over.load(Ordering::SeqCst)) {
            lock.give_up();
        }
    }
}
