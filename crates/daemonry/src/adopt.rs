//! The daemon's side of a start: recognise it, take over what was handed on, report to the launcher.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::error::{Error, Result, Step};
use crate::pidfile::PidFile;
use crate::protocol::{Report, StartToken, WaitFor};
use crate::stdio;
use crate::sys;

/// How often a memory file is emptied into which helpers of the daemon still write, and every how many turns it is checked
/// whether they do.
const TRIM_PAUSE: Duration = Duration::from_millis(250);
const TRIMS_A_LOOK: u32 = 20;

/// The watching thread only waits and writes a byte.
const WATCH_STACK: usize = 64 * 1024;

/// A start that this process has taken over.
#[derive(Debug)]
pub struct Adoption {
    /// The note that the launching program passed.
    pub note: OsString,
    /// The point that the launcher waits for.
    pub wait_for: WaitFor,
    /// The pidfile that the launcher locked for this process.
    pub pid_file: Option<Arc<PidFile>>,
    captures: bool,
    alive_for: Duration,
    /// Empty once the launcher has let go.
    status: Arc<Mutex<Option<Arc<File>>>>,
    is_up: AtomicBool,
}

/// Takes over the start that `token`, the value of [`crate::START_VARIABLE`], belongs to. `Ok(None)` when it is not about
/// this very process.
///
/// # Errors
///
/// [`Error::System`] when what was handed over cannot be taken.
///
/// # Safety
///
/// At most once in a process, and before anything else uses the descriptors behind standard error.
pub unsafe fn adopt(token: &OsStr) -> Result<Option<Adoption>> {
    let own = std::process::id().cast_signed();
    let adopt_error = |errno| Error::system(Step::Adopt, errno);
    let Some(token) = StartToken::parse(token).filter(|token| token.pid == own) else { return Ok(None) };
    if !is_status_pipe(&token).map_err(adopt_error)? {
        return Ok(None);
    }
    sys::close_on_exec(token.status_fd).map_err(adopt_error)?;
    // SAFETY: the launcher made this descriptor for this process, and its identity was checked.
    let status = unsafe { OwnedFd::from_raw_fd(token.status_fd) };
    let pid_file = match token.pid_file {
        // SAFETY: as above; they come with the status pipe.
        Some((handed, path)) => Some(Arc::new(unsafe { PidFile::adopt(&path, handed) }?)),
        None => None,
    };
    Ok(Some(Adoption {
        note: token.note,
        wait_for: token.wait_for,
        pid_file,
        captures: token.captures,
        alive_for: token.alive_for,
        status: Arc::new(Mutex::new(Some(Arc::new(File::from(status))))),
        is_up: AtomicBool::new(false),
    }))
}

/// Whether the descriptor is still the pipe. A pipe that cannot be inspected is an error: a program that took it for another
/// one would start a second daemon.
fn is_status_pipe(token: &StartToken) -> nix::Result<bool> {
    // SAFETY: fstat refuses a number that is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(token.status_fd.max(0)) };
    match sys::identity(fd) {
        Err(Errno::EBADF) => Ok(false),
        identity => Ok(identity? == token.status_identity),
    }
}

impl Adoption {
    /// What a supervisor goes on with: the pipe on which it reports, and the pidfile.
    pub(crate) fn into_parts(self) -> (Option<Arc<File>>, Option<Arc<PidFile>>, OsString) {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).take();
        (status, self.pid_file, self.note)
    }

    /// Whether the launcher still watches, and would take an end for a failed start.
    pub fn is_watched(&self) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread that waits for the launcher to let go may not have run since.
        status.as_ref().is_some_and(|pipe| !has_let_go(pipe, Some(Instant::now())))
    }

    /// Reports to the launcher, which listens until it lets go. Once the point that it waits for is reached, the daemon is up by
    /// its own word, whatever becomes of the launcher; a thread stays until that lets go.
    ///
    /// A launcher that is gone is no error.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when a captured stderr cannot be replaced or the thread cannot be started.
    pub fn report(&self, report: &Report) -> Result<()> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = status.as_ref() else { return Ok(()) };
        let says_up = match report {
            Report::Started => self.wait_for <= WaitFor::Start,
            Report::Ready => true,
            _ => false,
        };
        if says_up && self.is_up.load(Ordering::SeqCst) {
            return Ok(());
        }
        if says_up {
            // Whatever can fail comes before the word that cannot be taken back.
            let memory = if self.captures { Some(end_capture()?) } else { None };
            if let Some(pid_file) = &self.pid_file {
                pid_file.mark_up_after(self.alive_for)?;
            }
            let (pipe, status) = (Arc::clone(pipe), Arc::clone(&self.status));
            std::thread::Builder::new()
                .name("daemonry".into())
                .stack_size(WATCH_STACK)
                .spawn(move || settle(pipe, &status, memory))
                .map_err(Error::io(Step::Adopt))?;
            self.is_up.store(true, Ordering::SeqCst);
        }
        match pipe.as_ref().write_all(&report.encode()) {
            Err(error) if error.raw_os_error() != Some(libc::EPIPE) => Err(Error::io(Step::Adopt)(error)),
            _ => Ok(()),
        }
    }
}

/// Puts `/dev/null` over the memory file behind stderr, and keeps that file.
fn end_capture() -> Result<OwnedFd> {
    let null = stdio::open_null(Step::OpenStderr)?;
    let memory = std::io::stderr().as_fd().try_clone_to_owned().map_err(Error::io(Step::OpenStderr))?;
    sys::put(null.as_fd(), libc::STDERR_FILENO).map_err(|errno| Error::system(Step::OpenStderr, errno))?;
    Ok(memory)
}

/// Whether the launcher lets go of the pipe until the deadline.
fn has_let_go(pipe: &File, deadline: Option<Instant>) -> bool {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    sys::poll(&mut fds, deadline).is_ok_and(|ready| ready > 0)
}

/// Waits until the launcher has let go of the pipe.
fn settle(pipe: Arc<File>, status: &Mutex<Option<Arc<File>>>, memory: Option<OwnedFd>) {
    let _closed = has_let_go(&pipe, None);
    drop((status.lock().unwrap_or_else(PoisonError::into_inner).take(), pipe));
    // Helpers that were started before keep the memory file as their stderr, so it is emptied as long as they have it.
    let Some(memory) = memory else { return };
    while sys::others_hold(memory.as_fd()) {
        for _ in 0..TRIMS_A_LOOK {
            let _emptied = nix::unistd::ftruncate(&memory, 0);
            std::thread::sleep(TRIM_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_that_has_let_go_does_not_watch() {
        let (read, write) = sys::pipe().expect("a pipe");
        let adoption = Adoption {
            note: OsString::new(),
            wait_for: WaitFor::Ready,
            pid_file: None,
            captures: false,
            alive_for: Duration::ZERO,
            status: Arc::new(Mutex::new(Some(Arc::new(File::from(write))))),
            is_up: AtomicBool::new(true),
        };
        assert!(adoption.is_watched());
        drop(read);
        assert!(!adoption.is_watched(), "no thread has looked since");
    }
}
