//! All code that runs between fork and exec.
//!
//! The child of a multi-threaded process is hamstrung, be its memory the launcher's or a copy: only async-signal-safe system
//! calls on memory prepared by [`Prepared`], no allocation, no lock, no panic, no destructor. Every signal is blocked until
//! right before exec.

use std::os::fd::RawFd;
use std::ptr;

use nix::errno::Errno;

use crate::error::Step;
use crate::frame::Frame;
use crate::pidfile::Digits;
use crate::plan::Prepared;
use crate::record::PID_END;
use crate::sys::{self, Ground};

/// Status of a child whose frame tells why it failed.
const FAILED: libc::c_int = 127;

/// Where the children run.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    /// In copies of the launcher's memory, with a copy of its end of the hold pipe.
    Copy { hold: RawFd },
    /// In the launcher's memory itself, on stacks of their own; the leader with the launcher's descriptors.
    Share(&'a Ground),
}

/// All that the children know.
pub(crate) struct Site<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) way: Way<'a>,
}

/// Runs [`leader`] on a stack of its own.
pub(crate) extern "C" fn enter_leader(site: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the thread that cloned this child sleeps, and keeps the site.
    let site = unsafe { &*site.cast::<Site<'_>>() };
    // SAFETY: this is the child, with every signal blocked.
    unsafe { leader(site) }
}

extern "C" fn enter_daemon(site: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the thread that cloned this child's leader sleeps, and keeps the site.
    let site = unsafe { &*site.cast::<Site<'_>>() };
    // SAFETY: this is the child, with every signal blocked.
    unsafe { shared_daemon(site.prepared) }
}

/// The session leader: a session of its own, the second fork, the daemon's pid to the launcher, exit.
///
/// # Safety
///
/// Only in a child that was just forked, with every signal blocked.
pub(crate) unsafe fn leader(site: &Site<'_>) -> ! {
    let prepared = site.prepared;
    if let Way::Copy { hold } = site.way {
        // Else its own copy of the launcher's end would keep the leader waiting for ever.
        // SAFETY: closing descriptors touches no memory.
        unsafe { libc::close(hold) };
    }
    // SAFETY: setsid touches no memory.
    if unsafe { libc::setsid() } < 0 {
        fail(prepared.exec_pipe, Step::Setsid, Errno::last());
    }
    match site.way {
        // SAFETY: by the caller's word.
        Way::Share(ground) => unsafe { share(site, ground) },
        // SAFETY: by the caller's word.
        Way::Copy { .. } => unsafe { copy(prepared) },
    }
}

/// Forks the daemon into the memory that is the launcher's, too, and exits when it has left it.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn share(site: &Site<'_>, ground: &Ground) -> ! {
    let argument = ptr::from_ref(site).cast_mut().cast();
    // SAFETY: the child only does the daemon's steps, and every signal is blocked.
    match unsafe { ground.fork_daemon(site.prepared.siblings, enter_daemon, argument) } {
        // It has named itself, and the launcher may have closed the pipe since.
        Ok(_) => {}
        // The launcher then forks another leader, the other way.
        Err(errno) if sys::is_refusal(errno) => ground.refuse(errno),
        Err(errno) => fail(site.prepared.exec_pipe, Step::ForkAgain, errno),
    }
    exit(0)
}

/// The daemon in the launcher's memory. Its leader sleeps until it has left that, so it names itself.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn shared_daemon(prepared: &Prepared) -> ! {
    // SAFETY: getpid touches no memory.
    let pid = unsafe { libc::getpid() };
    send(prepared.exec_pipe, Frame::Forked { pid, sibling: prepared.siblings });
    // SAFETY: by the caller's word.
    unsafe { daemon(prepared) }
}

/// Forks the daemon into a copy of the leader's memory, tells the launcher and exits.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn copy(prepared: &Prepared) -> ! {
    let mut sibling = prepared.siblings;
    let mut pid = if sibling {
        // SAFETY: the child goes on with async-signal-safe calls only.
        unsafe { sys::fork_sibling() }
    } else {
        Err(Errno::ENOSYS)
    };
    // Refused by a seccomp filter, an emulator or the platform: then an ordinary fork, with the leader as parent.
    if pid.is_err_and(sys::is_refusal) {
        sibling = false;
        // SAFETY: the child goes on with async-signal-safe calls only.
        pid = unsafe { sys::fork() };
    }
    match pid {
        // SAFETY: this is the child, with every signal still blocked.
        Ok(0) => unsafe { daemon(prepared) },
        Ok(pid) => {
            let [exec_pipe, hold_pipe] = keep_only([prepared.exec_pipe, prepared.hold_pipe]);
            send(exec_pipe, Frame::Forked { pid, sibling });
            if !sibling {
                // SAFETY: closing descriptors touches no memory.
                unsafe { libc::close(exec_pipe) };
                // As long as its parent lives, a daemon that dies stays a zombie and its pid its own.
                wait_for_eof(hold_pipe);
            }
            exit(0)
        }
        Err(errno) => fail(prepared.exec_pipe, Step::ForkAgain, errno),
    }
}

/// The daemon's steps up to its new image.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn daemon(prepared: &Prepared) -> ! {
    let sources = prepared.sources();
    let last_target = RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX);
    let exec_pipe = place_exec_pipe(prepared.exec_pipe, last_target);
    let check = |step, outcome| check(exec_pipe, step, outcome);

    // Whatever arrives from here on, and whoever sends it, no handler of the launcher runs in this memory.
    sys::reset_dispositions();
    for (&source, target) in sources.iter().zip(0..) {
        check(Step::Dup, dup2(source, target));
    }
    // SAFETY: umask touches no memory.
    unsafe { libc::umask(prepared.umask) };
    // SAFETY: getpid touches no memory.
    let pid = unsafe { libc::getpid() };
    if let Some(record) = prepared.record {
        let digits = Digits::of(pid);
        let place = PID_END - digits.as_bytes().len();
        check(Step::WriteRecord, write_at(record, digits.as_bytes(), place));
    }
    // Before the record lock: closing any other descriptor of the pidfile would drop it.
    check(Step::CloseDescriptors, sys::close_from(last_target + 1));
    // Before the limits, one of which is for the length of files.
    if let Some(pid_file) = prepared.pid_file_target {
        check(Step::WritePid, write_pid(pid_file, pid, prepared.commits_at_exec));
        check(Step::LockRecord, sys::lock_record(pid_file));
    }
    // SAFETY: the places were prepared for exactly this; the launcher does not touch them.
    unsafe { prepared.sign(pid) };
    // SAFETY: as for this function.
    unsafe { limit(prepared, exec_pipe) };
    if let Some(ids) = &prepared.ids {
        check(Step::SetGroups, sys::set_groups(&ids.groups));
        check(Step::SetGid, sys::set_gid(ids.gid));
        check(Step::SetUid, sys::set_uid(ids.uid));
        let are_right = sys::has_ids(ids, prepared.found_groups()) && (ids.uid == 0 || !sys::can_become_root());
        check(Step::VerifyIds, if are_right { Ok(()) } else { Err(Errno::EPERM) });
    }
    if prepared.no_new_privileges {
        check(Step::NoNewPrivileges, sys::forbid_new_privileges());
    }
    // With the daemon's own rights, as everything that it does itself later.
    if let Some(directory) = prepared.working_directory() {
        // SAFETY: the path is a C string.
        check(Step::Chdir, Errno::result(unsafe { libc::chdir(directory.as_ptr()) }).map(drop));
    }
    if let Some(script) = prepared.must_read() {
        check(Step::ReadScript, sys::may_read(script));
    }
    unblock_signals();
    // SAFETY: this is the child.
    let errno = unsafe { execute(prepared) };
    fail(exec_pipe, Step::Exec, errno)
}

/// How much it may use, and how it is scheduled: what only a privileged process may raise, so before the ids change.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn limit(prepared: &Prepared, exec_pipe: RawFd) {
    if let Some(adjustment) = &prepared.oom_score {
        check(exec_pipe, Step::SetOomScore, sys::set_oom_score(adjustment));
    }
    if let Some(nice) = prepared.nice {
        // SAFETY: setting a priority touches no memory.
        let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
        check(exec_pipe, Step::SetPriority, Errno::result(set).map(drop));
    }
    for ((resource, limit), index) in prepared.limits.iter().zip(0..) {
        if let Err(errno) = sys::set_limit(resource.number, limit) {
            send(exec_pipe, Frame::Failed { step: Step::SetLimit as u8, index, errno: errno as i32 });
            exit(FAILED);
        }
    }
}

/// As execvp(3): the first of the places that there is, and a shell for a script that names no interpreter. Returns only when
/// nothing could be executed.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn execute(prepared: &Prepared) -> Errno {
    let mut refused = Errno::ENOENT;
    for program in prepared.programs() {
        // SAFETY: all three are null-terminated and alive.
        unsafe { libc::execve(program.as_ptr(), prepared.arguments(), prepared.environment()) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => refused = Errno::EACCES,
            Errno::ENOEXEC => {
                let arguments = prepared.shell_arguments(program);
                // SAFETY: all three are null-terminated and alive.
                unsafe { libc::execve(c"/bin/sh".as_ptr(), arguments, prepared.environment()) };
                return Errno::last();
            }
            errno => return errno,
        }
    }
    refused
}

/// Puts the exec pipe behind the handed-over descriptors, closed on exec.
fn place_exec_pipe(exec_pipe: RawFd, target: RawFd) -> RawFd {
    check(exec_pipe, Step::Dup, dup2(exec_pipe, target));
    check(exec_pipe, Step::Dup, sys::close_on_exec(target));
    target
}

fn dup2(source: RawFd, target: RawFd) -> Result<(), Errno> {
    loop {
        // SAFETY: the child's descriptors are its own to arrange.
        match Errno::result(unsafe { libc::dup2(source, target) }) {
            // EBUSY: a race with another thread's open, as dup2(2) has it.
            Err(Errno::EINTR | Errno::EBUSY) => {}
            result => return result.map(drop),
        }
    }
}

fn write_pid(pid_file: RawFd, pid: libc::pid_t, commit: bool) -> Result<(), Errno> {
    let digits = Digits::of(pid);
    let digits = digits.as_bytes();
    let mut line = [b'\n'; 12];
    for (slot, digit) in line.iter_mut().zip(digits) {
        *slot = *digit;
    }
    let length = digits.len() + usize::from(commit);
    write_at(pid_file, line.get(..length).unwrap_or(&[]), 0)
}

fn write_at(file: RawFd, bytes: &[u8], place: usize) -> Result<(), Errno> {
    #[expect(clippy::cast_possible_wrap, reason = "places are a few bytes from the start")]
    let place = place as libc::off_t;
    loop {
        // SAFETY: the bytes outlive the call.
        match Errno::result(unsafe { libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), place) }) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(written) if usize::try_from(written) == Ok(bytes.len()) => return Ok(()),
            // The kernel writes less than asked only when there is no room for more.
            Ok(_) => return Err(Errno::ENOSPC),
        }
    }
}

fn unblock_signals() {
    // SAFETY: all-zero is an empty signal set on Linux and macOS.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set outlives the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Closes everything else, before the launcher hears of the daemon: a copy of the lock would outlast a daemon that is ended at
/// once, and a copy of the pipes of another start, on another thread of the launcher, would keep that one waiting.
fn keep_only(pipes: [RawFd; 2]) -> [RawFd; 2] {
    if pipes.iter().zip(0..).any(|(&pipe, place)| dup2(pipe, place).is_err()) {
        return pipes;
    }
    // What stays open ends with the leader.
    let _closed = sys::close_from(2);
    [0, 1]
}

fn wait_for_eof(pipe: RawFd) {
    let mut byte = 0_u8;
    loop {
        // SAFETY: one byte into a local.
        let read = unsafe { libc::read(pipe, (&raw mut byte).cast(), 1) };
        if read >= 0 || Errno::last() != Errno::EINTR {
            return;
        }
    }
}

fn check(exec_pipe: RawFd, step: Step, outcome: Result<(), Errno>) {
    if let Err(errno) = outcome {
        fail(exec_pipe, step, errno);
    }
}

/// Tells the launcher that a step failed. Async-signal-safe.
pub(crate) fn report(exec_pipe: RawFd, step: Step, errno: Errno) {
    send(exec_pipe, Frame::Failed { step: step as u8, index: 0, errno: errno as i32 });
}

fn fail(exec_pipe: RawFd, step: Step, errno: Errno) -> ! {
    report(exec_pipe, step, errno);
    exit(FAILED)
}

/// A launcher that is gone needs no frame, and an atomic write to an empty pipe does not fail otherwise.
fn send(exec_pipe: RawFd, frame: Frame) {
    let bytes = frame.encode();
    // SAFETY: the frame outlives the call.
    while unsafe { libc::write(exec_pipe, bytes.as_ptr().cast(), bytes.len()) } < 0 && Errno::last() == Errno::EINTR {}
}

fn exit(code: libc::c_int) -> ! {
    // SAFETY: no exit handlers, no destructors: they belong to the launcher.
    unsafe { libc::_exit(code) }
}
