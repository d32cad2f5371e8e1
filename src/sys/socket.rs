//! Waits for a socket. The only other place that knows a descriptor's number is `file`.

use std::ffi::c_int;
use std::io::{Error, Result};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The number of its descriptor.
pub fn number(socket: &TcpStream) -> c_int {
    socket.as_raw_fd()
}

/// Waits until a socket can be read, or also written where `or_written`, or the time is up.
pub fn wait(socket: &TcpStream, or_written: bool, time: Duration) -> Result<()> {
    let events = if or_written { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
    let mut entry = libc::pollfd { fd: number(socket), events, revents: 0 };
    // Rounded up, so that nobody asks again and again for the rest of a millisecond.
    let millis = i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: one valid entry for the call to fill.
    match unsafe { libc::poll(&raw mut entry, 1, millis) } {
        -1 => match Error::last_os_error() {
            // The caller looks again.
            e if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            e => Err(e),
        },
        _ => Ok(()),
    }
}
