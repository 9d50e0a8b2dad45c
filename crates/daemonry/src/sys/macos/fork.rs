//! Forking: fork(2) alone.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

/// `fork(2)`.
///
/// # Safety
///
/// In the child only async-signal-safe calls are allowed.
pub(crate) unsafe fn fork() -> Result<libc::pid_t, Errno> {
    // SAFETY: by the caller's word.
    Errno::result(unsafe { libc::fork() })
}

/// There is no way to fork a child for one's own parent; the caller forks plainly.
///
/// # Safety
///
/// As for `fork`: in the child only async-signal-safe calls are allowed.
pub(crate) unsafe fn fork_sibling() -> Result<libc::pid_t, Errno> {
    Err(Errno::ENOSYS)
}

/// What a child in shared memory would start with.
pub(crate) type ChildEntry = extern "C" fn(*mut libc::c_void) -> libc::c_int;

/// There is no fork into the launcher's own memory here: vfork(2) shares the stack, too.
pub(crate) enum SharedVm {}

impl SharedVm {
    #[expect(clippy::unnecessary_wraps, reason = "it fails on other platforms")]
    pub(crate) fn new() -> nix::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) unsafe fn fork_leader(
        &self,
        _entry: ChildEntry,
        _argument: *mut libc::c_void,
    ) -> Result<libc::pid_t, Errno> {
        match *self {}
    }

    pub(crate) unsafe fn fork_daemon(
        &self,
        _sibling: bool,
        _entry: ChildEntry,
        _argument: *mut libc::c_void,
    ) -> Result<libc::pid_t, Errno> {
        match *self {}
    }

    pub(crate) fn refuse(&self, _errno: Errno) {
        match *self {}
    }

    pub(crate) fn refusal(&self) -> Option<Errno> {
        match *self {}
    }

    pub(crate) fn leader(&self) -> Option<i32> {
        match *self {}
    }

    pub(crate) fn daemon(&self) -> Option<nix::Result<OwnedFd>> {
        match *self {}
    }

    pub(crate) fn has_executed(&self) -> Option<bool> {
        match *self {}
    }

    pub(crate) fn leave(&self) {
        match *self {}
    }

    pub(crate) fn clear(&self) {
        match *self {}
    }
}

/// Whether the kernel means that it does not have the call.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    errno == Errno::ENOSYS
}

/// Nothing here changes whether other processes may look into this one.
pub(crate) struct Dumpable;

impl Dumpable {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn restore(_before: Self) {}
}

/// Signals that the launcher caught or ignored do what they do by default. Async-signal-safe.
pub(crate) fn reset_dispositions() {
    const LAST_SIGNAL: libc::c_int = 31;
    // SAFETY: all-zero is SIG_DFL without flags and with an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=LAST_SIGNAL {
        // SIGKILL and SIGSTOP refuse; they have nothing to reset.
        // SAFETY: the structure outlives the call.
        unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
    }
}
