//! How long other processes are waited for, and how often they are checked.

use std::time::{Duration, SystemTime};

use crate::error::Result;

/// For a holder of the lock that is not an instance: the gap between a lock and its text, or between a SIGKILL and the death.
pub(super) const UNPROVEN_PATIENCE: Duration = Duration::from_millis(600);

/// For a starter that has no process yet. It needs milliseconds unless the machine is overloaded.
pub(super) const STARTER_PATIENCE: Duration = Duration::from_secs(4);

/// For the death of a process that was killed, or is exiting.
pub(super) const EXIT_PATIENCE: Duration = Duration::from_secs(5);

/// For an instance that was asked to stop and has not reported how long that takes.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Beyond the time that an instance has reported: what it needs to exit.
const STOP_SLACK: Duration = Duration::from_secs(2);

/// How long an instance may take to stop, by the time that it has reported, if any.
pub(super) fn stop_timeout(stops_within: Option<Duration>) -> Duration {
    stops_within.map_or(STOP_TIMEOUT, |within| within.saturating_add(STOP_SLACK))
}

/// How long the start of another instance may take to begin when one was stopped for it: the program may have to boot first.
pub(super) const REPLACEMENT_PATIENCE: Duration = Duration::from_secs(30);

/// What is left for the others in a session when its main process took all the time.
pub(super) const SESSION_GRACE: Duration = Duration::from_secs(1);

/// Between two checks of a session that is being stopped.
pub(super) const SESSION_PAUSE: Duration = Duration::from_millis(10);

/// Between two tries, jittered between half and the whole of it.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A pause that nothing interrupts.
#[expect(clippy::unnecessary_wraps, reason = "a start can be interrupted in the same place")]
pub(crate) fn sleep(pause: Duration) -> Result<()> {
    std::thread::sleep(pause);
    Ok(())
}

/// Between half of `pause` and all of it, so that starters that collided do not collide again.
pub(super) fn jittered(pause: Duration) -> Duration {
    let noise = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let noise = noise.wrapping_mul(2_654_435_761).wrapping_add(std::process::id().wrapping_mul(40_503)) >> 16;
    pause / 2 + pause / 2 * (noise & 0xff) / 256
}

/// How often an instance is looked for before what only its pidfile shows is believed.
pub(super) const LOOKS: u32 = 3;
