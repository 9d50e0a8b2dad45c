//! The standard streams of a supervisor, which its service inherits: those of the start first, and logs that are opened again, by
//! their names, for every further process.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::error::{Error, Result, Step};
use crate::last_words::last_words;
use crate::launch::Order;
use crate::stdio::{Opened, Recipient, Stream, open_log, open_null, read_tail};
use crate::sys;

/// Puts the logs in their places again: one that was rotated meanwhile is the new one from now on.
pub(super) fn reopen(order: &Order) -> Result<()> {
    let streams = [(&order.plan.stdout, Step::OpenStdout, 1), (&order.plan.stderr, Step::OpenStderr, 2)];
    for (stream, step, number) in streams {
        let Stream::File(file) = stream else { continue };
        let failed = |errno| Error::at(step, &file.path)(errno);
        if number == 2 && order.plan.stderr == order.plan.stdout {
            sys::put(std::io::stdout().as_fd(), number).map_err(failed)?;
        } else if let Opened::Here(log) = open_log(file, step, Recipient::with(None))? {
            sys::put(log.fd.as_fd(), number).map_err(failed)?;
        }
    }
    Ok(())
}

/// What was captured for the launcher is not needed any more.
pub(super) fn end_capture(order: &Order) -> Result<()> {
    if order.plan.stderr != Stream::Capture {
        return Ok(());
    }
    let null = open_null(Step::OpenStderr)?;
    sys::put(null.as_fd(), libc::STDERR_FILENO).map_err(|errno| Error::system(Step::OpenStderr, errno))
}

/// Where a process begins to write its log of standard error.
#[derive(Debug)]
pub(super) struct Beginning(u64);

impl Beginning {
    pub(super) fn now() -> Self {
        let stat = nix::sys::stat::fstat(std::io::stderr()).ok();
        Self(stat.and_then(|stat| u64::try_from(stat.st_size).ok()).unwrap_or(0))
    }

    /// What the process has written since that says most about its end.
    pub(super) fn last_words(&self, order: &Order) -> Option<String> {
        let Stream::File(log) = &order.plan.stderr else { return None };
        let open = |options: &mut OpenOptions| {
            options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(&log.path).ok()
        };
        let file: File = open(&mut OpenOptions::new())?;
        let is_same = |stat: nix::sys::stat::FileStat| {
            file.metadata().is_ok_and(|found| (found.dev(), found.ino()) == sys::identity_of(&stat))
        };
        // Another file has its name by now.
        if !nix::sys::stat::fstat(std::io::stderr()).is_ok_and(is_same) {
            return None;
        }
        last_words(&read_tail(file.as_fd(), self.0))
    }
}
