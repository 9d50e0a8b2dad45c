//! The daemon's environment, into which the child writes its pid.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ptr;

use super::c_strings::{Pointers, c_string};
use super::pinned::PinnedPlan;
use super::plan::LaunchPlan;
use crate::error::{Error, Result};
use crate::protocol::{START_VARIABLE, StartToken};
use crate::state::{SESSION_VARIABLE, SessionMark};
use crate::sys::Digits;
use crate::user::Account;

/// As many digits as the longest pid has.
const PID_ROOM: &str = "0000000000";

/// The variables of a plan: what is inherited, changed for the user of `account`, then what the plan sets and removes.
pub(super) fn variables(plan: &LaunchPlan, account: Option<&Account>) -> Vec<(OsString, OsString)> {
    let names = || plan.inherited_env.iter().map(|(name, _)| name.as_os_str());
    let of_user = account.map_or_else(Vec::new, |account| account.variables(names()));
    // The last change of a variable counts.
    let changes: BTreeMap<OsString, Option<OsString>> = of_user.into_iter().chain(plan.env.iter().cloned()).collect();
    let inherited = plan.inherited_env.iter().filter(|(name, _)| !changes.contains_key(name)).cloned();
    let set = changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    inherited.chain(set).collect()
}

/// The variables, and where the child writes its pid into them: with leading zeros into the start token, without into
/// `LISTEN_PID`.
pub(crate) struct Environment {
    variables: Pointers,
    token_pid: *mut u8,
    listen_pid: Option<*mut u8>,
}

impl Environment {
    /// The environment of the plan, with the variables for the session, the sockets and the start token.
    pub(super) fn new(plan: &PinnedPlan, mark: &SessionMark, token: &StartToken) -> Result<Self> {
        const LISTEN_PID: &str = "LISTEN_PID=";
        let listens = !plan.listeners.is_empty();
        let is_ours = |name: &OsStr| {
            name == START_VARIABLE
                || name == SESSION_VARIABLE
                || listens && ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].iter().any(|ours| name == *ours)
        };
        let mut strings = Vec::with_capacity(plan.environment().len() + 5);
        for (name, value) in plan.environment().iter().filter(|(name, _)| !is_ours(name)) {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            strings.push(c_string(&variable, "an environment variable")?);
        }
        strings.push(c_string(OsStr::new(&mark.variable()), "the session's mark")?);
        if listens {
            let names = plan.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(":");
            let variables = [
                format!("LISTEN_FDS={}", plan.listeners.len()),
                format!("LISTEN_FDNAMES={names}"),
                format!("{LISTEN_PID}{PID_ROOM}"),
            ];
            for variable in variables {
                strings.push(c_string(OsStr::new(&variable), "a socket's name")?);
            }
        }
        let impossible = || Error::InvalidPlan("the note or the pidfile's path contains a NUL byte".to_owned());
        let (variable, in_token) = token.to_variable().ok_or_else(impossible)?;
        strings.push(variable);
        let (last, variables) = (strings.len() - 1, Pointers::new(strings));
        let place = |index: usize, offset: usize| {
            let start = variables.pointers.get(index).copied().unwrap_or(ptr::null_mut());
            // SAFETY: the pid's digits lie inside the string, behind the variable's name.
            unsafe { start.add(offset) }.cast::<u8>()
        };
        let token_pid = place(last, in_token);
        let listen_pid = listens.then(|| place(last - 1, LISTEN_PID.len()));
        Ok(Self { variables, token_pid, listen_pid })
    }

    pub(crate) fn as_ptr(&self) -> *const *const libc::c_char {
        self.variables.as_ptr()
    }

    /// Writes the child's pid into the start token and `LISTEN_PID`. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// Only in the child, while no other code reads the environment.
    pub(crate) unsafe fn sign(&self, pid: libc::pid_t) {
        // SAFETY: the place was prepared for it.
        unsafe { StartToken::sign(self.token_pid, pid) };
        if let Some(place) = self.listen_pid {
            let digits = Digits::of_pid(pid);
            let digits = digits.as_bytes();
            // SAFETY: there is room for the longest pid, behind which the string ends anyway.
            unsafe { ptr::copy_nonoverlapping(digits.as_ptr(), place, digits.len()) };
            // SAFETY: as above.
            let end = unsafe { place.add(digits.len()) };
            // SAFETY: as above.
            unsafe { end.write(0) };
        }
    }
}
