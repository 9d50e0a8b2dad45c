//! Both ways to fork: what each does where the other is refused, and that a launcher's memory is its own again whatever happens.
//!
//! The kernel itself refuses or delays the calls, by filters that hold for one thread and what it starts (seccomp(2)).
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

mod scratch;

use daemonry::{Attributes, Error, Exit, Fork, LaunchPlan, RunAs, Step, UserRef};
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter};
use scratch::{Scratch, plan, shell, stop, until};

/// Where `struct seccomp_data` has the number of the call, and the lower half of its first argument.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();

fn instruction(code: u32, jump_if: u8, jump_if_not: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap(), jt: jump_if, jf: jump_if_not, k }
}

/// Does `action` for the call `number` if one of these bits is set in its first argument (0: in any case).
fn filter(number: c_long, bits: i32, action: u32) -> Vec<sock_filter> {
    let mut program = vec![
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, NUMBER),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, if bits == 0 { 1 } else { 3 }, u32::try_from(number).unwrap()),
    ];
    if bits != 0 {
        program.push(instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, FIRST_ARGUMENT));
        program.push(instruction(BPF_JMP | BPF_JSET | BPF_K, 0, 1, bits.cast_unsigned()));
    }
    program.push(instruction(BPF_RET | BPF_K, 0, 0, action));
    program.push(instruction(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

/// Installs a filter for this thread and what it starts from here on. With a listener, returns where its calls arrive.
fn install(mut program: Vec<sock_filter>, flags: libc::c_ulong) -> c_long {
    let length = u16::try_from(program.len()).unwrap();
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: it forbids this thread new privileges, which tests do not need.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program outlives the call.
    let installed =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    assert!(installed >= 0, "{}", std::io::Error::last_os_error());
    installed
}

/// Runs `test` on a thread with this filter.
fn filtered(program: Vec<sock_filter>, test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(move || {
            install(program, 0);
            test();
        });
    });
}

#[test]
fn whatever_part_of_the_fast_way_is_refused_the_other_way_launches_the_same_daemon() {
    let scratch = Scratch::new("refused");
    let pid_file = scratch.at("a.pid");
    let refusals = [
        ("the first clone", libc::SYS_clone, libc::CLONE_VFORK),
        ("the second clone", libc::SYS_clone, libc::CLONE_PIDFD),
        ("a sibling", libc::SYS_clone, libc::CLONE_PARENT),
        ("pidfds", libc::SYS_pidfd_open, 0),
    ];
    for (what, number, bits) in refusals {
        filtered(filter(number, bits, REFUSE), || {
            for launcher_leaves in [false, true] {
                let plan = LaunchPlan { pid_file: Some(pid_file.clone()), launcher_leaves, ..shell("exec sleep 60") };
                let started = daemonry::launch(&plan).unwrap_or_else(|failure| panic!("{what}: {failure}"));
                assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", started.pid), "{what}");
                let stat = fs::read_to_string(format!("/proc/{}/stat", started.pid)).unwrap();
                let own = std::process::id().to_string();
                let is_child = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1) == Some(own.as_str());
                assert_eq!(is_child, launcher_leaves && bits != libc::CLONE_PARENT, "{what}");
                stop(&pid_file);
            }
        });
        until("a child is left", || nix::sys::wait::waitpid(None, None).is_err());
    }
}

#[test]
fn a_fork_that_nobody_allows_is_told() {
    let scratch = Scratch::new("nofork");
    filtered(filter(libc::SYS_clone, libc::SIGCHLD, REFUSE), || {
        let plan = LaunchPlan { pid_file: Some(scratch.at("a.pid")), ..shell("exec sleep 60") };
        let failure = daemonry::launch(&plan).unwrap_err();
        assert!(matches!(failure.error, Error::System { step: Step::Fork, .. }), "{failure}");
    });
    assert_eq!(scratch.entries(), [] as [&str; 0]);
}

/// A daemon that hangs in a system call before its exec, with the launch that waits for it.
fn with_hanging_daemon(plan: LaunchPlan, meanwhile: impl FnOnce(i32)) -> daemonry::LaunchFailure {
    let plan = LaunchPlan { attributes: Attributes { nice: Some(19), ..Attributes::default() }, ..plan };
    let (to_us, listener) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let launch = scope.spawn(move || {
            let program = filter(libc::SYS_setpriority, 0, libc::SECCOMP_RET_USER_NOTIF);
            let listener = install(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
            // SAFETY: the kernel has just made this descriptor.
            to_us.send(unsafe { OwnedFd::from_raw_fd(i32::try_from(listener).unwrap()) }).unwrap();
            daemonry::launch(&plan).unwrap_err()
        });
        let listener = listener.recv().unwrap();
        // SAFETY: all-zero is what the kernel wants.
        let mut call: libc::seccomp_notif = unsafe { zeroed() };
        // SAFETY: the structure outlives the call.
        let received = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
        assert_eq!(received, 0);
        let daemon = call.pid.cast_signed();
        meanwhile(daemon);
        let failure = launch.join().unwrap();
        // The call was not allowed to continue: a daemon that has ended was killed in it.
        until("the daemon still runs", || {
            fs::read_to_string(format!("/proc/{daemon}/stat")).map_or(true, |stat| stat.contains(") Z "))
        });
        failure
    })
}

fn session_leader_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().parse().unwrap()
}

#[test]
fn a_leader_that_is_killed_leaves_no_daemon_in_the_launchers_memory() {
    let scratch = Scratch::new("killed");
    for launcher_leaves in [false, true] {
        let plan = LaunchPlan {
            pid_file: Some(scratch.at("a.pid")),
            start_timeout: Duration::from_secs(3),
            launcher_leaves,
            ..shell("exec sleep 60")
        };
        let copies = plan.fork == Fork::Copy;
        let failure = with_hanging_daemon(plan, |daemon| {
            let leader = session_leader_of(daemon);
            assert_ne!(leader, daemon);
            // SAFETY: it is this test's own grandchild, which is not reaped yet.
            assert_eq!(unsafe { libc::kill(leader, libc::SIGKILL) }, 0);
        });
        // Who is not its parent can only see that it is gone.
        let expected = if launcher_leaves { Exit::Signal(libc::SIGKILL) } else { Exit::Unknown };
        match failure.error {
            Error::StartFailed { exit: Some(exit), .. } if !copies => assert_eq!(exit, expected),
            // In a memory of its own it outlives its leader, and hangs on.
            Error::StartTimeout { .. } if copies => {}
            error => panic!("{error}"),
        }
        assert_eq!(scratch.entries(), [] as [&str; 0]);
    }
    until("a child is left", || nix::sys::wait::waitpid(None, None).is_err());
}

#[test]
fn a_daemon_that_hangs_before_its_exec_is_ended_when_the_time_is_over() {
    let scratch = Scratch::new("hangs");
    for launcher_leaves in [false, true] {
        let plan = LaunchPlan {
            pid_file: Some(scratch.at("a.pid")),
            start_timeout: Duration::from_millis(300),
            launcher_leaves,
            ..shell("exec sleep 60")
        };
        let failure = with_hanging_daemon(plan, |_| {});
        assert!(matches!(failure.error, Error::StartTimeout { .. }), "{failure}");
        assert_eq!(scratch.entries(), [] as [&str; 0]);
    }
    until("a child is left", || nix::sys::wait::waitpid(None, None).is_err());
}

#[test]
fn a_program_that_exits_at_once_was_executed_however_busy_the_machine_is() {
    let scratch = Scratch::new("true");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let failures: Vec<_> = (0..100)
            .filter_map(|round| {
                let pid_file = Some(scratch.at("a.pid")).filter(|_| round % 4 < 2);
                let plan = LaunchPlan { pid_file, launcher_leaves: round % 2 == 0, ..plan("/bin/true") };
                let failure = daemonry::launch(&plan).err();
                stop(&scratch.at("a.pid"));
                failure.map(|failure| format!("{round}: {failure}"))
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(failures, [] as [&str; 0]);
    });
    until("a child is left", || nix::sys::wait::waitpid(None, None).is_err());
}

#[test]
fn a_daemon_that_was_killed_before_its_exec_has_not_started() {
    let scratch = Scratch::new("unexecuted");
    filtered(filter(libc::SYS_execve, 0, libc::SECCOMP_RET_KILL_PROCESS), || {
        for launcher_leaves in [false, true] {
            let plan = LaunchPlan { pid_file: Some(scratch.at("a.pid")), launcher_leaves, ..plan("/bin/true") };
            let failure = daemonry::launch(&plan).unwrap_err();
            let expected = if launcher_leaves { Exit::Signal(libc::SIGSYS) } else { Exit::Unknown };
            assert!(
                matches!(failure.error, Error::StartFailed { exit: Some(exit), .. } if exit == expected),
                "{failure}"
            );
            assert_eq!(scratch.entries(), [] as [&str; 0]);
        }
    });
    until("a child is left", || nix::sys::wait::waitpid(None, None).is_err());
}

#[test]
fn a_failed_step_names_the_limit_that_it_was_about() {
    let scratch = Scratch::new("limit");
    let nofile = daemonry::Resource::by_name("nofile").unwrap();
    let core = daemonry::Resource::by_name("core").unwrap();
    let limit = |resource, bound| daemonry::Limit { resource, soft: Some(bound), hard: Some(bound) };
    // Beyond fs.nr_open, which no process may exceed.
    let limits = vec![limit(core, daemonry::Bound::At(0)), limit(nofile, daemonry::Bound::At(1 << 40))];
    let plan = LaunchPlan {
        pid_file: Some(scratch.at("a.pid")),
        attributes: Attributes { limits, ..Attributes::default() },
        ..shell("exec sleep 60")
    };
    let failure = daemonry::launch(&plan).unwrap_err();
    assert!(matches!(failure.error, Error::SetLimit { resource, .. } if resource == nofile), "{failure}");
    assert!(failure.to_string().starts_with("cannot set the limit of nofile to 1099511627776"), "{failure}");
    assert_eq!(scratch.entries(), [] as [&str; 0]);
}

#[test]
fn a_launcher_that_started_another_users_daemon_is_as_dumpable_as_before() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can start another user's daemon");
        return;
    }
    let scratch = Scratch::new("dumpable");
    // SAFETY: asking touches no memory.
    let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
    let before = dumpable();
    for _ in 0..20 {
        let id = || Some(UserRef::Id(65534));
        let run_as = RunAs { user: id(), group: id(), groups: id().map(|group| vec![group]) };
        let plan = LaunchPlan {
            pid_file: Some(scratch.at("a.pid")),
            attributes: Attributes { run_as: Some(run_as), ..Attributes::default() },
            ..shell("exec sleep 60")
        };
        let started = daemonry::launch(&plan).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", started.pid)).unwrap();
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\n"), "{status}");
        assert!(status.contains("Groups:\t65534 \n"), "{status}");
        until("other processes are kept out of this one", || dumpable() == before);
        stop(&scratch.at("a.pid"));
    }
}
