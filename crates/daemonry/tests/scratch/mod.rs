//! What the tests of launching have in common.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use daemonry::{Fork, LaunchPlan, StopOptions, Stopped};

/// A folder of the test's own; removed in the end. One test at a time: they count this process's descriptors and children.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = std::env::temp_dir().join(format!("daemonry-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self { path, _alone: alone }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn entries(&self) -> Vec<OsString> {
        fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Of a test that failed half-way.
        let _outcome = daemonry::stop(&self.at("a.pid"), StopOptions::default());
        fs::remove_dir_all(&self.path).unwrap();
    }
}

/// A plan that forks as `DAEMONRY_FORK` says: the tests run once each way.
pub(crate) fn plan(program: impl Into<PathBuf>) -> LaunchPlan {
    let copies = std::env::var_os("DAEMONRY_FORK").is_some_and(|way| way == "copy");
    LaunchPlan { fork: if copies { Fork::Copy } else { Fork::Automatic }, ..LaunchPlan::new(program) }
}

pub(crate) fn shell(script: &str) -> LaunchPlan {
    LaunchPlan { arguments: vec!["sh".into(), "-c".into(), script.into()], ..plan("/bin/sh") }
}

pub(crate) fn stop(pid_file: &Path) -> Stopped {
    daemonry::stop(pid_file, StopOptions::default()).unwrap()
}

/// Waits until it is so: the process that forked is done only a moment after the daemon is up.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
