//! The machine's wall clock, whatever clock the reading process was given.

/// Returns the machine's wall clock, in nanoseconds since 1970. A process of a host with a clock of its own is not deceived:
/// this is a plain system call, and faults move what the vDSO answers.
#[must_use]
pub fn machine_wall_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, to which it has an exclusive pointer. It fails only for an invalid pointer or an
    // unknown clock.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn it_is_the_usual_clock_where_there_is_no_other() {
        let usual = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let (before, now, after) = (usual(), u128::from(machine_wall_ns()), usual());
        assert!((before..=after).contains(&now), "{before} {now} {after}");
    }
}
