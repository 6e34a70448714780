//! Clocks: the wall clock of one node, moved while its unmodified programs run.
//!
//! - [`ClockPage`]: one node's offset and rate, in memory that all its processes see; [`Strobe`] moves it to
//!   and fro.
//! - [`Tracer`]: starts programs that follow a page, and asks running ones for their time.
//! - [`preload_absolute_waits`]: has programs wait until a wall clock time by their node's clock.
//! - [`ClockEvidence`]: proof that a node's processes see what they should.
//!
//! A program gets the time from the vDSO, a small library that the kernel maps into every process. As a
//! program starts, its copy of `clock_gettime`, `gettimeofday` and `time` is overwritten with jumps to our
//! code on the clock page, which asks the kernel and adds what the page says. It makes no difference whether
//! the program is linked dynamically or statically, or written in C, Rust, Go, Java or Python. From then on
//! changing the clock is a write to memory: no process is stopped, and all see it at once.
//!
//! The following stay on the machine's own time:
//! - waiting *until* a wall clock time in the kernel where no preloaded library reaches: statically linked
//!   programs, bare `futex` calls, absolute timers (`timerfd_settime`), message queues. It is computed with the node's
//!   clock and awaited by the machine's, so a clock far ahead makes it very long;
//! - all waiting *for* a duration, even when monotonic clocks are made to drift;
//! - time stamps the kernel makes: of files, packets, and System V objects;
//! - programs that make the system call themselves instead of asking the vDSO, and 32-bit programs;
//! - programs exec'ed after start-up is over ([`StartUp`]). Processes forked without exec do follow the
//!   clock.
//!
//! Only x86_64 is supported; elsewhere [`ClockPage::create`] and [`Tracer::start`] say so. Neither root nor
//! any capability is needed, but the right to trace one's own children, which hardened systems may have
//! withdrawn (`kernel.yama.ptrace_scope` of 2 or 3).

mod absolute_waits;
mod evidence;
#[cfg(target_arch = "x86_64")]
mod inject;
mod page;
mod protocol;
#[cfg(target_arch = "x86_64")]
mod server;
mod strobe;
mod sys;
mod tracer;
mod vdso;

pub use absolute_waits::{absolute_waits_missing, preload_absolute_waits};
pub use evidence::{ClockEvidence, SeenClock, Unpatched};
pub use page::{ClockPage, ClockPageError, ClockSetting, DRIFT_MAX_PPB, DRIFT_MIN_PPB, MonotonicClocks};
pub use protocol::{Sample, TraceFault};
pub use strobe::{Strobe, StrobeAccount, StrobeError};
pub use tracer::{StartUp, Tracer, TracerError};
