//! One transition at a time: a lock that is held only while it is decided whether, and how, an instance is stopped, and never
//! while its end is waited for. Its text says what was decided before the signal is sent, behind a line that counts the stops
//! that were requested: one more cancels a restart that is under way.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use super::claim::Claim;
use super::key::Key;
use crate::error::{Error, Result, Step};
use crate::sys::{self, TIME_WIDTH};

/// The right to decide.
#[derive(Debug)]
pub(crate) struct Transition {
    file: OwnedFd,
}

impl Transition {
    /// `None` where there is no such file, or another process does not let go of it.
    pub(crate) fn begin(key: &Key) -> Result<Option<Self>> {
        let Some(file) = key.open("transition", OFlag::O_RDWR, Step::TakeLock)? else { return Ok(None) };
        Ok(key.lock_soon(file.as_fd(), "transition")?.then_some(Self { file }))
    }

    /// Writes down that this instance is being stopped, since now, by the caller, who says in one line who that is; another one
    /// takes its place if the stop `replaces` it.
    pub(crate) fn stop(&self, key: &Key, claim: &Claim, replaces: bool, by: &str) -> Result<()> {
        let failed = |errno| Error::at(Step::WriteLock, key.place("transition"))(errno);
        let count = first_line(read_count(&self.file).map_err(failed)?);
        let text = format!("{count}{}since {}\n{by}\n", subject(claim, replaces), now());
        // Not emptied before: the block that it has may not be had again.
        sys::write_start(self.file.as_fd(), text.as_bytes()).map_err(failed)?;
        nix::unistd::ftruncate(&self.file, text.len().try_into().unwrap_or(0)).map_err(failed)
    }

    /// Nothing was decided, because the signal could not be sent.
    pub(crate) fn take_back(&self) {
        let _undone = nix::unistd::ftruncate(&self.file, FIRST_LINE);
    }
}

/// Counts one more request to stop, whatever runs.
pub(crate) fn count_stop(key: &Key) -> Result<()> {
    let failed = |errno| Error::at(Step::WriteLock, key.place("transition"))(errno);
    let Some(Transition { file }) = Transition::begin(key)? else { return Ok(()) };
    let count = read_count(&file).map_err(failed)?;
    sys::write_start(file.as_fd(), first_line(count.wrapping_add(1)).as_bytes()).map_err(failed)
}

/// How many stops were requested so far.
pub(crate) fn stops(key: &Key) -> Result<u64> {
    let Some(file) = key.open("transition", OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(0) };
    read_count(&file).map_err(Error::at(Step::ReadLock, key.place("transition")))
}

/// The length of the line with the count, which never changes.
const FIRST_LINE: libc::off_t = 21;

fn first_line(count: u64) -> String {
    format!("{count:0TIME_WIDTH$}\n")
}

fn read_count(file: &OwnedFd) -> nix::Result<u64> {
    let bytes = sys::read_start(file.as_fd(), TIME_WIDTH)?;
    let count = bytes.get(..TIME_WIDTH).and_then(|digits| std::str::from_utf8(digits).ok());
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// Makes the file that [`Transition::begin`] needs.
pub(super) fn create(key: &Key) -> Result<()> {
    let failed = |errno| Error::at(Step::WriteLock, key.place("transition"))(errno);
    let Some(file) = key.open("transition", OFlag::O_RDWR | OFlag::O_CREAT, Step::WriteLock)? else { return Ok(()) };
    if nix::sys::stat::fstat(&file).map_err(failed)?.st_size == 0 {
        // Takes the block now in which the rest will lie: a disk that is full later keeps nothing from being stopped.
        sys::write_start(file.as_fd(), first_line(0).as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// Empties it, for an instance that is forgotten.
pub(super) fn clear(key: &Key) -> Result<()> {
    let Some(transition) = Transition::begin(key)? else { return Ok(()) };
    nix::unistd::ftruncate(&transition.file, 0).map_err(Error::at(Step::WriteLock, key.place("transition")))
}

/// More than this is no decision.
const MOST: usize = 16 * 1024;

/// What another process has decided about an instance: it is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Another one is to take its place.
    pub(crate) replaces: bool,
    /// Who has decided it, as that process says.
    pub(crate) by: String,
    /// What came of it, once that was seen.
    pub(crate) outcome: Option<Outcome>,
}

/// How an instance that was to stop did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was seen to end at this time.
    Ended(SystemTime),
    /// It did not, and was killed.
    Killed(SystemTime),
}

/// The decision about this very instance.
pub(super) fn read(key: &Key, claim: &Claim) -> Result<Option<Decision>> {
    let Some(file) = key.open("transition", OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(None) };
    let bytes = sys::read_start(file.as_fd(), MOST).map_err(Error::at(Step::ReadLock, key.place("transition")))?;
    Ok(parse(&bytes, claim))
}

fn parse(bytes: &[u8], claim: &Claim) -> Option<Decision> {
    let (_count, text) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split_once('\n')?;
    let replaces = [false, true].into_iter().find(|replaces| text.starts_with(&subject(claim, *replaces)))?;
    let mut lines = text.lines().skip(1);
    let by = lines.next().unwrap_or_default().to_owned();
    let at = |millis: &str| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?));
    let done = lines.next().and_then(|line| line.split_once(' '));
    let outcome = match done.and_then(|(what, millis)| Some((what, at(millis)?))) {
        Some(("ended", at)) => Some(Outcome::Ended(at)),
        Some(("killed", at)) => Some(Outcome::Killed(at)),
        _ => None,
    };
    Some(Decision { replaces, by, outcome })
}

/// Writes down that the instance which was to be stopped has ended.
pub(crate) fn note_end(key: &Key, claim: &Claim, is_killed: bool) -> Result<()> {
    let Some(transition) = Transition::begin(key)? else { return Ok(()) };
    if read(key, claim)?.is_none_or(|decision| decision.outcome.is_some()) {
        return Ok(());
    }
    let text = format!("{} {}\n", if is_killed { "killed" } else { "ended" }, now());
    let failed = |errno| Error::at(Step::WriteLock, key.place("transition"))(errno);
    nix::unistd::lseek(&transition.file, 0, nix::unistd::Whence::SeekEnd).map_err(failed)?;
    nix::unistd::write(&transition.file, text.as_bytes()).map(drop).map_err(failed)
}

fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis()
}

fn subject(Claim { pid, start, .. }: &Claim, replaces: bool) -> String {
    format!("{} {pid} started {start} ", if replaces { "replacing" } else { "stopping" })
}
