//! Finding a daemon that runs already: failing, reusing, replacing.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod scratch;

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use daemonry::{Error, IfRunning, LaunchPlan, Outcome, Record, Recorded, StartMethod, Status, StopOptions, Stopped};
use scratch::{Scratch, shell, stop, until};

fn plan(scratch: &Scratch, if_running: IfRunning) -> LaunchPlan {
    LaunchPlan { pid_file: Some(scratch.at("a.pid")), if_running, ..shell("exec sleep 60") }
}

fn version(scratch: &Scratch, version: &str) -> Record {
    let recorded = Recorded {
        version: Some(version.to_owned()),
        ..Recorded::of_caller("a", scratch.at("a.pid"), "sleep", StartMethod::SpawnDaemon)
    };
    Record { path: Some(scratch.at("a.json")), json: recorded.to_json() }
}

#[test]
fn of_a_herd_one_starts_and_all_get_its_pid() {
    let scratch = Scratch::new("herd");
    let started: Vec<_> = thread::scope(|scope| {
        let herd: Vec<_> =
            (0..16).map(|_| scope.spawn(|| daemonry::launch(&plan(&scratch, IfRunning::Reuse)).unwrap())).collect();
        herd.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let pids: BTreeSet<_> = started.iter().map(|started| started.pid).collect();
    assert_eq!(pids.len(), 1);
    assert_eq!(started.iter().filter(|started| started.outcome == Outcome::Started).count(), 1);
    assert_eq!(started.iter().filter(|started| started.outcome == Outcome::Reused).count(), 15);
    stop(&scratch.at("a.pid"));
}

#[test]
fn a_herd_replaces_what_it_met_once() {
    let scratch = Scratch::new("replace");
    let old = daemonry::launch(&plan(&scratch, IfRunning::Error)).unwrap();
    let replaced: Vec<_> = thread::scope(|scope| {
        let herd: Vec<_> =
            (0..16).map(|_| scope.spawn(|| daemonry::launch(&plan(&scratch, IfRunning::Replace)).unwrap())).collect();
        herd.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    // Who came only when the new one was there replaces that one: several replacements, but never two daemons.
    let newest = match daemonry::status(&scratch.at("a.pid")).unwrap() {
        Status::Running { pid, .. } => pid,
        status => panic!("{status:?}"),
    };
    assert!(replaced.iter().all(|started| started.pid != old.pid));
    assert!(replaced.iter().any(|started| started.pid == newest));
    stop(&scratch.at("a.pid"));
}

#[test]
fn the_same_version_is_reused_and_any_other_replaced() {
    let scratch = Scratch::new("version");
    let launch = |name: &str| {
        daemonry::launch(&LaunchPlan { version: Some(name.to_owned()), ..plan(&scratch, IfRunning::Reuse) }).unwrap()
    };
    let first = launch("1");
    assert_eq!(first.outcome, Outcome::Started);
    let again = launch("1");
    assert_eq!((again.outcome, again.pid), (Outcome::Reused, first.pid));
    let upgraded = launch("1.1");
    assert_eq!(upgraded.outcome, Outcome::Replaced);
    assert_ne!(upgraded.pid, first.pid);
    stop(&scratch.at("a.pid"));
}

#[test]
fn a_failed_start_leaves_the_record_of_the_daemon_before() {
    let scratch = Scratch::new("record");
    let good = LaunchPlan { record: Some(version(&scratch, "1")), ..plan(&scratch, IfRunning::Error) };
    daemonry::launch(&good).unwrap();
    stop(&scratch.at("a.pid"));
    let before = fs::read_to_string(scratch.at("a.json")).unwrap();
    let bad = LaunchPlan { record: Some(version(&scratch, "2")), alive_for: Duration::from_secs(5), ..shell("exit 3") };
    let failure = daemonry::launch(&LaunchPlan { pid_file: good.pid_file, ..bad }).unwrap_err();
    assert!(matches!(failure.error, Error::StartFailed { .. }), "{failure}");
    assert_eq!(fs::read_to_string(scratch.at("a.json")).unwrap(), before);
    assert_eq!(scratch.entries(), ["a.json", "a.jsonl"], "and the journal says that it failed");
}

#[test]
fn one_that_ignores_sigterm_is_killed_when_its_time_is_over() {
    let scratch = Scratch::new("stubborn");
    let ready = scratch.at("ready");
    let script = format!("trap '' TERM; : >'{}'; while :; do sleep 0.05; done", ready.display());
    let old = LaunchPlan { pid_file: Some(scratch.at("a.pid")), ..shell(&script) };
    let old = daemonry::launch(&old).unwrap();
    until("it is not ready", || ready.exists());
    let new = daemonry::launch(&plan(&scratch, IfRunning::Replace)).unwrap();
    assert_eq!(new.outcome, Outcome::Replaced);
    assert_ne!(new.pid, old.pid);
    stop(&scratch.at("a.pid"));
}

#[test]
fn what_needs_a_pidfile_is_refused_without_one() {
    let scratch = Scratch::new("refused");
    for plan in [
        LaunchPlan { if_running: IfRunning::Reuse, ..shell("sleep 60") },
        LaunchPlan { record: Some(version(&scratch, "1")), ..shell("sleep 60") },
    ] {
        let failure = daemonry::launch(&plan).unwrap_err();
        assert!(matches!(failure.error, Error::InvalidPlan(_)), "{failure}");
    }
    assert_eq!(scratch.entries(), Vec::<std::ffi::OsString>::new());
}

#[test]
fn a_stop_between_the_halves_of_a_restart_cancels_it() {
    let scratch = Scratch::new("halves");
    let path = scratch.at("a.pid");
    let old = daemonry::launch(&plan(&scratch, IfRunning::Error)).unwrap();
    let before = daemonry::stops_requested(&path).unwrap();
    let second_half = LaunchPlan { stops_before: Some(before), ..plan(&scratch, IfRunning::Reuse) };
    let first_half = || daemonry::stop(&path, StopOptions { replaces: true, ..StopOptions::default() }).unwrap();
    assert!(matches!(first_half(), Stopped::Ended(remains) if remains.pid == old.pid));
    // Its own stop does not count.
    let next = daemonry::launch(&second_half).unwrap();
    assert_eq!(next.outcome, Outcome::Started);
    first_half();
    assert_eq!(stop(&path), Stopped::NotRunning);
    let failure = daemonry::launch(&second_half).unwrap_err();
    assert!(matches!(failure.error, Error::StartCancelled), "{failure}");
    assert!(matches!(daemonry::status(&path).unwrap(), Status::Stopped { .. }));
    assert!(!path.exists());
    // A restart that begins after that stop is another one.
    let before = daemonry::stops_requested(&path).unwrap();
    daemonry::launch(&LaunchPlan { stops_before: Some(before), ..second_half }).unwrap();
    stop(&path);
}

/// Ends only when there is the file `go`, and says by another one that it was asked to.
fn slow(scratch: &Scratch) -> LaunchPlan {
    let (stopping, go) = (scratch.at("stopping"), scratch.at("go"));
    let (stopping, go) = (stopping.display(), go.display());
    let script = format!(
        "trap ': >{stopping}; while ! [ -e {go} ]; do sleep 0.02; done; exit' TERM; while :; do sleep 0.02; done"
    );
    LaunchPlan { pid_file: Some(scratch.at("a.pid")), ..shell(&script) }
}

#[test]
fn a_stop_cancels_a_start_that_replaces_and_nothing_runs_then() {
    let scratch = Scratch::new("cancel");
    let path = scratch.at("a.pid");
    daemonry::launch(&slow(&scratch)).unwrap();
    let before = daemonry::stops_requested(&path).unwrap();
    let (failure, stopped) = thread::scope(|scope| {
        let replacing = scope.spawn(|| daemonry::launch(&plan(&scratch, IfRunning::Replace)));
        until("it is asked to stop", || scratch.at("stopping").exists());
        let stopping = scope.spawn(|| stop(&path));
        until("the stop is counted", || daemonry::stops_requested(&path).unwrap() > before);
        fs::write(scratch.at("go"), "").unwrap();
        (replacing.join().unwrap().unwrap_err(), stopping.join().unwrap())
    });
    assert!(matches!(failure.error, Error::StartCancelled), "{failure}");
    assert!(failure.is_down);
    assert!(matches!(stopped, Stopped::Ended(_)), "{stopped:?}");
    assert!(matches!(daemonry::status(&path).unwrap(), Status::Stopped { .. }));
}

#[test]
fn a_restart_whose_start_another_restart_ends_has_the_instance_of_that_one() {
    let scratch = Scratch::new("join");
    let path = scratch.at("a.pid");
    let before = daemonry::stops_requested(&path).unwrap();
    let first_begun = scratch.at("begun");
    let script = format!("if ! [ -e {0} ]; then : >{0}; fi; exec sleep 60", first_begun.display());
    // It is "starting" as long.
    let starting = LaunchPlan {
        pid_file: Some(path.clone()),
        alive_for: Duration::from_secs(25),
        stops_before: Some(before),
        if_running: IfRunning::Reuse,
        ..shell(&script)
    };
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| daemonry::launch(&starting).unwrap());
        until("it has begun", || first_begun.exists());
        daemonry::stop(&path, StopOptions { replaces: true, ..StopOptions::default() }).unwrap();
        let second = daemonry::launch(&LaunchPlan { alive_for: Duration::ZERO, ..starting.clone() }).unwrap();
        (first.join().unwrap(), second)
    });
    assert_eq!(first.pid, second.pid);
    stop(&path);
}
