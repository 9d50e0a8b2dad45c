//! What the end of the process does besides: remove the pidfile. First thing in a signal handler, async-signal-safe, so that
//! it works in a blocked event loop, too; last thing in an orderly exit.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Result, Step};
use crate::pidfile::PidFile;
use crate::sys::is_ignored;

/// The pidfile that goes with this process. It stays alive behind the pointer as long as the process does.
static PID_FILE: AtomicPtr<PidFile> = AtomicPtr::new(ptr::null_mut());

/// What each signal did before it was armed first, by its number.
static BEFORE: [AtomicPtr<SigAction>; 32] = [const { AtomicPtr::new(ptr::null_mut()) }; 32];

/// The signals that are not to end the process, by their numbers.
static DISARMED: AtomicU32 = AtomicU32::new(0);

extern "C" fn remove_pid_file() {
    remove_at_end(None);
}

fn remove_at_end(signal: Option<i32>) {
    // SAFETY: guard() leaks what it stores.
    if let Some(pid_file) = unsafe { PID_FILE.load(Ordering::SeqCst).as_ref() } {
        pid_file.remove_at_end(signal);
    }
}

extern "C" fn end(signal: libc::c_int) {
    if DISARMED.load(Ordering::SeqCst) & bit(signal) != 0 {
        return;
    }
    let errno = Errno::last_raw();
    let own = std::process::id().cast_signed();
    remove_at_end(Some(signal));
    // The default action of a signal does not reach PID 1.
    if own == 1 {
        // SAFETY: ends the process without exit handlers, as a death by signal does.
        unsafe { libc::_exit(128 + signal) };
    }
    let before = usize::try_from(signal).ok().and_then(|index| BEFORE.get(index));
    // SAFETY: arm() leaks what it stores.
    let before = before.and_then(|before| unsafe { before.load(Ordering::SeqCst).as_ref() });
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    if let Ok(signal) = Signal::try_from(signal) {
        // SAFETY: this is what was installed before, or the default.
        let _installed = unsafe { sigaction(signal, before.unwrap_or(&default)) };
    }
    // Blocked until this handler returns; then it does what it would have done without it.
    // SAFETY: raise touches no memory.
    unsafe { libc::raise(signal) };
    Errno::set_raw(errno);
}

/// Makes the pidfile go with this process: when a signal ends it for which [`arm`] was called, and at its exit, after whatever
/// else the program does there. Until then no other process can start what this process may still be cleaning up.
pub fn guard(pid_file: Arc<PidFile>) {
    let pid_file = Arc::into_raw(pid_file).cast_mut();
    if PID_FILE.swap(pid_file, Ordering::SeqCst).is_null() {
        // SAFETY: the function lives as long as the process, in an addon, too: it is linked so that it is never unloaded.
        // Without memory for the registration the file stays, unlocked, which says "dead".
        let _registered = unsafe { libc::atexit(remove_pid_file) };
        // Bun leaves this way.
        // SAFETY: as above.
        #[cfg(target_os = "linux")]
        let _registered = unsafe { at_quick_exit(remove_pid_file) };
    }
}

#[cfg(target_os = "linux")]
unsafe extern "C" {
    /// Missing in the libc crate.
    fn at_quick_exit(function: extern "C" fn()) -> libc::c_int;
}

/// Installs the handler for `signal`, which afterwards does what it did before. A signal that is ignored stays so.
///
/// A program that installs its own handler later replaces it, which is how daemonry yields; one that was there before must
/// not be replaced by a call of this.
///
/// # Errors
///
/// [`Error::System`].
pub fn arm(signal: i32) -> Result<()> {
    let failed = |errno| Error::system(Step::CatchSignals, errno);
    let number = Signal::try_from(signal).map_err(failed)?;
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    let before =
        usize::try_from(signal).ok().and_then(|index| BEFORE.get(index)).ok_or_else(|| failed(Errno::EINVAL))?;
    if is_ignored(number) {
        // It ends nothing.
        return Ok(());
    }
    DISARMED.fetch_and(!bit(signal), Ordering::SeqCst);
    // SAFETY: the handler keeps to async-signal-safe calls.
    let previous = Box::into_raw(Box::new(unsafe { sigaction(number, &action) }.map_err(failed)?));
    // Armed again after the program's own listener went: what was there the first time still counts.
    if before.compare_exchange(ptr::null_mut(), previous, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        // SAFETY: it was boxed above and stored nowhere.
        drop(unsafe { Box::from_raw(previous) });
    }
    Ok(())
}

/// Makes the handler of [`arm`] do nothing until it is armed again: for a runtime whose own handlers call the one that was
/// there before.
pub fn disarm(signal: i32) {
    DISARMED.fetch_or(bit(signal), Ordering::SeqCst);
}

fn bit(signal: i32) -> u32 {
    u32::try_from(signal).ok().and_then(|number| 1_u32.checked_shl(number)).unwrap_or(0)
}

/// Ends the process by `signal` with its default action, as if the program had not caught it. Returns only where that is impossible.
pub fn die(signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action needs no handler.
        let _default = unsafe { sigaction(signal, &default) };
        let _unblocked = SigSet::from_iter([signal]).thread_unblock();
    }
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(std::process::id().cast_signed(), signal) };
}

/// Ends the process at once: no exit handlers, no destructors, as a launcher leaves whose daemon is up (daemon(3)).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process without running anything else in it.
    unsafe { libc::_exit(code) }
}
