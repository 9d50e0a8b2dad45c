//! What becomes of a start.

use std::fmt;

use crate::error::Error;
use crate::last_words::last_words;
use crate::listen::Endpoint;
use crate::sys::Exit;

/// How there came to be a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This call started it.
    Started,
    /// It ran already.
    Reused,
    /// This call started it in the place of another.
    Replaced,
}

/// A daemon that is up.
#[derive(Debug)]
pub struct Started {
    /// How there came to be one.
    pub outcome: Outcome,
    /// Its pid.
    pub pid: i32,
    /// What it wrote to a captured stderr while it started; at most the last 8 KiB.
    pub stderr: Vec<u8>,
    /// Where its sockets listen, by name in the plan's order; empty where it ran already.
    pub listeners: Vec<(String, Endpoint)>,
    /// Why its journal could not be written, if it could not.
    pub unwritten: Option<Error>,
}

/// A start that failed and was undone: no process of the caller's, lock or file of it is left.
#[derive(Debug)]
pub struct LaunchFailure {
    /// Why.
    pub error: Error,
    /// The pid that the daemon had, if it came that far.
    pub pid: Option<i32>,
    /// What it wrote to its stderr, where that is a file or captured; at most the last 8 KiB.
    pub stderr: Vec<u8>,
    /// Whether another instance was stopped to make room for it, so that none runs now.
    pub is_down: bool,
    /// How many other processes that the daemon had started were ended with it, in whatever session.
    pub others_ended: u32,
    /// How many of them run on, because they are another user's.
    pub others_left: u32,
    /// What to do about it, if it has left others running.
    pub advice: Option<Advice>,
}

impl From<Error> for LaunchFailure {
    fn from(error: Error) -> Self {
        Self { error, pid: None, stderr: Vec::new(), is_down: false, others_ended: 0, others_left: 0, advice: None }
    }
}

impl LaunchFailure {
    /// What happened: the beginning of the whole text.
    pub fn sentence(&self) -> String {
        let left = match self.others_left {
            0 => String::new(),
            1 => " (1 process of another user that it started still runs)".to_owned(),
            left => format!(" ({left} processes of other users that it started still run)"),
        };
        format!("{}{left}", self.error)
    }

    /// What the daemon wrote that says most about why, if it gave no reason itself; to follow a colon.
    pub fn last_words(&self) -> Option<String> {
        let gives_no_reason =
            matches!(self.error, Error::StartFailed { reason: None, .. } | Error::StartTimeout { .. });
        if gives_no_reason { last_words(&self.stderr) } else { None }
    }
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        // An exit with 0 is explained by the advice alone.
        let words = self.last_words().filter(|_| self.advice != Some(Advice::Foreground));
        let reasons: Vec<_> = words.into_iter().chain(self.advice.map(|advice| advice.text().to_owned())).collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, ": {}", reasons.join("; ")) }
    }
}

impl std::error::Error for LaunchFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

/// What to do about a program that has ended while it started, and has left others running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// It has exited with 0: it puts itself into the background.
    Foreground,
    /// The same, if it has exited with 0, which is not known.
    PerhapsForeground,
}

impl Advice {
    pub(super) fn on(error: &Error) -> Option<Self> {
        match error {
            Error::StartFailed { exit: Some(Exit::Code(0)), reason: None } => Some(Self::Foreground),
            Error::StartFailed { exit: Some(Exit::Unknown), reason: None } => Some(Self::PerhapsForeground),
            _ => None,
        }
    }

    /// The advice with its reason, as the end of a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Foreground => "it puts itself into the background; start it in its foreground mode",
            Self::PerhapsForeground => {
                "it left other processes running; if it puts itself into the background, start it in its foreground mode"
            }
        }
    }
}
