//! Resource limits (setrlimit(2)).

/// The type that resources have.
pub(crate) type ResourceNumber = libc::c_int;

/// The resources of setrlimit(2).
pub(crate) const RESOURCES: &[(&str, ResourceNumber)] = &[
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("stack", libc::RLIMIT_STACK),
];

/// A number that a limit can have.
pub(crate) fn finite(limit: u64) -> libc::rlim_t {
    limit.min(libc::RLIM_INFINITY)
}
