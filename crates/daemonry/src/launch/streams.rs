//! The files behind the standard streams.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::c_strings::c_string;
use super::plan::LaunchPlan;
use crate::error::{Error, Result, Step};
use crate::protocol::{Access, DeferredFile, Findings};
use crate::stdio::{self, Log, LogFile, Opened, Recipient, Stream};
use crate::sys;
use crate::user::Ids;

/// The files behind the three streams.
pub(super) struct Streams {
    /// Those that the child opens are `/dev/null` until then.
    pub(super) opened: Vec<OwnedFd>,
    /// The one that captures standard error.
    pub(super) memory: Option<OwnedFd>,
    /// What is left to the child.
    pub(super) deferred: Vec<DeferredFile>,
}

/// Opens what the launcher may open for the daemon. Logs that are made belong to the daemon's user.
pub(super) fn open_streams(
    plan: &LaunchPlan,
    ids: Option<&Ids>,
    findings: &Arc<Findings>,
    logs: &mut Vec<Log>,
) -> Result<Streams> {
    let duplicate = |fd: &OwnedFd| sys::duplicate_above(fd.as_fd(), 0);
    let recipient = Recipient::with(ids);
    let uid = ids.map(|ids| ids.uid);
    let mut memory = None;
    let mut opened: Vec<OwnedFd> = Vec::with_capacity(3);
    let mut deferred: Vec<DeferredFile> = Vec::new();
    let streams = [&plan.stdin, &plan.stdout, &plan.stderr];
    for ((stream, step), number) in streams.into_iter().zip(Step::STREAMS).zip(0..) {
        let failed = |errno| Error::system(step, errno);
        let fd = match stream {
            Stream::Null => stdio::open_null(step)?,
            Stream::Inherit => sys::duplicate_number(number).map_err(failed)?,
            Stream::Descriptor(fd) => sys::duplicate_number(*fd).map_err(failed)?,
            // One open file for both, so that their lines come in the order in which they were written.
            Stream::File(file) if number == 2 && plan.stderr == plan.stdout => {
                if let Some(shared) = deferred.iter_mut().find(|file| file.targets.contains(&1)) {
                    shared.targets = &[1, 2];
                }
                let shared = opened.last().ok_or_else(|| Error::system(step, Errno::EBADF))?;
                duplicate(shared).map_err(|errno| Error::at(step, &file.path)(errno))?
            }
            Stream::File(file) if number == 0 => match stdio::open_input(&file.path, recipient)? {
                Opened::Here(fd) => fd,
                Opened::ByChild { is_exposed } => {
                    deferred.push(deferred_file(file, step, number, Access::Input, is_exposed)?);
                    stdio::open_null(step)?
                }
            },
            Stream::File(file) => match stdio::open_log(file, step, recipient)? {
                Opened::Here(log) => {
                    let fd = duplicate(&log.fd).map_err(|errno| Error::at(step, &file.path)(errno));
                    logs.push(Log::Open { log, uid });
                    fd?
                }
                Opened::ByChild { is_exposed } => {
                    let access = Access::Output { mode: sys::file_mode(file.mode).bits(), truncates: !file.append };
                    deferred.push(deferred_file(file, step, number, access, is_exposed)?);
                    let (path, uid, findings) = (file.path.clone(), uid.unwrap_or(0), Arc::clone(findings));
                    logs.push(Log::Deferred { path, target: number, uid, findings });
                    stdio::open_null(step)?
                }
            },
            Stream::Capture => {
                let file = memory.insert(sys::memory_file().map_err(failed)?);
                duplicate(file).map_err(failed)?
            }
        };
        opened.push(fd);
    }
    Ok(Streams { opened, memory, deferred })
}

fn deferred_file(file: &LogFile, step: Step, number: RawFd, access: Access, is_exposed: bool) -> Result<DeferredFile> {
    const TARGETS: [&[RawFd]; 3] = [&[0], &[1], &[2]];
    let targets = usize::try_from(number).ok().and_then(|number| TARGETS.get(number)).copied().unwrap_or(&[]);
    let path = c_string(file.path.as_os_str(), "the path of a standard stream")?;
    Ok(DeferredFile { path, step, targets, access, is_exposed })
}
