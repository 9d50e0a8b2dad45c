//! Which program a record is about: its script, its arguments, its directory, and whether another record is about the same one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::record::{Recorded, StartMethod, is_same_file};
use crate::json::Value;
use crate::shown::Shown;

/// Programs that run a script which they are given.
const INTERPRETERS: [&str; 14] =
    ["node", "nodejs", "bun", "deno", "tsx", "ts-node", "python", "ruby", "perl", "php", "sh", "bash", "dash", "zsh"];

/// Those of them that look in `PATH` for a script without a slash, and take one of any name.
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "zsh"];

/// How the names of scripts end.
const EXTENSIONS: [&str; 12] = ["js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "py", "rb", "pl", "php"];

/// Options of interpreters with a value of their own, which may look like a script.
const WITH_VALUE: [&str; 11] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "--preload",
    "--env-file",
    "--env-file-if-exists",
    "-C",
    "--conditions",
    "--title",
];

/// Options behind which there is no script, but code or the name of a module.
const WITHOUT_SCRIPT: [&str; 7] = ["-c", "-e", "-m", "-p", "-S", "--eval", "--print"];

/// The place of the script among the arguments of an interpreter, `argv[0]` being the first of them; `None` if the program is no
/// interpreter, or if it is not known which of its arguments is the script.
pub fn script_among(program: &OsStr, arguments: &[OsString]) -> Option<usize> {
    let name = interpreter(program)?;
    let mut words = arguments.iter().enumerate().skip(1);
    while let Some((index, word)) = words.next() {
        let text = word.to_str()?;
        if WITHOUT_SCRIPT.contains(&text) {
            return None;
        }
        if WITH_VALUE.contains(&text) {
            words.next();
            continue;
        }
        let is_command = text == "run" && ["bun", "deno"].contains(&name);
        if !is_command && !text.starts_with('-') {
            return is_script_of(name, text).then_some(index);
        }
    }
    None
}

/// Whether an interpreter takes this word for the path of a script.
fn is_script_of(interpreter: &str, word: &str) -> bool {
    if SHELLS.contains(&interpreter) {
        return word.contains('/');
    }
    let is_known = |end: &OsStr| EXTENSIONS.iter().any(|known| end == *known);
    // Not the address of a module, as of Deno.
    !word.contains(':') && Path::new(word).extension().is_some_and(is_known)
}

/// The name of an interpreter without its version: `python` for `/usr/bin/python3.11`.
fn interpreter(program: &OsStr) -> Option<&'static str> {
    let name = Path::new(program).file_name()?.to_str()?;
    let plain = name.trim_end_matches(|character: char| character.is_ascii_digit() || ".-".contains(character));
    INTERPRETERS.into_iter().find(|known| *known == plain)
}

/// What a start executes, and how two of them are compared.
struct Command<'a> {
    program: &'a OsStr,
    /// The script, or the program itself if that is a path.
    file: Option<PathBuf>,
    /// What follows the script or the program.
    rest: &'a [OsString],
    /// Where it works, and whether the caller has chosen that directory.
    directory: PathBuf,
    is_chosen: bool,
    /// Its command line is the caller's, and not the business of the program itself.
    is_given: bool,
}

impl Recorded {
    /// Whether both start the same program: of scripts and programs that are given by a path, one file. A flipped link leads to the
    /// same program, as does another version of the interpreter.
    ///
    /// Of what `spawnDaemon` starts, the arguments count as well. The directory counts if both callers have chosen one with the
    /// option `cwd`, or if the command is a mere name: `npm start` is another program in another directory.
    pub fn is_same_program(&self, other: &Self) -> bool {
        let (one, other) = (self.command(), other.command());
        let is_same_file = match (&one.file, &other.file) {
            (Some(one), Some(other)) => is_same_path(one, other),
            (None, None) => name_of(one.program) == name_of(other.program),
            // A name that is looked for in PATH may lead there.
            _ => Path::new(one.program).file_name() == Path::new(other.program).file_name(),
        };
        let is_line_given = one.is_given && other.is_given;
        if !is_same_file || !is_line_given {
            return is_same_file;
        }
        let directory_counts = one.is_chosen && other.is_chosen || one.file.is_none() || other.file.is_none();
        one.rest == other.rest && (!directory_counts || is_same_path(&one.directory, &other.directory))
    }

    fn command(&self) -> Command<'_> {
        let script = script_among(&self.program, &self.arguments);
        let chosen = self.chosen_directory();
        let directory = chosen.as_ref().map_or_else(|| self.cwd.clone(), |chosen| self.cwd.join(chosen));
        let file = match script.and_then(|index| self.arguments.get(index)) {
            Some(script) => Some(directory.join(script)),
            None if interpreter(&self.program).is_some() => None,
            None => self.program.as_bytes().contains(&b'/').then(|| self.cwd.join(&self.program)),
        };
        Command {
            program: &self.program,
            file,
            rest: self.arguments.get(script.unwrap_or(0) + 1..).unwrap_or(&[]),
            directory,
            is_chosen: chosen.is_some(),
            is_given: self.method == StartMethod::SpawnDaemon,
        }
    }

    /// The option `cwd`.
    fn chosen_directory(&self) -> Option<PathBuf> {
        let options = Value::parse(self.options.as_deref()?)?.members()?;
        options.get("cwd").and_then(Value::text).map(PathBuf::from)
    }

    /// The command and its directory, for a person.
    pub(crate) fn shown_command(&self) -> String {
        let words = [&self.program].into_iter().chain(self.arguments.iter().skip(1));
        let line = words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ");
        format!("{} in {}", Shown(line), Shown(self.command().directory.display()))
    }
}

/// The name of a command, however its interpreter is called.
fn name_of(program: &OsStr) -> &OsStr {
    interpreter(program).map_or(program, OsStr::new)
}

fn is_same_path(one: &Path, other: &Path) -> bool {
    one == other || is_same_file(one, other)
}

fn quoted(word: &str) -> String {
    let is_plain =
        !word.is_empty() && word.chars().all(|character| !character.is_whitespace() && !"'\"\\$`".contains(character));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    /// What `spawnDaemon` puts on record about a command line in a directory, which may not exist.
    fn spawned(line: &str, directory: &str, chosen: Option<&str>) -> Recorded {
        let arguments = words(line);
        let program = arguments.first().cloned().unwrap_or_default();
        Recorded {
            arguments,
            cwd: directory.into(),
            options: chosen.map(|chosen| format!("{{\"cwd\":\"{chosen}\"}}")),
            ..Recorded::of_caller("name", "/pid", program, StartMethod::SpawnDaemon)
        }
    }

    fn daemonized(line: &str) -> Recorded {
        Recorded { method: StartMethod::Daemonize, ..spawned(line, "/none", None) }
    }

    #[test]
    fn the_script_of_an_interpreter_is_told_from_its_options() {
        for (line, script) in [
            ("node app.js", Some("app.js")),
            ("/opt/v20/bin/node --import tsx --no-warnings app.ts --port 80", Some("app.ts")),
            ("node -r dotenv/config.js app.js", Some("app.js")),
            ("node --require=./first.js app.cjs", Some("app.cjs")),
            ("node --env-file .env app.mjs", Some("app.mjs")),
            ("bun run server.ts", Some("server.ts")),
            ("deno run -A main.ts", Some("main.ts")),
            ("python3.11 -u app.py", Some("app.py")),
            ("sh ./run", Some("./run")),
            ("tsx app.ts", Some("app.ts")),
            ("node -e app.js", None),
            ("node app", None),
            ("node", None),
            ("python3 -m http.server", None),
            ("sh run.sh", None),
            ("bash -c ./run", None),
            ("deno run npm:cowsay@1.5.0/cowsay.js", None),
            ("npx tsx app.ts", None),
            ("redis-server a.py", None),
        ] {
            let arguments = words(line);
            let found = script_among(&arguments[0], &arguments).map(|index| arguments[index].clone());
            assert_eq!(found, script.map(OsString::from), "{line}");
        }
    }

    #[test]
    fn what_counts_as_the_same_program() {
        let same = [
            (spawned("/v20/bin/node app.js", "/a", None), spawned("/v22/bin/node --no-warnings app.js", "/a", None)),
            (spawned("node /a/app.js", "/a", None), spawned("node app.js", "/a", None)),
            (spawned("node /a/app.js", "/a", None), spawned("node /a/app.js", "/b", None)),
            (spawned("node /a/app.js", "/a", Some("/")), spawned("node /a/app.js", "/b", Some("/"))),
            (spawned("/a/server --x", "/a", None), spawned("/a/server --x", "/b", None)),
            (spawned("redis-server", "/a", None), spawned("/usr/bin/redis-server", "/a", None)),
            (spawned("npm start", "/a", None), spawned("npm start", "/b", Some("/a"))),
            (daemonized("node /a/app.js"), daemonized("node /a/app.js --verbose")),
            (daemonized("node /a/app.js start"), spawned("/usr/bin/node app.js", "/a", None)),
            (daemonized("node /a/app.js"), spawned("./app.js", "/a", None)),
        ];
        let other = [
            (spawned("node app.js", "/a", None), spawned("node app.js", "/b", None)),
            (spawned("node app.js", "/a", None), spawned("node other.js", "/a", None)),
            (spawned("node /a/app.js 80", "/a", None), spawned("node /a/app.js 81", "/a", None)),
            (spawned("node /a/app.js", "/a", Some("/x")), spawned("node /a/app.js", "/a", Some("/y"))),
            (spawned("npm start", "/a", None), spawned("npm start", "/b", None)),
            (spawned("npm start", "/a", None), spawned("npm test", "/a", None)),
            (spawned("npx tsx app.ts", "/a", None), spawned("npx tsx other.ts", "/a", None)),
            (spawned("./run", "/a", None), spawned("./run", "/b", None)),
            (spawned("redis-server", "/a", None), spawned("memcached", "/a", None)),
            (spawned("python3 -m http.server", "/a", None), spawned("python3 -m http.server", "/b", None)),
            (daemonized("node /a/app.js"), daemonized("node /b/app.js")),
        ];
        let pairs = same.iter().map(|pair| (pair, true)).chain(other.iter().map(|pair| (pair, false)));
        for ((one, two), is_same) in pairs {
            let shown = format!("{} and {}", one.shown_command(), two.shown_command());
            assert_eq!(one.is_same_program(two), is_same, "{shown}");
            assert_eq!(two.is_same_program(one), is_same, "{shown}");
        }
    }
}
