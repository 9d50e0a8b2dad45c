//! Files and sockets that the forked child opens itself, once it has no more rights than the daemon's user.
//!
//! Root must not open them: another user can exchange a directory on the way to them. The launcher prepares what the child
//! needs, and learns from shared memory what the child has opened.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::socket::UnixAddr;

use crate::error::Step;

/// A file behind a standard stream.
pub(crate) struct DeferredFile {
    pub(crate) path: CString,
    pub(crate) step: Step,
    /// The descriptors that it has in the daemon.
    pub(crate) targets: &'static [RawFd],
    pub(crate) access: Access,
    /// Any user can make files in its directory: it must be no link, and must be root's or the user's.
    pub(crate) is_exposed: bool,
}

/// What a file is opened for.
pub(crate) enum Access {
    Input,
    /// Appended to; created with exactly this mode.
    Output {
        mode: libc::mode_t,
        truncates: bool,
    },
}

/// A Unix socket: made by the launcher, bound by the child.
pub(crate) struct DeferredSocket {
    pub(crate) path: CString,
    pub(crate) address: UnixAddr,
    pub(crate) mode: libc::mode_t,
    pub(crate) backlog: libc::c_int,
    /// The descriptor that it has in the daemon.
    pub(crate) target: RawFd,
    /// Its place in the plan's list.
    pub(crate) index: u8,
}

/// A Unix socket of a start that is rehearsed: the child checks whether it could bind it.
pub(crate) struct RehearsedSocket {
    pub(crate) directory: CString,
    pub(crate) path: CString,
    /// Its place in the plan's list.
    pub(crate) index: u8,
}

/// A pidfile: the user's own, created with exactly this mode.
pub(crate) struct DeferredPidFile {
    pub(crate) path: CString,
    pub(crate) mode: libc::mode_t,
}

/// What the child has found out about a file that it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    /// Its length in bytes at that moment.
    pub(crate) length: u64,
    /// The child has made it.
    pub(crate) is_new: bool,
}

/// One finding as it lies in memory: all zero before there is one.
#[derive(Debug)]
#[repr(C)]
struct Slot {
    device: AtomicU64,
    inode: AtomicU64,
    length: AtomicU64,
    state: AtomicU32,
}

const OPENED: u32 = 1;
const MADE: u32 = 2;

/// The findings of one start by the descriptor that the file has in the daemon, in memory that launcher and child share, however
/// the child was forked.
#[derive(Debug)]
pub(crate) struct Findings {
    slots: NonNull<Slot>,
    count: usize,
}

// SAFETY: it is memory of atomics, which lives as long as this.
unsafe impl Send for Findings {}
// SAFETY: as above.
unsafe impl Sync for Findings {}

impl Findings {
    /// Room for those of `count` descriptors; no memory is needed for none.
    pub(crate) fn new(count: usize) -> nix::Result<Self> {
        if count == 0 {
            return Ok(Self { slots: NonNull::dangling(), count });
        }
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANON);
        // SAFETY: a new mapping where the kernel wants it.
        let memory = unsafe { libc::mmap(ptr::null_mut(), count * size_of::<Slot>(), protection, flags, -1, 0) };
        match NonNull::new(memory.cast()) {
            Some(slots) if memory != libc::MAP_FAILED => Ok(Self { slots, count }),
            _ => Err(Errno::last()),
        }
    }

    fn slots(&self) -> &[Slot] {
        // SAFETY: the mapping, which the kernel has zeroed, is as long; or there are none.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), self.count) }
    }

    fn slot(&self, target: RawFd) -> Option<&Slot> {
        self.slots().get(usize::try_from(target).ok()?)
    }

    /// Async-signal-safe.
    pub(crate) fn set(&self, target: RawFd, finding: Finding) {
        if let Some(slot) = self.slot(target) {
            slot.device.store(finding.identity.0, Ordering::Relaxed);
            slot.inode.store(finding.identity.1, Ordering::Relaxed);
            slot.length.store(finding.length, Ordering::Relaxed);
            slot.state.store(if finding.is_new { MADE } else { OPENED }, Ordering::Release);
        }
    }

    /// Async-signal-safe.
    pub(crate) fn get(&self, target: RawFd) -> Option<Finding> {
        let slot = self.slot(target)?;
        let state = slot.state.load(Ordering::Acquire);
        (state != 0).then(|| Finding {
            identity: (slot.device.load(Ordering::Relaxed), slot.inode.load(Ordering::Relaxed)),
            length: slot.length.load(Ordering::Relaxed),
            is_new: state == MADE,
        })
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        if self.count > 0 {
            // SAFETY: this is the whole mapping, and every process that shares it has ended, or has executed another program.
            unsafe { libc::munmap(self.slots.as_ptr().cast(), self.count * size_of::<Slot>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_finds_out_its_launcher_knows() {
        let findings = Findings::new(2).expect("there is memory");
        assert_eq!(findings.get(1), None);
        let finding = Finding { identity: (3, u64::MAX), length: 7, is_new: true };
        findings.set(1, finding);
        findings.set(2, finding);
        assert_eq!((findings.get(0), findings.get(1), findings.get(2)), (None, Some(finding), None));
    }
}
