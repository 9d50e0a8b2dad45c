//! The thread that forks. The fast way to fork puts it to sleep until the daemon has left the launcher's memory, while the
//! launcher goes on to watch the time, its signals and the pipes.

use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::child::{self, ChildContext, ForkMethod};
use super::descriptors::Descriptors;
use super::plan::Fork;
use super::prepare::Prepared;
use crate::error::{Error, Result, Step};
use crate::sys::{self, Dumpable, Process, SharedVm, retry};

/// How long a process that is about to exit may take.
pub(crate) const EXIT_GRACE: Duration = Duration::from_secs(2);

/// How often a process is looked after whose exit wakes no `poll(2)`.
pub(crate) const EXIT_POLL: Duration = Duration::from_millis(10);

/// Enough for a few system calls; the children have stacks of their own.
const STACK_LENGTH: usize = 128 * 1024;

/// One child at a time that changes its ids in shared memory: the kernel then keeps other processes of that user out of the
/// memory, and letting them in again must not come too early for another such child.
static ONE_CHANGE_OF_IDS: Mutex<()> = Mutex::new(());

/// The thread, and what it shares with the launcher.
pub(crate) struct ForkThread {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Where the children may run in the launcher's memory; `None` forks by copying.
    vm: Option<SharedVm>,
    /// A session leader that was forked by copying; 0 before there is one.
    copied_leader: AtomicI32,
    descriptors: Mutex<Option<Descriptors>>,
    leaders: Mutex<Leaders>,
    /// The launcher has given the start up: what was not forked yet must not be forked any more.
    is_given_up: AtomicBool,
}

/// Which of the launcher and the thread reaps the session leaders: the one that needs them last.
#[derive(Default)]
struct Leaders {
    launcher_let_go: bool,
    thread_has_ended: bool,
}

impl ForkThread {
    /// Forks on a thread of its own, which owns `prepared` as long as it may be needed.
    pub(crate) fn begin(prepared: Prepared, descriptors: Descriptors, hold: RawFd) -> Result<Self> {
        let failed = |errno| Error::system(Step::Fork, errno);
        let shared_vm = match prepared.fork {
            Fork::Automatic => SharedVm::new().map_err(failed)?,
            Fork::Copy => None,
        };
        let shared = Arc::new(Shared {
            vm: shared_vm,
            copied_leader: AtomicI32::new(0),
            descriptors: Mutex::new(Some(descriptors)),
            leaders: Mutex::default(),
            is_given_up: AtomicBool::new(false),
        });
        let its_shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("daemonry".into())
            .stack_size(STACK_LENGTH)
            .spawn(move || run(prepared, hold, &its_shared))
            .map_err(Error::io(Step::Fork))?;
        Ok(Self { thread, shared })
    }

    /// The session leaders, of which one that could not fork the fast way is the first.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = i32> {
        self.shared.leaders()
    }

    /// Gets hold of the daemon. `None` when it is gone already, and was not forked the fast way. From now on the exec pipe ends
    /// as soon as the daemon has executed its program.
    pub(crate) fn open_daemon(&self, pid: i32) -> nix::Result<Option<Process>> {
        drop(lock(&self.shared.descriptors).as_mut().and_then(|descriptors| descriptors.exec_pipe.take()));
        match self.shared.vm.as_ref().and_then(SharedVm::daemon) {
            Some(pidfd) => Ok(Some(Process::of(pid, pidfd?))),
            None => Process::open(pid),
        }
    }

    /// Whether the daemon, which is over, has executed its program. False where that cannot be seen.
    pub(crate) fn has_executed(&self, pid: i32) -> bool {
        let Some(shared_vm) = self.shared.vm.as_ref().filter(|_| self.shared.copied_leader.load(Ordering::SeqCst) == 0)
        else {
            // Its leader is still waiting and has not reaped it.
            return sys::has_executed(pid) == Ok(Some(true));
        };
        // Its leader looks as soon as it runs again.
        let deadline = Instant::now() + EXIT_GRACE;
        while shared_vm.has_executed().is_none() && !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(EXIT_POLL / 10);
        }
        shared_vm.has_executed() == Some(true)
    }

    /// The daemon has executed its program, or has ended: the launcher's copies of its descriptors, of which one is the lock's,
    /// are not needed any more.
    pub(crate) fn close_descriptors(&self) {
        drop(lock(&self.shared.descriptors).take());
        if let Some(shared_vm) = &self.shared.vm {
            shared_vm.leave();
        }
    }

    /// The start has failed. A leader that was being forked at this moment is among [`ForkThread::leaders`] soon.
    pub(crate) fn give_up(&self) {
        self.shared.is_given_up.store(true, Ordering::SeqCst);
    }

    /// Whether no child runs in this memory any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// The launcher needs the leaders no more.
    pub(crate) fn let_go(&self) {
        let mut leaders = lock(&self.shared.leaders);
        leaders.launcher_let_go = true;
        if leaders.thread_has_ended {
            self.shared.reap_leaders();
        }
    }
}

impl Shared {
    fn leaders(&self) -> impl Iterator<Item = i32> {
        let copied = Some(self.copied_leader.load(Ordering::SeqCst)).filter(|&pid| pid > 0);
        let sharing = self.vm.as_ref().and_then(SharedVm::leader);
        sharing.into_iter().chain(copied)
    }

    /// They are at their end, or at EOF of what they wait for.
    fn reap_leaders(&self) {
        for leader in self.leaders() {
            reap(Pid::from_raw(leader), Instant::now() + EXIT_GRACE);
        }
    }
}

/// Reaps every own child that `pid` means (a negative one means a process group), as far as they end by `deadline`.
pub(crate) fn reap(pid: Pid, deadline: Instant) {
    // Most often it is at the end of its exit already.
    let mut pause = Duration::from_micros(20);
    loop {
        match retry(|| waitpid(pid, Some(WaitPidFlag::WNOHANG))) {
            Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => return,
            Ok(WaitStatus::StillAlive) => {
                std::thread::sleep(pause);
                pause = EXIT_POLL.min(pause * 2);
            }
            Ok(_) => {}
            // None is left, or the program that this runs in lets the kernel reap.
            Err(_) => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(prepared: Prepared, hold: RawFd, shared: &Shared) {
    // No handler of the launcher is to run in a child. The thread ends like this.
    let blocked = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    let alone = prepared.attributes.ids.as_ref().map(|_| lock(&ONE_CHANGE_OF_IDS));
    let is_wanted = || !shared.is_given_up.load(Ordering::SeqCst);
    let fast = || match &shared.vm {
        Some(shared_vm) if is_wanted() => share(&prepared, shared_vm),
        _ => Err(Errno::ENOSYS),
    };
    let outcome = match blocked.and_then(|()| fast()) {
        Err(errno) if sys::is_refusal(errno) && is_wanted() => copy(&prepared, hold).map(|leader| {
            shared.copied_leader.store(leader, Ordering::SeqCst);
        }),
        outcome => outcome,
    };
    drop(alone);
    let descriptors = lock(&shared.descriptors).take();
    if let (Err(errno), Some(Descriptors { exec_pipe: Some(exec_pipe), .. })) = (outcome, &descriptors) {
        child::report(exec_pipe.as_raw_fd(), Step::Fork, errno);
    }
    drop((prepared, descriptors));
    let mut leaders = lock(&shared.leaders);
    leaders.thread_has_ended = true;
    if leaders.launcher_let_go {
        shared.reap_leaders();
    }
}

/// In the launcher's memory. Returns when no child is there any more.
fn share(prepared: &Prepared, shared_vm: &SharedVm) -> nix::Result<()> {
    let context = ChildContext { prepared, method: ForkMethod::Share(shared_vm) };
    // Only where it changes, and never while a child of another launch has changed it.
    let dumpable = prepared.attributes.ids.as_ref().map(|_| Dumpable::now());
    let argument = ptr::from_ref(&context).cast_mut().cast();
    // SAFETY: the context outlives the children, who only do async-signal-safe calls; this thread has blocked every signal.
    let leader = unsafe { shared_vm.fork_leader(child::enter_leader, argument) };
    shared_vm.clear();
    if let Some(before) = dumpable {
        Dumpable::restore(before);
    }
    leader?;
    shared_vm.refusal().map_or(Ok(()), Err)
}

/// In a copy of it.
fn copy(prepared: &Prepared, hold: RawFd) -> nix::Result<i32> {
    // SAFETY: the child only runs child::leader, which keeps to async-signal-safe calls.
    let pid = unsafe { sys::fork() }?;
    if pid == 0 {
        // SAFETY: this is the forked child, with every signal blocked.
        unsafe { child::leader(&ChildContext { prepared, method: ForkMethod::Copy { hold } }) };
    }
    Ok(pid)
}
