//! Text that comes from others, such as a path or a daemon's reason, in a sentence: in a form in which no terminal obeys it.

use std::fmt::{self, Display, Write};

/// Displays a value on one line: colours and other control sequences are left out, every other control character is shown as
/// its escape, such as `\n` or `\x1b`.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cleaner = Cleaner { out: f, within: Within::Text };
        write!(cleaner, "{}", self.0)?;
        cleaner.end()
    }
}

/// Control characters, and those that change the direction or the lines of what stands around them. None needs more than 16 bits.
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

struct Cleaner<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    within: Within,
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Text,
    /// Behind ESC.
    Escape,
    /// Behind ESC and `[`: parameters, up to one final byte (ECMA-48, 5.4).
    Sequence,
}

impl Cleaner<'_, '_> {
    fn take(&mut self, character: char) -> fmt::Result {
        match (self.within, character) {
            (Within::Escape, '[') => self.within = Within::Sequence,
            (Within::Escape, _) => {
                self.end()?;
                return self.take(character);
            }
            (Within::Sequence, '\x20'..='\x3f') => {}
            (Within::Sequence, '\x40'..='\x7e') => self.within = Within::Text,
            (_, '\x1b') => self.within = Within::Escape,
            (_, '\u{9b}') => self.within = Within::Sequence,
            _ => {
                self.within = Within::Text;
                return self.show(character);
            }
        }
        Ok(())
    }

    fn show(&mut self, character: char) -> fmt::Result {
        match character {
            '\n' => self.out.write_str("\\n"),
            '\r' => self.out.write_str("\\r"),
            '\t' => self.out.write_str("\\t"),
            _ if character.is_control() => write!(self.out, "\\x{:02x}", u32::from(character)),
            _ if is_unprintable(character) => write!(self.out, "\\u{:04x}", u32::from(character)),
            _ => self.out.write_char(character),
        }
    }

    /// An ESC that begins no sequence is shown, too.
    fn end(&mut self) -> fmt::Result {
        let escape = self.within == Within::Escape;
        self.within = Within::Text;
        if escape { self.show('\x1b') } else { Ok(()) }
    }
}

impl Write for Cleaner<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.take(character))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::holds;
    use crate::protocol::any_bytes;

    #[test]
    fn a_sentence_commands_no_terminal() {
        for (text, shown) in [
            ("plain ünïcode 😀", "plain ünïcode 😀"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\u{9b}31mred", "red"),
            ("a\x1b]0;title\x07b", "a\\x1b]0;title\\x07b"),
            ("two\nlines\r\n\tindented", "two\\nlines\\r\\n\\tindented"),
            ("\x1b\x1b[2J\x1b", "\\x1b\\x1b"),
            ("\x1b[31", ""),
            ("\x1b[3\u{7}1m", "\\x071m"),
            ("bell\u{7} nul\0 csi\u{85} delete\u{7f}", "bell\\x07 nul\\x00 csi\\x85 delete\\x7f"),
            ("gpj.\u{202e}exe", "gpj.\\u202eexe"),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
        holds("text", 2000, &any_bytes(), |bytes| {
            let shown = Shown(String::from_utf8_lossy(&bytes)).to_string();
            assert!(!shown.contains(char::is_control), "{shown:?}");
        });
    }
}
