//! One process of a service, from its fork to its end, and what it reports meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::error::{Error, Result, Step};
use crate::launch::Forked;
use crate::protocol::{FRAME_LENGTH, Frame, Report, WaitFor};
use crate::sys::{self, Exit, retry};

/// A step of the child that failed, with the one of several things that has this index.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailedStep {
    pub(super) step: Step,
    pub(super) index: u8,
    pub(super) errno: Errno,
}

/// A process of the service that has not been reaped.
#[derive(Debug)]
pub(super) struct ServiceProcess {
    pub(super) pid: i32,
    /// When it was forked.
    pub(super) begun: Duration,
    exec: Option<OwnedFd>,
    status: Option<OwnedFd>,
    frames: Vec<u8>,
    reports: Vec<u8>,
    /// The farthest point that it has reached, and when.
    pub(super) reached: Option<(WaitFor, Duration)>,
    pub(super) failed_step: Option<FailedStep>,
    /// How it has ended.
    pub(super) exit: Option<Exit>,
}

impl ServiceProcess {
    pub(super) fn new(Forked { pid, exec, status }: Forked, begun: Duration) -> Self {
        Self {
            pid,
            begun,
            exec: Some(exec),
            status: Some(status),
            frames: Vec::new(),
            reports: Vec::new(),
            reached: None,
            failed_step: None,
            exit: None,
        }
    }

    /// Readable when it has reported something.
    pub(super) fn events(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.exec, &self.status].into_iter().flatten().map(AsFd::as_fd)
    }

    /// It is up: from now on it reports nothing that its supervisor waits for, and knows that no process listens.
    pub(super) fn let_go(&mut self) {
        self.status = None;
    }

    /// Sends it a signal. Its pid is its own until it is reaped.
    pub(super) fn signal(&self, signal: i32) {
        if self.exit.is_none() {
            let _gone = nix::sys::signal::kill(Pid::from_raw(self.pid), Signal::try_from(signal).ok());
        }
    }

    /// Takes what it has reported since; what it reports about its failure and its state is for the launcher, too.
    pub(super) fn read(&mut self, now: Duration) -> Result<Vec<Report>> {
        self.read_exec_pipe(now)?;
        // Once: a program that writes there without end must not keep its supervisor from everything else.
        if let Some(status) = &self.status
            && sys::is_readable(status.as_fd())
            && read_some(status.as_fd(), &mut self.reports)?
        {
            self.status = None;
        }
        let reports = Report::take(&mut self.reports);
        for report in &reports {
            match report {
                Report::Started => self.reach(WaitFor::Start, now),
                Report::Ready => self.reach(WaitFor::Ready, now),
                _ => {}
            }
        }
        Ok(reports)
    }

    fn reach(&mut self, point: WaitFor, now: Duration) {
        if self.reached.is_none_or(|(reached, _)| reached < point) {
            self.reached = Some((point, now));
        }
    }

    fn read_exec_pipe(&mut self, now: Duration) -> Result<()> {
        while let Some(exec) = self.exec.as_ref().filter(|exec| sys::is_readable(exec.as_fd())) {
            if !read_some(exec.as_fd(), &mut self.frames)? {
                continue;
            }
            self.exec = None;
            let frame = self.frames.first_chunk::<FRAME_LENGTH>().and_then(|frame| Frame::decode(*frame));
            match frame {
                Some(Frame::Failed { step, index, errno }) => {
                    let step = Step::from_number(step).unwrap_or(Step::Exec);
                    self.failed_step = Some(FailedStep { step, index, errno: Errno::from_raw(errno) });
                }
                _ => self.reach(WaitFor::Exec, now),
            }
        }
        Ok(())
    }
}

/// Reads what is there; true at end of file.
fn read_some(pipe: BorrowedFd<'_>, into: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 4096];
    let read = retry(|| nix::unistd::read(pipe, &mut buffer)).map_err(|errno| Error::system(Step::Wait, errno))?;
    into.extend(buffer.iter().take(read));
    Ok(read == 0)
}
