//! What stands in a pidfile: a pid and a newline, for outsiders. Nothing of ours is decided by it.

/// The parsed content of a pidfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// A pid that a process can have; `None` in an empty file and for 0, negative or overlong numbers.
    pub(crate) pid: Option<i32>,
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
        Some(Self { pid: number.filter(|&pid| pid > 0 && words.next().is_none()) })
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
    fn what_was_written_is_read_back() {
        holds("pid to pidfile and back", 1000, &(1..=i32::MAX), |pid| {
            assert_eq!(Content::parse(format!("{pid}\n").as_bytes()), Some(Content { pid: Some(pid) }));
        });
    }
}
