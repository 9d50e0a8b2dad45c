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

    /// Every resource of the platform.
    pub fn all() -> impl Iterator<Item = Self> {
        super::RESOURCES.iter().map(|&(name, number)| Self { name, number })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }
}

/// As a message shows a limit.
pub(crate) fn shown(limit: libc::rlim_t) -> String {
    if limit == libc::RLIM_INFINITY { "unlimited".to_owned() } else { limit.to_string() }
}
