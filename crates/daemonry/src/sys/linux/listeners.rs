//! The sockets that listen on this machine, and whose they are: `/proc`.

use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::process::facts_in_stat;

/// The TCP sockets that listen on a port: the address and the number of each (`proc_pid_net(5)`).
pub(crate) fn tcp_listeners(port: u16) -> Vec<(IpAddr, u64)> {
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")));
    tables.iter().flatten().flat_map(|table| table.lines()).filter_map(|line| tcp_listener(line, port)).collect()
}

fn tcp_listener(line: &str, wanted: u16) -> Option<(IpAddr, u64)> {
    const LISTENING: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let is_wanted = u16::from_str_radix(port, 16).ok()? == wanted && fields.nth(1)? == LISTENING;
    let socket = fields.nth(5)?.parse().ok()?;
    is_wanted.then_some((tcp_address(address)?, socket))
}

/// An address in its table: words of the machine's own byte order.
fn tcp_address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let four = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
}

/// The numbers of the Unix sockets that listen and were bound by this path.
pub(crate) fn unix_listeners(path: &Path) -> Vec<u64> {
    let table = fs::read("/proc/thread-self/net/unix").unwrap_or_default();
    table.split(|byte| *byte == b'\n').filter_map(|line| unix_listener(line, path)).collect()
}

fn unix_listener(line: &[u8], path: &Path) -> Option<u64> {
    const ACCEPTS: &str = "00010000";
    let fields = std::str::from_utf8(line.strip_suffix(path.as_os_str().as_bytes())?).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    let (flags, socket) = (fields.nth(3)?, fields.nth(2)?);
    // Otherwise its path only ends like this one.
    let is_whole = fields.next().is_none();
    (is_whole && flags == ACCEPTS).then(|| socket.parse().ok()).flatten()
}

/// The numbers of the sockets that a process has open; `None` where they may not be seen, or it has ended meanwhile.
pub(crate) fn sockets_of(pid: i32) -> Option<Vec<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let number = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let sockets = entries.flatten().filter_map(|entry| number(fs::read_link(entry.path()).ok()?)).collect();
    facts_in_stat(pid).is_some_and(|(_, is_exiting)| !is_exiting).then_some(sockets)
}
