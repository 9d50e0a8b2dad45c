//! What a service reports to its service manager: the datagrams of `sd_notify(3)`, without libsystemd.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockType, sendmsg, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::time::{ClockId, clock_gettime};

use crate::error::{Error, Result, Step};
use crate::sys;

/// Seconds that a manager may take to make room for a message. One that hangs must not hang its services for ever.
const PATIENCE: i64 = 5;

/// Sends the manager one message: assignments such as `READY=1`, a line each, and descriptors to keep (`FDSTORE=1`).
/// `address` is what `NOTIFY_SOCKET` says: the path of a socket, or `@` and the name of an abstract one (Linux).
///
/// Each message has a socket of its own: nothing stays open, and it counts who sends it now.
///
/// # Errors
///
/// [`Step::Notify`]
pub fn notify(address: &OsStr, state: &str, descriptors: &[RawFd]) -> Result<()> {
    let send = || {
        let to = sys::notify_address(address)?;
        let socket = sys::socket(AddressFamily::Unix, SockType::Datagram)?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE))?;
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let message = [IoSlice::new(state.as_bytes())];
        sys::retry(|| sendmsg(socket.as_raw_fd(), &message, control, MsgFlags::empty(), Some(&to)))
    };
    send().map(drop).map_err(|errno: Errno| Error::at(Step::Notify, address)(errno))
}

/// The clock that a manager compares `MONOTONIC_USEC=` with.
///
/// # Errors
///
/// [`Step::Notify`]
pub fn monotonic_clock() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).map_err(|errno| Error::system(Step::Notify, errno))
}
