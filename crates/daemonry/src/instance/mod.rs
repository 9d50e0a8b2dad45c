//! What is done with instances: acquired for a start, looked at, signalled, stopped, replaced, forgotten.

mod acquire;
mod end;
mod events;
mod forget;
mod prove;
mod reload;
mod session;
mod signal;
mod status;
mod stop;
mod timing;

pub use acquire::IfRunning;
pub(crate) use acquire::{AcquireRequest, Acquired};
pub use events::note_failed_start;
pub(crate) use events::{note_failure, note_held_progress, note_own_end, note_start};
pub(crate) use forget::forget;
pub use reload::{Reloaded, reload};
pub(crate) use session::{Origin, Others, Session};
pub use signal::send_signal;
pub use status::{Status, replacement_failed, runs_other_version, status, status_of_named};
pub use stop::{Remains, StopOptions, Stopped, stop};
pub(crate) use timing::UNPROVEN_PATIENCE;
