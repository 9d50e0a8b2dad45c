//! The text of a lock: which process starts or is the instance, and on which machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::OnceLock;

use super::session_mark::SessionMark;
use crate::sys::{self, Digits, Machine, PID_WIDTH, TIME_WIDTH};

/// What the process in a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It starts the instance, which has no process yet.
    Starter,
    /// It is the instance.
    Daemon,
}

impl Role {
    const fn letter(self) -> u8 {
        match self {
            Self::Starter => b's',
            Self::Daemon => b'd',
        }
    }
}

/// What is ended besides the main process when the daemon is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillMode {
    /// What is left of the session that the start made: the helpers that a program leaves behind, or the server that a shell runs.
    Session,
    /// Nothing.
    Process,
}

impl KillMode {
    const fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Process => "process",
        }
    }
}

/// The text of a lock. Written by the starter and, in the same length, by the forked child before it changes its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) role: Role,
    pub(crate) pid: i32,
    /// In the platform's own unit; 0 where it cannot be seen.
    pub(crate) start: u64,
    /// The kernel's own number of the process, which no other one of this boot has; 0 where the kernel has none. Where pids are
    /// used again within a tick of its clock, the start time is not enough.
    pub(crate) unique: u64,
    /// The session of the instance; 0 before there is one.
    pub(crate) session: i32,
    /// The real uids that the process may have; with 0 among them, any.
    pub(crate) uids: Vec<u32>,
    pub(crate) machine: Machine,
    pub(crate) path: PathBuf,
    pub(crate) version: Option<String>,
    pub(crate) session_mark: SessionMark,
    pub(crate) kill_mode: KillMode,
    /// Where its events are written down, if it has a name.
    pub(crate) journal: Option<PathBuf>,
}

/// What a recorded machine is to the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    /// Another PID namespace, whose processes have other pids here.
    Elsewhere,
    /// An earlier boot, or an earlier life of the namespace.
    Gone,
}

impl Machine {
    /// As the lock and the journal spell it.
    pub(crate) fn to_text(&self) -> String {
        let Self { boot, namespace, init } = self;
        format!("{boot}|{namespace}|{init}")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('|');
        let mut part = || parts.next();
        Some(Self { boot: part()?.to_owned(), namespace: part()?.to_owned(), init: part()?.parse().ok()? })
    }

    /// Whether it is an earlier boot, or an earlier life of the container.
    pub(crate) fn is_gone(&self) -> bool {
        self.place() == Place::Gone
    }

    /// The caller's own, which stays the same as long as the process lives.
    pub(crate) fn own() -> &'static Self {
        static OWN: OnceLock<Machine> = OnceLock::new();
        OWN.get_or_init(sys::machine)
    }

    fn place(&self) -> Place {
        let own = Self::own();
        let differ = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
        if differ(&self.boot, &own.boot) {
            Place::Gone
        } else if differ(&self.namespace, &own.namespace) {
            Place::Elsewhere
        } else if self.init != 0 && own.init != 0 && self.init != own.init {
            Place::Gone
        } else {
            Place::Here
        }
    }
}

/// Whether a start by `owner` that permits `uids` can have made a process of this real uid. What a user's start permits counts only
/// for that user's own processes.
pub(crate) fn permits(uids: &[u32], uid: u32, owner: u32) -> bool {
    if owner == 0 { uids.contains(&0) || uids.contains(&uid) } else { uid == owner }
}

const PID: usize = 2;
const START: usize = PID + PID_WIDTH + 1;
const UNIQUE: usize = START + TIME_WIDTH + 1;
const SESSION: usize = UNIQUE + TIME_WIDTH + 1;

/// What ends a whole text: of a part it is missing.
const END: &str = "end\n";

/// More than this is no claim.
pub(crate) const MOST: usize = 32 * 1024;

impl Claim {
    pub(crate) fn place(&self) -> Place {
        self.machine.place()
    }

    /// Whether a process of this real uid can be the one that the claim is about.
    pub(crate) fn permits(&self, uid: u32, owner: u32) -> bool {
        permits(&self.uids, uid, owner)
    }

    /// Whether both are about the same process.
    pub(crate) fn names_same(&self, other: &Self) -> bool {
        (self.pid, self.start) == (other.pid, other.start)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { role, pid, start, unique, session, uids, machine, path, version, session_mark, kill_mode, journal } =
            self;
        let machine = machine.to_text();
        let letter = char::from(role.letter());
        let uids = uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let path = escaped(path.as_os_str().as_bytes());
        let version = optional(version.as_ref().map(String::as_bytes));
        let (mark, mode) = (session_mark.as_str(), kill_mode.word());
        let journal = optional(journal.as_ref().map(|path| path.as_os_str().as_bytes()));
        format!(
            "{letter} {pid:010} {start:020} {unique:020} {session:010} {uids}\n{machine}\n{path}\n{version}\n{mark} {mode}\n{journal}\n{END}"
        )
        .into_bytes()
    }

    /// `None` for anything that is not the whole text of a claim.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.strip_suffix(END)?.lines();
        let mut words = lines.next()?.split(' ');
        let role = match words.next()? {
            "s" => Role::Starter,
            "d" => Role::Daemon,
            _ => return None,
        };
        let pid = words.next()?.parse().ok().filter(|&pid| pid > 0)?;
        let start = words.next()?.parse().ok()?;
        let unique = words.next()?.parse().ok()?;
        let session = words.next()?.parse().ok()?;
        let uids = words.next()?.split(',').map(|uid| uid.parse().ok()).collect::<Option<_>>()?;
        let machine = Machine::parse(lines.next()?)?;
        let path = OsStr::from_bytes(&unescaped(lines.next()?)?).into();
        let version = parse_optional(lines.next()?).ok()?.map(String::from_utf8).transpose().ok()?;
        let (mark, mode) = lines.next()?.split_once(' ')?;
        let session_mark = SessionMark::parse(mark)?;
        let kill_mode = [KillMode::Session, KillMode::Process].into_iter().find(|known| known.word() == mode)?;
        let journal = parse_optional(lines.next()?).ok()?.map(|path| OsString::from_vec(path).into());
        Some(Self { role, pid, start, unique, session, uids, machine, path, version, session_mark, kill_mode, journal })
    }
}

/// A claim in which a forked child fills in what only it knows.
#[derive(Debug)]
pub(crate) struct Template(std::cell::UnsafeCell<Vec<u8>>);

impl Template {
    pub(crate) fn of(claim: &Claim) -> Self {
        Self(std::cell::UnsafeCell::new(Claim { role: Role::Daemon, ..claim.clone() }.encode()))
    }

    /// The claim of the calling process. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// Nothing else uses the template at the same time.
    pub(crate) unsafe fn fill(&self, pid: i32, start: u64, unique: u64, session: i32) -> &[u8] {
        // SAFETY: by the caller's word.
        let text = unsafe { &mut *self.0.get() };
        let fields = [
            (PID, Digits::of_pid(pid), PID_WIDTH),
            (START, Digits::of(start), TIME_WIDTH),
            (UNIQUE, Digits::of(unique), TIME_WIDTH),
            (SESSION, Digits::of_pid(session), PID_WIDTH),
        ];
        for (place, digits, width) in &fields {
            for (slot, digit) in text.iter_mut().skip(*place).zip(digits.fixed_width(*width)) {
                *slot = *digit;
            }
        }
        text
    }
}

/// A text that can be missing.
fn optional(bytes: Option<&[u8]>) -> String {
    bytes.map_or("-".to_owned(), |bytes| format!("={}", escaped(bytes)))
}

/// What [`optional`] has written; an error for anything else.
fn parse_optional(text: &str) -> Result<Option<Vec<u8>>, ()> {
    if text == "-" {
        return Ok(None);
    }
    text.strip_prefix('=').and_then(unescaped).map(Some).ok_or(())
}

fn escaped(bytes: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    bytes.iter().map(|&byte| if is_plain(byte) { char::from(byte).into() } else { format!("%{byte:02x}") }).collect()
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        if *first == b'%' {
            let (digits, behind) = others.split_first_chunk::<2>()?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Strategy, any};
    use proptest::sample::Index;

    use super::*;
    use crate::property::holds;

    fn claim() -> impl Strategy<Value = Claim> {
        let machine = ("[a-f0-9-]{0,36}", "[a-z:0-9\\[\\]]{0,20}", any::<u64>());
        let path = vec(any::<u8>(), 0..40).prop_map(|bytes| OsString::from_vec(bytes).into());
        let ids = (1..=i32::MAX, any::<[u64; 2]>(), 0..=i32::MAX, vec(any::<u32>(), 1..4));
        (any::<bool>(), ids, machine, path, option::of(any::<String>())).prop_map(
            |(is_daemon, (pid, [start, unique], session, uids), (boot, namespace, init), path, version)| Claim {
                role: if is_daemon { Role::Daemon } else { Role::Starter },
                pid,
                start,
                unique,
                session,
                uids,
                machine: Machine { boot, namespace, init },
                path,
                version,
                session_mark: SessionMark::new(),
                kill_mode: if is_daemon { KillMode::Session } else { KillMode::Process },
                journal: is_daemon.then(|| "/var/lib/daemonry/a b.jsonl".into()),
            },
        )
    }

    #[test]
    fn any_claim_comes_back_as_it_was_and_a_part_of_it_is_none() {
        holds("claim to text and back, cut at a byte", 1000, &(claim(), any::<Index>()), |(claim, cut)| {
            let bytes = claim.encode();
            assert_eq!(Claim::parse(&bytes), Some(claim));
            assert_eq!(Claim::parse(&bytes[..cut.index(bytes.len())]), None);
        });
    }

    #[test]
    fn a_child_fills_in_what_only_it_knows_without_another_length() {
        let filled = (1..=i32::MAX, any::<[u64; 2]>(), 1..=i32::MAX);
        holds("template", 200, &(claim(), filled), |(claim, (pid, [start, unique], session))| {
            let template = Template::of(&claim);
            // SAFETY: nothing else uses it.
            let filled = unsafe { template.fill(pid, start, unique, session) };
            assert_eq!(filled.len(), claim.encode().len());
            assert_eq!(Claim::parse(filled), Some(Claim { role: Role::Daemon, pid, start, unique, session, ..claim }));
        });
    }

    #[test]
    fn any_bytes_are_a_claim_or_none() {
        holds("text of a lock", 1000, &vec(any::<u8>(), 0..200), |bytes| {
            let _parsed = Claim::parse(&bytes);
        });
    }

    #[test]
    fn a_users_file_permits_only_its_own_processes_and_roots_those_that_it_names() {
        let of = |uids: &[u32]| Claim {
            role: Role::Daemon,
            pid: 1,
            start: 1,
            unique: 0,
            session: 1,
            uids: uids.to_vec(),
            machine: Machine { boot: String::new(), namespace: String::new(), init: 0 },
            path: "/".into(),
            version: None,
            session_mark: SessionMark::new(),
            kill_mode: KillMode::Session,
            journal: None,
        };
        assert!(of(&[33]).permits(33, 0));
        assert!(!of(&[33]).permits(34, 0));
        assert!(of(&[0]).permits(34, 0), "what began as root can become anybody");
        assert!(of(&[0, 7]).permits(1000, 1000));
        assert!(!of(&[0, 7]).permits(7, 1000), "a user's file cannot name others");
        assert!(!of(&[0]).permits(0, 1000));
    }
}
