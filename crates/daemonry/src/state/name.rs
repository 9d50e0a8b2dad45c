//! Which pidfile a name is served under: a named daemon can have a pidfile of its own choice, and one name is one instance.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::fcntl::OFlag;

use super::key::Key;
use super::seen::Settled;
use crate::error::{Error, Result, Step};
use crate::sys;

const MOST: usize = 8 * 1024;

/// Writes down that `name` is served under the pidfile of `key`, whose lock the caller holds and has its claim in. Returns the
/// pidfile under which an instance of that name runs or starts already, and its pid.
///
/// Each of two starts under different pidfiles first has its claim in its own lock, so the start that comes here second sees the
/// other.
pub(crate) fn serve_under(key: &Key, name: &str) -> Result<Option<(PathBuf, i32)>> {
    let names = key.sibling(&PathBuf::from("/").join("name").join(name));
    let failed = |step, errno| Error::at(step, names.place("name"))(errno);
    let Some(file) = names.open("name", OFlag::O_RDWR | OFlag::O_CREAT, Step::WriteLock)? else { return Ok(None) };
    // A holder that was stopped in the middle keeps no start from going on.
    let _is_locked = names.lock_soon(file.as_fd(), "name")?;
    let bytes = sys::read_start(file.as_fd(), MOST).map_err(|errno| failed(Step::ReadLock, errno))?;
    let before = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes));
    if !bytes.is_empty() && before != key.path {
        let other = key.sibling(&before);
        if let Settled::Live(seen) = other.settle()? {
            return Ok(Some((before, seen.claim.pid)));
        }
    }
    if before != key.path {
        nix::unistd::ftruncate(&file, 0).map_err(|errno| failed(Step::WriteLock, errno))?;
        sys::write_start(file.as_fd(), key.path.as_os_str().as_bytes())
            .map_err(|errno| failed(Step::WriteLock, errno))?;
    }
    Ok(None)
}
