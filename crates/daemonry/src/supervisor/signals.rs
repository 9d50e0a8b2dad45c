//! The signals of a supervisor, as bytes in a pipe that its event loop reads.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Result, Step};
use crate::supervision::PASSED_ON;
use crate::sys::{self, retry};

/// Where the handler writes.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note(signal: libc::c_int) {
    let errno = Errno::last_raw();
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: one byte is read from a local; a full pipe loses only repetitions.
    unsafe { libc::write(WRITE_END.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
    Errno::set_raw(errno);
}

/// The signals that are passed on, and SIGCHLD. The handlers last as long as the process.
#[derive(Debug)]
pub(super) struct Signals {
    read_end: OwnedFd,
    _write_end: OwnedFd,
}

impl Signals {
    pub(super) fn install() -> Result<Self> {
        Self::try_install().map_err(|errno| Error::system(Step::CatchSignals, errno))
    }

    fn try_install() -> nix::Result<Self> {
        let (read_end, write_end) = sys::pipe()?;
        for end in [&read_end, &write_end] {
            nix::fcntl::fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        WRITE_END.store(write_end.as_raw_fd(), Ordering::SeqCst);
        let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        for signal in PASSED_ON.into_iter().chain([libc::SIGCHLD]) {
            // SAFETY: the handler is async-signal-safe: an atomic and write(2).
            unsafe { sigaction(Signal::try_from(signal)?, &action) }?;
        }
        Ok(Self { read_end, _write_end: write_end })
    }

    /// Readable when a signal has arrived.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }

    /// Those that have arrived since, in their order.
    pub(super) fn take(&self) -> Vec<i32> {
        let mut bytes = [0; 64];
        let read = retry(|| nix::unistd::read(&self.read_end, &mut bytes)).unwrap_or(0);
        bytes.iter().take(read).map(|byte| i32::from(*byte)).collect()
    }
}
