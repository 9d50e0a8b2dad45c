//! Undoing a start that has failed: nothing that it has brought into being runs on.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::unistd::{Pid, getpgid};

use super::fork_thread::{EXIT_GRACE, EXIT_POLL, reap};
use super::outcome::{Advice, LaunchFailure};
use super::pinned::PinnedPlan;
use super::signal_watch::SignalWatch;
use super::start::{Daemon, Start};
use crate::error::{Error, Result};
use crate::instance::{Others, Session, sleep};
use crate::sys::{self, Process};

/// Between the SIGTERM and the SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

impl Start<'_> {
    /// Undoes a start that has failed.
    pub(super) fn undo(&mut self, error: Error, plan: &PinnedPlan) -> LaunchFailure {
        let (had_others, Others { ended, left, .. }) = self.end_all();
        let advice = if had_others { Advice::on(&error) } else { None };
        let (pid, stderr) = (self.daemon_pid(), self.stderr_tail(plan));
        LaunchFailure { error, pid, stderr, is_down: false, others_ended: ended, others_left: left, advice }
    }

    /// Ends whatever the start has brought into being, in whatever session, and reaps it. Returns whether there was more than the
    /// daemon, and what became of that.
    pub(crate) fn end_all(&mut self) -> (bool, Others) {
        self.fork_thread.give_up();
        self.ends.hold = None;
        let deadline = Instant::now() + GRACE;
        let session =
            Session::of_failed_start(&self.ends.origin, self.fork_thread.leaders().collect(), self.daemon_pid());
        let others: Vec<_> = session.members().collect();
        let had_others = !others.is_empty();
        self.signal(libc::SIGTERM);
        for other in others.iter().filter(|other| !self.is_in_group(other.pid)) {
            other.ask();
        }
        let may_take_time = self.wait_for_daemon(deadline);
        self.wait_for_leader();
        self.signal(libc::SIGKILL);
        // Nothing survives SIGKILL; what hangs in the kernel is not waited for, it ends before it runs again.
        let last = Instant::now() + EXIT_GRACE;
        if let Some(Daemon { pid, sibling, process: Some(process) }) = &self.daemon
            && process.wait(last)
            && *sibling
        {
            reap(Pid::from_raw(*pid), last);
        }
        // A process that is still being forked is killed as soon as it can be; then none is left in this memory. A child that hangs
        // in the kernel does not return to it either.
        while !self.fork_thread.has_ended() && Instant::now() < last {
            std::thread::sleep(EXIT_POLL);
            self.signal(libc::SIGKILL);
        }
        let grace = if may_take_time { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
        let others = session
            .end(others, grace, true, &|pause| self.pause(pause))
            .or_else(|_| session.end(Vec::new(), Duration::ZERO, true, &sleep))
            .unwrap_or_default();
        // Until here, the leader's zombie kept the numbers of its group and session from being used again. If a leader was killed
        // before it reported its daemon, that daemon is an unknown child in the group.
        for leader in self.fork_thread.leaders() {
            reap(Pid::from_raw(-leader), last);
        }
        self.let_go();
        (had_others, others)
    }

    /// Until it has ended; false if that is not waited for any longer because of a second signal.
    fn wait_for_daemon(&self, deadline: Instant) -> bool {
        while Instant::now() < deadline && self.process().is_some_and(|process| !process.has_ended()) {
            if !self.no_second_signal() {
                return false;
            }
            let process = self.process();
            let events =
                [process.and_then(Process::exit_event), self.interrupts.signals.as_ref().map(SignalWatch::event)];
            let mut fds: Vec<PollFd<'_>> =
                events.iter().flatten().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
            let wake = if events[0].is_some() { deadline } else { Instant::now() + EXIT_POLL };
            if sys::poll(&mut fds, Some(wake)).is_err() {
                break;
            }
        }
        true
    }

    /// Once its daemon has ended, a leader looks how, and ends. If it were killed in the middle of that, the table of descriptors that it
    /// shares with this process would keep what it has open.
    fn wait_for_leader(&self) {
        let last = Instant::now() + EXIT_GRACE;
        let has_ended = || self.process().is_some_and(Process::has_ended);
        while has_ended() && !self.fork_thread.has_ended() && Instant::now() < last {
            std::thread::sleep(EXIT_POLL / 10);
        }
    }

    fn no_second_signal(&self) -> bool {
        self.interrupts.signals.as_ref().is_none_or(|signals| signals.take().is_none())
    }

    /// Sleeps, or fails because of a second signal.
    fn pause(&self, pause: Duration) -> Result<()> {
        if self.no_second_signal() { sleep(pause) } else { Err(Error::StartAborted) }
    }

    /// Signals the leader, its process group, and a daemon that has left that group. Processes that have ended need no signal, and a
    /// daemon that gets SIGTERM twice would not finish its work.
    fn signal(&self, signal: i32) {
        if let Some(Daemon { pid, process: Some(process), .. }) = &self.daemon
            && !self.is_in_group(*pid)
        {
            let _gone = process.signal(signal);
        }
        for target in self.fork_thread.leaders().flat_map(|leader| [leader, -leader]) {
            // SAFETY: kill touches no memory. The leader is not reaped yet, so both numbers are still its own.
            unsafe { libc::kill(target, signal) };
        }
    }

    fn is_in_group(&self, pid: i32) -> bool {
        getpgid(Some(Pid::from_raw(pid))).is_ok_and(|group| self.fork_thread.leaders().any(|pid| pid == group.as_raw()))
    }
}
