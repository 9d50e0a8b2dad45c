//! Linux: pidfds, record locks that survive exec, `/proc`, `close_range`.

mod descriptors;
mod files;
mod fork;
mod ids;
mod listeners;
mod locks;
mod priority;
mod process;
mod rlimit;

pub(crate) use descriptors::*;
pub(crate) use files::*;
pub(crate) use fork::*;
pub(crate) use ids::*;
pub(crate) use listeners::*;
pub(crate) use locks::*;
pub(crate) use priority::*;
pub(crate) use process::*;
pub(crate) use rlimit::*;
