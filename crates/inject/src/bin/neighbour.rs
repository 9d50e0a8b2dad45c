//! What an unprivileged user can do beside daemons of root's, where Node.js does not have the system calls.
//!
//! A command prints `up`, or a pid, when it has begun, and lasts until its standard input ends; `plant` returns at once.
//!
//! - `exchange PATH OTHER`: exchanges both names, again and again;
//! - `queue FILE`: queues for both kinds of flock(2) on whatever is or comes at the name, and puts a record lock on it that names a
//!   process which has exited;
//! - `lock FILE`: waits for a line, then takes both locks by a process that has exited, and prints the pid that they name;
//! - `forge FILE`: makes a pidfile with that pid in it, locks it in the same way, and prints the pid;
//! - `pose FILE`: takes both locks itself, as a daemon does;
//! - `churn FOLDER TARGET`: renames, removes and makes again the folder and the files in it, also as links to and into TARGET;
//! - `rogue FILE MODE`: is a daemon that waits until FILE exists, then does what it can with every descriptor that it has inherited,
//!   leaves a helper that keeps them, closes them, appends `.done` to the name of FILE and makes that; MODE is `stay` or `die`;
//! - `plant KIND PATH [TARGET]`: makes a `file`, `folder`, `fifo`, `socket`, symbolic `link` or hard `name`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "neighbour/linux.rs"]
mod commands;

#[cfg(not(target_os = "linux"))]
mod commands {
    /// Reports why there is nothing to run.
    pub(crate) fn run(_arguments: &[String]) -> Result<(), String> {
        Err("these system calls exist only on Linux".into())
    }
}

#[expect(clippy::print_stderr, reason = "it is a command")]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match commands::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("neighbour: {problem}");
            ExitCode::from(125)
        }
    }
}
