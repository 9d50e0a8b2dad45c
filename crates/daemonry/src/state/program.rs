//! What was started, beside the lock: the same text as in the record of a named daemon, which can be removed while the daemon runs and
//! which a daemon without a name does not have.

use std::fs::File;
use std::io::{Read, Write};

use nix::fcntl::OFlag;

use super::claim::Claim;
use super::key::Key;
use crate::error::{Error, Result, Step};

pub(super) const KIND: &str = "program";

/// More than arguments and environments can be long, in bytes.
const LONGEST: u64 = 16 << 20;

/// A new file at each start, which begins with the mark of that start: what an earlier one has left says nothing about it. The
/// caller holds the lock.
pub(super) fn create(key: &Key, claim: &Claim, program: Option<&str>) -> Result<()> {
    let Some(program) = program else { return key.remove(KIND) };
    let mut file = File::from(key.renew(KIND)?);
    let text = format!("{}\n{program}", claim.session_mark.as_str());
    file.write_all(text.as_bytes()).map_err(Error::io_at(Step::WriteLock, &key.place(KIND)))
}

/// `None` where nothing is known about the instance of this claim.
pub(crate) fn read(key: &Key, claim: &Claim) -> Result<Option<String>> {
    let Some(file) = key.open(KIND, OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(None) };
    let mut bytes = Vec::new();
    File::from(file).take(LONGEST).read_to_end(&mut bytes).map_err(Error::io_at(Step::ReadLock, &key.place(KIND)))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    Ok(text.split_once('\n').filter(|(mark, _)| *mark == claim.session_mark.as_str()).map(|(_, json)| json.to_owned()))
}
