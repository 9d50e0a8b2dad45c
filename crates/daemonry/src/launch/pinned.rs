//! A plan that holds everything of its surroundings that the caller may change after the call.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::environment;
use super::interpreter;
use super::interrupts::Interrupts;
use super::plan::LaunchPlan;
use crate::error::{Error, Result, Step};
use crate::listen::{self, Source};
use crate::listen_address::ListenAddress;
use crate::state::SessionMark;
use crate::stdio::{LogFile, Stream};
use crate::store::{Name, Places};
use crate::sys;
use crate::user::{Account, Ids};

/// A plan with descriptors of its own and with absolute paths: closing a descriptor, opening another file by its number or
/// changing the working directory or the environment no longer has an effect on the start. See [`LaunchPlan::pin`].
#[derive(Debug)]
pub struct PinnedPlan {
    plan: LaunchPlan,
    ids: Option<Ids>,
    environment: Vec<(OsString, OsString)>,
    places: Option<Places>,
    programs: Vec<PathBuf>,
    addresses: Vec<Option<SocketAddr>>,
    layer: Layer,
    _descriptors: Vec<OwnedFd>,
}

/// What a plan has besides if a supervisor has to do with it.
#[derive(Debug)]
pub(super) enum Layer {
    /// None has.
    Alone,
    /// It is about the supervisor, which inherits its order.
    Supervisor { order: OwnedFd },
    /// It is about the service, which carries the mark of its supervisor and ends with it.
    Service { mark: SessionMark, captures: bool },
}

impl LaunchPlan {
    /// Checks the plan, looks up the user to run as, duplicates the descriptors that the plan names, and makes its paths absolute.
    /// For a caller that launches on another thread: pin on the thread of the call.
    ///
    /// A plan without a working directory still means the one that the process has when it forks.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPlan`]; those of [`Account::look_up`]; [`Error::System`] for a user that the caller may not run it as, and
    /// for a descriptor that is not open.
    pub fn pin(&self) -> Result<PinnedPlan> {
        self.check()?;
        let account = self.attributes.run_as.as_ref().map(Account::look_up).transpose()?;
        let mut plan = self.clone();
        if let (Some(account), Some(record)) = (&account, &mut plan.record) {
            record.set_uid(account.ids.uid);
        }
        let mut pinned = PinnedPlan {
            environment: environment::variables(self, account.as_ref()),
            ids: account.map(Account::new_ids).transpose()?.flatten(),
            places: self.name.as_deref().map(Name::new).transpose()?.as_ref().map(Places::own),
            programs: Vec::new(),
            addresses: vec![None; self.listeners.len()],
            layer: Layer::Alone,
            _descriptors: self.pin_files(&mut plan)?,
            plan,
        };
        pinned.programs = pinned.candidates(&self.program);
        if pinned.supervision.is_some() && pinned.ids.is_some() {
            return Err(Error::InvalidPlan("a supervised daemon cannot run as another user yet".to_owned()));
        }
        Ok(pinned)
    }

    /// Makes `plan`, a copy of this one, name duplicates and absolute paths. The duplicates live as long as what is returned.
    fn pin_files(&self, plan: &mut Self) -> Result<Vec<OwnedFd>> {
        let mut descriptors = Vec::new();
        let mut hold = |number: RawFd, step: Step| {
            let duplicate = sys::duplicate_number_above(number, FIRST).map_err(|errno| Error::system(step, errno))?;
            let held = duplicate.as_raw_fd();
            descriptors.push(duplicate);
            Ok(held)
        };
        let streams = [&mut plan.stdin, &mut plan.stdout, &mut plan.stderr];
        for ((stream, step), number) in streams.into_iter().zip(Step::STREAMS).zip(0..) {
            match stream {
                Stream::Inherit => *stream = Stream::Descriptor(hold(number, step)?),
                Stream::Descriptor(number) => *number = hold(*number, step)?,
                Stream::File(file) => self.make_absolute(&mut file.path),
                Stream::Null | Stream::Capture => {}
            }
        }
        for listener in &mut plan.listeners {
            match &mut listener.source {
                Source::Descriptor(number) => *number = hold(*number, Step::Listen)?,
                Source::Address(ListenAddress::Unix { path, .. }) => self.make_absolute(path),
                Source::Address(ListenAddress::Tcp { .. }) => {}
            }
        }
        let record = plan.record.as_mut().and_then(|record| record.path.as_mut());
        let paths = [&mut plan.working_directory, &mut plan.must_read, &mut plan.pid_file];
        paths.into_iter().filter_map(Option::as_mut).chain(record).for_each(|path| self.make_absolute(path));
        Ok(descriptors)
    }

    fn make_absolute(&self, path: &mut PathBuf) {
        *path = self.absolute(path);
    }

    /// Where a path of the plan leads. One of a directory that is gone stays as it is: it leads nowhere.
    fn absolute(&self, path: &Path) -> PathBuf {
        let place = self.directory.as_ref().map_or_else(|| path.to_owned(), |directory| directory.join(path));
        std::path::absolute(&place).unwrap_or(place)
    }
}

/// Duplicates leave the standard streams alone: a number that is free there stays free.
pub(crate) const FIRST: RawFd = 3;

impl PinnedPlan {
    /// The ids to change to, if they are not the launcher's anyway.
    pub(crate) fn ids(&self) -> Option<&Ids> {
        self.ids.as_ref()
    }

    /// The real uids that its processes may have.
    pub(crate) fn uids(&self) -> Vec<u32> {
        vec![self.ids().map_or_else(|| nix::unistd::getuid().as_raw(), |ids| ids.uid)]
    }

    /// The whole environment of the daemon, but for what a start adds.
    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Makes the directories of a named daemon, for the user that it runs as.
    pub(crate) fn make_places(&self) -> Result<()> {
        self.places.as_ref().map_or(Ok(()), |places| places.make(self.ids()))
    }

    /// Where execvp(3) looks for a program: at its path, or for a mere name in the directories of `PATH`.
    pub(crate) fn candidates(&self, program: &Path) -> Vec<PathBuf> {
        const DEFAULT_PATH: &str = "/bin:/usr/bin";
        if program.as_os_str().as_bytes().contains(&b'/') {
            // The child has changed to another directory by then.
            return vec![self.absolute(program)];
        }
        let path = self.environment.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        // An empty element means the working directory, which is the launcher's here as for every other path.
        std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)))
            .map(|directory| self.absolute(&directory.join(program)))
            .collect()
    }

    /// Where to try to find the program, one after the other.
    pub(crate) fn programs(&self) -> &[PathBuf] {
        &self.programs
    }

    /// Fails for a script that would be executed and then end with the words of `env(1)`.
    pub(crate) fn refuse_what_env_misses(&self) -> Result<()> {
        let may_execute = |program: &&PathBuf| program.is_file() && access(*program, AccessFlags::X_OK).is_ok();
        match self.programs.iter().find(may_execute).and_then(|program| interpreter::explain_env(program)) {
            Some((errno, reason)) => {
                Err(Error::Explained { step: Step::Exec, path: self.program.clone(), reason, errno })
            }
            None => Ok(()),
        }
    }

    /// What each listener is bound to, where the resolver was asked.
    pub(crate) fn addresses(&self) -> &[Option<SocketAddr>] {
        &self.addresses
    }

    /// The same start without what can be had only once: the pidfile, the record and the sockets. It empties no log.
    pub(crate) fn without_place(&self) -> Self {
        let keeps = |stream: &Stream| match stream {
            Stream::File(file) => Stream::File(LogFile { append: true, ..file.clone() }),
            Stream::Capture => Stream::Null,
            other => other.clone(),
        };
        let plan = LaunchPlan {
            stdout: keeps(&self.stdout),
            stderr: keeps(&self.stderr),
            listeners: Vec::new(),
            pid_file: None,
            record: None,
            ..self.plan.clone()
        };
        Self {
            plan,
            ids: self.ids.clone(),
            environment: self.environment.clone(),
            places: None,
            programs: self.programs.clone(),
            addresses: Vec::new(),
            layer: Layer::Alone,
            _descriptors: Vec::new(),
        }
    }

    /// The same listeners and files for another process of this start.
    pub(super) fn with_layer(&self, plan: LaunchPlan, layer: Layer) -> Self {
        Self {
            ids: None,
            environment: Vec::new(),
            places: None,
            programs: vec![plan.program.clone()],
            addresses: self.addresses.clone(),
            layer,
            _descriptors: Vec::new(),
            plan,
        }
    }

    pub(super) fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The service of a supervisor, whose mark it carries.
    pub(crate) fn below(self, mark: SessionMark, captures: bool) -> Self {
        Self { layer: Layer::Service { mark, captures }, ..self }
    }

    /// Whether a host name has to be resolved.
    pub(crate) fn needs_resolver(&self) -> bool {
        self.plan.listeners.iter().any(|listener| listen::host_name(&listener.source).is_some())
    }

    /// Resolves the host names of its listeners within `limit`.
    pub(crate) fn resolve(&mut self, limit: Duration, interrupts: &Interrupts) -> Result<()> {
        self.addresses =
            listen::resolve(&self.plan.listeners, limit, &|event, deadline| interrupts.wait_for(event, deadline))?;
        Ok(())
    }
}

impl Deref for PinnedPlan {
    type Target = LaunchPlan;

    fn deref(&self) -> &LaunchPlan {
        &self.plan
    }
}
