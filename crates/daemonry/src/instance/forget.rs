//! Forgetting a daemon: its record is removed, and what else belongs to it but its log.

use std::fs;
use std::path::PathBuf;

use super::erase::erase;
use super::locate::{Located, Target, locate};
use super::status::{Status, status};
use crate::error::Result;
use crate::store::{Places, Recorded, remove};

/// A daemon that was forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Its log, which stays.
    pub log_file: Option<PathBuf>,
}

/// Removes the record and the journal of a daemon that has ended, what it reported about itself, how it ended, and its pidfile if the
/// daemon could not remove that itself. `None` if nothing is known of it. Its log, its directories and whatever the program made stay.
///
/// # Errors
///
/// [`crate::Error::NotForgotten`] if a process of it runs; [`crate::Error::PidFileHeld`]; [`crate::Error::System`], with
/// [`crate::Step::RemoveRecord`] for a record that is another user's.
pub fn forget(target: &Target) -> Result<Option<Forgotten>> {
    let Located { name, pid_file, record_file, record, journal, .. } = locate(target)?;
    let has_record = [&record_file, &journal].into_iter().flatten().any(|file| fs::symlink_metadata(file).is_ok());
    // Nothing is made where there is nothing to forget.
    if !has_record && matches!(status(&pid_file), Ok(Status::Stopped { ended: None })) {
        return Ok(None);
    }
    // One that cannot be read does not say where the self-report is.
    let places = name.iter().flat_map(Places::all).find(|places| Some(&places.record) == record_file.as_ref());
    let (self_report, log_file) = match record {
        Some(Recorded { self_report, log_file, .. }) => (self_report, log_file),
        None => (places.map(|places| places.self_report), None),
    };
    let was_known = erase(&pid_file, || {
        // The record is the last to go: what was interrupted can be done again.
        [self_report, journal, record_file].into_iter().flatten().try_for_each(|file| remove(&file))
    })?;
    Ok((has_record || was_known).then_some(Forgotten { log_file }))
}
