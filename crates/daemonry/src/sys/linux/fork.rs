//! Forking: into the launcher's own memory where that is possible, by copying it elsewhere.
//!
//! The first costs the same from a process of any size. It follows `posix_spawn(3)` of the C libraries and Go's runtime: the
//! child runs on a stack of its own, with every signal blocked, and the thread that cloned it sleeps until it has left the memory.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

/// What a child in shared memory starts with. It must not return.
pub(super) type ChildEntry = extern "C" fn(*mut libc::c_void) -> libc::c_int;

/// Room for the deepest of the child's steps, a buffer for reading a directory.
const STACK_LENGTH: usize = 128 * 1024;

/// Forks by copying. The bare system call, because the C library's fork runs handlers in the child that other libraries
/// registered: libuv's closes descriptors and opens a pipe.
///
/// # Safety
///
/// In the child only async-signal-safe calls are allowed. The C library does not learn of it, so its record of the thread id is the
/// parent's.
pub(crate) unsafe fn fork() -> Result<libc::pid_t, Errno> {
    // SAFETY: by the caller's word.
    unsafe { copy(libc::SIGCHLD) }
}

/// Forks a child whose parent is the caller's own parent, so that the launcher reaps the daemon.
///
/// # Safety
///
/// As for [`fork`].
pub(crate) unsafe fn fork_sibling() -> Result<libc::pid_t, Errno> {
    // SAFETY: by the caller's word.
    unsafe { copy(libc::CLONE_PARENT | libc::SIGCHLD) }
}

unsafe fn copy(flags: libc::c_int) -> Result<libc::pid_t, Errno> {
    // SAFETY: without CLONE_VM this is a fork; no stack, tid or TLS pointer is passed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's pids fit an int")]
    Errno::result(pid as libc::pid_t)
}

/// A stack with a guard page below it.
struct Stack {
    lowest: *mut libc::c_void,
    length: usize,
}

// SAFETY: it is plain memory, of which nothing is read or written through this type.
unsafe impl Send for Stack {}
// SAFETY: as above.
unsafe impl Sync for Stack {}

impl Stack {
    fn new() -> nix::Result<Self> {
        // SAFETY: sysconf touches no memory.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let length = STACK_LENGTH + page;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping where the kernel wants it.
        let lowest = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags | libc::MAP_STACK, -1, 0) };
        if lowest == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stack = Self { lowest, length };
        // SAFETY: the lowest page of a mapping that is not used yet.
        Errno::result(unsafe { libc::mprotect(lowest, page, libc::PROT_NONE) })?;
        Ok(stack)
    }

    /// Where it begins: stacks grow downwards. Aligned as a page is.
    fn top(&self) -> *mut libc::c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.lowest.byte_add(self.length) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, on which no child runs any more.
        let unmapped = unsafe { libc::munmap(self.lowest, self.length) };
        debug_assert_eq!(unmapped, 0);
    }
}

/// How a daemon has left the launcher's memory.
const UNSEEN: i32 = 0;
const BY_EXEC: i32 = 1;
const BY_ITS_END: i32 = 2;

/// How often the leader looks whether the daemon has finished executing its program: for two seconds.
const LOOKS: u32 = 20_000;
static LOOK_PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 100_000 };

/// What a session leader and a daemon need that run in the launcher's memory, and what they leave there.
pub(crate) struct SharedVm {
    leader_stack: Stack,
    daemon_stack: Stack,
    /// The session leader's pid, there before it runs.
    leader: AtomicI32,
    /// A pidfd of the daemon in the launcher's table, there before the daemon runs; -1 before that.
    daemon: AtomicI32,
    /// Leader or launcher have seen the daemon leave the memory.
    is_left: AtomicBool,
    /// What the leader has seen the daemon do then: one of the three below.
    left_by: AtomicI32,
    /// One at a time looks at the two above and uses the pidfd.
    looking: Mutex<()>,
    /// Why the leader was not allowed to fork a daemon this way; 0 if it was.
    refusal: AtomicI32,
}

impl SharedVm {
    /// `None` where the kernel has no pidfds, without which a daemon could not be found whose leader was killed.
    pub(crate) fn new() -> nix::Result<Option<Self>> {
        if !super::process::has_pidfds() {
            return Ok(None);
        }
        Ok(Some(Self {
            leader_stack: Stack::new()?,
            daemon_stack: Stack::new()?,
            leader: AtomicI32::new(0),
            daemon: AtomicI32::new(-1),
            is_left: AtomicBool::new(false),
            left_by: AtomicI32::new(UNSEEN),
            looking: Mutex::new(()),
            refusal: AtomicI32::new(0),
        }))
    }

    /// Runs the session leader, and returns when it has ended or was killed. It shares the table of descriptors, too, so that
    /// the daemon's pidfd comes to lie in the launcher's.
    ///
    /// # Safety
    ///
    /// `argument` suits `entry`, which does nothing but async-signal-safe calls and exits. Every signal is blocked.
    pub(crate) unsafe fn fork_leader(
        &self,
        entry: ChildEntry,
        argument: *mut libc::c_void,
    ) -> Result<libc::pid_t, Errno> {
        const FLAGS: libc::c_int =
            libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
        // SAFETY: by the caller's word; the stack is the child's alone.
        Errno::result(unsafe { libc::clone(entry, self.leader_stack.top(), FLAGS, argument, self.leader.as_ptr()) })
    }

    /// Runs the daemon up to its exec or its end, for the session leader. A sibling is the launcher's own child.
    ///
    /// # Safety
    ///
    /// As for [`SharedVm::fork_leader`], in the session leader.
    pub(crate) unsafe fn fork_daemon(
        &self,
        sibling: bool,
        entry: ChildEntry,
        argument: *mut libc::c_void,
    ) -> Result<libc::pid_t, Errno> {
        const FLAGS: libc::c_int = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let flags = if sibling { FLAGS | libc::CLONE_PARENT } else { FLAGS };
        // SAFETY: by the caller's word; the stack is the child's alone.
        let pid = Errno::result(unsafe {
            libc::clone(entry, self.daemon_stack.top(), flags, argument, self.daemon.as_ptr())
        });
        self.is_left.store(true, Ordering::SeqCst);
        if let Ok(pid) = pid {
            self.see(pid);
        }
        pid
    }

    /// Checks how the daemon has left. As long as its parent lives, a daemon that has ended stays a zombie. Async-signal-safe.
    fn see(&self, pid: libc::pid_t) {
        for _ in 0..LOOKS {
            match super::process::has_executed(pid) {
                Ok(None) => {}
                Ok(Some(true)) => return self.left_by.store(BY_EXEC, Ordering::SeqCst),
                Ok(Some(false)) => return self.left_by.store(BY_ITS_END, Ordering::SeqCst),
                Err(_) => return,
            }
            // SAFETY: both pointers are good for the call, the second because nothing is written there.
            unsafe { libc::nanosleep(&raw const LOOK_PAUSE, ptr::null_mut()) };
        }
    }

    /// Whether the daemon has executed its program; `None` if the leader has not seen that, or not yet.
    pub(crate) fn has_executed(&self) -> Option<bool> {
        match self.left_by.load(Ordering::SeqCst) {
            BY_EXEC => Some(true),
            BY_ITS_END => Some(false),
            _ => None,
        }
    }

    /// The session leader cannot fork this way. Async-signal-safe.
    pub(crate) fn refuse(&self, errno: Errno) {
        self.refusal.store(errno as i32, Ordering::SeqCst);
    }

    /// The reason that [`SharedVm::refuse`] has stored.
    pub(crate) fn refusal(&self) -> Option<Errno> {
        Some(self.refusal.load(Ordering::SeqCst)).filter(|&errno| errno != 0).map(Errno::from_raw)
    }

    /// The session leader's pid; `None` before there is one.
    pub(crate) fn leader(&self) -> Option<i32> {
        Some(self.leader.load(Ordering::SeqCst)).filter(|&pid| pid > 0)
    }

    /// A pidfd of the daemon, if there is one.
    pub(crate) fn daemon(&self) -> Option<nix::Result<OwnedFd>> {
        let fd = self.daemon.load(Ordering::SeqCst);
        (fd >= 0).then(|| crate::sys::duplicate_number(fd))
    }

    /// The launcher has seen the daemon leave the memory, and needs its pidfd no more.
    pub(crate) fn leave(&self) {
        let _alone = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_left.store(true, Ordering::SeqCst);
        let fd = self.daemon.swap(-1, Ordering::SeqCst);
        if fd >= 0 {
            // SAFETY: the kernel has made it, and only copies of it were given away.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    /// Makes sure that no child runs in this memory any more: a leader that was killed leaves its daemon there, which then is
    /// killed, too. For the thread that ran the leader, when that is gone.
    pub(crate) fn clear(&self) {
        let _alone = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let daemon = self.daemon.load(Ordering::SeqCst);
        if self.is_left.load(Ordering::SeqCst) || daemon < 0 {
            return;
        }
        let no_information = ptr::null::<libc::siginfo_t>();
        // SAFETY: no signal information is passed, so nothing is read from memory.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, daemon, libc::SIGKILL, no_information, 0) };
        // SAFETY: it stays open as long as this thread has not returned.
        let mut ended = [PollFd::new(unsafe { BorrowedFd::borrow_raw(daemon) }, PollFlags::POLLIN)];
        // Nothing else can be done than wait: the memory is not ours before.
        while crate::sys::poll(&mut ended, None).is_err() {}
    }
}

impl Drop for SharedVm {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whether the kernel, a filter or an emulator means that it does not have the call.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSYS | Errno::EPERM | Errno::EINVAL)
}

/// Whether other processes of the user may look into this one. A child that changes its ids in this memory turns it off.
pub(crate) struct Dumpable(libc::c_int);

impl Dumpable {
    pub(crate) fn now() -> Self {
        // SAFETY: asking touches no memory.
        Self(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) })
    }

    /// Puts it back, once no child with other ids runs in this memory.
    #[expect(clippy::needless_pass_by_value, reason = "it is put back once")]
    pub(crate) fn restore(before: Self) {
        if before.0 == 1 && Self::now().0 != 1 {
            // SAFETY: setting it touches no memory. Nothing is lost when it stays off.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
        }
    }
}

/// Signals that the launcher caught or ignored do what they do by default. Async-signal-safe.
///
/// The bare system call: the C library refuses the two signals that it keeps for itself, which may be ignored, too.
pub(crate) fn reset_dispositions() {
    const LAST_SIGNAL: libc::c_long = 64;
    // The kernel's structure: handler (SIG_DFL is 0), flags, restorer, mask.
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SIGKILL and SIGSTOP refuse; they have nothing to reset.
        // SAFETY: the structure outlives the call, and is as long as the kernel's.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, size_of::<u64>()) };
    }
}
