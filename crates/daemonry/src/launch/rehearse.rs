//! A rehearsal of a start beside the daemon that it would replace: what is known to fail is found before that daemon is stopped.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::c_strings::c_string;
use super::interpreter;
use super::interrupts::Interrupts;
use super::pinned::PinnedPlan;
use super::plan::{LaunchPlan, Rehearsal};
use super::prepare::Prepared;
use super::start::Start;
use crate::error::{Error, Result, Step};
use crate::instance::processes_of;
use crate::listen;
use crate::pidfile;
use crate::protocol::RehearsedSocket;

impl LaunchPlan {
    /// Does the steps of the start up to the execution of the program, with the rights that it would have, in a process
    /// that then exits: its user and limits, the standard streams, the working directory, the script that it must read, the program
    /// and its interpreter. Nothing is locked, emptied or left behind but the directories of a named daemon.
    ///
    /// Sockets are bound only if they are TCP sockets on a free port, for an instant. One on which a process listens is a failure if it
    /// is known to be of another service than the daemon that the pidfile names.
    ///
    /// # Errors
    ///
    /// What [`crate::launch`] would fail with.
    pub fn rehearse(&self) -> Result<()> {
        let interrupts = Interrupts { signals: None, abort: self.abort.clone() };
        let mut plan = self.pin()?;
        plan.make_places()?;
        if plan.needs_resolver() {
            plan.resolve(plan.start_timeout, &interrupts)?;
        }
        plan.rehearse_beside(&interrupts)
    }
}

impl PinnedPlan {
    /// Whether the start could have the pidfile, the record and the sockets once the instance that runs has ended. What is returned is
    /// left to the child.
    pub(crate) fn rehearse_place(&self) -> Result<Vec<RehearsedSocket>> {
        let ids = self.ids();
        if let Some(path) = &self.pid_file {
            pidfile::rehearse(path, ids.map(|ids| ids.uid))?;
        }
        // Only for sockets does it matter whose they are.
        let running = match &self.pid_file {
            Some(path) if !self.listeners.is_empty() => processes_of(path)?,
            _ => Vec::new(),
        };
        if let Some(record) = &self.record {
            record.check_place()?;
        }
        listen::rehearse(&self.listeners, self.addresses(), ids, &running)
    }

    /// The same with host names that were resolved already.
    pub(crate) fn rehearse_beside(&self, interrupts: &Interrupts) -> Result<()> {
        let sockets = self.rehearse_place()?;
        let plan = self.without_place();
        let interpreters: Vec<Vec<PathBuf>> =
            plan.programs().iter().map(|program| interpreters(&plan, program)).collect();
        let (mut prepared, descriptors, ends) = Prepared::new(&plan, None)?;
        let places = interpreters.iter().map(|places| c_strings(places)).collect::<Result<_>>()?;
        prepared.rehearsal = Some(Rehearsal { interpreters: places, sockets });
        let mut start = Start::begin(prepared, descriptors, ends, interrupts)?;
        let outcome = start.rehearse(&plan, plan.start_timeout);
        start.end_all();
        outcome.map_err(|(error, index)| match (error, usize::from(index).checked_sub(1)) {
            (Error::System { step: Step::Exec, errno, .. }, Some(candidate)) => {
                let interpreter = interpreters.get(candidate).and_then(|places| places.first()).cloned();
                Error::System { step: Step::Exec, errno, path: interpreter }
            }
            (Error::System { step: Step::Listen, errno, .. }, _) => self.failure_at(Step::Listen, index, errno),
            (error, _) => error,
        })
    }
}

fn c_strings(paths: &[PathBuf]) -> Result<Vec<CString>> {
    paths.iter().map(|path| c_string(path.as_os_str(), "an interpreter's path")).collect()
}

/// Where the interpreter of a script may be, which can be more than one place if `env(1)` looks for it; none for any other
/// program, and where it cannot be known.
fn interpreters(plan: &PinnedPlan, program: &Path) -> Vec<PathBuf> {
    let Some(line) = interpreter::shebang(program) else { return Vec::new() };
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
    let Some(interpreter) = words.next().map(Path::new).filter(|path| path.is_absolute()) else { return Vec::new() };
    let is_env = interpreter.file_name() == Some(OsStr::new("env"));
    let named = words.find(|word| *word != "-S" && !word.as_bytes().contains(&b'='));
    match named.filter(|word| is_env && !word.as_bytes().starts_with(b"-")) {
        Some(named) => plan.candidates(Path::new(named)),
        None => vec![interpreter.to_owned()],
    }
}
