//! The mark of one start in the environment of its processes: where the process that a session is proven by has ended, it says which
//! of the session's members came from that start.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The variable that carries it, and stays in the environment.
pub const SESSION_VARIABLE: &str = "DAEMONRY_SESSION";

const LENGTH: usize = 32;
const SHORT: usize = 8;

/// A new one for each start. Any process of the same user can copy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionMark(String);

impl SessionMark {
    pub(crate) fn new() -> Self {
        // The keys are the kernel's random numbers.
        let random = || RandomState::new().build_hasher().finish();
        Self(format!("{:016x}{:016x}", random(), random()))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_mark = text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_mark.then(|| Self(text.to_owned()))
    }

    /// Enough of it to distinguish starts; not enough to be taken for a process of that start.
    pub(crate) fn short(&self) -> &str {
        self.0.get(..SHORT).unwrap_or(&self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `NAME=value`.
    pub(crate) fn variable(&self) -> String {
        format!("{SESSION_VARIABLE}={}", self.0)
    }
}
