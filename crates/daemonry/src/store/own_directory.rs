//! The directory of a record and of what lies beside it.

use std::path::Path;

use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::error::{Error, Result, Step};
use crate::trusted_path::{Directory, Obstacle, Trust, walk};

/// The directory of a record, or of what lies beside it. Where root writes what a restart executes, no other user can have
/// exchanged anything.
pub(super) fn own_directory(file: &Path, step: Step) -> Result<Directory> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    let directory = walk(parent).map_err(|Obstacle { path, errno }| Error::System { step, errno, path: Some(path) })?;
    if geteuid().is_root() && directory.trust() == Trust::Others {
        return Err(Error::at(step, parent)(Errno::EPERM));
    }
    Ok(directory)
}
