//! What a running daemon says about itself, in a file of its own: it is only shown.
//!
//! A daemon that has given up root's rights cannot, and must not, write the record that a restart executes. So that there is one
//! way for all, every named daemon has this file beside its pidfile.

use std::path::Path;

use nix::errno::Errno;

use super::record::read;
use super::whole_file::replace_text;
use crate::error::{Error, Result, Step};
use crate::json::{Members, Object, Value};
use crate::trusted_path::{Obstacle, walk};

/// A longer file is no self-report, in bytes.
const LONGEST: u64 = 64 << 10;

const MEMBERS: [&str; 4] = ["version", "status", "socket", "problem"];

/// What a daemon says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfReport {
    /// Its version, if only the program knows it.
    pub version: Option<String>,
    /// One line about what it does.
    pub status: Option<String>,
    /// The Unix socket on which it serves.
    pub socket: Option<String>,
    /// What went wrong with its log since it was last opened.
    pub problem: Option<String>,
}

impl SelfReport {
    /// Writes what the calling process says about itself.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with [`Step::WriteRecord`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut object = Object::new();
        object.json("pid", &std::process::id().to_string());
        self.add_to(&mut object);
        let obstructed = |Obstacle { path, errno }| Error::System { step: Step::WriteRecord, errno, path: Some(path) };
        let directory = walk(path.parent().unwrap_or(Path::new("/"))).map_err(obstructed)?;
        path.file_name()
            .ok_or(Errno::EISDIR)
            .and_then(|name| replace_text(&directory, name, &object.end()))
            .map_err(Error::at(Step::WriteRecord, path))
    }

    /// What process `pid`, which runs as user `uid`, says about itself. Another user's file, and one about another process, says
    /// nothing. The text is not to be trusted: control characters are replaced, because they command a terminal.
    pub fn read(path: &Path, uid: u32, pid: i32) -> Self {
        read(path, LONGEST, |stat| stat.st_uid == uid).and_then(|json| Self::parse(&json, pid)).unwrap_or_default()
    }

    fn parse(json: &str, pid: i32) -> Option<Self> {
        let members = Value::parse(json)?.members()?;
        if members.get("pid")?.number() != Some(pid) {
            return None;
        }
        let mut report = Self::of(&members);
        for text in report.members().into_iter().flatten() {
            *text = text.replace(char::is_control, "?");
        }
        Some(report)
    }

    /// As JSON, without the pid.
    pub fn to_json(&self) -> String {
        let mut object = Object::new();
        self.add_to(&mut object);
        object.end()
    }

    /// What [`SelfReport::to_json`] has made, or JavaScript; nothing for anything else.
    pub fn from_json(json: &str) -> Self {
        Value::parse(json).and_then(Value::members).map(|members| Self::of(&members)).unwrap_or_default()
    }

    fn of(members: &Members<'_>) -> Self {
        let mut report = Self::default();
        for (name, text) in MEMBERS.into_iter().zip(report.members()) {
            *text = members.get(name).and_then(Value::text).map(|text| text.to_string_lossy().into_owned());
        }
        report
    }

    fn add_to(&self, object: &mut Object) {
        for (name, text) in MEMBERS.into_iter().zip(self.clone().members()) {
            object.optional_text(name, text.as_ref());
        }
    }

    /// In the order of [`MEMBERS`].
    fn members(&mut self) -> [&mut Option<String>; 4] {
        [&mut self.version, &mut self.status, &mut self.socket, &mut self.problem]
    }
}
