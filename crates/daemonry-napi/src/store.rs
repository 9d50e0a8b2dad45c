//! Names, places, records and targets. They cross as JSON, which the core writes anyway: objects of N-API would take much more code.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use daemonry::{
    Event, Forgotten, JournalReader, JournalWatch, Name, PlaceFile, Places, Record, Recorded, SelfReport, Status,
    Target,
};
use napi::bindgen_prelude::Either;
use napi_derive::napi;

use crate::failure::{Failure, outcome};

/// Where a daemon of that name has its files, as JSON: `user`, `system`, and which of them is the caller's `own`. Nothing is
/// looked up or created.
#[napi(catch_unwind)]
pub fn places(name: String) -> Either<String, Failure> {
    outcome(Name::new(&name).map(|name| Places::to_json(&name)))
}

/// Keeps the places of this process what they were when root started it by that name, whichever user it is now.
#[napi(catch_unwind)]
pub fn stay_in_system_places(name: String) -> Option<Failure> {
    Name::new(&name).map(daemonry::stay_in_system_places).err().map(Failure::from)
}

/// Makes the directories of the named daemon that this process is.
#[napi(catch_unwind)]
pub fn make_places(name: String) -> Option<Failure> {
    Name::new(&name).and_then(|name| Places::own(&name).make(None)).err().map(Failure::from)
}

/// Makes the directory of the pidfile, the log or the record for this process, which must be able to write there.
#[napi(catch_unwind)]
pub fn claim_place(
    name: String,
    #[napi(ts_arg_type = "'pidFile' | 'log' | 'record'")] file: String,
) -> Option<Failure> {
    let file = match file.as_str() {
        "log" => PlaceFile::Log,
        "record" => PlaceFile::Record,
        _ => PlaceFile::PidFile,
    };
    Name::new(&name).and_then(|name| Places::own(&name).claim(file)).err().map(Failure::from)
}

/// What a start leaves on record.
#[napi(object, object_to_js = false)]
pub struct NativeRecord {
    /// Where it is; missing for a daemon that has only a pidfile.
    pub path: Option<String>,
    /// A JSON object, to which the core adds who starts the daemon, where, and as which user it runs.
    pub json: String,
}

impl From<NativeRecord> for Record {
    fn from(NativeRecord { path, json }: NativeRecord) -> Self {
        Self { path: path.map(Into::into), json: Recorded::complete(&json) }
    }
}

/// The daemon of a name as JSON: `name`, `pidFile`, `record`, `journal`, and `searched`, every pidfile that it could have been.
#[napi(catch_unwind)]
pub fn locate(name: String) -> Either<String, Failure> {
    outcome(Name::new(&name).and_then(|name| daemonry::locate(&Target::Name(name))).map(|found| found.to_json()))
}

/// The named daemons of this user and of the system, each as JSON, in the order of their names.
#[napi(catch_unwind)]
pub fn list_daemons() -> Either<Vec<String>, Failure> {
    outcome(daemonry::list().map(|found| found.iter().map(daemonry::Located::to_json).collect()))
}

/// Those that have a journal, in the same form.
#[napi(catch_unwind)]
pub fn list_journals() -> Either<Vec<String>, Failure> {
    outcome(daemonry::list_journals().map(|found| found.iter().map(daemonry::Located::to_json).collect()))
}

/// What became of a daemon that was to be forgotten.
#[napi(object, object_from_js = false)]
pub struct ForgetOutcome {
    /// `forgotten` or `not-known`.
    pub outcome: &'static str,
    /// Its log, which stays.
    pub log_file: Option<String>,
}

/// Forgets the daemon of a name, or of a pidfile.
#[napi(catch_unwind)]
pub fn forget_daemon(name: Option<String>, pid_file: String) -> Either<ForgetOutcome, Failure> {
    let target = name.map_or(Ok(Target::PidFile(pid_file.into())), |name| Name::new(&name).map(Target::Name));
    let forgotten = target.and_then(|target| daemonry::forget(&target));
    outcome(forgotten.map(|forgotten| match forgotten {
        Some(Forgotten { log_file }) => {
            let log_file = log_file.map(|path| path.to_string_lossy().into_owned());
            ForgetOutcome { outcome: "forgotten", log_file }
        }
        None => ForgetOutcome { outcome: "not-known", log_file: None },
    }))
}

/// The working directory as the caller calls it: a symbolic link such as `current` is not resolved. `null` if it was
/// removed and its name is not known.
#[napi(catch_unwind)]
pub fn logical_directory() -> Option<String> {
    daemonry::logical_directory().map(|directory| directory.to_string_lossy().into_owned())
}

/// The place of an interpreter's script among its arguments, `argv[0]` being the first; `null` if it is not known.
#[napi(catch_unwind)]
pub fn script_among(program: String, arguments: Vec<String>) -> Option<u32> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    daemonry::script_among(OsStr::new(&program), &arguments).and_then(|index| index.try_into().ok())
}

/// Why the daemon of a pidfile cannot be taken for what the record is about: it runs as another program.
#[napi(catch_unwind)]
pub fn other_program(pid_file: String, record: NativeRecord) -> Option<Failure> {
    let Ok(Status::Running { pid, .. }) = daemonry::status(Path::new(&pid_file)) else { return None };
    Record::from(record).other_program(pid).map_or_else(|error| Some(error.into()), |other| other.map(Failure::from))
}

/// Whether the daemon of a pidfile runs, and has another version.
#[napi(catch_unwind)]
pub fn runs_other_version(pid_file: String, version: String) -> Either<bool, Failure> {
    outcome(daemonry::runs_other_version(Path::new(&pid_file), &version))
}

/// What process `pid`, which runs as user `uid`, reports about itself, as JSON: not to be trusted, without control characters.
#[napi(catch_unwind)]
pub fn read_self_report(path: String, uid: u32, pid: i32) -> String {
    SelfReport::read(Path::new(&path), uid, pid).to_json()
}

/// Writes what this process reports about itself.
#[napi(catch_unwind)]
pub fn write_self_report(path: String, json: String) -> Option<Failure> {
    SelfReport::from_json(&json).write(Path::new(&path)).err().map(Failure::from)
}

/// Reads a journal, and what is appended later.
#[napi]
pub struct NativeJournal {
    reader: JournalReader,
}

/// For the journal at `path`, which need not be there yet.
#[napi(catch_unwind)]
pub fn open_journal(path: String) -> NativeJournal {
    NativeJournal { reader: JournalReader::new(path) }
}

#[napi]
impl NativeJournal {
    /// The events since the last call, each as JSON; at first all.
    #[napi(catch_unwind)]
    pub fn read(&mut self) -> Either<Vec<String>, Failure> {
        outcome(self.reader.read_new().map(|events| events.iter().map(Event::to_json).collect()))
    }
}

/// Notices that something may have happened to named daemons.
#[napi]
pub struct NativeJournalWatch {
    watch: JournalWatch,
}

/// For these daemons, or for all.
#[napi(catch_unwind)]
pub fn watch_journals(names: Option<Vec<String>>) -> Either<NativeJournalWatch, Failure> {
    let names = names.map(|names| names.iter().map(|name| Name::new(name)).collect::<daemonry::Result<_>>());
    outcome(names.transpose().map(|names| NativeJournalWatch { watch: JournalWatch::new(names) }))
}

#[napi]
impl NativeJournalWatch {
    /// Whether a journal has changed since the last call, or one of the processes has ended; at first true.
    #[napi(catch_unwind)]
    pub fn has_changed(&mut self) -> bool {
        self.watch.has_changed()
    }

    /// Watches these processes from now on, and no others.
    #[napi(catch_unwind)]
    pub fn watch(&mut self, pids: Vec<i32>) {
        self.watch.watch(&pids);
    }
}
