//! The tracer process: one thread that attaches, patches and lets go.
//!
//! One loop owns everything. It sleeps until a request, a child's announcement or a tracee's stop (SIGCHLD,
//! read from a descriptor) arrives, or until something is due.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv, send};
use serde::Serialize;

use super::inject;
use super::protocol::{Request, Sample, TraceFault, receive_request, send_answer};
use super::sys::ptrace::{self, Stop};

/// How long a new thread may be stopped before its maker's own report of it must have come. The two reports
/// are a few microseconds apart, unless the maker was killed in between.
const UNCLAIMED_LIMIT: Duration = Duration::from_millis(200);

/// Serves requests until the program at the other end of `requests` has gone, then lets go of every tracee.
///
/// # Errors
/// When signals cannot be read or waited for, which leaves nothing to go on with.
pub fn serve(requests: &OwnedFd) -> io::Result<()> {
    let mut child_signal = SigSet::empty();
    child_signal.add(Signal::SIGCHLD);
    child_signal.thread_block()?;
    let signals = SignalFd::with_flags(&child_signal, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut server = Server::default();
    while server.turn(requests, &signals)? == Turn::Continue {}
    server.let_all_go();
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Continue,
    Finish,
}

/// A traced thread.
#[derive(Debug)]
struct Tracee {
    /// The start-up it is followed for; none when it is only visited.
    start: Option<u64>,
    /// Let it go at its next stop.
    leaving: bool,
    /// A question it has been interrupted for.
    question: Option<Question>,
}

/// A program and all it starts, followed until it has been quiet.
#[derive(Debug)]
struct Start {
    segment: i32,
    quiet: Duration,
    last_exec: Instant,
    /// Who waits for the first patch.
    answers: Option<OwnedFd>,
}

impl Start {
    /// When it is over if nothing more is exec'ed; not before the first program is in place.
    fn over(&self) -> Option<Instant> {
        self.answers.is_none().then(|| self.last_exec + self.quiet)
    }
}

#[derive(Debug)]
struct Question {
    pid: i32,
    segment: i32,
    until: Instant,
    answers: OwnedFd,
}

impl Question {
    fn answer(&self, outcome: &Result<Sample, TraceFault>) {
        reply(&self.answers, outcome);
    }
}

/// A child that has yet to announce itself.
#[derive(Debug)]
struct Expected {
    segment: i32,
    quiet: Duration,
    socket: OwnedFd,
}

#[derive(Debug, Default)]
struct Server {
    tracees: BTreeMap<i32, Tracee>,
    starts: BTreeMap<u64, Start>,
    started: u64,
    expected: Vec<Expected>,
    /// New threads that stopped before their maker reported them.
    unclaimed: BTreeMap<i32, Instant>,
}

impl Server {
    fn turn(&mut self, requests: &OwnedFd, signals: &SignalFd) -> io::Result<Turn> {
        let mut watched = vec![
            PollFd::new(requests.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        watched
            .extend(self.expected.iter().map(|child| PollFd::new(child.socket.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, self.until_due()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> =
            watched.iter().map(|one| one.revents().is_some_and(|events| !events.is_empty())).collect();
        drop(watched);
        // Last to first, since a child that has announced itself leaves the list.
        for index in (0..self.expected.len()).rev().filter(|index| ready[index + 2]) {
            let child = self.expected.remove(index);
            self.welcome(child);
        }
        if ready[1] {
            while signals.read_signal()?.is_some() {}
        }
        while let Some((thread, stop)) = ptrace::next_stop()? {
            self.stopped(thread, stop);
        }
        self.look_at_the_time();
        if ready[0] {
            match receive_request(requests.as_raw_fd()) {
                Ok(None) | Err(_) => return Ok(Turn::Finish),
                Ok(Some((Request::Follow { segment, quiet }, socket))) => {
                    self.expected.push(Expected { segment, quiet, socket });
                }
                Ok(Some((Request::Sample { pid, segment, deadline }, answers))) => {
                    let until = Instant::now() + deadline;
                    self.ask(Question { pid, segment, until, answers });
                }
            }
        }
        Ok(Turn::Continue)
    }

    /// How long nothing is due.
    fn until_due(&self) -> PollTimeout {
        let quiet = self.starts.values().filter_map(Start::over);
        let questions = self.tracees.values().filter_map(|tracee| Some(tracee.question.as_ref()?.until));
        let unclaimed = self.unclaimed.values().map(|since| *since + UNCLAIMED_LIMIT);
        let Some(due) = quiet.chain(questions).chain(unclaimed).min() else {
            return PollTimeout::NONE;
        };
        let wait = due.saturating_duration_since(Instant::now());
        // Rounded up, so as not to turn in place through the last millisecond.
        PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    }

    /// Attaches to a child that has announced itself, and lets it go on to its exec.
    fn welcome(&mut self, child: Expected) {
        let mut announcement = [0; 4];
        let received = recv(child.socket.as_raw_fd(), &mut announcement, MsgFlags::MSG_DONTWAIT);
        // A child that ended before it could announce itself has nothing to be told.
        if received != Ok(announcement.len()) {
            return;
        }
        let thread = i32::from_ne_bytes(announcement);
        let seized = ptrace::seize(thread, ptrace::FOLLOW);
        let errno = seized.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        let told = send(child.socket.as_raw_fd(), &errno.to_ne_bytes(), MsgFlags::MSG_NOSIGNAL);
        // An untold child runs into its time-out and reports that.
        if seized.is_err() || told.is_err() {
            return;
        }
        self.started += 1;
        self.starts.insert(
            self.started,
            Start {
                segment: child.segment,
                quiet: child.quiet,
                last_exec: Instant::now(),
                answers: Some(child.socket),
            },
        );
        let tracee = Tracee { start: Some(self.started), leaving: false, question: None };
        self.tracees.insert(thread, tracee);
    }

    fn stopped(&mut self, thread: i32, stop: Stop) {
        if stop == Stop::Ended {
            self.ended(thread);
            return;
        }
        if !self.tracees.contains_key(&thread) {
            self.unclaimed.insert(thread, Instant::now());
            return;
        }
        let mut signal = 0;
        match stop {
            Stop::Ended => {}
            Stop::Exec(former) => {
                if former != thread {
                    self.ended(former);
                }
                if self.execed(thread) == Some(TraceFault::Ended) {
                    self.ended(thread);
                    return;
                }
            }
            Stop::Child(child) => self.claim(thread, child),
            Stop::Trap => {
                if self.answer(thread) == Some(TraceFault::Ended) {
                    self.ended(thread);
                    return;
                }
            }
            // A paused program must look and behave like any paused program, and a tracer's hold on it would
            // show.
            Stop::Group => {
                if let Some(tracee) = self.tracees.get_mut(&thread) {
                    tracee.leaving = true;
                    if let Some(question) = tracee.question.take() {
                        question.answer(&Err(TraceFault::Paused));
                    }
                }
            }
            Stop::Syscall => {}
            Stop::Signal(delivered) => signal = delivered,
        }
        self.go_on(thread, signal);
    }

    /// A new thread of a traced one: it is in the same start-up.
    fn claim(&mut self, maker: i32, child: i32) {
        let Some(maker) = self.tracees.get(&maker) else { return };
        let tracee = Tracee { start: maker.start, leaving: maker.leaving, question: None };
        self.tracees.insert(child, tracee);
        if self.unclaimed.remove(&child).is_some() {
            self.go_on(child, 0);
        }
    }

    /// A program has been replaced by another: makes that follow the clock.
    fn execed(&mut self, thread: i32) -> Option<TraceFault> {
        let number = self.tracees.get(&thread)?.start?;
        let start = self.starts.get_mut(&number)?;
        start.last_exec = Instant::now();
        let patched = inject::patch(thread, start.segment);
        // Only the first program has a caller who waits. A later one that cannot be patched, say a 32-bit
        // helper, runs on with the machine's clock, and a look at the processes shows it.
        if let Some(answers) = start.answers.take() {
            reply(&answers, &patched);
        }
        patched.err()
    }

    /// Answers the question that a thread was interrupted for.
    fn answer(&mut self, thread: i32) -> Option<TraceFault> {
        let question = self.tracees.get_mut(&thread)?.question.take()?;
        let outcome = inject::sample(thread, question.pid, question.segment);
        if outcome == Err(TraceFault::Busy) && Instant::now() < question.until {
            // The interrupt takes effect after a few more of the program's instructions.
            let again = ptrace::interrupt(thread);
            self.tracees.get_mut(&thread)?.question = Some(question);
            return again.err().map(|error| TraceFault::system("interrupt a thread", &error));
        }
        question.answer(&outcome);
        outcome.err()
    }

    /// Interrupts a thread of a process to ask it for its time.
    fn ask(&mut self, question: Question) {
        match self.reach(question.pid) {
            Ok(thread) => {
                if let Some(tracee) = self.tracees.get_mut(&thread) {
                    tracee.question = Some(question);
                }
            }
            Err(fault) => question.answer(&Err(fault)),
        }
    }

    /// A thread of process `pid` that is attached and about to stop.
    fn reach(&mut self, pid: i32) -> Result<i32, TraceFault> {
        let mut refusal = TraceFault::Ended;
        for thread in threads(pid)? {
            match self.tracees.entry(thread) {
                Entry::Occupied(tracee) if tracee.get().question.is_some() => {
                    return Err(TraceFault::Busy);
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    if let Err(error) = ptrace::seize(thread, ptrace::VISIT) {
                        // A thread that is ending cannot be attached to, and the kernel calls that forbidden:
                        // the first of a process whose others run on, or all of them.
                        if !is_ending(pid, thread) {
                            refusal = TraceFault::system("attach to the process", &error);
                        }
                        continue;
                    }
                    place.insert(Tracee { start: None, leaving: false, question: None });
                }
            }
            match ptrace::interrupt(thread) {
                Ok(()) => return Ok(thread),
                Err(error) => refusal = TraceFault::system("interrupt the process", &error),
            }
        }
        Err(refusal)
    }

    /// Resumes a stopped thread, or lets it go if that is due.
    fn go_on(&mut self, thread: i32, signal: i32) {
        let Some(tracee) = self.tracees.get(&thread) else { return };
        let stays = tracee.question.is_some() || (tracee.start.is_some() && !tracee.leaving);
        // Both fail only for a thread that is being killed, whose end is reported next.
        if stays {
            let _ = ptrace::resume(thread, signal);
        } else {
            let _ = ptrace::detach(thread, signal);
            self.ended(thread);
        }
    }

    /// Forgets a thread that has ended or was let go.
    fn ended(&mut self, thread: i32) {
        self.unclaimed.remove(&thread);
        let Some(tracee) = self.tracees.remove(&thread) else { return };
        if let Some(question) = tracee.question {
            question.answer(&Err(TraceFault::Ended));
        }
        // Dropping the start-up closes the socket on which its first patch may be awaited.
        if let Some(number) = tracee.start
            && !self.tracees.values().any(|other| other.start == tracee.start)
        {
            self.starts.remove(&number);
        }
    }

    fn look_at_the_time(&mut self) {
        let now = Instant::now();
        let over: Vec<u64> = self
            .starts
            .iter()
            .filter(|(_, start)| start.over().is_some_and(|over| now >= over))
            .map(|(number, _)| *number)
            .collect();
        for (thread, tracee) in &mut self.tracees {
            if tracee.start.is_some_and(|number| over.contains(&number)) && !tracee.leaving {
                tracee.leaving = true;
                // Fails only for a thread that has just ended.
                let _ = ptrace::interrupt(*thread);
            }
            if tracee.question.as_ref().is_some_and(|question| now >= question.until)
                && let Some(question) = tracee.question.take()
            {
                question.answer(&Err(TraceFault::TimedOut));
            }
        }
        for number in over {
            self.starts.remove(&number);
        }
        let orphans: Vec<i32> = self
            .unclaimed
            .iter()
            .filter(|(_, since)| now >= **since + UNCLAIMED_LIMIT)
            .map(|(thread, _)| *thread)
            .collect();
        for thread in orphans {
            self.unclaimed.remove(&thread);
            let _ = ptrace::detach(thread, 0);
        }
    }

    /// Before the tracer ends. The kernel would let go of every tracee by itself, except that a thread
    /// stopped with a signal to be delivered would lose it; those are collected first.
    fn let_all_go(&mut self) {
        while let Ok(Some((thread, stop))) = ptrace::next_stop() {
            let signal = if let Stop::Signal(signal) = stop { signal } else { 0 };
            let _ = ptrace::detach(thread, signal);
        }
    }
}

/// The threads of a process, its first one first.
fn threads(pid: i32) -> Result<Vec<i32>, TraceFault> {
    let folder = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| TraceFault::Ended)?;
    let mut threads: Vec<i32> =
        folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    threads.sort_by_key(|thread| (*thread != pid, *thread));
    Ok(threads)
}

/// Whether a thread is gone or about to be.
fn is_ending(pid: i32, thread: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).map_or(true, |stat| {
        // The name, in parentheses, may contain anything.
        stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// Answers; the caller may have given up and closed the socket.
fn reply<A: Serialize>(answers: &OwnedFd, answer: &Result<A, TraceFault>) {
    let _ = send_answer(answers, answer);
}
