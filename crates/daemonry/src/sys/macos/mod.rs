//! macOS: kqueue, libproc, `flock` alone.

mod descriptors;
mod files;
mod fork;
mod ids;
mod locks;
mod priority;
mod process;
mod rlimit;

pub(crate) use descriptors::*;
pub(crate) use files::*;
pub(crate) use fork::*;
pub(crate) use ids::*;
pub(crate) use locks::*;
pub(crate) use priority::*;
pub(crate) use process::*;
pub(crate) use rlimit::*;

/// The TCP sockets that listen on a port. They are not looked for here.
pub(crate) fn tcp_listeners(_port: u16) -> Vec<(IpAddr, u64)> {
    Vec::new()
}

/// The Unix sockets that listen by this path. They are not looked for here.
pub(crate) fn unix_listeners(_path: &Path) -> Vec<u64> {
    Vec::new()
}

/// The sockets that a process has open. They are not looked for here.
pub(crate) fn sockets_of(_pid: i32) -> Option<Vec<u64>> {
    None
}
