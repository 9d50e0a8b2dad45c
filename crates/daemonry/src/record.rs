//! The record beside a daemon's pidfile: what it takes to start it again, and which version of it runs.
//!
//! It is one JSON object. The core knows only its head, which has the pid in a place of fixed width, so that the forked child
//! can write its own there; the rest is the launching program's.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Step};

/// Only its owner reads a record: arguments and environments hold secrets.
const MODE: u32 = 0o600;

const BEFORE_PID: &str = "{\"pid\":";

/// Width of the pid, with spaces in front of it.
const PID_WIDTH: usize = 10;

/// Where the last digit of the pid ends.
pub(crate) const PID_END: usize = BEFORE_PID.len() + PID_WIDTH;

/// What a start leaves behind about its daemon: a JSON object with `pid`, `version` (a string or null) and more members.
///
/// The pid and the version count only as long as the kernel names that process as the holder of the pidfile. The file is
/// written (mode 0600, by renaming) while the pidfile is locked, and stays when the daemon has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is; its directory exists.
    pub path: PathBuf,
    /// The daemon's version, for [`crate::IfRunning::Reuse`]. Neither quotes, backslashes nor control characters.
    pub version: Option<String>,
    /// More members of the object, such as `"name":"api","cwd":"/"`; may be empty.
    pub members: String,
}

impl Record {
    pub(crate) fn check(&self) -> Result<()> {
        let is_plain = |character: char| !character.is_control() && character != '"' && character != '\\';
        match &self.version {
            Some(version) if !version.chars().all(is_plain) => Err(Error::InvalidPlan(
                "a version must not contain quotes, backslashes or control characters".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the record at this path is about `pid`, and says that it has this record's version.
    pub(crate) fn is_of_same_version(&self, pid: i32) -> bool {
        let expected = self.head(pid);
        let mut found = vec![0; expected.len()];
        let read = File::open(&self.path).and_then(|mut file| file.read_exact(&mut found));
        read.is_ok() && found == expected.as_bytes()
    }

    /// Writes the record of `pid`, for a process that holds the pidfile itself.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with [`Step::WriteRecord`]; [`Error::InvalidPlan`] for an impossible version.
    pub fn write(&self, pid: i32) -> Result<()> {
        self.check()?;
        replace(&self.path, self.content(pid).as_bytes()).map(drop).map_err(Error::io_at(Step::WriteRecord, &self.path))
    }

    /// Puts the record in its place, as yet without a pid.
    pub(crate) fn place(&self) -> Result<PlacedRecord> {
        let failed = || Error::io_at(Step::WriteRecord, &self.path);
        let before = match fs::read(&self.path) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed()(error)),
        };
        let file = replace(&self.path, self.content(0).as_bytes()).map_err(failed())?;
        Ok(PlacedRecord { path: self.path.clone(), file, before })
    }

    fn content(&self, pid: i32) -> String {
        let comma = if self.members.is_empty() { "" } else { "," };
        format!("{}{comma}{}}}\n", self.head(pid), self.members)
    }

    fn head(&self, pid: i32) -> String {
        let version = self.version.as_ref().map_or("null".to_owned(), |version| format!("\"{version}\""));
        format!("{BEFORE_PID}{pid:PID_WIDTH$},\"version\":{version}")
    }
}

/// A record in its place, under the lock of its pidfile.
#[derive(Debug)]
pub(crate) struct PlacedRecord {
    path: PathBuf,
    file: File,
    before: Option<Vec<u8>>,
}

impl PlacedRecord {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Puts back what was there before, for a start that has failed: why it did matters more than a record of it.
    pub(crate) fn restore(self) {
        let _left = match self.before {
            Some(before) => replace(&self.path, &before).map(drop),
            None => fs::remove_file(&self.path),
        };
    }
}

/// Makes `path` a new file with this content: whole or not at all.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<File> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    // Left by somebody who was killed; only who holds the pidfile comes here.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(MODE).open(&fresh)?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(MODE))
        .and_then(|()| file.write_all(content))
        .and_then(|()| fs::rename(&fresh, path));
    match written {
        Ok(()) => Ok(file),
        Err(error) => {
            let _left = fs::remove_file(&fresh);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::sample::{Index, select};

    use super::*;
    use crate::property::holds;

    fn record(name: &str, version: Option<&str>) -> Record {
        let path = std::env::temp_dir().join(format!("daemonry-{name}-{}.json", std::process::id()));
        Record { path, version: version.map(str::to_owned), members: "\"name\":\"api\"".to_owned() }
    }

    #[test]
    fn a_record_is_json_that_the_child_can_complete() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let record = record("json", Some("2.0"));
        let placed = record.place()?;
        assert!(!record.is_of_same_version(77));
        nix::sys::uio::pwrite(placed.as_fd(), b"77", i64::try_from(PID_END - 2)?)?;
        assert_eq!(fs::read_to_string(&record.path)?, "{\"pid\":        77,\"version\":\"2.0\",\"name\":\"api\"}\n");
        assert_eq!(fs::metadata(&record.path)?.permissions().mode() & 0o7777, MODE);
        assert!(record.is_of_same_version(77));
        assert!(!record.is_of_same_version(7));
        assert!(!Record { version: Some("2.0.1".to_owned()), ..record.clone() }.is_of_same_version(77));
        assert!(!Record { version: None, ..record.clone() }.is_of_same_version(77));
        placed.restore();
        assert!(!record.path.exists());
        Ok(())
    }

    #[test]
    fn a_failed_start_leaves_the_record_of_the_one_before() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let record = record("restore", None);
        fs::write(&record.path, "before")?;
        record.place()?.restore();
        assert_eq!(fs::read_to_string(&record.path)?, "before");
        fs::remove_file(&record.path)?;
        Ok(())
    }

    /// Versions that are easily mistaken for another, and any other.
    fn version() -> impl Strategy<Value = Option<String>> {
        option::of(prop_oneof![
            select(vec!["", "1", "1.0", "null", "1,"]).prop_map(str::to_owned),
            "[^\"\\\\\\pC]{0,12}"
        ])
    }

    /// A process that a record can be about.
    fn daemon() -> impl Strategy<Value = (i32, Option<String>)> {
        (prop_oneof![1..20, 1..=i32::MAX], version())
    }

    #[test]
    fn a_record_is_of_one_pid_and_one_version_whatever_else_is_in_it() {
        let place = record("any", None);
        holds("record to file and back", 1000, &(daemon(), daemon(), any::<String>()), |(written, asked, members)| {
            let of = |version| Record { version, members: members.clone(), ..place.clone() };
            of(written.1.clone()).write(written.0).expect("it can be written");
            assert_eq!(of(asked.1.clone()).is_of_same_version(asked.0), asked == written);
            assert!(of(written.1).is_of_same_version(written.0));
        });
        fs::remove_file(&place.path).expect("it is there");
    }

    #[test]
    fn of_a_part_or_anything_else_a_record_is_told() {
        let place = record("part", None);
        let strange = prop_oneof![vec(any::<u8>(), 0..60), Just(Vec::new())];
        holds("content of a record", 1000, &(daemon(), any::<Index>(), strange), |((pid, version), cut, strange)| {
            let record = Record { version, ..place.clone() };
            let whole = record.content(pid).into_bytes();
            let bytes = [&whole[..cut.index(whole.len() + 1)], &strange].concat();
            fs::write(&record.path, &bytes).expect("it can be written");
            assert_eq!(record.is_of_same_version(pid), bytes.starts_with(record.head(pid).as_bytes()));
        });
        fs::remove_file(&place.path).expect("it is there");
    }
}
