//! The environment variable that tells an image that it is the daemon: it names its process and its status pipe, and means
//! nothing to any other process.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::WaitFor;
use crate::sys::{Digits, PID_WIDTH};

/// The variable's name.
pub const START_VARIABLE: &str = "DAEMONRY_START";

/// The descriptors by which a daemon takes over its pidfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handed {
    pub(crate) file: RawFd,
    pub(crate) phase: RawFd,
    /// Missing where the daemon has another uid than its starter: no other user is to hold the lock.
    pub(crate) lock: Option<RawFd>,
}

/// What the launcher tells the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartToken {
    pub(crate) pid: i32,
    pub(crate) status_fd: RawFd,
    pub(crate) status_identity: (u64, u64),
    pub(crate) wait_for: WaitFor,
    /// Stderr is a memory file.
    pub(crate) captures: bool,
    /// How long the daemon must live on once it says that it is up.
    pub(crate) alive_for: Duration,
    pub(crate) pid_file: Option<(Handed, PathBuf)>,
    /// Whatever the launching program wants its daemon to know.
    pub(crate) note: OsString,
}

impl StartToken {
    /// `DAEMONRY_START=0000000000:3:…`, and where in it the pid goes.
    pub(crate) fn to_variable(&self) -> Option<(CString, usize)> {
        let (dev, ino) = self.status_identity;
        let wait_for = match self.wait_for {
            WaitFor::Exec => 'e',
            WaitFor::Start => 's',
            WaitFor::Ready => 'r',
        };
        let captures = if self.captures { 'c' } else { '-' };
        let nothing = Handed { file: -1, phase: -1, lock: None };
        let (handed, path) = self.pid_file.as_ref().map_or((nothing, Path::new("")), |(handed, path)| (*handed, path));
        let Handed { file, phase, lock } = handed;
        let path = path.as_os_str().as_bytes();
        let head = format!(
            "{START_VARIABLE}={:010}:{}:{dev}:{ino}:{wait_for}{captures}:{}:{file}:{phase}:{}:{}:",
            self.pid,
            self.status_fd,
            self.alive_for.as_millis(),
            lock.unwrap_or(-1),
            path.len()
        );
        let mut bytes = head.into_bytes();
        bytes.extend(path);
        bytes.extend(self.note.as_bytes());
        Some((CString::new(bytes).ok()?, START_VARIABLE.len() + 1))
    }

    /// Writes the pid into a variable that [`StartToken::to_variable`] made. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// `place` points at the pid's digits in that variable, which nothing else uses.
    pub(crate) unsafe fn sign(place: *mut u8, pid: i32) {
        // SAFETY: PID_WIDTH bytes are there, by the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(Digits::of_pid(pid).fixed_width(PID_WIDTH).as_ptr(), place, PID_WIDTH) };
    }

    /// `None` for anything that this version did not write.
    pub(crate) fn parse(value: &OsStr) -> Option<Self> {
        let mut fields = value.as_bytes().splitn(11, |&byte| byte == b':');
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let pid = text()?.parse().ok()?;
        let status_fd = text()?.parse().ok()?;
        let status_identity = (text()?.parse().ok()?, text()?.parse().ok()?);
        let flags = text()?;
        let wait_for = match flags.chars().next()? {
            'e' => WaitFor::Exec,
            's' => WaitFor::Start,
            'r' => WaitFor::Ready,
            _ => return None,
        };
        let alive_for = Duration::from_millis(text()?.parse().ok()?);
        let (file, phase): (RawFd, RawFd) = (text()?.parse().ok()?, text()?.parse().ok()?);
        let lock: RawFd = text()?.parse().ok()?;
        let path_length: usize = text()?.parse().ok()?;
        let (path, note) = fields.next()?.split_at_checked(path_length)?;
        let handed = Handed { file, phase, lock: (lock >= 0).then_some(lock) };
        let pid_file = (file >= 0 && phase >= 0).then(|| (handed, OsStr::from_bytes(path).into()));
        let note = OsString::from_vec(note.to_vec());
        let captures = flags.ends_with('c');
        Some(Self { pid, status_fd, status_identity, wait_for, captures, alive_for, pid_file, note })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::sample::{Index, select};

    use super::*;
    use crate::property::holds;

    #[test]
    fn a_marker_comes_back_signed_by_its_process() {
        let handed = Handed { file: 4, phase: 5, lock: Some(6) };
        for (captures, pid_file) in [(true, None), (false, Some((handed, PathBuf::from("/run/a:b ü/x.pid"))))] {
            let token = StartToken {
                pid: 0,
                status_fd: 3,
                status_identity: (14, u64::MAX),
                wait_for: WaitFor::Ready,
                captures,
                alive_for: Duration::from_millis(500),
                pid_file,
                note: "{\"a\":1}:é".into(),
            };
            let (variable, place) = token.to_variable().expect("no NUL in it");
            let mut bytes = variable.into_bytes();
            let digits = bytes.get_mut(place..).expect("the value follows the name");
            // SAFETY: the value begins with the ten digits.
            unsafe { StartToken::sign(digits.as_mut_ptr(), 4711) };
            let value = OsStr::from_bytes(bytes.get(place..).expect("the value follows the name"));
            assert_eq!(StartToken::parse(value), Some(StartToken { pid: 4711, ..token }));
        }
    }

    #[test]
    fn what_no_launcher_wrote_is_no_marker() {
        for value in ["", "1", "x:3:1:2:s-:0:4:5:6:0:", "1:3:1:2:q-:0:4:5:6:0:", "1:3:1:2:s-:0:4:5:6:99:/short"] {
            assert_eq!(StartToken::parse(OsStr::new(value)), None, "{value}");
        }
    }

    fn token() -> impl Strategy<Value = StartToken> {
        let path = vec(1..=u8::MAX, 0..40).prop_map(|bytes| OsString::from_vec(bytes).into());
        let wait_for = select(vec![WaitFor::Exec, WaitFor::Start, WaitFor::Ready]);
        let note = vec(1..=u8::MAX, 0..40).prop_map(OsString::from_vec);
        let handed = (3..=RawFd::MAX, 3..=RawFd::MAX, option::of(3..=RawFd::MAX))
            .prop_map(|(file, phase, lock)| Handed { file, phase, lock });
        let alive_for = any::<u32>().prop_map(|millis| Duration::from_millis(millis.into()));
        (
            1..=i32::MAX,
            3..=RawFd::MAX,
            any::<(u64, u64)>(),
            wait_for,
            any::<bool>(),
            alive_for,
            option::of((handed, path)),
            note,
        )
            .prop_map(|(pid, status_fd, status_identity, wait_for, captures, alive_for, pid_file, note)| {
                StartToken { pid, status_fd, status_identity, wait_for, captures, alive_for, pid_file, note }
            })
    }

    fn value_of(token: &StartToken) -> Vec<u8> {
        let (variable, place) = token.to_variable().expect("no NUL in it");
        variable.as_bytes()[place..].to_vec()
    }

    #[test]
    fn any_marker_comes_back_as_it_was() {
        holds("start token to variable and back", 1000, &token(), |token| {
            assert_eq!(StartToken::parse(OsStr::from_bytes(&value_of(&token))), Some(token));
        });
    }

    #[test]
    fn any_value_is_a_token_or_none() {
        let garbled = (token(), any::<Index>(), any::<u8>()).prop_map(|(token, place, byte)| {
            let mut value = value_of(&token);
            *place.get_mut(&mut value) = byte;
            value
        });
        let anything = vec(prop_oneof![Just(b':'), b'0'..=b'9', any::<u8>()], 0..60);
        holds("value of the variable", 1000, &prop_oneof![garbled, anything], |value| {
            if let Some(token) = StartToken::parse(OsStr::from_bytes(&value)) {
                assert!(token.pid_file.as_ref().is_none_or(|(handed, _)| handed.file >= 0 && handed.phase >= 0));
                assert!(value.ends_with(token.note.as_bytes()));
            }
        });
    }
}
