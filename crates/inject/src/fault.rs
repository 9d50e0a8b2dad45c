//! What is to happen to which call.

use std::str::FromStr;
use std::time::Duration;

use nix::errno::Errno;

/// One call and what happens to it, as `ROLE/CALL/N/ACTION`: `daemon/dup2/2/EBADF`.
pub(crate) struct Fault {
    /// The process or thread, as the trace names it.
    pub(crate) role: String,
    /// The system call's name.
    pub(crate) call: String,
    /// Which of them, from 1.
    pub(crate) number: usize,
    pub(crate) action: Action,
}

#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// It is not made, and fails.
    Fail(Errno),
    /// At most one byte is asked for.
    Short,
    /// It is made later.
    Delay(Duration),
    /// It is not made, for its process is killed.
    Kill,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [role, call, number, action] = text.split('/').collect::<Vec<_>>()[..] else {
            return Err(format!("a fault is ROLE/CALL/N/ACTION, not {text:?}"));
        };
        let number = number.parse().map_err(|_| format!("no number of a call: {number:?}"))?;
        Ok(Self { role: role.into(), call: call.into(), number, action: action.parse()? })
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(milliseconds) = text.strip_prefix("delay=") {
            let milliseconds = milliseconds.parse().map_err(|_| format!("no number of milliseconds: {text:?}"))?;
            return Ok(Self::Delay(Duration::from_millis(milliseconds)));
        }
        match text {
            "short" => Ok(Self::Short),
            "kill" => Ok(Self::Kill),
            name => (1..=libc::EHWPOISON)
                .map(Errno::from_raw)
                .find(|errno| format!("{errno:?}") == name)
                .map(Self::Fail)
                .ok_or_else(|| format!("neither an errno nor short, delay=MS or kill: {name:?}")),
        }
    }
}
