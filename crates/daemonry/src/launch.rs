//! The launcher's side of a start: fork, wait until the outcome is known, undo what failed.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::{Pid, getpgid};

use crate::error::{Error, Exit, Result, Step};
use crate::frame::{FRAME_LENGTH, Frame, Report};
use crate::herd::{Found, Wish};
use crate::host::{EXIT_GRACE, EXIT_POLL, Host, reap};
use crate::interrupt::Interrupts;
use crate::listen::Endpoint;
use crate::pidfile::{self, PidFile};
use crate::plan::{Descriptors, LaunchPlan, LauncherEnds, Prepared, WaitFor};
use crate::record::{PlacedRecord, Record};
use crate::signals::SignalWatch;
use crate::stdio::{Stream, read_tail};
use crate::sys::{self, Process, peek_exit, retry};

/// Between the SIGTERM and the SIGKILL of an undone start.
const UNDO_GRACE: Duration = Duration::from_secs(2);

/// How there came to be a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This call started it.
    Started,
    /// It ran already.
    Reused,
    /// This call started it in the place of another.
    Replaced,
}

/// A daemon that is up.
#[derive(Debug)]
pub struct Started {
    /// How there came to be one.
    pub outcome: Outcome,
    /// Its pid.
    pub pid: i32,
    /// What it wrote to a captured stderr while it started; at most the last 8 KiB.
    pub stderr: Vec<u8>,
    /// Where its sockets listen, by name in the plan's order; empty where it ran already.
    pub listeners: Vec<(String, Endpoint)>,
}

/// A start that failed and was undone: no process, lock or file of it is left.
#[derive(Debug)]
pub struct LaunchFailure {
    /// Why.
    pub error: Error,
    /// The pid that the daemon had, if it came that far.
    pub pid: Option<i32>,
    /// What it wrote to its stderr, where that is a file or captured; at most the last 8 KiB.
    pub stderr: Vec<u8>,
}

impl From<Error> for LaunchFailure {
    fn from(error: Error) -> Self {
        Self { error, pid: None, stderr: Vec::new() }
    }
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for LaunchFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

/// Launches a daemon as daemon(7) describes it (fork, setsid, fork, exec) and returns when the plan's `wait_for` is reached, or
/// when there is a daemon that the plan's `if_running` is content with.
///
/// Blocks the calling thread. With `launcher_leaves`, SIGINT, SIGTERM and SIGHUP that arrive meanwhile undo the start; a second
/// one kills at once.
///
/// # Errors
///
/// A [`LaunchFailure`] with any [`Error`] of [`PidFile::acquire`]; [`Error::System`] for a step that failed, in whichever
/// process; [`Error::StartFailed`]; [`Error::StartTimeout`]; [`Error::StartInterrupted`]; [`Error::StartAborted`];
/// [`Error::WaitTimeout`] and [`Error::StopTimeout`] for what others were waited for; [`Error::InvalidPlan`].
pub fn launch(plan: &LaunchPlan) -> std::result::Result<Started, LaunchFailure> {
    plan.check()?;
    // Before there is anything to undo.
    let signals = plan.launcher_leaves.then(SignalWatch::install).transpose()?;
    let interrupts = Interrupts { signals, abort: plan.abort.clone() };
    interrupts.check()?;
    let Some(path) = &plan.pid_file else {
        return launch_locked(plan, None, plan.start_timeout, &interrupts);
    };
    let patience = plan.start_timeout.saturating_mul(2);
    let pause = |pause| interrupts.sleep(pause);
    let (mode, if_running, record) = (pidfile::DEFAULT_MODE, plan.if_running, plan.record.as_ref());
    let (pid_file, replaces, waited) =
        match (Wish { path, mode, if_running, record, patience, pause: &pause }).find()? {
            Found::Free { pid_file, replaces, waited } => (pid_file, replaces, waited),
            Found::Running { pid } => {
                return Ok(Started { outcome: Outcome::Reused, pid, stderr: Vec::new(), listeners: Vec::new() });
            }
        };
    let left = patience.saturating_sub(waited).min(plan.start_timeout);
    let outcome = launch_locked(plan, Some(&pid_file), left, &interrupts);
    if outcome.is_err() {
        // Why the start failed matters more than a file that stays behind: unlocked, it says "dead".
        let _left = pid_file.remove(None);
    }
    outcome.map(|started| if replaces { Started { outcome: Outcome::Replaced, ..started } } else { started })
}

fn launch_locked(
    plan: &LaunchPlan,
    pid_file: Option<&PidFile>,
    timeout: Duration,
    interrupts: &Interrupts,
) -> std::result::Result<Started, LaunchFailure> {
    let record = plan.record.as_ref().map(Record::place).transpose()?;
    let outcome = launch_recorded(plan, pid_file, record.as_ref(), timeout, interrupts);
    if let (Err(_), Some(record)) = (&outcome, record) {
        record.restore();
    }
    outcome
}

fn launch_recorded(
    plan: &LaunchPlan,
    pid_file: Option<&PidFile>,
    record: Option<&PlacedRecord>,
    timeout: Duration,
    interrupts: &Interrupts,
) -> std::result::Result<Started, LaunchFailure> {
    let (prepared, descriptors, ends) = Prepared::new(plan, pid_file, record)?;
    let mut start = Start::begin(prepared, descriptors, ends, interrupts)?;
    let outcome = start.wait(plan, pid_file, timeout).and_then(|pid| {
        pid_file.map_or(Ok(()), |pid_file| pid_file.commit(pid))?;
        Ok(pid)
    });
    match outcome {
        Ok(pid) => {
            let stderr = start.captured();
            start.let_go();
            start.ends.traces.keep();
            let listeners = std::mem::take(&mut start.ends.endpoints);
            Ok(Started { outcome: Outcome::Started, pid, stderr, listeners })
        }
        Err(error) => {
            start.undo();
            Err(LaunchFailure { error, pid: start.daemon_pid(), stderr: start.stderr_tail(plan) })
        }
    }
}

struct Daemon {
    pid: i32,
    /// The launcher's own child, whose exit status it can reap.
    sibling: bool,
    /// `None` when the process was gone before the launcher could get hold of it.
    process: Option<Process>,
}

/// A start under way.
struct Start<'a> {
    host: Host,
    daemon: Option<Daemon>,
    ends: LauncherEnds,
    interrupts: &'a Interrupts,
    exec_closed: bool,
    status_closed: bool,
    frames: Vec<u8>,
    reports: Vec<u8>,
    /// The farthest point that the daemon has reached.
    reached: Option<WaitFor>,
    failure: Option<Error>,
    exit_code: Option<i32>,
}

impl<'a> Start<'a> {
    fn begin(
        prepared: Prepared,
        descriptors: Descriptors,
        ends: LauncherEnds,
        interrupts: &'a Interrupts,
    ) -> Result<Self> {
        let hold = ends.hold.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let host = Host::begin(prepared, descriptors, hold)?;
        Ok(Self {
            host,
            daemon: None,
            ends,
            interrupts,
            exec_closed: false,
            status_closed: false,
            frames: Vec::new(),
            reports: Vec::new(),
            reached: None,
            failure: None,
            exit_code: None,
        })
    }

    fn daemon_pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(|daemon| daemon.pid)
    }

    /// Waits until the daemon is up, and has stayed so, or has failed.
    fn wait(&mut self, plan: &LaunchPlan, pid_file: Option<&PidFile>, timeout: Duration) -> Result<i32> {
        let deadline = sys::deadline_after(timeout);
        let mut alive_until = None;
        loop {
            if let Some(pid) = self.settled(plan, &mut alive_until)? {
                // One that was killed before its exec closed the pipes, too, an instant before it can be seen to have ended.
                if sys::is_exiting(pid) {
                    let _ended = self.await_end();
                    continue;
                }
                let Some(pid_file) = pid_file else { return Ok(pid) };
                // One that is stopping already is not up; how it ends is told when it has.
                if !pid_file.is_stopping(pid) {
                    if sys::keeps_lock(pid_file.file().as_fd(), pid) {
                        return Ok(pid);
                    }
                    if !self.is_ending() {
                        return Err(lock_lost());
                    }
                }
                alive_until = None;
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Error::StartTimeout { limit: timeout });
            }
            let wake = alive_until.map_or(deadline, |until: Instant| until.min(deadline));
            self.turn(plan, wake)?;
        }
    }

    /// What is known now: up, failed (an error), or not yet.
    fn settled(&mut self, plan: &LaunchPlan, alive_until: &mut Option<Instant>) -> Result<Option<i32>> {
        self.interrupts.check()?;
        if let Some(error) = self.failure.take() {
            return Err(self.with_exit(error));
        }
        let Some(daemon) = &self.daemon else {
            return if self.exec_closed { Err(self.leader_lost()) } else { Ok(None) };
        };
        let pid = daemon.pid;
        if daemon.process.as_ref().is_none_or(Process::has_ended) {
            // What it said last may still be in the pipes.
            self.read_frames(plan)?;
            self.read_reports()?;
            let said = self.failure.take().unwrap_or(Error::StartFailed { exit: None, reason: None });
            return Err(self.with_exit(said));
        }
        if self.exec_closed && self.reached >= Some(plan.wait_for) {
            let until = *alive_until.get_or_insert_with(|| sys::deadline_after(plan.alive_for));
            if Instant::now() >= until {
                return Ok(Some(pid));
            }
        } else if self.exec_closed && self.status_closed {
            // One that is about to exit closes it, too, as soon as it begins to.
            let until = *alive_until.get_or_insert_with(|| sys::deadline_after(EXIT_GRACE));
            if Instant::now() >= until {
                return Err(pipe_lost());
            }
        }
        Ok(None)
    }

    /// Waits for one thing to happen.
    fn turn(&mut self, plan: &LaunchPlan, wake: Instant) -> Result<()> {
        let process = self.process();
        let must_ask = process.is_some_and(|process| process.exit_event().is_none());
        let wake = if must_ask { wake.min(Instant::now() + EXIT_POLL) } else { wake };
        let (exec_ready, status_ready) = {
            let [signals, abort] = self.interrupts.events();
            let events = [
                (!self.exec_closed).then(|| self.ends.exec.as_fd()),
                (!self.status_closed).then(|| self.ends.status.as_fd()),
                process.and_then(Process::exit_event),
                signals,
                abort,
            ];
            let mut fds: Vec<PollFd<'_>> =
                events.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
            sys::poll(&mut fds, Some(wake)).map_err(|errno| Error::system(Step::Wait, errno))?;
            let is_ready = |fd: &OwnedFd| fds.iter().any(|poll| is_same(poll, fd.as_fd()) && poll.any() != Some(false));
            (!self.exec_closed && is_ready(&self.ends.exec), !self.status_closed && is_ready(&self.ends.status))
        };
        if exec_ready {
            self.read_frames(plan)?;
        }
        if status_ready {
            self.read_reports()?;
        }
        Ok(())
    }

    fn read_frames(&mut self, plan: &LaunchPlan) -> Result<()> {
        while !self.exec_closed && has_input(self.ends.exec.as_fd()) {
            self.exec_closed |= read_some(self.ends.exec.as_fd(), &mut self.frames)?;
        }
        while let Some((frame, _)) = self.frames.split_first_chunk::<FRAME_LENGTH>() {
            let frame = Frame::decode(*frame);
            self.frames.drain(..FRAME_LENGTH);
            match frame {
                Some(Frame::Forked { pid, sibling }) => {
                    let process =
                        self.host.open_daemon(pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
                    self.daemon = Some(Daemon { pid, sibling, process });
                    self.ends.hold = None;
                }
                Some(Frame::Failed { step, index, errno }) => {
                    let step = Step::from_number(step).unwrap_or(Step::Exec);
                    self.failure = Some(plan.failure_at(step, index, Errno::from_raw(errno)));
                }
                None => {}
            }
        }
        if self.exec_closed {
            self.host.close_descriptors();
            self.reached = self.reached.max(Some(WaitFor::Exec));
        }
        Ok(())
    }

    fn read_reports(&mut self) -> Result<()> {
        // Once: a program that writes there without end must not keep the launcher from looking at the time.
        if !self.status_closed && has_input(self.ends.status.as_fd()) {
            self.status_closed = read_some(self.ends.status.as_fd(), &mut self.reports)?;
        }
        for report in Report::take(&mut self.reports) {
            match report {
                Report::Started => self.reached = self.reached.max(Some(WaitFor::Start)),
                Report::Ready => self.reached = Some(WaitFor::Ready),
                Report::Exiting(code) => self.exit_code = Some(code),
                Report::Failed(reason) => {
                    self.failure = Some(Error::StartFailed { exit: None, reason: Some(reason) });
                }
                Report::FailedStep { step, errno, path } => self.failure = Some(Error::System { step, errno, path }),
            }
        }
        Ok(())
    }

    /// Lets a daemon that said why it failed exit, and adds how it did.
    fn with_exit(&mut self, error: Error) -> Error {
        let Error::StartFailed { exit: None, reason } = error else { return error };
        let ended = self.await_end();
        let _newest = self.read_reports();
        Error::StartFailed { exit: ended.then(|| self.exit()), reason }
    }

    /// How the daemon ended: by the kernel's word, else by its own.
    fn exit(&self) -> Exit {
        let by_kernel = self.daemon.as_ref().filter(|daemon| daemon.sibling).and_then(|daemon| peek_exit(daemon.pid));
        by_kernel.or(self.exit_code.map(Exit::Code)).unwrap_or(Exit::Unknown)
    }

    /// The leader ended before it could tell of a daemon.
    fn leader_lost(&mut self) -> Error {
        let exit = self.host.leaders().last().and_then(peek_exit).unwrap_or(Exit::Unknown);
        Error::StartFailed { exit: None, reason: Some(format!("its session leader {exit} before it had forked")) }
    }

    /// Ends whatever the start has brought into being, and reaps it.
    fn undo(&mut self) {
        self.host.give_up();
        self.ends.hold = None;
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + UNDO_GRACE;
        while Instant::now() < deadline && self.daemon_lives() && self.no_second_signal() {
            let process = self.process();
            let events =
                [process.and_then(Process::exit_event), self.interrupts.signals.as_ref().map(SignalWatch::event)];
            let mut fds: Vec<PollFd<'_>> =
                events.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
            let wake = if events[0].is_some() { deadline } else { Instant::now() + EXIT_POLL };
            if sys::poll(&mut fds, Some(wake)).is_err() {
                break;
            }
        }
        self.signal(libc::SIGKILL);
        // Nothing survives SIGKILL; what hangs in the kernel is not waited for, it ends before it runs again.
        let deadline = Instant::now() + EXIT_GRACE;
        if let Some(Daemon { pid, sibling, process: Some(process) }) = &self.daemon
            && process.wait(deadline)
            && *sibling
        {
            reap(Pid::from_raw(*pid), deadline);
        }
        // What still forks is killed as soon as it can be; then nobody runs in this memory any more. A child that hangs in the
        // kernel never comes back to it either.
        while !self.host.has_ended() && Instant::now() < deadline {
            std::thread::sleep(EXIT_POLL);
            self.signal(libc::SIGKILL);
        }
        // The leader's zombie kept the group's id until here. A leader killed before it told of its daemon leaves that
        // daemon as an unknown child in the group.
        for leader in self.host.leaders() {
            reap(Pid::from_raw(-leader), deadline);
        }
        self.let_go();
    }

    /// Whether the daemon is about to end, or has: its descriptors go an instant before it does.
    fn is_ending(&self) -> bool {
        self.daemon_pid().is_some_and(sys::is_dying) || !self.daemon_lives()
    }

    /// Whether one that is about to end has ended, which may take a moment.
    fn await_end(&self) -> bool {
        self.process().is_none_or(|process| process.wait(Instant::now() + EXIT_GRACE))
    }

    fn process(&self) -> Option<&Process> {
        self.daemon.as_ref().and_then(|daemon| daemon.process.as_ref())
    }

    fn daemon_lives(&self) -> bool {
        self.process().is_some_and(|process| !process.has_ended())
    }

    fn no_second_signal(&self) -> bool {
        self.interrupts.signals.as_ref().is_none_or(|signals| signals.take().is_none())
    }

    /// To the leader and whoever is in its process group, and to a daemon that has left it. Those that are gone already need
    /// none, and a daemon that gets SIGTERM twice would not wind down.
    fn signal(&self, signal: i32) {
        if let Some(Daemon { pid, process: Some(process), .. }) = &self.daemon
            && !getpgid(Some(Pid::from_raw(*pid)))
                .is_ok_and(|group| self.host.leaders().any(|pid| pid == group.as_raw()))
        {
            let _gone = process.signal(signal);
        }
        for target in self.host.leaders().flat_map(|leader| [leader, -leader]) {
            // SAFETY: kill touches no memory. The leader is not reaped yet, so both numbers are still its own.
            unsafe { libc::kill(target, signal) };
        }
    }

    fn let_go(&mut self) {
        self.ends.hold = None;
        self.host.let_go();
    }

    fn captured(&self) -> Vec<u8> {
        self.ends.memory.as_ref().map_or_else(Vec::new, |memory| read_tail(memory.as_fd(), 0))
    }

    fn stderr_tail(&self, plan: &LaunchPlan) -> Vec<u8> {
        match (&plan.stderr, self.ends.traces.last_log()) {
            (Stream::File(_), Some(log)) => log.tail(),
            _ => self.captured(),
        }
    }
}

/// The daemon lives, but the lock that it was handed is gone.
fn lock_lost() -> Error {
    not_handed_on("it has closed the pidfile that it was handed, and holds no lock on it")
}

/// Nobody is left who could say that the daemon is up.
fn pipe_lost() -> Error {
    not_handed_on("it has closed the pipe on which it was to say that it is up")
}

fn not_handed_on(what: &str) -> Error {
    let reason = format!(
        "{what}, as a wrapper does that closes descriptors (sudo) or leaves the work to a child (npx): start the program itself"
    );
    Error::StartFailed { exit: None, reason: Some(reason) }
}

fn is_same(poll: &PollFd<'_>, fd: BorrowedFd<'_>) -> bool {
    poll.as_fd().as_raw_fd() == fd.as_raw_fd()
}

/// Reads what is there, which is no more than a pipe holds; true at end of file.
fn read_some(pipe: BorrowedFd<'_>, into: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    let read = retry(|| nix::unistd::read(pipe, &mut buffer)).map_err(|errno| Error::system(Step::Wait, errno))?;
    into.extend(buffer.iter().take(read));
    Ok(read == 0)
}

fn has_input(pipe: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pipe, PollFlags::POLLIN)];
    sys::poll(&mut fds, Some(Instant::now())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::frame::tests::any_bytes;
    use crate::plan::LaunchPlan;
    use crate::property::holds;
    use crate::stdio::LogFile;

    #[test]
    fn whatever_a_daemon_writes_into_the_status_pipe_its_launcher_knows_the_outcome() {
        let input = std::env::temp_dir().join(format!("daemonry-status-{}", std::process::id()));
        let plan = LaunchPlan {
            arguments: vec!["sh".into(), "-c".into(), "cat >&3".into()],
            stdin: Stream::File(LogFile::new(&input)),
            wait_for: WaitFor::Ready,
            ..LaunchPlan::new("/bin/sh")
        };
        holds("daemon that writes them", 50, &any_bytes(), |bytes| {
            fs::write(&input, &bytes).expect("the temporary directory can be written");
            let reports = Report::take(&mut bytes.clone());
            match launch(&plan) {
                Ok(_) => assert!(reports.contains(&Report::Ready)),
                Err(LaunchFailure { error: Error::StartFailed { .. }, .. }) => {}
                Err(LaunchFailure { error: Error::System { step, errno, path }, .. }) => {
                    assert!(reports.contains(&Report::FailedStep { step, errno, path }));
                }
                Err(failure) => panic!("{failure}"),
            }
        });
        fs::remove_file(&input).expect("it is there");
    }
}
