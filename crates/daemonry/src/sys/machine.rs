//! Where a pid means something.

/// Where a pid means something: this boot, this PID namespace, this life of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Changes with each boot; empty where it cannot be seen.
    pub(crate) boot: String,
    /// The PID namespace; empty where it cannot be seen, and on platforms without them.
    pub(crate) namespace: String,
    /// The start time of the first process; 0 where it cannot be seen. Namespaces in turn can have the same number.
    pub(crate) init: u64,
}
