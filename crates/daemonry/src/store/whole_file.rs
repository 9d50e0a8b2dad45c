//! A file that is replaced as a whole: a reader finds the old content or the new, never a part of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use crate::sys::retry;
use crate::trusted_path::Directory;

/// Only the owner reads it: arguments and the option `env` can hold secrets.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Makes `name` a new file, to which `write` gives its content. The caller holds a lock, so no other process replaces the same file meanwhile.
pub(super) fn replace(
    directory: &Directory,
    name: &OsStr,
    write: impl FnOnce(&File) -> nix::Result<()>,
) -> nix::Result<()> {
    let mut fresh = name.to_owned();
    fresh.push(".new");
    let remove = || nix::unistd::unlinkat(directory, fresh.as_os_str(), UnlinkatFlags::NoRemoveDir);
    // A process that was killed can have left one.
    match remove() {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = File::from(retry(|| nix::fcntl::openat(directory, fresh.as_os_str(), flags, MODE))?);
    let put = || {
        nix::sys::stat::fchmod(&file, MODE)?;
        write(&file)?;
        nix::fcntl::renameat(directory, fresh.as_os_str(), directory, name)
    };
    put().inspect_err(|_| {
        let _left = remove();
    })
}

/// The same with this content.
pub(super) fn replace_text(directory: &Directory, name: &OsStr, content: &str) -> nix::Result<()> {
    replace(directory, name, |mut file| {
        file.write_all(content.as_bytes()).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    })
}
