//! A share of the processor: everything on a host is stopped for most of the time, over and over.
//!
//! Stopping needs no right that the arena does not have, unlike `cpu.max` of a control group. All processes of the host are stopped at
//! the same moments, as those of a virtual machine are while others have its processor.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::control::{Control, ControlError};
use crate::host::Host;
use crate::sys::procfs::ThreadState;

/// The time from one stop to the next, if the processes stop at once: that of `cpu.max`.
const PERIOD: Duration = Duration::from_millis(100);
/// The time that every process may take to be seen stopped.
const DEADLINE: Duration = Duration::from_secs(15);

/// A host whose processes run for a share of the time. Dropping it lets them continue.
#[derive(Debug)]
#[must_use = "the processes have the whole processor again when this is dropped"]
pub struct Throttle {
    /// `None` once everything on it was left stopped.
    host: Option<Arc<Host>>,
    account: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<(), ControlError>>>,
}

/// The account of a throttle, over its rounds: the processes run, and are then held for as long as the share demands. A round whose
/// hold did not end, or in whose hold the host was started again, does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleAccount {
    /// How many times every thread was seen stopped, both at the beginning of a hold and at its end.
    pub holds: u64,
    /// How long all those holds took.
    pub held: Duration,
    /// How long the processes were not held, counted until every thread was seen stopped.
    pub ran: Duration,
}

/// Why a host could not be throttled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThrottleError {
    /// The processes could not be stopped or continued.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The thread could not be started.
    #[error("cannot start the throttle's thread")]
    Thread(#[source] std::io::Error),
    /// The thread panicked.
    #[error("the throttle's thread panicked")]
    Panicked,
}

impl Throttle {
    /// Stops everything on `host`, and from then on lets it run for `percent` of the time, from 1 to 99. Whatever is started there
    /// later is throttled too. Returns when every thread was seen stopped.
    ///
    /// # Errors
    /// [`ThrottleError`]; the processes continue then.
    pub fn start(host: Arc<Host>, percent: u8) -> Result<Self, ThrottleError> {
        let percent = u32::from(percent.clamp(1, 99));
        let account = Arc::new(Shared::default());
        let (stop, stopped) = channel();
        let mut throttle = Self {
            host: Some(Arc::clone(&host)),
            account: Arc::clone(&account),
            stop: Some(stop),
            thread: None,
        };
        hold(&host)?;
        let rounds = move || turn_by_turn(&host, percent, &account, &stopped);
        let spawned = Builder::new().name("throttle".to_owned()).spawn(rounds);
        throttle.thread = Some(spawned.map_err(ThrottleError::Thread)?);
        Ok(throttle)
    }

    /// Returns the account once it has so many holds, or after `deadline`.
    #[must_use]
    pub fn watch(&self, holds: u64, deadline: Duration) -> ThrottleAccount {
        let waited =
            self.account.changed.wait_timeout_while(self.account.lock(), deadline, |it| it.holds < holds);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends it, and leaves everything on the host stopped as after a pause, so that [`NodeProcess::resume`] can see it go on.
    ///
    /// # Errors
    /// [`ThrottleError`] with what ended it before; the processes continue then.
    ///
    /// [`NodeProcess::resume`]: crate::NodeProcess::resume
    pub fn end_held(mut self) -> Result<ThrottleAccount, ThrottleError> {
        self.finish()?;
        self.host = None;
        Ok(*self.account.lock())
    }

    fn finish(&mut self) -> Result<(), ThrottleError> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => Ok(ended?),
            Some(Err(_)) => Err(ThrottleError::Panicked),
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let Some(host) = self.host.take() else { return };
        // The safety net: a caller that wants to know whether this worked calls `end_held`.
        let _unheard = self.finish();
        let _unheard = Control::begin("continue", &host, DEADLINE).send_all(Signal::SIGCONT);
    }
}

/// The account, and the news of it.
#[derive(Debug, Default)]
struct Shared {
    account: Mutex<ThrottleAccount>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ThrottleAccount> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops everything on the host. Returns once every thread was seen stopped.
fn hold(host: &Host) -> Result<Hold, ControlError> {
    let starts = host.starts();
    let (pids, _) =
        Control::begin("throttle", host, DEADLINE).signal_until(Signal::SIGSTOP, ThreadState::is_held)?;
    Ok(Hold { pids, starts: *starts, at: Instant::now() })
}

/// A hold of everything on a host.
struct Hold {
    /// The number of processes.
    pids: usize,
    /// How many processes had been started there.
    starts: u64,
    at: Instant,
}

/// Lets a host whose processes are held run and holds it again, over and over, until it is told to stop; the processes are held
/// then.
///
/// A hold lasts for as long as the share demands for the time that the processes ran before it: a busy machine stretches the rounds,
/// and leaves the share as it is.
fn turn_by_turn(
    host: &Host,
    percent: u32,
    account: &Shared,
    stopped: &Receiver<()>,
) -> Result<(), ControlError> {
    // The first hold has no run before it, and does not count.
    let mut round: Option<(Duration, Hold)> = None;
    let mut lasts = PERIOD * (100 - percent) / 100;
    loop {
        if stopped.recv_timeout(lasts) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        let control = Control::begin("throttle", host, DEADLINE);
        if let Some((ran, hold)) = round
            && hold.pids > 0
        {
            let (held, stayed) = (hold.at.elapsed(), control.is_held()?);
            // Looked at last: a start after the first look may have come before the second.
            if hold.starts == *host.starts() {
                let mut account = account.lock();
                account.ran += ran;
                if stayed {
                    account.holds += 1;
                    account.held += held;
                } else {
                    // Another program let them continue.
                    account.ran += held;
                }
            }
        }
        account.changed.notify_all();
        control.send_all(Signal::SIGCONT)?;
        let ran_at = Instant::now();
        let told = stopped.recv_timeout(PERIOD * percent / 100);
        let hold = hold(host)?;
        let ran = hold.at - ran_at;
        if told != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        lasts = ran * (100 - percent) / percent;
        round = Some((ran, hold));
    }
}
