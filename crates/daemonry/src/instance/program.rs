//! As which program an instance was started.

use std::path::Path;

use super::prove::keys;
use crate::error::Result;
use crate::state::{Key, Role, Settled, program_of};
use crate::store::Recorded;

/// What the instance that lives under the pidfile at `path` was started as, if the caller may read that.
pub(crate) fn running_program(path: &Path) -> Result<Option<Recorded>> {
    recorded(keys(path)?)
}

/// The same from the private state of the caller's own uid: no other user can have written it, so it may be started again.
pub(crate) fn own_running_program(path: &Path) -> Result<Option<Recorded>> {
    recorded(Key::find(path, nix::unistd::geteuid().as_raw())?)
}

fn recorded(keys: Vec<Key>) -> Result<Option<Recorded>> {
    for key in keys {
        if let Settled::Live(seen) = key.settle()?
            && seen.claim.role == Role::Daemon
        {
            return Ok(program_of(&key, &seen.claim)?.and_then(|json| Recorded::parse(&json)));
        }
    }
    Ok(None)
}
