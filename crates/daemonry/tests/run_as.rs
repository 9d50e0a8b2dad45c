//! Running as another user: the account is looked up by the core, for every caller.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

mod scratch;

use daemonry::{
    Account, Attributes, Errno, Error, LaunchPlan, LogFile, Name, Places, Record, Recorded, RunAs, StartMethod, Step,
    StopOptions, Stream, UserRef,
};
use scratch::{Scratch, shell, stop, until};

fn nobody() -> Attributes {
    Attributes { run_as: Some(RunAs { user: Some("nobody".into()), ..RunAs::default() }), ..Attributes::default() }
}

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can start another user's daemon");
    }
    is_root
}

/// The environment of the daemon that `plan` starts, as `NAME=value`.
fn environment_of(plan: &LaunchPlan, scratch: &Scratch) -> Vec<String> {
    let (out, pid_file) = (scratch.at("out"), scratch.at("a.pid"));
    let log = LogFile { append: false, ..LogFile::new(&out) };
    let script = "env; echo done; exec sleep 60";
    let plan = LaunchPlan {
        arguments: vec!["sh".into(), "-c".into(), script.into()],
        stdout: Stream::File(log),
        pid_file: Some(pid_file.clone()),
        ..plan.clone()
    };
    daemonry::launch(&plan).unwrap();
    let read = || fs::read_to_string(&out).unwrap();
    until("the daemon prints its environment", || read().ends_with("done\n"));
    stop(&pid_file);
    read().lines().map(str::to_owned).collect()
}

#[test]
fn a_daemon_of_another_user_gets_the_variables_of_that_user() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new("account");
    let account = Account::look_up(nobody().run_as.as_ref().unwrap()).unwrap();
    let inherited =
        ["HOME", "USER", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "LANG"].map(|name| (name.into(), "root's".into()));
    let path = ("PATH".into(), std::env::var_os("PATH").unwrap());
    let plan =
        LaunchPlan { attributes: nobody(), inherited_env: inherited.into_iter().chain([path]).collect(), ..shell("") };
    let found = environment_of(&plan, &scratch);
    let has = |variable: &str| found.iter().any(|found| found == variable);
    assert!(has(&format!("HOME={}", account.home.display())), "{found:?}");
    assert!(has(&format!("SHELL={}", account.shell.display())), "{found:?}");
    assert!(has("USER=nobody") && has("LOGNAME=nobody") && has("LANG=root's"), "{found:?}");
    assert!(!found.iter().any(|found| found.starts_with("SSH_") || found.starts_with("XDG_")), "{found:?}");

    let chosen = vec![
        ("HOME".into(), Some("/chosen".into())),
        ("XDG_RUNTIME_DIR".into(), Some("/chosen".into())),
        ("USER".into(), None),
        ("LANG".into(), None),
    ];
    let found = environment_of(&LaunchPlan { env: chosen, ..plan }, &scratch);
    let has = |variable: &str| found.iter().any(|found| found == variable);
    assert!(has("HOME=/chosen") && has("XDG_RUNTIME_DIR=/chosen") && has("LOGNAME=nobody"), "{found:?}");
    assert!(!found.iter().any(|found| found.starts_with("USER=") || found.starts_with("LANG=")), "{found:?}");
}

/// The places of a daemon that is stopped in the end, with every file in them.
struct OwnPlaces(Places);

impl OwnPlaces {
    fn directories(&self) -> [&Path; 2] {
        [&self.0.pid_file, &self.0.log_file].map(|file| file.parent().unwrap())
    }
}

impl Drop for OwnPlaces {
    fn drop(&mut self) {
        let _outcome = daemonry::stop(&self.0.pid_file, StopOptions::default());
        for directory in self.directories() {
            let _left = fs::remove_dir_all(directory);
        }
        for file in [&self.0.record, &self.0.journal] {
            let _left = fs::remove_file(file);
        }
    }
}

#[test]
fn the_directories_and_the_record_of_a_named_daemon_are_those_of_its_user() {
    if !is_root() {
        return;
    }
    let account = Account::look_up(nobody().run_as.as_ref().unwrap()).unwrap();
    let name = Name::new(&format!("test-run-as-{}", std::process::id())).unwrap();
    let own = OwnPlaces(Places::own(&name));
    let places = &own.0;
    let recorded = Recorded::of_caller(name.as_str(), &places.pid_file, "/bin/sh", StartMethod::SpawnDaemon);
    let plan = LaunchPlan {
        attributes: nobody(),
        name: Some(name.as_str().to_owned()),
        pid_file: Some(places.pid_file.clone()),
        stdout: Stream::File(LogFile::new(&places.log_file)),
        record: Some(Record { path: Some(places.record.clone()), json: recorded.to_json() }),
        ..shell("exec sleep 60")
    };
    daemonry::launch(&plan).unwrap();
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!(own.directories().map(owner), [account.ids.uid; 2]);
    assert_eq!(owner(&places.record), 0);
    let found = Recorded::read(&places.record).unwrap();
    assert_eq!((found.uid, found.started_by.uid), (account.ids.uid, 0));
}

#[test]
fn an_unknown_user_or_one_that_the_caller_may_not_run_as_fails_before_anything_is_made() {
    let scratch = Scratch::new("unknown");
    let launch = |run_as: RunAs| {
        let plan = LaunchPlan {
            attributes: Attributes { run_as: Some(run_as), ..Attributes::default() },
            pid_file: Some(scratch.at("a.pid")),
            ..shell("exec sleep 60")
        };
        let rehearsed = plan.rehearse().unwrap_err();
        let failure = daemonry::launch(&plan).unwrap_err();
        assert_eq!(failure.to_string(), rehearsed.to_string());
        failure.error
    };
    let error = launch(RunAs { user: Some("no-such-user".into()), ..RunAs::default() });
    assert_eq!(error.to_string(), "there is no user \"no-such-user\"");
    assert!(matches!(error, Error::UnknownUser { kind: "user", .. }));
    if !nix::unistd::geteuid().is_root() {
        let error = launch(RunAs { user: Some(UserRef::Id(0)), ..RunAs::default() });
        assert!(matches!(error, Error::System { step: Step::SetUid, errno: Errno::EPERM, .. }), "{error}");
    }
    assert_eq!(scratch.entries(), [] as [&str; 0]);
}
