//! How a launcher that waits notices SIGINT, SIGTERM and SIGHUP: process-wide handlers and a self-pipe.
//!
//! Not a signalfd: another thread of the host process would take the signals.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Result, Step};
use crate::sys::{self, is_ignored, retry};

const WATCHED: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Where the handler writes; -1 while no launch watches.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

/// Handlers that run at this moment, on whatever thread: the pipe must outlive them.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Dispositions belong to the whole process, so only one launch at a time can watch.
static ONE_WATCH: Mutex<()> = Mutex::new(());

extern "C" fn note(signal: libc::c_int) {
    let errno = Errno::last_raw();
    RUNNING.fetch_add(1, Ordering::SeqCst);
    let fd = WRITE_END.load(Ordering::SeqCst);
    if fd >= 0 {
        let byte = u8::try_from(signal).unwrap_or(0);
        // SAFETY: one byte is read from a local; a full pipe loses only repetitions.
        unsafe { libc::write(fd, (&raw const byte).cast(), 1) };
    }
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    Errno::set_raw(errno);
}

/// While it lives, the watched signals are noted instead of doing what they did before. Ignored ones stay so.
pub(crate) struct SignalWatch {
    read_end: OwnedFd,
    write_end: OwnedFd,
    before: Vec<(Signal, SigAction)>,
    _only: MutexGuard<'static, ()>,
}

impl SignalWatch {
    pub(crate) fn install() -> Result<Self> {
        Self::try_install().map_err(|errno| Error::system(Step::CatchSignals, errno))
    }

    fn try_install() -> nix::Result<Self> {
        let only = ONE_WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_end, write_end) = sys::pipe()?;
        for end in [&read_end, &write_end] {
            nix::fcntl::fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        WRITE_END.store(write_end.as_raw_fd(), Ordering::SeqCst);
        let mut watch = Self { read_end, write_end, before: Vec::with_capacity(WATCHED.len()), _only: only };
        let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        for signal in WATCHED.into_iter().filter(|&signal| !is_ignored(signal)) {
            // SAFETY: the handler is async-signal-safe: atomics and write(2).
            let before = unsafe { sigaction(signal, &action) }?;
            watch.before.push((signal, before));
        }
        Ok(watch)
    }

    /// Readable when a signal has arrived.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }

    /// The oldest signal that was not taken yet.
    pub(crate) fn take(&self) -> Option<i32> {
        let mut byte = [0];
        let read = retry(|| nix::unistd::read(&self.read_end, &mut byte)).unwrap_or(0);
        (read == 1).then(|| i32::from(byte[0]))
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: this is what was installed before.
            let restored = unsafe { sigaction(*signal, before) };
            debug_assert!(restored.is_ok());
        }
        WRITE_END.store(-1, Ordering::SeqCst);
        while RUNNING.load(Ordering::SeqCst) > 0 {
            std::hint::spin_loop();
        }
        // The pipe closes when the fields are dropped, after the last handler has left it.
        let _ = &self.write_end;
    }
}
