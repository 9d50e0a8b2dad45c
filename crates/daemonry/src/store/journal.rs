//! The journal of a named daemon: what has happened to it, one event a line, in a file beside its record.
//!
//! Only the owner of the record writes it, one process at a time: under a `flock` of the file itself, with what is in it read before,
//! so that each event is written once. Lines are appended in one piece, and a file that has become too long is replaced by one
//! with its newer half. Readers take no lock.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{ftruncate, geteuid};

use super::event::{Event, EventKind};
use super::own_directory::own_directory;
use super::whole_file::replace;
use super::{End, EndReason};
use crate::error::{Error, Result, Step};
use crate::sys::{self, Machine, retry};
use crate::trusted_path::{Directory, Obstacle, walk};

/// How long the file becomes, in bytes.
const MOST: usize = 256 << 10;

/// How long another process is waited for that is writing. That takes a millisecond, unless it was stopped in the middle of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same for a caller that other processes wait for.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Neither a link nor a FIFO in its place is followed or waited for.
const FLAGS: OFlag =
    OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC).union(OFlag::O_APPEND);

/// Where the journal is that belongs to a record.
pub(super) fn of_record(record: &Path) -> PathBuf {
    record.with_extension("jsonl")
}

/// Appends what `missing` makes of the events so far. If there is no file, one is made only if it `may_begin` there.
pub(crate) fn append(path: &Path, may_begin: bool, missing: impl FnOnce(Events<'_>) -> Vec<Event>) -> Result<()> {
    append_within(PATIENCE, path, may_begin, missing)
}

/// The same for a caller that other processes wait for: it does not wait long itself.
pub(crate) fn append_soon(path: &Path, missing: impl FnOnce(Events<'_>) -> Vec<Event>) -> Result<()> {
    append_within(SHORT_PATIENCE, path, false, missing)
}

fn append_within(
    patience: Duration,
    path: &Path,
    may_begin: bool,
    missing: impl FnOnce(Events<'_>) -> Vec<Event>,
) -> Result<()> {
    let directory = own_directory(path, Step::WriteJournal)?;
    let name = path.file_name().unwrap_or_default();
    append_in(&directory, name, may_begin, patience, missing).map_err(Error::at(Step::WriteJournal, path))
}

fn append_in(
    directory: &Directory,
    name: &OsStr,
    may_begin: bool,
    patience: Duration,
    missing: impl FnOnce(Events<'_>) -> Vec<Event>,
) -> nix::Result<()> {
    let Some(file) = open_locked(directory, name, may_begin, patience)? else { return Ok(()) };
    let end = length(&file)?;
    let text = read_end(&file)?;
    let whole = whole_lines(&text);
    if whole.len() < text.len() {
        // A line that a full disk has cut, whose writer could not remove it.
        ftruncate(&file, (end - (text.len() - whole.len())).try_into().unwrap_or(0))?;
    }
    let lines: String = missing(Events(whole)).iter().map(Event::to_line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    if end + lines.len() > MOST {
        return replace(directory, name, |file| {
            sys::append(file, newer_half(whole))?;
            sys::append(file, lines.as_bytes())?;
            // Before the old one is removed: a machine that fails now has one of the two.
            nix::unistd::fsync(file)
        });
    }
    let before = length(&file)?;
    sys::append(&file, lines.as_bytes()).inspect_err(|_| {
        let _torn = ftruncate(&file, before.try_into().unwrap_or(0));
    })
}

/// The file with its lock. It stays locked until it is closed.
fn open_locked(
    directory: &Directory,
    name: &OsStr,
    may_begin: bool,
    patience: Duration,
) -> nix::Result<Option<OwnedFd>> {
    let flags = FLAGS | OFlag::O_RDWR | if may_begin { OFlag::O_CREAT } else { OFlag::empty() };
    let begun = Instant::now();
    loop {
        let file = match retry(|| openat(directory, name, flags, MODE)) {
            Err(Errno::ENOENT) if !may_begin => return Ok(None),
            file => file?,
        };
        let stat = fstat(&file)?;
        if sys::kind_of(&stat) != SFlag::S_IFREG || stat.st_uid != geteuid().as_raw() || stat.st_nlink > 1 {
            return Err(Errno::EPERM);
        }
        if sys::try_flock(file.as_fd())? {
            let named = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            // Another process may have replaced it meanwhile.
            if named.is_ok_and(|named| sys::identity_of(&named) == sys::identity_of(&stat)) {
                if !sys::is_private_to(&stat, stat.st_uid) {
                    fchmod(&file, MODE)?;
                }
                return Ok(Some(file));
            }
        } else if begun.elapsed() > patience {
            return Err(Errno::EWOULDBLOCK);
        } else {
            std::thread::sleep(PAUSE);
        }
    }
}

fn length(file: &OwnedFd) -> nix::Result<usize> {
    Ok(fstat(file)?.st_size.try_into().unwrap_or(usize::MAX))
}

/// What the file ends with, at most as long as it may become.
fn read_end(file: &OwnedFd) -> nix::Result<Vec<u8>> {
    sys::read_from(file.as_fd(), length(file)?.saturating_sub(MOST), MOST)
}

/// Without what is behind the last newline.
fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    text.get(..end).unwrap_or(text)
}

fn newer_half(lines: &[u8]) -> &[u8] {
    let (_, newer) = lines.split_at(lines.len().saturating_sub(MOST / 2));
    let begin = newer.iter().position(|&byte| byte == b'\n').map_or(newer.len(), |newline| newline + 1);
    newer.get(begin..).unwrap_or(&[])
}

/// What is in a journal.
#[derive(Clone, Copy)]
pub(crate) struct Events<'a>(&'a [u8]);

impl Events<'_> {
    pub(crate) fn newest_first(self) -> impl Iterator<Item = Event> {
        self.0.rsplit(|&byte| byte == b'\n').filter_map(event_in)
    }

    /// Whether a start has failed since the last instance has ended.
    pub(crate) fn has_failed_since_end(self) -> bool {
        let mut since = self.newest_first().map(|event| event.kind).take_while(|kind| !is_life(kind));
        since.any(|kind| matches!(kind, EventKind::Failed { .. }))
    }

    /// Those of one start, as far as they are there.
    pub(crate) fn of_start(self, start: &str) -> impl Iterator<Item = Event> {
        let mut has_begun = false;
        self.newest_first().filter(move |event| event.start == start).take_while(move |event| {
            let is_before = has_begun;
            has_begun |= matches!(event.kind, EventKind::Start { .. });
            !is_before
        })
    }
}

fn event_in(line: &[u8]) -> Option<Event> {
    Event::parse(std::str::from_utf8(line).ok()?)
}

/// How the last instance has ended, if the journal says so or can say so: with its pid, and the event where that is missing. One
/// that was up before the machine was started last has ended with the machine.
pub(crate) fn last_end(events: Events<'_>) -> Option<(i32, End, Option<Event>)> {
    let Event { start, kind, .. } = events.newest_first().find(|event| is_life(&event.kind))?;
    match kind {
        EventKind::Exit { pid, end } => Some((pid, end, None)),
        EventKind::Up { pid } if machine_of(events, &start).is_some_and(|machine| machine.is_gone()) => {
            let end = End::unseen(EndReason::Lost);
            Some((pid, end.clone(), Some(Event::exit(&start, pid, end))))
        }
        _ => None,
    }
}

/// Whether this is about an instance that was up.
const fn is_life(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Up { .. } | EventKind::Exit { .. })
}

fn machine_of(events: Events<'_>, start: &str) -> Option<Machine> {
    events.of_start(start).find_map(|event| match event.kind {
        EventKind::Start { machine, .. } => Machine::parse(&machine),
        _ => None,
    })
}

/// Whether a start has failed since the last instance of a journal's daemon has ended.
pub(crate) fn has_failed_since_end(path: &Path) -> bool {
    read(path).is_ok_and(|text| text.is_some_and(|text| Events(&text).has_failed_since_end()))
}

/// How the last instance of a journal's daemon has ended, for one of which the private state says nothing any more.
pub(crate) fn settle(path: &Path) -> Option<(i32, End)> {
    let (pid, end, missing) = last_end(Events(&read(path).ok()??))?;
    if missing.is_some() {
        // One of several callers writes it. A caller that may not write the journal gets the answer all the same.
        let _unwritten =
            append(path, false, |events| last_end(events).and_then(|(.., missing)| missing).into_iter().collect());
    }
    Some((pid, end))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some((file, _)) = open_to_read(path)? else { return Ok(None) };
    let text = read_end(&file).map_err(Error::at(Step::ReadJournal, path))?;
    Ok(Some(whole_lines(&text).to_vec()))
}

/// `None` if there is no journal, or if another user than the caller and root can have written it.
fn open_to_read(path: &Path) -> Result<Option<(OwnedFd, FileStat)>> {
    let failed = |errno| Error::at(Step::ReadJournal, path)(errno);
    let directory = match walk(path.parent().unwrap_or(Path::new("/"))) {
        Err(Obstacle { errno: Errno::ENOENT, .. }) => return Ok(None),
        directory => directory.map_err(|Obstacle { errno, .. }| failed(errno))?,
    };
    let name = path.file_name().unwrap_or_default();
    let file = match retry(|| openat(&directory, name, FLAGS | OFlag::O_RDONLY, Mode::empty())) {
        Err(Errno::ENOENT) => return Ok(None),
        file => file.map_err(failed)?,
    };
    let stat = fstat(&file).map_err(failed)?;
    let is_believed = sys::kind_of(&stat) == SFlag::S_IFREG
        && [0, geteuid().as_raw()].contains(&stat.st_uid)
        && !sys::can_others_write(&stat);
    Ok(is_believed.then_some((file, stat)))
}

/// Reads a journal, and what is appended later.
#[derive(Debug)]
pub struct JournalReader {
    path: PathBuf,
    /// The file and its length, as they were read last.
    seen: Option<((u64, u64), i64)>,
    /// The last line, behind which another file goes on.
    last: Vec<u8>,
}

impl JournalReader {
    /// For the journal at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: None, last: Vec::new() }
    }

    /// The events since the last call, in the order in which they were written; at first all.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with [`Step::ReadJournal`].
    pub fn read_new(&mut self) -> Result<Vec<Event>> {
        let Some((file, stat)) = open_to_read(&self.path)? else { return Ok(Vec::new()) };
        let now = (sys::identity_of(&stat), stat.st_size);
        if self.seen == Some(now) {
            return Ok(Vec::new());
        }
        let text = read_end(&file).map_err(Error::at(Step::ReadJournal, &self.path))?;
        let lines: Vec<&[u8]> = whole_lines(&text).split_inclusive(|&byte| byte == b'\n').collect();
        // A journal that has become too long goes on in another file, which begins with lines that were read already.
        let known = lines.iter().rposition(|line| *line == self.last).map_or(0, |last| last + 1);
        let new = lines.get(known..).unwrap_or(&[]);
        if let Some(last) = new.last() {
            self.last = last.to_vec();
        }
        self.seen = Some(now);
        Ok(new.iter().filter_map(|line| event_in(line)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::io::Write;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::Barrier;
    use std::time::SystemTime;

    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::sample::select;

    use super::super::event::{LONGEST_LINE, Request};
    use super::super::{Caller, Name};
    use super::*;
    use crate::property::holds;
    use crate::sys::Exit;

    /// A journal of its own; removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("daemonry-journal-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("there is a temporary directory");
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("api.jsonl")
        }

        fn append(&self, kind: EventKind) {
            self.try_append(kind).expect("it can be written");
        }

        fn try_append(&self, kind: EventKind) -> Result<()> {
            append(&self.file(), true, |_| vec![Event::now("a", kind)])
        }

        fn kinds(&self) -> Vec<EventKind> {
            let text = read(&self.file()).expect("it can be read").unwrap_or_default();
            let mut kinds: Vec<_> = Events(&text).newest_first().map(|event| event.kind).collect();
            kinds.reverse();
            kinds
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    fn caller() -> impl Strategy<Value = Caller> {
        let command = any::<Vec<u8>>().prop_map(OsString::from_vec);
        let ids = (any::<u32>(), option::of(any::<u32>()), option::of(any::<String>()));
        (ids, command).prop_map(|((uid, login_uid, user), command): (_, OsString)| Caller {
            uid,
            user,
            login_uid,
            command,
        })
    }

    fn event() -> impl Strategy<Value = Event> {
        let exit = prop_oneof![any::<i32>().prop_map(Exit::Code), (1..100).prop_map(Exit::Signal), Just(Exit::Unknown)];
        let reason = select(vec![EndReason::Stopped, EndReason::Replaced, EndReason::Crashed, EndReason::Lost]);
        let end = (reason, exit, option::of(caller()), option::of(any::<String>()))
            .prop_map(|(reason, exit, by, last_words)| End { reason, at: None, exit, by, last_words });
        let request =
            || (1..i32::MAX, 1..100, option::of(caller())).prop_map(|(pid, signal, by)| Request { pid, signal, by });
        let kind =
            prop_oneof![
                (option::of(caller()), option::of(any::<String>()), any::<String>())
                    .prop_map(|(by, version, machine)| EventKind::Start { by, version, machine }),
                (1..i32::MAX).prop_map(|pid| EventKind::Up { pid }),
                (option::of(1..i32::MAX), any::<String>()).prop_map(|(pid, reason)| EventKind::Failed { pid, reason }),
                request().prop_map(EventKind::Stop),
                request().prop_map(EventKind::Restart),
                (1..i32::MAX, any::<u32>(), option::of(caller()))
                    .prop_map(|(pid, others_ended, by)| EventKind::Cleanup { pid, others_ended, by }),
                (1..i32::MAX, end).prop_map(|(pid, end)| EventKind::Exit { pid, end }),
            ];
        (any::<u32>(), any::<bool>(), any::<String>(), kind).prop_map(|(millis, is_unseen, start, mut kind)| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis.into());
            if let EventKind::Exit { end, .. } = &mut kind {
                end.at = (!is_unseen).then_some(at);
            }
            Event { at, is_unseen, start, kind }
        })
    }

    #[test]
    fn any_event_comes_back_from_its_line_which_no_terminal_obeys() {
        holds("event to line and back", 1000, &event(), |event| {
            let line = event.to_line();
            assert_eq!(line.matches(char::is_control).count(), 1, "{line:?}");
            assert_eq!(event_in(line.as_bytes().strip_suffix(b"\n").expect("it is a line")), Some(event));
        });
        holds("any line", 2000, &any::<Vec<u8>>(), |line| {
            let _event = event_in(&line);
        });
    }

    #[test]
    fn a_line_is_written_in_one_piece_however_long_its_texts_are() {
        let long = "\u{1}".repeat(10_000);
        let by = Caller { uid: 0, user: Some(long.clone()), login_uid: None, command: long.clone().into() };
        let end = End { by: Some(by), last_words: Some(long), ..End::unseen(EndReason::Crashed) };
        let line = Event::exit("a", 7, end).to_line();
        assert!(line.len() <= LONGEST_LINE, "{}", line.len());
        let EventKind::Exit { end, .. } = event_in(line.trim_end().as_bytes()).expect("it is an event").kind else {
            panic!("it is an exit");
        };
        assert!(end.last_words.is_some_and(|words| words.len() > 100));
    }

    #[test]
    fn a_journal_is_bounded_private_and_keeps_what_is_newer() {
        let place = Place::new("bounded");
        let mut reader = JournalReader::new(place.file());
        let kind = |pid| EventKind::Failed { pid: Some(pid), reason: "x".repeat(300) };
        let rounds = 2000;
        for pid in 1..=rounds {
            place.append(kind(pid));
            let stat = fs::metadata(place.file()).expect("it is there");
            assert!(stat.len() <= MOST as u64);
            assert_eq!(stat.mode() & 0o777, 0o600);
            let new = reader.read_new().expect("it can be read");
            assert_eq!(new.into_iter().map(|event| event.kind).collect::<Vec<_>>(), [kind(pid)]);
        }
        let kinds = place.kinds();
        let first = rounds - i32::try_from(kinds.len()).expect("it is bounded") + 1;
        assert!(kinds.len() > 300 && first > 1000, "{first}");
        assert!(kinds.into_iter().eq((first..=rounds).map(kind)));
        assert_eq!(fs::read_dir(&place.0).expect("it is there").count(), 1, "nothing is left beside it");
    }

    /// In each round each of several processes finds out that the same event is missing, and adds one of its own.
    #[test]
    fn however_many_write_an_event_that_is_missing_is_written_once_and_no_line_is_torn_or_lost() {
        const WRITERS: i32 = 4;
        const ROUNDS: i32 = 100;
        let place = Place::new("many");
        place.append(EventKind::Up { pid: 0 });
        let text = "x".repeat(900);
        let begin_round = Barrier::new(1 + usize::try_from(WRITERS).expect("they are few"));
        let write = |writer: i32| {
            for round in 0..ROUNDS {
                begin_round.wait();
                let is_known = |event: Event| matches!(event.kind, EventKind::Exit { pid, .. } if pid == round);
                let own = EventKind::Failed { pid: Some(writer * ROUNDS + round), reason: text.clone() };
                append(&place.file(), false, |events| {
                    let exit = Event::exit("a", round, End::unseen(EndReason::Vanished));
                    let missing = (!events.newest_first().any(is_known)).then_some(exit);
                    missing.into_iter().chain([Event::now("a", own)]).collect()
                })
                .expect("it can be written");
            }
        };
        let mut reader = JournalReader::new(place.file());
        let mut events = Vec::new();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                scope.spawn(move || write(writer));
            }
            for _ in 0..ROUNDS {
                begin_round.wait();
                events.extend(reader.read_new().expect("it can be read"));
            }
        });
        events.extend(reader.read_new().expect("it can be read"));
        assert!(fs::metadata(place.file()).expect("it is there").len() <= MOST as u64);
        let (mut exits, mut own) = (Vec::new(), Vec::new());
        for event in events {
            match event.kind {
                EventKind::Exit { pid, .. } => exits.push(pid),
                EventKind::Failed { pid, reason } if reason == text => own.extend(pid),
                kind => assert_eq!(kind, EventKind::Up { pid: 0 }),
            }
        }
        own.sort_unstable();
        assert!(exits.into_iter().eq(0..ROUNDS), "each once, and in order");
        assert!(own.into_iter().eq(0..WRITERS * ROUNDS), "each once");
    }

    #[test]
    fn a_line_that_was_cut_is_no_event_and_does_not_spoil_the_next() {
        let place = Place::new("torn");
        place.append(EventKind::Up { pid: 1 });
        let torn = |text: &[u8]| {
            let mut file = fs::OpenOptions::new().append(true).open(place.file()).expect("it is there");
            file.write_all(text).expect("it can be written");
        };
        torn(b"{\"at\":\"20");
        assert_eq!(place.kinds(), [EventKind::Up { pid: 1 }]);
        place.append(EventKind::Up { pid: 2 });
        torn(b"\xff\xfe nothing\n\n");
        place.append(EventKind::Up { pid: 3 });
        assert_eq!(place.kinds(), [1, 2, 3].map(|pid| EventKind::Up { pid }));
    }

    #[test]
    fn what_is_not_the_callers_own_file_is_neither_written_nor_believed() {
        let place = Place::new("foreign");
        fs::create_dir(place.file()).expect("it can be made");
        place.try_append(EventKind::Up { pid: 1 }).expect_err("it is a directory");
        fs::remove_dir(place.file()).expect("it is there");

        std::os::unix::fs::symlink(place.0.join("elsewhere"), place.file()).expect("it can be linked");
        place.try_append(EventKind::Up { pid: 1 }).expect_err("it is a link");
        assert!(!place.0.join("elsewhere").exists());
        fs::remove_file(place.file()).expect("it is there");

        place.append(EventKind::Up { pid: 1 });
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o666)).expect("it is ours");
        assert_eq!(place.kinds(), [], "others can have written it");
        fs::hard_link(place.file(), place.0.join("other")).expect("it can be linked");
        place.try_append(EventKind::Up { pid: 2 }).expect_err("it has two names");
    }

    #[test]
    fn no_file_of_one_name_is_one_of_another() {
        let names = "[a-zA-Z_.@-]{0,3}(\\.(json|jsonl|new|self|sock|log|events)){0,3}[a-z.]{0,2}";
        let files = |name: &str| {
            let record = PathBuf::from("/var/lib/daemonry").join(format!("{name}.json"));
            let journal = of_record(&record);
            let fresh = |path: &Path| PathBuf::from(format!("{}.new", path.display()));
            [fresh(&record), fresh(&journal), record, journal]
        };
        holds("two names", 3000, &(names, names), |(one, other): (String, String)| {
            let [Ok(one), Ok(other)] = [one, other].map(|name| Name::new(&name)) else { return };
            let [ones, others] = [&one, &other].map(|name| files(name.as_str()));
            assert!(one == other || ones.iter().all(|file| !others.contains(file)), "{one} {other}");
            assert!(ones.iter().enumerate().all(|(index, file)| !ones[..index].contains(file)), "{one}");
        });
    }
}
