//! JSON as the records need it: members by name, text of any bytes, and everything else as it stands.
//!
//! Every JSON crate that was tried makes the addon 28 to 77 kB larger, because each brings numbers with fractions and a tree of
//! values. The bytes of a path need not be UTF-8: each byte that is not becomes half of a UTF-16 pair, U+DC80 to U+DCFF, which
//! JSON can spell and no text contains (as in Python's `surrogateescape`).
//!
//! # References
//!
//! [RFC 8259](https://www.rfc-editor.org/rfc/rfc8259)

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::shown::is_unprintable;

/// How deep values may lie in each other.
const DEEPEST: u32 = 100;

/// Where the escaped bytes begin that are no UTF-8.
const RAW_BYTES: u32 = 0xDC00;

/// A JSON value of whatever kind, as it is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// The one value in `text`, with nothing but white space around it.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner { rest: text };
        let value = scanner.value(0)?;
        scanner.skip_space();
        scanner.rest.is_empty().then_some(value)
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    pub(crate) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// The members of an object.
    pub(crate) fn members(self) -> Option<Members<'a>> {
        let mut scanner = Scanner { rest: self.0 };
        let mut members = Vec::new();
        scanner.all(['{', '}'], &mut |scanner| {
            let name = scanner.spelled(Scanner::text)?;
            scanner.take(':')?;
            members.push((name.text()?, scanner.value(0)?));
            Some(())
        })?;
        Some(Members(members))
    }

    /// The elements of an array.
    pub(crate) fn elements(self) -> Option<Vec<Value<'a>>> {
        let mut scanner = Scanner { rest: self.0 };
        let mut elements = Vec::new();
        scanner.all(['[', ']'], &mut |scanner| {
            elements.push(scanner.value(0)?);
            Some(())
        })?;
        Some(elements)
    }

    /// A whole number that is not negative.
    pub(crate) fn number<T: std::str::FromStr>(self) -> Option<T> {
        self.0.parse().ok()
    }

    /// A string, with the bytes that [`push_text`] was given.
    pub(crate) fn text(self) -> Option<OsString> {
        let mut rest = self.0.strip_prefix('"')?.strip_suffix('"')?;
        let mut bytes = Vec::with_capacity(rest.len());
        let mut first_half = None;
        while let Some((plain, escaped)) = rest.split_once('\\') {
            push_half(&mut bytes, first_half.take_if(|_| !plain.is_empty()));
            bytes.extend_from_slice(plain.as_bytes());
            let (unit, behind) = unescape(escaped)?;
            rest = behind;
            match (first_half.take(), unit) {
                (Some(first), 0xDC00..=0xDFFF) => {
                    push(&mut bytes, 0x1_0000 + ((first - 0xD800) << 10) + (unit - 0xDC00));
                }
                (None, 0xDC80..=0xDCFF) => bytes.extend(u8::try_from(unit - RAW_BYTES)),
                (first, 0xD800..=0xDBFF) => {
                    push_half(&mut bytes, first);
                    first_half = Some(unit);
                }
                (first, unit) => {
                    push_half(&mut bytes, first);
                    push(&mut bytes, unit);
                }
            }
        }
        push_half(&mut bytes, first_half);
        bytes.extend_from_slice(rest.as_bytes());
        Some(OsString::from_vec(bytes))
    }
}

/// The code unit of an escape, behind its backslash, and what follows it.
fn unescape(text: &str) -> Option<(u32, &str)> {
    let mut characters = text.chars();
    let unit = match characters.next()? {
        'u' => {
            let (digits, behind) = characters.as_str().split_at_checked(4)?;
            return Some((u32::from_str_radix(digits, 16).ok()?, behind));
        }
        'b' => 8,
        't' => 9,
        'n' => 10,
        'f' => 12,
        'r' => 13,
        same => u32::from(same),
    };
    Some((unit, characters.as_str()))
}

fn push(bytes: &mut Vec<u8>, code: u32) {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Half of a pair that has no other half is no character.
fn push_half(bytes: &mut Vec<u8>, half: Option<u32>) {
    if let Some(half) = half {
        push(bytes, half);
    }
}

/// The members of an object. Of two with the same name the last counts, as in JavaScript.
pub(crate) struct Members<'a>(Vec<(OsString, Value<'a>)>);

impl<'a> Members<'a> {
    /// The member of that name; `None` if it is missing or `null`.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.0.iter().rfind(|(own, _)| own == name).map(|(_, value)| *value).filter(|value| value.0 != "null")
    }

    /// The same with what `read` makes of it: the outer `None` if it is there, but something else.
    #[expect(clippy::option_option, reason = "a wrong member and a missing one differ")]
    pub(crate) fn optional<T>(&self, name: &str, read: impl Fn(Value<'a>) -> Option<T>) -> Option<Option<T>> {
        self.get(name).map_or(Some(None), |value| read(value).map(Some))
    }
}

/// Goes through JSON as far as it is valid.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Exactly this character, with white space in front of it.
    fn take(&mut self, character: char) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(character)?;
        Some(())
    }

    /// What one of the other functions goes through.
    fn spelled(&mut self, scan: impl FnOnce(&mut Self) -> Option<()>) -> Option<Value<'a>> {
        self.skip_space();
        let before = self.rest;
        scan(self)?;
        before.get(..before.len() - self.rest.len()).map(Value)
    }

    fn value(&mut self, depth: u32) -> Option<Value<'a>> {
        if depth > DEEPEST {
            return None;
        }
        self.spelled(|scanner| match scanner.rest.chars().next()? {
            '{' => scanner.all(['{', '}'], &mut |scanner| {
                scanner.spelled(Self::text)?;
                scanner.take(':')?;
                scanner.value(depth + 1).map(drop)
            }),
            '[' => scanner.all(['[', ']'], &mut |scanner| scanner.value(depth + 1).map(drop)),
            '"' => scanner.text(),
            '-' | '0'..='9' => scanner.number(),
            _ => {
                let word = ["true", "false", "null"].into_iter().find(|word| scanner.rest.starts_with(word))?;
                scanner.rest = scanner.rest.strip_prefix(word)?;
                Some(())
            }
        })
    }

    /// Whatever lies between two brackets, with commas in between.
    fn all(&mut self, [open, close]: [char; 2], each: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open)?;
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            each(self)?;
            if self.take(',').is_none() {
                return self.take(close);
            }
        }
    }

    fn text(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix('"')?;
        loop {
            let end = self.rest.find(|character: char| character < ' ' || matches!(character, '"' | '\\'))?;
            let (_, rest) = self.rest.split_at_checked(end)?;
            let (special, rest) = rest.split_at_checked(1)?;
            self.rest = rest;
            match special {
                "\"" => return Some(()),
                "\\" => {
                    let is_known = |character: char| "\"\\/bfnrtu".contains(character);
                    let is_hexadecimal = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                    let length =
                        if rest.strip_prefix(is_known)?.len() < rest.len() && rest.starts_with('u') { 5 } else { 1 };
                    let (escape, rest) = rest.split_at_checked(length)?;
                    if length == 5 && !is_hexadecimal(escape.get(1..)?) {
                        return None;
                    }
                    self.rest = rest;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix('-').unwrap_or(self.rest);
        match self.rest.strip_prefix('0') {
            Some(rest) => self.rest = rest,
            None => self.digits()?,
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            self.digits()?;
        }
        if let Some(rest) = self.rest.strip_prefix(['e', 'E']) {
            self.rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let behind = self.rest.trim_start_matches(|character: char| character.is_ascii_digit());
        let are_any = behind.len() < self.rest.len();
        self.rest = behind;
        are_any.then_some(())
    }
}

/// Writes text, which may be any bytes, as a JSON string in which no terminal finds anything to obey.
pub(crate) fn push_text(json: &mut String, text: &OsStr) {
    json.push('"');
    for chunk in text.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => json.extend(['\\', character]),
                _ if is_unprintable(character) => push_escape(json, u32::from(character)),
                plain => json.push(plain),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_escape(json, RAW_BYTES + u32::from(*byte)));
    }
    json.push('"');
}

fn push_escape(json: &mut String, unit: u32) {
    json.push_str("\\u");
    json.extend([12, 8, 4, 0].into_iter().filter_map(|shift| char::from_digit(unit >> shift & 15, 16)));
}

/// An array of strings.
pub(crate) fn array<T: AsRef<OsStr>>(texts: &[T]) -> String {
    let mut json = "[".to_owned();
    for text in texts {
        if json.len() > 1 {
            json.push(',');
        }
        push_text(&mut json, text.as_ref());
    }
    json.push(']');
    json
}

/// An object under construction.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// One with the members of `object` to begin with.
    pub(crate) fn with(object: &str) -> Self {
        let object = object.trim_end();
        Self(object.strip_suffix('}').unwrap_or(object).trim_end().to_owned())
    }

    /// A member whose value is JSON already.
    pub(crate) fn json(&mut self, name: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_text(&mut self.0, OsStr::new(name));
        self.0.push(':');
        self.0.push_str(value);
    }

    pub(crate) fn text(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.bytes(name, value.as_ref());
    }

    /// The first `most` bytes of a text, in whole characters.
    pub(crate) fn short_text(&mut self, name: &str, value: impl AsRef<OsStr>, most: usize) {
        let bytes = value.as_ref().as_bytes();
        let is_inside = |end: usize| bytes.get(end).is_some_and(|byte| byte & 0xC0 == 0x80);
        let end = (0..=most.min(bytes.len())).rev().take(4).find(|&end| !is_inside(end)).unwrap_or(most);
        self.bytes(name, OsStr::from_bytes(bytes.get(..end).unwrap_or(bytes)));
    }

    fn bytes(&mut self, name: &str, value: &OsStr) {
        let mut json = String::new();
        push_text(&mut json, value);
        self.json(name, &json);
    }

    pub(crate) fn optional_text(&mut self, name: &str, value: Option<&impl AsRef<OsStr>>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(crate) fn optional_number(&mut self, name: &str, value: Option<u32>) {
        if let Some(value) = value {
            self.json(name, &value.to_string());
        }
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;

    use super::*;
    use crate::property::holds;

    fn text(json: &str) -> Option<OsString> {
        Value::parse(json)?.text()
    }

    #[test]
    fn any_bytes_are_read_back_as_they_were_written() {
        let bytes =
            vec(proptest::prop_oneof![any::<u8>(), proptest::sample::select(b"\"\\u\n\xed\xa0\x80".to_vec())], 0..40);
        holds("bytes to JSON and back", 1000, &bytes, |bytes| {
            let bytes = OsString::from_vec(bytes);
            let mut json = String::new();
            push_text(&mut json, &bytes);
            assert_eq!(text(&json), Some(bytes));
        });
    }

    #[test]
    fn no_terminal_obeys_what_is_written() {
        let mut json = String::new();
        push_text(&mut json, OsStr::new("\x1b[2J\u{9b}31m\u{202e}\x7fé"));
        assert_eq!(json, r#""\u001b[2J\u009b31m\u202e\u007fé""#);
    }

    #[test]
    fn a_short_text_ends_with_a_whole_character() {
        for (text, most, json) in [("aé", 3, "aé"), ("aé", 2, "a"), ("a😀b", 4, "a"), ("a", 0, ""), ("", 5, "")] {
            let mut object = Object::new();
            object.short_text("a", text, most);
            assert_eq!(object.end(), format!(r#"{{"a":"{json}"}}"#));
        }
    }

    #[test]
    fn escapes_are_read_as_javascript_writes_them() {
        assert_eq!(text(r#""\ud83d\ude00\u00e9\n\/""#), Some("😀é\n/".into()));
        assert_eq!(text(r#""a\ud83d""#), Some("a\u{FFFD}".into()), "half of a pair");
        assert_eq!(text(r#""\ud83dx\udc00""#), Some("\u{FFFD}x\u{FFFD}".into()));
        assert_eq!(text(r#""\udcff""#), Some(OsString::from_vec(vec![0xFF])));
    }

    #[test]
    fn only_json_is_json() {
        for valid in ["0", "-1.5e+3", " [1, {\"a\" : []} ,null]\n", "{}", "\"\\u00fF\"", "true"] {
            assert_eq!(Value::parse(valid).map(Value::as_str), Some(valid.trim()), "{valid}");
        }
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for invalid in [
            "",
            "01",
            "1.",
            "-",
            "+1",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "nul",
            "1 2",
            "\"",
            &deep,
        ] {
            assert_eq!(Value::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn whatever_is_parsed_nothing_panics() {
        let text = "[\\[\\]{}:,\"\\\\u0-9a-f. né-]{0,30}";
        holds("anything as JSON", 3000, &text, |text: String| {
            let Some(value) = Value::parse(&text) else { return };
            let _ = (value.members().is_some(), value.elements(), value.text(), value.number::<u32>());
        });
    }

    #[test]
    fn of_two_members_the_last_counts_and_null_is_none() {
        let members = Value::parse(r#"{"a":1,"b":null,"a":2,"c":"x"}"#).and_then(Value::members).expect("an object");
        assert_eq!(members.get("a").and_then(Value::number::<u32>), Some(2));
        assert_eq!(members.get("b"), None);
        assert_eq!(members.optional("b", Value::text), Some(None));
        assert_eq!(members.optional("a", Value::text), None, "something else");
        assert_eq!(members.optional("c", Value::text), Some(Some("x".into())));
    }
}
