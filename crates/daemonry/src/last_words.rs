//! What a program has written before its start failed: the line that says most about it.

use crate::shown::Shown;

/// The line of a stack trace that says what was thrown, else the last line that was written; to follow a colon.
pub(crate) fn last_words(written: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(written);
    // Before the colours go, and after.
    let lines: Vec<String> = text.lines().map(|line| Shown(line.trim()).to_string().trim().to_owned()).collect();
    if let Some(thrown) = lines.iter().rfind(|line| says_what_was_thrown(line)) {
        return Some(thrown.clone());
    }
    let is_stack = |line: &str| ["Node.js v", "at ", "}", "^"].iter().any(|beginning| line.starts_with(beginning));
    let last = lines.iter().rfind(|line| !line.is_empty() && !is_stack(line))?;
    Some(format!("its last words were \"{}\"", last.replace('"', "\\\"")))
}

/// `Error: …`, `Uncaught TypeError: …`, `Error [ERR_CODE]: …` and the like.
fn says_what_was_thrown(line: &str) -> bool {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|one| one == '_' || one.is_ascii_alphanumeric());
    let Some((head, _)) = line.strip_prefix("Uncaught ").unwrap_or(line).split_once(": ") else { return false };
    let (name, code) = head.split_once(' ').map_or((head, None), |(name, code)| (name, Some(code)));
    let has_code = |code: &str| code.strip_prefix('[').and_then(|code| code.strip_suffix(']')).is_some_and(is_word);
    is_word(name)
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && (name.ends_with("Error") || name.ends_with("Exception"))
        && code.is_none_or(has_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_thrown_comes_before_what_was_written_last() {
        for (written, words) in [
            ("", None),
            ("\n \n", None),
            ("no config\n", Some("its last words were \"no config\"")),
            ("first\nsaid \"no\"\r\n\n", Some("its last words were \"said \\\"no\\\"\"")),
            (
                "a.js:1\nthrow x\n^\n\nTypeError: no luck\n    at a.js:1\n\nNode.js v20.20.0\n",
                Some("TypeError: no luck"),
            ),
            ("Error [ERR_X]: no\n", Some("Error [ERR_X]: no")),
            ("Uncaught Error: no\n", Some("Uncaught Error: no")),
            ("\x1b[31mError: no\x1b[0m \n", Some("Error: no")),
            ("\x1b[31mred\x1b[0m\x07\n", Some("its last words were \"red\\x07\"")),
            ("Terror: no\nan Error: no\nError (x): no\n", Some("its last words were \"Error (x): no\"")),
            ("read\n{\n  code: 'X'\n}\n    at a.js:1\n", Some("its last words were \"code: 'X'\"")),
        ] {
            assert_eq!(last_words(written.as_bytes()).as_deref(), words, "{written:?}");
        }
        assert_eq!(last_words(b"\xff\n").as_deref(), Some("its last words were \"\u{fffd}\""));
    }
}
