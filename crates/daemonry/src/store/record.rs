//! The record of a named daemon: what it takes to start it again, and who started it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{UnlinkatFlags, geteuid};

use super::own_directory::own_directory;
use super::whole_file::replace_text;
use super::{Caller, journal};
use crate::error::{Error, Result, Step};
use crate::json::{Object, Value, array};
use crate::sys::{self, retry};
use crate::trusted_path::{Directory, Obstacle, walk};

/// More than arguments and environments can be long, in bytes; a file that is larger is no record.
const LONGEST: u64 = 16 << 20;

/// What starts the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMethod {
    /// The program itself, which makes itself a daemon.
    Daemonize,
    /// Another program, which starts it.
    SpawnDaemon,
    /// A supervisor or a shell: it stays in the foreground.
    Foreground,
}

impl StartMethod {
    const ALL: [Self; 3] = [Self::Daemonize, Self::SpawnDaemon, Self::Foreground];

    /// As the record spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daemonize => "daemonize",
            Self::SpawnDaemon => "spawnDaemon",
            Self::Foreground => "foreground",
        }
    }

    /// The method of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// What is on record about a named daemon. It outlives the daemon, and has no pid: whether the daemon runs, and as which
/// process, only the kernel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The daemon's name; missing for one that has only a pidfile.
    pub name: Option<String>,
    /// The pidfile, which need not be the conventional one.
    pub pid_file: PathBuf,
    /// The executable, or its name on `PATH`.
    pub program: OsString,
    /// Its arguments, `argv[0]` first.
    pub arguments: Vec<OsString>,
    /// The directory that it was started in, as the caller called it: a symbolic link such as `current` is followed anew.
    pub cwd: PathBuf,
    /// What starts it.
    pub method: StartMethod,
    /// Who started it.
    pub started_by: Caller,
    /// The log, if it has one.
    pub log_file: Option<PathBuf>,
    /// Its version.
    pub version: Option<String>,
    /// How long it may take to stop, in ms.
    pub stop_timeout: Option<u32>,
    /// The signal that asks it to stop, such as `SIGTERM`.
    pub kill_signal: Option<String>,
    /// Where it says something about itself.
    pub self_report: Option<PathBuf>,
    /// The user that it runs as, who alone can write that file.
    pub uid: u32,
    /// The options of its start, a JSON object. Of the environment it has only what the option `env` names.
    pub options: Option<String>,
}

impl Recorded {
    /// What the calling process knows about a daemon that it starts, or is, without arguments and options.
    pub fn of_caller(
        name: impl Into<String>,
        pid_file: impl Into<PathBuf>,
        program: impl Into<OsString>,
        method: StartMethod,
    ) -> Self {
        Self {
            name: Some(name.into()),
            pid_file: pid_file.into(),
            program: program.into(),
            arguments: Vec::new(),
            cwd: directory_or_root(),
            method,
            started_by: Caller::own(),
            log_file: None,
            version: None,
            stop_timeout: None,
            kill_signal: None,
            self_report: None,
            uid: geteuid().as_raw(),
            options: None,
        }
    }

    /// Reads the record at `path`. A record that cannot be read, or that another user than the caller and root can have written,
    /// counts as missing.
    pub fn read(path: &Path) -> Option<Self> {
        let own = [0, geteuid().as_raw()];
        let is_believed = |stat: &FileStat| own.contains(&stat.st_uid) && !sys::can_others_write(stat);
        Self::parse(&read(path, LONGEST, is_believed)?)
    }

    pub(crate) fn parse(json: &str) -> Option<Self> {
        let members = Value::parse(json)?.members()?;
        // The kernel takes no path and no argument with a zero byte.
        let word = |value: Value<'_>| value.text().filter(|text| !text.as_bytes().contains(&0));
        let required = |name: &str| word(members.get(name)?);
        let path = |name: &str| members.optional(name, |value| word(value).map(PathBuf::from));
        let string = |value: Value<'_>| value.text()?.into_string().ok();
        Some(Self {
            name: members.optional("name", string)?,
            pid_file: required("pidFile")?.into(),
            program: required("program")?,
            arguments: members.get("arguments")?.elements()?.into_iter().map(word).collect::<Option<_>>()?,
            cwd: required("cwd")?.into(),
            method: StartMethod::by_name(required("method")?.to_str()?)?,
            started_by: Caller::of(&members.get("startedBy")?.members()?)?,
            log_file: path("logFile")?,
            version: members.optional("version", string)?,
            stop_timeout: members.optional("stopTimeout", Value::number)?,
            kill_signal: members.optional("killSignal", string)?,
            self_report: path("selfReport")?,
            uid: members.get("uid")?.number()?,
            options: members.optional("options", |value| value.is_object().then(|| value.as_str().to_owned()))?,
        })
    }

    /// The JSON of a record from what only the starting program knows: adds `startedBy`, `uid`, and `cwd` unless that is there. What
    /// is no object stays as it is, and is no record.
    pub fn complete(json: &str) -> String {
        let Some(members) = Value::parse(json).and_then(Value::members) else { return json.to_owned() };
        let mut object = Object::with(json);
        if members.get("cwd").is_none() {
            object.text("cwd", directory_or_root());
        }
        object.json("uid", &geteuid().as_raw().to_string());
        object.json("startedBy", &Caller::own().to_json());
        object.end()
    }

    /// As JSON, which TypeScript reads, too.
    pub fn to_json(&self) -> String {
        let mut object = Object::new();
        object.optional_text("name", self.name.as_ref());
        object.text("pidFile", &self.pid_file);
        object.text("program", &self.program);
        object.json("arguments", &array(&self.arguments));
        object.text("cwd", &self.cwd);
        object.text("method", self.method.name());
        object.json("startedBy", &self.started_by.to_json());
        object.optional_text("logFile", self.log_file.as_ref());
        object.optional_text("version", self.version.as_ref());
        object.optional_number("stopTimeout", self.stop_timeout);
        object.optional_text("killSignal", self.kill_signal.as_ref());
        object.optional_text("selfReport", self.self_report.as_ref());
        object.json("uid", &self.uid.to_string());
        if let Some(options) = &self.options {
            object.json("options", options);
        }
        object.end()
    }
}

/// The working directory as the caller calls it: `PWD` if that leads to the same directory as `getcwd(3)`. If the directory is
/// gone, it is what it was called; `None` if nothing says that.
pub fn logical_directory() -> Option<PathBuf> {
    let named = env::var_os("PWD")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.components().all(|component| component != Component::ParentDir));
    match (named, env::current_dir()) {
        (Some(named), _) if is_same_file(&named, Path::new(".")) => Some(named),
        (_, Ok(physical)) => Some(physical),
        // What is there is another directory.
        (named, Err(_)) => named.filter(|named| !named.exists()),
    }
}

/// For what is started whichever directory the caller is in.
fn directory_or_root() -> PathBuf {
    logical_directory().unwrap_or_else(|| "/".into())
}

/// Whether two paths lead to one file or directory.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| nix::sys::stat::stat(path).ok().map(|stat| sys::identity_of(&stat));
    identity(one).is_some_and(|found| Some(found) == identity(other))
}

/// A record to be written: a file, mode 0600, which is replaced as a whole. It is written while the daemon's lock is held, and
/// stays when the daemon has ended. What is in it stands beside the lock, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is; its directory exists. A daemon that has only a pidfile has none: nothing outlives that daemon.
    pub path: Option<PathBuf>,
    /// What is in it: see [`Recorded::to_json`].
    pub json: String,
}

impl Record {
    /// Where the journal of the same daemon is.
    pub(crate) fn journal(&self) -> Option<PathBuf> {
        self.path.as_deref().map(journal::of_record)
    }

    /// Changes it to that of a daemon that runs as this user. What is no record stays as it is.
    pub(crate) fn set_uid(&mut self, uid: u32) {
        if let Some(recorded) = Recorded::parse(&self.json) {
            self.json = Recorded { uid, ..recorded }.to_json();
        }
    }

    /// Writes the record, for a process that holds the daemon's lock itself.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with [`Step::WriteRecord`].
    pub fn write(&self) -> Result<()> {
        self.place().map(drop)
    }

    /// Whether it can have its place.
    pub(crate) fn check_place(&self) -> Result<()> {
        self.path.as_deref().map_or(Ok(()), |path| own_directory(path, Step::WriteRecord).map(drop))
    }

    /// Puts the record in its place, if it has one, and keeps what was there before.
    pub(crate) fn place(&self) -> Result<Option<PlacedRecord>> {
        let Some(path) = &self.path else { return Ok(None) };
        let failed = |errno| Error::at(Step::WriteRecord, path)(errno);
        let directory = own_directory(path, Step::WriteRecord)?;
        let name = path.file_name().ok_or(Errno::EISDIR).map_err(failed)?.to_owned();
        let before = read_in(&directory, &name, LONGEST, |_| true);
        replace_text(&directory, &name, &self.json).map_err(failed)?;
        let self_report = Recorded::parse(&self.json).and_then(|recorded| recorded.self_report);
        Ok(Some(PlacedRecord { directory, name, before, self_report }))
    }
}

/// A record in its place.
#[derive(Debug)]
pub(crate) struct PlacedRecord {
    directory: Directory,
    name: OsString,
    before: Option<String>,
    self_report: Option<PathBuf>,
}

impl PlacedRecord {
    /// Puts back what was there before, for a start that has failed: why it did matters more than a record of it. What the failed
    /// daemon, or one before it, has said about itself is of no use any more.
    pub(crate) fn restore(self) {
        if let Some(path) = &self.self_report {
            let _left = remove(path);
        }
        let _left = match &self.before {
            Some(before) => replace_text(&self.directory, &self.name, before),
            None => nix::unistd::unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir),
        };
    }
}

/// Removes a record, or a self-report; a link itself, and not what it leads to.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let failed = |errno| Error::at(Step::RemoveRecord, path)(errno);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(failed(Errno::EISDIR)) };
    let removed = walk(parent)
        .map_err(|Obstacle { errno, .. }| errno)
        .and_then(|directory| nix::unistd::unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir));
    match removed {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// The text of a regular file of at most `longest` bytes that `is_believed`, by what the kernel says of the open file.
pub(super) fn read(path: &Path, longest: u64, is_believed: impl Fn(&FileStat) -> bool) -> Option<String> {
    read_in(&walk(path.parent()?).ok()?, path.file_name()?, longest, is_believed)
}

fn read_in(
    directory: &Directory,
    name: &OsStr,
    longest: u64,
    is_believed: impl Fn(&FileStat) -> bool,
) -> Option<String> {
    // Neither a FIFO nor a lease on the file makes the caller wait.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(retry(|| nix::fcntl::openat(directory, name, flags, Mode::empty())).ok()?);
    let stat = nix::sys::stat::fstat(&file).ok()?;
    if sys::kind_of(&stat) != SFlag::S_IFREG || !is_believed(&stat) {
        return None;
    }
    let mut text = String::new();
    // It may grow meanwhile.
    let length = (&file).take(longest + 1).read_to_string(&mut text).ok()?;
    (u64::try_from(length).is_ok_and(|length| length <= longest)).then_some(text)
}
