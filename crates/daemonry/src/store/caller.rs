//! Who has asked for something: user and command.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;

use nix::unistd::getuid;

use crate::json::{Members, Object, Value};
use crate::sys;

/// A login uid that was never set (`audit_setloginuid(3)`).
const UNSET: u32 = u32::MAX;

/// How long a command line is, in bytes: it is only shown.
const LONGEST_COMMAND: usize = 4096;

/// The process that has started or stopped a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The real user id.
    pub uid: u32,
    /// The name of that user, if the database has it.
    pub user: Option<String>,
    /// The user who logged in, whatever became of the ids since (`pam_loginuid(8)`), if the kernel keeps it.
    pub login_uid: Option<u32>,
    /// The command line; at most the first 4 KiB.
    pub command: OsString,
}

impl Caller {
    /// The calling process.
    pub fn own() -> Self {
        let uid = getuid().as_raw();
        let mut command = sys::command_line().join(OsStr::new(" ")).into_vec();
        command.truncate(LONGEST_COMMAND);
        Self {
            uid,
            user: sys::user_entry(uid).map(|user| user.name),
            login_uid: fs::read_to_string("/proc/self/loginuid")
                .ok()
                .and_then(|text| text.trim_end().parse().ok())
                .filter(|uid| *uid != UNSET),
            command: OsString::from_vec(command),
        }
    }

    /// As JSON, which TypeScript reads, too.
    pub fn to_json(&self) -> String {
        self.to_short_json(LONGEST_COMMAND)
    }

    /// The same with texts of at most `most` bytes.
    pub(crate) fn to_short_json(&self, most: usize) -> String {
        let mut object = Object::new();
        object.json("uid", &self.uid.to_string());
        if let Some(user) = &self.user {
            object.short_text("user", user, most);
        }
        object.optional_number("loginUid", self.login_uid);
        object.short_text("command", &self.command, most);
        object.end()
    }

    /// What [`Caller::to_json`] has made.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        Self::of(&Value::parse(json)?.members()?)
    }

    pub(super) fn of(members: &Members<'_>) -> Option<Self> {
        Some(Self {
            uid: members.get("uid")?.number()?,
            user: members.optional("user", |value| value.text()?.into_string().ok())?,
            login_uid: members.optional("loginUid", Value::number)?,
            command: members.get("command")?.text()?,
        })
    }
}
