//! What named daemons leave on disk: where it lies, and what is in it.

mod caller;
mod directories;
mod end;
mod event;
mod journal;
mod name;
mod own_directory;
mod places;
mod program;
mod record;
mod self_report;
mod timestamp;
mod whole_file;

pub use caller::Caller;
pub use directories::PlaceFile;
pub use end::{End, EndReason};
pub use event::{Event, EventKind, Request};
pub use journal::JournalReader;
pub(crate) use journal::{append, append_soon, has_failed_since_end, last_end, settle};
pub use name::Name;
pub use places::{Owner, Places, stay_in_system_places};
pub(crate) use places::{system_records, user_directory};
pub use program::script_among;
pub(crate) use record::remove;
pub use record::{Record, Recorded, StartMethod, logical_directory};
pub use self_report::SelfReport;
