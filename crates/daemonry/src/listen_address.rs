//! What a socket is bound to.

use std::fmt;
use std::path::PathBuf;

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp {
        /// An address or a host name, of which the first address counts. `None`: every address, of IPv6 and IPv4 where the
        /// machine has both.
        host: Option<String>,
        /// 0 lets the kernel choose.
        port: u16,
        /// An IPv6 socket that takes no IPv4 connections.
        ipv6_only: bool,
        /// How many connections wait to be accepted; the kernel has a limit of its own (listen(2)).
        backlog: i32,
    },
    /// A socket in the file system. A socket in its place on which no process listens is replaced.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Exactly this mode, whatever the umask.
        mode: u32,
        /// As above.
        backlog: i32,
    },
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port, .. } => write!(f, "port {port}"),
            Self::Tcp { host: Some(host), port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host: Some(host), port, .. } => write!(f, "{host}:{port}"),
            Self::Unix { path, .. } => path.display().fmt(f),
        }
    }
}
