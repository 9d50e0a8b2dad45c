//! One daemon for many callers: who starts it, who waits for it, and who replaces it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::control::{KILL_PATIENCE, STOP_TIMEOUT};
use crate::error::{Error, Result, Step};
use crate::pidfile::{Attempt, Phase, PidFile, Probe, RETRY_PAUSE, UNPROVEN_PATIENCE, jittered, probe_path};
use crate::record::Record;
use crate::sys::{self, Holder, Process};

/// How long a starter that has the lock, but no daemon yet, is waited for. It needs milliseconds unless the machine is
/// overloaded; a stranger that locked the file looks the same and stays.
pub(crate) const STARTER_PATIENCE: Duration = Duration::from_secs(4);

/// How long replacing a daemon may take, killing it included.
const REPLACE_LIMIT: Duration = STOP_TIMEOUT.saturating_add(KILL_PATIENCE);

/// What to do when the daemon runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfRunning {
    /// Fail with [`Error::AlreadyRunning`].
    Error,
    /// Take it as if it had just been started, once it is up. One that is about to end is waited for.
    Reuse,
    /// Stop it and start another; but one that somebody else has started meanwhile is reused.
    Replace,
}

/// What a caller wants, and how long it waits for others.
pub(crate) struct Wish<'a> {
    pub(crate) path: &'a Path,
    pub(crate) mode: u32,
    pub(crate) if_running: IfRunning,
    /// With a version, only a daemon of that version is reused.
    pub(crate) record: Option<&'a Record>,
    /// How long somebody else's start or stop may take.
    pub(crate) patience: Duration,
    /// Sleeps, or fails because the caller was interrupted.
    pub(crate) pause: &'a dyn Fn(Duration) -> Result<()>,
}

pub(crate) enum Found {
    /// The caller holds the pidfile now and may start its daemon, in the place of another where it `replaces` one; it has
    /// `waited` so long for others.
    Free { pid_file: PidFile, replaces: bool, waited: Duration },
    /// There is one to reuse.
    Running { pid: i32 },
}

/// What follows from a proven daemon.
enum Answer {
    Reuse,
    /// Until it is up, ends, or the patience does: then with this error.
    Wait(Error),
    Replace,
}

impl Wish<'_> {
    /// Locks the pidfile, or finds the daemon that makes that unnecessary.
    pub(crate) fn find(&self) -> Result<Found> {
        let begun = Instant::now();
        let mut unproven_since = begun;
        let mut first = None;
        let mut replaces = false;
        // What it takes to end another daemon is not part of a start, and has its own limit.
        let mut replacing = Duration::ZERO;
        loop {
            let waited = begun.elapsed().saturating_sub(replacing);
            match PidFile::attempt(self.path, self.mode)? {
                Attempt::Locked(pid_file) => return Ok(Found::Free { pid_file, replaces, waited }),
                Attempt::Held(Probe { holder: Holder::Proven, pid: Some(pid), phase }) => {
                    let is_unwanted = self.is_unwanted(pid, *first.get_or_insert(pid));
                    replaces |= is_unwanted;
                    match self.answer(pid, phase, is_unwanted, waited)? {
                        Answer::Reuse => return Ok(Found::Running { pid }),
                        Answer::Wait(error) if waited > self.patience => return Err(error),
                        Answer::Wait(_) => {}
                        Answer::Replace if replacing > REPLACE_LIMIT => {
                            return Err(Error::StopTimeout { pid, limit: REPLACE_LIMIT });
                        }
                        Answer::Replace => {
                            let since = Instant::now();
                            self.replace(pid)?;
                            (self.pause)(jittered(RETRY_PAUSE))?;
                            replacing += since.elapsed();
                        }
                    }
                    unproven_since = Instant::now();
                }
                Attempt::Held(Probe { holder, .. }) => self.wait_for_proof(Some(holder), unproven_since)?,
                Attempt::Vanished => self.wait_for_proof(None, unproven_since)?,
            }
            (self.pause)(jittered(RETRY_PAUSE))?;
        }
    }

    /// Whether this daemon has to make room: of the ones that a caller meets only the first, or all of another version.
    fn is_unwanted(&self, pid: i32, first: i32) -> bool {
        match (self.if_running, self.record) {
            (IfRunning::Replace, _) => pid == first,
            (IfRunning::Reuse, Some(record)) if record.version.is_some() => !record.is_of_same_version(pid),
            _ => false,
        }
    }

    fn answer(&self, pid: i32, phase: Phase, is_unwanted: bool, waited: Duration) -> Result<Answer> {
        let already_running = || Error::AlreadyRunning { pid, path: self.path.to_owned() };
        let is_leaving = || Answer::Wait(Error::StopTimeout { pid, limit: self.patience });
        let is_dying = sys::is_dying(pid);
        if self.if_running == IfRunning::Error {
            let may_end = is_dying && waited <= UNPROVEN_PATIENCE;
            return if may_end { Ok(is_leaving()) } else { Err(already_running()) };
        }
        match phase {
            // A process does not stop itself to start another.
            _ if is_unwanted && pid == std::process::id().cast_signed() => Err(already_running()),
            // One that is stopping has the time to do so, and is not asked twice.
            Phase::Stopping if is_unwanted => Ok(Answer::Replace),
            Phase::Stopping => Ok(is_leaving()),
            _ if is_dying => Ok(is_leaving()),
            Phase::Starting => {
                let path = self.path.to_owned();
                Ok(Answer::Wait(Error::WaitTimeout { pid, path, limit: self.patience }))
            }
            Phase::Up if is_unwanted => Ok(Answer::Replace),
            Phase::Up => Ok(Answer::Reuse),
        }
    }

    /// A holder that cannot be proven is given a moment: it may be about to write its pid, or to die.
    fn wait_for_proof(&self, holder: Option<Holder>, since: Instant) -> Result<()> {
        let (limit, holder) = match holder {
            Some(Holder::Taker(pid)) => (STARTER_PATIENCE, Some(pid)),
            Some(Holder::Other(pid)) => (UNPROVEN_PATIENCE, pid),
            _ => (UNPROVEN_PATIENCE, None),
        };
        // Whoever comes to wait has more of it.
        let limit = if self.if_running == IfRunning::Error { limit } else { STARTER_PATIENCE.max(limit) };
        if since.elapsed() > limit {
            return Err(Error::PidFileHeld { holder, path: self.path.to_owned() });
        }
        Ok(())
    }

    /// Ends the daemon as [`crate::stop`] does. Of many callers one does it, for a second SIGTERM would cut its clean-up
    /// short; the others only see it end.
    fn replace(&self, pid: i32) -> Result<()> {
        let Some(_claim) = sys::claim_replacement(self.path, pid).map_err(Error::at(Step::LockPidFile, self.path))?
        else {
            return Ok(());
        };
        let opened = Process::open(pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
        let proof = probe_path(self.path)?.filter(|probe| probe.holder == Holder::Proven && probe.pid == Some(pid));
        let (Some(process), Some(proof)) = (opened, proof) else { return Ok(()) };
        let signal = |signal| match process.signal(signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::at(Step::Signal, self.path)(errno)),
        };
        if proof.phase != Phase::Stopping {
            signal(libc::SIGTERM)?;
        }
        let begun = Instant::now();
        let mut killed = false;
        while !process.has_ended() {
            if !killed && begun.elapsed() > STOP_TIMEOUT {
                signal(libc::SIGKILL)?;
                killed = true;
            }
            if begun.elapsed() > REPLACE_LIMIT {
                return Err(Error::StopTimeout { pid, limit: REPLACE_LIMIT });
            }
            (self.pause)(RETRY_PAUSE)?;
        }
        Ok(())
    }
}
