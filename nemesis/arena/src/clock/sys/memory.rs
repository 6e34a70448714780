//! Reading another process's memory.

use std::io;

/// Reads `buffer.len()` bytes at `address` of process `pid`; all of them or an error.
///
/// # Errors
/// EPERM without the right to trace the process, ESRCH when it is gone, EFAULT for an unmapped address.
pub fn read_memory(pid: i32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(address as usize), iov_len: buffer.len() };
    // SAFETY: `local` is the caller's buffer and its length, exclusively borrowed; `remote` is only looked up
    // in the other process's address space, where a wrong address is an error, not a fault here.
    let copied = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(copied) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(copied) if copied == buffer.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}
