//! What an instance says about its reloads: at the beginning of the file to which it appends the rest, and written over each time,
//! because an instance may be reloaded without end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use super::key::{Key, fingerprint};
use crate::error::{Error, Result, Step};
use crate::sys;

/// A reload that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedReload {
    /// When.
    pub at: SystemTime,
    /// What the handlers threw, in one line.
    pub reason: String,
}

/// What happens to a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadEvent<'a> {
    /// From now on SIGHUP reloads this process, which reports what becomes of that.
    Possible,
    /// It begins.
    Begins,
    /// It is done.
    Done,
    /// It has failed for this reason.
    Failed(&'a str),
}

/// All reloads of an instance. One has begun after a caller asked for it if its number was not reached when the caller looked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reloads {
    /// How many have begun.
    pub(crate) begun: u64,
    /// How many of them are over: the same number, or one less.
    pub(crate) ended: u64,
    /// The last that is over, if it failed.
    pub(crate) failed: Option<FailedReload>,
}

/// More of a reason is not kept.
const MOST_REASON: usize = 600;

const SUM: usize = 32;

/// `r`, two numbers, a time, and behind it the reason; blanks, and the sum of all that.
pub(super) const SIZE: usize = 1 + 20 + 20 + 20 + MOST_REASON + SUM;

/// Stands where nothing was said yet.
pub(super) const NOTHING: [u8; SIZE] = [b' '; SIZE];

/// A time that JavaScript has a date for.
const LAST_TIME: u64 = 8_640_000_000_000_000;

/// How often a text is read again that is being written at this moment.
const LOOKS: u32 = 20;

impl Reloads {
    pub(crate) fn note(&mut self, event: ReloadEvent<'_>) {
        match event {
            ReloadEvent::Possible => {}
            ReloadEvent::Begins => self.begun += 1,
            ReloadEvent::Done => (self.ended, self.failed) = (self.begun, None),
            ReloadEvent::Failed(reason) => {
                let reason = beginning(reason, MOST_REASON).to_owned();
                (self.ended, self.failed) = (self.begun, Some(FailedReload { at: SystemTime::now(), reason }));
            }
        }
    }

    /// Writes it over what was said before.
    pub(crate) fn write(&self, file: impl AsFd) -> nix::Result<()> {
        sys::write_start(file.as_fd(), &self.encode())
    }

    /// `None` where nothing was said, or nothing that can be understood.
    pub(super) fn read(file: impl AsFd) -> nix::Result<Option<Self>> {
        for _ in 0..LOOKS {
            let bytes = sys::read_start(file.as_fd(), SIZE)?;
            let said = Self::parse(&bytes);
            if said.is_some() || bytes.starts_with(&NOTHING) {
                return Ok(said);
            }
        }
        Ok(None)
    }

    fn encode(&self) -> Vec<u8> {
        let Self { begun, ended, failed } = self;
        let (at, reason) = failed.as_ref().map_or((0, ""), |FailedReload { at, reason }| {
            let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            // 0 is no time.
            (u64::try_from(since_epoch.as_millis()).unwrap_or(LAST_TIME).max(1), reason)
        });
        let mut text = format!("r{begun:020}{ended:020}{at:020}{reason}").into_bytes();
        text.resize(SIZE - SUM, b' ');
        let sum = fingerprint(&text);
        text.extend_from_slice(format!("{sum:032x}").as_bytes());
        text
    }

    /// `None` for anything that is not the whole text.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (text, sum) = bytes.split_at_checked(SIZE - SUM).filter(|(text, _)| text.starts_with(b"r"))?;
        if sum.get(..SUM)? != format!("{:032x}", fingerprint(text)).as_bytes() {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.strip_prefix('r')?;
        let (begun, text) = text.split_at_checked(20)?;
        let (ended, text) = text.split_at_checked(20)?;
        let (at, reason) = text.split_at_checked(20)?;
        let at = at.parse::<u64>().ok().filter(|&at| at <= LAST_TIME)?;
        let failed = (at > 0).then(|| FailedReload {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(at),
            reason: reason.trim_end_matches(' ').to_owned(),
        });
        Some(Self { begun: begun.parse().ok()?, ended: ended.parse().ok()?, failed })
    }
}

/// What one instance says about its reloads, also once another one has taken its place.
#[derive(Debug)]
pub(crate) struct ReloadReports {
    file: OwnedFd,
    key: Key,
}

impl ReloadReports {
    /// Of the instance whose process still lives when this has returned; `None` where the file is missing.
    pub(crate) fn open(key: &Key) -> Result<Option<Self>> {
        Ok(key.open("phase", OFlag::O_RDONLY, Step::ReadLock)?.map(|file| Self { file, key: key.clone() }))
    }

    /// `None` where it says nothing about that.
    pub(crate) fn read(&self) -> Result<Option<Reloads>> {
        Reloads::read(&self.file).map_err(Error::at(Step::ReadLock, self.key.place("phase")))
    }
}

/// As much of a text as fits, in whole characters.
pub(super) fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    end.and_then(|end| text.get(..end)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::any;

    use super::*;
    use crate::property::holds;

    #[test]
    fn what_was_said_comes_back_and_a_part_of_it_is_nothing() {
        let failed = option::of((1..=LAST_TIME, "[^ ]{0,60}"));
        holds("reloads to text and back, with one byte of another", 500, &(any::<[u64; 2]>(), failed, 0..SIZE), {
            |([begun, ended], failed, place)| {
                let failed = failed.map(|(at, reason)| FailedReload {
                    at: SystemTime::UNIX_EPOCH + Duration::from_millis(at),
                    reason,
                });
                let reloads = Reloads { begun, ended, failed };
                let mut bytes = reloads.encode();
                assert_eq!(bytes.len(), SIZE);
                assert_eq!(Reloads::parse(&bytes), Some(reloads));
                assert_eq!(Reloads::parse(&bytes[..place]), None);
                bytes[place] ^= 1;
                assert_eq!(Reloads::parse(&bytes), None);
            }
        });
    }

    #[test]
    fn any_bytes_are_reloads_or_none() {
        assert_eq!(Reloads::parse(&NOTHING), None);
        holds("beginning of a phase file", 1000, &vec(any::<u8>(), 0..SIZE + 40), |mut bytes| {
            let _parsed = Reloads::parse(&bytes);
            // Also with a sum that fits.
            if let Some((text, sum)) = bytes.split_at_mut_checked(SIZE - SUM)
                && let Some(sum) = sum.get_mut(..SUM)
            {
                sum.copy_from_slice(format!("{:032x}", fingerprint(text)).as_bytes());
                let _parsed = Reloads::parse(&bytes);
            }
        });
    }

    #[test]
    fn a_failure_is_kept_until_a_reload_succeeds_and_a_long_reason_is_cut() {
        let mut reloads = Reloads::default();
        let long = "ä".repeat(MOST_REASON);
        let mut after = |event| {
            reloads.note(event);
            let back = Reloads::parse(&reloads.encode()).expect("it is whole");
            (back.begun, back.ended, back.failed.map(|failed| failed.reason.len()))
        };
        assert_eq!(after(ReloadEvent::Possible), (0, 0, None));
        assert_eq!(after(ReloadEvent::Begins), (1, 0, None));
        assert_eq!(after(ReloadEvent::Failed(&long)), (1, 1, Some(MOST_REASON)));
        assert_eq!(after(ReloadEvent::Begins), (2, 1, Some(MOST_REASON)));
        assert_eq!(after(ReloadEvent::Done), (2, 2, None));
    }
}
