//! The command line.

use crate::fault::Fault;
use crate::trace;

struct Options {
    trace: String,
    faults: Vec<Fault>,
    command: Vec<String>,
}

/// Does what the command line says.
pub(crate) fn run() -> Result<(), String> {
    let Options { trace, faults, command } = options()?;
    let lines = trace::run(&command, faults).map_err(|errno| format!("cannot trace: {errno}"))?;
    std::fs::write(&trace, lines).map_err(|error| format!("cannot write {trace}: {error}"))
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
