//! Sockets that are bound before the fork and handed to the daemon, as `sd_listen_fds(3)` describes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::socket::{AddressFamily, Backlog, SockaddrIn, SockaddrIn6, SockaddrStorage, UnixAddr};
use nix::sys::socket::{SockType, bind, connect, getsockname, listen, setsockopt, sockopt};
use nix::sys::stat::{SFlag, lstat};

use crate::error::{Error, Result, Step};
use crate::ids::Ids;
use crate::sys;

/// How many connections wait to be accepted unless told otherwise, as in Node.
pub const DEFAULT_BACKLOG: i32 = 511;

/// Mode of a Unix socket unless told otherwise: its owner and group may connect.
pub const DEFAULT_SOCKET_MODE: u32 = 0o660;

/// A socket to hand to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What `LISTEN_FDNAMES` calls it. No colons, no control characters.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a socket comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An open descriptor of the launcher, which keeps it.
    Descriptor(RawFd),
    /// To be bound.
    Address(ListenAddress),
}

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
    /// A socket in the file system. One that is left there and on which nobody listens is replaced.
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

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// With the port that the kernel has chosen.
    Tcp(SocketAddr),
    /// In the file system.
    Unix(PathBuf),
    /// Something else, such as an abstract Unix socket.
    Other,
}

/// A socket that listens.
#[derive(Debug)]
pub struct BoundSocket {
    /// The socket, closed on exec.
    pub fd: OwnedFd,
    /// The file that was made for it, as device and inode.
    made: Option<(PathBuf, (u64, u64))>,
}

impl BoundSocket {
    /// Binds and listens. A Unix socket gets `owner` as its user and group.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], which names the address.
    pub fn bind(address: &ListenAddress, owner: Option<&Ids>) -> Result<Self> {
        let failed = |errno| Error::Listen { address: address.clone(), errno };
        match address {
            ListenAddress::Tcp { host, port, ipv6_only, backlog } => {
                let fd = bind_tcp(host.as_deref(), *port, *ipv6_only).map_err(failed)?;
                start(&fd, *backlog).map_err(failed)?;
                Ok(Self { fd, made: None })
            }
            ListenAddress::Unix { path, mode, backlog } => {
                let bound = bind_unix(path, *mode, owner).map_err(failed)?;
                if let Err(errno) = start(&bound.fd, *backlog) {
                    bound.remove();
                    return Err(failed(errno));
                }
                Ok(bound)
            }
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        endpoint(self.fd.as_raw_fd())
    }

    /// Removes the file that was made for it, if it is still there.
    pub fn remove(&self) {
        if let Some((path, identity)) = &self.made
            && lstat(path).is_ok_and(|stat| sys::identity_of(&stat) == *identity)
        {
            let _left_behind = nix::unistd::unlink(path);
        }
    }
}

/// Where the socket behind a descriptor listens.
pub fn endpoint(socket: RawFd) -> Endpoint {
    let Ok(address) = getsockname::<SockaddrStorage>(socket) else { return Endpoint::Other };
    if let Some(address) = address.as_sockaddr_in() {
        return Endpoint::Tcp(SocketAddr::new(IpAddr::V4(address.ip()), address.port()));
    }
    if let Some(address) = address.as_sockaddr_in6() {
        return Endpoint::Tcp(SocketAddr::new(IpAddr::V6(address.ip()), address.port()));
    }
    address.as_unix_addr().and_then(UnixAddr::path).map_or(Endpoint::Other, |path| Endpoint::Unix(path.to_owned()))
}

/// Takes `count` sockets that were handed over from descriptor `first` on: nothing that this process executes gets them. False
/// where one is not open or no socket.
pub fn take_sockets(first: RawFd, count: u32) -> bool {
    (0..count).all(|index| {
        let Some(fd) = RawFd::try_from(index).ok().and_then(|index| first.checked_add(index)) else { return false };
        let is_socket = sys::duplicate_number(fd)
            .and_then(nix::sys::stat::fstat)
            .is_ok_and(|stat| sys::kind_of(&stat) == SFlag::S_IFSOCK);
        is_socket && sys::close_on_exec(fd).is_ok()
    })
}

fn bind_tcp(host: Option<&str>, port: u16, ipv6_only: bool) -> nix::Result<OwnedFd> {
    let Some(host) = host else {
        let every = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        return match bind_address(every, ipv6_only) {
            // A machine without IPv6.
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if !ipv6_only => {
                bind_address(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), false)
            }
            bound => bound,
        };
    };
    // The resolver's own errors have no errno.
    let mut addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| error.raw_os_error().map_or(Errno::EADDRNOTAVAIL, Errno::from_raw))?;
    bind_address(addresses.next().ok_or(Errno::EADDRNOTAVAIL)?, ipv6_only)
}

fn bind_address(address: SocketAddr, ipv6_only: bool) -> nix::Result<OwnedFd> {
    match address {
        SocketAddr::V4(address) => {
            let socket = sys::socket(AddressFamily::Inet, SockType::Stream)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
            Ok(socket)
        }
        SocketAddr::V6(address) => {
            let socket = sys::socket(AddressFamily::Inet6, SockType::Stream)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            // The kernel's default can be changed by sysctl.
            setsockopt(&socket, sockopt::Ipv6V6Only, &ipv6_only)?;
            bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?;
            Ok(socket)
        }
    }
}

fn bind_unix(path: &Path, mode: u32, owner: Option<&Ids>) -> nix::Result<BoundSocket> {
    let address = UnixAddr::new(path)?;
    let fd = sys::socket(AddressFamily::Unix, SockType::Stream)?;
    match bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) if is_abandoned(path, &address)? => {
            match nix::unistd::unlink(path) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
            bind(fd.as_raw_fd(), &address)?;
        }
        bound => bound?,
    }
    let file = (path.to_owned(), sys::identity_of(&lstat(path)?));
    let bound = BoundSocket { fd, made: Some(file) };
    // Before listen: until then nobody can connect, whatever the umask has left of the mode.
    if let Err(errno) = sys::arrange_socket(path, sys::file_mode(mode), owner) {
        bound.remove();
        return Err(errno);
    }
    Ok(bound)
}

/// Whether there is a socket at `path` on which nobody listens any more.
fn is_abandoned(path: &Path, address: &UnixAddr) -> nix::Result<bool> {
    let stat = match lstat(path) {
        Err(Errno::ENOENT) => return Ok(true),
        stat => stat?,
    };
    if sys::kind_of(&stat) != SFlag::S_IFSOCK {
        return Ok(false);
    }
    let probe = sys::socket(AddressFamily::Unix, SockType::Stream)?;
    // A listener with a full queue must not block the launcher.
    nix::fcntl::fcntl(&probe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(connect(probe.as_raw_fd(), address) == Err(Errno::ECONNREFUSED))
}

fn start(socket: &OwnedFd, backlog: i32) -> nix::Result<()> {
    listen(&socket.as_fd(), Backlog::new(backlog.clamp(0, libc::SOMAXCONN))?)
}

/// Opens the sockets of a plan, in its order.
pub(crate) fn open(listeners: &[Listener], owner: Option<&Ids>, sockets: &mut Vec<BoundSocket>) -> Result<()> {
    for listener in listeners {
        sockets.push(match &listener.source {
            Source::Address(address) => BoundSocket::bind(address, owner)?,
            Source::Descriptor(fd) => sys::duplicate_number(*fd)
                .map(|fd| BoundSocket { fd, made: None })
                .map_err(|errno| Error::system(Step::Listen, errno))?,
        });
    }
    Ok(())
}

/// Names for `LISTEN_FDNAMES`, in which a colon separates.
pub(crate) fn check(listeners: &[Listener]) -> Result<()> {
    let is_fit = |name: &str| {
        !name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
    };
    match listeners.iter().find(|listener| !is_fit(&listener.name)) {
        Some(Listener { name, .. }) => Err(Error::InvalidPlan(format!(
            "{name:?} cannot be a socket's name: letters, digits and punctuation but ':'"
        ))),
        None => Ok(()),
    }
}
