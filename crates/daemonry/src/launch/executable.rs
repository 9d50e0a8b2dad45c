//! Whether this machine can execute a program, found out without a process.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::launch::interpreter;
use crate::sys;

/// Why a program cannot be executed; its text follows the program's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotExecutable {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// The file system that it is in is mounted with `noexec`.
    #[error("is in a file system that is mounted with noexec")]
    Mount,
    /// The caller has no permission to execute it, or it is no file.
    #[error("is not executable")]
    Permission,
    /// It is for another processor or another system, or no program at all.
    #[error("is not a program for this system and processor")]
    Format,
    /// The loader that it asks for is missing or not executable: it is for another C library. The reason names the loader.
    #[error("cannot be executed: {0}")]
    Interpreter(String),
    /// It cannot be examined.
    #[error("cannot be examined: {}", .0.desc())]
    System(Errno),
}

/// Checks whether this machine can execute `program`, a compiled program and no script. What cannot be read is taken for right.
///
/// # Errors
///
/// The first reason that is found why it cannot.
///
/// # References
///
/// [`execve(2)`](https://man7.org/linux/man-pages/man2/execve.2.html)
pub fn check_executable(program: &Path) -> Result<(), NotExecutable> {
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| NotExecutable::Missing)?;
    match sys::may_execute(&path) {
        Ok(()) => {}
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(NotExecutable::Missing),
        Err(Errno::EACCES) if sys::forbids_execution(program) => return Err(NotExecutable::Mount),
        Err(Errno::EACCES) => return Err(NotExecutable::Permission),
        Err(errno) => return Err(NotExecutable::System(errno)),
    }
    if interpreter::start_of(program).is_some_and(|(_, start)| !sys::is_own_format(&start)) {
        return Err(NotExecutable::Format);
    }
    match interpreter::explain(program, Path::new("/")) {
        Some((_, reason)) => Err(NotExecutable::Interpreter(reason)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiled_program_is_told_from_all_else() -> std::io::Result<()> {
        assert_eq!(check_executable(&std::env::current_exe()?), Ok(()));
        assert_eq!(check_executable(Path::new("/dev/null/program")), Err(NotExecutable::Missing));
        assert_eq!(check_executable(Path::new("/")), Err(NotExecutable::Permission));
        Ok(())
    }
}
