//! Why the kernel refuses a program that is there: what it executes in the program's place is missing.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::AccessFlags;

use crate::shown::Shown;

/// How many interpreters of interpreters the kernel follows (execve(2)).
const DEEPEST: u32 = 4;

/// As much of a first line as the kernel reads.
const LONGEST_LINE: usize = 256;

/// Why a program could not be executed, to follow "cannot execute it:", with the errno that says the same; `None` where nothing is
/// wrong with its interpreter. Relative paths of interpreters lead from `directory`.
pub(crate) fn explain(program: &Path, directory: &Path) -> Option<(Errno, String)> {
    look_into(program, directory, DEEPEST)
}

fn look_into(program: &Path, directory: &Path, depth: u32) -> Option<(Errno, String)> {
    let (is_script, interpreter) = interpreter_of(program)?;
    let shown = Shown(interpreter.display());
    let place = directory.join(&interpreter);
    match place.metadata() {
        Err(_) if is_script && interpreter.as_os_str().as_bytes().ends_with(b"\r") => {
            Some(carriage_return(&interpreter))
        }
        Err(_) => Some((Errno::ENOENT, format!("its interpreter {shown} does not exist"))),
        Ok(found) if found.is_dir() || nix::unistd::access(&place, AccessFlags::X_OK).is_err() => {
            Some((Errno::EACCES, format!("its interpreter {shown} is not executable")))
        }
        Ok(_) if depth == 0 => None,
        Ok(_) => {
            let (errno, reason) = look_into(&place, directory, depth - 1)?;
            Some((errno, format!("its interpreter {shown} cannot be executed: {reason}")))
        }
    }
}

/// The same for a script that the kernel does execute: `env(1)` would look for an interpreter whose name ends with a carriage return.
pub(crate) fn explain_env(program: &Path) -> Option<(Errno, String)> {
    let line = shebang(program)?;
    let words = line.trim_ascii_start();
    let (interpreter, named) = words.split_at(words.iter().position(|&byte| matches!(byte, b' ' | b'\t'))?);
    let named = named.trim_ascii_start();
    let is_env = Path::new(OsStr::from_bytes(interpreter)).file_name() == Some(OsStr::new("env"));
    // It splits what follows an option itself, at carriage returns too.
    let is_lost = named.ends_with(b"\r") && !named.starts_with(b"-") && !named.contains(&b'=');
    (is_env && is_lost).then(|| carriage_return(Path::new(OsStr::from_bytes(named))))
}

/// The program is installed, so it is not `ENOENT`.
fn carriage_return(interpreter: &Path) -> (Errno, String) {
    let shown = Shown(interpreter.display());
    let reason = format!("its first line ends with a carriage return, so its interpreter would be {shown}");
    (Errno::ENOEXEC, format!("{reason}: convert it to UNIX line endings"))
}

/// What the kernel executes for a program, and whether the program is a script.
fn interpreter_of(program: &Path) -> Option<(bool, PathBuf)> {
    let (file, start) = start_of(program)?;
    let path = |bytes: &[u8]| (!bytes.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(bytes)));
    match line_of(&start) {
        Some(line) => {
            let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).filter(|word| !word.is_empty());
            Some((true, path(words.next()?)?))
        }
        None => Some((false, path(&loader_of(&file, &start)?)?)),
    }
}

/// What follows `#!` on the first line of a script.
pub(crate) fn shebang(program: &Path) -> Option<Vec<u8>> {
    line_of(&start_of(program)?.1).map(<[u8]>::to_vec)
}

fn line_of(start: &[u8]) -> Option<&[u8]> {
    start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()
}

/// A regular file, and the first bytes of it.
pub(crate) fn start_of(program: &Path) -> Option<(File, Vec<u8>)> {
    // Not a FIFO, which would block.
    if !fs::metadata(program).ok()?.is_file() {
        return None;
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(program).ok()?;
    let mut start = vec![0; LONGEST_LINE];
    let length = file.read_at(&mut start, 0).ok()?;
    start.truncate(length);
    Some((file, start))
}

/// What an ELF file asks to be loaded by (elf(5), `PT_INTERP`), such as the loader of another C library.
fn loader_of(file: &File, header: &[u8]) -> Option<Vec<u8>> {
    const INTERPRETER: u64 = 3;
    let is_own_order = header.get(5) == Some(&if cfg!(target_endian = "little") { 1 } else { 2 });
    if !header.starts_with(b"\x7fELF") || !is_own_order {
        return None;
    }
    // Where each field is: in the header the table's place, the size and number of its entries; in an entry its place and size.
    let (word, [table, size, count], [place, length]) = match header.get(4) {
        Some(1) => (4, [28, 42, 44], [4, 16]),
        Some(2) => (8, [32, 54, 56], [8, 32]),
        _ => return None,
    };
    let entry_size = usize::try_from(number(header, size, 2)?).ok()?;
    let mut entry = vec![0; entry_size];
    for index in 0..number(header, count, 2)? {
        file.read_exact_at(&mut entry, number(header, table, word)?.checked_add(index * entry_size as u64)?).ok()?;
        if number(&entry, 0, 4)? == INTERPRETER {
            let length = usize::try_from(number(&entry, length, word)?).ok()?.min(libc::PATH_MAX as usize);
            let mut path = vec![0; length];
            file.read_exact_at(&mut path, number(&entry, place, word)?).ok()?;
            return path.split(|&byte| byte == 0).next().map(<[u8]>::to_vec);
        }
    }
    None
}

/// A number of this machine's byte order.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    let bytes = bytes.get(at..at + size)?.iter();
    Some(if cfg!(target_endian = "little") { bytes.rev().fold(0, append) } else { bytes.fold(0, append) })
}
