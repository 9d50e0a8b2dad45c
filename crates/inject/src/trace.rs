//! The tracer: ptrace(2).

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork, pipe2, read};
use syscalls::Sysno;

use crate::fault::{Action, Fault};

const BEGIN: &str = "/-begin";
const END: &str = "/-end";

/// How long children are looked at that have neither ended nor come to their end mark when the first process has.
const LINGER: Duration = Duration::from_secs(10);

/// How long the tracer sleeps when nothing has happened.
const PAUSE: Duration = Duration::from_micros(200);

struct Process {
    role: String,
    /// Whether its calls are looked at.
    is_open: bool,
    is_over: bool,
    counts: HashMap<(String, Sysno), usize>,
}

struct Thread {
    process: Pid,
    name: String,
    /// The call that it is in, by its place in the trace.
    call: Option<usize>,
    mend: Option<Mend>,
    renames: bool,
}

/// What is to be done when the call returns.
enum Mend {
    Fail(Errno),
    Length(u64),
}

struct Call {
    role: String,
    name: Sysno,
    number: usize,
    details: String,
    result: Option<i64>,
}

struct Tracer {
    root: Pid,
    faults: Vec<Fault>,
    processes: HashMap<Pid, Process>,
    threads: HashMap<Pid, Thread>,
    /// Stopped before their parents have told of them.
    early: HashSet<Pid>,
    calls: Vec<Call>,
    ending: Option<String>,
}

/// Runs the command to its end, and what it starts to the end mark; returns the trace.
pub(crate) fn run(command: &[String], faults: Vec<Fault>) -> nix::Result<String> {
    let root = start(command)?;
    let mut tracer = Tracer {
        root,
        faults,
        processes: HashMap::new(),
        threads: HashMap::new(),
        early: HashSet::new(),
        calls: Vec::new(),
        ending: None,
    };
    tracer.is_born(root, root, false);
    ptrace::syscall(root, None)?;
    tracer.watch()?;
    Ok(tracer.lines())
}

/// Starts the command's process, seizes it and lets it go on until its first call. (Seized and not attached: a thread that is born
/// while the tracer ends would otherwise find a stop signal that nobody takes back.)
fn start(command: &[String]) -> nix::Result<Pid> {
    let words: Vec<_> =
        command.iter().map(|word| CString::new(word.as_str()).map_err(|_| Errno::EINVAL)).collect::<Result<_, _>>()?;
    let program = words.first().ok_or(Errno::EINVAL)?;
    let (go, gone) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: this process has no other thread.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(gone);
            let Err(errno) = read(&go, &mut [0]).and_then(|_| execvp(program, &words));
            process::exit(errno as i32)
        }
    };
    let births = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::seize(child, births | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC)?;
    ptrace::interrupt(child)?;
    waitpid(child, Some(WaitPidFlag::__WALL))?;
    drop((go, gone));
    Ok(child)
}

impl Tracer {
    /// Looks at whatever happens until there is nothing more to see.
    fn watch(&mut self) -> nix::Result<()> {
        let mut deadline = None;
        loop {
            let patience = if self.ending.is_none() { WaitPidFlag::empty() } else { WaitPidFlag::WNOHANG };
            match waitpid(None, Some(WaitPidFlag::__WALL | patience)) {
                Ok(WaitStatus::StillAlive) => thread::sleep(PAUSE),
                Ok(status) => match self.happened(status) {
                    // It was killed meanwhile.
                    Err(Errno::ESRCH) | Ok(()) => {}
                    Err(errno) => return Err(errno),
                },
                Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            if self.ending.is_some() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + LINGER);
                if self.processes.values().all(|process| process.is_over) || Instant::now() > deadline {
                    // The kernel lets go of whatever is still traced.
                    return Ok(());
                }
            }
        }
    }

    fn happened(&mut self, status: WaitStatus) -> nix::Result<()> {
        match status {
            WaitStatus::Exited(pid, code) => self.ended(pid, format!("exit {code}")),
            WaitStatus::Signaled(pid, signal, _) => self.ended(pid, format!("signal {signal}")),
            WaitStatus::PtraceSyscall(pid) => {
                self.at_call(pid)?;
                return ptrace::syscall(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, _) if !self.threads.contains_key(&pid) => {
                self.early.insert(pid);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.at_event(pid, event)?;
                return ptrace::syscall(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => return ptrace::syscall(pid, signal),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        Ok(())
    }

    fn ended(&mut self, pid: Pid, how: String) {
        if pid == self.root {
            self.ending = Some(how);
        }
        self.threads.remove(&pid);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.is_over = true;
        }
    }

    fn is_born(&mut self, pid: Pid, process: Pid, is_open: bool) {
        if pid == process {
            let role = match self.processes.len() {
                0 => "launcher".into(),
                1 => "leader".into(),
                2 => "daemon".into(),
                later => format!("child-{later}"),
            };
            self.processes.insert(pid, Process { role, is_open, is_over: false, counts: HashMap::new() });
        }
        let thread = Thread { process, name: String::new(), call: None, mend: None, renames: false };
        self.threads.insert(pid, thread);
    }

    fn at_event(&mut self, pid: Pid, event: i32) -> nix::Result<()> {
        if event == Event::PTRACE_EVENT_STOP as i32 {
            return Ok(());
        }
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.is_open = false;
            }
            return Ok(());
        }
        let child = Pid::from_raw(i32::try_from(ptrace::getevent(pid)?).unwrap_or(0));
        let parent = self.threads.get(&pid).map_or(pid, |thread| thread.process);
        let is_open = self.processes.get(&parent).is_some_and(|process| process.is_open);
        self.is_born(child, group_of(child).unwrap_or(child), is_open);
        if self.early.remove(&child) {
            ptrace::syscall(child, None)?;
        }
        Ok(())
    }

    fn at_call(&mut self, pid: Pid) -> nix::Result<()> {
        let Some(thread) = self.threads.get_mut(&pid) else { return Ok(()) };
        if thread.name.is_empty() {
            thread.name = name_of(pid);
        }
        match ptrace::syscall_info(pid)?.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => self.enters(pid),
            _ => self.leaves(pid),
        }
    }

    fn enters(&mut self, pid: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        let Some(name) = usize::try_from(registers.orig_rax).ok().and_then(Sysno::new) else { return Ok(()) };
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let Some(thread) = self.threads.get_mut(&pid) else { return Ok(()) };
        thread.renames = name == Sysno::prctl && arguments[0] == libc::PR_SET_NAME as u64;
        let Some(process) = self.processes.get_mut(&thread.process) else { return Ok(()) };
        let path = path_argument(name).and_then(|place| string_at(pid, *arguments.get(place)?));
        if name == Sysno::access && pid == thread.process {
            match path.as_deref() {
                Some(BEGIN) => process.is_open = true,
                Some(END) => (process.is_open, process.is_over) = (false, true),
                _ => {}
            }
            if path.as_deref().is_some_and(|path| path == BEGIN || path == END) {
                return Ok(());
            }
        }
        let is_main = pid == thread.process;
        if !process.is_open || !(is_main || thread.name.starts_with("daemonry")) {
            return Ok(());
        }
        let role = if is_main { process.role.clone() } else { format!("{}-thread", process.role) };
        let count = process.counts.entry((role.clone(), name)).or_default();
        *count += 1;
        let number = *count;
        let numbers = arguments.map(|argument| argument.cast_signed().to_string()).join(" ");
        let details = path.map_or(numbers, |path| format!("{path:?}"));
        thread.call = Some(self.calls.len());
        self.calls.push(Call { role: role.clone(), name, number, details, result: None });

        let is_it = |fault: &&Fault| fault.role == role && fault.call == name.name() && fault.number == number;
        match self.faults.iter().find(is_it).map(|fault| fault.action) {
            Some(Action::Fail(errno)) => {
                registers.orig_rax = u64::MAX;
                thread.mend = Some(Mend::Fail(errno));
                ptrace::setregs(pid, registers)?;
            }
            Some(Action::Short) => {
                thread.mend = Some(Mend::Length(registers.rdx));
                registers.rdx = registers.rdx.min(1);
                ptrace::setregs(pid, registers)?;
            }
            Some(Action::Delay(time)) => thread::sleep(time),
            Some(Action::Kill) => nix::sys::signal::kill(thread.process, Signal::SIGKILL)?,
            None => {}
        }
        Ok(())
    }

    fn leaves(&mut self, pid: Pid) -> nix::Result<()> {
        let Some(thread) = self.threads.get_mut(&pid) else { return Ok(()) };
        if thread.renames {
            thread.name = name_of(pid);
        }
        let Some(call) = thread.call.take() else { return Ok(()) };
        let mut registers = ptrace::getregs(pid)?;
        match thread.mend.take() {
            Some(Mend::Fail(errno)) => registers.rax = (-i64::from(errno as i32)).cast_unsigned(),
            Some(Mend::Length(length)) => registers.rdx = length,
            None => {}
        }
        ptrace::setregs(pid, registers)?;
        if let Some(call) = self.calls.get_mut(call) {
            call.result = Some(registers.rax.cast_signed());
        }
        Ok(())
    }

    fn lines(&self) -> String {
        let mut lines = String::new();
        for Call { role, name, number, details, result } in &self.calls {
            let result = result.map_or_else(|| "?".into(), |result| result.to_string());
            // Writing to a string does not fail.
            let _written = writeln!(lines, "{role}\t{name}\t{number}\t{details}\t{result}");
        }
        let _written = writeln!(lines, "{}", self.ending.as_deref().unwrap_or("?"));
        lines
    }
}

/// Which argument of a call is a path.
fn path_argument(name: Sysno) -> Option<usize> {
    use Sysno as S;
    match name {
        S::access
        | S::chdir
        | S::chmod
        | S::chown
        | S::execve
        | S::lstat
        | S::mkdir
        | S::open
        | S::readlink
        | S::rename
        | S::rmdir
        | S::stat
        | S::statfs
        | S::truncate
        | S::unlink => Some(0),
        S::faccessat
        | S::faccessat2
        | S::fchmodat
        | S::fchownat
        | S::linkat
        | S::mkdirat
        | S::newfstatat
        | S::openat
        | S::readlinkat
        | S::renameat
        | S::renameat2
        | S::statx
        | S::unlinkat => Some(1),
        _ => None,
    }
}

fn string_at(pid: Pid, address: u64) -> Option<String> {
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.seek(SeekFrom::Start(address)).ok()?;
    let mut bytes = Vec::new();
    for byte in io::BufReader::with_capacity(64, memory).bytes().take(libc::PATH_MAX as usize) {
        match byte.ok()? {
            0 => return String::from_utf8(bytes).ok(),
            byte => bytes.push(byte),
        }
    }
    None
}

fn name_of(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| "?".into(), |name| name.trim_end().into())
}

/// The process that a thread belongs to.
fn group_of(pid: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    number.trim().parse().ok().map(Pid::from_raw)
}
