//! The thread that forks. The fast way to fork puts it to sleep until the daemon has left the launcher's memory, while the
//! launcher goes on to watch the time, its signals and the pipes.

use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use crate::child::{self, Site, Way};
use crate::error::{Error, Result, Step};
use crate::plan::{Fork, Prepared};
use crate::sys::{self, Dumpable, Ground, Process};

/// Enough for a few system calls; the children have stacks of their own.
const STACK_LENGTH: usize = 128 * 1024;

/// One child at a time that changes its ids in shared memory: the kernel then keeps other processes of that user out of the
/// memory, and letting them in again must not come too early for another such child.
static ONE_CHANGE_OF_IDS: Mutex<()> = Mutex::new(());

/// The thread, and what it knows of the session leader.
pub(crate) struct Host {
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Where the children may run in the launcher's memory; `None` forks by copying.
    ground: Option<Ground>,
    /// A session leader that was forked by copying; 0 before there is one.
    copied_leader: AtomicI32,
}

impl Host {
    /// Forks on a thread of its own, which owns `prepared` until nobody needs it any more: the exec pipe is at EOF then.
    pub(crate) fn begin(prepared: Prepared, hold: RawFd) -> Result<Self> {
        let failed = |errno| Error::system(Step::Fork, errno);
        let ground = match prepared.fork {
            Fork::Automatic => Ground::new().map_err(failed)?,
            Fork::Copy => None,
        };
        let shared = Arc::new(Shared { ground, copied_leader: AtomicI32::new(0) });
        let its_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("daemonry".into())
            .stack_size(STACK_LENGTH)
            .spawn(move || run(prepared, hold, &its_shared))
            .map_err(Error::io(Step::Fork))?;
        Ok(Self { thread: Some(thread), shared })
    }

    /// The session leaders, of which one that could not fork the fast way is the first.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = i32> {
        let copied = Some(self.shared.copied_leader.load(Ordering::SeqCst)).filter(|&pid| pid > 0);
        let sharing = self.shared.ground.as_ref().and_then(Ground::leader);
        sharing.into_iter().chain(copied)
    }

    /// Gets hold of the daemon. `None` when it is gone already, and was not forked the fast way.
    pub(crate) fn open_daemon(&self, pid: i32) -> nix::Result<Option<Process>> {
        match self.shared.ground.as_ref().and_then(Ground::take_daemon) {
            Some(pidfd) => Ok(Some(Process::of(pid, pidfd))),
            None => Process::open(pid),
        }
    }

    /// Whether nobody runs in this memory any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of the thread, which has come when the exec pipe is at EOF.
    pub(crate) fn join(&mut self) {
        // It does not panic; if it did, the exec pipe would tell of a start without a daemon.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it goes with this function, and with it the exec pipe")]
fn run(prepared: Prepared, hold: RawFd, shared: &Shared) {
    // No handler of the launcher is to run in a child. The thread ends like this.
    let blocked = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    let one_change = || ONE_CHANGE_OF_IDS.lock().unwrap_or_else(PoisonError::into_inner);
    let _alone = prepared.ids.as_ref().map(|_| one_change());
    let fast = shared.ground.as_ref().map_or(Err(Errno::ENOSYS), |ground| share(&prepared, ground));
    let outcome = match blocked.and(fast) {
        Err(errno) if sys::is_refusal(errno) => copy(&prepared, hold).map(|leader| {
            shared.copied_leader.store(leader, Ordering::SeqCst);
        }),
        outcome => outcome,
    };
    if let Err(errno) = outcome {
        child::report(prepared.exec_pipe.as_raw_fd(), Step::Fork, errno);
    }
}

/// In the launcher's memory. Returns when nobody is there any more.
fn share(prepared: &Prepared, ground: &Ground) -> nix::Result<()> {
    let site = Site { prepared, way: Way::Share(ground) };
    let dumpable = Dumpable::now();
    let argument = ptr::from_ref(&site).cast_mut().cast();
    // SAFETY: the site outlives the children, who only do async-signal-safe calls; this thread has blocked every signal.
    let leader = unsafe { ground.fork_leader(child::enter_leader, argument) };
    ground.clear();
    dumpable.restore();
    leader?;
    ground.refusal().map_or(Ok(()), Err)
}

/// In a copy of it.
fn copy(prepared: &Prepared, hold: RawFd) -> nix::Result<i32> {
    // SAFETY: the child only runs child::leader, which keeps to async-signal-safe calls.
    let pid = unsafe { sys::fork() }?;
    if pid == 0 {
        // SAFETY: this is the forked child, with every signal blocked.
        unsafe { child::leader(&Site { prepared, way: Way::Copy { hold } }) };
    }
    Ok(pid)
}
