//! The program as a stranger meets it: the real binary, real clusters, files and exit codes.
//!
//! Everything is started in a folder of its own, has a deadline, and does not outlive its test. Tests that
//! need what the machine refuses are ignored, with the reason.

mod anomalies;
mod crash_states;
mod external;
mod faults;
mod formats;
mod guide;
mod histories;
mod hunted;
mod killed;
mod kits;
mod lesson;
mod maelstrom;
mod manifests;
mod matrix;
mod messages;
mod ordinary_user;
mod output;
mod record;
mod recovery;
mod repeated;
mod runs;
mod served;
mod stage;
mod stopped;
mod surroundings;
mod usage;
mod witness;

use std::process::ExitCode;
use std::time::Duration;

use duress_testing::{Missing, Need, trial};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::stage::Stage;

/// A test and its name.
type Test = (&'static str, fn());

/// A test that may find that this machine does not allow it, and its name.
type TestIfAllowed = (&'static str, fn() -> Result<(), Missing>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each of these may run a whole cluster, and the machine is small; but clusters mostly wait.
    arguments.test_threads = arguments.test_threads.or(Some(3));
    let mut trials = Vec::new();
    for (group, tests) in [
        ("usage", usage::TESTS),
        ("histories", histories::TESTS),
        ("formats", formats::TESTS),
        ("guide", guide::TESTS),
        ("hunted", hunted::TESTS_WITHOUT_CLUSTERS),
        ("manifests", manifests::TESTS_WITHOUT_CLUSTERS),
        ("external", external::TESTS_WITHOUT_CLUSTERS),
        ("maelstrom", maelstrom::TESTS_WITHOUT_CLUSTERS),
        ("output", output::TESTS),
        ("matrix", matrix::TESTS_WITHOUT_CLUSTERS),
        ("served", served::TESTS),
    ] {
        for &(name, test) in tests {
            trials.push(Trial::test(format!("{group}::{name}"), move || {
                test();
                Ok::<(), Failed>(())
            }));
        }
    }
    for &(name, test) in external::TESTS_WITH_PYTHON {
        trials.push(trial(format!("external::{name}"), test));
    }
    let fit = fit();
    let of_clusters = [
        ("runs", runs::TESTS),
        ("anomalies", anomalies::TESTS),
        ("messages", messages::TESTS),
        ("manifests", manifests::TESTS),
        ("faults", faults::TESTS),
        ("recovery", recovery::TESTS),
        ("repeated", repeated::TESTS),
        ("hunted", hunted::TESTS),
        ("stopped", stopped::TESTS),
        ("killed", killed::TESTS),
        ("lesson", lesson::TESTS),
        ("matrix", matrix::TESTS),
        ("output", output::TESTS_OF_CLUSTERS),
    ];
    for (group, tests) in of_clusters {
        for &(name, test) in tests {
            let fit = fit.clone();
            trials.push(trial(format!("{group}::{name}"), move || fit.map(|()| test())));
        }
    }
    let by_leave = [
        ("crash_states", crash_states::TESTS_IF_ALLOWED),
        ("runs", runs::TESTS_IF_ALLOWED),
        ("faults", faults::TESTS_IF_ALLOWED),
        ("manifests", manifests::TESTS_IF_ALLOWED),
        ("kits", kits::TESTS_IF_ALLOWED),
        ("maelstrom", maelstrom::TESTS_IF_ALLOWED),
        ("ordinary_user", ordinary_user::TESTS_IF_ALLOWED),
        ("surroundings", surroundings::TESTS_IF_ALLOWED),
    ];
    for (group, tests) in by_leave {
        for &(name, test) in tests {
            let fit = fit.clone();
            trials.push(trial(format!("{group}::{name}"), move || fit.and_then(|()| test())));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether clusters can be run here, as the program itself says.
fn fit() -> Result<(), Missing> {
    let doctor = Stage::set().run("doctor", Duration::from_secs(60));
    if doctor.code() == 0 {
        Ok(())
    } else {
        Err(Missing::new(Need::Namespaces, format!("no cluster can be run here: {doctor}")))
    }
}
