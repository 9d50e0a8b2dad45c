//! Priorities. There are no OOM scores.

use std::ffi::CStr;

use nix::errno::Errno;

/// Whether there are OOM scores and the no-new-privileges flag.
pub(crate) const HAS_OOM_SCORE: bool = false;

/// What only a privileged process can have, and what a change of the user leaves to it: nothing but the niceness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elevated;

impl Elevated {
    /// There is nothing.
    pub(crate) fn now() -> Self {
        Self
    }

    /// As above.
    #[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
    #[expect(clippy::unused_self, reason = "it says what to give up on other platforms")]
    pub(crate) fn give_up(self) -> Result<(), Errno> {
        Ok(())
    }
}

/// The niceness of the calling process; there are no OOM scores.
pub(crate) fn own_priorities() -> (i32, i32) {
    // SAFETY: asking touches no memory.
    (unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }, 0)
}

/// There are none; plans that ask for one are refused.
pub(crate) fn set_oom_score(_adjustment: &CStr) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}
