//! The shared memory that a node's processes and the harness both see.
//!
//! System V shared memory, since a process can be made to attach it by number, with a single system call: no
//! file descriptor has to survive an exec, no path has to be visible where the node runs, and no user id has
//! to match. The segment is marked for removal as soon as it is attached here, so that the kernel frees it
//! when the last process detaches or ends, however it ends; Linux lets others attach a marked segment as long
//! as it lives.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::stub::{CLOCK_CLASSES, CODE_PAGE, SEGMENT_SIZE};

/// One clock class's parameters: see [`super::stub`] for what they mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryValues {
    /// Nanoseconds added.
    pub offset: i64,
    /// The kernel's reading of this clock from which the rate counts, in nanoseconds.
    pub reference: i64,
    /// What the clock gains per nanosecond from the reference on, in units of 2^-32.
    pub rate: i64,
    /// What it gains per nanosecond until then.
    pub earlier_rate: i64,
}

/// The parameters of every clock class, in the order of [`CLOCK_CLASSES`].
pub type SlotValues = [EntryValues; CLOCK_CLASSES.len()];

#[repr(C)]
struct Entry {
    offset: AtomicI64,
    reference: AtomicI64,
    rate: AtomicI64,
    earlier_rate: AtomicI64,
}

#[repr(C, align(256))]
struct Slot {
    entries: [Entry; CLOCK_CLASSES.len()],
}

#[repr(C)]
struct Parameters {
    generation: AtomicU64,
    slots: [Slot; 2],
}

// The machine code addresses these by number.
const _: () = {
    assert!(size_of::<Entry>() == 32 && size_of::<Slot>() == 256);
    assert!(std::mem::offset_of!(Parameters, slots) == 256);
    assert!(size_of::<Parameters>() <= SEGMENT_SIZE - CODE_PAGE);
};

/// A segment attached to this process, writable here and nowhere else.
#[derive(Debug)]
pub struct Segment {
    id: i32,
    base: NonNull<u8>,
}

// SAFETY: the memory is mapped for as long as the value lives and is not tied to a thread; it is only touched
// through atomics.
unsafe impl Send for Segment {}
// SAFETY: as above; the one writer at a time that `publish` demands matters for meaning, not for memory
// safety.
unsafe impl Sync for Segment {}

impl Segment {
    /// Makes a segment with `code` in its first page and generation 0 of all-zero parameters in its second.
    ///
    /// # Errors
    /// What shmget(2) or shmat(2) report: ENOSYS where the kernel has no System V shared memory, ENOSPC where
    /// its limits are reached.
    ///
    /// # Panics
    /// If `code` does not fit into a page.
    pub fn create(code: &[u8]) -> io::Result<Self> {
        assert!(code.len() <= CODE_PAGE, "the clock's code fits into one page");
        // Others may read and execute, since a node may run as another user; only this process attaches it
        // writable. SAFETY: takes plain numbers.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, SEGMENT_SIZE, libc::IPC_CREAT | 0o755) };
        if id == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a null address lets the kernel choose where nothing is mapped.
        let base = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        let attached = if base.addr() == usize::MAX { Err(io::Error::last_os_error()) } else { Ok(base) };
        // SAFETY: IPC_RMID takes no buffer. It cannot fail for the creator; if it did, the segment would
        // outlive us.
        let marked = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
        let base = attached?;
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::other("shmat returned null"))?;
        let segment = Self { id, base };
        if marked == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the segment is SEGMENT_SIZE bytes, mapped writable just now, and no other thread has it yet;
        // the code is at most a page, as asserted, and lies in this program's own data.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), segment.base.as_ptr(), code.len()) };
        Ok(segment)
    }

    /// The number by which other processes attach it, and the inode number /proc/…/maps shows for it.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The generation in force.
    pub fn generation(&self) -> u64 {
        self.parameters().generation.load(Ordering::Acquire)
    }

    /// Fills the slot that is not in force; no program reads it before [`Self::publish`]. One writer at a time.
    pub fn prepare(&self, values: &SlotValues) {
        let parameters = self.parameters();
        let next = parameters.generation.load(Ordering::Acquire).wrapping_add(1);
        let slot = &parameters.slots[usize::from(next & 1 == 1)];
        for (entry, values) in slot.entries.iter().zip(values) {
            entry.offset.store(values.offset, Ordering::Relaxed);
            entry.reference.store(values.reference, Ordering::Relaxed);
            entry.rate.store(values.rate, Ordering::Relaxed);
            entry.earlier_rate.store(values.earlier_rate, Ordering::Relaxed);
        }
    }

    /// Puts the prepared slot in force, at once for every process, and returns its generation.
    pub fn publish(&self) -> u64 {
        self.parameters().generation.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    fn parameters(&self) -> &Parameters {
        // SAFETY: the second page is mapped writable as long as self lives, is page-aligned (more than the
        // 256 asked), zero-filled at creation (valid for atomics), and large enough, as asserted above. Other
        // processes map it read-only; everything in it is atomic.
        unsafe { self.base.add(CODE_PAGE).cast::<Parameters>().as_ref() }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the address is the one shmat gave, detached only here; no reference into it outlives self.
        // A failure would mean it is not attached, which leaves nothing to do.
        unsafe { libc::shmdt(self.base.as_ptr().cast()) };
    }
}
