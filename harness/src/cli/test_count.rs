//! `duress run --test-count`: the same run again and again, each time with the next seed.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;

use futures_util::future::select_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure};
use super::output::{print, tell};

/// The flags of the command line that a single run gets otherwise, or not at all. Each is followed by a value.
const REPLACED: [&str; 2] = ["--test-count", "--seed"];
/// The signals that ask this program to stop, which it passes on.
const FORWARDED: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Carries out this program's own command line `times` times, with the seeds from `first` on, each as a process of its own: a run
/// moves into namespaces, from which there is no way back. Ends with the worst exit code, after saying how the runs ended.
///
/// A request to stop is passed on to the run, and is the last run's.
pub(super) fn repeat(times: u32, first: u64) -> Result<Exit, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let ends = runtime.block_on(run_each(times, first)).map_err(Failure::internal)?;
    if ends.last() == Some(&(Exit::Usage, first)) {
        return Ok(Exit::Usage);
    }
    print(summary(&ends, times))?;
    Ok(worst(&ends, times))
}

/// Returns how each run ended, with its seed.
async fn run_each(times: u32, first: u64) -> io::Result<Vec<(Exit, u64)>> {
    let kinds = FORWARDED.map(|signal| SignalKind::from_raw(signal as i32));
    let mut signals = kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut ends = Vec::new();
    for number in 0..times {
        let seed = first.wrapping_add(number.into());
        tell(format_args!("run {} of {times}, seed {seed}", number + 1));
        let mut child = start(seed)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let mut stopped = false;
        let status = loop {
            let asked = select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv())));
            tokio::select! {
                status = child.wait() => break status?,
                (_, which, _) = asked => {
                    stopped = true;
                    if let Some(pid) = pid {
                        // It was not waited for, so that the number is still its own; it may have ended just now.
                        let _ = kill(pid, FORWARDED[which]);
                    }
                }
            }
        };
        if stopped && status.code().is_none() {
            // It was asked to stop before it could do anything else about it.
            break;
        }
        let exit = status.code().and_then(Exit::of).unwrap_or(Exit::Internal);
        ends.push((exit, seed));
        // The command line is wrong for every seed.
        if stopped || exit == Exit::Usage {
            break;
        }
    }
    Ok(ends)
}

/// Starts the run with this seed.
fn start(seed: u64) -> io::Result<Child> {
    let parent = std::process::id().to_string();
    Command::new(std::env::current_exe()?)
        .args(["--end-with-parent", &parent])
        .args(single(std::env::args_os().skip(1)))
        .args(["--seed", &seed.to_string()])
        .stdin(Stdio::null())
        // A group of its own, so that a Ctrl-C at the terminal reaches it once, through this process.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Returns `words` without the flags in [`REPLACED`].
fn single(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut kept, mut words) = (Vec::new(), words);
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if REPLACED.iter().any(|flag| text == *flag) {
            // Its value goes with it.
            words.next();
        } else if !REPLACED
            .iter()
            .any(|flag| text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
        {
            kept.push(word);
        }
    }
    kept
}

/// `3 of 4 runs: 1 valid, 1 invalid (seed 8), 1 unknown (seed 9)`.
fn summary(ends: &[(Exit, u64)], times: u32) -> String {
    let names = [
        (Exit::Valid, "valid"),
        (Exit::Anomaly, "invalid"),
        (Exit::Unknown, "unknown"),
        (Exit::Broken, "broken"),
        (Exit::Internal, "failed"),
    ];
    let counts = names.iter().filter_map(|(exit, name)| {
        let of_it = ends.iter().filter(|(end, _)| end == exit);
        let seeds: Vec<String> = of_it.map(|(_, seed)| seed.to_string()).collect();
        // The first three are always said, so that a reader sees a zero.
        if seeds.is_empty() && matches!(exit, Exit::Broken | Exit::Internal) {
            return None;
        }
        let s = if seeds.len() == 1 { "" } else { "s" };
        let which = match seeds.is_empty() || *exit == Exit::Valid {
            true => String::new(),
            false => format!(" (seed{s} {})", seeds.join(", ")),
        };
        Some(format!("{} {name}{which}", seeds.len()))
    });
    format!("{} of {times} runs: {}\n", ends.len(), counts.collect::<Vec<_>>().join(", "))
}

/// Returns the end that outranks the others: a proof against the system, then what proves nothing.
fn worst(ends: &[(Exit, u64)], times: u32) -> Exit {
    let order = [Exit::Anomaly, Exit::Internal, Exit::Broken, Exit::Unknown];
    let found = order.into_iter().find(|exit| ends.iter().any(|(end, _)| end == exit));
    found.unwrap_or(if ends.len() < times as usize { Exit::NotRun } else { Exit::Valid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_end_decides() {
        let of = |ends: &[Exit], times| worst(&ends.iter().map(|end| (*end, 1)).collect::<Vec<_>>(), times);
        assert_eq!(of(&[Exit::Valid, Exit::Valid], 2), Exit::Valid);
        assert_eq!(of(&[Exit::Valid], 2), Exit::NotRun);
        assert_eq!(of(&[Exit::Valid, Exit::Unknown], 9), Exit::Unknown);
        assert_eq!(of(&[Exit::Broken, Exit::Unknown, Exit::Valid], 3), Exit::Broken);
        assert_eq!(of(&[Exit::Internal, Exit::Broken, Exit::Anomaly], 3), Exit::Anomaly);
    }

    #[test]
    fn the_summary_names_the_seeds_of_what_is_not_valid() {
        let ends = [(Exit::Valid, 7), (Exit::Anomaly, 8), (Exit::Valid, 9), (Exit::Anomaly, 10)];
        assert_eq!(summary(&ends, 5), "4 of 5 runs: 2 valid, 2 invalid (seeds 8, 10), 0 unknown\n");
        assert_eq!(
            summary(&[(Exit::Broken, 7)], 1),
            "1 of 1 runs: 0 valid, 0 invalid, 0 unknown, 1 broken (seed 7)\n"
        );
    }

    #[test]
    fn a_single_run_has_the_same_words_but_these() {
        let words = [
            "run",
            "store",
            "--test-count",
            "3",
            "--faults",
            "kill",
            "--seed=7",
            "-n",
            "n1",
            "--test-count=2",
        ];
        let kept = single(words.into_iter().map(OsString::from));
        assert_eq!(kept, ["run", "store", "--faults", "kill", "-n", "n1"].map(OsString::from));
    }
}
