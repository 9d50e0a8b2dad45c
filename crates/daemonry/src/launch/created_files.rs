//! What a start has made in the file system, until the daemon is up.

use crate::listen::BoundSocket;
use crate::stdio::Log;

/// What a start has made in the file system: it goes with this, unless the start has succeeded.
pub(crate) struct CreatedFiles {
    pub(super) logs: Vec<Log>,
    pub(super) sockets: Vec<BoundSocket>,
    pub(super) stay: bool,
}

impl CreatedFiles {
    /// The daemon is up, and they are its own.
    pub(crate) fn keep(&mut self) {
        self.stay = true;
    }

    /// The log of standard error, if it has one.
    pub(crate) fn last_log(&self) -> Option<&Log> {
        self.logs.last()
    }
}

impl Drop for CreatedFiles {
    fn drop(&mut self) {
        if !self.stay {
            self.logs.iter().for_each(Log::remove_if_unused);
            self.sockets.iter().for_each(BoundSocket::remove);
        }
    }
}
