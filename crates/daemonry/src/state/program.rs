//! What was started, beside the lock: the same text as in the record of a named daemon, which can be removed while the daemon runs and
//! which a daemon without a name does not have.

use std::fs::File;
use std::io::{Read, Write};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::claim::Claim;
use super::key::Key;
use crate::error::{Error, Result, Step};
use crate::sys::retry;

const KIND: &str = "program";

/// More than arguments and environments can be long, in bytes.
const LONGEST: u64 = 16 << 20;

/// A new file at each start, which begins with the mark of that start: what an earlier one has left says nothing about it. The
/// caller holds the lock.
pub(super) fn create(key: &Key, claim: &Claim, program: Option<&str>) -> Result<()> {
    remove(key)?;
    let Some(program) = program else { return Ok(()) };
    let failed = |errno| Error::at(Step::WriteLock, key.place(KIND))(errno);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file =
        File::from(retry(|| openat(key.directory(), key.file(KIND).as_c_str(), flags, mode)).map_err(failed)?);
    let text = format!("{}\n{program}", claim.session_mark.as_str());
    file.write_all(text.as_bytes()).map_err(Error::io_at(Step::WriteLock, &key.place(KIND)))
}

/// The caller holds the lock.
pub(super) fn remove(key: &Key) -> Result<()> {
    match unlinkat(key.directory(), key.file(KIND).as_c_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Error::at(Step::WriteLock, key.place(KIND))(errno)),
    }
}

/// `None` where nothing is known about the instance of this claim.
pub(crate) fn read(key: &Key, claim: &Claim) -> Result<Option<String>> {
    let Some(file) = key.open(KIND, OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(None) };
    let mut bytes = Vec::new();
    File::from(file).take(LONGEST).read_to_end(&mut bytes).map_err(Error::io_at(Step::ReadLock, &key.place(KIND)))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    Ok(text.split_once('\n').filter(|(mark, _)| *mark == claim.session_mark.as_str()).map(|(_, json)| json.to_owned()))
}
