//! Which daemon a name or a pidfile means, and all named daemons.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::program::own_running_program;
use super::status::{Status, status, status_of_named};
use crate::error::{Error, Result, Step};
use crate::json::{Object, array};
use crate::store::{Name, Owner, Places, Recorded, system_records, user_directory};

/// A daemon: by the name that it was started with, or by its pidfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A named daemon of the caller or the system.
    Name(Name),
    /// The daemon that holds this pidfile.
    PidFile(PathBuf),
}

/// Where a target was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The name that was asked for.
    pub name: Option<Name>,
    /// For a name: whose daemon it is.
    pub owner: Option<Owner>,
    /// Its pidfile: for a name where the record says, else where it is by convention.
    pub pid_file: PathBuf,
    /// For a name: where its record is, or would be.
    pub record_file: Option<PathBuf>,
    /// What is on record about it, if the caller may read that.
    pub record: Option<Recorded>,
    /// For a name: where its journal is, or would be.
    pub journal: Option<PathBuf>,
    /// Every pidfile that it could have been.
    pub searched: Vec<PathBuf>,
}

/// Finds the daemon that a target means. A name means the first place, the caller's own before the other, where a daemon runs,
/// whether or not its pidfile is still there; else the first with a pidfile; else the first with a record; else the caller's own.
///
/// # Errors
///
/// [`Error::System`] with [`Step::OpenDirectory`] for a relative path below a working directory that is gone.
pub fn locate(target: &Target) -> Result<Located> {
    let name = match target {
        Target::PidFile(path) => {
            let path = std::path::absolute(path).map_err(Error::io_at(Step::OpenDirectory, path))?;
            return Ok(Located {
                name: None,
                owner: None,
                pid_file: path.clone(),
                record_file: None,
                record: None,
                journal: None,
                searched: vec![path],
            });
        }
        Target::Name(name) => name,
    };
    let own = Places::own(name);
    let candidates = Places::all(name).map(|places| (located(name, &places), places == own));
    let mut searched: Vec<PathBuf> = candidates.iter().map(|(found, _)| found.pid_file.clone()).collect();
    searched.dedup();
    let rank = |(found, is_own): &(Located, bool)| {
        let rank = match status(&found.pid_file) {
            Ok(Status::Stopped { .. }) if found.record.is_some() => 2,
            Ok(Status::Stopped { .. }) => 3,
            // What cannot be inspected fails later, with a sentence about it.
            Ok(Status::Dead { .. }) | Err(_) => 1,
            Ok(_) => 0,
        };
        (rank, !is_own)
    };
    let [user, system] = candidates;
    let (found, _) = if rank(&system) < rank(&user) { system } else { user };
    Ok(Located { searched, ..found })
}

/// The named daemons of the caller and of the system, running or not, in the order of their names.
///
/// # Errors
///
/// [`Error::Directory`] with [`Step::OpenDirectory`] for a directory that cannot be read.
pub fn list() -> Result<Vec<Located>> {
    all(".json", |found| {
        is_there(found.record_file.as_deref()) || !matches!(status(&found.pid_file), Ok(Status::Stopped { .. }))
    })
}

/// The named daemons of the caller and of the system that have a journal, in the order of their names: also those that have never
/// been up.
///
/// # Errors
///
/// Those of [`list`].
pub fn list_journals() -> Result<Vec<Located>> {
    all(".jsonl", |found| is_there(found.journal.as_deref()))
}

fn is_there(file: Option<&Path>) -> bool {
    file.is_some_and(|file| fs::symlink_metadata(file).is_ok())
}

/// Where the journals of these daemons are, or could be.
pub(super) fn journals() -> Result<Vec<PathBuf>> {
    Ok(candidates(".jsonl")?.into_iter().map(|(_, places)| places.journal).collect())
}

fn all(end: &str, is_wanted: impl Fn(&Located) -> bool) -> Result<Vec<Located>> {
    let found = candidates(end)?.into_iter().map(|(name, places)| located(&name, &places));
    let mut found: Vec<Located> = found.filter(is_wanted).collect();
    // Of one name the user's comes before the system's.
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The names that there are directories of in the user's places, and files with this `end` in the system's.
fn candidates(end: &str) -> Result<Vec<(Name, Places)>> {
    let mut found = Vec::new();
    for (owner, directory, end) in
        [(Owner::User, user_directory().as_path(), ""), (Owner::System, system_records(), end)]
    {
        let names = entries(directory)?.into_iter().filter_map(|entry| Name::new(entry.strip_suffix(end)?).ok());
        found.extend(names.filter_map(|name| {
            let places = Places::all(&name).into_iter().find(|places| places.owner == owner)?;
            Some((name, places))
        }));
    }
    Ok(found)
}

impl Located {
    /// Its state, as [`status_of_named`] returns it.
    ///
    /// # Errors
    ///
    /// Those of [`status`].
    pub fn status(&self) -> Result<Status> {
        match &self.journal {
            Some(journal) => status_of_named(&self.pid_file, journal),
            None => status(&self.pid_file),
        }
    }

    /// As JSON, which TypeScript reads, too.
    pub fn to_json(&self) -> String {
        let mut object = Object::new();
        object.optional_text("name", self.name.as_ref().map(Name::as_str).as_ref());
        object.optional_text("owner", self.owner.map(Owner::name).as_ref());
        object.text("pidFile", &self.pid_file);
        if let Some(record) = &self.record {
            object.json("record", &record.to_json());
        }
        object.optional_text("journal", self.journal.as_ref());
        object.json("searched", &array(&self.searched));
        object.end()
    }
}

fn located(name: &Name, places: &Places) -> Located {
    let is_its = |record: &Recorded| record.name.as_deref() == Some(name.as_str());
    // A running daemon is known also if its record was removed.
    let running = || own_running_program(&places.pid_file).ok().flatten().filter(is_its);
    let record = Recorded::read(&places.record).filter(is_its).or_else(running);
    let pid_file = record.as_ref().map_or_else(|| places.pid_file.clone(), |record| record.pid_file.clone());
    Located {
        name: Some(name.clone()),
        owner: Some(places.owner),
        searched: vec![pid_file.clone()],
        pid_file,
        record_file: Some(places.record.clone()),
        record,
        journal: Some(places.journal.clone()),
    }
}

/// What is in a directory, as far as it could be a name; nothing if there is no directory.
fn entries(directory: &Path) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        let (path, reason) = (directory.to_owned(), errno.desc().to_owned());
        Error::Directory { step: Step::OpenDirectory, doing: "open the directory", path, reason, errno }
    };
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect::<std::io::Result<_>>()
            .map_err(failed),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}
