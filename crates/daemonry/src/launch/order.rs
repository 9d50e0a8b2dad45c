//! What a launcher hands over to the supervisor that it starts: the service's plan, in a file without a name. Both are of the same
//! version, because they come in one package.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use super::pinned::PinnedPlan;
use super::plan::{Attributes, LaunchPlan};
use crate::error::{Error, Result, Step};
use crate::listen::{Listener, Source};
use crate::listen_address::ListenAddress;
use crate::protocol::WaitFor;
use crate::rlimit::{Bound, Limit};
use crate::state::KillMode;
use crate::stdio::{LogFile, Stream};
use crate::supervision::{Restart, RestartLimit, Supervision};
use crate::sys::{self, Resource};

/// The order of a supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The service, with absolute paths and its whole environment. Its sockets have the names alone, and its standard streams are
    /// those of the first start: a log is named, everything else is inherited.
    pub(crate) plan: LaunchPlan,
    pub(crate) supervision: Supervision,
    /// The paths of the Unix sockets that the start has made, and the supervisor removes at its end.
    pub(crate) made: Vec<Option<PathBuf>>,
}

/// More than arguments and environments can be long, in bytes.
const LONGEST: usize = 16 << 20;

impl Order {
    /// The order to supervise what `plan` launches.
    pub(super) fn new(plan: &PinnedPlan, supervision: &Supervision) -> Self {
        let made = plan.listeners.iter().map(|listener| match &listener.source {
            Source::Address(ListenAddress::Unix { path, .. }) => Some(path.clone()),
            Source::Address(ListenAddress::Tcp { .. }) | Source::Descriptor(_) => None,
        });
        let service = LaunchPlan { inherited_env: plan.environment().to_vec(), env: Vec::new(), ..(**plan).clone() };
        Self { made: made.collect(), plan: service, supervision: supervision.clone() }
    }

    /// As a file to inherit.
    pub(super) fn to_file(&self) -> Result<OwnedFd> {
        let failed = |errno| Error::system(Step::OpenPipe, errno);
        let file = sys::memory_file().map_err(failed)?;
        let mut file = std::fs::File::from(file);
        std::io::Write::write_all(&mut file, &self.encode()).map_err(Error::io(Step::OpenPipe))?;
        Ok(file.into())
    }

    /// What a launcher of this version has written.
    pub(crate) fn read(file: impl AsFd) -> Result<Self> {
        let bytes = sys::read_start(file.as_fd(), LONGEST).map_err(|errno| Error::system(Step::Adopt, errno))?;
        let foreign = || Error::InvalidPlan("the supervisor and its launcher are of different versions".to_owned());
        Self::decode(&bytes).ok_or_else(foreign)
    }

    fn encode(&self) -> Vec<u8> {
        let Self { plan, supervision, made } = self;
        let Supervision { command, restart, limit, kill_signal } = supervision;
        let mut fields = Writer(Vec::new());
        fields.bytes(env!("CARGO_PKG_VERSION").as_bytes());
        fields.bytes(plan.program.as_os_str().as_bytes());
        fields.list(&plan.arguments, |fields, argument| fields.bytes(argument.as_bytes()));
        fields.list(&plan.inherited_env, |fields, (name, value)| {
            fields.bytes(name.as_bytes());
            fields.bytes(value.as_bytes());
        });
        for stream in [&plan.stdin, &plan.stdout, &plan.stderr] {
            fields.option(stream.path(), |fields, path| fields.bytes(path.as_os_str().as_bytes()));
            fields.number(u64::from(matches!(stream, Stream::Capture)));
            fields.number(match stream {
                Stream::File(LogFile { mode, .. }) => (*mode).into(),
                _ => 0,
            });
        }
        for path in [&plan.directory, &plan.working_directory, &plan.must_read] {
            fields.option(path.as_ref(), |fields, path| fields.bytes(path.as_os_str().as_bytes()));
        }
        fields.list(&plan.listeners, |fields, listener| fields.bytes(listener.name.as_bytes()));
        fields.list(made, |fields, path| {
            fields.option(path.as_ref(), |fields, path| fields.bytes(path.as_os_str().as_bytes()));
        });
        let Attributes { umask, run_as: _, limits, nice, oom_score_adjust, no_new_privileges } = &plan.attributes;
        fields.number((*umask).into());
        fields.list(limits, |fields, Limit { resource, soft, hard }| {
            fields.bytes(resource.name().as_bytes());
            for bound in [soft, hard] {
                fields.option(bound.as_ref(), |fields, bound| match bound {
                    Bound::Unlimited => fields.option(None::<u64>, Writer::number),
                    Bound::At(limit) => fields.option(Some(*limit), Writer::number),
                });
            }
        });
        for priority in [nice, oom_score_adjust] {
            fields.option(*priority, Writer::signed);
        }
        fields.number((*no_new_privileges).into());
        fields.number(u64::from(plan.kill_mode == KillMode::Process));
        fields.option(plan.stop_timeout, Writer::duration);
        fields.option(plan.name.as_ref(), |fields, name| fields.bytes(name.as_bytes()));
        fields.number(plan.wait_for as u64);
        fields.duration(plan.alive_for);
        fields.duration(plan.start_timeout);
        fields.bytes(plan.note.as_bytes());
        fields.bytes(command.as_os_str().as_bytes());
        fields.number(*restart as u64);
        fields.option(limit.as_ref(), |fields, RestartLimit { times, within }| {
            fields.number((*times).into());
            fields.duration(*within);
        });
        fields.signed(*kill_signal);
        fields.0
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader(bytes);
        if fields.bytes()? != env!("CARGO_PKG_VERSION").as_bytes() {
            return None;
        }
        let mut plan = LaunchPlan {
            program: fields.path()?,
            arguments: fields.list(Reader::text)?,
            inherited_env: fields.list(|fields| Some((fields.text()?, fields.text()?)))?,
            ..LaunchPlan::new("")
        };
        for stream in [&mut plan.stdin, &mut plan.stdout, &mut plan.stderr] {
            let path = fields.option(Reader::path)?;
            let (is_captured, mode) = (fields.number()? == 1, u32::try_from(fields.number()?).ok()?);
            *stream = match path {
                // It was emptied, if it was to be, at the first start.
                Some(path) => Stream::File(LogFile { path, mode, append: true }),
                None if is_captured => Stream::Capture,
                None => Stream::Inherit,
            };
        }
        plan.directory = fields.option(Reader::path)?;
        plan.working_directory = fields.option(Reader::path)?;
        plan.must_read = fields.option(Reader::path)?;
        let names = fields.list(|fields| fields.text()?.into_string().ok())?;
        // Where the sockets come from the supervisor knows.
        let listener = |name| Listener { name, source: Source::Descriptor(-1) };
        plan.listeners = names.into_iter().map(listener).collect();
        let made = fields.list(|fields| fields.option(Reader::path))?;
        plan.attributes.umask = u32::try_from(fields.number()?).ok()?;
        plan.attributes.limits = fields.list(|fields| {
            let resource = Resource::by_name(std::str::from_utf8(fields.bytes()?).ok()?)?;
            let bound =
                |fields: &mut Reader<'_>| Some(fields.option(Reader::number)?.map_or(Bound::Unlimited, Bound::At));
            Some(Limit { resource, soft: fields.option(bound)?, hard: fields.option(bound)? })
        })?;
        plan.attributes.nice = fields.option(Reader::signed)?;
        plan.attributes.oom_score_adjust = fields.option(Reader::signed)?;
        plan.attributes.no_new_privileges = fields.number()? == 1;
        plan.kill_mode = if fields.number()? == 1 { KillMode::Process } else { KillMode::Session };
        plan.stop_timeout = fields.option(Reader::duration)?;
        plan.name = fields.option(|fields| fields.text()?.into_string().ok())?;
        let wait_for = fields.number()?;
        plan.wait_for =
            [WaitFor::Exec, WaitFor::Start, WaitFor::Ready].into_iter().find(|known| *known as u64 == wait_for)?;
        plan.alive_for = fields.duration()?;
        plan.start_timeout = fields.duration()?;
        plan.note = fields.text()?;
        let command = fields.path()?;
        let restart = fields.number()?;
        let restart =
            [Restart::No, Restart::OnFailure, Restart::Always].into_iter().find(|known| *known as u64 == restart)?;
        let limit = fields.option(|fields| {
            Some(RestartLimit { times: u32::try_from(fields.number()?).ok()?, within: fields.duration()? })
        })?;
        let supervision = Supervision { command, restart, limit, kill_signal: fields.signed()? };
        fields.0.is_empty().then_some(Self { plan, supervision, made })
    }
}

/// Fields one after the other: numbers of eight bytes, and texts behind their lengths.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn signed(&mut self, number: i32) {
        self.number(u64::from(number.cast_unsigned()));
    }

    fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(values.len() as u64);
        for value in values {
            write(self, value);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn signed(&mut self) -> Option<i32> {
        Some(u32::try_from(self.number()?).ok()?.cast_signed())
    }

    fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_millis)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<OsString> {
        Some(OsString::from_vec(self.bytes()?.to_vec()))
    }

    fn path(&mut self) -> Option<PathBuf> {
        self.text().map(Into::into)
    }

    /// `None` for what is no option; `Some(None)` for one without a value.
    #[expect(clippy::option_option, reason = "the outer one is the outcome of reading")]
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.number()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.number()?;
        (0..length).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        let plan = LaunchPlan {
            arguments: vec!["node".into(), "ä b".into(), OsString::from_vec(vec![0xff])],
            inherited_env: vec![("A".into(), "=1".into()), ("EMPTY".into(), "".into())],
            stdin: Stream::Inherit,
            stdout: Stream::File(LogFile::new("/var/log/a.log")),
            stderr: Stream::Capture,
            working_directory: Some("/srv/current".into()),
            must_read: Some("/srv/current/app.mjs".into()),
            attributes: Attributes {
                umask: 0o27,
                limits: vec![Limit {
                    resource: Resource::by_name("nofile").expect("there is one"),
                    soft: Some(Bound::At(64)),
                    hard: Some(Bound::Unlimited),
                }],
                nice: Some(-5),
                ..Attributes::default()
            },
            kill_mode: KillMode::Process,
            stop_timeout: Some(Duration::from_millis(1500)),
            name: Some("api".into()),
            wait_for: WaitFor::Ready,
            alive_for: Duration::from_millis(7),
            note: "{}".into(),
            listeners: vec![Listener { name: "http".into(), source: Source::Descriptor(-1) }],
            ..LaunchPlan::new("/usr/bin/node")
        };
        let supervision = Supervision {
            command: "/lib/daemonry".into(),
            restart: Restart::OnFailure,
            limit: Some(RestartLimit { times: 3, within: Duration::from_secs(60) }),
            kill_signal: libc::SIGINT,
        };
        Order { plan, supervision, made: vec![Some("/run/api.sock".into())] }
    }

    #[test]
    fn an_order_comes_back_as_it_was() {
        let order = order();
        let decoded = Order::decode(&order.encode()).expect("it is one");
        assert_eq!(format!("{decoded:?}"), format!("{order:?}"));
    }

    #[test]
    fn a_part_of_an_order_or_one_of_another_version_is_none() {
        let bytes = order().encode();
        for length in 0..bytes.len() {
            assert!(Order::decode(&bytes[..length]).is_none(), "{length}");
        }
        let mut other = bytes.clone();
        other[8] ^= 1;
        assert!(Order::decode(&other).is_none());
    }
}
