//! What can be seen of an instance by its private state: its claim, its process, how far it is.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::fcntl::OFlag;

use super::claim::{self, Claim, Place, Role};
use super::key::Key;
use super::phase::{self, Phase, Said};
use super::service::{self, Service};
use super::transition::{self, Decision};
use crate::error::{Error, Result, Step};
use crate::sys::{self, Process};

/// How often a claim is read again that is being written at this moment.
const LOOKS: u32 = 100;

const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// An instance, or the start of one, as its lock names it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) claim: Claim,
    pub(crate) life: Life,
    pub(crate) phase: Phase,
    /// Everything that it has said itself.
    pub(crate) said: Said,
    /// What another process has decided about it.
    pub(crate) decision: Option<Decision>,
    /// The service below it, if it is a supervisor.
    pub(crate) service: Option<Service>,
}

impl Seen {
    /// The process that serves, or has served last.
    pub(crate) fn pid(&self) -> i32 {
        self.service.map_or(self.claim.pid, |service| service.pid)
    }
}

/// Whether the process in a lock lives.
#[derive(Debug)]
pub(crate) enum Life {
    Alive(Process),
    /// On its way out: its descriptors, sockets among them, may still be open.
    Exiting(Process),
    /// There is no such process any more.
    Gone,
    /// It cannot be said from here: the process is in another PID namespace, or `/proc` is missing.
    Unseen,
}

/// What a lock says when its text and its flock agree.
#[derive(Debug)]
pub(crate) enum Settled {
    /// An instance, or the start of one, whose process lives.
    Live(Box<Seen>),
    /// Another process than the instance in the lock holds it; with what the lock says about an instance that has ended.
    Held { ended: Option<Box<Seen>> },
    /// With what the instance that has ended last left behind, if there was any.
    Nothing { ended: Option<Box<Seen>> },
}

impl Key {
    /// What the lock says; `None` where nothing was ever started, or nothing is left of it.
    pub(crate) fn look(&self) -> Result<Option<Seen>> {
        let Some(file) = self.open("lock", OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(None) };
        self.look_at(file.as_fd())
    }

    /// The same through an open lock.
    pub(super) fn look_at(&self, file: BorrowedFd<'_>) -> Result<Option<Seen>> {
        let failed = |errno| Error::at(Step::ReadLock, self.place("lock"))(errno);
        let bytes = sys::read_start(file, claim::MOST).map_err(failed)?;
        let Some(claim) = Claim::parse(&bytes) else { return Ok(None) };
        let life = self.life(&claim, file)?;
        let said = phase::read(self)?;
        let decision = transition::read(self, &claim)?;
        let phase = if decision.is_some() { Phase::Stopping } else { said.phase };
        let service = service::read(self, &claim)?;
        Ok(Some(Seen { claim, life, phase, said, decision, service }))
    }

    /// The process first, then what it is: in the other order the pid could be another process's by the time it is opened.
    fn life(&self, claim: &Claim, lock: BorrowedFd<'_>) -> Result<Life> {
        match claim.place() {
            Place::Here => {}
            Place::Elsewhere => return Ok(Life::Unseen),
            Place::Gone => return Ok(Life::Gone),
        }
        let opened = Process::open(claim.pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
        let Some(process) = opened else { return Ok(Life::Gone) };
        let Some(facts) = sys::facts(claim.pid).filter(|_| claim.start != 0) else {
            // Where `/proc` is missing the kernel still names the owner of a record lock, which only the owner's own processes
            // can take on this file.
            return Ok(match sys::record_owner(lock, claim.pid) {
                _ if process.has_ended() => Life::Gone,
                Some(owner) if owner == claim.pid => Life::Alive(process),
                _ => Life::Unseen,
            });
        };
        let is_another = claim.unique != 0 && process.unique() != claim.unique;
        if is_another || facts.start != claim.start || !claim.permits(facts.uid, self.owner()) || process.has_ended() {
            return Ok(Life::Gone);
        }
        Ok(if facts.is_exiting { Life::Exiting(process) } else { Life::Alive(process) })
    }

    /// What the lock says, once it says the same as its flock: a start takes the one an instant before it writes the other.
    pub(crate) fn settle(&self) -> Result<Settled> {
        let mut ended = None;
        for _ in 0..LOOKS {
            match self.look()? {
                // The starter whose lock is free has given up, or lives on after its start.
                Some(Seen { life: Life::Alive(_), claim, .. })
                    if claim.role == Role::Starter && !self.is_locked()? =>
                {
                    return Ok(Settled::Nothing { ended: None });
                }
                Some(seen @ Seen { life: Life::Alive(_) | Life::Exiting(_), .. }) => {
                    return Ok(Settled::Live(Box::new(seen)));
                }
                seen => {
                    ended = seen.filter(|seen| matches!(seen.life, Life::Gone)).map(Box::new);
                    if !self.is_locked()? {
                        return Ok(Settled::Nothing { ended });
                    }
                    std::thread::sleep(LOOK_PAUSE);
                }
            }
        }
        Ok(Settled::Held { ended })
    }

    /// Whether some process holds the lock. Asking takes it for an instant, which makes another attempt of that instant fail:
    /// every start tries more than once.
    pub(crate) fn is_locked(&self) -> Result<bool> {
        let Some(file) = self.open("lock", OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(false) };
        sys::is_flocked(file.as_fd()).map_err(|errno| Error::at(Step::TakeLock, self.place("lock"))(errno))
    }

    /// A process that has the lock open and holds it, if it can be found: what a dead instance has left behind.
    pub(crate) fn holder(&self) -> Option<i32> {
        let file = self.open("lock", OFlag::O_RDONLY, Step::ReadLock).ok()??;
        sys::flock_holder(file.as_fd())
    }
}
