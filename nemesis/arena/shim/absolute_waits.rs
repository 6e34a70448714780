//! A library preloaded into the programs of a node that has a clock of its own: waits until a moment of the wall
//! clock end when that clock shows the moment, whatever the machine's shows.
//!
//! The build script of `duress-arena` compiles this file by itself, and the crate carries the result. It needs
//! nothing but a C library, allocates nothing and cannot panic.
//!
//! A program computes such a deadline from the clock it reads, the patched vDSO's, and the kernel compares it with
//! the machine's. Each wait here is therefore made of slices: what is left by the program's clock, but at most
//! [`SLICE_NS`], is added to the machine's clock, and the real function waits until then. After a slice the program's
//! clock is asked again, so that a step or a drift during the wait is noticed at most one slice late.
//!
//! A condition variable must not be waited for again after a slice: a thread that signals it without holding the
//! mutex may have done so just in between, and the program would never look at what it was told about. So the end of a
//! slice is given to the program as a spurious wake-up, which POSIX allows and every correct program checks for. Only
//! the deadline itself is answered with `ETIMEDOUT`.
//!
//! What stays as it was: waits by any other clock, relative waits, invalid deadlines, and `pthread_cond_timedwait`
//! until a moment before 1987 ([`EARLIEST_WALL_SECONDS`]). Not reached are timers (`timerfd_settime`,
//! `timer_settime`), message queues, C11's `cnd_timedwait` and `mtx_timedlock`, programs that call `futex` themselves,
//! and statically linked programs, which preload nothing.

#![no_std]

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::mem::transmute;
use core::ops::ControlFlow::{self, Break, Continue};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

/// The longest a wait goes without a look at the program's clock.
const SLICE_NS: i64 = 250_000_000;
const SECOND_NS: i64 = 1_000_000_000;
/// `pthread_cond_timedwait` is not told the clock, which is an attribute of the condition variable, perhaps made by
/// another process. Deadlines on the monotonic clock count from the machine's start: this many seconds are 17 years.
/// What is less is left alone, being monotonic, or long past. A deadline that is later even though it is monotonic
/// means "for ever", and is waited for in the same way: until a signal.
const EARLIEST_WALL_SECONDS: i64 = 1 << 29;

const CLOCK_REALTIME: c_int = 0;
const TIMER_ABSTIME: c_int = 1;
const ENOSYS: c_int = 38;
const ETIMEDOUT: c_int = 110;
const SYS_CLOCK_GETTIME: c_long = 228;
const RTLD_NEXT: *mut c_void = usize::MAX as *mut c_void;
/// A deadline that is over by every clock.
const PAST: Timespec = Timespec { seconds: 0, nanoseconds: 0 };

/// `struct timespec` of x86_64.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

#[link(name = "c")]
unsafe extern "C" {
    fn clock_gettime(clock: c_int, now: *mut Timespec) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn dlsym(scope: *mut c_void, name: *const c_char) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
}

type Wait = unsafe extern "C" fn(*mut c_void, *const Timespec) -> c_int;
type ClockWait = unsafe extern "C" fn(*mut c_void, c_int, *const Timespec) -> c_int;
type ConditionWait = unsafe extern "C" fn(*mut c_void, *mut c_void, *const Timespec) -> c_int;
type ConditionClockWait = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, *const Timespec) -> c_int;
type ClockSleep = unsafe extern "C" fn(c_int, c_int, *const Timespec, *mut Timespec) -> c_int;
type FindVersion = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> *mut c_void;

/// A function of the C library behind ours.
struct Real {
    name: &'static CStr,
    /// The version to ask for, where asking for none may find one of an earlier, different kind.
    version: Option<&'static CStr>,
    address: AtomicPtr<c_void>,
}

impl Real {
    const fn named(name: &'static CStr) -> Self {
        Self { name, version: None, address: AtomicPtr::new(null_mut()) }
    }

    /// Its address; null where the C library lacks it, and then no program can have linked to it.
    fn address(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // Threads that come here at once find the same.
        let found = self.find();
        self.address.store(found, Ordering::Relaxed);
        found
    }

    fn find(&self) -> *mut c_void {
        if let Some(version) = self.version {
            // SAFETY: a null scope is the default one; the name is a C string. Not every C library has dlvsym, so that
            // it is not linked to.
            let dlvsym = unsafe { dlsym(null_mut(), c"dlvsym".as_ptr()) };
            if !dlvsym.is_null() {
                // SAFETY: the C library's dlvsym has this signature.
                let dlvsym = unsafe { transmute::<*mut c_void, FindVersion>(dlvsym) };
                // SAFETY: both names are C strings, and the scope is the objects after this one.
                let found = unsafe { dlvsym(RTLD_NEXT, self.name.as_ptr(), version.as_ptr()) };
                if !found.is_null() {
                    return found;
                }
            }
        }
        // SAFETY: the name is a C string, and the scope is the objects after this one.
        unsafe { dlsym(RTLD_NEXT, self.name.as_ptr()) }
    }
}

fn nanoseconds(time: Timespec) -> i64 {
    time.seconds.saturating_mul(SECOND_NS).saturating_add(time.nanoseconds)
}

/// The machine's time at which the next slice of a wait ends; none when the deadline is over by the program's clock.
fn slice(deadline: Timespec) -> Option<Timespec> {
    let (mut program, mut machine) = (PAST, PAST);
    // SAFETY: both calls are given valid storage of the kernel's layout. They do not fail for this clock.
    unsafe {
        clock_gettime(CLOCK_REALTIME, &mut program);
        syscall(SYS_CLOCK_GETTIME, c_long::from(CLOCK_REALTIME), &raw mut machine);
    }
    let left = nanoseconds(deadline).saturating_sub(nanoseconds(program));
    if left <= 0 {
        return None;
    }
    let end = nanoseconds(machine).saturating_add(if left < SLICE_NS { left } else { SLICE_NS });
    Some(Timespec { seconds: end / SECOND_NS, nanoseconds: end % SECOND_NS })
}

/// Waits in slices for something that stays as it is between them: a lock, a semaphore, time. `wait` answers `Continue`
/// when the deadline it was given has passed, `Break` for every other outcome.
fn wait_in_slices(
    deadline: Timespec,
    mut wait: impl FnMut(*const Timespec) -> ControlFlow<c_int, c_int>,
) -> c_int {
    while let Some(end) = slice(deadline) {
        if let Break(outcome) = wait(&end) {
            return outcome;
        }
    }
    // The real function may still find what it was to wait for, and is where a thread is cancelled.
    match wait(&PAST) {
        Break(outcome) | Continue(outcome) => outcome,
    }
}

/// One slice of waiting for a condition variable.
fn wait_for_condition(deadline: Timespec, wait: impl FnOnce(*const Timespec) -> c_int) -> c_int {
    let Some(end) = slice(deadline) else { return wait(&PAST) };
    let outcome = wait(&end);
    if outcome == ETIMEDOUT && slice(deadline).is_some() { 0 } else { outcome }
}

/// The deadline, if it is one that the kernel would accept.
///
/// # Safety
/// `deadline` is null or points to a timespec.
unsafe fn valid(deadline: *const Timespec) -> Option<Timespec> {
    // SAFETY: the caller's promise.
    let deadline = unsafe { deadline.as_ref() }.copied()?;
    (deadline.seconds >= 0 && (0..SECOND_NS).contains(&deadline.nanoseconds)).then_some(deadline)
}

fn passed_if(timed_out: bool, outcome: c_int) -> ControlFlow<c_int, c_int> {
    if timed_out { Continue(outcome) } else { Break(outcome) }
}

/// Interposes a function that waits for one object and returns an error number.
macro_rules! lock_until {
    ($function:ident, $name:literal) => {
        /// The C library's function of this name, by the program's clock.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(object: *mut c_void, deadline: *const Timespec) -> c_int {
            static REAL: Real = Real::named($name);
            let address = REAL.address();
            if address.is_null() {
                return ENOSYS;
            }
            // SAFETY: the C library's function of this name has this signature.
            let real = unsafe { transmute::<*mut c_void, Wait>(address) };
            // SAFETY: the caller gives what the real function takes; only the deadline is another valid one.
            unsafe {
                match valid(deadline) {
                    None => real(object, deadline),
                    Some(until) => wait_in_slices(until, |end| {
                        let outcome = real(object, end);
                        passed_if(outcome == ETIMEDOUT, outcome)
                    }),
                }
            }
        }
    };
}

/// Interposes a function that waits for one object by a clock of the caller's choice and returns an error number.
macro_rules! lock_until_by_clock {
    ($function:ident, $name:literal) => {
        /// The C library's function of this name, by the program's clock.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(
            object: *mut c_void,
            clock: c_int,
            deadline: *const Timespec,
        ) -> c_int {
            static REAL: Real = Real::named($name);
            let address = REAL.address();
            if address.is_null() {
                return ENOSYS;
            }
            // SAFETY: the C library's function of this name has this signature.
            let real = unsafe { transmute::<*mut c_void, ClockWait>(address) };
            // SAFETY: the caller gives what the real function takes; only the deadline is another valid one.
            unsafe {
                match valid(deadline) {
                    Some(until) if clock == CLOCK_REALTIME => wait_in_slices(until, |end| {
                        let outcome = real(object, clock, end);
                        passed_if(outcome == ETIMEDOUT, outcome)
                    }),
                    _ => real(object, clock, deadline),
                }
            }
        }
    };
}

lock_until!(pthread_mutex_timedlock, c"pthread_mutex_timedlock");
lock_until!(pthread_rwlock_timedrdlock, c"pthread_rwlock_timedrdlock");
lock_until!(pthread_rwlock_timedwrlock, c"pthread_rwlock_timedwrlock");
lock_until_by_clock!(pthread_mutex_clocklock, c"pthread_mutex_clocklock");
lock_until_by_clock!(pthread_rwlock_clockrdlock, c"pthread_rwlock_clockrdlock");
lock_until_by_clock!(pthread_rwlock_clockwrlock, c"pthread_rwlock_clockwrlock");

/// The outcome of a semaphore's function, which sets errno.
///
/// # Safety
/// Call it right after the function.
unsafe fn semaphore(outcome: c_int) -> ControlFlow<c_int, c_int> {
    // SAFETY: the C library answers with the address of this thread's errno.
    passed_if(outcome != 0 && unsafe { *__errno_location() } == ETIMEDOUT, outcome)
}

fn no_semaphore() -> c_int {
    // SAFETY: the C library answers with the address of this thread's errno.
    unsafe { *__errno_location() = ENOSYS };
    -1
}

/// `sem_timedwait` by the program's clock.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_timedwait(object: *mut c_void, deadline: *const Timespec) -> c_int {
    static REAL: Real = Real::named(c"sem_timedwait");
    let address = REAL.address();
    if address.is_null() {
        return no_semaphore();
    }
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { transmute::<*mut c_void, Wait>(address) };
    // SAFETY: the caller gives what the real function takes; only the deadline is another valid one.
    unsafe {
        match valid(deadline) {
            None => real(object, deadline),
            Some(until) => wait_in_slices(until, |end| semaphore(real(object, end))),
        }
    }
}

/// `sem_clockwait` by the program's clock.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_clockwait(
    object: *mut c_void,
    clock: c_int,
    deadline: *const Timespec,
) -> c_int {
    static REAL: Real = Real::named(c"sem_clockwait");
    let address = REAL.address();
    if address.is_null() {
        return no_semaphore();
    }
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { transmute::<*mut c_void, ClockWait>(address) };
    // SAFETY: the caller gives what the real function takes; only the deadline is another valid one.
    unsafe {
        match valid(deadline) {
            Some(until) if clock == CLOCK_REALTIME => {
                wait_in_slices(until, |end| semaphore(real(object, clock, end)))
            }
            _ => real(object, clock, deadline),
        }
    }
}

/// `pthread_cond_timedwait` by the program's clock; may wake spuriously.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_cond_timedwait(
    condition: *mut c_void,
    mutex: *mut c_void,
    deadline: *const Timespec,
) -> c_int {
    // Without a version the C library may answer with one for condition variables of an earlier layout.
    static REAL: Real = Real { version: Some(c"GLIBC_2.3.2"), ..Real::named(c"pthread_cond_timedwait") };
    let address = REAL.address();
    if address.is_null() {
        return ENOSYS;
    }
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { transmute::<*mut c_void, ConditionWait>(address) };
    // SAFETY: the caller gives what the real function takes; only the deadline is another valid one.
    unsafe {
        match valid(deadline) {
            Some(until) if until.seconds >= EARLIEST_WALL_SECONDS => {
                wait_for_condition(until, |end| real(condition, mutex, end))
            }
            _ => real(condition, mutex, deadline),
        }
    }
}

/// `pthread_cond_clockwait` by the program's clock; may wake spuriously.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_cond_clockwait(
    condition: *mut c_void,
    mutex: *mut c_void,
    clock: c_int,
    deadline: *const Timespec,
) -> c_int {
    static REAL: Real = Real::named(c"pthread_cond_clockwait");
    let address = REAL.address();
    if address.is_null() {
        return ENOSYS;
    }
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { transmute::<*mut c_void, ConditionClockWait>(address) };
    // SAFETY: the caller gives what the real function takes; only the deadline is another valid one.
    unsafe {
        match valid(deadline) {
            Some(until) if clock == CLOCK_REALTIME => {
                wait_for_condition(until, |end| real(condition, mutex, clock, end))
            }
            _ => real(condition, mutex, clock, deadline),
        }
    }
}

/// `clock_nanosleep` by the program's clock.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_nanosleep(
    clock: c_int,
    flags: c_int,
    request: *const Timespec,
    rest: *mut Timespec,
) -> c_int {
    static REAL: Real = Real::named(c"clock_nanosleep");
    let address = REAL.address();
    if address.is_null() {
        return ENOSYS;
    }
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { transmute::<*mut c_void, ClockSleep>(address) };
    // SAFETY: the caller gives what the real function takes; only the deadline is another valid one.
    unsafe {
        match valid(request) {
            Some(until) if clock == CLOCK_REALTIME && flags & TIMER_ABSTIME != 0 => {
                wait_in_slices(until, |end| {
                    let outcome = real(clock, flags, end, null::<Timespec>().cast_mut());
                    passed_if(outcome == 0, outcome)
                })
            }
            _ => real(clock, flags, request, rest),
        }
    }
}

/// Nothing here panics; the language demands that it be said what would happen.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
