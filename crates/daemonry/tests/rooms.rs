//! The rooms of the crate import one way: each only from those before it.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// From the system calls to the public functions.
const ROOMS: [&str; 24] = [
    "property",
    "shown",
    "json",
    "last_words",
    "sys",
    "listen_address",
    "error",
    "protocol",
    "user",
    "rlimit",
    "trusted_path",
    "stdio",
    "listen",
    "notify",
    "supervision",
    "state",
    "pidfile",
    "store",
    "instance",
    "launch",
    "adopt",
    "exit_hooks",
    "supervisor",
    "lib",
];

fn sources(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(sources(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// Its code without comments, and without its tests.
fn code(file: &Path) -> io::Result<String> {
    let text = fs::read_to_string(file)?;
    let code = text.split("mod tests {").next().unwrap_or("");
    Ok(code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n"))
}

/// The name at the beginning of `text`.
fn name(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

#[test]
fn each_room_imports_only_from_those_before_it() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for file in sources(&root)? {
        let inside = file.strip_prefix(&root).expect("it is below").with_extension("");
        let importer = inside.iter().next().and_then(|room| room.to_str()).expect("a name");
        let own = place(importer).unwrap_or_else(|| panic!("{importer} is not among the rooms"));
        for used in code(&file)?.split("crate::").skip(1).map(name) {
            if place(used).is_none_or(|place| place > own) {
                wrong.push(format!("{} imports from {used}", file.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    Ok(())
}
