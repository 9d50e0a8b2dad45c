//! What the child executes: where the program may be, its arguments and its environment.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::ptr;

use super::c_strings::{Pointers, c_string};
use super::environment::Environment;
use super::pinned::PinnedPlan;
use crate::error::Result;

/// The arguments of execve(2).
pub(crate) struct Command {
    /// Where to try to find the program, one after the other.
    programs: Vec<CString>,
    arguments: Pointers,
    /// How a shell is called for a program that is a script without an interpreter; the place of its path is filled in by the
    /// child, which knows where it was found.
    shell_arguments: Vec<Cell<*const libc::c_char>>,
    pub(crate) environment: Environment,
}

impl Command {
    pub(super) fn new(plan: &PinnedPlan, environment: Environment) -> Result<Self> {
        let programs = plan.programs().iter().map(|path| c_string(path.as_os_str(), "the program's path"));
        let programs = programs.collect::<Result<Vec<_>>>()?;
        let arguments = plan.arguments.iter().map(|argument| c_string(argument, "an argument"));
        let arguments = Pointers::new(arguments.collect::<Result<Vec<_>>>()?);
        let rest = arguments.pointers.iter().skip(1).map(|&argument| argument.cast_const());
        let shell_arguments = [c"sh".as_ptr(), ptr::null()].into_iter().chain(rest).map(Cell::new).collect();
        Ok(Self { programs, arguments, shell_arguments, environment })
    }

    pub(crate) fn programs(&self) -> &[CString] {
        &self.programs
    }

    pub(crate) fn arguments(&self) -> *const *const libc::c_char {
        self.arguments.as_ptr()
    }

    /// The arguments of a shell that reads `script`, which must outlive them. Async-signal-safe.
    pub(crate) fn shell_arguments(&self, script: &CStr) -> *const *const libc::c_char {
        if let Some(place) = self.shell_arguments.get(1) {
            place.set(script.as_ptr());
        }
        // A cell lies in memory like what it holds.
        self.shell_arguments.as_ptr().cast()
    }
}
