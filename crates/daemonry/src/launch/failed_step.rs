//! A step of the child that failed, as the error of the start.

use std::path::Path;

use nix::errno::Errno;

use super::interpreter;
use super::pinned::PinnedPlan;
use crate::error::{Error, Step};
use crate::listen::{Listener, Source};
use crate::pidfile;

impl PinnedPlan {
    /// A step of the child that failed, as an error.
    pub(crate) fn failure_at(&self, step: Step, index: u8, errno: Errno) -> Error {
        if step == Step::SetLimit
            && let Some(limit) = self.attributes.limits.get(usize::from(index))
            && let Ok((resource, limit)) = limit.resolve()
        {
            return Error::SetLimit { resource, soft: limit.rlim_cur, hard: limit.rlim_max, errno };
        }
        if step == Step::Listen
            && let Some(Listener { source: Source::Address(address), .. }) = self.listeners.get(usize::from(index))
        {
            return Error::Listen { address: address.clone(), errno };
        }
        if step == Step::ReadPidFile
            && let (Some(path), Some(reason)) =
                (&self.pid_file, pidfile::FAULTS.get(usize::from(index).wrapping_sub(1)))
        {
            return Error::NotAPidFile { reason, path: path.clone() };
        }
        if step == Step::Exec
            && let Some(program) = self.programs().iter().find(|program| program.exists())
            && let Some((errno, reason)) = interpreter::explain(program, self.directory_at_exec())
        {
            return Error::Explained { step, path: self.program.clone(), reason, errno };
        }
        match self.path_at(step) {
            Some(path) => Error::opening(step, path, errno),
            None => Error::system(step, errno),
        }
    }

    /// Where relative paths lead when the program is executed.
    fn directory_at_exec(&self) -> &Path {
        self.working_directory.as_deref().or(self.directory.as_deref()).unwrap_or_else(|| Path::new(""))
    }

    /// The file that a step of the child is about.
    fn path_at(&self, step: Step) -> Option<&Path> {
        match step {
            Step::ReadScript => self.must_read.as_deref(),
            Step::OpenPidFile
            | Step::ReadPidFile
            | Step::ClearPidFile
            | Step::WritePid
            | Step::WriteLock
            | Step::MarkPhase => self.pid_file.as_deref(),
            Step::Chdir => self.working_directory.as_deref(),
            Step::OpenStdin => self.stdin.path(),
            Step::OpenStdout => self.stdout.path(),
            Step::OpenStderr => self.stderr.path(),
            Step::Exec => Some(&self.program),
            _ => None,
        }
    }
}
