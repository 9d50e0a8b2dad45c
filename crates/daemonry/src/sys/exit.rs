//! How a process ended, and the names of signals.

use std::fmt;

/// How a process ended, as far as it is known.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was ended by the signal of this number.
    Signal(i32),
    /// The process has ended, and how is not known: the kernel reports that only to the parent.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => write!(f, "was terminated by {}", signal_name(*number)),
            Self::Unknown => write!(f, "exited"),
        }
    }
}

/// Whether a signal asks a program to end. SIGPIPE is among them as in systemd: it is how a program ends whose reader has left.
pub(crate) const fn is_request(signal: i32) -> bool {
    matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM | libc::SIGPIPE)
}

/// `SIGTERM` for 15; `signal 42` for numbers without a name.
pub fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// The number of a signal as [`signal_name`] calls it.
pub(crate) fn signal_number(name: &str) -> Option<i32> {
    let known = name.parse().ok().map(|signal: nix::sys::signal::Signal| signal as i32);
    known.or_else(|| name.strip_prefix("signal ")?.parse().ok())
}
