//! What happens to a named daemon, as its journal spells it: one JSON object a line.

use std::time::{Duration, SystemTime};

use super::{Caller, End, timestamp};
use crate::json::{Members, Object, Value};
use crate::sys::{signal_name, signal_number};

/// How long a line of a journal is, in bytes, its newline included: a file takes so much in one piece.
pub(super) const LONGEST_LINE: usize = 4096;

/// How long a text in it is, such as a command line; in a line that would be too long all of them are shorter.
const LONGEST_TEXT: usize = 1024;

/// What has happened to a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, by the clock on the wall; for an event that no process has seen, when it was noticed.
    pub at: SystemTime,
    /// No process has seen it.
    pub is_unseen: bool,
    /// What the events of one start and of what came of it have in common.
    pub(crate) start: String,
    /// What.
    pub kind: EventKind,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A start has begun.
    Start {
        /// The process that starts the daemon.
        by: Option<Caller>,
        /// The version to start.
        version: Option<String>,
        /// Where a pid of this start means something.
        machine: String,
    },
    /// The daemon is up.
    Up {
        /// Its pid.
        pid: i32,
    },
    /// The start has failed and was rolled back.
    Failed {
        /// The pid that the daemon had, if it came that far.
        pid: Option<i32>,
        /// Why, in words.
        reason: String,
    },
    /// The daemon was asked to stop.
    Stop(Request),
    /// The daemon was asked to stop because another instance is to take its place.
    Restart(Request),
    /// The daemon has ended.
    Exit {
        /// The pid that it had.
        pid: i32,
        /// How.
        end: End,
    },
    /// Its supervisor starts the daemon again.
    Restarting {
        /// For the how manieth time.
        restarts: u32,
        /// After how long.
        delay: Duration,
    },
    /// Processes that the daemon had left behind were ended.
    Cleanup {
        /// The pid that the daemon had.
        pid: i32,
        /// How many.
        others_ended: u32,
        /// The process that has ended them.
        by: Option<Caller>,
    },
}

/// How a daemon was asked to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its pid.
    pub pid: i32,
    /// The signal.
    pub signal: i32,
    /// The process that sent it.
    pub by: Option<Caller>,
}

impl EventKind {
    /// As the public interfaces spell it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Up { .. } => "up",
            Self::Failed { .. } => "failed",
            Self::Stop(_) => "stop",
            Self::Restart(_) => "restart",
            Self::Exit { .. } => "exit",
            Self::Restarting { .. } => "restarting",
            Self::Cleanup { .. } => "cleanup",
        }
    }
}

impl Event {
    /// An event that happens now.
    pub(crate) fn now(start: &str, kind: EventKind) -> Self {
        Self { at: SystemTime::now(), is_unseen: false, start: start.to_owned(), kind }
    }

    /// The end of an instance.
    pub(crate) fn exit(start: &str, pid: i32, end: End) -> Self {
        let at = end.at;
        let event = Self::now(start, EventKind::Exit { pid, end });
        Self { at: at.unwrap_or(event.at), is_unseen: at.is_none(), ..event }
    }

    /// As a line of a journal.
    pub(super) fn to_line(&self) -> String {
        let mut most = LONGEST_TEXT;
        loop {
            let mut line = self.with_texts(most, true);
            line.push('\n');
            if line.len() <= LONGEST_LINE || most == 0 {
                return line;
            }
            most /= 2;
        }
    }

    /// As JSON, for those who read a journal.
    pub fn to_json(&self) -> String {
        self.with_texts(LONGEST_LINE, false)
    }

    fn with_texts(&self, most: usize, is_private: bool) -> String {
        let mut object = Object::new();
        object.text("at", timestamp::to_text(self.at));
        object.text("event", self.kind.name());
        if self.is_unseen {
            object.json("unseen", "true");
        }
        if is_private {
            object.text("start", &self.start);
        }
        let by = |object: &mut Object, by: &Option<Caller>| {
            if let Some(by) = by {
                object.json("by", &by.to_short_json(most));
            }
        };
        match &self.kind {
            EventKind::Start { by: caller, version, machine } => {
                by(&mut object, caller);
                if let Some(version) = version {
                    object.short_text("version", version, most);
                }
                if is_private {
                    object.text("machine", machine);
                }
            }
            EventKind::Up { pid } => object.json("pid", &pid.to_string()),
            EventKind::Failed { pid, reason } => {
                if let Some(pid) = pid {
                    object.json("pid", &pid.to_string());
                }
                object.short_text("reason", reason, most);
            }
            EventKind::Stop(Request { pid, signal, by: caller })
            | EventKind::Restart(Request { pid, signal, by: caller }) => {
                object.json("pid", &pid.to_string());
                object.text("signal", signal_name(*signal));
                by(&mut object, caller);
            }
            EventKind::Exit { pid, end } => {
                object.json("pid", &pid.to_string());
                end.add_to(&mut object, most);
            }
            EventKind::Restarting { restarts, delay } => {
                object.json("restarts", &restarts.to_string());
                object.json("delay", &delay.as_millis().to_string());
            }
            EventKind::Cleanup { pid, others_ended, by: caller } => {
                object.json("pid", &pid.to_string());
                object.json("othersEnded", &others_ended.to_string());
                by(&mut object, caller);
            }
        }
        object.end()
    }

    /// A line of a journal; `None` for one of something else.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let members = Value::parse(line)?.members()?;
        let at = timestamp::from_text(members.get("at")?.text()?.to_str()?)?;
        let is_unseen = members.get("unseen").is_some_and(|unseen| unseen.as_str() == "true");
        let start = members.get("start")?.text()?.into_string().ok()?;
        let kind = kind_of(&members, (!is_unseen).then_some(at))?;
        Some(Self { at, is_unseen, start, kind })
    }
}

fn kind_of(members: &Members<'_>, seen_at: Option<SystemTime>) -> Option<EventKind> {
    let text = |name: &str| members.optional(name, |value| Some(value.text()?.to_string_lossy().into_owned()));
    let pid = || members.optional("pid", Value::number);
    let by = || members.optional("by", |by| Caller::of(&by.members()?));
    let request = || Some(Request { pid: pid()??, signal: signal_number(&text("signal")??)?, by: by()? });
    Some(match members.get("event")?.text()?.to_str()? {
        "start" => EventKind::Start { by: by()?, version: text("version")?, machine: text("machine")?? },
        "up" => EventKind::Up { pid: pid()?? },
        "failed" => EventKind::Failed { pid: pid()?, reason: text("reason")?? },
        "stop" => EventKind::Stop(request()?),
        "restart" => EventKind::Restart(request()?),
        "exit" => EventKind::Exit { pid: pid()??, end: End::of(members, seen_at)? },
        "restarting" => EventKind::Restarting {
            restarts: members.optional("restarts", Value::number)??,
            delay: Duration::from_millis(members.optional("delay", Value::number)??),
        },
        "cleanup" => EventKind::Cleanup {
            pid: pid()??,
            others_ended: members.optional("othersEnded", Value::number)??,
            by: by()?,
        },
        _ => return None,
    })
}
