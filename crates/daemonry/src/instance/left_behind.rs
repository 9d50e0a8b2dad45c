//! What an instance that has ended has left: processes of its session, and its pidfile.

use std::path::Path;
use std::time::Duration;

use super::events;
use super::session::{Others, Session};
use super::timing::RETRY_PAUSE;
use crate::error::{Error, Result};
use crate::pidfile::remove_left_behind;
use crate::state::{Attempt, Claim, Key, Life, Lock, Seen};

/// Whether an instance that has ended has left processes in its session.
pub(super) fn is_something_left(last: &Seen, owner: u32) -> bool {
    left_behind(last, owner).is_some()
}

/// One of the processes that an instance which has ended has left in its session.
pub(super) fn left_behind(last: &Seen, owner: u32) -> Option<i32> {
    if !matches!(last.life, Life::Gone) {
        return None;
    }
    Session::of_ended(&last.claim, owner).members().find(|member| member.is_ours).map(|member| member.pid)
}

/// Ends them, and writes down that the instance has ended and what the caller has ended after it. Also returns why the journal
/// could not be written.
pub(super) fn end_left_behind(
    key: &Key,
    Seen { claim, .. }: &Seen,
    grace: Duration,
    force: bool,
    pause: &dyn Fn(Duration) -> Result<()>,
) -> Result<(Others, Option<Error>)> {
    let others = Session::of_ended(claim, key.owner()).end(Vec::new(), grace, force, pause)?;
    let unwritten = if others.ended > 0 { events::note_cleanup(key, claim, others.ended).err() } else { None };
    Ok((others, unwritten))
}

/// Removes the pidfile of an instance that could not do so itself, under its lock. Where another start has that, or a process that
/// the instance has left behind, it is not ours to remove. Of an instance that a user has started root removes what is that user's,
/// in a directory of that user's: whatever the name there leads to, its owner could have removed it.
pub(super) fn clean_up(key: &Key, claim: &Claim, path: &Path) -> Result<()> {
    for _ in 0..5 {
        match Lock::attempt(key)? {
            Attempt::Taken(lock, Some(Seen { claim: last, life: Life::Gone, .. })) if last.names_same(claim) => {
                let removed = remove_left_behind(path, claim.pid, key.owner(), &claim.uids);
                drop(lock);
                return removed;
            }
            // A launcher closes its copy of the lock as soon as it runs again, and a look takes it for an instant.
            Attempt::Busy(Some(Seen { life: Life::Gone, .. })) => std::thread::sleep(RETRY_PAUSE),
            Attempt::Taken(..) | Attempt::Busy(_) => return Ok(()),
        }
    }
    Ok(())
}
