//! The start of a supervisor in place of the daemon itself.

use std::ffi::OsString;

use super::order::Order;
use super::pinned::{Layer, PinnedPlan};
use super::plan::{Attributes, LaunchPlan};
use crate::error::Result;
use crate::protocol::WaitFor;

impl PinnedPlan {
    /// The start of the process above the daemon, if it is to have one. That process holds the pidfile, the sockets and the first
    /// standard streams; everything else of this plan is for the daemon.
    pub(super) fn supervisor(&self) -> Result<Option<Self>> {
        let Some(supervision) = &self.supervision else { return Ok(None) };
        self.refuse_what_env_misses()?;
        let order = Order::new(self, supervision).to_file()?;
        let label = self.name.as_ref().map_or_else(|| self.program.clone().into(), OsString::from);
        let plan = LaunchPlan {
            program: supervision.command.clone(),
            arguments: vec!["daemonry".into(), "supervise".into(), label],
            inherited_env: Vec::new(),
            // Without a directory of its own, the daemon starts where its launcher is.
            working_directory: self.working_directory.as_ref().map(|_| "/".into()),
            attributes: Attributes::default(),
            must_read: None,
            // It executes itself first.
            wait_for: self.wait_for.max(WaitFor::Start),
            supervision: None,
            ..(**self).clone()
        };
        Ok(Some(self.with_layer(plan, Layer::Supervisor { order })))
    }
}
