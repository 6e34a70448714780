//! Making a stopped thread do something for us, and leaving no trace of it: x86_64.

use std::io;

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::protocol::{Sample, TraceFault};
use super::sys::memory::read_memory;
use super::sys::ptrace::{self, Registers, Stop};
use super::sys::stub;
use super::vdso::{self, JUMP_SIZE, VdsoError};

const SYSCALL_INSTRUCTION: [u8; 2] = [0x0f, 0x05];
/// The code segment of 64-bit user code; 32-bit programs run with another.
const CODE_SEGMENT_64: u64 = 0x33;
const PAGE: u64 = 4096;

/// A reading between two looks at the machine's clock that are so close together is good enough.
const READING_NS: i64 = 100_000;
/// How often a process is asked at most, in one stop, to obtain such a reading on a busy machine.
const READINGS: usize = 5;

/// Makes the program that thread `thread` has just exec'ed follow clock segment `segment`. The thread must be
/// in its exec stop; afterwards it is in another stop, from which it can be resumed.
///
/// # Errors
/// [`TraceFault`]; the program is then as the kernel made it.
pub fn patch(thread: i32, segment: i32) -> Result<(), TraceFault> {
    let mut puppet = Puppet::after_exec(thread)?;
    let outcome = puppet.attach_and_patch(segment);
    puppet.release()?;
    outcome
}

/// Lets a thread in a [`Stop::Trap`] read its process's wall clock the way the program would: by calling the
/// vDSO's `clock_gettime`. Afterwards it is in another such stop, from which it can be resumed.
///
/// The call runs on a page mapped for it, since below a goroutine's stack pointer there may be no room at
/// all. The thread is kept for some tens of microseconds, and a system call it was waiting in is restarted by
/// the kernel, as after a stop signal.
///
/// # Errors
/// [`TraceFault::Busy`] inside a restartable sequence, from which a thread may not be led away; others.
pub fn sample(thread: i32, pid: i32, segment: i32) -> Result<Sample, TraceFault> {
    let busy = ptrace::in_restartable_sequence(thread)
        .map_err(refused("see whether the thread is in a restartable sequence"))?;
    if busy {
        return Err(TraceFault::Busy);
    }
    let base = vdso::segment_address(pid, segment)
        .map_err(refused("read the process's memory map"))?
        .ok_or(TraceFault::Unpatched)?;
    let clock_gettime = vdso::patches(pid).map_err(unusable)?[0].address;
    let syscall = base + stub::syscall_offset() as u64;
    let mut puppet = Puppet::at_trap(thread)?;
    let outcome = puppet.read_clock(clock_gettime, syscall);
    puppet.release()?;
    outcome
}

/// A stopped thread that runs for us until it is released.
struct Puppet {
    thread: i32,
    registers: Registers,
    signal_mask: u64,
    /// A stop signal arrived meanwhile; it takes effect on release.
    stop_signal: Option<Signal>,
}

impl Puppet {
    /// Takes over a thread in its exec stop.
    fn after_exec(thread: i32) -> Result<Self, TraceFault> {
        // The exec stop is inside the system call, which still has to store its result in a register: changes
        // to registers made here would be overwritten.
        loop {
            ptrace::resume_to_syscall(thread).map_err(refused("resume a thread after its exec"))?;
            match ptrace::wait_stop(thread).map_err(refused("wait for the end of an exec"))? {
                Stop::Syscall => break,
                Stop::Ended => return Err(TraceFault::Ended),
                _ => {}
            }
        }
        Self::at_trap(thread)
    }

    /// Takes over a stopped thread that is not about to store a system call's result.
    fn at_trap(thread: i32) -> Result<Self, TraceFault> {
        let registers = ptrace::registers(thread).map_err(refused("read a thread's registers"))?;
        if registers.cs != CODE_SEGMENT_64 {
            return Err(unusable(VdsoError::Foreign { pid: thread }));
        }
        let signal_mask = ptrace::signal_mask(thread).map_err(refused("read a thread's signal mask"))?;
        let puppet = Self { thread, registers, signal_mask, stop_signal: None };
        // Signals wait, with all they carry. Those by which the processor reports a fault must not be
        // blocked: the kernel would reset the program's handler to deliver one all the same.
        let faults = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP];
        let faults = faults.iter().fold(0, |mask, signal| mask | 1_u64 << (*signal as u32 - 1));
        ptrace::set_signal_mask(thread, !faults).map_err(refused("block a thread's signals"))?;
        Ok(puppet)
    }

    fn attach_and_patch(&mut self, segment: i32) -> Result<(), TraceFault> {
        let patches = vdso::patches(self.thread).map_err(unusable)?;
        // The first instruction bytes of the vDSO function that is replaced anyway serve to make the system
        // call.
        let place = patches[0].address;
        let mut original = [0; JUMP_SIZE];
        read_memory(self.thread, place, &mut original).map_err(refused("read the vdso"))?;
        self.write(place, &SYSCALL_INSTRUCTION)?;
        let flags = libc::SHM_RDONLY | libc::SHM_EXEC;
        let attached = self.syscall(place, libc::SYS_shmat, [segment as u64, 0, flags as u64, 0, 0, 0]);
        let base = match attached {
            Ok(base) => base,
            Err(fault) => {
                self.write(place, &original)?;
                return Err(fault);
            }
        };
        for patch in patches {
            self.write(patch.address, &vdso::jump(base + patch.offset))?;
        }
        Ok(())
    }

    fn read_clock(&mut self, clock_gettime: u64, syscall: u64) -> Result<Sample, TraceFault> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let scratch = self.syscall(syscall, libc::SYS_mmap, [0, PAGE, protection, flags, u64::MAX, 0])?;
        let mut best = self.call_clock(clock_gettime, syscall, scratch)?;
        for _ in 1..READINGS {
            if best.after_ns - best.before_ns <= READING_NS {
                break;
            }
            let again = self.call_clock(clock_gettime, syscall, scratch)?;
            if again.after_ns - again.before_ns < best.after_ns - best.before_ns {
                best = again;
            }
        }
        self.syscall(syscall, libc::SYS_munmap, [scratch, PAGE, 0, 0, 0, 0])?;
        Ok(best)
    }

    /// Calls `clock_gettime` on the scratch page, which it leaves to be used again.
    fn call_clock(&mut self, clock_gettime: u64, syscall: u64, scratch: u64) -> Result<Sample, TraceFault> {
        // As after a call instruction: the return address on top, and 16-byte alignment just above it. The
        // function returns to a system call instruction, at which the thread stops once more.
        let stack = scratch + PAGE - 64 - 8;
        self.write(stack, &syscall.to_le_bytes())?;
        self.set(&Registers {
            rip: clock_gettime,
            rsp: stack,
            rdi: libc::CLOCK_REALTIME as u64,
            rsi: scratch,
            orig_rax: u64::MAX,
            ..self.registers
        })?;
        let mut before_ns = now_ns()?;
        let mut after_ns = None;
        let mut returned = loop {
            self.run_to_syscall()?; // It enters a system call, or has returned to ours.
            let entered = self.get()?;
            if entered.rip == syscall + SYSCALL_INSTRUCTION.len() as u64 {
                break entered;
            }
            // This very system call reads the kernel's clock; nothing else is needed between the two looks.
            before_ns = now_ns()?;
            self.run_to_syscall()?;
            after_ns = Some(now_ns()?);
        };
        let after_ns = after_ns.map_or_else(now_ns, Ok)?;
        // At the entry of a system call its number is what the function left in the register for its result.
        let result = returned.orig_rax as i32;
        // The call itself is skipped.
        returned.orig_rax = u64::MAX;
        self.set(&returned)?;
        self.run_to_syscall()?;
        if result != 0 {
            let action = "read the clock as the process does".to_owned();
            return Err(TraceFault::System { action, errno: -result });
        }
        let mut timespec = [0; 16];
        read_memory(self.thread, scratch, &mut timespec).map_err(refused("read the process's time"))?;
        let (seconds, nanoseconds) = timespec.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, i64::from_le_bytes);
        let seen_ns = number(seconds) * 1_000_000_000 + number(nanoseconds);
        Ok(Sample { before_ns, seen_ns, after_ns })
    }

    /// Makes system call `number` from the system call instruction at `place`.
    fn syscall(&mut self, place: u64, number: i64, arguments: [u64; 6]) -> Result<u64, TraceFault> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let rax = number as u64;
        self.set(&Registers {
            rip: place,
            rax,
            orig_rax: u64::MAX,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..self.registers
        })?;
        self.run_to_syscall()?;
        self.run_to_syscall()?;
        let result = self.get()?.rax;
        // The kernel reports errors as the topmost 4095 values.
        match (result as i64).wrapping_neg() {
            errno @ 1..=4095 => Err(TraceFault::System {
                action: format!("make system call {number} in the process"),
                errno: errno as i32,
            }),
            _ => Ok(result),
        }
    }

    fn run_to_syscall(&mut self) -> Result<(), TraceFault> {
        loop {
            ptrace::resume_to_syscall(self.thread).map_err(refused("resume a thread"))?;
            if self.next_stop()? == Stop::Syscall {
                return Ok(());
            }
        }
    }

    /// Waits for the next stop, keeping stop signals for later.
    fn next_stop(&mut self) -> Result<Stop, TraceFault> {
        let stop = ptrace::wait_stop(self.thread).map_err(refused("wait for a thread"))?;
        match stop {
            Stop::Ended => Err(TraceFault::Ended),
            Stop::Signal(signal) => match Signal::try_from(signal) {
                Ok(signal @ Signal::SIGSTOP) => {
                    self.stop_signal = Some(signal);
                    Ok(stop)
                }
                _ => Err(TraceFault::Crashed { signal }),
            },
            stop => Ok(stop),
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), TraceFault> {
        ptrace::write_memory(self.thread, address, bytes).map_err(refused("write the process's memory"))
    }

    fn get(&self) -> Result<Registers, TraceFault> {
        ptrace::registers(self.thread).map_err(refused("read a thread's registers"))
    }

    fn set(&self, registers: &Registers) -> Result<(), TraceFault> {
        ptrace::set_registers(self.thread, registers).map_err(refused("set a thread's registers"))
    }

    /// Puts everything back. The thread is left in a stop of the kind in which the kernel, on resuming it,
    /// looks whether a system call was interrupted and has to be restarted; a system call stop is not of that
    /// kind.
    fn release(mut self) -> Result<(), TraceFault> {
        // Skip any system call that the thread may be entering.
        self.set(&Registers { orig_rax: u64::MAX, ..self.registers })?;
        ptrace::interrupt(self.thread).map_err(refused("interrupt a thread"))?;
        loop {
            ptrace::resume(self.thread, 0).map_err(refused("resume a thread"))?;
            if matches!(self.next_stop()?, Stop::Trap | Stop::Group) {
                break;
            }
        }
        self.set(&self.registers)?;
        ptrace::set_signal_mask(self.thread, self.signal_mask)
            .map_err(refused("restore a thread's signal mask"))?;
        if let Some(signal) = self.stop_signal {
            kill(Pid::from_raw(self.thread), signal)
                .map_err(|errno| TraceFault::system("pass on a stop signal", &errno.into()))?;
        }
        Ok(())
    }
}

fn now_ns() -> Result<i64, TraceFault> {
    let time = clock_gettime(ClockId::CLOCK_REALTIME)
        .map_err(|errno| TraceFault::system("read the machine's clock", &errno.into()))?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

fn refused(action: &'static str) -> impl Fn(io::Error) -> TraceFault {
    move |error| TraceFault::system(action, &error)
}

fn unusable(error: VdsoError) -> TraceFault {
    match error {
        VdsoError::Read { what, source, .. } => TraceFault::system(&format!("read {what}"), &source),
        error => TraceFault::Vdso(error.to_string()),
    }
}
