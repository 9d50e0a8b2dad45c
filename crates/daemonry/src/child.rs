//! All code that runs between fork and exec.
//!
//! The child of a multi-threaded process is hamstrung: only async-signal-safe system calls on memory prepared by
//! [`Prepared`], no allocation, no lock, no panic, no destructor. Every signal is blocked until right before exec.

use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use crate::error::Step;
use crate::frame::Frame;
use crate::marker::Marker;
use crate::pidfile::Digits;
use crate::plan::{PID_FILE_TARGET, Prepared};
use crate::record::PID_END;
use crate::sys;

/// Status of a child whose frame tells why it failed.
const FAILED: libc::c_int = 127;

/// The session leader: a session of its own, the second fork, the daemon's pid to the launcher, exit.
///
/// # Safety
///
/// Only in a child that was just forked, with every signal blocked.
pub(crate) unsafe fn leader(prepared: &Prepared, hold: RawFd) -> ! {
    let exec_pipe = prepared.exec_pipe.as_raw_fd();
    // Else its own copy of the launcher's end would keep the leader waiting for ever.
    // SAFETY: closing descriptors touches no memory.
    unsafe { libc::close(hold) };
    // SAFETY: setsid touches no memory.
    if unsafe { libc::setsid() } < 0 {
        fail(exec_pipe, Step::Setsid, Errno::last());
    }
    let mut sibling = prepared.siblings;
    let mut pid = if sibling {
        // SAFETY: the child goes on with async-signal-safe calls only.
        unsafe { sys::fork_sibling() }
    } else {
        Err(Errno::ENOSYS)
    };
    // Refused by a seccomp filter, an emulator or the platform: then an ordinary fork, with the leader as parent.
    if let Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) = pid {
        sibling = false;
        // SAFETY: the child goes on with async-signal-safe calls only.
        pid = unsafe { sys::fork() };
    }
    match pid {
        // SAFETY: this is the child, with every signal still blocked.
        Ok(0) => unsafe { daemon(prepared) },
        Ok(pid) => {
            send(exec_pipe, Frame::Forked { pid, sibling });
            if !sibling {
                // As long as its parent lives, a daemon that dies stays a zombie and its pid its own.
                wait_for_eof(keep_only(prepared.hold_pipe.as_raw_fd()));
            }
            exit(0)
        }
        Err(errno) => fail(exec_pipe, Step::ForkAgain, errno),
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
    let exec_pipe = place_exec_pipe(prepared.exec_pipe.as_raw_fd(), last_target);

    for (source, target) in sources.iter().zip(0..) {
        if let Err(errno) = dup2(source.as_raw_fd(), target) {
            fail(exec_pipe, Step::Dup, errno);
        }
    }
    // SAFETY: umask touches no memory.
    unsafe { libc::umask(prepared.umask) };
    if let Some(directory) = prepared.working_directory() {
        // SAFETY: the path is a C string.
        if unsafe { libc::chdir(directory.as_ptr()) } < 0 {
            fail(exec_pipe, Step::Chdir, Errno::last());
        }
    }
    // SAFETY: getpid touches no memory.
    let pid = unsafe { libc::getpid() };
    if let Some(record) = &prepared.record {
        let digits = Digits::of(pid);
        let place = PID_END - digits.as_bytes().len();
        if let Err(errno) = write_at(record.as_raw_fd(), digits.as_bytes(), place) {
            fail(exec_pipe, Step::WriteRecord, errno);
        }
    }
    // Before the record lock: closing any other descriptor of the pidfile would drop it.
    if let Err(errno) = sys::close_from(last_target + 1) {
        fail(exec_pipe, Step::CloseDescriptors, errno);
    }
    if prepared.has_pid_file {
        if let Err(errno) = write_pid(pid, prepared.commits_at_exec) {
            fail(exec_pipe, Step::WritePid, errno);
        }
        if let Err(errno) = sys::lock_record(PID_FILE_TARGET) {
            fail(exec_pipe, Step::LockRecord, errno);
        }
    }
    // SAFETY: the place was prepared for exactly this; the launcher does not touch it.
    unsafe { Marker::sign(prepared.marker_pid(), pid) };
    sys::reset_dispositions();
    unblock_signals();
    // SAFETY: this is the child.
    let errno = unsafe { execute(prepared) };
    fail(exec_pipe, Step::Exec, errno)
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
    if let Err(errno) = dup2(exec_pipe, target) {
        fail(exec_pipe, Step::Dup, errno);
    }
    // SAFETY: setting a flag touches no memory.
    if unsafe { libc::fcntl(target, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        fail(exec_pipe, Step::Dup, Errno::last());
    }
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

fn write_pid(pid: libc::pid_t, commit: bool) -> Result<(), Errno> {
    let digits = Digits::of(pid);
    let digits = digits.as_bytes();
    let mut line = [b'\n'; 12];
    for (slot, digit) in line.iter_mut().zip(digits) {
        *slot = *digit;
    }
    let length = digits.len() + usize::from(commit);
    write_at(PID_FILE_TARGET, line.get(..length).unwrap_or(&[]), 0)
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

/// Closes everything else: a copy of the pipes of another start, on another thread of the launcher, would keep that one
/// waiting, and its copy of this one's pipe this one.
fn keep_only(pipe: RawFd) -> RawFd {
    if dup2(pipe, 0).is_err() {
        return pipe;
    }
    // What stays open ends with the leader.
    let _closed = sys::close_from(1);
    0
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

fn fail(exec_pipe: RawFd, step: Step, errno: Errno) -> ! {
    send(exec_pipe, Frame::Failed { step: step as u8, errno: errno as i32 });
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
