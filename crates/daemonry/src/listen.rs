//! Sockets that are bound before the fork and handed to the daemon, as `sd_listen_fds(3)` describes it.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, UnixAddr, bind, connect, getsockname,
    listen, setsockopt, sockopt,
};
use nix::sys::stat::SFlag;

use crate::error::{Error, Result, Step};
use crate::listen_address::ListenAddress;
use crate::protocol::{DeferredSocket, Findings, RehearsedSocket};
use crate::stdio::Recipient;
use crate::sys;
use crate::trusted_path::{Entry, Obstacle, Trust, locate};
use crate::user::Ids;

/// How many connections wait to be accepted by default, as in Node.
pub const DEFAULT_BACKLOG: i32 = 511;

/// Mode of a Unix socket by default: its owner and group may connect.
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
    made: Option<Made>,
}

/// The file of a Unix socket.
#[derive(Debug)]
enum Made {
    /// Made by this process, for a daemon with this user id.
    Here { entry: Entry, identity: (u64, u64), uid: Option<libc::uid_t> },
    /// Left to the child, which is to have the socket as this descriptor.
    ByChild { path: PathBuf, target: RawFd, uid: libc::uid_t, findings: Arc<Findings> },
}

impl BoundSocket {
    /// Binds and listens. A Unix socket gets `owner` as its user and group.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], which names the address; [`Error::Distrusted`] where another user could exchange what root binds.
    pub fn bind(address: &ListenAddress, owner: Option<&Ids>) -> Result<Self> {
        Self::bind_resolved(address, None, owner)
    }

    /// The same, with what the host name of `address` has been resolved to.
    fn bind_resolved(address: &ListenAddress, resolved: Option<SocketAddr>, owner: Option<&Ids>) -> Result<Self> {
        let failed = |errno| Error::Listen { address: address.clone(), errno };
        match address {
            ListenAddress::Tcp { host, port, ipv6_only, backlog } => {
                let fd = bind_tcp(host.as_deref(), resolved, *port, *ipv6_only).map_err(failed)?;
                start(&fd, *backlog).map_err(failed)?;
                Ok(Self { fd, made: None })
            }
            ListenAddress::Unix { path, mode, backlog } => {
                let recipient = Recipient::with(owner);
                let entry = match way_to(path, recipient).map_err(failed)? {
                    Way::Safe(entry) => entry,
                    Way::Exposed => return Err(Error::distrusted(Step::Listen, path, EXCHANGEABLE)),
                };
                let bound = bind_unix(path, entry, *mode, recipient);
                let bound = bound.map_err(|refusal| refusal.into_error(address, path))?;
                if let Err(errno) = start(&bound.fd, *backlog) {
                    bound.remove();
                    return Err(failed(errno));
                }
                Ok(bound)
            }
        }
    }

    /// One that the launcher has bound and handed over, with the file that it has made for it.
    pub(crate) fn adopt(fd: OwnedFd, path: Option<&Path>) -> Self {
        let made = path.and_then(|path| {
            let entry = Entry::at(path);
            let identity = sys::identity_of(&entry.stat().ok()?);
            Some(Made::Here { entry, identity, uid: Some(nix::unistd::geteuid().as_raw()) })
        });
        Self { fd, made }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        match &self.made {
            Some(Made::ByChild { path, .. }) => Endpoint::Unix(path.clone()),
            _ => endpoint(self.fd.as_raw_fd()),
        }
    }

    /// Removes the file that was made for it, if it is still there, unless its directory is neither root's nor the daemon's user's.
    pub fn remove(&self) {
        match &self.made {
            None => {}
            Some(Made::Here { entry, identity, uid }) => {
                entry.remove(*identity, |owner| owner == 0 || Some(owner) == *uid);
            }
            Some(Made::ByChild { path, target, uid, findings }) => {
                if let (Some(finding), Ok(place)) = (findings.get(*target), locate(path)) {
                    Entry::from(place).remove(finding.identity, |owner| owner == 0 || owner == *uid);
                }
            }
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

/// Whether `listeners` can be bound once the processes `running` have ended, which may listen there now. Nothing is left behind;
/// what is returned is left to the child.
pub(crate) fn rehearse(
    listeners: &[Listener],
    addresses: &[Option<SocketAddr>],
    owner: Option<&Ids>,
    running: &[i32],
) -> Result<Vec<RehearsedSocket>> {
    let recipient = Recipient::with(owner);
    let mut by_child = Vec::new();
    for ((listener, resolved), index) in listeners.iter().zip(addresses).zip(0..) {
        let Source::Address(address) = &listener.source else { continue };
        let failed = |errno| Error::Listen { address: address.clone(), errno };
        match address {
            ListenAddress::Tcp { host, port, ipv6_only, .. } => {
                match bind_tcp(host.as_deref(), *resolved, *port, *ipv6_only) {
                    Err(Errno::EADDRINUSE) if !is_others(&tcp_listeners(address, *resolved), running) => {}
                    tried => tried.map(drop).map_err(failed)?,
                }
            }
            ListenAddress::Unix { path, .. } => match way_to(path, recipient).map_err(failed)? {
                Way::Safe(entry) => {
                    let rehearsed = rehearse_unix(path, &entry, recipient, running);
                    rehearsed.map_err(|refusal| refusal.into_error(address, path))?;
                }
                Way::Exposed if matches!(recipient, Recipient::User(_)) => {
                    UnixAddr::new(path).map_err(failed)?;
                    let directory = path.parent().unwrap_or(Path::new("")).join(".");
                    let text =
                        |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL));
                    by_child.push(RehearsedSocket { directory: text(&directory)?, path: text(path)?, index });
                }
                Way::Exposed => return Err(Error::distrusted(Step::Listen, path, EXCHANGEABLE)),
            },
        }
    }
    Ok(by_child)
}

fn rehearse_unix(
    path: &Path,
    entry: &Entry,
    recipient: Recipient<'_>,
    running: &[i32],
) -> std::result::Result<(), Refusal> {
    let address = UnixAddr::new(path)?;
    entry.may_change()?;
    match occupant(entry, &address, recipient)? {
        Occupant::Listener if is_others(&sys::unix_listeners(path), running) => Err(Errno::EADDRINUSE.into()),
        Occupant::Nothing | Occupant::Abandoned(_) | Occupant::Listener => Ok(()),
    }
}

/// The sockets that listen where a TCP address would be bound.
fn tcp_listeners(address: &ListenAddress, resolved: Option<SocketAddr>) -> Vec<u64> {
    let ListenAddress::Tcp { host, port, .. } = address else { return Vec::new() };
    let wanted = resolved.map(|address| address.ip()).or_else(|| host.as_deref()?.parse().ok());
    let is_there = |bound: IpAddr| {
        bound.is_unspecified()
            || wanted.is_none_or(|wanted| wanted.is_unspecified() || wanted.to_canonical() == bound.to_canonical())
    };
    sys::tcp_listeners(*port).into_iter().filter(|(bound, _)| is_there(*bound)).map(|(_, socket)| socket).collect()
}

/// Whether none of these sockets, if there are any, is one of the processes `running`. False where that cannot be seen.
fn is_others(sockets: &[u64], running: &[i32]) -> bool {
    let open: Option<Vec<_>> = running.iter().map(|pid| sys::sockets_of(*pid)).collect();
    let is_held = |open: Vec<Vec<u64>>| open.iter().flatten().any(|socket| sockets.contains(socket));
    !sockets.is_empty() && open.is_some_and(|open| !is_held(open))
}

fn bind_tcp(host: Option<&str>, resolved: Option<SocketAddr>, port: u16, ipv6_only: bool) -> nix::Result<OwnedFd> {
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
    bind_address(resolved.map_or_else(|| look_up(host, port), Ok)?, ipv6_only)
}

/// The first address of a host name, or the address itself.
fn look_up(host: &str, port: u16) -> nix::Result<SocketAddr> {
    // The resolver's own errors have no errno.
    let mut addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| error.raw_os_error().map_or(Errno::EADDRNOTAVAIL, Errno::from_raw))?;
    addresses.next().ok_or(Errno::EADDRNOTAVAIL)
}

/// The host and the port, where the resolver has to be asked for the address.
pub(crate) fn host_name(source: &Source) -> Option<(&str, u16)> {
    match source {
        Source::Address(ListenAddress::Tcp { host: Some(host), port, .. }) if host.parse::<IpAddr>().is_err() => {
            Some((host, *port))
        }
        _ => None,
    }
}

/// Resolves the host names among `listeners`, in their order. The resolver can hang for minutes, so each name has a thread of
/// its own, which is left alone when `limit` has passed or `wait`, which waits until a descriptor is readable or a deadline has
/// passed, was interrupted.
pub(crate) fn resolve(
    listeners: &[Listener],
    limit: Duration,
    wait: &dyn Fn(BorrowedFd<'_>, Instant) -> Result<bool>,
) -> Result<Vec<Option<SocketAddr>>> {
    let deadline = sys::deadline_after(limit);
    let one = |listener: &Listener| {
        let (Some((host, port)), Source::Address(address)) = (host_name(&listener.source), &listener.source) else {
            return Ok(None);
        };
        let (end, closed_at_end) = sys::pipe().map_err(|errno| Error::system(Step::OpenPipe, errno))?;
        let (answer, answered) = mpsc::channel();
        let host = host.to_owned();
        let work = move || {
            // A launcher that has given up does not hear it.
            let _unheard = answer.send(look_up(&host, port));
            drop(closed_at_end);
        };
        thread::Builder::new().name("daemonry-resolve".into()).spawn(work).map_err(Error::io(Step::Listen))?;
        if !wait(end.as_fd(), deadline)? {
            return Err(Error::ResolveTimeout { address: address.clone(), limit });
        }
        let found = answered.try_recv().unwrap_or(Err(Errno::EADDRNOTAVAIL));
        found.map(Some).map_err(|errno| Error::Listen { address: address.clone(), errno })
    };
    listeners.iter().map(one).collect()
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

/// Why root does not bind a socket: `bind(2)` takes a path, and no directory.
const EXCHANGEABLE: &str = "another user could exchange a directory on the way there while root binds the socket";

/// The way to a Unix socket.
enum Way {
    /// Only the daemon's user and root can make it lead elsewhere.
    Safe(Entry),
    /// Another user can.
    Exposed,
}

fn way_to(path: &Path, recipient: Recipient<'_>) -> nix::Result<Way> {
    if let Recipient::Equal(_) = recipient {
        return Ok(Way::Safe(Entry::at(path)));
    }
    match locate(path) {
        Ok(place) if place.directory.trust() == Trust::Others => Ok(Way::Exposed),
        // The kernel follows no link in the place of a socket, and finds the name taken.
        Ok(place) if place.is_behind_link => Err(Errno::EADDRINUSE),
        Ok(place) => Ok(Way::Safe(place.into())),
        Err(Obstacle { errno: Errno::ELOOP, .. }) => Ok(Way::Exposed),
        Err(obstacle) => Err(obstacle.errno),
    }
}

/// Why a Unix socket could not be bound.
enum Refusal {
    Failed(Errno),
    /// A socket of this user is there.
    Stranger(libc::uid_t),
}

impl Refusal {
    fn into_error(self, address: &ListenAddress, path: &Path) -> Error {
        match self {
            Self::Failed(errno) => Error::Listen { address: address.clone(), errno },
            Self::Stranger(uid) => Error::stranger(Step::Listen, path, uid),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

fn bind_unix(
    path: &Path,
    entry: Entry,
    mode: u32,
    recipient: Recipient<'_>,
) -> std::result::Result<BoundSocket, Refusal> {
    let address = UnixAddr::new(path)?;
    let fd = sys::socket(AddressFamily::Unix, SockType::Stream)?;
    match bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            match occupant(&entry, &address, recipient)? {
                Occupant::Nothing => {}
                Occupant::Abandoned(identity) => entry.remove(identity, |_| true),
                Occupant::Listener => return Err(Errno::EADDRINUSE.into()),
            }
            bind(fd.as_raw_fd(), &address)?;
        }
        bound => bound?,
    }
    let identity = sys::identity_of(&entry.stat()?);
    let owner = recipient.owner().map(|ids| (ids.uid, ids.gid));
    let uid = owner.map(|(uid, _)| uid);
    // Before listen: until then no process can connect, whatever the umask has left of the mode.
    let arranged = sys::arrange_socket(entry.directory(), entry.name(), sys::file_mode(mode), owner);
    let bound = BoundSocket { fd, made: Some(Made::Here { entry, identity, uid }) };
    if let Err(errno) = arranged {
        bound.remove();
        return Err(errno.into());
    }
    Ok(bound)
}

/// What is in the place of a socket.
enum Occupant {
    Nothing,
    /// A socket on which no process listens any more, by device and inode.
    Abandoned((u64, u64)),
    /// A socket on which a process listens.
    Listener,
}

/// What is in the place of a socket; `EADDRINUSE` if it is no socket.
fn occupant(entry: &Entry, address: &UnixAddr, recipient: Recipient<'_>) -> std::result::Result<Occupant, Refusal> {
    let stat = match entry.stat() {
        Err(Errno::ENOENT) => return Ok(Occupant::Nothing),
        stat => stat?,
    };
    if sys::kind_of(&stat) != SFlag::S_IFSOCK {
        return Err(Errno::EADDRINUSE.into());
    }
    // Where root alone can change anything, it is root's to remove, whichever user it was made for.
    if entry.trust() != Some(Trust::Alone) && !recipient.may_use(stat.st_uid) {
        return Err(Refusal::Stranger(stat.st_uid));
    }
    // Of another type: a process that listens there does not get a connection, and EPROTOTYPE says that it is there.
    let probe = sys::socket(AddressFamily::Unix, SockType::Datagram)?;
    Ok(match connect(probe.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => Occupant::Abandoned(sys::identity_of(&stat)),
        _ => Occupant::Listener,
    })
}

fn start(socket: &OwnedFd, backlog: i32) -> nix::Result<()> {
    listen(&socket.as_fd(), Backlog::new(backlog.clamp(0, libc::SOMAXCONN))?)
}

/// Opens the sockets of a plan, in its order; what is returned is left to the child. The first one is to have the descriptor
/// `first`.
pub(crate) fn open(
    listeners: &[Listener],
    resolved: &[Option<SocketAddr>],
    owner: Option<&Ids>,
    first: RawFd,
    findings: &Arc<Findings>,
    sockets: &mut Vec<BoundSocket>,
) -> Result<Vec<DeferredSocket>> {
    let mut deferred = Vec::new();
    for ((listener, resolved), target) in listeners.iter().zip(resolved).zip(first..) {
        let address = match &listener.source {
            Source::Address(address) => address,
            Source::Descriptor(fd) => {
                let fd = sys::duplicate_number(*fd).map_err(|errno| Error::system(Step::Listen, errno))?;
                sockets.push(BoundSocket { fd, made: None });
                continue;
            }
        };
        if let (ListenAddress::Unix { path, mode, backlog }, Recipient::User(ids)) = (address, Recipient::with(owner)) {
            let failed = |errno| Error::Listen { address: address.clone(), errno };
            if let Way::Exposed = way_to(path, Recipient::User(ids)).map_err(failed)? {
                deferred.push(DeferredSocket {
                    path: CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?,
                    address: UnixAddr::new(path).map_err(failed)?,
                    mode: sys::file_mode(*mode).bits(),
                    backlog: (*backlog).clamp(0, libc::SOMAXCONN),
                    target,
                    index: u8::try_from(sockets.len()).unwrap_or(u8::MAX),
                });
                let fd = sys::socket(AddressFamily::Unix, SockType::Stream).map_err(failed)?;
                let (path, uid, findings) = (path.clone(), ids.uid, Arc::clone(findings));
                sockets.push(BoundSocket { fd, made: Some(Made::ByChild { path, target, uid, findings }) });
                continue;
            }
        }
        sockets.push(BoundSocket::bind_resolved(address, *resolved, owner)?);
    }
    Ok(deferred)
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
