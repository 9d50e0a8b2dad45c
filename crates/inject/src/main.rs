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

mod fault;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;

use fault::Fault;

struct Options {
    trace: String,
    faults: Vec<Fault>,
    command: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut arguments = std::env::args().skip(1);
    let (mut trace, mut faults) = (None, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--trace" => trace = arguments.next(),
            "--fault" => faults.push(arguments.next().unwrap_or_default().parse()?),
            "--" => break,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    let command: Vec<_> = arguments.collect();
    if command.is_empty() {
        return Err("the program is missing".into());
    }
    Ok(Options { trace: trace.ok_or("--trace FILE is missing")?, faults, command })
}

#[expect(clippy::print_stderr, reason = "it is a command")]
fn main() -> ExitCode {
    let ran = options().and_then(run);
    ran.unwrap_or_else(|problem| {
        eprintln!("inject: {problem}");
        ExitCode::from(125)
    })
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn run(options: Options) -> Result<ExitCode, String> {
    let lines = trace::run(&options.command, options.faults).map_err(|errno| format!("cannot trace: {errno}"))?;
    std::fs::write(&options.trace, lines).map_err(|error| format!("cannot write {}: {error}", options.trace))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn run(_: Options) -> Result<ExitCode, String> {
    Err("calls can be made to fail only on Linux on x86_64".into())
}
