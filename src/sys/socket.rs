//! Connects sockets and waits for them. The only other place that knows a descriptor's number is `file`.
//!
//! No descriptor is below 3, and none blocks.

use std::ffi::c_int;
use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::file;

/// Above the standard streams, which a host may have closed.
const LEAST: c_int = 3;
/// The pause before a server without room for a further connection is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// How long sent bytes may stay without an acknowledgement.
const UNACKNOWLEDGED: c_int = 10_000;

/// The number of its descriptor.
pub fn number(socket: &TcpStream) -> c_int {
    socket.as_raw_fd()
}

/// A connection to an address, made before the deadline.
pub fn connect(address: &SocketAddr, deadline: Instant) -> Result<TcpStream> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    let socket = moved_up(TcpStream::connect_timeout(address, left)?)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    // A server that vanished is noticed, even while nothing is sent.
    for (level, option, value) in [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 30),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 10),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, UNACKNOWLEDGED),
    ] {
        let len = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
        // SAFETY: an open socket, and an integer of that length.
        unsafe { libc::setsockopt(number(&socket), level, option, (&raw const value).cast(), len) };
    }
    Ok(socket)
}

/// Likewise to a socket of this host.
pub fn connect_local(path: &Path, deadline: Instant) -> Result<TcpStream> {
    // SAFETY: zeros are an address without a name.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX.try_into().map_err(|_| ErrorKind::Unsupported)?;
    let name = path.as_os_str().as_bytes();
    let Some(room) = address.sun_path.get_mut(..name.len()).filter(|_| name.len() < 108) else {
        return Err(ErrorKind::InvalidFilename.into());
    };
    for (place, byte) in room.iter_mut().zip(name) {
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: makes a socket; the result is checked.
    let made = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if made < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: a socket that was just made. What is called of a `TcpStream` from here on, any stream socket has.
    let socket = moved_up(unsafe { TcpStream::from_raw_fd(made) })?;
    let len = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    loop {
        // SAFETY: an open socket, and an address of that length.
        if unsafe { libc::connect(number(&socket), (&raw const address).cast(), len) } == 0 {
            return Ok(socket);
        }
        match Error::last_os_error() {
            // The server's queue is full.
            e if e.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => super::sync::sleep(RETRY),
            e if e.kind() == ErrorKind::Interrupted => {}
            e => return Err(e),
        }
    }
}

fn moved_up(socket: TcpStream) -> Result<TcpStream> {
    if number(&socket) >= LEAST {
        return Ok(socket);
    }
    let moved = file::moved_up(socket.into_raw_fd(), LEAST)?;
    // SAFETY: the only descriptor of the socket.
    Ok(unsafe { TcpStream::from_raw_fd(moved) })
}

/// Waits until a socket can be read, or also written where `or_written`, or the time is up.
pub fn wait(socket: &TcpStream, or_written: bool, time: Duration) -> Result<()> {
    let events = if or_written { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
    let mut entry = libc::pollfd { fd: number(socket), events, revents: 0 };
    // Rounded up, so that no caller polls repeatedly for the rest of a millisecond.
    let millis = i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: one valid entry for the call to fill.
    match unsafe { libc::poll(&raw mut entry, 1, millis) } {
        -1 => match Error::last_os_error() {
            // The caller checks again.
            e if e.kind() == ErrorKind::Interrupted => Ok(()),
            e => Err(e),
        },
        _ => Ok(()),
    }
}
