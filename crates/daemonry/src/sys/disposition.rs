//! What a process does about a signal (signal(7)).

use std::mem::MaybeUninit;
use std::ptr;

use nix::sys::signal::Signal;

/// Whether this process ignores `signal`, as it does if nohup(1) has started it.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut current = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is installed, and there is room for what is.
    let asked = unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), current.as_mut_ptr()) };
    // SAFETY: the kernel has written it.
    asked == 0 && unsafe { current.assume_init() }.sa_sigaction == libc::SIG_IGN
}
