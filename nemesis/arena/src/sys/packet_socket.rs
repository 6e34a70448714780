//! AF_PACKET sockets: every IPv4 frame that arrives at one interface, and frames put out through it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How much the kernel should hold for us between two looks at the socket, in bytes. It doubles the figure and
/// caps it at net.core.rmem_max; going past the cap needs a right that an unprivileged user never has.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// Opens a packet socket on interface `index` of the calling thread's network namespace.
///
/// Reads and writes never block and carry one Ethernet frame each, behind an offload header as on a TUN file.
///
/// # Errors
/// Any error of socket(2), setsockopt(2) and bind(2).
pub fn open(index: i32) -> io::Result<File> {
    let protocol = (libc::ETH_P_IP as u16).to_be();
    // SAFETY: socket takes plain integers. Protocol 0 receives nothing until the bind below names one, so no
    // frame of another interface can slip in between.
    let socket = unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
    };
    if socket == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned by the kernel, is open, and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;

    // SAFETY: sockaddr_ll is plain old data, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = protocol;
    address.sll_ifindex = index;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a sockaddr_ll of the length given, which bind only reads.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == -1 { Err(io::Error::last_os_error()) } else { Ok(File::from(socket)) }
}

fn set_option(socket: &OwnedFd, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to an int of the length given, which setsockopt only reads.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if set == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
