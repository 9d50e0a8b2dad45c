//! Forgetting an instance that has ended: how it ended, and the pidfile that it could not remove.

use std::path::Path;
use std::time::Instant;

use super::left_behind::left_behind;
use super::timing::{RETRY_PAUSE, UNPROVEN_PATIENCE};
use crate::error::{Error, Result};
use crate::pidfile::{self, Holder, Outside, remove_left_behind};
use crate::state::{Attempt, Key, Life, Lock, Role, Seen, Settled};

/// Leaves nothing of the last instance of the pidfile at `path`, and has `remove` remove what else belongs to it, while no other
/// process can start one. Returns false where there was nothing.
///
/// # Errors
///
/// [`Error::NotForgotten`] if a process of it runs; [`Error::PidFileHeld`]; [`Error::System`]; those of `remove`.
pub(crate) fn erase(path: &Path, remove: impl FnOnce() -> Result<()>) -> Result<bool> {
    let key = Key::make(path)?;
    let others = key.elsewhere()?.into_iter().filter_map(|other| match other.look() {
        Ok(seen) => seen.map(|_| Ok(other)),
        Err(error) => Some(Err(error)),
    });
    let keys = std::iter::once(Ok(key)).chain(others).collect::<Result<Vec<_>>>()?;
    let locks = keys.iter().map(|key| take(key, path)).collect::<Result<Vec<_>>>()?;
    let outside = match pidfile::look(path) {
        // What is no pidfile is left alone.
        Err(Error::NotAPidFile { .. }) => None,
        found => found?,
    };
    // Root has started it as this user, or it is another user's.
    if let Some(Outside { pid: Some(pid), holder: Holder::Proven, .. }) = outside {
        return Err(refused(path, pid, format!("it is running with pid {pid}: stop it first")));
    }
    let own = nix::unistd::geteuid().as_raw();
    let stale = outside.filter(|found| found.owner == own).and_then(|found| found.pid);
    let ended = keys.iter().zip(&locks).filter_map(|(key, (_, last))| Some((key.owner(), last.as_ref()?)));
    let is_known = stale.is_some() || ended.clone().next().is_some();
    for (owner, Seen { claim, .. }) in ended {
        remove_left_behind(path, claim.pid, owner, &claim.uids)?;
    }
    // One whose lock was lost with the machine.
    if let Some(pid) = stale {
        remove_left_behind(path, pid, own, &[])?;
    }
    for (lock, _) in locks.iter().filter(|(_, last)| last.is_some()) {
        lock.forget()?;
    }
    remove()?;
    Ok(is_known)
}

/// Takes the lock, unless a process of the instance lives; with what the last one has left in it.
fn take(key: &Key, path: &Path) -> Result<(Lock, Option<Seen>)> {
    let begun = Instant::now();
    loop {
        match key.settle()? {
            Settled::Live(seen) => return Err(in_use(&seen, path)),
            Settled::Held { ended: Some(last) } => refuse_left_behind(&last, key, path)?,
            Settled::Held { ended: None } | Settled::Nothing { .. } => {}
        }
        match Lock::attempt(key)? {
            // A program can have closed the lock that it inherited: it runs all the same.
            Attempt::Taken(_, Some(Seen { life: Life::Alive(_) | Life::Exiting(_), claim, .. }))
                if claim.role == Role::Daemon => {}
            Attempt::Taken(lock, last) => {
                last.iter().try_for_each(|last| refuse_left_behind(last, key, path))?;
                return Ok((lock, last));
            }
            Attempt::Busy(_) => {}
        }
        if begun.elapsed() > UNPROVEN_PATIENCE {
            return Err(Error::PidFileHeld { holder: key.holder(), path: path.to_owned() });
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

fn in_use(Seen { claim, .. }: &Seen, path: &Path) -> Error {
    let pid = claim.pid;
    let reason = match claim.role {
        Role::Starter => format!("process {pid} is starting it"),
        Role::Daemon => format!("it is running with pid {pid}: stop it first"),
    };
    refused(path, pid, reason)
}

/// What has to be known to end them would be forgotten, too.
fn refuse_left_behind(last: &Seen, key: &Key, path: &Path) -> Result<()> {
    let Some(pid) = left_behind(last, key.owner()) else { return Ok(()) };
    Err(refused(path, pid, format!("it has left process {pid} behind, which is still running: stop it first")))
}

fn refused(path: &Path, pid: i32, reason: String) -> Error {
    Error::NotForgotten { pid, path: path.to_owned(), reason }
}
