//! The nemesis against a real cluster of small programs: every fault of the command line is injected and
//! healed, its claims are measured from outside, and so are its remains afterwards.
//!
//! Namespaces and the tracer need a single-threaded start, so this has a `main` of its own: it isolates
//! itself first, and runs the tests in the runner. Tests that need what the machine refuses are skipped, with
//! the reason. As root, everything runs a second time as an ordinary user.

mod cases;
mod probes;
mod program;
mod stage;
mod unprivileged;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use duress_arena::clock::Tracer;
use duress_arena::{Role, capabilities, isolate};
use duress_nemesis::variants;
use duress_testing::{Missing, Need, nothing_runs, trial};
use libtest_mimic::Arguments;

use crate::stage::{Allowed, Needs};

fn main() -> ExitCode {
    if let Some(played) = program::play() {
        return played;
    }
    let found = capabilities::probe().expect("a machine that can fork");
    match isolate() {
        Ok(Role::Runner) => {}
        Ok(Role::Outer(status)) => {
            return ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255));
        }
        Err(error) if !found.namespaces.is_available() || !found.proc.is_available() => {
            return nothing_runs("faults", Missing::new(Need::Namespaces, format!("{error}: {found:?}")));
        }
        Err(error) => panic!("namespaces are available, yet: {error:?}"),
    }
    // Forked while there is one thread.
    let needs = cases::CASES.iter().map(|case| case.needs).chain(variants().iter().map(probes::needs));
    let wanted = needs.filter(|needs| matches!(needs, Needs::Clocks));
    let clocks: Result<Vec<Tracer>, _> = wanted.map(|_| Tracer::start()).collect();
    let clocks = clocks.map(Mutex::new).map_err(|error| error.to_string());
    let disks = match &found.fuse {
        capabilities::Availability::Available => Ok(()),
        capabilities::Availability::Unavailable(reason) => Err(reason.clone()),
    };
    let allowed = Arc::new(Allowed { clocks, disks });
    let mut arguments = Arguments::from_args();
    // No more, since several of these tests measure, and the machine is small. The second round takes as long as all others.
    arguments.test_threads.get_or_insert(2);
    let mut trials = Vec::new();
    unprivileged::register(&mut trials);
    for case in cases::CASES {
        let allowed = Arc::clone(&allowed);
        trials.push(trial(case.name, move || {
            allowed.has(case.needs)?;
            (case.run)(&allowed);
            Ok(())
        }));
    }
    probes::register(&mut trials, &allowed);
    libtest_mimic::run(&arguments, trials).exit_code()
}
