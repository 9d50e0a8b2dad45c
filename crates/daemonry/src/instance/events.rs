//! What becomes of an instance, written down in the journal of its name. Only the owner of the private state writes there.
//!
//! The private state lasts until the next start, and root's until the machine shuts down. Every process that may write the journal
//! therefore adds what is missing there: the process that starts or stops the instance, the instance itself at its exit, and every
//! process that asks for its status.

use std::path::Path;

use super::end::{end_by_now, end_of};
use crate::error::Result;
use crate::state::{Claim, Key, Lock, Role, Seen, SessionMark};
use crate::store::{Caller, End, EndReason, Event, EventKind, Request, append, append_soon, last_end};
use crate::sys::Machine;

/// Where the caller writes down what becomes of an instance, and which start that is; `None` if it has no name, or is not the
/// caller's.
fn journal_of<'a>(key: &Key, claim: &'a Claim) -> Option<(&'a Path, &'a str)> {
    let journal = claim.journal.as_deref().filter(|_| key.owner() == nix::unistd::geteuid().as_raw())?;
    Some((journal, claim.session_mark.short()))
}

/// Begins the journal's part about a start by the caller, who has the lock. The end of the instance before it is certain by now.
pub(crate) fn note_start(key: &Key, claim: &Claim) -> Result<()> {
    let Some((journal, start)) = journal_of(key, claim) else { return Ok(()) };
    let kind =
        EventKind::Start { by: Some(Caller::own()), version: claim.version.clone(), machine: Machine::own().to_text() };
    append(journal, true, |events| {
        let unwritten = match last_end(events) {
            Some((.., missing)) => missing,
            None => events.newest_first().find_map(|event| match event.kind {
                EventKind::Up { pid } => Some(Event::exit(&event.start, pid, End::unseen(EndReason::Vanished))),
                _ => None,
            }),
        };
        unwritten.into_iter().chain([Event::now(start, kind)]).collect()
    })
}

/// The start has failed, and was rolled back.
pub(crate) fn note_failure(key: &Key, claim: &Claim, pid: Option<i32>, reason: String) -> Result<()> {
    let Some((journal, start)) = journal_of(key, claim) else { return Ok(()) };
    let kind = EventKind::Failed { pid, reason };
    append(journal, false, |_| vec![Event::now(start, kind)])
}

/// The same for a restart by a program that starts the daemon itself, unless that has written it down.
///
/// # Errors
///
/// [`crate::Error::System`] with [`crate::Step::WriteJournal`].
pub fn note_failed_start(journal: &Path, reason: String) -> Result<()> {
    let start = SessionMark::new();
    let failed = Event::now(start.short(), EventKind::Failed { pid: None, reason });
    append(journal, false, |events| if events.has_failed_since_end() { Vec::new() } else { vec![failed] })
}

/// Begins the journal of a running instance again, whose file was removed; `by` started the instance.
pub(crate) fn note_again(journal: &Path, claim: &Claim, by: &Caller) -> Result<()> {
    let Claim { version, machine, session_mark, pid, .. } = claim;
    let start = session_mark.short();
    let unseen = |kind| Event { is_unseen: true, ..Event::now(start, kind) };
    append(journal, true, |events| {
        // Another process may have been faster.
        if events.of_start(start).next().is_some() {
            return Vec::new();
        }
        let (by, version, machine) = (Some(by.clone()), version.clone(), machine.to_text());
        vec![unseen(EventKind::Start { by, version, machine }), unseen(EventKind::Up { pid: *pid })]
    })
}

/// The instance is asked to stop; another one takes its place if this `replaces` it. For a caller that decides this while other
/// processes wait for it.
pub(super) fn note_request(key: &Key, claim: &Claim, request: Request, replaces: bool) -> Result<()> {
    let Some((journal, start)) = journal_of(key, claim) else { return Ok(()) };
    let kind = if replaces { EventKind::Restart(request) } else { EventKind::Stop(request) };
    append_soon(journal, |_| vec![Event::now(start, kind)])
}

/// The caller has ended what the instance had left behind.
pub(super) fn note_cleanup(key: &Key, claim: &Claim, others_ended: u32) -> Result<()> {
    let Some((journal, start)) = journal_of(key, claim) else { return Ok(()) };
    let kind = EventKind::Cleanup { pid: claim.pid, others_ended, by: Some(Caller::own()) };
    append(journal, false, |_| vec![Event::now(start, kind)])
}

/// Adds what the journal lacks of an instance whose lock the caller holds.
pub(crate) fn note_held_progress(lock: &Lock) -> Result<()> {
    lock.look()?.map_or(Ok(()), |seen| note_end(&lock.key, &seen))
}

/// The same for what was seen already.
pub(super) fn note_end(key: &Key, seen: &Seen) -> Result<()> {
    note(key, seen, end_of(seen))
}

/// Adds the end of the caller, which is an instance under this pidfile and about to exit.
pub(crate) fn note_own_end(path: &Path) -> Result<()> {
    for key in Key::find(path, nix::unistd::geteuid().as_raw())? {
        if let Some(seen) = key.look()?
            && seen.claim.role == Role::Daemon
            && seen.claim.pid == std::process::id().cast_signed()
            && seen.said.was_up
        {
            let end = end_by_now(&seen);
            note(&key, &seen, Some(end))?;
        }
    }
    Ok(())
}

fn note(key: &Key, seen: &Seen, end: Option<End>) -> Result<()> {
    let Some((journal, start)) = journal_of(key, &seen.claim).filter(|_| seen.claim.role == Role::Daemon) else {
        return Ok(());
    };
    let pid = seen.pid();
    append(journal, false, |events| {
        // Before a restart by its supervisor it was up, and has ended.
        let mut was_restarted = false;
        let is_latest = |kind: &EventKind| {
            was_restarted = matches!(kind, EventKind::Restarting { .. });
            !was_restarted
        };
        let known: Vec<_> = events.of_start(start).map(|event| event.kind).take_while(is_latest).collect();
        if known.iter().any(|kind| matches!(kind, EventKind::Exit { .. } | EventKind::Failed { .. })) {
            return Vec::new();
        }
        let is_new = !was_restarted && !known.iter().any(|kind| matches!(kind, EventKind::Up { .. }));
        let up = (seen.said.was_up && is_new).then(|| {
            // Else the one that started it has been stopped before it could write that down.
            let is_unseen = end.is_some();
            Event { is_unseen, ..Event::now(start, EventKind::Up { pid }) }
        });
        up.into_iter().chain(end.map(|end| Event::exit(start, pid, end))).collect()
    })
}
