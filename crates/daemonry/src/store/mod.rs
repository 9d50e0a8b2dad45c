//! What named daemons leave on disk: where it lies, what is in it, and how a daemon is found by it.

mod caller;
mod directories;
mod end;
mod event;
mod forget;
mod journal;
mod json;
mod locate;
mod name;
mod places;
mod program;
mod record;
mod self_report;
mod timestamp;
mod watch;

pub use caller::Caller;
pub use directories::PlaceFile;
pub use end::{End, EndReason};
pub use event::{Event, EventKind, Request};
pub use forget::{Forgotten, forget};
pub use journal::JournalReader;
pub(crate) use journal::{append, append_soon, has_failed_since_end, last_end, settle};
pub use locate::{Located, Target, list, list_journals, locate};
pub use name::Name;
pub use places::{Owner, Places, stay_in_system_places};
pub use program::script_among;
pub use record::{Record, Recorded, StartMethod, logical_directory};
pub use self_report::SelfReport;
pub use watch::JournalWatch;
