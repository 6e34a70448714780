//! Ports: how a host is attached to the switch.
//!
//! Both kinds give the switch a file that carries one packet a read or write, behind an offload header, so that
//! TCP data passes in units of up to 64 KiB instead of single segments.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};

use crate::sys::interface::{Interface, Neighbours};
use crate::sys::{packet_socket, procfs, tun, veth};

/// The name of a host's interface, inside the host.
const INTERFACE: &str = "eth0";
const MTU: u16 = 1500;
const PREFIX: u8 = 24;
/// Bytes of Ethernet in front of the IP packet on a packet port.
const ETHERNET_HEADER: usize = 14;
/// The hardware address of *every* host on packet ports. Hosts do not resolve neighbours, so they send to the
/// address they have themselves; since all have the same one, the switch may forward frames untouched.
const HARDWARE_ADDRESS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// The two ways of attaching a host to the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortKind {
    /// A TUN device: the fastest, but needs /dev/net/tun.
    Tun,
    /// A veth pair whose far end the switch reads through AF_PACKET: needs no device node.
    Packet,
}

impl PortKind {
    /// Returns the better kind that works here, found by trying to make a TUN device. Call it inside the
    /// namespaces.
    ///
    /// # Errors
    /// When no network namespace can be made to try it in.
    pub fn best() -> io::Result<Self> {
        let tried = in_new_namespace(|| Ok(tun::open(INTERFACE).is_ok()))?;
        Ok(if tried { Self::Tun } else { Self::Packet })
    }
}

/// The switch's end of a port.
#[derive(Debug)]
pub struct Port {
    /// Non-blocking; a packet a read or write.
    pub file: File,
    /// Bytes between the offload header and the IP header.
    pub link_header: usize,
}

/// Makes ports of one kind.
pub struct Workshop {
    /// The namespace of the far ends of veth pairs. It goes, and they with it, when the last port is closed.
    switch_side: Option<OwnedFd>,
}

impl Workshop {
    /// Prepares what ports of `kind` have in common.
    pub fn open(kind: PortKind) -> io::Result<Self> {
        let switch_side = match kind {
            PortKind::Tun => None,
            PortKind::Packet => Some(in_new_namespace(|| Ok(procfs::own_network_namespace()?.0.into()))?),
        };
        Ok(Self { switch_side })
    }

    /// Furnishes the calling thread's network namespace with an interface at `address`. The thread may be left
    /// in another namespace and must end soon.
    pub fn attach(&self, address: Ipv4Addr) -> io::Result<Port> {
        match &self.switch_side {
            None => attach_tun(address),
            Some(switch_side) => attach_veth(address, switch_side),
        }
    }
}

/// Runs `furnish` on a thread of its own in a new network namespace.
///
/// A thread of its own, because a thread that has entered a namespace must find its way back, and one that is
/// about to end need not.
pub fn in_new_namespace<T: Send>(furnish: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let work = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        furnish()
    };
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn attach_tun(address: Ipv4Addr) -> io::Result<Port> {
    let file = tun::open(INTERFACE)?;
    let interface = Interface::named(INTERFACE)?;
    interface.set_mtu(MTU)?;
    interface.set_address(address, PREFIX)?;
    interface.raise(Neighbours::Default)?;
    Ok(Port { file, link_header: 0 })
}

fn attach_veth(address: Ipv4Addr, switch_side: &OwnedFd) -> io::Result<Port> {
    // The far end is named after the host's address: all far ends share one namespace.
    let far_end = format!("port{}", address.octets()[3]);
    veth::make(INTERFACE, &far_end, switch_side.as_fd())?;
    let interface = Interface::named(INTERFACE)?;
    interface.set_hardware_address(HARDWARE_ADDRESS)?;
    interface.set_mtu(MTU)?;
    interface.set_address(address, PREFIX)?;
    interface.raise(Neighbours::Unresolved)?;

    setns(switch_side, CloneFlags::CLONE_NEWNET)?;
    let far_end = Interface::named(&far_end)?;
    far_end.set_mtu(MTU)?;
    far_end.raise(Neighbours::Unresolved)?;
    interface.settle()?;
    far_end.settle()?;
    Ok(Port { file: packet_socket::open(far_end.index()?)?, link_header: ETHERNET_HEADER })
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
