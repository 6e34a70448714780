//! TUN devices: an interface whose packets a program reads and writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::interface::interface_name;

/// The device node through which TUN interfaces are made.
pub const DEVICE: &str = "/dev/net/tun";

/// Length of the `virtio_net_hdr` in front of every packet, in bytes.
pub const OFFLOAD_HEADER: usize = 10;

/// Makes a TUN interface called `name` in the calling thread's network namespace; it goes when the file closes.
///
/// Reads and writes on the file never block and carry one IP packet each, behind an offload header of
/// [`OFFLOAD_HEADER`] bytes. Checksums and TCP segmentation are left to the receiver of the packet, so a TCP
/// "packet" may be up to 64 KiB long.
///
/// # Errors
/// `PermissionDenied` when [`DEVICE`] may not be opened; what the ioctls report otherwise.
pub fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
    // SAFETY: ifreq is plain old data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name = interface_name(name)?;
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF takes a pointer to an ifreq, which `request` is and stays for the duration of the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;

    let header = OFFLOAD_HEADER as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ takes a pointer to an int that it only reads.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &raw const header) })?;

    let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO_ECN;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(offloads)) })?;
    Ok(file)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
