//! The service below a supervisor, which is the process in the lock: the service's own process, how often it was restarted, and when
//! the next one is started. Written by the supervisor, in one piece of always the same length.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

use super::claim::Claim;
use super::key::Key;
use crate::error::{Error, Result, Step};
use crate::sys;

pub(super) const KIND: &str = "service";

/// More than this is none.
const MOST: usize = 256;

/// What a supervisor says about its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its process, or the one that has ended last.
    pub(crate) pid: i32,
    /// How often it was restarted.
    pub(crate) restarts: u32,
    pub(crate) state: ServiceState,
}

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceState {
    Starting,
    Up,
    /// It has no process until then.
    Waiting {
        until: SystemTime,
    },
}

/// Where a supervisor writes it.
#[derive(Debug)]
pub(crate) struct ServiceFile {
    file: OwnedFd,
    key: Key,
    mark: String,
}

impl ServiceFile {
    /// A new file for the instance of this claim, which is the caller.
    pub(crate) fn create(key: &Key, claim: &Claim) -> Result<Self> {
        let file = key.renew(KIND)?;
        Ok(Self { file, key: key.clone(), mark: claim.session_mark.as_str().to_owned() })
    }

    pub(crate) fn write(&self, service: Service) -> Result<()> {
        let text = encode(&self.mark, service);
        sys::write_start(self.file.as_fd(), text.as_bytes()).map_err(Error::at(Step::WriteLock, self.key.place(KIND)))
    }
}

/// The service of the instance of this claim; `None` if that is no supervisor, or has none yet.
pub(super) fn read(key: &Key, claim: &Claim) -> Result<Option<Service>> {
    let Some(file) = key.open(KIND, OFlag::O_RDONLY, Step::ReadLock)? else { return Ok(None) };
    let bytes = sys::read_start(file.as_fd(), MOST).map_err(Error::at(Step::ReadLock, key.place(KIND)))?;
    Ok(parse(&bytes, claim.session_mark.as_str()))
}

fn encode(mark: &str, Service { pid, restarts, state }: Service) -> String {
    let (word, until) = match state {
        ServiceState::Starting => ("starting", SystemTime::UNIX_EPOCH),
        ServiceState::Up => ("up", SystemTime::UNIX_EPOCH),
        ServiceState::Waiting { until } => ("waiting", until),
    };
    let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("{mark} {pid:010} {restarts:010} {word:8} {until:020}\n")
}

fn parse(bytes: &[u8], mark: &str) -> Option<Service> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let mut words = text.split_ascii_whitespace();
    let mut word = || words.next();
    if word()? != mark {
        return None;
    }
    let pid = word()?.parse().ok().filter(|&pid| pid > 0)?;
    let restarts = word()?.parse().ok()?;
    let state = match (word()?, word()?.parse().ok()?) {
        ("starting", _) => ServiceState::Starting,
        ("up", _) => ServiceState::Up,
        ("waiting", until) => {
            ServiceState::Waiting { until: SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(until))? }
        }
        _ => return None,
    };
    Some(Service { pid, restarts, state })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof};

    use super::*;
    use crate::property::holds;

    #[test]
    fn any_service_comes_back_as_it_was_in_the_same_length_and_for_its_own_start_only() {
        let until = any::<u32>().prop_map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis.into()));
        let state = prop_oneof![
            Just(ServiceState::Starting),
            Just(ServiceState::Up),
            until.prop_map(|until| ServiceState::Waiting { until }),
        ];
        holds("service", 500, &(1..=i32::MAX, any::<u32>(), state), |(pid, restarts, state)| {
            let service = Service { pid, restarts, state };
            let text = encode("mark", service);
            let plain = encode("mark", Service { pid: 1, restarts: 0, state: ServiceState::Up });
            assert_eq!(text.len(), plain.len());
            assert_eq!(parse(text.as_bytes(), "mark"), Some(service));
            assert_eq!(parse(text.as_bytes(), "other"), None);
            assert_eq!(parse(&text.as_bytes()[..text.len() - 1], "mark"), None);
        });
    }
}
