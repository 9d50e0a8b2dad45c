//! What is done with instances: found by name, acquired for a start, looked at, signalled, stopped, replaced, forgotten.

mod acquire;
mod cancel;
mod end;
mod erase;
mod events;
mod forget;
mod left_behind;
mod locate;
mod pid_file;
mod program;
mod prove;
mod reload;
mod session;
mod signal;
mod status;
mod stop;
mod stopping;
mod supervised;
mod timing;
mod watch;

pub use acquire::IfRunning;
pub(crate) use acquire::{AcquireRequest, Acquired};
pub(crate) use cancel::refuse_cancelled;
pub use cancel::stops_requested;
pub use events::note_failed_start;
pub use forget::{Forgotten, forget};
pub use locate::{Located, Target, list, list_journals, locate};
pub use reload::{Reloaded, reload};
pub(crate) use session::{Origin, Others, Session, processes_of};
pub use signal::send_signal;
pub use status::{Status, Supervisor, replacement_failed, runs_other_version, status, status_of_named};
pub use stop::{Remains, StopOptions, Stopped, stop};
pub(crate) use supervised::Supervised;
pub(crate) use timing::sleep;
pub use watch::JournalWatch;
