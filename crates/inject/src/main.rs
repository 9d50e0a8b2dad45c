//! Runs a program, lists the system calls that it and what it starts make between two marks, and lets something happen to some of
//! them.
//!
//! `inject --trace FILE [--fault ROLE/CALL/N/ACTION]... -- PROGRAM [ARGUMENT]...`
//!
//! A process is looked at from its call `access("/-begin")` to its call `access("/-end")`; its children from their first call to their
//! exec. The first process is called `launcher`, its children `leader`, `daemon` and so on in the order of their birth, and a thread
//! whose name begins with `daemonry` as its process with `-thread`; other threads are not looked at. Each line of the trace has role,
//! call, number of the call, arguments and result, between tabs; the last one tells how the first process ended.
//!
//! strace(1) counts calls in each process, and cannot tell one from another when a call is to fail.

use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod command;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod fault;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod command {
    /// Says why there is nothing to run.
    pub(crate) fn run() -> Result<(), String> {
        Err("calls can be made to fail only on Linux on x86_64".into())
    }
}

#[expect(clippy::print_stderr, reason = "it is a command")]
fn main() -> ExitCode {
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("inject: {problem}");
            ExitCode::from(125)
        }
    }
}
