//! Process information from /proc: which processes exist, their network namespace, the state of their
//! threads.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::unistd::Pid;

/// The state of one thread, from the third field of its `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// Running, runnable or sleeping.
    Live,
    /// In a wait of the kernel's that no signal but a kill interrupts, as a parent's in `vfork(2)` until its child has another
    /// program. A signal to stop takes effect before it returns to its program.
    Waiting,
    /// Stopped by a signal or held by a tracer.
    Stopped,
    /// Ended, but not yet collected by its parent.
    Dead,
}

impl ThreadState {
    /// Whether it does nothing more until SIGCONT, once it was sent SIGSTOP. One that waits in the kernel may wait for a process
    /// that is stopped, and stops before it does anything.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Stopped | Self::Waiting)
    }
}

/// Returns every process of the PID namespace that /proc shows, in ascending order.
pub fn processes() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(Pid::from_raw(number));
        }
    }
    Ok(pids)
}

/// Returns the inode that identifies the network namespace of `pid`; `None` once the process is ending or has
/// ended.
///
/// # Errors
/// Any failure but the process's absence: a namespace that cannot be read must not pass for another one.
pub fn network_namespace(pid: Pid) -> io::Result<Option<u64>> {
    // The kernel answers "permission denied" also for a process that is just ending, or that went between two of
    // its own steps. Such a one has no memory any more. Asked more than once, since the number may pass to a
    // new process between the two questions.
    let mut denied = None;
    for _ in 0..3 {
        match absent_is_none(fs::metadata(format!("/proc/{pid}/ns/net")).map(|namespace| namespace.ino())) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
            answer => return answer,
        }
        if !has_memory(pid)? {
            return Ok(None);
        }
    }
    denied.map_or(Ok(None), Err)
}

/// Whether `pid` has an address space: every program has one until it begins to end.
fn has_memory(pid: Pid) -> io::Result<bool> {
    let pages = absent_is_none(fs::read_to_string(format!("/proc/{pid}/statm")))?;
    Ok(pages.is_some_and(|pages| !pages.starts_with("0 ")))
}

/// Returns the inode that identifies the calling thread's network namespace.
pub fn own_network_namespace() -> io::Result<(fs::File, u64)> {
    let namespace = fs::File::open("/proc/thread-self/ns/net")?;
    let inode = namespace.metadata()?.ino();
    Ok((namespace, inode))
}

/// Returns the state of every thread of `pid`; empty once the process is gone.
pub fn threads(pid: Pid) -> io::Result<Vec<ThreadState>> {
    let Some(entries) = absent_is_none(fs::read_dir(format!("/proc/{pid}/task")))? else {
        return Ok(Vec::new());
    };
    let mut states = Vec::new();
    for entry in entries {
        let Some(entry) = absent_is_none(entry)? else { break };
        let Some(stat) = absent_is_none(fs::read_to_string(entry.path().join("stat")))? else { continue };
        states.push(parse_state(&stat)?);
    }
    Ok(states)
}

/// The activity of a process's threads since they began: it only grows, and does not while all of them are
/// stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// How many times they went off a processor.
    switches: u64,
    /// The processor time they have used, in ticks of the kernel: for a thread that never goes off.
    ticks: u64,
}

/// Returns the activity of the threads of `pid` so far; `None` once the process is gone.
pub fn activity(pid: Pid) -> io::Result<Option<Activity>> {
    let Some(entries) = absent_is_none(fs::read_dir(format!("/proc/{pid}/task")))? else { return Ok(None) };
    let mut activity = Activity::default();
    for entry in entries {
        let Some(entry) = absent_is_none(entry)? else { break };
        let read = |name: &str| absent_is_none(fs::read_to_string(entry.path().join(name)));
        let (Some(stat), Some(status)) = (read("stat")?, read("status")?) else { continue };
        // After the command name come the state, and as the twelfth and thirteenth field the time used.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        activity.ticks += fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        let switches = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        activity.switches += switches.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum::<u64>();
    }
    Ok(Some(activity))
}

/// Reads the state out of a `stat` line: the first character after the command name, which is in parentheses
/// and may itself hold any character, so the *last* parenthesis counts.
fn parse_state(stat: &str) -> io::Result<ThreadState> {
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    match state {
        Some('T' | 't') => Ok(ThreadState::Stopped),
        Some('D') => Ok(ThreadState::Waiting),
        Some('Z' | 'X') => Ok(ThreadState::Dead),
        Some(_) => Ok(ThreadState::Live),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("malformed stat line {stat:?}"))),
    }
}

/// Processes come and go while /proc is being read: ENOENT and ESRCH only mean that one went.
fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_namespace_until_it_ends() {
        let own = own_network_namespace().unwrap().1;
        for _ in 0..50 {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            let pid = Pid::from_raw(child.id().cast_signed());
            // Looked at all the way through its end: there may be no error at any moment.
            while let Some(namespace) = network_namespace(pid).unwrap() {
                assert_eq!(namespace, own);
            }
            assert!(
                threads(pid).unwrap().iter().all(|&state| state == ThreadState::Dead)
                    || !has_memory(pid).unwrap()
            );
            child.wait().unwrap();
            assert_eq!(network_namespace(pid).unwrap(), None);
        }
    }

    #[test]
    fn a_command_name_cannot_pose_as_a_state() {
        assert_eq!(parse_state("7 (evil) Z) T 1 7").unwrap(), ThreadState::Stopped);
        assert_eq!(parse_state("7 (a b) S 1 7").unwrap(), ThreadState::Live);
        assert_eq!(parse_state("7 (a b) D 1 7").unwrap(), ThreadState::Waiting);
        assert_eq!(parse_state("7 (x) Z 1 7").unwrap(), ThreadState::Dead);
        assert!(parse_state("7 nonsense").is_err());
    }
}
