//! Resource limits by name, as setrlimit(2) has them.

use crate::error::{Error, Result, Step};
use crate::sys::{self, Resource, shown};

/// One end of what a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// No limit.
    Unlimited,
    /// In the resource's own unit: bytes, seconds, microseconds or a number (setrlimit(2)).
    At(u64),
}

/// A limit to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// What the kernel enforces; `None`: as it is, as far as `hard` allows.
    pub soft: Option<Bound>,
    /// What `soft` can be raised to; `None`: as it is.
    pub hard: Option<Bound>,
}

impl Limit {
    /// The numbers to set, from the present ones.
    pub(crate) fn resolve(self) -> Result<(Resource, libc::rlimit)> {
        let raw = |bound| match bound {
            Bound::Unlimited => libc::RLIM_INFINITY,
            Bound::At(limit) => sys::finite(limit),
        };
        let present = sys::limit(self.resource.number).map_err(|errno| Error::system(Step::SetLimit, errno))?;
        let hard = self.hard.map_or(present.rlim_max, raw);
        let soft = self.soft.map_or(present.rlim_cur.min(hard), raw);
        if soft > hard {
            return Err(Error::InvalidPlan(format!(
                "the soft limit of {} ({}) is above the hard one ({}): give both to raise it",
                self.resource.name(),
                shown(soft),
                shown(hard)
            )));
        }
        Ok((self.resource, libc::rlimit { rlim_cur: soft, rlim_max: hard }))
    }
}
