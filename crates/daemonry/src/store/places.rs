//! Where a named daemon keeps its files: a user's places and the system's.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::geteuid;

use super::{Name, journal};
use crate::json::Object;
use crate::sys;

/// Whose places they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The caller's own.
    User,
    /// The system's, which root manages.
    System,
}

impl Owner {
    /// As the public interfaces spell it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// The files of a named daemon. Nothing is looked up or created to name them.
///
/// | | pidfile, socket, self-report | log | record, journal |
/// | --- | --- | --- | --- |
/// | root | `/run/NAME/` | `/var/log/NAME/` | `/var/lib/daemonry/` |
/// | users | `$XDG_STATE_HOME/daemonry/NAME/`, by default in `~/.local/state` | the same | the same |
/// | root, macOS | `/var/run/NAME/` | `/var/log/NAME/` | `/var/db/daemonry/` |
/// | users, macOS | `~/Library/Application Support/daemonry/NAME/` | `~/Library/Logs/daemonry/NAME/` | beside the pidfile |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Whose they are.
    pub owner: Owner,
    /// Its pidfile.
    pub pid_file: PathBuf,
    /// Its log.
    pub log_file: PathBuf,
    /// The Unix socket that it may listen on.
    pub socket: PathBuf,
    /// How it was started: see [`crate::Record`]. The system's lie in a directory that is root's alone and outlive a reboot,
    /// because a restart executes what they say.
    pub record: PathBuf,
    /// What has happened to it: see [`crate::JournalReader`]. It lies beside the record, and is removed with it.
    pub journal: PathBuf,
    /// What it says about itself: see [`crate::SelfReport`].
    pub self_report: PathBuf,
}

/// What the daemon is called that this process is, if root has started it: it may have given up root's rights.
static SYSTEM_NAME: OnceLock<Name> = OnceLock::new();

/// Keeps [`Places::own`] in this process what they were when root started it by that name, whichever user it is now.
pub fn stay_in_system_places(name: Name) {
    // A process is one daemon; whatever comes later is about another.
    let _earlier = SYSTEM_NAME.set(name);
}

impl Places {
    /// Where the caller's daemon of that name has its files.
    pub fn own(name: &Name) -> Self {
        let is_systems = geteuid().is_root() || SYSTEM_NAME.get() == Some(name) || has_runtime_directory(name);
        if is_systems { Self::system(name) } else { Self::user(name) }
    }

    /// Where the daemons of that name can be, the user's before the system's.
    pub fn all(name: &Name) -> [Self; 2] {
        [Self::user(name), Self::system(name)]
    }

    /// Where root's daemon of that name has its files.
    pub fn system(name: &Name) -> Self {
        let record = system_records().join(format!("{name}.json"));
        let run = system_run().join(name.as_str());
        Self::within(name, Owner::System, &run, &Path::new("/var/log").join(name.as_str()), record)
    }

    fn user(name: &Name) -> Self {
        let run = user_directory().join(name.as_str());
        let log = user_logs().map_or_else(|| run.clone(), |logs| logs.join(name.as_str()));
        let record = run.join(format!("{name}.json"));
        Self::within(name, Owner::User, &run, &log, record)
    }

    fn within(name: &Name, owner: Owner, run: &Path, log: &Path, record: PathBuf) -> Self {
        let in_run = |end: &str| run.join(format!("{name}.{end}"));
        Self {
            owner,
            pid_file: in_run("pid"),
            log_file: log.join(format!("{name}.log")),
            socket: in_run("sock"),
            journal: journal::of_record(&record),
            record,
            self_report: in_run("self.json"),
        }
    }

    /// The places of a name as JSON: `user`, `system`, and which of them is the caller's `own`. Only a record that the caller can
    /// keep there is in them.
    pub fn to_json(name: &Name) -> String {
        let own = Self::own(name);
        let mut object = Object::new();
        for places in Self::all(name) {
            object.json(places.owner.name(), &places.members());
        }
        object.text("own", own.owner.name());
        object.end()
    }

    fn members(&self) -> String {
        let mut object = Object::new();
        object.text("pidFile", &self.pid_file);
        object.text("logFile", &self.log_file);
        object.text("socket", &self.socket);
        object.optional_text("record", self.keeps_record().then_some(&self.record));
        object.text("selfReport", &self.self_report);
        object.end()
    }

    /// Whether the caller can keep a record there: the system's records are root's alone.
    pub fn keeps_record(&self) -> bool {
        self.owner == Owner::User || geteuid().is_root()
    }
}

/// Whether systemd has made the system's directory for this service, whichever user it runs as (`RuntimeDirectory=NAME`).
fn has_runtime_directory(name: &Name) -> bool {
    let directory = system_run().join(name.as_str());
    env::var_os("RUNTIME_DIRECTORY")
        .is_some_and(|directories| env::split_paths(&directories).any(|one| one == directory))
}

fn system_run() -> &'static Path {
    Path::new(if cfg!(target_os = "macos") { "/var/run" } else { "/run" })
}

pub(crate) fn system_records() -> &'static Path {
    Path::new(if cfg!(target_os = "macos") { "/var/db/daemonry" } else { "/var/lib/daemonry" })
}

/// What the directories of a user's daemons lie in.
pub(crate) fn user_directory() -> PathBuf {
    if cfg!(target_os = "macos") {
        return home().join("Library/Application Support/daemonry");
    }
    // Not the runtime directory, which cron and sudo do not have and a logout deletes.
    absolute("XDG_STATE_HOME").unwrap_or_else(|| home().join(".local/state")).join("daemonry")
}

/// Where a user's logs lie, if not with the rest.
fn user_logs() -> Option<PathBuf> {
    cfg!(target_os = "macos").then(|| home().join("Library/Logs/daemonry"))
}

/// Whether the caller has no home directory, or the root directory as in a container, where only root can make anything.
pub(super) fn lacks_home() -> bool {
    let is_elsewhere = cfg!(not(target_os = "macos")) && absolute("XDG_STATE_HOME").is_some();
    !is_elsewhere && home() == Path::new("/")
}

/// The caller's home directory. If neither the environment nor the database has one, it is `/`, where nothing can be made: that
/// fails with a sentence, and a service in the foreground runs without files.
fn home() -> PathBuf {
    absolute("HOME")
        .or_else(|| sys::user_entry(geteuid().as_raw()).map(|user| user.dir).filter(|home| home.is_absolute()))
        .unwrap_or_else(|| "/".into())
}

/// An absolute path in the environment; a relative one is ignored (XDG Base Directory Specification).
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(|value: OsString| PathBuf::from(value)).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_systems_places_are_the_conventional_ones() {
        let name = Name::new("api").expect("it is a name");
        let places = Places::system(&name);
        let all =
            [&places.pid_file, &places.socket, &places.self_report, &places.log_file, &places.record, &places.journal];
        let expected = [
            "/run/api/api.pid",
            "/run/api/api.sock",
            "/run/api/api.self.json",
            "/var/log/api/api.log",
            "/var/lib/daemonry/api.json",
            "/var/lib/daemonry/api.jsonl",
        ];
        assert_eq!(all.map(|path| path.to_str().unwrap_or_default()), expected);
    }
}
