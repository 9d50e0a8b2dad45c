//! Priorities: what only a privileged process can have, and the OOM score.

use std::ffi::CStr;

use nix::errno::Errno;

/// Whether there are OOM scores and the no-new-privileges flag.
pub(crate) const HAS_OOM_SCORE: bool = true;

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

const PR_SET_IO_FLUSHER: libc::c_int = 57;

const PR_GET_IO_FLUSHER: libc::c_int = 58;

/// What only a privileged process can have, and what a change of the user leaves to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elevated {
    /// A real-time or deadline policy (`sched(7)`).
    is_real_time: bool,
    /// A real-time I/O priority (`ioprio_set(2)`).
    has_io_priority: bool,
    /// Memory reserves for those that write memory out (`PR_SET_IO_FLUSHER(2const)`).
    is_io_flusher: bool,
    /// The secure bits without those by which a change of the user leaves capabilities, if any of them are set
    /// (capabilities(7)).
    secure_bits: Option<libc::c_int>,
}

impl Elevated {
    /// What the calling thread has of it.
    pub(crate) fn now() -> Self {
        const KEEP_CAPS: libc::c_int = 1 << 4;
        const NO_SETUID_FIXUP: libc::c_int = 1 << 2;
        const REAL_TIME_CLASS: libc::c_long = 1;
        // SAFETY: asking touches no memory.
        let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
        // SAFETY: as above.
        let io = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
        // SAFETY: as above. Older kernels do not know it.
        let flusher = unsafe { libc::prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) };
        // SAFETY: as above.
        let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) };
        let keeping = KEEP_CAPS | NO_SETUID_FIXUP;
        Self {
            is_real_time: [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].iter().any(|elevated| {
                policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK) == libc::c_long::from(*elevated)
            }),
            has_io_priority: io >= 0 && io >> 13 == REAL_TIME_CLASS,
            is_io_flusher: flusher == 1,
            secure_bits: (bits > 0 && bits & keeping != 0).then_some(bits & !keeping),
        }
    }

    /// Gives it up. Async-signal-safe.
    pub(crate) fn give_up(self) -> Result<(), Errno> {
        if let Some(bits) = self.secure_bits {
            // Locked ones stay; the capabilities themselves are given up later, whatever these say.
            // SAFETY: setting flags touches no memory.
            unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) };
        }
        if self.is_real_time {
            let priority: libc::c_int = 0;
            // SAFETY: the kernel reads one number.
            let set = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const priority) };
            Errno::result(set)?;
        }
        if self.has_io_priority {
            // SAFETY: setting a priority touches no memory. 0 follows the niceness.
            Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0) })?;
        }
        if self.is_io_flusher {
            // SAFETY: setting a flag touches no memory.
            Errno::result(unsafe { libc::prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0) })?;
        }
        Ok(())
    }
}

/// The niceness of the calling thread, and the OOM score adjustment of its process; 0 where they cannot be found out.
pub(crate) fn own_priorities() -> (i32, i32) {
    Errno::clear();
    // SAFETY: asking touches no memory.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    (nice, score.unwrap_or(0))
}

/// Sets the OOM score adjustment of the calling process (`proc_pid_oom_score_adj(5)`). Async-signal-safe.
pub(crate) fn set_oom_score(adjustment: &CStr) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string.
    let file = Errno::result(unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), flags) })?;
    let bytes = adjustment.to_bytes();
    // SAFETY: the bytes outlive the call.
    let written = Errno::result(unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) });
    // SAFETY: closing descriptors touches no memory.
    unsafe { libc::close(file) };
    // Half of a number is another one.
    if usize::try_from(written?) == Ok(bytes.len()) { Ok(()) } else { Err(Errno::EIO) }
}
