//! The name of a daemon, from which its files follow.

use std::fmt;

use crate::error::{Error, Result};

/// The names of daemonry's own directories, which lie beside those of the daemons.
const RESERVED: &[&str] = &["daemonry", "daemonry-locks"];

/// A daemon's name: letters, digits and `_ . @ -`, so that it cannot leave its place in the file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPlan`] for a name with other characters, of dots alone, with `.pid` at its end, or reserved.
    ///
    /// ```
    /// # use daemonry::Name;
    /// assert!(Name::new("api@blue").is_ok());
    /// assert!(Name::new("../api").is_err());
    /// assert!(Name::new("daemonry").is_err());
    /// ```
    pub fn new(name: &str) -> Result<Self> {
        let refuse = |sentence: String| Err(Error::InvalidPlan(sentence));
        if !is_spelled_right(name) {
            let hint = if name.contains('/') { ": a path is given as the pidfile, not as the name" } else { "" };
            return refuse(format!(
                "a daemon's name must be a string of letters, digits and _ . @ -, not {name:?}{hint}"
            ));
        }
        if name.strip_suffix(".pid").is_some() {
            return refuse(format!(
                "a daemon's name must not end in .pid, as {name} does: a path is given as the pidfile, not as the name"
            ));
        }
        // Some file systems do not distinguish upper and lower case.
        if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            return refuse(format!("a daemon cannot be called {name}: that name is reserved for daemonry's own files"));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_spelled_right(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    name.bytes().all(is_allowed) && name.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        Name::new(name).expect_err("it is no name").to_string()
    }

    #[test]
    fn a_name_cannot_leave_its_place() {
        for name in ["api", "a.b", "...a", "-", "API_2@x"] {
            assert_eq!(Name::new(name).expect("it is a name").as_str(), name);
        }
        for name in ["", ".", "..", "a/b", "a b", "é", "a\n"] {
            assert!(refusal(name).starts_with("a daemon's name must be"), "{name}");
        }
        assert!(refusal("a.pid").contains("must not end in .pid"));
    }

    #[test]
    fn the_names_of_our_own_directories_are_reserved() {
        for name in ["daemonry", "Daemonry", "daemonry-locks"] {
            let sentence = format!("a daemon cannot be called {name}: that name is reserved for daemonry's own files");
            assert_eq!(refusal(name), sentence);
        }
    }
}
