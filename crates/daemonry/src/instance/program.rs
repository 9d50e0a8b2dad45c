//! As which program an instance was started.

use std::path::Path;

use super::prove::keys;
use crate::error::{Error, Result};
use crate::state::{Key, Role, Settled, program_of};
use crate::store::{Record, Recorded};

/// What the instance that lives under the pidfile at `path` was started as, if the caller may read that.
fn running_program(path: &Path) -> Result<Option<Recorded>> {
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

impl Record {
    /// The error about the daemon that runs as `pid` under the same pidfile, if it was started as another program than this
    /// record's; `None` also if either is not known.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the private files of that daemon cannot be read.
    pub fn other_program(&self, pid: i32) -> Result<Option<Error>> {
        let Some(wanted) = Recorded::parse(&self.json) else { return Ok(None) };
        let running = running_program(&wanted.pid_file)?.filter(|running| !running.is_same_program(&wanted));
        Ok(running.map(|running| Error::OtherProgram {
            pid,
            running: running.shown_command().into(),
            wanted: wanted.shown_command().into(),
            is_named: wanted.name.is_some(),
            path: wanted.pid_file,
        }))
    }
}
