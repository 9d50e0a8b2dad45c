//! Noticing at little cost that something may have happened to named daemons: a journal has changed, or a process has ended.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::locate::journals;
use crate::store::{Name, Places};
use crate::sys::Process;

/// Watches the journals of named daemons and, because no daemon writes that it was killed, processes.
#[derive(Debug)]
pub struct JournalWatch {
    /// Whose; `None` for all daemons of the caller and of the system.
    names: Option<Vec<Name>>,
    /// The journals at the last call.
    seen: Option<Vec<(PathBuf, Mark)>>,
    /// Those whose exit makes a difference. Each is held, so that no other process can take its pid.
    processes: Vec<Process>,
    /// A process had ended before it could be held.
    has_missed: bool,
}

/// The file and how far it was written; `None` where there is none.
type Mark = Option<(u64, u64, u64, i64, i64)>;

impl JournalWatch {
    /// For these daemons, or for all of the caller and of the system, also those that are started later.
    pub const fn new(names: Option<Vec<Name>>) -> Self {
        Self { names, seen: None, processes: Vec::new(), has_missed: false }
    }

    /// Whether a journal has changed since the last call, or one of the processes has ended. At first, true.
    pub fn has_changed(&mut self) -> bool {
        let now = self.look();
        let is_same = self.seen.as_ref() == Some(&now);
        self.seen = Some(now);
        !is_same || self.has_missed || self.processes.iter().any(Process::has_ended)
    }

    /// Watches these processes from now on, and no others.
    pub fn watch(&mut self, pids: &[i32]) {
        self.processes = pids.iter().filter_map(|&pid| Process::open(pid).ok().flatten()).collect();
        self.has_missed = self.processes.len() < pids.len();
    }

    fn look(&self) -> Vec<(PathBuf, Mark)> {
        let paths: Vec<PathBuf> = match &self.names {
            Some(names) => names.iter().flat_map(Places::all).map(|places| places.journal).collect(),
            // What cannot be listed is reported by the caller's own listing.
            None => journals().unwrap_or_default(),
        };
        let marked = |path: PathBuf| {
            let mark = mark_of(&path);
            (path, mark)
        };
        paths.into_iter().map(marked).collect()
    }
}

fn mark_of(path: &Path) -> Mark {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}
