//! The launcher's side of a start: fork, wait until the outcome is known, undo what failed.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::error::{Error, Exit, Result, Step};
use crate::frame::{FRAME_LENGTH, Frame, Report};
use crate::host::{EXIT_GRACE, EXIT_POLL, Host};
use crate::instance::{Acquired, IfRunning, Status, status};
use crate::interrupt::Interrupts;
use crate::last_words::last_words;
use crate::listen::Endpoint;
use crate::pidfile::PidFile;
use crate::pinned::PinnedPlan;
use crate::plan::{Descriptors, LaunchPlan, LauncherEnds, Prepared, WaitFor};
use crate::signals::SignalWatch;
use crate::stdio::{Stream, read_tail};
use crate::store::Record;
use crate::sys::{self, Process, peek_exit, retry};
use crate::takeover::{Takeover, patience};

mod undo;
pub use undo::Advice;

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
    /// Why its journal could not be written, if it could not.
    pub unwritten: Option<Error>,
}

/// A start that failed and was undone: no process of the caller's, lock or file of it is left.
#[derive(Debug)]
pub struct LaunchFailure {
    /// Why.
    pub error: Error,
    /// The pid that the daemon had, if it came that far.
    pub pid: Option<i32>,
    /// What it wrote to its stderr, where that is a file or captured; at most the last 8 KiB.
    pub stderr: Vec<u8>,
    /// Whether another instance was stopped to make room for it, so that none runs now.
    pub is_down: bool,
    /// How many other processes that the daemon had started were ended with it, in whatever session.
    pub others_ended: u32,
    /// How many of them run on, because they are another user's.
    pub others_left: u32,
    /// What to do about it, if it has left others running.
    pub advice: Option<Advice>,
}

impl From<Error> for LaunchFailure {
    fn from(error: Error) -> Self {
        Self { error, pid: None, stderr: Vec::new(), is_down: false, others_ended: 0, others_left: 0, advice: None }
    }
}

impl LaunchFailure {
    /// What happened: the beginning of the whole text.
    pub fn sentence(&self) -> String {
        let left = match self.others_left {
            0 => String::new(),
            1 => " (1 process of another user that it started still runs)".to_owned(),
            left => format!(" ({left} processes of other users that it started still run)"),
        };
        format!("{}{left}", self.error)
    }

    /// What the daemon wrote that says most about why, if it gave no reason itself; to follow a colon.
    pub fn last_words(&self) -> Option<String> {
        let gives_no_reason =
            matches!(self.error, Error::StartFailed { reason: None, .. } | Error::StartTimeout { .. });
        if gives_no_reason { last_words(&self.stderr) } else { None }
    }
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        // An exit with 0 is explained by the advice alone.
        let words = self.last_words().filter(|_| self.advice != Some(Advice::Foreground));
        let reasons: Vec<_> = words.into_iter().chain(self.advice.map(|advice| advice.text().to_owned())).collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, ": {}", reasons.join("; ")) }
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
    plan.pin()?.launch()
}

impl PinnedPlan {
    /// Does what [`launch`] does.
    ///
    /// # Errors
    ///
    /// Those of [`launch`].
    pub fn launch(mut self) -> std::result::Result<Started, LaunchFailure> {
        // Before there is anything to undo.
        let signals = self.launcher_leaves.then(SignalWatch::install).transpose()?;
        let interrupts = Interrupts { signals, abort: self.abort.clone() };
        interrupts.check()?;
        let mut timeout = self.start_timeout;
        if self.needs_resolver() {
            if let Some(pid) = find_running(&self, &interrupts)? {
                return Ok(reuse(&self, pid)?);
            }
            // Before anything is locked: a resolver that hangs keeps no other caller out.
            let begun = Instant::now();
            self.resolve(timeout, &interrupts)?;
            timeout = timeout.saturating_sub(begun.elapsed());
        }
        let Some(path) = &self.pid_file else {
            return launch_locked(&self, None, timeout, &interrupts);
        };
        let rehearse = || self.rehearse_beside(&interrupts);
        let takeover = Takeover::begin(&self, path, &interrupts, &rehearse)?;
        self.find_or_launch(&takeover, timeout, &interrupts).map_err(|failure| takeover.explain(failure))
    }

    fn find_or_launch(
        &self,
        takeover: &Takeover<'_>,
        timeout: Duration,
        interrupts: &Interrupts,
    ) -> std::result::Result<Started, LaunchFailure> {
        let plan = self;
        let (pid_file, replaces, waited) = match takeover.find()? {
            Acquired::Free { pid_file, replaces, waited } => (pid_file, replaces, waited),
            Acquired::Running { pid, .. } => return Ok(reuse(plan, pid)?),
        };
        let left = patience(plan).saturating_sub(waited).min(timeout);
        let said = plan.stop_timeout.map_or(Ok(()), |timeout| pid_file.mark_stop_timeout(timeout));
        let outcome =
            said.map_err(LaunchFailure::from).and_then(|()| launch_locked(plan, Some(&pid_file), left, interrupts));
        if let Err(failure) = &outcome {
            let is_restart = plan.stops_before.is_some() && plan.if_running == IfRunning::Reuse;
            let joins = is_restart && matches!(failure.error, Error::StartFailed { .. }) && pid_file.is_replaced();
            // Why the start failed matters more than a file that stays behind and means nothing.
            let _left = pid_file.remove();
            if joins {
                // Another restart has ended it, and starts the next.
                drop(pid_file);
                return self.find_or_launch(takeover, timeout, interrupts);
            }
        }
        outcome.map(|started| if replaces { Started { outcome: Outcome::Replaced, ..started } } else { started })
    }
}

/// The daemon that runs already, unless the plan would replace it: to find it, no host name has to be resolved.
fn find_running(plan: &PinnedPlan, interrupts: &Interrupts) -> Result<Option<i32>> {
    let replaces =
        plan.if_running == IfRunning::Replace || plan.if_running == IfRunning::Reuse && plan.version.is_some();
    let Some(path) = plan.pid_file.as_ref().filter(|_| !replaces) else { return Ok(None) };
    let is_held = |status| matches!(status, Status::Running { .. } | Status::Starting { .. } | Status::Stopping { .. });
    if !status(path).is_ok_and(is_held) {
        return Ok(None);
    }
    match Takeover::begin(plan, path, interrupts, &|| Ok(()))?.find()? {
        Acquired::Running { pid, .. } => Ok(Some(pid)),
        // It has ended since.
        Acquired::Free { pid_file, .. } => pid_file.remove().map(|()| None),
    }
}

/// The daemon that runs already, if it is of the program that the plan is about. A version says that by itself.
fn reuse(plan: &LaunchPlan, pid: i32) -> Result<Started> {
    let record = plan.record.as_ref().filter(|_| plan.version.is_none());
    match record.map_or(Ok(None), |record| record.other_program(pid))? {
        Some(other) => Err(other),
        None => {
            Ok(Started { outcome: Outcome::Reused, pid, stderr: Vec::new(), listeners: Vec::new(), unwritten: None })
        }
    }
}

fn launch_locked(
    plan: &PinnedPlan,
    pid_file: Option<&PidFile>,
    timeout: Duration,
    interrupts: &Interrupts,
) -> std::result::Result<Started, LaunchFailure> {
    let record = plan.record.as_ref().map_or(Ok(None), Record::place)?;
    let unbegun = pid_file.and_then(|pid_file| pid_file.note_start().err());
    let outcome = launch_recorded(plan, pid_file, timeout, interrupts);
    if let (Err(_), Some(record)) = (&outcome, record) {
        record.restore();
    }
    let Some(pid_file) = pid_file else { return outcome };
    match outcome {
        Ok(started) => Ok(Started { unwritten: pid_file.note_up().err().or(unbegun), ..started }),
        Err(failure) => {
            // Why the start failed matters more.
            let _unwritten = pid_file.note_failure(failure.pid, failure.to_string());
            Err(failure)
        }
    }
}

fn launch_recorded(
    plan: &PinnedPlan,
    pid_file: Option<&PidFile>,
    timeout: Duration,
    interrupts: &Interrupts,
) -> std::result::Result<Started, LaunchFailure> {
    let (prepared, descriptors, ends) = Prepared::new(plan, pid_file)?;
    let mut start = Start::begin(prepared, descriptors, ends, interrupts)?;
    match start.wait(plan, pid_file, timeout) {
        Ok(pid) => {
            if let Some(pid_file) = pid_file {
                pid_file.hand_over();
            }
            let stderr = start.captured();
            start.let_go();
            start.ends.traces.keep();
            let listeners = std::mem::take(&mut start.ends.endpoints);
            Ok(Started { outcome: Outcome::Started, pid, stderr, listeners, unwritten: None })
        }
        Err(error) => Err(start.undo(error, plan)),
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
pub(crate) struct Start<'a> {
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
    /// What a step that failed says besides.
    failed_index: u8,
    exit_code: Option<i32>,
}

impl<'a> Start<'a> {
    pub(crate) fn begin(
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
            failed_index: 0,
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
            if let Some(pid) = self.settled(plan, pid_file, &mut alive_until)? {
                if plan.is_up_at_exec() {
                    return Ok(pid);
                }
                let is_over = sys::is_exiting(pid);
                let is_stopping = pid_file.is_some_and(PidFile::is_stopping);
                if !is_over && !is_stopping || was_stopped(pid_file) {
                    return Ok(pid);
                }
                // One that was killed before its exec closed the pipes, too, an instant before it can be seen to have ended.
                if is_over {
                    let _ended = self.await_end();
                    continue;
                }
                // One that is stopping already is not up; how it ends is reported when it has.
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

    /// Waits for the end of a child that executes nothing. A step that failed is returned with its index.
    pub(crate) fn rehearse(&mut self, plan: &LaunchPlan, timeout: Duration) -> std::result::Result<(), (Error, u8)> {
        let deadline = sys::deadline_after(timeout);
        while !self.exec_closed && self.failure.is_none() {
            if Instant::now() >= deadline {
                return Err((Error::StartTimeout { limit: timeout }, 0));
            }
            self.interrupts.check().and_then(|()| self.turn(plan, deadline)).map_err(|error| (error, 0))?;
        }
        self.failure.take().map_or(Ok(()), |error| Err((error, self.failed_index)))
    }

    /// What is known now: up, failed (an error), or not yet.
    fn settled(
        &mut self,
        plan: &LaunchPlan,
        pid_file: Option<&PidFile>,
        alive_until: &mut Option<Instant>,
    ) -> Result<Option<i32>> {
        self.interrupts.check()?;
        if let Some(error) = self.failure.take() {
            return Err(self.with_exit(error));
        }
        let Some(daemon) = &self.daemon else {
            return if self.exec_closed { Err(self.leader_lost()) } else { Ok(None) };
        };
        let pid = daemon.pid;
        let has_ended = daemon.process.as_ref().is_none_or(Process::has_ended);
        if has_ended {
            self.read_rest(plan)?;
        }
        if plan.is_up_at_exec() && self.reached.is_some() {
            return Ok(Some(pid));
        }
        if has_ended {
            if self.failure.is_none() && was_stopped(pid_file) {
                return Ok(Some(pid));
            }
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
                }
                Some(Frame::Failed { step, index, errno }) => {
                    let step = Step::from_number(step).unwrap_or(Step::Exec);
                    self.failed_index = index;
                    self.failure = Some(plan.failure_at(step, index, Errno::from_raw(errno)));
                }
                None => {}
            }
        }
        if self.exec_closed && self.ends.hold.is_some() {
            if self.has_executed() {
                self.reached = self.reached.max(Some(WaitFor::Exec));
            }
            self.ends.hold = None;
            self.host.close_descriptors();
        }
        Ok(())
    }

    /// What a daemon that has ended said last may still be in the pipes, of which its leader may still have one open.
    fn read_rest(&mut self, plan: &LaunchPlan) -> Result<()> {
        let deadline = Instant::now() + EXIT_GRACE;
        while !self.exec_closed && Instant::now() < deadline {
            let mut event = [PollFd::new(self.ends.exec.as_fd(), PollFlags::POLLIN)];
            sys::poll(&mut event, Some(deadline)).map_err(|errno| Error::system(Step::Wait, errno))?;
            self.read_frames(plan)?;
        }
        self.read_reports()
    }

    /// Whether the daemon has executed its program: its end closes the exec pipe, too.
    fn has_executed(&self) -> bool {
        let Some(Daemon { pid, process, .. }) = &self.daemon else { return false };
        let is_over = sys::is_exiting(*pid) || process.as_ref().is_none_or(Process::has_ended);
        !is_over || self.host.has_executed(*pid)
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

    /// Whether one that is about to end has ended, which may take a moment.
    fn await_end(&self) -> bool {
        self.process().is_none_or(|process| process.wait(Instant::now() + EXIT_GRACE))
    }

    fn process(&self) -> Option<&Process> {
        self.daemon.as_ref().and_then(|daemon| daemon.process.as_ref())
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

/// Whether another caller has stopped the daemon since it was up: the start has succeeded then, however soon that was.
fn was_stopped(pid_file: Option<&PidFile>) -> bool {
    pid_file.is_some_and(PidFile::was_stopped_when_up)
}

/// No process is left that could say that the daemon is up.
fn pipe_lost() -> Error {
    let reason = "it closed the pipe on which it has to report that it is up, as a wrapper does that closes descriptors (sudo) or leaves the work to a child (npx): start the program itself";
    Error::StartFailed { exit: None, reason: Some(reason.to_owned()) }
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
