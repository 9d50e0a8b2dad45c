//! How a daemon has ended, as it is reported and kept.

use std::time::SystemTime;

use super::Caller;
use crate::json::{Members, Object};
use crate::sys::{Exit, signal_name, signal_number};

/// How a daemon has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// When, if a process has seen it.
    pub at: Option<SystemTime>,
    /// Its exit code, or the signal that it died of, by its own word.
    pub exit: Exit,
    /// The process that asked it to stop, if one did.
    pub by: Option<Caller>,
    /// What it has thrown.
    pub last_words: Option<String>,
}

/// Why a daemon has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// It was asked to.
    Stopped,
    /// It was asked to because another instance was to take its place.
    Replaced,
    /// It had nothing left to do, and exited with 0.
    Finished,
    /// Nothing has used it for as long as it said.
    Idle,
    /// It exited with another code, without having been asked to stop.
    Crashed,
    /// It did not stop in time.
    Killed,
    /// No process saw how, and it could not say so itself: it was killed, it crashed natively, or it is no program of daemonry.
    Vanished,
    /// With the machine, or the container.
    Lost,
}

impl EndReason {
    const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Replaced,
        Self::Finished,
        Self::Idle,
        Self::Crashed,
        Self::Killed,
        Self::Vanished,
        Self::Lost,
    ];

    /// As the public interfaces spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Replaced => "replaced",
            Self::Finished => "finished",
            Self::Idle => "idle",
            Self::Crashed => "crashed",
            Self::Killed => "killed",
            Self::Vanished => "vanished",
            Self::Lost => "lost",
        }
    }

    /// The reason that is spelled so.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Whether the end was requested, or intended by the program.
    pub const fn is_orderly(self) -> bool {
        matches!(self, Self::Stopped | Self::Replaced | Self::Finished | Self::Idle)
    }
}

impl End {
    /// An end that no process has seen.
    pub(crate) const fn unseen(reason: EndReason) -> Self {
        Self { reason, at: None, exit: Exit::Unknown, by: None, last_words: None }
    }

    /// Everything but the time.
    pub(super) fn add_to(&self, object: &mut Object, most: usize) {
        object.text("reason", self.reason.name());
        match self.exit {
            Exit::Code(code) => object.json("exitCode", &code.to_string()),
            Exit::Signal(signal) => object.text("signal", signal_name(signal)),
            Exit::Unknown => {}
        }
        if let Some(by) = &self.by {
            object.json("by", &by.to_short_json(most));
        }
        if let Some(words) = &self.last_words {
            object.short_text("lastWords", words, most);
        }
    }

    pub(super) fn of(members: &Members<'_>, at: Option<SystemTime>) -> Option<Self> {
        let code = members.optional("exitCode", |code| code.as_str().parse().ok())?;
        let signal = members.optional("signal", |signal| signal_number(signal.text()?.to_str()?))?;
        Some(Self {
            reason: EndReason::by_name(members.get("reason")?.text()?.to_str()?)?,
            at,
            exit: code.map(Exit::Code).or(signal.map(Exit::Signal)).unwrap_or(Exit::Unknown),
            by: members.optional("by", |by| Caller::of(&by.members()?))?,
            last_words: members.optional("lastWords", |words| Some(words.text()?.to_string_lossy().into_owned()))?,
        })
    }
}
