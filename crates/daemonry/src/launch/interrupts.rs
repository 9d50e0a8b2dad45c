//! What ends the wait for a start before its time: signals to the launcher, and a caller that gives up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use super::signal_watch::SignalWatch;
use crate::error::{Error, Result, Step};
use crate::sys;

/// Undoes a start that is under way, from another thread. Clones are the same handle.
#[derive(Debug, Clone)]
pub struct AbortHandle {
    read_end: Arc<OwnedFd>,
    write_end: Arc<OwnedFd>,
}

impl AbortHandle {
    /// A handle for one launch.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when there are no descriptors left.
    pub fn new() -> Result<Self> {
        let (read_end, write_end) = sys::pipe().map_err(|errno| Error::system(Step::OpenPipe, errno))?;
        Ok(Self { read_end: Arc::new(read_end), write_end: Arc::new(write_end) })
    }

    /// Makes [`crate::launch`] undo the start and return [`Error::StartAborted`]; too late, it does nothing.
    pub fn abort(&self) {
        // SAFETY: one byte is read from a constant; a second abort finds room, too.
        unsafe { libc::write(self.write_end.as_raw_fd(), c"!".as_ptr().cast(), 1) };
    }

    fn is_aborted(&self) -> bool {
        sys::is_readable(self.read_end.as_fd())
    }
}

/// Everything that can interrupt one launch.
pub(crate) struct Interrupts {
    pub(crate) signals: Option<SignalWatch>,
    pub(crate) abort: Option<AbortHandle>,
}

impl Interrupts {
    /// Readable when something has arrived.
    pub(crate) fn events(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.signals.as_ref().map(SignalWatch::event), self.abort.as_ref().map(|abort| abort.read_end.as_fd())]
    }

    /// What has arrived, as the error that the start ends with.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(signal) = self.signals.as_ref().and_then(SignalWatch::take) {
            return Err(Error::StartInterrupted { signal });
        }
        if self.abort.as_ref().is_some_and(AbortHandle::is_aborted) {
            return Err(Error::StartAborted);
        }
        Ok(())
    }

    /// Waits until `event` is readable; false when the deadline passes before. Fails when something arrives meanwhile or has
    /// arrived before.
    pub(crate) fn wait_for(&self, event: BorrowedFd<'_>, deadline: Instant) -> Result<bool> {
        let mut fds: Vec<PollFd<'_>> =
            [event].into_iter().chain(self.events().into_iter().flatten()).map(readable).collect();
        sys::poll(&mut fds, Some(deadline)).map_err(|errno| Error::system(Step::Wait, errno))?;
        self.check()?;
        Ok(fds.first().is_some_and(|fd| fd.any() != Some(false)))
    }

    /// Sleeps, unless something arrives meanwhile or has arrived before.
    pub(crate) fn sleep(&self, pause: Duration) -> Result<()> {
        let mut fds: Vec<PollFd<'_>> = self.events().into_iter().flatten().map(readable).collect();
        sys::poll(&mut fds, Some(Instant::now() + pause)).map_err(|errno| Error::system(Step::Wait, errno))?;
        self.check()
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}
