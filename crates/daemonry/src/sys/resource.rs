//! The resources that the platform limits, by name (setrlimit(2)).

/// A resource that the platform limits: the name of setrlimit(2) in lower case without `RLIMIT_`, such as `nofile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    name: &'static str,
    pub(crate) number: super::ResourceNumber,
}

impl Resource {
    /// The resource of this name, if the platform has it.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|resource| resource.name == name)
    }

    /// Every resource of the platform, in the order of their names.
    pub fn all() -> impl Iterator<Item = Self> {
        let mut resources = [EVERYWHERE, super::MORE_RESOURCES].concat();
        resources.sort_unstable();
        resources.into_iter().map(|(name, number)| Self { name, number })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }
}

/// The resources that every platform has.
const EVERYWHERE: &[(&str, super::ResourceNumber)] = &[
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

/// As a message shows a limit.
pub(crate) fn shown(limit: libc::rlim_t) -> String {
    if limit == libc::RLIM_INFINITY { "unlimited".to_owned() } else { limit.to_string() }
}
