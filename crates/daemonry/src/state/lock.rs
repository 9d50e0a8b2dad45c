//! The lock of an instance: who may start it. Taken before the fork, through a descriptor that only reads, so that the program can
//! inherit it without being able to write; never removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

use super::claim::{Claim, Role};
use super::key::Key;
use super::seen::Seen;
use super::{phase, program, service, transition};
use crate::error::{Error, Result, Step};
use crate::sys;

/// A lock that the caller holds.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) key: Key,
    /// Has the flock, and only reads.
    held: OwnedFd,
    /// Writes the claim; closed on exec.
    text: OwnedFd,
}

/// What one try to take a lock comes to.
pub(crate) enum Attempt {
    /// With what the last holder has left in it.
    Taken(Lock, Option<Seen>),
    /// Another process holds it; what stands in it is still the last holder's for an instant.
    Busy(Option<Seen>),
}

impl Lock {
    /// Tries once. Makes the file only for the caller itself: root's would lock another user out.
    pub(crate) fn attempt(key: &Key) -> Result<Attempt> {
        let failed = |step, errno| Error::at(step, key.place("lock"))(errno);
        let is_own = key.owner() == nix::unistd::geteuid().as_raw();
        let creates = if is_own { OFlag::O_CREAT } else { OFlag::empty() };
        let Some(held) = key.open("lock", OFlag::O_RDONLY | creates, Step::OpenLock)? else {
            return Ok(Attempt::Busy(None));
        };
        if !sys::try_flock(held.as_fd()).map_err(|errno| failed(Step::TakeLock, errno))? {
            return Ok(Attempt::Busy(key.look_at(held.as_fd())?));
        }
        // By hand it can have been removed, or replaced, in between.
        let text = key.open("lock", OFlag::O_RDWR, Step::OpenLock)?;
        let is_same = |text: &OwnedFd| sys::identity(text.as_fd()) == sys::identity(held.as_fd());
        let Some(text) = text.filter(is_same) else { return Ok(Attempt::Busy(None)) };
        let last = key.look_at(held.as_fd())?;
        Ok(Attempt::Taken(Self { key: key.clone(), held, text }, last))
    }

    /// What it says. Through another descriptor, closed again, the caller would drop its record lock.
    pub(crate) fn look(&self) -> Result<Option<Seen>> {
        self.key.look_at(self.held())
    }

    /// What the program may inherit.
    pub(crate) fn held(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }

    /// What the forked child writes its claim through.
    pub(crate) fn text(&self) -> BorrowedFd<'_> {
        self.text.as_fd()
    }

    /// Writes that the caller starts an instance of `program`, and makes the files that the instance needs. Returns the file that
    /// the instance appends to.
    pub(crate) fn begin(&self, claim: &Claim, program: Option<&str>) -> Result<OwnedFd> {
        transition::create(&self.key)?;
        let phase = phase::create(&self.key)?;
        program::create(&self.key, claim, program)?;
        self.write(claim)?;
        Ok(phase)
    }

    /// The claim of the caller, which is itself the instance.
    pub(crate) fn become_daemon(&self, claim: &Claim) -> Result<()> {
        self.write(&Claim { role: Role::Daemon, ..claim.clone() })
    }

    fn write(&self, claim: &Claim) -> Result<()> {
        let failed = |errno| Error::at(Step::WriteLock, self.key.place("lock"))(errno);
        // First: no part of an older claim is ever read behind a new one.
        nix::unistd::ftruncate(&self.text, 0).map_err(failed)?;
        sys::write_start(self.text(), &claim.encode()).map_err(failed)
    }

    /// Takes the claim back: there is no instance. The rest of the text still says whose lock it was. Whether that succeeds does
    /// not matter once the lock is free.
    pub(crate) fn give_up(&self) {
        let _taken_back = self.take_back();
    }

    /// Leaves nothing to read about the last instance. The lock itself stays, because another process may wait for it.
    pub(crate) fn forget(&self) -> Result<()> {
        self.take_back().map_err(Error::at(Step::WriteLock, self.key.place("lock")))?;
        self.key.remove(phase::KIND)?;
        self.key.remove(program::KIND)?;
        self.key.remove(service::KIND)?;
        transition::clear(&self.key)
    }

    fn take_back(&self) -> nix::Result<()> {
        sys::write_start(self.text(), b"-")
    }
}
