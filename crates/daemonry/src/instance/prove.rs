//! Finding an instance by its pidfile, such that it cannot be mistaken for another process any more.

use std::path::Path;
use std::time::Instant;

use super::left_behind::is_something_left;
use super::timing::{LOOKS, RETRY_PAUSE, STARTER_PATIENCE, UNPROVEN_PATIENCE};
use crate::error::{Error, Result, Step};
use crate::pidfile::{self, Holder, Outside};
use crate::state::{Claim, Key, Life, Phase, Role, Said, Seen, Service, Settled};
use crate::sys::{self, Process};

/// An instance whose process is held by a descriptor that was opened before the proof.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) pid: i32,
    pub(super) phase: Phase,
    pub(super) process: Process,
    /// The service below it, if it is a supervisor.
    pub(super) service: Option<Service>,
    /// What it has said itself; nothing for a process of the caller's that root has started.
    pub(super) said: Said,
    /// Its lock and what that says; missing for a process of the caller's that root has started.
    pub(super) locked: Option<(Key, Claim)>,
}

impl Proven {
    /// The process that serves.
    pub(super) fn service_pid(&self) -> i32 {
        self.service.map_or(self.pid, |service| service.pid)
    }

    /// The instance that a lock names; `None` for a start, and if its process does not live.
    pub(super) fn of(key: &Key, Seen { claim, life, phase, said, service, .. }: Seen) -> Option<Self> {
        let (Role::Daemon, Life::Alive(process) | Life::Exiting(process)) = (claim.role, life) else { return None };
        Some(Self { pid: claim.pid, phase, process, service, said, locked: Some((key.clone(), claim)) })
    }
}

/// The private states that the caller may go by: its own; for root then that of the pidfile's owner, in which only that user's
/// own processes count.
pub(super) fn keys(path: &Path) -> Result<Vec<Key>> {
    let user = nix::unistd::geteuid();
    let mut owners = vec![user.as_raw()];
    if user.is_root()
        && let Ok(stat) = nix::sys::stat::lstat(path)
        && stat.st_uid != 0
    {
        owners.push(stat.st_uid);
    }
    let found = owners.into_iter().map(|owner| Key::find(path, owner)).collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// The instance of the pidfile at `path`; `None` where none runs.
pub(super) fn prove(path: &Path) -> Result<Option<Proven>> {
    let mut looks = 1..LOOKS;
    loop {
        let (mut was_known, mut has_left) = (false, false);
        for key in keys(path)? {
            match prove_by(&key, path)? {
                Found::Running(proven) => return Ok(Some(*proven)),
                Found::Ended { has_left: left } => (was_known, has_left) = (true, has_left || left),
                Found::Nothing => {}
            }
        }
        let found = if !nix::unistd::geteuid().is_root() {
            match prove_from_outside(path) {
                // What an instance has left behind can hold its pidfile, too.
                Err(Error::PidFileHeld { .. }) if has_left => Ok(None),
                found => found,
            }
        } else if was_known {
            // It was started with a lock of its own that ends here: what others do to its pidfile says nothing.
            Ok(None)
        } else {
            unseen(path).map_or(Ok(None), Err)
        };
        // A start that began between the two looks holds the pidfile as well; the next look finds its lock.
        if found.is_ok() || looks.next().is_none() {
            return found;
        }
    }
}

/// What a lock says.
enum Found {
    Running(Box<Proven>),
    Ended {
        /// Processes of its session run on.
        has_left: bool,
    },
    Nothing,
}

fn prove_by(key: &Key, path: &Path) -> Result<Found> {
    let begun = Instant::now();
    loop {
        let has_left = |last: &Seen| is_something_left(last, key.owner());
        match key.settle()? {
            Settled::Nothing { ended: Some(last) } => return Ok(Found::Ended { has_left: has_left(&last) }),
            Settled::Nothing { ended: None } => return Ok(Found::Nothing),
            Settled::Live(seen) => {
                let pid = seen.claim.pid;
                if let Some(proven) = Proven::of(key, *seen) {
                    return Ok(Found::Running(Box::new(proven)));
                }
                if begun.elapsed() > STARTER_PATIENCE {
                    return Err(Error::WaitTimeout { pid, path: path.to_owned(), limit: STARTER_PATIENCE });
                }
            }
            Settled::Held { ended: Some(last) } if has_left(&last) => return Ok(Found::Ended { has_left: true }),
            Settled::Held { .. } if begun.elapsed() > UNPROVEN_PATIENCE => {
                return Err(Error::PidFileHeld { holder: key.holder(), path: path.to_owned() });
            }
            Settled::Held { .. } => {}
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// For root, which goes by no lock that others can take: a process that holds the pidfile and has no lock that can be seen here,
/// because it was started where `/run`, `/tmp` or a home directory is another one.
fn unseen(path: &Path) -> Option<Error> {
    match pidfile::look(path) {
        Ok(Some(Outside { pid: Some(pid), holder: Holder::Proven, .. })) => {
            Some(Error::Unseen { pid, path: path.to_owned() })
        }
        Ok(_) => None,
        Err(error) => Some(error),
    }
}

/// A process of the caller's own uid whose lock the caller may not read, because root has started it.
fn prove_from_outside(path: &Path) -> Result<Option<Proven>> {
    let user = nix::unistd::geteuid();
    let look = || -> Result<Option<i32>> {
        Ok(match pidfile::look(path)? {
            Some(Outside { pid: Some(pid), holder: Holder::Proven, .. }) => Some(pid),
            Some(Outside { holder: Holder::Other(holder), .. }) => {
                return Err(Error::PidFileHeld { holder, path: path.to_owned() });
            }
            _ => None,
        })
    };
    let Some(pid) = look()? else { return Ok(None) };
    let opened = Process::open(pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
    let Some(process) = opened.filter(|_| look().is_ok_and(|again| again == Some(pid))) else { return Ok(None) };
    if sys::facts(pid).is_none_or(|facts| facts.uid != user.as_raw()) {
        return Err(Error::at(Step::Signal, path)(nix::errno::Errno::EPERM));
    }
    Ok(Some(Proven { pid, phase: Phase::Up, process, service: None, said: Said::NOTHING, locked: None }))
}
