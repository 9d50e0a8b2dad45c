//! The commands.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, mkfifo, setsid};

const PAUSE: Duration = Duration::from_micros(200);

/// How many files are queued for: a thread waits for each kind of lock.
const MOST_QUEUES: usize = 500;

type Done = Result<(), String>;

pub(crate) fn run(arguments: &[String]) -> Done {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["exchange", path, other] => {
            let (path, other) = (PathBuf::from(path), PathBuf::from(other));
            until_input_ends(move || exchange(&path, &other))
        }
        ["queue", file] => {
            let (mut seen, file) = (Vec::new(), PathBuf::from(file));
            until_input_ends(move || {
                if queue(&file, &mut seen).is_err() {
                    thread::sleep(PAUSE);
                }
            })
        }
        ["lock", file] => lock(Path::new(file)),
        ["forge", file] => forge(Path::new(file)),
        ["pose", file] => pose(Path::new(file)),
        ["churn", folder, target] => {
            let (folder, target, mut random) = (PathBuf::from(folder), PathBuf::from(target), process::id());
            until_input_ends(move || churn(&folder, &target, &mut random))
        }
        ["rogue", file, mode] => rogue(file, mode == "stay"),
        ["plant", kind, path, ref target @ ..] => plant(kind, Path::new(path), target.first().copied()),
        _ => Err(format!("unknown arguments {arguments:?}")),
    }
}

fn failed(what: &str, error: impl std::fmt::Display) -> String {
    format!("{what} failed: {error}")
}

#[expect(clippy::print_stdout, reason = "the caller reads it")]
fn print(line: &str) {
    println!("{line}");
}

/// Does something again and again until the caller has closed the standard input or is gone.
fn until_input_ends(mut work: impl FnMut() + Send + 'static) -> Done {
    print("up");
    thread::spawn(move || {
        loop {
            work();
        }
    });
    wait_for_end()
}

fn wait_for_end() -> Done {
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ()).map_err(|error| failed("read", error))
}

fn exchange(path: &Path, other: &Path) {
    let name = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    let (path, other) = (name(path), name(other));
    let (from, to, flags) = (path.as_ptr(), other.as_ptr(), libc::RENAME_EXCHANGE);
    // The bare call, which not every C library has. It fails as long as one of them does not exist.
    // SAFETY: both names outlive the call.
    unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, flags) };
}

/// Opens for reading, without waiting for the other end of a pipe.
fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(file)
}

fn queue(path: &Path, seen: &mut Vec<(u64, u64)>) -> io::Result<()> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    let identity = (metadata.dev(), metadata.ino());
    if seen.contains(&identity) || seen.len() == MOST_QUEUES {
        return Err(Errno::EALREADY.into());
    }
    seen.push(identity);
    leave_locks(&file, Locks::Record)?;
    for kind in [libc::LOCK_EX, libc::LOCK_SH] {
        // A description of its own: two locks on one would replace each other.
        let own = open(path)?;
        thread::spawn(move || {
            // SAFETY: the descriptor is open.
            let _locked = unsafe { libc::flock(own.as_raw_fd(), kind) };
            loop {
                thread::park();
            }
        });
    }
    // It keeps the record lock: closing any descriptor of the file would release it.
    std::mem::forget(file);
    Ok(())
}

#[derive(PartialEq)]
enum Locks {
    Record,
    Both,
    /// And its pid is written into the file.
    BothAndText,
}

/// Locks a file in a process that shares this one's descriptors and exits. The locks stay as long as these do, and name a pid that is
/// free. Returns that pid.
fn leave_locks(file: &File, locks: Locks) -> nix::Result<i32> {
    let fd = file.as_raw_fd();
    let mut stack = vec![0; 256 * 1024];
    let take = Box::new(move || {
        // SAFETY: the parent, which waits, keeps it open.
        let file = unsafe { BorrowedFd::borrow_raw(fd) };
        if locks == Locks::BothAndText {
            let _written = nix::unistd::write(file, format!("{}\n", process::id()).as_bytes());
        }
        if locks != Locks::Record {
            try_flock(fd);
        }
        // Only a user who may write the file gets the first kind.
        let taken = [libc::F_WRLCK, libc::F_RDLCK]
            .map(whole_file)
            .iter()
            .any(|lock| fcntl(file, FcntlArg::F_SETLK(lock)).is_ok());
        isize::from(!taken)
    });
    // SAFETY: the stack outlives the child, which is waited for.
    let child = unsafe { clone(take, &mut stack, CloneFlags::CLONE_FILES, Some(Signal::SIGCHLD as i32)) }?;
    waitpid(child, None)?;
    Ok(child.as_raw())
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or(0),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or(0),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn try_flock(fd: RawFd) {
    // SAFETY: flock(2) takes any number.
    let _locked = unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) };
}

fn lock(path: &Path) -> Done {
    print("up");
    io::stdin().lock().read_line(&mut String::new()).map_err(|error| failed("read", error))?;
    let file = open(path).map_err(|error| failed("open", error))?;
    let pid = leave_locks(&file, Locks::Both).map_err(|error| failed("clone", error))?;
    print(&pid.to_string());
    wait_for_end()
}

fn forge(path: &Path) -> Done {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.map_err(|error| failed("open", error))?;
    let pid = leave_locks(&file, Locks::BothAndText).map_err(|error| failed("clone", error))?;
    print(&pid.to_string());
    wait_for_end()
}

fn pose(path: &Path) -> Done {
    let file = open(path).map_err(|error| failed("open", error))?;
    try_flock(file.as_raw_fd());
    let _locked = fcntl(&file, FcntlArg::F_SETLK(&whole_file(libc::F_RDLCK)));
    print("up");
    wait_for_end()
}

/// The next of a row of numbers without a pattern that matters here (xorshift).
fn next(random: &mut u32) -> u32 {
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    *random
}

fn churn(folder: &Path, target: &Path, random: &mut u32) {
    let other = folder.with_extension("other");
    // Each of these fails as often as not.
    let _done = match next(random) % 8 {
        0 => fs::rename(folder, &other).and_then(|()| fs::rename(&other, folder)),
        1 | 2 => fs::rename(folder, &other).and_then(|()| symlink(target, folder)).and_then(|()| {
            thread::sleep(PAUSE);
            fs::remove_file(folder).and_then(|()| fs::rename(&other, folder))
        }),
        3 => fs::remove_dir_all(folder),
        4 | 5 => fs::read_dir(folder).map(|entries| {
            for entry in entries.flatten() {
                let (path, moved) = (entry.path(), entry.path().with_extension("moved"));
                let _done = match next(random) % 4 {
                    0 => fs::remove_file(path),
                    1 => fs::rename(path, moved),
                    2 => fs::rename(moved, path),
                    _ => fs::remove_file(&path).and_then(|()| symlink(target.join(entry.file_name()), path)),
                };
            }
        }),
        _ => fs::create_dir(folder),
    };
    thread::sleep(PAUSE);
}

/// The descriptors that this process has inherited, beyond the standard ones.
fn inherited() -> Vec<RawFd> {
    let entries = fs::read_dir("/proc/self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&fd| fd > 2).collect()
    });
    let mut descriptors: Vec<RawFd> = entries.unwrap_or_default();
    // The one by which they were read is closed.
    // SAFETY: fcntl(2) takes any number.
    descriptors.retain(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1);
    descriptors
}

/// Does to a descriptor what could harm others who have the file, too.
fn abuse(fd: RawFd) {
    let garbage = b"garbage\n\0";
    // By its own rights, which a descriptor that only reads does not have.
    if let Ok(mut file) = OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{fd}")) {
        let _written = file.write_all(garbage);
        let _cut = file.set_len(0);
    }
    // SAFETY: whatever the descriptor is of, it is open.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    let _written = nix::unistd::write(file, garbage);
    let _changed = nix::sys::stat::fchmod(file, Mode::from_bits_truncate(0o666));
    let _unlocked = fcntl(file, FcntlArg::F_SETLK(&whole_file(libc::F_UNLCK)));
    // SAFETY: the descriptor is open.
    let _unlocked = unsafe { libc::flock(fd, libc::LOCK_UN) };
}

fn rogue(signal: &str, stays: bool) -> Done {
    while !Path::new(signal).exists() {
        thread::sleep(PAUSE);
    }
    let descriptors = inherited();
    // The log is its own to spoil.
    for fd in [0, 1, 2].into_iter().chain(descriptors.iter().copied()) {
        abuse(fd);
    }
    // SAFETY: this process has no other thread.
    if let ForkResult::Child = unsafe { fork() }.map_err(|error| failed("fork", error))? {
        let _session = setsid();
        sleep_on()
    }
    for fd in descriptors {
        // SAFETY: nothing here uses it any more.
        let _closed = unsafe { libc::close(fd) };
    }
    fs::write(format!("{signal}.done"), "").map_err(|error| failed("write", error))?;
    if stays { sleep_on() } else { Ok(()) }
}

fn sleep_on() -> ! {
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

/// What is planted is everybody's.
fn plant(kind: &str, path: &Path, target: Option<&str>) -> Done {
    let target = target.unwrap_or_default();
    let all = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let made = match kind {
        "file" => fs::write(path, "").and_then(|()| all(0o666)),
        "folder" => fs::create_dir(path).and_then(|()| all(0o777)),
        "fifo" => mkfifo(path, Mode::S_IRWXU).map_err(io::Error::from).and_then(|()| all(0o666)),
        "socket" => UnixListener::bind(path).and_then(|_| all(0o777)),
        "link" => symlink(target, path),
        "name" => fs::hard_link(target, path),
        other => return Err(format!("unknown kind {other:?}")),
    };
    made.map_err(|error| failed("plant", error))
}
