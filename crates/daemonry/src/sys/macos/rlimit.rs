//! Resource limits (setrlimit(2)).

/// The type that resources have.
pub(crate) type ResourceNumber = libc::c_int;

/// There are none that only this platform has.
pub(crate) const MORE_RESOURCES: &[(&str, ResourceNumber)] = &[];

/// A number that a limit can have.
pub(crate) fn finite(limit: u64) -> libc::rlim_t {
    limit.min(libc::RLIM_INFINITY)
}
