//! ptrace(2) and the waits that belong to it.
//!
//! Written on libc rather than on a wrapper because a tracer meets real-time signals (the C library's own 32
//! and 33 among them), which a closed enumeration of signals cannot carry. Requests must come from the thread
//! that attached; every function names its tracee by thread id.

use std::io;

/// A thread's general-purpose registers.
#[cfg(target_arch = "x86_64")]
pub type Registers = libc::user_regs_struct;

/// The reason why a tracee stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The tracee is gone.
    Ended,
    /// A new program image is in place; the value is the thread's id before the exec.
    Exec(i32),
    /// It made a process or a thread, with this id, which is traced too.
    Child(i32),
    /// It has just been made, or [`interrupt`] was asked for.
    Trap,
    /// It is stopped by job control (SIGSTOP and its kin), as an untraced process would be.
    Group,
    /// It enters or leaves a system call.
    Syscall,
    /// A signal is about to be delivered to it.
    Signal(i32),
}

/// Follow every fork, clone and exec, and mark system call stops.
pub const FOLLOW: libc::c_int = libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACESYSGOOD;
/// Only mark system call stops.
pub const VISIT: libc::c_int = libc::PTRACE_O_TRACESYSGOOD;

// From <linux/ptrace.h>; libc has them for some targets only.
const PTRACE_GETSIGMASK: libc::c_uint = 0x420a;
const PTRACE_SETSIGMASK: libc::c_uint = 0x420b;

/// `request` with numbers only; the kernel reads or writes no memory of this process.
fn command(request: libc::c_uint, thread: i32, data: usize) -> io::Result<()> {
    // SAFETY: the requests used with this function take numbers, not pointers into this process.
    let result = unsafe { libc::ptrace(request, thread, 0_usize, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches to a thread without stopping it.
///
/// # Errors
/// EPERM without the right, or when another tracer is attached; ESRCH when the thread is gone.
pub fn seize(thread: i32, options: libc::c_int) -> io::Result<()> {
    command(libc::PTRACE_SEIZE, thread, options as usize)
}

/// Asks a running thread to stop with [`Stop::Trap`].
///
/// # Errors
/// ESRCH when the thread is gone.
pub fn interrupt(thread: i32) -> io::Result<()> {
    command(libc::PTRACE_INTERRUPT, thread, 0)
}

/// Lets a stopped thread run on, delivering `signal` unless it is 0.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped.
pub fn resume(thread: i32, signal: i32) -> io::Result<()> {
    command(libc::PTRACE_CONT, thread, signal as usize)
}

/// Lets a stopped thread run to the next system call stop.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped.
pub fn resume_to_syscall(thread: i32) -> io::Result<()> {
    command(libc::PTRACE_SYSCALL, thread, 0)
}

/// Lets a stopped thread go for good, delivering `signal` unless it is 0.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped.
pub fn detach(thread: i32, signal: i32) -> io::Result<()> {
    command(libc::PTRACE_DETACH, thread, signal as usize)
}

/// Returns a stopped thread's registers.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped.
#[cfg(target_arch = "x86_64")]
pub fn registers(thread: i32) -> io::Result<Registers> {
    // SAFETY: all-zero bytes are a valid value of a struct of integers.
    let mut registers: Registers = unsafe { std::mem::zeroed() };
    // SAFETY: PTRACE_GETREGS writes one user_regs_struct to its last argument, which is one.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETREGS, thread, 0_usize, &raw mut registers) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(registers) }
}

/// Replaces a stopped thread's registers.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped; EIO for values the kernel does not accept.
#[cfg(target_arch = "x86_64")]
pub fn set_registers(thread: i32, registers: &Registers) -> io::Result<()> {
    let registers: *const Registers = registers;
    // SAFETY: PTRACE_SETREGS reads one user_regs_struct from its last argument, which is one.
    let result = unsafe { libc::ptrace(libc::PTRACE_SETREGS, thread, 0_usize, registers) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns a stopped thread's signal mask, one bit for each signal from 1.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped.
pub fn signal_mask(thread: i32) -> io::Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: the request writes as many bytes as the address argument says, which is the size of `mask`.
    let result = unsafe { libc::ptrace(PTRACE_GETSIGMASK, thread, size_of::<u64>(), &raw mut mask) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(mask) }
}

/// Replaces a stopped thread's signal mask. Signals that it blocks stay pending, with all they carry.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped.
pub fn set_signal_mask(thread: i32, mask: u64) -> io::Result<()> {
    // SAFETY: the request reads as many bytes as the address argument says, which is the size of `mask`.
    let result = unsafe { libc::ptrace(PTRACE_SETSIGMASK, thread, size_of::<u64>(), &raw const mask) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes `bytes` into a stopped thread's memory, even where it may only read or execute: private pages are
/// copied first. Neighbouring bytes within the last word are kept.
///
/// # Errors
/// EIO or EFAULT for an unmapped address; ESRCH when the thread is gone or not stopped.
pub fn write_memory(thread: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    for (index, chunk) in bytes.chunks(8).enumerate() {
        let at = address + 8 * index as u64;
        let mut word = [0; 8];
        if chunk.len() < 8 {
            super::memory::read_memory(thread, at, &mut word)?;
        }
        word[..chunk.len()].copy_from_slice(chunk);
        let word = usize::from_ne_bytes(word);
        // SAFETY: PTRACE_POKEDATA takes an address of the tracee and a word by value.
        if unsafe { libc::ptrace(libc::PTRACE_POKEDATA, thread, at as usize, word) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether a stopped thread is registered for restartable sequences and its area says it is inside one, where
/// its registers must not be changed. Kernels that cannot tell (before 5.13) report that it is not.
///
/// # Errors
/// ESRCH when the thread is gone or not stopped; EFAULT when its area is not mapped.
pub fn in_restartable_sequence(thread: i32) -> io::Result<bool> {
    // <linux/ptrace.h>, struct ptrace_rseq_configuration; <linux/rseq.h> has the pointer to the critical
    // section at offset 8 of the thread's area.
    const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;
    const CRITICAL_SECTION: u64 = 8;
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        area: u64,
        size: u32,
        signature: u32,
        flags: u32,
        padding: u32,
    }
    let mut configuration = Configuration::default();
    let size = size_of::<Configuration>();
    // SAFETY: the request writes at most `size` bytes, passed as the address argument, to the struct of that
    // size.
    let got = unsafe { libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread, size, &raw mut configuration) };
    if got == -1 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EIO) { Ok(false) } else { Err(error) };
    }
    if configuration.area == 0 {
        return Ok(false);
    }
    let mut section = [0; 8];
    super::memory::read_memory(thread, configuration.area + CRITICAL_SECTION, &mut section)?;
    Ok(section != [0; 8])
}

/// Returns the next stop of any tracee that has not been collected, if there is one.
///
/// # Errors
/// Any error of waitpid(2), except that having no tracee at all is `None`.
pub fn next_stop() -> io::Result<Option<(i32, Stop)>> {
    match wait(-1, libc::WNOHANG) {
        Ok((0, _)) => Ok(None),
        Ok((thread, status)) => Ok(Some((thread, classify(thread, status)))),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for the next stop of one tracee, which must be running or about to stop.
///
/// # Errors
/// ECHILD when `thread` is not a tracee.
pub fn wait_stop(thread: i32) -> io::Result<Stop> {
    let (thread, status) = wait(thread, 0)?;
    Ok(classify(thread, status))
}

fn wait(thread: i32, flags: libc::c_int) -> io::Result<(i32, libc::c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to an int, which waitpid writes.
        match unsafe { libc::waitpid(thread, &raw mut status, flags | libc::__WALL) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
            thread => return Ok((thread, status)),
        }
    }
}

fn classify(thread: i32, status: libc::c_int) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Ended;
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_EXEC => event_message(thread).map_or(Stop::Ended, Stop::Exec),
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            event_message(thread).map_or(Stop::Ended, Stop::Child)
        }
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Trap,
        _ => Stop::Group,
    }
}

/// Returns the number that belongs to an event stop; `None` when the thread was killed meanwhile, whose end
/// is reported next.
fn event_message(thread: i32) -> Option<i32> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: PTRACE_GETEVENTMSG writes one unsigned long to its last argument, which is one.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, thread, 0_usize, &raw mut message) };
    if result == -1 { None } else { i32::try_from(message).ok() }
}
