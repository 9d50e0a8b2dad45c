//! Launching real programs: what is reported, and that nothing is left.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod scratch;

use daemonry::{
    Attributes, Errno, Error, Exit, LaunchPlan, LogFile, Status, Step, StopOptions, Stopped, Stream, WaitFor,
};
use scratch::{Scratch, shell, stop, until};

/// The pid that a daemon had which ended by itself.
fn ended(stopped: Stopped) -> Option<i32> {
    if let Stopped::Ended(remains) = stopped { Some(remains.pid) } else { None }
}

fn open_descriptors() -> Vec<(OsString, PathBuf)> {
    let mut open: Vec<_> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name(), fs::read_link(entry.path()).ok()?))
        })
        .filter(|(_, target)| !target.starts_with("/proc"))
        .collect();
    open.sort();
    open
}

#[test]
fn both_ways_to_be_a_parent_launch_the_same_daemon() {
    let scratch = Scratch::new("parents");
    for launcher_leaves in [false, true] {
        let pid_file = scratch.at("a.pid");
        let plan = LaunchPlan {
            pid_file: Some(pid_file.clone()),
            stdout: Stream::File(LogFile::new(scratch.at("out"))),
            attributes: Attributes { umask: 0o027, ..Attributes::default() },
            launcher_leaves,
            arguments: vec!["sleep".into(), "60".into()],
            ..scratch::plan("/bin/sleep")
        };
        let started = daemonry::launch(&plan).unwrap();
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", started.pid));
        assert!(matches!(daemonry::status(&pid_file).unwrap(), Status::Running { pid, .. } if pid == started.pid));

        let stat = fs::read_to_string(format!("/proc/{}/stat", started.pid)).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let [_state, ppid, pgrp, session, tty, ..] = fields.as_slice() else { panic!("{stat}") };
        assert_eq!(*ppid == std::process::id().to_string(), launcher_leaves, "who reaps it");
        assert_eq!(pgrp, session);
        assert_ne!(*session, started.pid.to_string(), "a session leader could get a terminal");
        assert_eq!(*tty, "0");

        let proc = PathBuf::from(format!("/proc/{}", started.pid));
        let look = || -> Vec<String> {
            let links = fs::read_dir(proc.join("fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
            links.map(|link| link.map_or_else(|_| String::new(), |link| link.to_string_lossy().into_owned())).collect()
        };
        let mut descriptors = look();
        // The dynamic loader of the new image opens files of its own, and closes them.
        for _ in 0..1000 {
            if descriptors.len() == 7 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            descriptors = look();
        }
        // What is handed over lies contiguously from 3; a program that knows nothing of daemonry keeps it open.
        let status_pipe = descriptors.remove(3);
        assert!(status_pipe.starts_with("pipe:"), "{status_pipe}");
        let [out, pid_file_path] = [scratch.at("out"), pid_file.clone()].map(|path| path.display().to_string());
        let private: Vec<_> = descriptors.drain(4..).map(|path| path.rsplit('.').next().map(str::to_owned)).collect();
        assert_eq!(private, [Some("phase".to_owned()), Some("lock".to_owned())]);
        assert_eq!(descriptors, ["/dev/null", &out, "/dev/null", &pid_file_path]);
        let status = fs::read_to_string(proc.join("status")).unwrap();
        for field in ["Umask:\t0027", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
            assert!(status.contains(field), "{status}");
        }

        assert_eq!(ended(stop(&pid_file)), Some(started.pid));
        fs::remove_file(scratch.at("out")).unwrap();
        assert_eq!(scratch.entries(), [] as [&str; 0]);
        if launcher_leaves {
            // A launcher that lives on although it said it would leave: its child is its own to reap.
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(started.pid), None).unwrap();
        }
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_its_errno() {
    let scratch = Scratch::new("exec");
    let text = scratch.at("text");
    fs::write(&text, "no program").unwrap();
    for (program, expected) in [(scratch.at("missing"), Errno::ENOENT), (text.clone(), Errno::EACCES)] {
        for launcher_leaves in [false, true] {
            let plan = LaunchPlan { pid_file: Some(scratch.at("a.pid")), launcher_leaves, ..scratch::plan(&program) };
            let failure = daemonry::launch(&plan).unwrap_err();
            assert!(
                matches!(failure.error, Error::System { step: Step::Exec, errno, .. } if errno == expected),
                "{failure}"
            );
            assert_eq!(scratch.entries(), ["text"]);
        }
    }
}

#[test]
fn a_daemon_that_ends_too_early_is_told_with_its_exit_and_its_last_words() {
    let scratch = Scratch::new("early");
    for (script, exit) in [("echo sorry >&2; exit 3", Exit::Code(3)), ("kill -KILL $$", Exit::Signal(libc::SIGKILL))] {
        let plan = LaunchPlan {
            pid_file: Some(scratch.at("a.pid")),
            stderr: Stream::File(LogFile::new(scratch.at("log"))),
            alive_for: Duration::from_secs(20),
            launcher_leaves: true,
            ..shell(script)
        };
        let failure = daemonry::launch(&plan).unwrap_err();
        assert!(matches!(failure.error, Error::StartFailed { exit: Some(seen), .. } if seen == exit), "{failure}");
        let said_something = script.starts_with("echo");
        assert_eq!(String::from_utf8(failure.stderr).unwrap(), if said_something { "sorry\n" } else { "" });
        // What it said stays; a log that it never wrote to does not.
        let left = if said_something { vec!["log"] } else { vec![] };
        assert_eq!(scratch.entries(), left);
        let _removed = fs::remove_file(scratch.at("log"));
    }
}

#[test]
fn a_start_that_takes_too_long_is_ended_with_all_its_helpers() {
    let scratch = Scratch::new("slow");
    for launcher_leaves in [false, true] {
        let plan = LaunchPlan {
            pid_file: Some(scratch.at("a.pid")),
            stdout: Stream::File(LogFile::new(scratch.at("pids"))),
            wait_for: WaitFor::Start,
            start_timeout: Duration::from_secs(2),
            launcher_leaves,
            ..shell("trap '' TERM; sleep 60 & echo $$ $!; wait; wait")
        };
        let failure = daemonry::launch(&plan).unwrap_err();
        assert!(matches!(failure.error, Error::StartTimeout { .. }), "{failure}");
        let pids = fs::read_to_string(scratch.at("pids")).unwrap();
        assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
        // The helper is no child of the launcher, which cannot wait for it: once killed, it may take a moment to disappear.
        while pids
            .split_whitespace()
            .any(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")))
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(scratch.at("pids")).unwrap();
        assert_eq!(scratch.entries(), [] as [&str; 0]);
    }
}

#[test]
fn one_that_never_stops_writing_into_the_status_pipe_is_ended_in_time() {
    let scratch = Scratch::new("flood");
    let plan = LaunchPlan {
        pid_file: Some(scratch.at("a.pid")),
        wait_for: WaitFor::Ready,
        start_timeout: Duration::from_secs(1),
        ..shell("cat /dev/zero >&3 & cat /dev/zero >&3 & cat /dev/zero >&3")
    };
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(daemonry::launch(&plan).unwrap_err()).unwrap());
    let failure = outcome.recv_timeout(Duration::from_secs(15)).expect("the launcher hangs");
    assert!(matches!(failure.error, Error::StartTimeout { .. }), "{failure}");
    assert_eq!(scratch.entries(), [] as [&str; 0]);
}

#[test]
fn a_log_that_cannot_be_opened_leaves_no_pidfile() {
    let scratch = Scratch::new("log");
    for (path, expected) in [(scratch.at("missing/log"), Errno::ENOENT), (scratch.path.clone(), Errno::EISDIR)] {
        let plan = LaunchPlan {
            pid_file: Some(scratch.at("a.pid")),
            stdout: Stream::File(LogFile::new(&path)),
            ..shell("exec sleep 60")
        };
        let failure = daemonry::launch(&plan).unwrap_err();
        assert!(
            matches!(&failure.error, Error::System { step: Step::OpenStdout, errno, .. } if *errno == expected),
            "{failure}"
        );
        assert!(failure.to_string().contains(path.to_str().unwrap()), "{failure}");
        assert_eq!(scratch.entries(), [] as [&str; 0]);
    }
}

#[test]
fn an_impossible_plan_is_refused_before_anything_is_made() {
    let scratch = Scratch::new("plan");
    for plan in [
        LaunchPlan { stdout: Stream::Capture, ..shell("") },
        LaunchPlan { stderr: Stream::Capture, ..shell("") },
        LaunchPlan { alive_for: Duration::from_secs(60), ..shell("") },
        LaunchPlan { arguments: vec!["a\0b".into()], ..shell("") },
        LaunchPlan { note: "a\0b".into(), ..shell("") },
        LaunchPlan { stdin: Stream::Descriptor(-1), ..shell("") },
        LaunchPlan { stdin: Stream::Descriptor(9999), ..shell("") },
    ] {
        let failure = daemonry::launch(&LaunchPlan { pid_file: Some(scratch.at("a.pid")), ..plan }).unwrap_err();
        assert!(
            matches!(failure.error, Error::InvalidPlan(_) | Error::System { errno: Errno::EBADF, .. }),
            "{failure}"
        );
        assert_eq!(scratch.entries(), [] as [&str; 0]);
    }
}

#[test]
fn launches_leave_no_descriptor_and_no_child() {
    let scratch = Scratch::new("leaks");
    let log = || Stream::File(LogFile::new(scratch.at("log")));
    let before = open_descriptors();
    for round in 0..100 {
        let pid_file = Some(scratch.at("a.pid"));
        let good = LaunchPlan { pid_file, stdout: log(), stderr: log(), ..shell("exec sleep 60") };
        let bad = LaunchPlan { program: "/missing".into(), launcher_leaves: round % 2 == 0, ..good.clone() };
        daemonry::launch(&bad).unwrap_err();
        daemonry::launch(&good).unwrap();
        let refused = daemonry::launch(&good).unwrap_err();
        assert!(matches!(refused.error, Error::AlreadyRunning { .. }), "{refused}");
        stop(&scratch.at("a.pid"));
    }
    until("a descriptor or a child is left", || {
        open_descriptors() == before && nix::sys::wait::waitpid(None, None) == Err(Errno::ECHILD)
    });
}

#[test]
fn a_log_gets_exactly_its_mode_and_an_existing_one_keeps_its_own() {
    let scratch = Scratch::new("mode");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let existing = scratch.at("existing");
    fs::write(&existing, "old\n").unwrap();
    fs::set_permissions(&existing, fs::Permissions::from_mode(0o604)).unwrap();
    let plan = LaunchPlan {
        pid_file: Some(scratch.at("a.pid")),
        stdout: Stream::File(LogFile { mode: 0o666, ..LogFile::new(scratch.at("new")) }),
        stderr: Stream::File(LogFile { append: false, ..LogFile::new(&existing) }),
        ..shell("exec sleep 60")
    };
    daemonry::launch(&plan).unwrap();
    assert_eq!(mode(&scratch.at("new")), 0o666);
    assert_eq!(mode(&existing), 0o604);
    assert_eq!(mode(&scratch.at("a.pid")), 0o644);
    assert_eq!(fs::read_to_string(&existing).unwrap(), "");
    stop(&scratch.at("a.pid"));
}

#[test]
fn launches_of_several_threads_do_not_wait_for_each_other() {
    let scratch = Scratch::new("threads");
    let (done, outcomes) = std::sync::mpsc::channel();
    for thread in 0..8 {
        let (done, directory) = (done.clone(), scratch.path.clone());
        std::thread::spawn(move || {
            for round in 0..20 {
                let pid_file = directory.join(format!("{thread}-{round}.pid"));
                let plan = LaunchPlan { pid_file: Some(pid_file.clone()), ..shell("exec sleep 60") };
                daemonry::launch(&plan).unwrap();
                stop(&pid_file);
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..8 {
        outcomes.recv_timeout(Duration::from_secs(60)).expect("a launch hangs");
    }
}

#[test]
fn no_limit_is_a_limit_that_never_comes() {
    let scratch = Scratch::new("limits");
    let pid_file = scratch.at("a.pid");
    let plan = LaunchPlan {
        pid_file: Some(pid_file.clone()),
        start_timeout: Duration::MAX,
        launcher_leaves: true,
        ..shell("exec sleep 60")
    };
    let started = daemonry::launch(&plan).unwrap();
    let stopped =
        daemonry::stop(&pid_file, StopOptions { timeout: Some(Duration::MAX), ..StopOptions::default() }).unwrap();
    assert_eq!(ended(stopped), Some(started.pid));
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(started.pid), None).unwrap();
}

#[test]
fn a_signal_that_the_launcher_ignores_does_not_interrupt_the_start() {
    let scratch = Scratch::new("ignored");
    // SAFETY: ignoring a signal runs nothing; no other test is about this one.
    let before = unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    let plan = LaunchPlan {
        pid_file: Some(scratch.at("a.pid")),
        alive_for: Duration::from_millis(300),
        launcher_leaves: true,
        ..shell(&format!("kill -HUP {}; exec sleep 60", std::process::id()))
    };
    let outcome = daemonry::launch(&plan);
    // SAFETY: this is what it was.
    unsafe { libc::signal(libc::SIGHUP, before) };
    let started = outcome.unwrap();
    stop(&scratch.at("a.pid"));
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(started.pid), None).unwrap();
}

/// What a program that writes `pwd`, its name and its arguments has written.
fn said(scratch: &Scratch) -> String {
    loop {
        let said = fs::read_to_string(scratch.at("said")).unwrap_or_default();
        if said.ends_with('\n') {
            return said;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn executable(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_mere_name_is_looked_for_as_execvp_does() {
    let scratch = Scratch::new("path");
    for directory in ["first", "second", "third"] {
        fs::create_dir(scratch.at(directory)).unwrap();
    }
    // Found first but not executable, then without an interpreter, then never looked at.
    fs::write(scratch.at("first").join("tool"), "").unwrap();
    executable(&scratch.at("second").join("tool"), "echo \"$PWD $0 $*\" >>\"$SAID\"; exec sleep 60\n");
    executable(&scratch.at("third").join("tool"), "#!/bin/false\n");
    let path = std::env::join_paths(
        ["missing", "first", "second", "third"].map(|name| scratch.at(name)).into_iter().chain(["/bin".into()]),
    );
    let plan = LaunchPlan {
        arguments: vec!["tool".into(), "a b".into(), "c".into()],
        inherited_env: vec![("PATH".into(), path.unwrap()), ("SAID".into(), scratch.at("said").into())],
        working_directory: Some(scratch.at("third")),
        pid_file: Some(scratch.at("a.pid")),
        ..scratch::plan("tool")
    };
    daemonry::launch(&plan).unwrap();
    let expected = [scratch.at("third"), scratch.at("second").join("tool")].map(|path| path.display().to_string());
    assert_eq!(said(&scratch), format!("{} {} a b c\n", expected[0], expected[1]));
    stop(&scratch.at("a.pid"));
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_the_errno_of_execvp() {
    let scratch = Scratch::new("noexec");
    fs::write(scratch.at("tool"), "").unwrap();
    for (program, errno) in [("tool", Errno::EACCES), ("no-such-tool", Errno::ENOENT)] {
        let plan = LaunchPlan {
            inherited_env: vec![("PATH".into(), scratch.path.clone().into())],
            pid_file: Some(scratch.at("a.pid")),
            ..scratch::plan(program)
        };
        let failure = daemonry::launch(&plan).unwrap_err();
        let Error::System { step: Step::Exec, errno: told, path: Some(path) } = failure.error else {
            panic!("{failure}")
        };
        assert_eq!((told, path), (errno, PathBuf::from(program)));
    }
    assert_eq!(scratch.entries(), ["tool"]);
}

#[test]
fn a_working_directory_that_cannot_be_entered_is_told() {
    let scratch = Scratch::new("chdir");
    let plan = LaunchPlan {
        working_directory: Some(scratch.at("missing")),
        pid_file: Some(scratch.at("a.pid")),
        ..shell("sleep 60")
    };
    let failure = daemonry::launch(&plan).unwrap_err();
    assert!(
        matches!(&failure.error, Error::System { step: Step::Chdir, errno: Errno::ENOENT, path: Some(path) } if *path == scratch.at("missing")),
        "{failure}"
    );
    assert_eq!(scratch.entries(), Vec::<OsString>::new());
}

#[test]
fn an_aborted_start_is_undone() {
    let scratch = Scratch::new("abort");
    let before = open_descriptors();
    let abort = daemonry::AbortHandle::new().unwrap();
    let plan = LaunchPlan {
        pid_file: Some(scratch.at("a.pid")),
        wait_for: WaitFor::Ready,
        abort: Some(abort.clone()),
        ..shell("exec sleep 60")
    };
    let launching = std::thread::spawn(move || daemonry::launch(&plan).unwrap_err());
    while !matches!(daemonry::status(&scratch.at("a.pid")).unwrap(), Status::Starting { pid: Some(_), .. }) {
        std::thread::sleep(Duration::from_millis(5));
    }
    abort.abort();
    let failure = launching.join().unwrap();
    assert!(matches!(failure.error, Error::StartAborted), "{failure}");
    drop(abort);
    assert_eq!(scratch.entries(), Vec::<OsString>::new());
    until("a descriptor is left", || open_descriptors() == before);
}

#[test]
fn a_program_that_closes_what_it_was_handed_runs_all_the_same_unless_it_must_say_that_it_is_up() {
    let scratch = Scratch::new("closes");
    let plan = |wait_for| LaunchPlan {
        pid_file: Some(scratch.at("a.pid")),
        alive_for: Duration::from_millis(300),
        wait_for,
        ..shell("exec 3>&- 4>&- 5>&- 6>&-; exec sleep 60")
    };
    let started = daemonry::launch(&plan(WaitFor::Exec)).unwrap();
    let second = daemonry::launch(&plan(WaitFor::Exec)).unwrap_err();
    assert!(matches!(second.error, Error::AlreadyRunning { pid, .. } if pid == started.pid), "{second}");
    assert_eq!(ended(stop(&scratch.at("a.pid"))), Some(started.pid));
    let failure = daemonry::launch(&plan(WaitFor::Start)).unwrap_err();
    assert!(failure.to_string().contains("start the program itself"), "{failure}");
    assert_eq!(scratch.entries(), Vec::<OsString>::new());
}

#[test]
fn a_pinned_plan_does_not_follow_its_caller() {
    let scratch = Scratch::new("pinned");
    let before = open_descriptors();
    fs::create_dir(scratch.at("first")).unwrap();
    for place in ["first/input", "input"] {
        fs::write(scratch.at(place), place).unwrap();
    }
    let input = fs::File::open(scratch.at("first/input")).unwrap();
    let plan = LaunchPlan {
        directory: Some(scratch.at("first")),
        pid_file: Some("a.pid".into()),
        stdin: Stream::Descriptor(input.as_raw_fd()),
        stdout: Stream::File(LogFile::new("output")),
        working_directory: Some(".".into()),
        wait_for: WaitFor::Exec,
        ..shell("cat; pwd; exec sleep 60")
    };
    let pinned = plan.pin().unwrap();
    let number = input.as_raw_fd();
    drop(input);
    let other = fs::File::open(scratch.at("input")).unwrap();
    assert_eq!(other.as_raw_fd(), number);
    pinned.launch().unwrap();
    let expected = format!("first/input{}\n", scratch.at("first").display());
    until("it has written", || fs::read_to_string(scratch.at("first/output")).unwrap() == expected);
    assert!(matches!(stop(&scratch.at("first/a.pid")), Stopped::Ended(_)));
    drop(other);
    until("a descriptor is left", || open_descriptors() == before);
}
