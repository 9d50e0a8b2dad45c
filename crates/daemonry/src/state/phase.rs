//! How far an instance is: bytes that it appends itself to a file of its own, so that a launcher which is stopped or killed leaves
//! nothing undecided, and a program with other rights can mislead only about itself. The file begins with what it says about its
//! reloads.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::key::Key;
use super::reloads::{self, Reloads};
use crate::error::{Error, Result, Step};
use crate::sys::{self, Digits, Exit, PID_WIDTH, TIME_WIDTH};

pub(super) const KIND: &str = "phase";

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Starting,
    Up,
    Stopping,
}

const STARTING: u8 = b's';
const UP: u8 = b'u';
/// Up at the time that follows.
const UP_AT: u8 = b'a';
const STOPPING: u8 = b'x';
/// It takes so many milliseconds to stop as follow.
const STOPS_WITHIN: u8 = b't';
const HANDLER_FAILED: u8 = b'f';
const HANDLERS_CUT_OFF: u8 = b'o';
/// Nothing has held it for so long as it said: it stops itself.
const IDLE: u8 = b'i';
/// What it has thrown follows: four digits of length, and the text.
const LAST_WORDS: u8 = b'w';
/// It exits: the time, and a code.
const EXITS: u8 = b'e';
/// The same with the number of a signal.
const DIES: u8 = b'g';

const LENGTH_WIDTH: usize = 4;

/// More of its last words an instance does not keep.
const MOST_WORDS: usize = 600;

/// What became of what the program does when it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handlers {
    /// Nothing is known to have gone wrong.
    #[default]
    Done,
    /// A stop handler threw.
    Failed,
    /// They took longer than the daemon gave them, and were cut off.
    CutOff,
}

/// What an instance says, besides that it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Stopping,
    StopsWithin(Duration),
    HandlerFailed,
    HandlersCutOff,
    Idle,
    LastWords(&'a str),
    Exits(i32),
    Dies(i32),
}

/// How an instance has ended by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnEnd {
    pub(crate) at: SystemTime,
    pub(crate) exit: Exit,
    /// It had begun to stop.
    pub(crate) was_stopping: bool,
}

/// Everything that an instance has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) phase: Phase,
    pub(crate) was_up: bool,
    /// How long it takes to stop, at most.
    pub(crate) stops_within: Option<Duration>,
    pub(crate) handlers: Handlers,
    pub(crate) is_idle: bool,
    pub(crate) last_words: Option<String>,
    pub(crate) end: Option<OwnEnd>,
    /// Missing where it does not report them.
    pub(crate) reloads: Option<Reloads>,
}

impl Said {
    pub(crate) const NOTHING: Self = Self {
        phase: Phase::Starting,
        was_up: false,
        stops_within: None,
        handlers: Handlers::Done,
        is_idle: false,
        last_words: None,
        end: None,
        reloads: None,
    };
}

/// More than this an instance does not say; what follows is not read.
const MOST: usize = 4096;

/// A new file at each start.
pub(super) fn create(key: &Key) -> Result<OwnedFd> {
    let failed = |errno| Error::at(Step::WriteLock, key.place(KIND))(errno);
    // Not O_APPEND, with which nothing could be written over: whatever appends shares this open file, and with it the end.
    let file = key.renew(KIND)?;
    nix::sys::stat::fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
    // Takes the block now in which the rest will lie: a disk that is full later keeps nothing from being up.
    sys::append(&file, &[reloads::NOTHING.as_slice(), &[STARTING]].concat()).map_err(failed)?;
    Ok(file)
}

/// What the instance has said; nothing where the file is missing.
pub(super) fn read(key: &Key) -> Result<Said> {
    let Some(file) = key.open(KIND, OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(Said::NOTHING) };
    let failed = |errno| Error::at(Step::ReadLock, key.place(KIND))(errno);
    let reloads = Reloads::read(&file).map_err(failed)?;
    let bytes = sys::read_start(file.as_fd(), reloads::SIZE + MOST).map_err(failed)?;
    Ok(Said { reloads, ..read_all(bytes.get(reloads::SIZE..).unwrap_or(&[]), sys::monotonic()) })
}

fn read_all(bytes: &[u8], now: Duration) -> Said {
    let mut said = Said::NOTHING;
    let mut rest = bytes;
    while let [letter, others @ ..] = rest {
        rest = others;
        match *letter {
            UP => said.was_up = true,
            STOPPING => said.phase = Phase::Stopping,
            HANDLER_FAILED if said.handlers == Handlers::Done => said.handlers = Handlers::Failed,
            HANDLERS_CUT_OFF => said.handlers = Handlers::CutOff,
            IDLE => said.is_idle = true,
            UP_AT => said.was_up |= number(&mut rest, TIME_WIDTH).is_some_and(|at| now >= Duration::from_millis(at)),
            STOPS_WITHIN => said.stops_within = number(&mut rest, TIME_WIDTH).map(Duration::from_millis),
            LAST_WORDS => {
                let length = number(&mut rest, LENGTH_WIDTH).and_then(|length| usize::try_from(length).ok());
                let words = cut(&mut rest, length.unwrap_or(0));
                said.last_words = Some(String::from_utf8_lossy(words).into_owned());
            }
            EXITS | DIES => {
                let (at, of) = (number(&mut rest, TIME_WIDTH), number(&mut rest, PID_WIDTH));
                let at = at.and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at)));
                let of = of.and_then(|of| i32::try_from(of).ok());
                let was_stopping = said.phase == Phase::Stopping;
                let exit = if *letter == EXITS { Exit::Code } else { Exit::Signal };
                said.end = said.end.or(at.zip(of).map(|(at, of)| OwnEnd { at, exit: exit(of), was_stopping }));
                if said.end.is_some() {
                    said.phase = Phase::Stopping;
                }
            }
            _ => {}
        }
    }
    if said.was_up {
        said.phase = said.phase.max(Phase::Up);
    }
    said
}

/// Takes the first bytes off; all of them where there are fewer.
fn cut<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (first, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    *rest = others;
    first
}

/// Takes a number off. One that was cut off, as by a full disk, ends at the letter of the next entry, and is none.
fn number(rest: &mut &[u8], width: usize) -> Option<u64> {
    let digits = cut(rest, rest.iter().take(width).take_while(|byte| byte.is_ascii_digit()).count());
    if digits.len() == width { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

impl Entry<'_> {
    /// Appends it. Async-signal-safe.
    pub(crate) fn append(self, file: impl AsFd) -> nix::Result<()> {
        let mut text = [0_u8; 1 + LENGTH_WIDTH + MOST_WORDS];
        let mut length = 0;
        let mut push = |bytes: &[u8]| {
            for (slot, byte) in text.iter_mut().skip(length).zip(bytes) {
                *slot = *byte;
            }
            length += bytes.len();
        };
        match self {
            Self::Stopping => push(&[STOPPING]),
            Self::StopsWithin(time) => push(&timed(STOPS_WITHIN, time)),
            Self::HandlerFailed => push(&[HANDLER_FAILED]),
            Self::HandlersCutOff => push(&[HANDLERS_CUT_OFF]),
            Self::Idle => push(&[IDLE]),
            Self::LastWords(words) => {
                let words = reloads::beginning(words, MOST_WORDS).as_bytes();
                push(&[LAST_WORDS]);
                push(Digits::of(words.len() as u64).fixed_width(LENGTH_WIDTH));
                push(words);
            }
            Self::Exits(number) | Self::Dies(number) => {
                let letter = if matches!(self, Self::Exits(_)) { EXITS } else { DIES };
                push(&timed(letter, SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()));
                push(Digits::of_pid(number).fixed_width(PID_WIDTH));
            }
        }
        sys::append(file, text.get(..length).unwrap_or(&[]))
    }
}

/// A letter with a time behind it. Async-signal-safe.
fn timed(letter: u8, time: Duration) -> [u8; TIME_WIDTH + 1] {
    let mut text = [letter; TIME_WIDTH + 1];
    let digits = Digits::of(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    for (slot, digit) in text.iter_mut().skip(1).zip(digits.fixed_width(TIME_WIDTH)) {
        *slot = *digit;
    }
    text
}

/// What an instance appends when it is up, after it has lived on for a while or at once.
pub(crate) struct UpAt {
    text: [u8; TIME_WIDTH + 1],
    length: usize,
}

impl UpAt {
    /// Async-signal-safe.
    pub(crate) fn after(alive_for: Duration) -> Self {
        if alive_for.is_zero() {
            return Self { text: [UP; TIME_WIDTH + 1], length: 1 };
        }
        let text = timed(UP_AT, sys::monotonic().saturating_add(alive_for));
        Self { text, length: text.len() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;

    use super::*;
    use crate::property::holds;

    fn parse(bytes: &[u8], now: Duration) -> Phase {
        read_all(bytes, now).phase
    }

    #[test]
    fn an_instance_is_up_once_it_says_so_or_its_time_has_come_and_stops_for_good() {
        let now = Duration::from_secs(100);
        assert_eq!(parse(b"s", now), Phase::Starting);
        assert_eq!(parse(b"su", now), Phase::Up);
        assert_eq!(parse(b"sxu", now), Phase::Stopping);
        assert_eq!(parse(b"sa00000000000000099999", now), Phase::Up);
        assert_eq!(parse(b"sa00000000000000100001", now), Phase::Starting);
        assert_eq!(parse(b"sa00000000000000100001x", now), Phase::Stopping);
    }

    #[test]
    fn any_bytes_are_a_phase() {
        holds("content of a phase file", 1000, &vec(any::<u8>(), 0..100), |bytes| {
            let said = read_all(&bytes, Duration::ZERO);
            assert!(said.phase != Phase::Stopping || bytes.contains(&STOPPING));
            assert!(said.end.is_none() || bytes.iter().any(|byte| [EXITS, DIES].contains(byte)));
        });
    }

    #[test]
    fn how_long_it_takes_to_stop_and_what_became_of_the_handlers_is_said() {
        let said = |bytes: &[u8]| read_all(bytes, Duration::ZERO);
        assert_eq!(said(b"sux").stops_within, None);
        let text = [b"su".as_slice(), &timed(STOPS_WITHIN, Duration::from_secs(20)), b"xf"].concat();
        assert_eq!(said(&text).stops_within, Some(Duration::from_secs(20)));
        assert_eq!((said(&text).phase, said(&text).handlers), (Phase::Stopping, Handlers::Failed));
        assert_eq!(said(b"suxfo").handlers, Handlers::CutOff);
        assert_eq!(said(b"suxof").handlers, Handlers::CutOff);
    }

    #[test]
    fn an_entry_that_was_cut_off_takes_no_other_with_it() {
        for entry in [&timed(STOPS_WITHIN, Duration::from_secs(20)), &timed(UP_AT, Duration::from_secs(7200))] {
            for length in 1..entry.len() {
                let text = [b"s", entry.get(..length).expect("a part"), b"ux"].concat();
                let said = read_all(&text, Duration::ZERO);
                assert!(said.was_up && said.phase == Phase::Stopping, "{text:?}");
                assert_eq!(said.stops_within, None);
            }
        }
    }

    #[test]
    fn an_end_and_the_last_words_come_back_as_they_were_said() {
        let file = sys::memory_file().expect("there is memory");
        let read = || read_all(&sys::read_start(file.as_fd(), MOST).expect("it can be read"), Duration::ZERO);
        for entry in [Entry::LastWords("Error: xex"), Entry::Exits(3), Entry::Stopping, Entry::Exits(4), Entry::Idle] {
            entry.append(&file).expect("it can be appended");
        }
        let said = read();
        assert_eq!(said.last_words.as_deref(), Some("Error: xex"));
        assert_eq!(said.end.map(|end| (end.exit, end.was_stopping)), Some((Exit::Code(3), false)));
        assert!(said.is_idle);
        Entry::LastWords(&"ä".repeat(MOST_WORDS)).append(&file).expect("it can be appended");
        assert_eq!(read().last_words.map(|words| words.len()), Some(MOST_WORDS));
    }

    #[test]
    fn what_is_up_later_says_when() {
        let text = UpAt::after(Duration::from_secs(3600));
        assert_eq!(parse(text.as_bytes(), sys::monotonic()), Phase::Starting);
        assert_eq!(parse(text.as_bytes(), sys::monotonic() + Duration::from_secs(3601)), Phase::Up);
        assert_eq!(UpAt::after(Duration::ZERO).as_bytes(), b"u");
    }
}
