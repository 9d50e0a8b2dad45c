//! The states of a supervised service and what follows from its end, without a process, a clock or a file: every time is an argument.
//!
//! ```text
//!            up                  ended, to be restarted
//! Starting ──────▶ Up        Starting, Up ──────▶ Waiting ──────▶ Starting
//!                                                        its time has come
//! any state, asked to stop or not to be restarted: Over, once no process runs
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::supervision::{Restart, RestartLimit};
use crate::sys::{Exit, is_request};

/// The delay of a first restart.
pub(super) const SHORTEST_DELAY: Duration = Duration::from_millis(100);

/// What the delay does not exceed, however often it was doubled.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A service that has been up for so long is considered healthy: the next delay is the shortest again.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its process runs, and is not up yet.
    Starting,
    /// It has been up since then.
    Up { since: Duration },
    /// It has no process, and gets the next one then.
    Waiting { until: Duration },
}

/// What follows from the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next one is started after this delay.
    Restart { after: Duration },
    /// The limit of restarts is reached.
    GiveUp,
    /// The service is over.
    End,
}

/// A service between two events.
#[derive(Debug)]
pub(super) struct Machine {
    restart: Restart,
    limit: Option<RestartLimit>,
    state: State,
    is_asked_to_stop: bool,
    /// One that has never been up is reported to its launcher instead of being restarted.
    was_up: bool,
    delay: Duration,
    restarts: u32,
    /// When the latest restarts were decided, no more of them than the limit counts.
    latest: VecDeque<Duration>,
}

impl Machine {
    /// A service whose first process is about to be started.
    pub(super) fn new(restart: Restart, limit: Option<RestartLimit>) -> Self {
        Self {
            restart,
            limit,
            state: State::Starting,
            is_asked_to_stop: false,
            was_up: false,
            delay: SHORTEST_DELAY,
            restarts: 0,
            latest: VecDeque::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// How many times it was restarted.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Whether its first process has come up.
    pub(super) fn was_up(&self) -> bool {
        self.was_up
    }

    /// Its process is up.
    pub(super) fn up(&mut self, now: Duration) {
        if self.state == State::Starting {
            self.state = State::Up { since: now };
            self.was_up = true;
        }
    }

    /// It was asked to stop: whatever its process does, no other one follows. True if there is no process, so that it is over now.
    pub(super) fn ask_to_stop(&mut self) -> bool {
        self.is_asked_to_stop = true;
        matches!(self.state, State::Waiting { .. })
    }

    /// Whether the next process is to be started now.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = matches!(self.state, State::Waiting { until } if now >= until);
        if is_due {
            self.state = State::Starting;
        }
        is_due
    }

    /// Its process has ended, or could not be started, which is a failure without an exit.
    pub(super) fn ended(&mut self, now: Duration, exit: Option<Exit>) -> Then {
        let is_wanted = match self.restart {
            Restart::No => false,
            Restart::OnFailure => exit.is_none_or(is_failure),
            Restart::Always => true,
        };
        if self.is_asked_to_stop || !self.was_up || !is_wanted {
            return Then::End;
        }
        if let State::Up { since } = self.state
            && now.saturating_sub(since) >= HEALTHY_AFTER
        {
            self.delay = SHORTEST_DELAY;
        }
        if !self.is_within_limit(now) {
            return Then::GiveUp;
        }
        let after = self.delay;
        self.delay = (after * 2).min(LONGEST_DELAY);
        self.restarts = self.restarts.saturating_add(1);
        self.state = State::Waiting { until: now + after };
        Then::Restart { after }
    }

    /// Whether one more restart is within the limit, which then counts it.
    fn is_within_limit(&mut self, now: Duration) -> bool {
        let Some(RestartLimit { times, within }) = self.limit else { return true };
        self.latest.retain(|at| now.saturating_sub(*at) < within);
        let is_within = u32::try_from(self.latest.len()).is_ok_and(|count| count < times);
        if is_within {
            self.latest.push_back(now);
        }
        is_within
    }
}

/// Whether an end is a failure: another code than 0, or a signal that is not one of those by which a program is asked to end.
pub(super) fn is_failure(exit: Exit) -> bool {
    match exit {
        Exit::Code(code) => code != 0,
        Exit::Signal(signal) => !is_request(signal),
        Exit::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, Strategy, prop_oneof};

    use super::*;
    use crate::property::holds;

    const CRASH: Option<Exit> = Some(Exit::Code(1));

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn up_at(restart: Restart, limit: Option<RestartLimit>, now: Duration) -> Machine {
        let mut machine = Machine::new(restart, limit);
        machine.up(now);
        machine
    }

    #[test]
    fn what_an_end_means() {
        let failures = [Exit::Code(1), Exit::Code(255), Exit::Signal(libc::SIGSEGV), Exit::Signal(libc::SIGKILL)];
        let orderly =
            [Exit::Code(0), Exit::Signal(libc::SIGTERM), Exit::Signal(libc::SIGINT), Exit::Signal(libc::SIGHUP)];
        for exit in failures {
            assert_eq!(
                up_at(Restart::OnFailure, None, seconds(1)).ended(seconds(2), Some(exit)),
                Then::Restart { after: SHORTEST_DELAY },
                "{exit}"
            );
            assert_eq!(up_at(Restart::No, None, seconds(1)).ended(seconds(2), Some(exit)), Then::End, "{exit}");
        }
        for exit in orderly {
            assert_eq!(up_at(Restart::OnFailure, None, seconds(1)).ended(seconds(2), Some(exit)), Then::End, "{exit}");
            assert_eq!(
                up_at(Restart::Always, None, seconds(1)).ended(seconds(2), Some(exit)),
                Then::Restart { after: SHORTEST_DELAY },
                "{exit}"
            );
        }
    }

    #[test]
    fn the_delay_doubles_up_to_half_a_minute_and_is_short_again_after_a_minute_up() {
        let mut machine = up_at(Restart::OnFailure, None, Duration::ZERO);
        let mut delays = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..12 {
            let Then::Restart { after } = machine.ended(now, CRASH) else { panic!("it is restarted") };
            delays.push(u64::try_from(after.as_millis()).expect("it is short"));
            assert!(!machine.is_due(now + after.saturating_sub(Duration::from_millis(1))));
            now += after;
            assert!(machine.is_due(now));
            machine.up(now);
            now += HEALTHY_AFTER.saturating_sub(Duration::from_millis(1));
        }
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        now += Duration::from_millis(1);
        assert_eq!(machine.ended(now, CRASH), Then::Restart { after: SHORTEST_DELAY });
        assert_eq!(machine.restarts(), 13);
    }

    #[test]
    fn a_process_that_cannot_be_started_again_counts_as_a_failure() {
        let mut machine = up_at(Restart::OnFailure, None, seconds(1));
        machine.ended(seconds(2), CRASH);
        assert!(machine.is_due(seconds(3)));
        assert_eq!(machine.ended(seconds(3), None), Then::Restart { after: 2 * SHORTEST_DELAY });
    }

    #[test]
    fn a_first_process_that_never_came_up_is_not_restarted() {
        assert_eq!(Machine::new(Restart::Always, None).ended(seconds(1), CRASH), Then::End);
    }

    #[test]
    fn a_stop_ends_it_at_once_while_it_waits_and_after_its_process_otherwise() {
        let mut waiting = up_at(Restart::Always, None, seconds(1));
        waiting.ended(seconds(2), CRASH);
        assert!(waiting.ask_to_stop());
        let mut up = up_at(Restart::Always, None, seconds(1));
        assert!(!up.ask_to_stop());
        assert_eq!(up.ended(seconds(2), CRASH), Then::End);
    }

    #[test]
    fn it_gives_up_when_the_limit_is_reached_within_its_time_and_not_before() {
        let limit = Some(RestartLimit { times: 2, within: seconds(10) });
        let mut machine = up_at(Restart::OnFailure, limit, Duration::ZERO);
        let mut crash = |at: u64| {
            let then = machine.ended(seconds(at), CRASH);
            machine.is_due(seconds(at) + LONGEST_DELAY);
            machine.up(seconds(at));
            then
        };
        assert!(matches!(crash(0), Then::Restart { .. }));
        assert!(matches!(crash(5), Then::Restart { .. }));
        assert!(matches!(crash(10), Then::Restart { .. }), "the first one is too long ago to count");
        assert_eq!(crash(14), Then::GiveUp);
    }

    #[derive(Debug, Clone)]
    enum Happens {
        Up,
        Ends(Option<Exit>),
        Stop,
        Passes(u64),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        let exit = prop_oneof![(0..3).prop_map(Exit::Code), (1..16).prop_map(Exit::Signal)];
        prop_oneof![
            3 => Just(Happens::Up),
            3 => option::of(exit).prop_map(Happens::Ends),
            1 => Just(Happens::Stop),
            3 => (0..100_000_u64).prop_map(Happens::Passes),
        ]
    }

    #[test]
    fn whatever_happens_no_process_follows_a_stop_and_no_delay_is_out_of_bounds() {
        let restart = prop_oneof![Just(Restart::No), Just(Restart::OnFailure), Just(Restart::Always)];
        let limit = option::of((0..4_u32, 0..100_u64))
            .prop_map(|limit| limit.map(|(times, within)| RestartLimit { times, within: seconds(within) }));
        holds("events", 1000, &(restart, limit, vec(happens(), 0..60)), |(restart, limit, events)| {
            let mut machine = Machine::new(restart, limit);
            let (mut now, mut has_process, mut is_over, mut stopped) = (Duration::ZERO, true, false, false);
            for event in events {
                if is_over {
                    break;
                }
                match event {
                    Happens::Up if has_process => machine.up(now),
                    Happens::Ends(exit) if has_process => {
                        has_process = false;
                        match machine.ended(now, exit) {
                            Then::Restart { after } => {
                                assert!(!stopped && restart != Restart::No);
                                assert!((SHORTEST_DELAY..=LONGEST_DELAY).contains(&after));
                                assert_eq!(machine.state(), State::Waiting { until: now + after });
                            }
                            Then::GiveUp => {
                                assert!(limit.is_some());
                                is_over = true;
                            }
                            Then::End => is_over = true,
                        }
                    }
                    Happens::Stop => {
                        stopped = true;
                        is_over = machine.ask_to_stop();
                        assert_eq!(is_over, !has_process);
                    }
                    Happens::Passes(millis) => {
                        now += Duration::from_millis(millis);
                        if machine.is_due(now) {
                            assert!(!stopped && !has_process);
                            has_process = true;
                        }
                    }
                    Happens::Up | Happens::Ends(_) => {}
                }
                assert_eq!(matches!(machine.state(), State::Waiting { .. }) && !is_over, !has_process && !is_over);
            }
        });
    }
}
