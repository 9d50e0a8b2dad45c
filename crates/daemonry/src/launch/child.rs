//! All code that runs between fork and exec.
//!
//! The child of a multi-threaded process is hamstrung, be its memory the launcher's or a copy: only async-signal-safe system
//! calls on memory prepared by [`Prepared`], no allocation, no lock, no panic, no destructor. Every signal is blocked until
//! right before exec.

use std::ffi::{CStr, CString};
use std::iter::repeat;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::SockaddrLike;

use super::prepare::Prepared;
use super::prepared_instance::PreparedInstance;
use crate::error::Step;
use crate::pidfile::{self, Line};
use crate::protocol::{Access, DeferredFile, DeferredPidFile, DeferredSocket, Finding, Frame, RehearsedSocket};
use crate::state::UpAt;
use crate::sys::{self, SharedVm};

/// The exit status of a child that failed; its frame has the reason.
const FAILED: libc::c_int = 127;

/// Where the children run.
#[derive(Clone, Copy)]
pub(crate) enum ForkMethod<'a> {
    /// In copies of the launcher's memory, with a copy of its end of the hold pipe.
    Copy { hold: RawFd },
    /// In the launcher's memory itself, on stacks of their own; the leader with the launcher's descriptors.
    Share(&'a SharedVm),
}

/// All that the children know.
pub(crate) struct ChildContext<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) method: ForkMethod<'a>,
}

/// Runs [`leader`] on a stack of its own.
pub(crate) extern "C" fn enter_leader(context: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the thread that cloned this child sleeps, and keeps the context.
    let context = unsafe { &*context.cast::<ChildContext<'_>>() };
    // SAFETY: this is the child, with every signal blocked.
    unsafe { leader(context) }
}

extern "C" fn enter_daemon(context: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the thread that cloned this child's leader sleeps, and keeps the context.
    let context = unsafe { &*context.cast::<ChildContext<'_>>() };
    // SAFETY: this is the child, with every signal blocked.
    unsafe { shared_daemon(context.prepared) }
}

/// The session leader: a session of its own, the second fork, the daemon's pid to the launcher, exit.
///
/// # Safety
///
/// Only in a child that was just forked, with every signal blocked.
pub(crate) unsafe fn leader(context: &ChildContext<'_>) -> ! {
    let prepared = context.prepared;
    if let ForkMethod::Copy { hold } = context.method {
        // Else its own copy of the launcher's end would keep the leader waiting for ever.
        // SAFETY: closing descriptors touches no memory.
        unsafe { libc::close(hold) };
    }
    // SAFETY: setsid touches no memory.
    if unsafe { libc::setsid() } < 0 {
        fail(prepared.exec_pipe, Step::Setsid, Errno::last());
    }
    // Here and in the daemon: no handler of the launcher runs in this memory, and the kernel reaps no daemon that has ended.
    sys::reset_dispositions();
    match context.method {
        // SAFETY: by the caller's word.
        ForkMethod::Share(shared_vm) => unsafe { share(context, shared_vm) },
        // SAFETY: by the caller's word.
        ForkMethod::Copy { .. } => unsafe { copy(prepared) },
    }
}

/// Forks the daemon into the memory that is the launcher's, too, and exits when it has left it.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn share(context: &ChildContext<'_>, shared_vm: &SharedVm) -> ! {
    let argument = ptr::from_ref(context).cast_mut().cast();
    // SAFETY: the child only does the daemon's steps, and every signal is blocked.
    match unsafe { shared_vm.fork_daemon(context.prepared.siblings, enter_daemon, argument) } {
        // It has named itself, and the launcher may have closed the pipe since.
        Ok(_) => {}
        // The launcher then forks another leader, the other way.
        Err(errno) if sys::is_refusal(errno) => shared_vm.refuse(errno),
        Err(errno) => fail(context.prepared.exec_pipe, Step::ForkAgain, errno),
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

/// Forks the daemon into a copy of the leader's memory, reports its pid to the launcher, and exits.
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
                // As long as its parent lives, a daemon that has ended stays a zombie: its pid stays its own, and whether it has
                // executed its program can be seen.
                wait_for_eof(hold_pipe);
            }
            exit(0)
        }
        Err(errno) => fail(prepared.exec_pipe, Step::ForkAgain, errno),
    }
}

/// The service of a supervisor, which has forked it from its only thread: it has a process group of its own, so that what it sends to
/// its group does not reach the supervisor.
///
/// # Safety
///
/// As for [`leader`].
pub(super) unsafe fn service(prepared: &Prepared) -> ! {
    sys::reset_dispositions();
    // SAFETY: setpgid touches no memory.
    if unsafe { libc::setpgid(0, 0) } < 0 {
        fail(prepared.exec_pipe, Step::SetProcessGroup, Errno::last());
    }
    // SAFETY: by the caller's word.
    unsafe { daemon(prepared) }
}

/// The daemon's steps up to its new image.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn daemon(prepared: &Prepared) -> ! {
    let sources = &prepared.sources;
    let last_target = RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX);
    let exec_pipe = place_exec_pipe(prepared.exec_pipe, last_target);
    let check = |step, outcome| check(exec_pipe, step, outcome);

    for (&source, target) in sources.iter().zip(0..) {
        check(Step::Dup, dup2(source, target));
    }
    // SAFETY: umask touches no memory.
    unsafe { libc::umask(prepared.attributes.umask) };
    // SAFETY: getpid touches no memory.
    let pid = unsafe { libc::getpid() };
    // Before the limits, one of which is for the length of files.
    if let Some(instance) = &prepared.instance {
        // SAFETY: getsid touches no memory.
        let session = unsafe { libc::getsid(0) };
        // SAFETY: nothing but this child uses the template.
        let fill = |(start, unique)| unsafe { instance.claim.fill(pid, start, unique, session) };
        let claim = match (sys::own_start_time(), sys::own_unique()) {
            (Ok(0), _) if instance.must_have_start => Err(Errno::ENOENT),
            (start, unique) => start.and_then(|start| Ok((start, unique?))).map(fill),
        };
        check(Step::WriteLock, claim.and_then(|claim| write_start(instance.lock, claim)));
        if let Ok(pid_file) = instance.pid_file {
            check(Step::WritePid, write_start(pid_file, Line::of(pid).as_bytes()));
        }
    }
    // Before the record lock: closing any other descriptor of the pidfile would drop it.
    check(Step::CloseDescriptors, sys::close_from(last_target + 1));
    if let Some(instance) = &prepared.instance {
        // Neither decides anything where `/proc` shows the process.
        for target in [Some(instance.pid_file_target), instance.lock_target].into_iter().flatten() {
            let _named = sys::lock_record(target);
        }
    }
    // With a limit on the length of files there is no later moment.
    if prepared.attributes.limits_files() {
        check(Step::MarkPhase, mark_up_at_exec(prepared));
    }
    // SAFETY: the places were prepared for exactly this; the launcher does not touch them.
    unsafe { prepared.command.environment.sign(pid) };
    // SAFETY: as for this function.
    unsafe { limit(prepared, exec_pipe) };
    give_up_rights(prepared, exec_pipe);
    // With the daemon's own rights from here on, as everything that it does itself later. Paths are the launcher's.
    for file in &prepared.deferred_files {
        // SAFETY: as for this function.
        check(file.step, unsafe { open_file(prepared, file) });
    }
    if let Some((instance, file)) = prepared.instance.as_ref().and_then(|it| Some((it, it.pid_file.as_ref().err()?))) {
        // SAFETY: as for this function.
        if let Err((step, index, errno)) = unsafe { place_pid_file(prepared, instance, file, pid) } {
            fail_at(exec_pipe, step, index, errno);
        }
    }
    for socket in &prepared.deferred_sockets {
        // SAFETY: as for this function.
        if let Err(errno) = unsafe { bind_socket(prepared, socket) } {
            // SAFETY: as for this function.
            unsafe { remove_sockets(prepared) };
            fail_at(exec_pipe, Step::Listen, socket.index, errno);
        }
    }
    for socket in prepared.rehearsal.iter().flat_map(|rehearsal| &rehearsal.sockets) {
        if let Err(errno) = rehearse_socket(socket) {
            fail_at(exec_pipe, Step::Listen, socket.index, errno);
        }
    }
    let check = |step, outcome: Result<(), Errno>| {
        if let Err(errno) = outcome {
            // SAFETY: as for this function.
            unsafe { remove_sockets(prepared) };
            fail(exec_pipe, step, errno);
        }
    };
    if let Some(directory) = prepared.paths.launchers_directory() {
        check(Step::Chdir, stay_in(directory));
    }
    if let Some(directory) = prepared.paths.working_directory() {
        // SAFETY: the path is a C string.
        check(Step::Chdir, Errno::result(unsafe { libc::chdir(directory.as_ptr()) }).map(drop));
    }
    if let Some(script) = prepared.paths.must_read() {
        check(Step::ReadScript, sys::may_read(script));
    }
    if let Some(rehearsal) = &prepared.rehearsal {
        if let Err((index, errno)) = rehearse(prepared.command.programs(), &rehearsal.interpreters) {
            report_at(exec_pipe, Step::Exec, index, errno);
        }
        exit(0);
    }
    if !prepared.attributes.limits_files() {
        check(Step::MarkPhase, mark_up_at_exec(prepared));
    }
    unblock_signals();
    // SAFETY: this is the child.
    let errno = unsafe { execute(prepared) };
    check(Step::Exec, Err(errno));
    exit(FAILED)
}

/// What the daemon must not have is gone after this: the launcher's ids and priority, and its keys.
fn give_up_rights(prepared: &Prepared, exec_pipe: RawFd) {
    let check = |step, outcome| check(exec_pipe, step, outcome);
    if let Some(ids) = &prepared.attributes.ids {
        if let Some(elevated) = prepared.attributes.elevated {
            check(Step::ResetPriority, elevated.give_up());
        }
        check(Step::SetGroups, sys::set_groups(&ids.groups));
        check(Step::SetGid, sys::set_gid(ids.gid));
        check(Step::SetUid, sys::set_uid(ids.uid));
        if ids.uid != 0 {
            sys::drop_capabilities();
        }
        let is_powerless = || !sys::can_become_root() && !sys::has_capabilities();
        let are_right = sys::has_ids(ids.uid, ids.gid, &ids.groups, prepared.attributes.found_groups())
            && (ids.uid == 0 || is_powerless());
        check(Step::VerifyIds, if are_right { Ok(()) } else { Err(Errno::EPERM) });
        if prepared.attributes.elevated.is_some() {
            check(Step::JoinKeyring, sys::join_own_keyring());
        }
    }
    if prepared.attributes.no_new_privileges {
        check(Step::NoNewPrivileges, sys::forbid_new_privileges());
    }
    // A change of ids takes it back.
    if let Some(supervisor) = prepared.ends_with {
        check(Step::EndWithSupervisor, sys::end_with_parent(supervisor));
    }
}

/// Opens a file for a standard stream, whose place is taken by another descriptor until then.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn open_file(prepared: &Prepared, file: &DeferredFile) -> Result<(), Errno> {
    let [target, others @ ..] = file.targets else { return Ok(()) };
    // A limit on descriptors counts already, so that the file has to come into this very place.
    // SAFETY: closing descriptors touches no memory.
    unsafe { libc::close(*target) };
    let no_follow = if file.is_exposed { libc::O_NOFOLLOW } else { 0 };
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK | no_follow;
    let (access, mode) = match file.access {
        Access::Input => (libc::O_RDONLY, None),
        Access::Output { mode, .. } => (libc::O_WRONLY | libc::O_APPEND, Some(mode)),
    };
    let (fd, is_new) = open_or_make(&file.path, access | flags, mode)?;
    if fd != *target {
        dup2(fd, *target)?;
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
    if let Some(mode) = mode.filter(|_| is_new) {
        // SAFETY: changing a mode touches no memory.
        Errno::result(unsafe { libc::fchmod(*target, mode) })?;
    }
    // SAFETY: all-zero is a valid structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the structure outlives the call.
    Errno::result(unsafe { libc::fstat(*target, &raw mut stat) })?;
    let is_own = prepared.attributes.ids.as_ref().is_none_or(|ids| stat.st_uid == 0 || stat.st_uid == ids.uid);
    if file.is_exposed && !(is_own && stat.st_nlink == 1) {
        return Err(Errno::EACCES);
    }
    let is_emptied = matches!(file.access, Access::Output { truncates: true, .. })
        && stat.st_mode & libc::S_IFMT == libc::S_IFREG
        && stat.st_size > 0;
    if is_emptied {
        // SAFETY: emptying a file touches no memory.
        Errno::result(unsafe { libc::ftruncate(*target, 0) })?;
    }
    let length = if is_emptied { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) };
    prepared.findings.set(*target, Finding { identity: sys::identity_of(&stat), length, is_new });
    // Only the open was not to block.
    // SAFETY: setting flags touches no memory.
    Errno::result(unsafe { libc::fcntl(*target, libc::F_SETFL, access & libc::O_APPEND) })?;
    others.iter().try_for_each(|&other| dup2(*target, other))
}

/// Makes the pidfile of a user in a directory of that user's, and locks it for outsiders.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn place_pid_file(
    prepared: &Prepared,
    instance: &PreparedInstance,
    file: &DeferredPidFile,
    pid: libc::pid_t,
) -> Result<(), (Step, u8, Errno)> {
    const FLAGS: libc::c_int = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let at = |step| move |errno| (step, 0, errno);
    let target = instance.pid_file_target;
    let user = prepared.attributes.ids.as_ref().map_or(0, |ids| ids.uid);
    let (write, is_new) =
        open_or_make(&file.path, libc::O_RDWR | FLAGS, Some(file.mode)).map_err(at(Step::OpenPidFile))?;
    if is_new {
        // SAFETY: changing a mode touches no memory.
        Errno::result(unsafe { libc::fchmod(write, file.mode) }).map_err(at(Step::OpenPidFile))?;
    }
    // SAFETY: it was just opened.
    let open = unsafe { BorrowedFd::borrow_raw(write) };
    let stat = nix::sys::stat::fstat(open).map_err(|errno| {
        if is_new {
            // Without knowing what it is the launcher could not remove it.
            // SAFETY: the path is a C string.
            unsafe { libc::unlink(file.path.as_ptr()) };
        }
        at(Step::ReadPidFile)(errno)
    })?;
    let found = Finding { identity: sys::identity_of(&stat), length: 0, is_new };
    // From here on the launcher removes what was made, if the start fails.
    if is_new {
        prepared.findings.set(target, found);
    }
    if let Some(fault) = pidfile::fault_of(open, &stat, user).map_err(at(Step::ReadPidFile))? {
        return Err((Step::ReadPidFile, fault, Errno::EINVAL));
    }
    let read = self::open(&file.path, libc::O_RDONLY | FLAGS, 0).map_err(at(Step::OpenPidFile))?;
    // SAFETY: as above.
    let identity = sys::identity(unsafe { BorrowedFd::borrow_raw(read) }).map_err(at(Step::ReadPidFile))?;
    if identity != sys::identity_of(&stat) {
        return Err((Step::OpenPidFile, 0, Errno::EAGAIN));
    }
    prepared.findings.set(target, found);
    // SAFETY: emptying a file touches no memory.
    Errno::result(unsafe { libc::ftruncate(write, 0) }).map_err(at(Step::ClearPidFile))?;
    write_start(write, Line::of(pid).as_bytes()).map_err(at(Step::WritePid))?;
    // SAFETY: locking touches no memory.
    let _outsiders_only = unsafe { libc::flock(read, libc::LOCK_EX | libc::LOCK_NB) };
    dup2(read, target).map_err(at(Step::Dup))?;
    for fd in [read, write] {
        // SAFETY: closing descriptors touches no memory.
        unsafe { libc::close(fd) };
    }
    // After the last descriptor is closed that would take the lock away again.
    let _outsiders_only = sys::lock_record(target);
    Ok(())
}

/// Opens a file, or makes it if there is a mode for it; and whether it has made it.
fn open_or_make(path: &CStr, flags: libc::c_int, mode: Option<libc::mode_t>) -> Result<(RawFd, bool), Errno> {
    const MOST: usize = 10;
    for _ in 0..MOST {
        match (open(path, flags, 0), mode) {
            (Err(Errno::ENOENT), Some(mode)) => match open(path, flags | libc::O_CREAT | libc::O_EXCL, mode) {
                // Another process has made it in between, or it is a link that leads nowhere.
                Err(Errno::EEXIST) => {}
                new => return new.map(|fd| (fd, true)),
            },
            (opened, _) => return opened.map(|fd| (fd, false)),
        }
    }
    Err(Errno::ENOENT)
}

fn open(path: &CStr, flags: libc::c_int, mode: libc::mode_t) -> Result<RawFd, Errno> {
    // SAFETY: the path is a C string.
    sys::retry(|| Errno::result(unsafe { libc::open(path.as_ptr(), flags, libc::c_uint::from(mode)) }))
}

/// Binds a socket with the rights of the daemon's user, and listens on it.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn bind_socket(prepared: &Prepared, socket: &DeferredSocket) -> Result<(), Errno> {
    // The kernel gives the file what the mask leaves of all permissions: so it has the right mode from the start.
    // SAFETY: umask touches no memory.
    unsafe { libc::umask(!socket.mode & 0o777) };
    let bound = match bind(socket) {
        Err(Errno::EADDRINUSE) => remove_abandoned(socket).and_then(|()| bind(socket)),
        bound => bound,
    };
    // SAFETY: as above.
    unsafe { libc::umask(prepared.attributes.umask) };
    bound?;
    let stat = lstat(&socket.path)?;
    prepared.findings.set(socket.target, Finding { identity: sys::identity_of(&stat), length: 0, is_new: true });
    // SAFETY: listening touches no memory.
    Errno::result(unsafe { libc::listen(socket.target, socket.backlog) }).map(drop)
}

fn bind(socket: &DeferredSocket) -> Result<(), Errno> {
    let (address, length) = (socket.address.as_ptr(), socket.address.len());
    // SAFETY: the address is as long.
    Errno::result(unsafe { libc::bind(socket.target, address.cast(), length) }).map(drop)
}

/// Removes a socket on which no process listens any more; `EADDRINUSE` if it is anything else.
fn remove_abandoned(socket: &DeferredSocket) -> Result<(), Errno> {
    let found = match lstat(&socket.path) {
        Err(Errno::ENOENT) => return Ok(()),
        Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFSOCK => sys::identity_of(&stat),
        found => return found.and(Err(Errno::EADDRINUSE)),
    };
    // Of another type: a process that listens there does not get a connection, and EPROTOTYPE says that it is there.
    // SAFETY: making a socket touches no memory.
    let probe = Errno::result(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) })?;
    let (address, length) = (socket.address.as_ptr(), socket.address.len());
    // SAFETY: the address is as long.
    let answer = Errno::result(unsafe { libc::connect(probe, address.cast(), length) });
    // SAFETY: closing descriptors touches no memory.
    unsafe { libc::close(probe) };
    if answer != Err(Errno::ECONNREFUSED) {
        return Err(Errno::EADDRINUSE);
    }
    unlink(&socket.path, found)
}

/// Whether [`bind_socket`] could have its place, unless a process listens there.
fn rehearse_socket(socket: &RehearsedSocket) -> Result<(), Errno> {
    sys::may_change_at(&socket.directory)?;
    match lstat(&socket.path) {
        Err(Errno::ENOENT) => Ok(()),
        Ok(stat) if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK => Err(Errno::EADDRINUSE),
        found => found.map(drop),
    }
}

/// Removes a name that still leads to the file with this identity.
fn unlink(path: &CStr, identity: (u64, u64)) -> Result<(), Errno> {
    if lstat(path).map(|stat| sys::identity_of(&stat)) != Ok(identity) {
        return Ok(());
    }
    // SAFETY: the path is a C string.
    match Errno::result(unsafe { libc::unlink(path.as_ptr()) }) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed.map(drop),
    }
}

/// Removes the sockets that this child has made, before it ends for another reason.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn remove_sockets(prepared: &Prepared) {
    for socket in &prepared.deferred_sockets {
        if let Some(made) = prepared.findings.get(socket.target) {
            let _left = unlink(&socket.path, made.identity);
        }
    }
}

fn lstat(path: &CStr) -> Result<libc::stat, Errno> {
    // SAFETY: all-zero is a valid structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and the structure outlives the call.
    Errno::result(unsafe { libc::lstat(path.as_ptr(), &raw mut stat) }).map(|_| stat)
}

/// Enters the launcher's directory by its path, or leaves it: without this the daemon's user could use it even if no path leads
/// that user there.
fn stay_in(directory: &CStr) -> Result<(), Errno> {
    // SAFETY: the path is a C string.
    let mut changed = Errno::result(unsafe { libc::chdir(directory.as_ptr()) });
    if matches!(changed, Err(Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)) {
        // SAFETY: as above.
        changed = Errno::result(unsafe { libc::chdir(c"/".as_ptr()) });
    }
    changed.map(drop)
}

/// How much it may use, and how it is scheduled: what only a privileged process may raise, so before the ids change.
///
/// # Safety
///
/// As for [`leader`].
unsafe fn limit(prepared: &Prepared, exec_pipe: RawFd) {
    if let Some(adjustment) = &prepared.attributes.oom_score {
        check(exec_pipe, Step::SetOomScore, sys::set_oom_score(adjustment));
    }
    if let Some(nice) = prepared.attributes.nice {
        // SAFETY: setting a priority touches no memory.
        let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
        check(exec_pipe, Step::SetPriority, Errno::result(set).map(drop));
    }
    for ((resource, limit), index) in prepared.attributes.limits.iter().zip(0..) {
        if let Err(errno) = sys::set_limit(resource.number, limit) {
            fail_at(exec_pipe, Step::SetLimit, index, errno);
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
    for program in prepared.command.programs() {
        // SAFETY: all three are null-terminated and alive.
        unsafe { libc::execve(program.as_ptr(), prepared.command.arguments(), prepared.command.environment.as_ptr()) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => refused = Errno::EACCES,
            Errno::ENOEXEC => {
                let arguments = prepared.command.shell_arguments(program);
                // SAFETY: all three are null-terminated and alive.
                unsafe { libc::execve(c"/bin/sh".as_ptr(), arguments, prepared.command.environment.as_ptr()) };
                return Errno::last();
            }
            errno => return errno,
        }
    }
    refused
}

/// Whether [`execute`] could execute a program, and what `execve(2)` would say otherwise: about the program itself, or, with the
/// number of the candidate, from 1, about its interpreter.
fn rehearse(programs: &[CString], interpreters: &[Vec<CString>]) -> Result<(), (u8, Errno)> {
    let mut refused = (0, Errno::ENOENT);
    for ((program, places), number) in programs.iter().zip(interpreters).zip((1..=u8::MAX).chain(repeat(u8::MAX))) {
        match sys::may_execute(program) {
            Ok(()) => match first_executable(places) {
                Ok(()) => return Ok(()),
                Err(errno) => refused = (number, errno),
            },
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => refused = (0, errno),
        }
    }
    Err(refused)
}

/// Whether one of these can be executed, if there are any.
fn first_executable(places: &[CString]) -> Result<(), Errno> {
    let mut outcome = Ok(());
    for place in places {
        match sys::may_execute(place) {
            Ok(()) => return Ok(()),
            Err(Errno::EACCES) => outcome = Err(Errno::EACCES),
            Err(_) if outcome.is_err() => {}
            Err(errno) => outcome = Err(errno),
        }
    }
    outcome
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

fn write_start(file: RawFd, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: the descriptor was prepared for this.
    sys::write_start(unsafe { BorrowedFd::borrow_raw(file) }, bytes)
}

/// Says that the daemon is up, if executing its program means that.
fn mark_up_at_exec(prepared: &Prepared) -> Result<(), Errno> {
    match prepared.instance.as_ref().and_then(|instance| Some((instance, instance.up_at_exec?))) {
        Some((instance, alive_for)) => append(instance.phase, UpAt::after(alive_for).as_bytes()),
        None => Ok(()),
    }
}

fn append(file: RawFd, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: as above.
    sys::append(unsafe { BorrowedFd::borrow_raw(file) }, bytes)
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

/// Reports a failed step to the launcher. Async-signal-safe.
pub(crate) fn report(exec_pipe: RawFd, step: Step, errno: Errno) {
    report_at(exec_pipe, step, 0, errno);
}

fn report_at(exec_pipe: RawFd, step: Step, index: u8, errno: Errno) {
    send(exec_pipe, Frame::Failed { step: step as u8, index, errno: errno as i32 });
}

fn fail(exec_pipe: RawFd, step: Step, errno: Errno) -> ! {
    fail_at(exec_pipe, step, 0, errno)
}

fn fail_at(exec_pipe: RawFd, step: Step, index: u8, errno: Errno) -> ! {
    report_at(exec_pipe, step, index, errno);
    exit(FAILED)
}

/// If the launcher has exited, no frame is needed, and an atomic write to an empty pipe does not fail otherwise.
fn send(exec_pipe: RawFd, frame: Frame) {
    let bytes = frame.encode();
    // SAFETY: the frame outlives the call.
    while unsafe { libc::write(exec_pipe, bytes.as_ptr().cast(), bytes.len()) } < 0 && Errno::last() == Errno::EINTR {}
}

fn exit(code: libc::c_int) -> ! {
    // SAFETY: no exit handlers, no destructors: they belong to the launcher.
    unsafe { libc::_exit(code) }
}
