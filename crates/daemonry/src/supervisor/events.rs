//! The event loop: signals, the reports of the service, and the time.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::logs::{self, Beginning};
use super::machine::{Machine, State, Then};
use super::process::{FailedStep, ServiceProcess};
use super::signals::Signals;
use super::sockets::Sockets;
use crate::error::{Error, Result, Step};
use crate::instance::Supervised;
use crate::launch::Order;
use crate::pidfile::{Kept, PidFile};
use crate::protocol::{Report, WaitFor};
use crate::state::{KillMode, Service, ServiceFile, ServiceState};
use crate::stdio::Stream;
use crate::store::EventKind;
use crate::sys::{self, Exit};

/// Between two checks whether the pidfile is in its place.
const UPKEEP: Duration = Duration::from_secs(5);

/// Beyond the time that a start may take: what its launcher needs to roll it back.
const ROLL_BACK: Duration = Duration::from_secs(5);

pub(super) struct Supervisor {
    order: Order,
    machine: Machine,
    /// Where the launcher listens, until the first process is up.
    launcher: Option<Arc<File>>,
    pid_file: Arc<PidFile>,
    instance: Supervised,
    service_file: ServiceFile,
    signals: Signals,
    sockets: Sockets,
    process: Option<ServiceProcess>,
    /// Whether the launcher knows that the first process has come so far as it waits for.
    has_reached: bool,
    log: Beginning,
    /// Of the process that has started last.
    last_pid: i32,
    next_upkeep: Duration,
}

/// What an event comes to.
enum Turn {
    GoesOn,
    /// The service is over; whether as it was intended.
    Over {
        is_orderly: bool,
    },
}

impl Supervisor {
    pub(super) fn begin(mut order: Order, launcher: Option<Arc<File>>, pid_file: Arc<PidFile>) -> Result<Self> {
        let signals = Signals::install()?;
        let sockets = Sockets::adopt(&mut order)?;
        let instance = Supervised::own(pid_file.path())?;
        let service_file = instance.service_file()?;
        Ok(Self {
            machine: Machine::new(order.supervision.restart, order.supervision.limit),
            order,
            launcher,
            pid_file,
            instance,
            service_file,
            signals,
            sockets,
            process: None,
            has_reached: false,
            log: Beginning::now(),
            last_pid: 0,
            next_upkeep: sys::monotonic() + UPKEEP,
        })
    }

    /// Until the service is over; true if it has ended as it was intended.
    pub(super) fn run(mut self) -> Result<bool> {
        let mut turn = self.start();
        loop {
            if let Turn::Over { is_orderly } = turn {
                return Ok(is_orderly);
            }
            self.wait()?;
            turn = self.turn()?;
        }
    }

    /// Until something has happened, or it is time for something.
    fn wait(&self) -> Result<()> {
        let now = sys::monotonic();
        let wake = self.next_time().saturating_sub(now);
        let mut fds = vec![PollFd::new(self.signals.event(), PollFlags::POLLIN)];
        fds.extend(self.process.iter().flat_map(ServiceProcess::events).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        sys::poll(&mut fds, Some(Instant::now() + wake)).map(drop).map_err(|errno| Error::system(Step::Wait, errno))
    }

    /// When something is to be done next, whatever happens.
    fn next_time(&self) -> Duration {
        let next = match (self.machine.state(), &self.process) {
            (State::Waiting { until }, _) => Some(until),
            (State::Starting, Some(process)) => Some(self.up_at(process).unwrap_or_else(|| self.deadline(process))),
            _ => None,
        };
        next.map_or(self.next_upkeep, |next| next.min(self.next_upkeep))
    }

    /// When a process is up that has reached the point which its start waits for.
    fn up_at(&self, process: &ServiceProcess) -> Option<Duration> {
        let (point, at) = process.reached?;
        (point >= self.order.plan.wait_for).then(|| at + self.order.plan.alive_for)
    }

    /// When a start has failed that has not come so far. The launcher of the first one rolls it back before.
    fn deadline(&self, process: &ServiceProcess) -> Duration {
        process.begun + self.order.plan.start_timeout + ROLL_BACK
    }

    fn turn(&mut self) -> Result<Turn> {
        for signal in self.signals.take() {
            if signal != libc::SIGCHLD
                && let turn @ Turn::Over { .. } = self.pass_on(signal)
            {
                return Ok(turn);
            }
        }
        self.reap();
        let now = sys::monotonic();
        if let Some(process) = &mut self.process {
            let reports = process.read(now)?;
            self.hear(&reports);
        }
        if self.process.as_ref().is_some_and(|process| process.exit.is_some()) {
            return Ok(self.ended());
        }
        if self.machine.state() == State::Starting
            && let Some(process) = &self.process
        {
            match self.up_at(process) {
                Some(at) if now >= at => self.up(now),
                None if now >= self.deadline(process) => self.kill(now),
                _ => {}
            }
        }
        if self.machine.is_due(now) {
            return Ok(self.start());
        }
        if now >= self.next_upkeep {
            self.next_upkeep = now + UPKEEP;
            return Ok(self.keep_pid_file());
        }
        Ok(Turn::GoesOn)
    }

    /// Starts the next process in a fresh image. What cannot be started is a failure like any other.
    fn start(&mut self) -> Turn {
        let now = sys::monotonic();
        self.log = Beginning::now();
        match self.fork() {
            Ok(process) => {
                self.last_pid = process.pid;
                self.process = Some(process);
                self.note_state(ServiceState::Starting);
                Turn::GoesOn
            }
            Err(error) => {
                let report = match &error {
                    Error::System { step, errno, path } => {
                        Report::FailedStep { step: *step, errno: *errno, path: path.clone() }
                    }
                    error => Report::Failed(error.to_string()),
                };
                self.report(&report);
                self.failed_to_start(now, error.to_string())
            }
        }
    }

    fn fork(&self) -> Result<ServiceProcess> {
        let is_first = self.machine.restarts() == 0;
        if !is_first {
            logs::reopen(&self.order)?;
        }
        let mut plan = self.order.plan.clone();
        for stream in [&mut plan.stdin, &mut plan.stdout, &mut plan.stderr] {
            *stream = Stream::Inherit;
        }
        let captures = is_first && self.order.plan.stderr == Stream::Capture;
        let pinned = plan.pin()?.below(self.instance.mark(), captures);
        Ok(ServiceProcess::new(pinned.fork_service()?, sys::monotonic()))
    }

    /// Reports to the launcher, as long as that listens.
    fn report(&self, report: &Report) {
        if let Some(launcher) = &self.launcher {
            let _has_left = launcher.as_ref().write_all(&report.encode());
        }
    }

    /// Passes on what the launcher of the first process waits for.
    fn hear(&mut self, reports: &[Report]) {
        if let Some(process) = &self.process
            && self.machine.state() == State::Starting
            && let Some((point, at)) = process.reached
            && point >= self.order.plan.wait_for
            && !self.has_reached
        {
            self.reached(point, at);
        }
        for report in reports {
            if matches!(report, Report::Failed(_) | Report::FailedStep { .. }) {
                self.report(report);
            }
        }
    }

    /// The first process has reached the point that the launcher waits for.
    fn reached(&mut self, point: WaitFor, at: Duration) {
        let alive_for = self.order.plan.alive_for;
        self.has_reached = true;
        // Whatever becomes of the launcher.
        complain(self.pid_file.mark_up_after((at + alive_for).saturating_sub(sys::monotonic())));
        let launcher = self.launcher.take();
        if alive_for.is_zero() {
            self.up(at);
        }
        if let Some(launcher) = &launcher {
            let report = if point >= WaitFor::Ready { Report::Ready } else { Report::Started };
            let _has_left = launcher.as_ref().write_all(&report.encode());
        }
        // How it ends until then is for the launcher, too.
        if !alive_for.is_zero() {
            self.launcher = launcher;
        }
    }

    fn up(&mut self, now: Duration) {
        let was_up = self.machine.was_up();
        self.machine.up(now);
        self.note_state(ServiceState::Up);
        if let Some(process) = &mut self.process {
            process.let_go();
        }
        if was_up {
            complain(self.instance.note(vec![EventKind::Up { pid: self.last_pid }]));
        } else {
            complain(logs::end_capture(&self.order));
            self.launcher = None;
        }
    }

    /// Ends a process that does not come up.
    fn kill(&mut self, now: Duration) {
        if let Some(process) = &mut self.process {
            process.signal(libc::SIGKILL);
            // One that hangs in the kernel is killed again later, not all the time.
            process.begun = now;
        }
    }

    fn reap(&mut self) {
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return,
                _ => continue,
            };
            if let Some(process) = self.process.as_mut().filter(|process| process.pid == pid.as_raw()) {
                process.exit = Some(exit);
            }
        }
    }

    /// A signal that another process has sent to this one.
    fn pass_on(&mut self, signal: i32) -> Turn {
        // A stop may have chosen any other one.
        let asks = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT].contains(&signal) || self.instance.is_being_stopped();
        if asks {
            complain(self.pid_file.mark_stopping());
            if self.machine.ask_to_stop() {
                return self.over(Exit::Code(0), None, true);
            }
        }
        if let Some(process) = &self.process {
            // A program that boots has no handler yet, and the others would end it.
            if asks || matches!(self.machine.state(), State::Up { .. }) {
                process.signal(if signal == libc::SIGTERM { self.order.supervision.kill_signal } else { signal });
                if asks {
                    process.signal(libc::SIGCONT);
                }
            }
        }
        Turn::GoesOn
    }

    /// The process has ended and is reaped.
    fn ended(&mut self) -> Turn {
        let now = sys::monotonic();
        let Some(mut process) = self.process.take() else { return Turn::GoesOn };
        if let Ok(reports) = process.read(now) {
            self.hear(&reports);
        }
        let exit = process.exit.unwrap_or(Exit::Unknown);
        if let Some(FailedStep { step, index, errno }) = process.failed_step {
            self.report(&Report::ServiceFailed { step, index, errno });
            let error = self.order.plan.pin().map(|plan| plan.failure_at(step, index, errno));
            return self.failed_to_start(now, error.unwrap_or_else(|error| error).to_string());
        }
        let was_up = self.machine.was_up();
        let words = self.log.last_words(&self.order);
        match self.machine.ended(now, Some(exit)) {
            Then::Restart { after } => {
                let end = Supervised::end_of_service(exit, words);
                self.wait_for_restart(after, EventKind::Exit { pid: process.pid, end });
                Turn::GoesOn
            }
            Then::End if !was_up => {
                self.report(&Report::ServiceEnded(exit));
                self.never_up()
            }
            Then::End => self.over(exit, words, !super::machine::is_failure(exit)),
            Then::GiveUp => {
                eprint("the daemon was restarted too often: its supervisor gives up\n");
                self.over(exit, words, false)
            }
        }
    }

    /// The next process could not be started, or has failed before its program was executed.
    fn failed_to_start(&mut self, now: Duration, reason: String) -> Turn {
        let was_up = self.machine.was_up();
        match self.machine.ended(now, None) {
            Then::Restart { after } => {
                eprint(&format!("the daemon cannot be restarted: {reason}\n"));
                self.wait_for_restart(after, EventKind::Failed { pid: None, reason });
                Turn::GoesOn
            }
            Then::End if !was_up => self.never_up(),
            Then::GiveUp | Then::End => self.over(Exit::Code(1), Some(reason), false),
        }
    }

    fn wait_for_restart(&mut self, after: Duration, kind: EventKind) {
        let until = SystemTime::now() + after;
        self.note_state(ServiceState::Waiting { until });
        let restarting = EventKind::Restarting { restarts: self.machine.restarts(), delay: after };
        complain(self.instance.note(vec![kind, restarting]));
        self.end_rest();
    }

    /// Ends what the service has left in its session, unless its kill mode leaves that alone.
    fn end_rest(&self) {
        if self.order.plan.kill_mode == KillMode::Session {
            complain(self.instance.end_rest());
        }
    }

    /// The first process has failed: its launcher reports that and rolls the start back.
    fn never_up(&mut self) -> Turn {
        self.launcher = None;
        complain(self.pid_file.release());
        Turn::Over { is_orderly: false }
    }

    /// The service is over: nothing of it stays, and its end is on record.
    fn over(&mut self, exit: Exit, words: Option<String>, is_orderly: bool) -> Turn {
        self.sockets.close();
        if let Some(words) = words {
            complain(self.pid_file.mark_last_words(&words));
        }
        complain(self.pid_file.mark_exit(exit));
        complain(self.instance.note_last_end());
        if !self.instance.is_being_stopped() {
            self.end_rest();
        }
        complain(self.pid_file.release());
        Turn::Over { is_orderly }
    }

    fn note_state(&self, state: ServiceState) {
        let service = Service { pid: self.last_pid, restarts: self.machine.restarts(), state };
        complain(self.service_file.write(service));
    }

    /// A pidfile that was removed is made again; another process that has its lock is the daemon by now.
    fn keep_pid_file(&mut self) -> Turn {
        match self.pid_file.keep() {
            Ok(Kept::Superseded { .. }) => self.pass_on(libc::SIGTERM),
            _ => Turn::GoesOn,
        }
    }
}

/// What cannot be written down changes nothing of what is done; the log has the reason.
fn complain(outcome: Result<()>) {
    if let Err(error) = outcome {
        eprint(&format!("{error}\n"));
    }
}

/// To standard error, which is the log of the service; one that cannot be written is no reason to end.
fn eprint(text: &str) {
    let _unwritten = std::io::stderr().write_all(text.as_bytes());
}
