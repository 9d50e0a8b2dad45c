//! What travels over the two pipes: fixed-size frames before exec, reports of the daemon after it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::error::Step;
use crate::sys::Exit;

/// A message of the session leader or the not yet exec'd daemon. EOF without one means "exec'd".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The daemon was forked. A sibling is the launcher's own child; otherwise the leader, its parent, waits until the
    /// launcher has hold of it.
    Forked { pid: i32, sibling: bool },
    /// A step failed, with the one of several things that has this index; its process is about to exit.
    Failed { step: u8, index: u8, errno: i32 },
}

pub(crate) const FRAME_LENGTH: usize = 12;

impl Frame {
    const SIBLING: u8 = 1;
    const CHILD: u8 = 2;
    const FAILED: u8 = 3;

    /// Async-signal-safe.
    pub(crate) fn encode(self) -> [u8; FRAME_LENGTH] {
        let (kind, step, index, number) = match self {
            Self::Forked { pid, sibling } => (if sibling { Self::SIBLING } else { Self::CHILD }, 0, 0, pid),
            Self::Failed { step, index, errno } => (Self::FAILED, step, index, errno),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        [kind, step, index, 0, a, b, c, d, 0, 0, 0, 0]
    }

    pub(crate) fn decode(bytes: [u8; FRAME_LENGTH]) -> Option<Self> {
        let [kind, step, index, _, a, b, c, d, ..] = bytes;
        let number = i32::from_ne_bytes([a, b, c, d]);
        match kind {
            Self::SIBLING | Self::CHILD => Some(Self::Forked { pid: number, sibling: kind == Self::SIBLING }),
            Self::FAILED => Some(Self::Failed { step, index, errno: number }),
            _ => None,
        }
    }
}

/// What a daemon tells its launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It took over the start and runs.
    Started,
    /// It serves.
    Ready,
    /// One of its own steps failed.
    FailedStep {
        /// What was being done.
        step: Step,
        /// The kernel's reason.
        errno: Errno,
        /// The file that it was about.
        path: Option<PathBuf>,
    },
    /// It failed for a reason of its own, in words.
    Failed(String),
    /// It is about to exit with this code.
    Exiting(i32),
    /// Of a supervisor: the child that it has forked failed at this step, with the one of several things that has this index.
    ServiceFailed {
        /// What was being done.
        step: Step,
        /// Of what.
        index: u8,
        /// The kernel's reason.
        errno: Errno,
    },
    /// Of a supervisor: its service has ended this way.
    ServiceEnded(Exit),
}

/// Longer reasons are cut: a whole report fits one write to an empty pipe.
const MAX_PAYLOAD: usize = 3 * 1024;

impl Report {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Started => (b'S', Vec::new()),
            Self::Ready => (b'R', Vec::new()),
            Self::FailedStep { step, errno, path } => {
                let mut payload = vec![*step as u8];
                payload.extend((*errno as i32).to_le_bytes());
                payload.extend(path.iter().flat_map(|path| path.as_os_str().as_bytes()));
                (b'E', payload)
            }
            Self::Failed(reason) => (b'F', reason.as_bytes().to_vec()),
            Self::Exiting(code) => (b'X', code.to_le_bytes().to_vec()),
            Self::ServiceFailed { step, index, errno } => {
                let mut payload = vec![*step as u8, *index];
                payload.extend((*errno as i32).to_le_bytes());
                (b'C', payload)
            }
            Self::ServiceEnded(exit) => {
                let (kind, number) = match exit {
                    Exit::Code(code) => (b'c', *code),
                    Exit::Signal(signal) => (b's', *signal),
                    Exit::Unknown => (b'?', 0),
                };
                (b'D', [&[kind], number.to_le_bytes().as_slice()].concat())
            }
        };
        let payload = payload.get(..MAX_PAYLOAD).unwrap_or(&payload);
        #[expect(clippy::cast_possible_truncation, reason = "cut to MAX_PAYLOAD above")]
        let length = payload.len() as u16;
        let mut bytes = vec![kind];
        bytes.extend(length.to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Takes the whole reports out of `bytes`. Unknown ones, of a newer daemon, are passed over.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Vec<Self> {
        let mut reports = Vec::new();
        let mut rest = bytes.as_slice();
        while let &[kind, low, high, ref behind @ ..] = rest
            && let Some((payload, next)) = behind.split_at_checked(usize::from(u16::from_le_bytes([low, high])))
        {
            reports.extend(Self::decode(kind, payload));
            rest = next;
        }
        // At once: what a program writes here that means nothing by it can be any number of tiny reports.
        let taken = bytes.len() - rest.len();
        bytes.drain(..taken);
        reports
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match kind {
            b'S' => Self::Started,
            b'R' => Self::Ready,
            b'E' => {
                let (&step, rest) = payload.split_first()?;
                let (errno, path) = rest.split_first_chunk()?;
                Self::FailedStep {
                    step: Step::from_number(step)?,
                    errno: Errno::from_raw(i32::from_le_bytes(*errno)),
                    path: (!path.is_empty()).then(|| OsStr::from_bytes(path).into()),
                }
            }
            b'F' => Self::Failed(String::from_utf8_lossy(payload).into_owned()),
            b'X' => Self::Exiting(i32::from_le_bytes(payload.try_into().ok()?)),
            b'C' => {
                let (&[step, index], errno) = payload.split_first_chunk()?;
                Self::ServiceFailed {
                    step: Step::from_number(step)?,
                    index,
                    errno: Errno::from_raw(i32::from_le_bytes(errno.try_into().ok()?)),
                }
            }
            b'D' => {
                let (kind, number) = payload.split_first()?;
                let number = i32::from_le_bytes(number.try_into().ok()?);
                Self::ServiceEnded(match kind {
                    b'c' => Exit::Code(number),
                    b's' => Exit::Signal(number),
                    _ => Exit::Unknown,
                })
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::sample::{Index, select};

    use super::*;
    use crate::launch::LaunchPlan;
    use crate::property::holds;

    #[test]
    fn frames_come_back_as_they_were() {
        for frame in [
            Frame::Forked { pid: 4_194_304, sibling: true },
            Frame::Forked { pid: 1, sibling: false },
            Frame::Failed { step: Step::SetLimit as u8, index: 7, errno: Errno::ENOENT as i32 },
        ] {
            assert_eq!(Frame::decode(frame.encode()), Some(frame));
        }
        assert_eq!(Frame::decode([0; FRAME_LENGTH]), None);
    }

    #[test]
    fn reports_come_back_as_they_were_even_in_pieces() {
        let reports = [
            Report::Started,
            Report::FailedStep { step: Step::Chdir, errno: Errno::EACCES, path: Some("/root/ä b".into()) },
            Report::FailedStep { step: Step::Adopt, errno: Errno::EBADF, path: None },
            Report::Failed("Error: später".into()),
            Report::Exiting(13),
            Report::ServiceFailed { step: Step::SetLimit, index: 3, errno: Errno::EPERM },
            Report::ServiceEnded(Exit::Code(3)),
            Report::ServiceEnded(Exit::Signal(11)),
            Report::Ready,
        ];
        let (mut bytes, mut seen) = (Vec::new(), Vec::new());
        for byte in reports.iter().flat_map(Report::encode) {
            bytes.push(byte);
            seen.extend(Report::take(&mut bytes));
        }
        assert_eq!(seen, reports);
    }

    #[test]
    fn an_unknown_report_is_passed_over_and_a_long_reason_is_cut() {
        let mut bytes = vec![b'?', 2, 0, 1, 2];
        bytes.extend(Report::Failed("x".repeat(100_000)).encode());
        assert_eq!(Report::take(&mut bytes), [Report::Failed("x".repeat(MAX_PAYLOAD))]);
        assert_eq!(bytes, []);
    }

    #[test]
    fn any_bytes_are_a_frame_or_none() {
        let plan = LaunchPlan::new("/bin/true").pin().expect("it is a plan");
        holds("frame on the exec pipe", 1000, &any::<[u8; FRAME_LENGTH]>(), |bytes| {
            let Some(frame) = Frame::decode(bytes) else { return };
            assert_eq!(Frame::decode(frame.encode()), Some(frame));
            if let Frame::Failed { step, index, errno } = frame {
                let step = Step::from_number(step).unwrap_or(Step::Exec);
                let error = plan.failure_at(step, index, Errno::from_raw(errno));
                assert!(error.to_string().starts_with("cannot "), "{error}");
            }
        });
    }

    /// What daemons send.
    fn report() -> impl Strategy<Value = Report> {
        let step = select(Step::ALL);
        let errno = (1..100).prop_map(Errno::from_raw);
        let end = prop_oneof![any::<i32>().prop_map(Exit::Code), any::<i32>().prop_map(Exit::Signal)];
        let reason = (vec(any::<char>(), 0..10), prop_oneof![9 => Just(1), 1 => Just(60)])
            .prop_map(|(text, times)| text.into_iter().collect::<String>().repeat(times));
        let path = option::of(vec(any::<u8>(), 1..20).prop_map(|bytes| OsString::from_vec(bytes).into()));
        prop_oneof![
            Just(Report::Started),
            Just(Report::Ready),
            (step, errno, path).prop_map(|(step, errno, path)| Report::FailedStep { step, errno, path }),
            reason.prop_map(Report::Failed),
            any::<i32>().prop_map(Report::Exiting),
            end.prop_map(Report::ServiceEnded),
        ]
    }

    /// What any program could write, knowing of daemonry or not.
    pub(crate) fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let garbled = (report().prop_map(|report| report.encode()), any::<Index>(), any::<u8>());
        let piece = prop_oneof![
            report().prop_map(|report| report.encode()),
            garbled.prop_map(|(mut bytes, place, byte)| {
                *place.get_mut(&mut bytes) = byte;
                bytes
            }),
            vec(any::<u8>(), 0..40),
        ];
        vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn any_reports_come_back_as_they_were() {
        holds("report to bytes and back", 1000, &vec(report(), 0..6), |reports| {
            let mut bytes: Vec<u8> = reports.iter().flat_map(Report::encode).collect();
            assert_eq!(Report::take(&mut bytes), reports);
            assert_eq!(bytes, []);
        });
    }

    #[test]
    fn any_bytes_are_the_same_reports_in_whatever_pieces_they_come() {
        holds("bytes on the status pipe", 1000, &(any_bytes(), vec(any::<Index>(), 0..4)), |(bytes, cuts)| {
            let mut whole = bytes.clone();
            let expected = Report::take(&mut whole);
            // What is left waits for the rest of a report, and for no more.
            assert!(whole.len() < 3 || whole.len() < 3 + usize::from(u16::from_le_bytes([whole[1], whole[2]])));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut pending, mut seen, mut from) = (Vec::new(), Vec::new(), 0);
            for to in cuts.into_iter().chain([bytes.len()]) {
                pending.extend(&bytes[from..to]);
                seen.extend(Report::take(&mut pending));
                from = to;
            }
            assert_eq!((seen, pending), (expected, whole));
        });
    }
}
