//! What a service is besides its main process: the processes of the session that the start made, or that the main process has made
//! for itself.
//!
//! A member is ours as long as the main process, which is proven, lives; those that were seen then stay ours. Later the number can be
//! that of another session, and only a process with the mark of the start is ours. Each is opened before it is inspected.
//!
//! Of a start that has failed whatever came from it is ended, in other sessions too: a program that puts itself into the background
//! makes one. Such a program may have overwritten its environment with a title (nginx), but still has the pipe of its start.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{Pid, getsid};

use super::prove::keys;
use super::timing::{EXIT_PATIENCE, SESSION_PAUSE};
use crate::error::{Error, Result};
use crate::pidfile;
use crate::state::{Claim, KillMode, Life, Seen, SessionMark, Settled, permits};
use crate::sys::{self, Process};

/// The other processes of a service.
pub(crate) struct Session<'a> {
    /// The numbers that the session has, or may have.
    numbers: Vec<i32>,
    main: i32,
    /// The variable of the start's mark.
    mark: String,
    uids: &'a [u32],
    /// Whose lock it is.
    owner: u32,
    proof: Proof,
}

/// What says that a process is of the service.
enum Proof {
    /// It was among these, which were seen while the main process lived; else its mark.
    Seen(Vec<Member>),
    /// Its mark.
    Mark,
    /// It is in the session of a leader that is not reaped yet. Otherwise it has the mark or this pipe, and is not older than the start.
    FailedStart { pipe: (u64, u64), since: u64 },
}

/// What identifies the processes of one start, in whatever session they are.
pub(crate) struct Origin {
    pub(crate) mark: SessionMark,
    /// The pipe on which the daemon was to say that it is up.
    pub(crate) pipe: (u64, u64),
    /// The real uids that they may have.
    pub(crate) uids: Vec<u32>,
}

/// A process of it.
pub(crate) struct Member {
    pub(crate) pid: i32,
    process: Process,
    /// Whether it is of the service, and what of the service the caller may signal; otherwise it is only counted.
    pub(super) is_ours: bool,
}

/// What became of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Others {
    /// How many have ended since they were asked to, or killed.
    pub(crate) ended: u32,
    /// How many run on: they are another user's, or cannot be proven to be of the session.
    pub(crate) left: u32,
    /// One of those that were asked to end, and did not in time.
    pub(crate) stubborn: Option<i32>,
}

impl Others {
    /// Nothing has stopped as long as a part of it runs.
    pub(super) fn refuse_stubborn(&self, limit: Duration) -> Result<()> {
        self.stubborn.map_or(Ok(()), |pid| Err(Error::StopTimeout { pid, limit }))
    }
}

impl Member {
    /// Asks it to end, if it is ours to ask. A suspended process handles the signal only when it continues.
    pub(crate) fn ask(&self) {
        for signal in [libc::SIGTERM, libc::SIGCONT].into_iter().filter(|_| self.is_ours) {
            let _gone = self.process.signal(signal);
        }
    }
}

impl<'a> Session<'a> {
    /// Of an instance whose main process is held by `main`.
    pub(super) fn of(claim: &'a Claim, owner: u32, main: &Process) -> Self {
        let session = Self::of_ended(claim, owner);
        let seen = session.all().collect();
        Self { proof: if main.has_ended() { Proof::Mark } else { Proof::Seen(seen) }, ..session }
    }

    /// Of one that has ended.
    pub(super) fn of_ended(claim: &'a Claim, owner: u32) -> Self {
        let Claim { session, pid: main, kill_mode, uids, session_mark, .. } = claim;
        let has_session = *session > 0 && *kill_mode == KillMode::Session;
        let numbers = if has_session { vec![*session, *main] } else { Vec::new() };
        Self { numbers, main: *main, mark: session_mark.variable(), uids, owner, proof: Proof::Mark }
    }

    /// Of a start by the caller that has failed, with session leaders that are not reaped yet. The main process may be unknown.
    pub(crate) fn of_failed_start(origin: &'a Origin, leaders: Vec<i32>, main: Option<i32>) -> Self {
        let Origin { mark, uids, pipe } = origin;
        let since = leaders.iter().filter_map(|leader| sys::facts(*leader)).map(|facts| facts.start).min();
        let proof = Proof::FailedStart { pipe: *pipe, since: since.unwrap_or(0) };
        let owner = nix::unistd::geteuid().as_raw();
        Self { numbers: leaders, main: main.unwrap_or(0), mark: mark.variable(), uids, owner, proof }
    }

    /// Ends what is left after the main process: SIGTERM, `grace`, and if `force` SIGKILL. What they start meanwhile is ended as
    /// well. Those that were `asked` already get no second SIGTERM.
    pub(crate) fn end(
        &self,
        mut asked: Vec<Member>,
        grace: Duration,
        force: bool,
        pause: &dyn Fn(Duration) -> Result<()>,
    ) -> Result<Others> {
        let begun = Instant::now();
        let limit = grace.saturating_add(if force { EXIT_PATIENCE } else { Duration::ZERO });
        asked.retain(|member| member.is_ours);
        let mut killed = false;
        let mut is_quiet = false;
        loop {
            let mut left = 0;
            for member in self.members() {
                if !member.is_ours {
                    left += 1;
                    continue;
                }
                if asked.iter().all(|known| known.pid != member.pid || known.process.has_ended()) {
                    member.ask();
                    asked.push(member);
                }
            }
            let stubborn = asked.iter().find(|member| !member.process.has_ended()).map(|member| member.pid);
            let is_over = begun.elapsed() >= limit;
            // One look can miss a process that is just being forked.
            let was_quiet = std::mem::replace(&mut is_quiet, stubborn.is_none());
            if is_quiet && !was_quiet {
                continue;
            }
            if is_quiet || is_over {
                let ended = asked.iter().filter(|member| member.process.has_ended()).count();
                return Ok(Others { ended: u32::try_from(ended).unwrap_or(u32::MAX), left, stubborn });
            }
            if force && (killed || begun.elapsed() >= grace) {
                // Again and again: of those that fork meanwhile, too.
                killed = true;
                for member in &asked {
                    let _gone = member.process.signal(libc::SIGKILL);
                }
            }
            pause(SESSION_PAUSE)?;
        }
    }

    /// The live processes of the session, without the main process, the leaders and the caller; for a failed start also those elsewhere.
    fn all(&self) -> impl Iterator<Item = Member> {
        let is_anywhere = matches!(self.proof, Proof::FailedStart { .. });
        let pids = (is_anywhere || !self.numbers.is_empty()).then(sys::processes).into_iter().flatten();
        let own = std::process::id().cast_signed();
        let is_other = move |pid: &i32| ![own, self.main].contains(pid) && !self.numbers.contains(pid);
        let is_member = move |pid| {
            getsid(Some(Pid::from_raw(pid))).is_ok_and(|found| self.numbers.contains(&found.as_raw()))
                || self.came_from_failed_start(pid)
        };
        pids.filter(is_other).filter(move |pid| is_member(*pid)).filter_map(move |pid| {
            let process = Process::open(pid).ok()??;
            // Between the look and the opening the pid can have become another process's.
            let facts = sys::facts(pid).filter(|_| is_member(pid) && !process.has_ended())?;
            Some(Member { pid, process, is_ours: permits(self.uids, facts.uid, self.owner) })
        })
    }

    /// Whether a process of whatever session came from the start that has failed.
    fn came_from_failed_start(&self, pid: i32) -> bool {
        let Proof::FailedStart { pipe, since } = self.proof else { return false };
        sys::facts(pid).is_some_and(|facts| facts.start >= since)
            && (sys::has_variable(pid, &self.mark) == Some(true) || sys::hands_on(pid, pipe))
    }

    /// The same without those of a later session that has the number by now.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        self.all().filter_map(move |member| {
            let is_known = |known: &Member| known.pid == member.pid && !known.process.has_ended();
            let is_seen = match &self.proof {
                Proof::FailedStart { .. } => return Some(member),
                Proof::Seen(seen) if seen.iter().any(is_known) => return Some(member),
                proof => matches!(proof, Proof::Seen(_)),
            };
            match sys::has_variable(member.pid, &self.mark) {
                Some(has) => has.then_some(member),
                None => is_seen.then_some(Member { is_ours: false, ..member }),
            }
        })
    }
}

/// The processes that end when the instance of the pidfile at `path` is stopped.
pub(crate) fn processes_of(path: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for key in keys(path)? {
        match key.settle()? {
            Settled::Live(seen) => {
                let Seen { claim, life, .. } = *seen;
                pids.push(claim.pid);
                if let Life::Alive(process) | Life::Exiting(process) = life {
                    pids.extend(Session::of(&claim, key.owner(), &process).members().map(|member| member.pid));
                }
            }
            Settled::Held { ended: Some(last) } | Settled::Nothing { ended: Some(last) } => {
                pids.extend(Session::of_ended(&last.claim, key.owner()).members().map(|member| member.pid));
            }
            Settled::Held { ended: None } | Settled::Nothing { ended: None } => {}
        }
    }
    // Root can have started it as this user.
    pids.extend(pidfile::look(path).ok().flatten().and_then(|outside| outside.pid));
    Ok(pids)
}
