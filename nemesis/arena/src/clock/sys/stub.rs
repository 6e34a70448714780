//! The machine code that answers for the vDSO, and the byte layout it reads.
//!
//! The code is assembled into this program's read-only data, never run here, and copied into the first page
//! of every clock segment; the second page holds the parameters. All addressing is relative to the
//! instruction pointer, so that one copy serves every process wherever the segment is mapped.
//!
//! ```text
//! segment + 0       code
//! segment + 4096    u64 generation; slot (generation & 1) is in force
//! segment + 4352    slot 0: one entry for each clock class, 32 bytes each
//! segment + 4608    slot 1
//! entry             i64 offset (ns) | i64 reference (ns) | i64 rate (2^-32) | i64 earlier rate (2^-32)
//! ```
//!
//! A clock reading `x` (ns) becomes `x + offset + (x - reference) * rate`, with the earlier rate if `x` is
//! before the reference: so a change of rate can be published ahead and joins the two lines exactly. The
//! writer fills the slot that is not in force and then advances the generation; a reader that finds the
//! generation changed reads again. Unlike a sequence lock with an odd "being written" state, a writer that
//! dies half-way blocks no other. The kernel's clock is read *between* the two looks at the generation, so that
//! a value never mixes an old offset with a time after the step.
//!
//! The code keeps to what callers of a vDSO may expect: it changes only registers that the C calling
//! convention lets a callee change, no vector register, and takes at most 56 bytes of stack (Go calls it on
//! its g0 stack). x86 keeps loads in order, so that the two looks need no fence.

/// Size of the code page, which is also the distance from the code to the parameters.
pub const CODE_PAGE: usize = 4096;
/// Size of a clock segment: the code page and the parameter page.
pub const SEGMENT_SIZE: usize = 2 * CODE_PAGE;

/// Clocks that share an offset, a reference and a rate; the numbers index a slot's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum ClockClass {
    /// `CLOCK_REALTIME`, its coarse and its alarm variant; `gettimeofday` and `time`.
    Realtime = 0,
    /// `CLOCK_MONOTONIC` and its coarse variant.
    Monotonic = 1,
    /// `CLOCK_BOOTTIME` and its alarm variant.
    Boottime = 2,
    /// `CLOCK_TAI`.
    Tai = 3,
    /// `CLOCK_MONOTONIC_RAW`.
    MonotonicRaw = 4,
}

/// Every clock class, in the order of the entries.
pub const CLOCK_CLASSES: [ClockClass; 5] = [
    ClockClass::Realtime,
    ClockClass::Monotonic,
    ClockClass::Boottime,
    ClockClass::Tai,
    ClockClass::MonotonicRaw,
];

/// A function of the vDSO that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The vDSO's symbol.
    pub symbol: &'static str,
    /// Where in the segment our function begins.
    pub offset: usize,
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .rodata.duress_clock,\"a\",@progbits",
    // Visible to other compilation units of this program, and to nothing beyond it.
    ".globl duress_clock_code, duress_clock_code_end, duress_clock_syscall",
    ".hidden duress_clock_code, duress_clock_code_end, duress_clock_syscall",
    ".globl duress_clock_gettime, duress_clock_gettimeofday, duress_clock_time",
    ".hidden duress_clock_gettime, duress_clock_gettimeofday, duress_clock_time",
    ".balign 64",
    "duress_clock_code:",
    // int clock_gettime(clockid_t edi, struct timespec *rsi)
    "duress_clock_gettime:",
    "endbr64",
    "cmp edi, 11", // Unsigned: the negative ids of CPU-time and device clocks go to the kernel too.
    "ja 8f",
    "mov eax, edi",
    "lea rdx, [rip + duress_clock_classes]",
    "movzx r8d, byte ptr [rdx + rax]",
    "cmp r8d, 255",
    "je 8f",
    "shl r8d, 5",
    "lea r9, [rip + duress_clock_code + 4096]",
    "2:",
    "mov r10, qword ptr [r9]",
    "mov edx, r10d",
    "and edx, 1",
    "shl edx, 8",
    "lea rdx, [r9 + rdx + 256]",
    "add rdx, r8", // The entry. A system call keeps rdx, rsi, rdi and r8 to r10.
    "mov eax, 228",
    "syscall",
    "test eax, eax",
    "jnz 9f",
    "mov rcx, qword ptr [rsi]",
    "imul rcx, rcx, 1000000000",
    "add rcx, qword ptr [rsi + 8]",
    "mov rax, rcx",
    "add rcx, qword ptr [rdx]",
    "sub rax, qword ptr [rdx + 8]",
    "mov r11, qword ptr [rdx + 16]", // Moves leave the flags alone.
    "cmovs r11, qword ptr [rdx + 24]",
    "imul r11", // rdx:rax, 128 bits
    "shrd rax, rdx, 32",
    "add rcx, rax",
    "cmp r10, qword ptr [r9]",
    "jne 2b",
    "mov rax, rcx",
    "cqo",
    "mov r11d, 1000000000",
    "idiv r11",
    "test rdx, rdx",
    "jns 3f",
    "add rdx, r11", // A timespec's nanoseconds are never negative.
    "dec rax",
    "3:",
    "mov qword ptr [rsi], rax",
    "mov qword ptr [rsi + 8], rdx",
    "xor eax, eax",
    "9:",
    "ret",
    "8:",
    "mov eax, 228",
    "syscall",
    "ret",
    // int gettimeofday(struct timeval *rdi, struct timezone *rsi), through clock_gettime so that the two
    // never disagree about the order of events.
    ".balign 16",
    "duress_clock_gettimeofday:",
    "endbr64",
    "sub rsp, 40",
    "mov qword ptr [rsp + 16], rdi",
    "mov qword ptr [rsp + 24], rsi",
    "test rdi, rdi",
    "jz 4f",
    "xor edi, edi",
    "mov rsi, rsp",
    "call duress_clock_gettime",
    "test eax, eax",
    "jnz 5f",
    "mov rdi, qword ptr [rsp + 16]",
    "mov rax, qword ptr [rsp]",
    "mov qword ptr [rdi], rax",
    "mov rax, qword ptr [rsp + 8]",
    "xor edx, edx",
    "mov r11d, 1000",
    "div r11",
    "mov qword ptr [rdi + 8], rax",
    "4:",
    "mov rsi, qword ptr [rsp + 24]",
    "xor eax, eax",
    "test rsi, rsi",
    "jz 5f",
    "xor edi, edi",
    "mov eax, 96", // gettimeofday(NULL, tz): the time zone is the kernel's.
    "syscall",
    "5:",
    "add rsp, 40",
    "ret",
    // time_t time(time_t *rdi)
    ".balign 16",
    "duress_clock_time:",
    "endbr64",
    "sub rsp, 40",
    "mov qword ptr [rsp + 16], rdi",
    "xor edi, edi",
    "mov rsi, rsp",
    "call duress_clock_gettime",
    "test eax, eax",
    "movsxd rax, eax",
    "jnz 6f",
    "mov rax, qword ptr [rsp]",
    "mov rdi, qword ptr [rsp + 16]",
    "test rdi, rdi",
    "jz 6f",
    "mov qword ptr [rdi], rax",
    "6:",
    "add rsp, 40",
    "ret",
    // A place to make system calls from when the tracer asks a process for its time.
    ".balign 16",
    "duress_clock_syscall:",
    "syscall",
    "int3",
    // The class of each clock id from 0 to 11; 255 is no class, and the kernel's answer stands.
    "duress_clock_classes:",
    ".byte 0, 1, 255, 255, 4, 0, 1, 2, 0, 2, 255, 3",
    "duress_clock_code_end:",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
mod labels {
    unsafe extern "C" {
        pub static duress_clock_code: u8;
        pub static duress_clock_gettime: u8;
        pub static duress_clock_gettimeofday: u8;
        pub static duress_clock_time: u8;
        pub static duress_clock_syscall: u8;
        pub static duress_clock_code_end: u8;
    }
}

/// The code, as it is copied to the start of a segment; shorter than [`CODE_PAGE`].
#[cfg(target_arch = "x86_64")]
pub fn code() -> &'static [u8] {
    let start = &raw const labels::duress_clock_code;
    let length = (&raw const labels::duress_clock_code_end).addr() - start.addr();
    // SAFETY: the two labels enclose one contiguous run of initialised read-only bytes, assembled above, that
    // lives as long as the program.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// The functions of the vDSO that are replaced. `__vdso_clock_getres`, `__vdso_getcpu` and `__vdso_getrandom`
/// stay.
#[cfg(target_arch = "x86_64")]
pub fn replacements() -> [Replacement; 3] {
    let start = (&raw const labels::duress_clock_code).addr();
    [
        Replacement {
            symbol: "__vdso_clock_gettime",
            offset: (&raw const labels::duress_clock_gettime).addr() - start,
        },
        Replacement {
            symbol: "__vdso_gettimeofday",
            offset: (&raw const labels::duress_clock_gettimeofday).addr() - start,
        },
        Replacement { symbol: "__vdso_time", offset: (&raw const labels::duress_clock_time).addr() - start },
    ]
}

/// Where in the segment there is a bare system call instruction.
#[cfg(target_arch = "x86_64")]
pub fn syscall_offset() -> usize {
    (&raw const labels::duress_clock_syscall).addr() - (&raw const labels::duress_clock_code).addr()
}

/// There is no code for this architecture; nothing is ever patched.
#[cfg(not(target_arch = "x86_64"))]
pub fn code() -> &'static [u8] {
    &[]
}

/// There is no code for this architecture; nothing is ever patched.
#[cfg(not(target_arch = "x86_64"))]
pub fn replacements() -> [Replacement; 0] {
    []
}
