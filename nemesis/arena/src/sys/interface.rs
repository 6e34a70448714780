//! A network interface of the calling thread's namespace, configured by ioctl.
//!
//! ioctl rather than netlink: a handful of fixed requests, no runtime, and about a millisecond a host.

use std::io;
use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// A handle on one interface, bound to the network namespace in which it was opened.
pub struct Interface {
    control: UdpSocket,
    name: [libc::c_char; libc::IFNAMSIZ],
}

/// Whether the interface resolves neighbours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// The interface's own default (ARP on Ethernet, none on TUN).
    Default,
    /// Never: every neighbour is taken to have the interface's own hardware address.
    Unresolved,
}

impl Interface {
    /// Opens the interface called `name` (at most 15 bytes) in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the name is too long or no socket can be opened. Whether the interface exists shows at first use.
    pub fn named(name: &str) -> io::Result<Self> {
        let control = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        Ok(Self { control, name: interface_name(name)? })
    }

    /// Gives the interface one address with a prefix length, and with it the connected route.
    pub fn set_address(&self, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0));
        self.request(libc::SIOCSIFADDR, libc::__c_anonymous_ifr_ifru { ifru_addr: socket_address(address) })?;
        self.request(
            libc::SIOCSIFNETMASK,
            libc::__c_anonymous_ifr_ifru { ifru_netmask: socket_address(mask) },
        )?;
        Ok(())
    }

    /// Sets the maximum transmission unit, in bytes.
    pub fn set_mtu(&self, bytes: u16) -> io::Result<()> {
        let request = libc::__c_anonymous_ifr_ifru { ifru_mtu: i32::from(bytes) };
        self.request(libc::SIOCSIFMTU, request).map(drop)
    }

    /// Sets the Ethernet address.
    pub fn set_hardware_address(&self, address: [u8; 6]) -> io::Result<()> {
        // SAFETY: sockaddr is plain old data, for which all zeroes is a valid value.
        let mut hardware: libc::sockaddr = unsafe { std::mem::zeroed() };
        hardware.sa_family = libc::ARPHRD_ETHER;
        for (to, from) in hardware.sa_data.iter_mut().zip(address) {
            *to = from.cast_signed();
        }
        self.request(libc::SIOCSIFHWADDR, libc::__c_anonymous_ifr_ifru { ifru_hwaddr: hardware }).map(drop)
    }

    /// Brings the interface up.
    pub fn raise(&self, neighbours: Neighbours) -> io::Result<()> {
        let current = self.request(libc::SIOCGIFFLAGS, libc::__c_anonymous_ifr_ifru { ifru_flags: 0 })?;
        // SAFETY: SIOCGIFFLAGS succeeded, so the kernel wrote the flags member of the union.
        let mut flags = i32::from(unsafe { current.ifru_flags }) | libc::IFF_UP;
        if neighbours == Neighbours::Unresolved {
            flags |= libc::IFF_NOARP;
        }
        // The flags that ioctl can set are the low 16 bits; the truncation is the interface's own.
        let request = libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short };
        self.request(libc::SIOCSIFFLAGS, request).map(drop)
    }

    /// Puts a change of the link into force that the kernel would carry out later: an interface that was
    /// raised before its far end would drop packets sent through it until then.
    ///
    /// # Errors
    /// `NotConnected` when the link is down; otherwise any error of the ioctl.
    pub fn settle(&self) -> io::Result<()> {
        let mut query = LinkQuery { command: GET_LINK, up: 0 };
        self.request(libc::SIOCETHTOOL, libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut query).cast() })?;
        match query.up {
            0 => Err(io::Error::new(io::ErrorKind::NotConnected, "the link is down")),
            _ => Ok(()),
        }
    }

    /// Returns the interface's index in its namespace.
    pub fn index(&self) -> io::Result<i32> {
        let reply = self.request(libc::SIOCGIFINDEX, libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 })?;
        // SAFETY: SIOCGIFINDEX succeeded, so the kernel wrote the index member of the union.
        Ok(unsafe { reply.ifru_ifindex })
    }

    fn request(
        &self,
        code: libc::c_ulong,
        payload: libc::__c_anonymous_ifr_ifru,
    ) -> io::Result<libc::__c_anonymous_ifr_ifru> {
        let mut request = libc::ifreq { ifr_name: self.name, ifr_ifru: payload };
        // SAFETY: every code used in this file takes a pointer to an ifreq, which `request` is and stays for
        // the duration of the call; its name is NUL-terminated by construction. If the payload is a pointer,
        // in `settle`, it is to a LinkQuery on the stack of that function, which outlives the call.
        let result = unsafe { libc::ioctl(self.control.as_raw_fd(), code as _, &raw mut request) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(request.ifr_ifru) }
    }
}

/// ETHTOOL_GLINK of linux/ethtool.h: asks for the link's state, and settles it first.
const GET_LINK: u32 = 0x0a;

/// struct ethtool_value of linux/ethtool.h.
#[repr(C)]
struct LinkQuery {
    command: u32,
    up: u32,
}

/// `name` as the kernel wants it: NUL-padded, with at least one NUL.
pub(super) fn interface_name(name: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    let mut padded = [0; libc::IFNAMSIZ];
    if name.len() >= padded.len() || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid interface name {name:?}")));
    }
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(padded)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let internet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: sockaddr_in is one of the forms of sockaddr: both are 16 bytes of plain data that begin with
    // the family, and the compiler checks the sizes.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(internet) }
}
