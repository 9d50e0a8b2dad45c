//! A clock that makes itself a daemon, as daemons are made here: `clock PIDFILE LOG` starts it and waits until it ticks, and
//! `clock PIDFILE` stops it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it does")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use daemonry::{
    Adoption, LaunchPlan, LogFile, Report, START_VARIABLE, StopOptions, Stream, WaitFor, adopt, guard, launch, stop,
};

fn main() -> ExitCode {
    let done = match own_start() {
        Ok(Some(start)) => tick(&start),
        Ok(None) => from_the_prompt(),
        Err(error) => Err(error),
    };
    done.map_or_else(
        |error| {
            eprintln!("clock: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The start that this process is the daemon of.
fn own_start() -> Result<Option<Adoption>, Box<dyn Error>> {
    let Some(token) = std::env::var_os(START_VARIABLE) else { return Ok(None) };
    // SAFETY: no other thread runs yet.
    unsafe { std::env::remove_var(START_VARIABLE) };
    // SAFETY: this is the only call, and nothing uses the descriptors behind stderr.
    Ok(unsafe { adopt(&token) }?)
}

fn from_the_prompt() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    match (arguments.next(), arguments.next()) {
        (Some(pid_file), Some(log)) => start(pid_file, log),
        (Some(pid_file), None) => {
            println!("{:?}", stop(&pid_file, StopOptions::default())?);
            Ok(())
        }
        _ => Err("usage: clock PIDFILE LOG to start it, clock PIDFILE to stop it".into()),
    }
}

/// Executes this same program as a daemon.
fn start(pid_file: PathBuf, log: PathBuf) -> Result<(), Box<dyn Error>> {
    let log = Stream::File(LogFile::new(log));
    let plan = LaunchPlan {
        pid_file: Some(pid_file),
        stdout: log.clone(),
        stderr: log,
        working_directory: Some(Path::new("/").into()),
        wait_for: WaitFor::Ready,
        launcher_leaves: true,
        ..LaunchPlan::new(std::env::current_exe()?)
    };
    let started = launch(&plan).map_err(|failure| failure.error)?;
    println!("the clock ticks with pid {}", started.pid);
    Ok(())
}

fn tick(start: &Adoption) -> Result<(), Box<dyn Error>> {
    // SIGTERM ends it, and the pidfile goes with it.
    if let Some(pid_file) = &start.pid_file {
        guard(pid_file.clone());
        daemonry::arm(libc::SIGTERM)?;
    }
    start.report(&Report::Ready)?;
    loop {
        println!("{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
        sleep(Duration::from_secs(1));
    }
}
