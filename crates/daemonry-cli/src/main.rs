//! The native program `daemonry`: the process above supervised daemons.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::env;
use std::process::ExitCode;

/// A wrong call, as in the command in TypeScript.
const USAGE: u8 = 2;
/// `EX_SOFTWARE` of sysexits(3).
const SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let verb = env::args_os().nth(1);
    match verb.as_deref().and_then(|verb| verb.to_str()) {
        Some("supervise") => daemonry::supervise().unwrap_or_else(|error| {
            eprintln!("daemonry: {error}");
            ExitCode::from(SOFTWARE)
        }),
        Some("--version") => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "daemonry: this program supervises daemons and is started by daemonry itself; to manage daemons, use the command of the npm package daemonry"
            );
            ExitCode::from(USAGE)
        }
    }
}
