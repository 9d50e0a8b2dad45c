//! What stands in a pidfile: a pid, then a newline when the daemon is up, then a second one when it begins to stop.

/// How far the daemon is, by the newlines behind its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Starting,
    Up,
    Stopping,
}

/// The parsed content of a pidfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// A pid that a process can have; `None` in an empty file and for 0, negative or overlong numbers.
    pub(crate) pid: Option<i32>,
    pub(crate) phase: Phase,
}

/// More than this is not a pidfile. Crashes leave NULs, some of them up to a block.
pub(crate) const MAX_LENGTH: usize = 4096;

impl Content {
    /// `None` when the bytes are not those of a pidfile: anything but digits (with a sign), whitespace and NULs.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
        let is_ours = |byte: &u8| is_blank(byte) || byte.is_ascii_digit() || *byte == b'-' || *byte == b'+';
        if bytes.len() > MAX_LENGTH || !bytes.iter().all(is_ours) {
            return None;
        }
        let mut words = bytes.split(is_blank).filter(|word| !word.is_empty());
        let first = words.next();
        let number = first.and_then(|word| std::str::from_utf8(word).ok()?.parse::<i32>().ok());
        let pid = number.filter(|&pid| pid > 0 && words.next().is_none());
        let phase = match bytes.split(|&byte| byte == b'\n').count() - 1 {
            0 => Phase::Starting,
            1 => Phase::Up,
            _ => Phase::Stopping,
        };
        Some(Self { pid, phase })
    }
}

/// The pid's digits at the end of a buffer on the stack. Async-signal-safe.
pub(crate) struct Digits {
    buffer: [u8; 10],
    start: usize,
}

impl Digits {
    pub(crate) fn of(pid: i32) -> Self {
        let mut digits = Self { buffer: [b'0'; 10], start: 10 };
        let mut rest = pid.unsigned_abs();
        for (index, slot) in digits.buffer.iter_mut().enumerate().rev() {
            let digit = (rest % 10) as u8;
            *slot = b'0' + digit;
            rest /= 10;
            digits.start = index;
            if rest == 0 {
                break;
            }
        }
        // The slots before the first digit stay '0', so the whole buffer is the number in fixed width.
        digits
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or(&[])
    }

    pub(crate) fn fixed_width(&self) -> &[u8; 10] {
        &self.buffer
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::sample::select;

    use super::*;
    use crate::property::holds;

    #[test]
    fn digits_are_those_of_display_and_of_fixed_width() {
        for pid in [0, 1, 9, 10, 12345, 99999, 4_194_304, i32::MAX] {
            assert_eq!(Digits::of(pid).as_bytes(), pid.to_string().as_bytes());
            assert_eq!(Digits::of(pid).fixed_width().as_slice(), format!("{pid:010}").as_bytes());
        }
    }

    #[test]
    fn newlines_tell_the_phase() {
        let parsed = |bytes: &[u8]| Content::parse(bytes).map(|content| (content.pid, content.phase));
        assert_eq!(parsed(b"77"), Some((Some(77), Phase::Starting)));
        assert_eq!(parsed(b"77\n"), Some((Some(77), Phase::Up)));
        assert_eq!(parsed(b"77\n\n"), Some((Some(77), Phase::Stopping)));
    }

    #[test]
    fn leftovers_of_crashes_are_pidfiles_without_a_pid() {
        for bytes in [&b""[..], b"\0\0\0\0", b"0\n", b"-1\n", b"-77\n", b"99999999999\n", b"1 2\n", b"\n"] {
            assert_eq!(Content::parse(bytes).map(|content| content.pid), Some(None), "{bytes:?}");
        }
    }

    #[test]
    fn anything_else_is_no_pidfile() {
        for bytes in [&b"hello"[..], b"77 # pid", b"{}", b"\xff\xfe", &[b'7'; MAX_LENGTH + 1]] {
            assert_eq!(Content::parse(bytes), None, "{bytes:?}");
        }
    }

    /// What writes, torn writes, crashes and strangers leave in a file.
    pub(crate) fn anything() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => any::<i32>().prop_map(|number| number.to_string().into_bytes()),
            1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            8 => select(vec!["\n", "\n\n", " ", "\0", "\0\0\0", "-", "+", "0", "7", "\t", "\r", "\x0b", "\x0c"])
                .prop_map(|text| text.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 1..4),
        ];
        let length = prop_oneof![50 => Just(0), 1 => MAX_LENGTH - 20..MAX_LENGTH + 20];
        (vec(piece, 0..6), length, any::<u8>()).prop_map(|(pieces, length, filler)| {
            let mut bytes = pieces.concat();
            bytes.resize(bytes.len().max(length), if filler < 128 { 0 } else { b'7' });
            bytes
        })
    }

    fn written(pid: i32, newlines: usize) -> Vec<u8> {
        [Digits::of(pid).as_bytes(), &b"\n\n"[..newlines]].concat()
    }

    #[test]
    fn a_pid_is_the_only_number_in_its_file() {
        holds("content of a pidfile", 1000, &anything(), |bytes| {
            let Some(content) = Content::parse(&bytes) else {
                let strange = |byte: &u8| !byte.is_ascii_digit() && !b" \t\n\r\x0c\0+-".contains(byte);
                assert!(bytes.len() > MAX_LENGTH || bytes.iter().any(strange));
                return;
            };
            let Some(pid) = content.pid else { return };
            assert!(pid > 0);
            let text = String::from_utf8(bytes).expect("digits and blanks");
            let word = text.trim_matches([' ', '\t', '\n', '\r', '\x0c', '\0']);
            assert_eq!(word.trim_start_matches('+').trim_start_matches('0'), pid.to_string());
        });
    }

    #[test]
    fn what_was_written_is_read_back_and_a_part_of_it_never_says_up_for_another_pid() {
        let phases = [Phase::Starting, Phase::Up, Phase::Stopping];
        holds("pid to pidfile and back, cut at every byte", 1000, &(1..=i32::MAX, 0..3_usize), |(pid, newlines)| {
            let bytes = written(pid, newlines);
            assert_eq!(Content::parse(&bytes), Some(Content { pid: Some(pid), phase: phases[newlines] }));
            for end in 0..bytes.len() {
                let part = Content::parse(&bytes[..end]).expect("a part of a pidfile is one");
                assert!(part.phase <= phases[newlines]);
                assert!(part.phase == Phase::Starting || part.pid == Some(pid));
            }
        });
    }
}
