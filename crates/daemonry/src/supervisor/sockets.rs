//! The sockets of a service, which its supervisor keeps open: connections wait there for the next process.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::error::{Error, Result, Step};
use crate::launch::Order;
use crate::listen::{BoundSocket, Source, take_sockets};

/// The first of them, as `sd_listen_fds(3)` has it.
const FIRST: RawFd = 3;

/// The sockets in the order's sequence.
#[derive(Debug)]
pub(super) struct Sockets(Vec<BoundSocket>);

impl Sockets {
    /// Takes over what the launcher has handed to this process, and enters their numbers into the order.
    pub(super) fn adopt(order: &mut Order) -> Result<Self> {
        let count = u32::try_from(order.plan.listeners.len()).unwrap_or(u32::MAX);
        if !take_sockets(FIRST, count) {
            return Err(Error::system(Step::Adopt, nix::errno::Errno::ENOTSOCK));
        }
        let mut sockets = Vec::new();
        for ((listener, made), number) in order.plan.listeners.iter_mut().zip(&order.made).zip(FIRST..) {
            // SAFETY: the launcher has made this descriptor for this process.
            let socket = BoundSocket::adopt(unsafe { OwnedFd::from_raw_fd(number) }, made.as_deref());
            listener.source = Source::Descriptor(socket.fd.as_raw_fd());
            sockets.push(socket);
        }
        Ok(Self(sockets))
    }

    /// Closes them, which refuses every connection that waits, and removes their files.
    pub(super) fn close(&mut self) {
        for socket in self.0.drain(..) {
            socket.remove();
        }
    }
}
