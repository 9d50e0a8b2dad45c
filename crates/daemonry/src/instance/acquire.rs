//! One instance for many callers: which of them starts it, which wait for it, and which replaces it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cancel::refuse_cancelled;
use super::events::{note_end, note_held_progress};
use super::left_behind::{end_left_behind, is_something_left};
use super::prove::Proven;
use super::stopping::Stopping;
use super::timing::{
    EXIT_PATIENCE, RETRY_PAUSE, SESSION_GRACE, STARTER_PATIENCE, UNPROVEN_PATIENCE, jittered, stop_timeout,
};
use crate::error::{Error, Result, Step};
use crate::pidfile::{InUse, PidFile, Taken};
use crate::state::{Attempt, Claim, Key, KillMode, Life, Lock, Phase, Role, Seen, SessionMark, Settled};
use crate::sys::{self, Machine, Process};

/// What to do when the daemon runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfRunning {
    /// Fail with [`Error::AlreadyRunning`].
    Error,
    /// Return it as if it had just been started, once it is up. If it is about to exit, wait until it has.
    Reuse,
    /// Stop it and start another. If another process has started one meanwhile, reuse that.
    Replace,
}

/// What a caller wants, and how long it waits for others.
pub(crate) struct AcquireRequest<'a> {
    pub(crate) path: &'a Path,
    pub(crate) mode: u32,
    pub(crate) name: Option<&'a str>,
    /// With a version, only an instance of that version is reused.
    pub(crate) version: Option<&'a str>,
    /// Where its events are written down.
    pub(crate) journal: Option<PathBuf>,
    /// What is started: the text of its record.
    pub(crate) program: Option<&'a str>,
    /// The real uids that the instance will have.
    pub(crate) uids: Vec<u32>,
    pub(crate) kill_mode: KillMode,
    pub(crate) if_running: IfRunning,
    /// How long another process's start or stop may take.
    pub(crate) patience: Duration,
    /// Sleeps, or fails because the caller was interrupted.
    pub(crate) pause: &'a dyn Fn(Duration) -> Result<()>,
    /// Fails if another start is known to fail: called before an instance is stopped to make room for it.
    pub(crate) rehearse: &'a dyn Fn() -> Result<()>,
    /// One more stop than these cancels the start.
    pub(crate) stops_before: Option<u64>,
    /// Whether an instance was asked to stop.
    pub(crate) has_stopped: &'a Cell<bool>,
}

pub(crate) enum Acquired {
    /// The caller holds the pidfile now and may start its instance, in the place of another if it `replaces` one; it has `waited`
    /// so long for others.
    Free { pid_file: Box<PidFile>, replaces: bool, waited: Duration },
    /// There is one already, under this pidfile.
    Running { pid: i32, path: PathBuf },
}

/// What follows from a live instance.
enum Answer {
    Reuse,
    /// Until it is up, ends, or the patience does: then with this error.
    Wait(Error),
    Replace,
}

/// What was met so far.
struct Progress {
    begun: Instant,
    unproven_since: Instant,
    /// The instance that was met first.
    first: Option<(i32, u64)>,
    replaces: bool,
    /// Stopping another instance is not part of a start, and has its own limit.
    replacing: Duration,
    /// The instances whose remains were dealt with.
    swept: Vec<(i32, u64)>,
    has_rehearsed: bool,
}

impl Progress {
    fn must_sweep(&self, key: &Key, last: &Seen) -> bool {
        !self.swept.contains(&instance_of(last)) && is_something_left(last, key.owner())
    }
}

impl AcquireRequest<'_> {
    /// Locks the pidfile, or finds the instance that makes that unnecessary.
    pub(crate) fn acquire(&self) -> Result<Acquired> {
        let key = Key::make(self.path)?;
        let now = Instant::now();
        let mut progress = Progress {
            begun: now,
            unproven_since: now,
            first: None,
            replaces: false,
            replacing: Duration::ZERO,
            swept: Vec::new(),
            has_rehearsed: false,
        };
        let others = key.elsewhere()?;
        loop {
            if let Some((other, seen)) = self.live(&others, &mut progress)? {
                if let Some(acquired) = self.meet(other, Some(seen), &mut progress)? {
                    return Ok(acquired);
                }
                (self.pause)(jittered(RETRY_PAUSE))?;
                continue;
            }
            let seen = match Lock::attempt(&key)? {
                // A program can have closed the lock that it inherited: it runs all the same.
                Attempt::Taken(lock, Some(seen)) if is_instance(&seen) => {
                    drop(lock);
                    Some(seen)
                }
                Attempt::Taken(lock, Some(last)) if progress.must_sweep(&key, &last) => {
                    // Others see a claim without a process as long as the lock is taken.
                    drop(lock);
                    self.sweep(&key, &last, &mut progress)?;
                    continue;
                }
                // What is left behind can hold the lock.
                Attempt::Busy(Some(last)) if progress.must_sweep(&key, &last) => {
                    self.sweep(&key, &last, &mut progress)?;
                    continue;
                }
                Attempt::Taken(lock, last) => {
                    if let Some(Seen { life: Life::Exiting(process), claim, .. }) = last {
                        self.wait_for_end(&process, claim.pid)?;
                    }
                    // What the private state says of the last instance is lost with the next start.
                    let _unwritten = note_held_progress(&lock);
                    let claim = self.claim(&lock)?;
                    return Ok(match PidFile::take(lock, claim, self.program, self.path, self.mode, self.name)? {
                        Taken::Free(pid_file) => {
                            // Now that a stop would find this start.
                            refuse_cancelled(self.path, self.stops_before).inspect_err(|_| {
                                let _left = pid_file.remove();
                            })?;
                            let waited = progress.begun.elapsed().saturating_sub(progress.replacing);
                            Acquired::Free { pid_file, replaces: progress.replaces, waited }
                        }
                        // Root has started it as this user.
                        Taken::InUse(InUse { pid, is_same_user: true }) if self.if_running == IfRunning::Reuse => {
                            Acquired::Running { pid, path: self.path.to_owned() }
                        }
                        Taken::InUse(InUse { pid, .. }) => {
                            return Err(Error::AlreadyRunning { pid, path: self.path.to_owned() });
                        }
                        Taken::Elsewhere { pid, path } => return Err(Error::AlreadyRunning { pid, path }),
                    });
                }
                Attempt::Busy(seen) => seen,
            };
            if let Some(acquired) = self.meet(&key, seen, &mut progress)? {
                return Ok(acquired);
            }
            (self.pause)(jittered(RETRY_PAUSE))?;
        }
    }

    /// A live instance whose lock is in another directory. What an ended instance has left behind there is stopped.
    fn live<'k>(&self, keys: &'k [Key], progress: &mut Progress) -> Result<Option<(&'k Key, Seen)>> {
        for key in keys {
            match key.settle()? {
                Settled::Live(seen) => return Ok(Some((key, *seen))),
                Settled::Nothing { ended: Some(last) } | Settled::Held { ended: Some(last) }
                    if progress.must_sweep(key, &last) =>
                {
                    self.sweep(key, &last, progress)?;
                }
                Settled::Nothing { .. } | Settled::Held { .. } => {}
            }
        }
        Ok(None)
    }

    /// What the caller says about itself while it starts an instance.
    fn claim(&self, lock: &Lock) -> Result<Claim> {
        let Self { path, version, journal, uids, kill_mode, .. } = self;
        Ok(Claim {
            role: Role::Starter,
            pid: std::process::id().cast_signed(),
            start: sys::own_start_time().map_err(Error::at(Step::WriteLock, *path))?,
            unique: sys::own_unique().map_err(Error::at(Step::WriteLock, *path))?,
            session: 0,
            uids: uids.clone(),
            machine: Machine::own().clone(),
            path: lock.key.path.clone(),
            version: version.map(str::to_owned),
            session_mark: SessionMark::new(),
            kill_mode: *kill_mode,
            journal: journal.clone(),
        })
    }

    /// Ends what an instance that has ended by itself has left in its session: it would keep the ports.
    fn sweep(&self, key: &Key, last: &Seen, progress: &mut Progress) -> Result<()> {
        let since = Instant::now();
        progress.swept.push(instance_of(last));
        // What no process has seen; a journal that cannot be written is reported by the start that follows.
        let _unwritten = note_end(key, last);
        end_left_behind(key, last, SESSION_GRACE, true, self.pause)?;
        progress.replacing += since.elapsed();
        progress.unproven_since = Instant::now();
        Ok(())
    }

    /// What follows from another process's hold on the lock: an instance to use, an error, or another try.
    fn meet(&self, key: &Key, seen: Option<Seen>, progress: &mut Progress) -> Result<Option<Acquired>> {
        let waited = progress.begun.elapsed().saturating_sub(progress.replacing);
        let Some(seen) = seen.filter(|seen| matches!(seen.life, Life::Alive(_) | Life::Exiting(_))) else {
            return self.wait_for_claim(key, progress.unproven_since).map(|()| None);
        };
        progress.unproven_since = Instant::now();
        let pid = seen.pid();
        if seen.claim.role == Role::Starter {
            // It holds the lock, or the text would not count here.
            let limit = if self.if_running == IfRunning::Error { STARTER_PATIENCE } else { self.patience };
            return if waited > limit { Err(self.slow(pid, limit)) } else { Ok(None) };
        }
        let instance = instance_of(&seen);
        let is_unwanted = self.is_unwanted(&seen, instance, *progress.first.get_or_insert(instance));
        progress.replaces |= is_unwanted;
        match self.answer(&seen, is_unwanted, waited)? {
            Answer::Reuse => return Ok(Some(Acquired::Running { pid: seen.pid(), path: self.path.to_owned() })),
            Answer::Wait(error) if waited > self.patience => return Err(error),
            Answer::Wait(_) => {}
            Answer::Replace if progress.replacing > replace_limit(&seen) => {
                return Err(Error::StopTimeout { pid, limit: replace_limit(&seen) });
            }
            Answer::Replace => {
                if !progress.has_rehearsed {
                    (self.rehearse)()?;
                    progress.has_rehearsed = true;
                }
                let since = Instant::now();
                self.replace(key, seen)?;
                progress.replacing += since.elapsed();
                // What it has left behind has its moment from now on.
                progress.unproven_since = Instant::now();
            }
        }
        Ok(None)
    }

    /// Whether this instance has to make room: of the ones that a caller meets only the first, or all of another version.
    fn is_unwanted(&self, seen: &Seen, instance: (i32, u64), first: (i32, u64)) -> bool {
        match (self.if_running, self.version) {
            (IfRunning::Replace, _) => instance == first,
            (IfRunning::Reuse, Some(version)) => seen.claim.version.as_deref() != Some(version),
            _ => false,
        }
    }

    fn answer(&self, seen: &Seen, is_unwanted: bool, waited: Duration) -> Result<Answer> {
        let pid = seen.pid();
        let already_running = || Error::AlreadyRunning { pid, path: self.path.to_owned() };
        let is_leaving = || Answer::Wait(Error::StopTimeout { pid, limit: self.patience });
        let is_dying = matches!(seen.life, Life::Exiting(_)) || sys::is_dying(seen.claim.pid);
        if self.if_running == IfRunning::Error {
            let may_end = is_dying && waited <= EXIT_PATIENCE;
            return if may_end { Ok(Answer::Wait(already_running())) } else { Err(already_running()) };
        }
        match seen.phase {
            // A process does not stop itself to start another.
            _ if is_unwanted && pid == std::process::id().cast_signed() => Err(already_running()),
            // An instance that is stopping has the time to do so, and is not asked twice.
            Phase::Stopping if is_unwanted => Ok(Answer::Replace),
            Phase::Stopping => Ok(is_leaving()),
            _ if is_dying => Ok(is_leaving()),
            Phase::Starting => Ok(Answer::Wait(self.slow(pid, self.patience))),
            Phase::Up if is_unwanted => Ok(Answer::Replace),
            Phase::Up => Ok(Answer::Reuse),
        }
    }

    fn slow(&self, pid: i32, limit: Duration) -> Error {
        Error::WaitTimeout { pid, path: self.path.to_owned(), limit }
    }

    /// A holder whose claim names no live process is given a moment: it may be about to write one, or to die.
    fn wait_for_claim(&self, key: &Key, since: Instant) -> Result<()> {
        let limit = if self.if_running == IfRunning::Error { UNPROVEN_PATIENCE } else { STARTER_PATIENCE };
        if since.elapsed() > limit {
            return Err(Error::PidFileHeld { holder: key.holder(), path: self.path.to_owned() });
        }
        Ok(())
    }

    /// The kernel can free a lock before it closes the sockets: only the process's end says that everything is closed.
    fn wait_for_end(&self, process: &Process, pid: i32) -> Result<()> {
        let begun = Instant::now();
        while !process.has_ended() {
            if begun.elapsed() > EXIT_PATIENCE {
                return Err(Error::StopTimeout { pid, limit: EXIT_PATIENCE });
            }
            (self.pause)(RETRY_PAUSE / 10)?;
        }
        Ok(())
    }

    /// Stops the instance as [`crate::stop`] does.
    fn replace(&self, key: &Key, seen: Seen) -> Result<()> {
        let Some(proven) = Proven::of(key, seen) else { return Ok(()) };
        let stopping = Stopping::begin(&proven, self.path, libc::SIGTERM, true)?;
        // From here on it ends, also if the caller gives up.
        self.has_stopped.set(true);
        // A journal that cannot be written is reported by the start that follows.
        stopping.finish(stop_timeout(proven.said.stops_within), true, self.pause).map(drop)
    }
}

fn instance_of(seen: &Seen) -> (i32, u64) {
    (seen.claim.pid, seen.claim.start)
}

/// How long replacing an instance may take, killing it included.
fn replace_limit(seen: &Seen) -> Duration {
    stop_timeout(seen.said.stops_within).saturating_add(EXIT_PATIENCE)
}

/// Whether this is an instance that lives: the starter of one whose lock is free has given up.
fn is_instance(seen: &Seen) -> bool {
    seen.claim.role == Role::Daemon && matches!(seen.life, Life::Alive(_))
}
