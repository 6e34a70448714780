//! The vDSO of another process: where it is, where its functions are, and whether they lead to our code.

use std::fs;
use std::io;

use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{Endianness, Object, ObjectSymbol};

use super::sys::memory::read_memory;
use super::sys::stub::replacements;

/// A jump to an absolute address: `mov r11, imm64; jmp r11`. r11 is the callee's to change, and unlike a
/// relative jump this one reaches the segment wherever the kernel maps it.
pub const JUMP_SIZE: usize = 13;

/// Images are a page or two; anything above this is not a vDSO.
const IMAGE_LIMIT: u64 = 1 << 20;

/// Why a process's vDSO cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VdsoError {
    /// A file of /proc or the process's memory could not be read.
    #[error("cannot read {what} of process {pid}")]
    Read {
        /// The process.
        pid: i32,
        /// The part that was read.
        what: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The kernel mapped none (it was booted with `vdso=0`); programs then make plain system calls.
    #[error("process {pid} has no vdso")]
    Absent {
        /// The process.
        pid: i32,
    },
    /// It is not a 64-bit one: a 32-bit program on a 64-bit kernel.
    #[error("process {pid} is not a 64-bit program of this architecture")]
    Foreign {
        /// The process.
        pid: i32,
    },
    /// It is not laid out as expected.
    #[error("the vdso of process {pid} has no {symbol} of at least {JUMP_SIZE} bytes")]
    Symbol {
        /// The process.
        pid: i32,
        /// The function looked for.
        symbol: &'static str,
    },
}

/// One function of the vDSO and what shall take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Address in the process.
    pub address: u64,
    /// The offset of the replacement in the segment.
    pub offset: u64,
}

/// Returns the patches for process `pid`, `clock_gettime` first.
///
/// # Errors
/// [`VdsoError`].
pub fn patches(pid: i32) -> Result<Vec<Patch>, VdsoError> {
    let base = base(pid)?;
    let image = image(pid, base)?;
    let foreign = || VdsoError::Foreign { pid };
    let elf = ElfFile::<FileHeader64<Endianness>>::parse(image.as_slice()).map_err(|_| foreign())?;
    replacements()
        .into_iter()
        .map(|replacement| {
            elf.dynamic_symbols()
                .find(|symbol| symbol.name() == Ok(replacement.symbol) && symbol.size() >= JUMP_SIZE as u64)
                .map(|symbol| Patch { address: base + symbol.address(), offset: replacement.offset as u64 })
                .ok_or(VdsoError::Symbol { pid, symbol: replacement.symbol })
        })
        .collect()
}

/// Returns the bytes of a jump to `target`.
#[must_use]
pub fn jump(target: u64) -> [u8; JUMP_SIZE] {
    let mut bytes = [0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xff, 0xe3];
    bytes[2..10].copy_from_slice(&target.to_le_bytes());
    bytes
}

/// Whether every replaced function of `pid` jumps into the segment mapped at `segment`.
///
/// # Errors
/// [`VdsoError`].
pub fn is_patched(pid: i32, segment: u64) -> Result<bool, VdsoError> {
    for patch in patches(pid)? {
        let mut found = [0; JUMP_SIZE];
        read_memory(pid, patch.address, &mut found).map_err(|source| VdsoError::Read {
            pid,
            what: "the vdso",
            source,
        })?;
        if found != jump(segment + patch.offset) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the address of segment number `id` in process `pid`, if it is mapped.
///
/// # Errors
/// Any error of reading /proc/`pid`/maps; ESRCH as well once the process is ending and has no memory any
/// more.
pub fn segment_address(pid: i32, id: i32) -> io::Result<Option<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    if maps.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(maps.lines().find_map(|line| {
        // address perms offset dev inode path; System V segments show their number as inode.
        let mut fields = line.split_ascii_whitespace();
        let start = fields.next()?.split('-').next()?;
        let inode = fields.nth(3)?;
        let path = fields.next()?;
        let ours = path.starts_with("/SYSV") && inode.parse() == Ok(id);
        ours.then(|| u64::from_str_radix(start, 16).ok()).flatten()
    }))
}

/// Returns the address at which the kernel says it mapped the vDSO: entry AT_SYSINFO_EHDR of the auxiliary
/// vector.
fn base(pid: i32) -> Result<u64, VdsoError> {
    let auxiliary = fs::read(format!("/proc/{pid}/auxv")).map_err(|source| VdsoError::Read {
        pid,
        what: "the auxiliary vector",
        source,
    })?;
    let (words, _) = auxiliary.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    pairs
        .iter()
        .map(|[kind, value]| (u64::from_le_bytes(*kind), u64::from_le_bytes(*value)))
        .find(|(kind, value)| *kind == libc::AT_SYSINFO_EHDR && *value != 0)
        .map(|(_, value)| value)
        .ok_or(VdsoError::Absent { pid })
}

/// Returns the vDSO's bytes, as far as its mapping goes.
fn image(pid: i32, base: u64) -> Result<Vec<u8>, VdsoError> {
    let unreadable = |what| move |source| VdsoError::Read { pid, what, source };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(unreadable("the memory map"))?;
    let end = maps
        .lines()
        .find_map(|line| {
            let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
            let starts_here = u64::from_str_radix(start, 16) == Ok(base);
            starts_here.then(|| u64::from_str_radix(end, 16).ok()).flatten()
        })
        .filter(|end| end - base <= IMAGE_LIMIT)
        .ok_or(VdsoError::Absent { pid })?;
    let mut image = vec![0; (end - base) as usize];
    read_memory(pid, base, &mut image).map_err(unreadable("the vdso"))?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks this process's own vDSO: it is found, its functions lie inside it, and none of them is ours.
    #[test]
    fn own_vdso_is_understood_and_unpatched() {
        let pid = std::process::id() as i32;
        let base = base(pid).unwrap();
        let end = base + image(pid, base).unwrap().len() as u64;
        let patches = patches(pid).unwrap();
        assert_eq!(patches.len(), 3);
        assert!(patches.iter().all(|patch| (base..end).contains(&patch.address)));
        assert!(!is_patched(pid, base).unwrap());
    }
}
