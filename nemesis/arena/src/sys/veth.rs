//! Veth pairs, made by one request over rtnetlink(7).
//!
//! By hand: a netlink library would take a thirtieth of the program's whole time to build, and an asynchronous
//! runtime here, for this one request.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const MESSAGE_HEADER: usize = 16;
/// `VETH_INFO_PEER` of linux/veth.h.
const PEER: u16 = 1;

/// Makes a veth pair: `near` in the calling thread's network namespace, and `far` in the namespace `far_side`.
/// Names have at most 15 bytes.
///
/// # Errors
/// The kernel's own, as when a name is taken or the caller may not make interfaces.
pub fn make(near: &str, far: &str, far_side: BorrowedFd<'_>) -> io::Result<()> {
    let peer = [
        INTERFACE_OF_NO_NUMBER.to_vec(),
        attribute(libc::IFLA_IFNAME, &terminated(far)),
        attribute(libc::IFLA_NET_NS_FD, &far_side.as_raw_fd().to_ne_bytes()),
    ]
    .concat();
    let kind =
        [attribute(libc::IFLA_INFO_KIND, b"veth"), attribute(libc::IFLA_INFO_DATA, &attribute(PEER, &peer))]
            .concat();
    let link = [
        INTERFACE_OF_NO_NUMBER.to_vec(),
        attribute(libc::IFLA_IFNAME, &terminated(near)),
        attribute(libc::IFLA_LINKINFO, &kind),
    ]
    .concat();
    request(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &link)
}

/// `struct ifinfomsg`, all zeroes: the kernel chooses the number of the new interface.
const INTERFACE_OF_NO_NUMBER: [u8; 16] = [0; 16];

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

/// `struct rtattr`: length, type, content, padded to four bytes.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = 4 + content.len() as u16;
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend_from_slice(content);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Sends one request to the kernel, which answers on the same system call, and reads its acknowledgement.
fn request(kind: u16, flags: libc::c_int, content: &[u8]) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    let mut message = ((MESSAGE_HEADER + content.len()) as u32).to_ne_bytes().to_vec();
    message.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    message.extend([0; 8]);
    message.extend_from_slice(content);
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    let mut answer = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // An acknowledgement is a message of type NLMSG_ERROR whose first word is 0, or the error, negated.
    let of_type = answer[4..6] == (libc::NLMSG_ERROR as u16).to_ne_bytes();
    match answer[..length].get(MESSAGE_HEADER..MESSAGE_HEADER + 4).and_then(|word| word.try_into().ok()) {
        Some(word) if of_type => match i32::from_ne_bytes(word) {
            0 => Ok(()),
            negated => Err(Errno::from_raw(-negated).into()),
        },
        _ => {
            Err(io::Error::other("the kernel answered a netlink request with something else than yes or no"))
        }
    }
}
