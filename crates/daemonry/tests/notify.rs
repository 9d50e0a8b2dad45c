//! What is sent to a service manager arrives as it was meant.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use daemonry::{Errno, Error, Step, monotonic_clock, notify};

/// A manager that listens at a path.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("daemonry-notify-{name}-{}", std::process::id()));
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

/// What the manager got, and the descriptors with it.
fn receive(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut buffer = [0; 4096];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(manager.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let mut descriptors = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these for us.
            descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    let length = message.bytes;
    (String::from_utf8(buffer.into_iter().take(length).collect()).unwrap(), descriptors)
}

#[test]
fn a_message_arrives_at_a_path() {
    let manager = Manager::new("path");
    notify(manager.path.as_os_str(), "READY=1\nMAINPID=7", &[]).unwrap();
    assert_eq!(receive(&manager.socket).0, "READY=1\nMAINPID=7");
}

#[cfg(target_os = "linux")]
#[test]
fn a_message_arrives_at_an_abstract_socket() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("daemonry-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    notify(OsStr::new(&format!("@{name}")), "STOPPING=1", &[]).unwrap();
    assert_eq!(receive(&manager).0, "STOPPING=1");
}

#[test]
fn descriptors_go_with_it() {
    let manager = Manager::new("descriptors");
    let (mut reader, writer) = std::io::pipe().unwrap();
    notify(manager.path.as_os_str(), "FDSTORE=1", &[writer.as_raw_fd()]).unwrap();
    drop(writer);
    let (state, descriptors) = receive(&manager.socket);
    assert_eq!(state, "FDSTORE=1");
    for descriptor in descriptors {
        std::fs::File::from(descriptor).write_all(b"kept").unwrap();
    }
    let mut content = String::new();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "kept");
}

#[test]
fn an_address_that_leads_nowhere_is_told() {
    let fails = |address: &OsStr| match notify(address, "READY=1", &[]) {
        Err(Error::System { step: Step::Notify, errno, path }) if path.as_deref() == Some(address.as_ref()) => errno,
        other => panic!("{other:?}"),
    };
    assert_eq!(fails(OsStr::new("/no/such/socket")), Errno::ENOENT);
    assert_eq!(fails(OsStr::new("vsock:2:1234")), Errno::EAFNOSUPPORT);
    assert_eq!(fails(OsStr::new("relative")), Errno::EAFNOSUPPORT);
    assert_eq!(fails(OsStr::new(&format!("/{}", "long".repeat(50)))), Errno::ENAMETOOLONG);
}

#[test]
fn a_manager_that_does_not_listen_is_given_up() {
    let manager = Manager::new("deaf");
    let begun = Instant::now();
    let refused = (0..100_000).find_map(|_| notify(manager.path.as_os_str(), "WATCHDOG=1", &[]).err());
    assert!(matches!(refused, Some(Error::System { errno: Errno::EAGAIN, .. })), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_clock_is_the_kernels() {
    let before = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap();
    assert!(monotonic_clock().unwrap() >= before);
}
