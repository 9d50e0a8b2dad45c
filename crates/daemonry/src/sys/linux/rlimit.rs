//! Resource limits (setrlimit(2)).

/// The type that the C library's headers give the names of resources.
#[cfg(target_env = "gnu")]
pub(crate) type ResourceNumber = libc::__rlimit_resource_t;

#[cfg(not(target_env = "gnu"))]
pub(crate) type ResourceNumber = libc::c_int;

/// The resources that only this platform has.
pub(crate) const MORE_RESOURCES: &[(&str, ResourceNumber)] = &[
    ("locks", libc::RLIMIT_LOCKS),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
];

/// A number that a limit can have.
pub(crate) fn finite(limit: u64) -> libc::rlim_t {
    limit
}
