//! The private state of an instance, in files that only its uid (or root) can open: who may start it, which process it is, how far
//! it is, and what is being done to it.
//!
//! Nothing here depends on files that other users can read, lock or replace. The file that they look at is the pidfile
//! ([`crate::pidfile`]).

mod claim;
mod directory;
mod key;
mod lock;
mod name;
mod phase;
mod program;
mod reloads;
mod seen;
mod service;
mod session_mark;
mod transition;

pub use claim::KillMode;
pub(crate) use claim::{Claim, Role, Template, permits};
pub(crate) use key::{Key, real_path};
pub(crate) use lock::{Attempt, Lock};
pub(crate) use name::serve_under;
pub use phase::Handlers;
pub(crate) use phase::{Entry, OwnEnd, Phase, Said, UpAt};
pub(crate) use program::read as program_of;
pub use reloads::{FailedReload, ReloadEvent};
pub(crate) use reloads::{ReloadReports, Reloads};
pub(crate) use seen::{Life, Seen, Settled};
pub(crate) use service::{Service, ServiceFile, ServiceState};
pub use session_mark::SESSION_VARIABLE;
pub(crate) use session_mark::SessionMark;
pub(crate) use transition::{Outcome, Transition, count_stop, note_end, stops};
