//! How an instance has ended: by its own word, else by what others have seen of it.

use crate::state::{Handlers, Life, Outcome, OwnEnd, Role, Seen};
use crate::store::{Caller, End, EndReason};
use crate::sys::{Exit, is_request};

/// `None` where there was no instance, but only a start, or where it lives.
pub(super) fn end_of(seen: &Seen) -> Option<End> {
    let has_ended = seen.claim.role == Role::Daemon && matches!(seen.life, Life::Gone);
    has_ended.then(|| end_by_now(seen))
}

/// The same of one that is about to end.
pub(super) fn end_by_now(seen: &Seen) -> End {
    let own = seen.said.end;
    let decision = seen.decision.as_ref();
    let stopped =
        if decision.is_some_and(|decision| decision.replaces) { EndReason::Replaced } else { EndReason::Stopped };
    let (reason, at) = match (own, decision.map(|decision| decision.outcome)) {
        (_, Some(Some(Outcome::Killed(at)))) => (EndReason::Killed, Some(at)),
        (Some(OwnEnd { at, exit, was_stopping }), _) => {
            let reason = match exit {
                _ if seen.said.handlers == Handlers::CutOff => EndReason::Killed,
                _ if seen.said.is_idle => EndReason::Idle,
                _ if was_stopping || decision.is_some() => stopped,
                // A program notes only those that ask for it; a supervisor sees every one.
                Exit::Signal(signal) if is_request(signal) => stopped,
                Exit::Code(0) => EndReason::Finished,
                _ => EndReason::Crashed,
            };
            (reason, Some(at))
        }
        (None, Some(Some(Outcome::Ended(at)))) => (stopped, Some(at)),
        (None, Some(None)) => (stopped, None),
        (None, None) if seen.claim.machine.is_gone() => (EndReason::Lost, None),
        (None, None) => (EndReason::Vanished, None),
    };
    let exit = own.map_or(Exit::Unknown, |own| own.exit);
    let by = decision.and_then(|decision| Caller::from_json(&decision.by));
    let last_words = seen.said.last_words.clone().filter(|_| !reason.is_orderly());
    End { reason, at, exit, by, last_words }
}
