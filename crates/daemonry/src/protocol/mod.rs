//! What launcher, forked child and daemon say to each other: over pipes, by an environment variable, and in shared memory.

mod deferred;
mod frame;
mod start_token;

pub(crate) use deferred::{Access, DeferredFile, DeferredPidFile, DeferredSocket, Finding, Findings, RehearsedSocket};
pub use frame::Report;
#[cfg(test)]
pub(crate) use frame::tests::any_bytes;
pub(crate) use frame::{FRAME_LENGTH, Frame};
pub use start_token::START_VARIABLE;
pub(crate) use start_token::{Handed, StartToken};

/// When a start counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitFor {
    /// The program's image has replaced the forked child.
    Exec,
    /// The daemon has taken over the start and reported [`crate::Report::Started`].
    Start,
    /// The daemon has reported [`crate::Report::Ready`].
    Ready,
}
