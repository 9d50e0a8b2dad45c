//! What the child changes of its own process before it executes the program: its user, its limits, its priority.

use std::cell::UnsafeCell;
use std::ffi::{CString, OsStr};

use super::c_strings::c_string;
use super::plan::Attributes;
use crate::error::Result;
use crate::stdio::Recipient;
use crate::sys::{self, Resource};
use crate::user::Ids;

/// The attributes of a plan in the form in which a forked child can set them.
pub(crate) struct PreparedAttributes {
    pub(crate) umask: libc::mode_t,
    pub(crate) ids: Option<Ids>,
    /// What the launcher has and the daemon's user, who is another, could not have.
    pub(crate) elevated: Option<sys::Elevated>,
    /// Room for the groups that the child finds, and for one more.
    found_groups: UnsafeCell<Vec<libc::gid_t>>,
    pub(crate) limits: Vec<(Resource, libc::rlimit)>,
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score: Option<CString>,
    pub(crate) no_new_privileges: bool,
}

impl PreparedAttributes {
    /// With the ids to change to, if they are not the launcher's.
    pub(super) fn new(attributes: &Attributes, ids: Option<&Ids>) -> Result<Self> {
        let Attributes { umask, run_as: _, limits, nice, oom_score_adjust, no_new_privileges } = attributes;
        let is_other_user = matches!(Recipient::with(ids), Recipient::User(_));
        // A better place than others have is for those who may take it.
        let (own_nice, own_score) = if is_other_user { sys::own_priorities() } else { (0, 0) };
        let oom_score = oom_score_adjust.or((own_score < 0).then_some(0)).map(|score| score.to_string());
        Ok(Self {
            umask: sys::file_mode(*umask).bits(),
            ids: ids.cloned(),
            elevated: is_other_user.then(sys::Elevated::now),
            found_groups: UnsafeCell::new(vec![0; ids.map_or(0, |ids| ids.groups.len() + 1)]),
            limits: limits.iter().map(|limit| limit.resolve()).collect::<Result<_>>()?,
            nice: nice.or((own_nice < 0).then_some(0)),
            oom_score: oom_score.map(|score| c_string(OsStr::new(&score), "the OOM score")).transpose()?,
            no_new_privileges: *no_new_privileges,
        })
    }

    /// Room for the groups that the child finds. Async-signal-safe.
    #[expect(clippy::mut_from_ref, reason = "only the one child asks, once")]
    pub(crate) fn found_groups(&self) -> &mut [libc::gid_t] {
        // SAFETY: only the child uses it while it runs in this memory.
        unsafe { &mut *self.found_groups.get() }
    }

    /// Whether the length of files is limited.
    pub(crate) fn limits_files(&self) -> bool {
        self.limits.iter().any(|(resource, _)| resource.name() == "fsize")
    }
}
