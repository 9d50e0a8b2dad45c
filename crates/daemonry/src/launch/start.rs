//! A start under way: the launcher waits until the daemon is up or has failed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use super::descriptors::Descriptors;
use super::fork_thread::{EXIT_GRACE, EXIT_POLL, ForkThread};
use super::interrupts::Interrupts;
use super::pinned::PinnedPlan;
use super::prepare::{LauncherEnds, Prepared};
use crate::error::{Error, Result, Step};
use crate::pidfile::PidFile;
use crate::protocol::{FRAME_LENGTH, Frame, Report, WaitFor};
use crate::stdio::{Stream, read_tail};
use crate::sys::{self, Exit, Process, peek_exit, retry};

pub(super) struct Daemon {
    pub(super) pid: i32,
    /// The launcher's own child, whose exit status it can reap.
    pub(super) sibling: bool,
    /// `None` when the process was gone before the launcher could get hold of it.
    pub(super) process: Option<Process>,
}

/// A start under way.
pub(crate) struct Start<'a> {
    pub(super) fork_thread: ForkThread,
    pub(super) daemon: Option<Daemon>,
    pub(super) ends: LauncherEnds,
    pub(super) interrupts: &'a Interrupts,
    /// What the process launches, if that is a supervisor.
    pub(super) service: Option<&'a PinnedPlan>,
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
    /// How the service below a supervisor has ended.
    service_end: Option<Exit>,
}

impl<'a> Start<'a> {
    pub(crate) fn begin(
        prepared: Prepared,
        descriptors: Descriptors,
        ends: LauncherEnds,
        interrupts: &'a Interrupts,
    ) -> Result<Self> {
        let hold = ends.hold.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let fork_thread = ForkThread::begin(prepared, descriptors, hold)?;
        Ok(Self {
            fork_thread,
            daemon: None,
            ends,
            interrupts,
            service: None,
            exec_closed: false,
            status_closed: false,
            frames: Vec::new(),
            reports: Vec::new(),
            reached: None,
            failure: None,
            failed_index: 0,
            exit_code: None,
            service_end: None,
        })
    }

    pub(super) fn daemon_pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(|daemon| daemon.pid)
    }

    /// Waits until the daemon is up, and has stayed so, or has failed.
    pub(super) fn wait(&mut self, plan: &PinnedPlan, pid_file: Option<&PidFile>, timeout: Duration) -> Result<i32> {
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
                // A daemon that was killed before its exec closes the pipes, too, an instant before its end can be seen.
                if is_over {
                    let _ended = self.await_end();
                    continue;
                }
                // A daemon that is stopping is not up; how it ends is reported when it has ended.
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
    pub(crate) fn rehearse(&mut self, plan: &PinnedPlan, timeout: Duration) -> std::result::Result<(), (Error, u8)> {
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
        plan: &PinnedPlan,
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
            // A daemon that is about to exit closes it, too, as soon as it begins to.
            let until = *alive_until.get_or_insert_with(|| sys::deadline_after(EXIT_GRACE));
            if Instant::now() >= until {
                return Err(pipe_lost());
            }
        }
        Ok(None)
    }

    /// Waits for one thing to happen.
    fn turn(&mut self, plan: &PinnedPlan, wake: Instant) -> Result<()> {
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

    fn read_frames(&mut self, plan: &PinnedPlan) -> Result<()> {
        while !self.exec_closed && sys::is_readable(self.ends.exec.as_fd()) {
            self.exec_closed |= read_some(self.ends.exec.as_fd(), &mut self.frames)?;
        }
        while let Some((frame, _)) = self.frames.split_first_chunk::<FRAME_LENGTH>() {
            let frame = Frame::decode(*frame);
            self.frames.drain(..FRAME_LENGTH);
            match frame {
                Some(Frame::Forked { pid, sibling }) => {
                    let process =
                        self.fork_thread.open_daemon(pid).map_err(|errno| Error::system(Step::OpenProcess, errno))?;
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
            self.fork_thread.close_descriptors();
        }
        Ok(())
    }

    /// What a daemon that has ended said last may still be in the pipes, of which its leader may still have one open.
    fn read_rest(&mut self, plan: &PinnedPlan) -> Result<()> {
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
        !is_over || self.fork_thread.has_executed(*pid)
    }

    fn read_reports(&mut self) -> Result<()> {
        // Once: a program that writes there without end must not keep the launcher from looking at the time.
        if !self.status_closed && sys::is_readable(self.ends.status.as_fd()) {
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
                Report::ServiceFailed { step, index, errno } => {
                    self.failure = self.service.map(|plan| plan.failure_at(step, index, errno));
                }
                Report::ServiceEnded(exit) => self.service_end = Some(exit),
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
        if let Some(exit) = self.service_end {
            return exit;
        }
        let by_kernel = self.daemon.as_ref().filter(|daemon| daemon.sibling).and_then(|daemon| peek_exit(daemon.pid));
        by_kernel.or(self.exit_code.map(Exit::Code)).unwrap_or(Exit::Unknown)
    }

    /// The leader ended before it had reported a daemon.
    fn leader_lost(&mut self) -> Error {
        let exit = self.fork_thread.leaders().last().and_then(peek_exit).unwrap_or(Exit::Unknown);
        Error::StartFailed { exit: None, reason: Some(format!("its session leader {exit} before it had forked")) }
    }

    /// Whether one that is about to end has ended, which may take a moment.
    fn await_end(&self) -> bool {
        self.process().is_none_or(|process| process.wait(Instant::now() + EXIT_GRACE))
    }

    pub(super) fn process(&self) -> Option<&Process> {
        self.daemon.as_ref().and_then(|daemon| daemon.process.as_ref())
    }

    pub(super) fn let_go(&mut self) {
        self.ends.hold = None;
        self.fork_thread.let_go();
    }

    pub(super) fn captured(&self) -> Vec<u8> {
        self.ends.memory.as_ref().map_or_else(Vec::new, |memory| read_tail(memory.as_fd(), 0))
    }

    pub(super) fn stderr_tail(&self, plan: &PinnedPlan) -> Vec<u8> {
        match (&plan.stderr, self.ends.created.last_log()) {
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
