//! The fault disk against a real kernel: POSIX as programs expect it, power loss compared with a model, and
//! databases that were not made for it.
//!
//! Mounting needs namespaces, and those need a single-threaded start: this has a `main` of its own, which
//! isolates itself first. However it ends, its mounts and processes end with it. Tests that need what the
//! machine refuses are skipped, with the reason.
//!
//! `DURESS_DISK_ROUNDS` says how many power losses each database has to survive (20), `DURESS_ETCD_ROUNDS` how many
//! etcd (5), and `DURESS_DISK_CASES` how many random histories are tried (60).

mod crash_states;
mod databases;
mod faults;
mod fixture;
mod model;
mod posix;
mod power_loss;
mod scene;
mod unprivileged;

use std::process::ExitCode;

use duress_arena::{Role, isolate};
use duress_testing::{Missing, Need, nothing_runs, trial};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(scene) = scene::asked_for() {
        return scene.play();
    }
    let outside = fixture::world_before_isolation();
    match isolate() {
        Ok(Role::Runner) => {}
        Ok(Role::Outer(status)) => return scene::pass_on(status),
        Err(error) => {
            return nothing_runs("disk", Missing::new(Need::Namespaces, error.to_string()));
        }
    }
    let mut arguments = Arguments::from_args();
    // One at a time: the machine is small, and the time-outs are not.
    arguments.test_threads.get_or_insert(1);
    let mut trials: Vec<Trial> = Vec::new();
    match fixture::mountable() {
        Ok(()) => {
            posix::register(&mut trials);
            model::register(&mut trials);
            power_loss::register(&mut trials);
            crash_states::register(&mut trials);
            faults::register(&mut trials);
            databases::register(&mut trials);
        }
        Err(reason) => {
            trials.push(trial("all_that_needs_a_mounted_disk", || Err(Missing::new(Need::Fuse, reason))));
        }
    }
    unprivileged::register(&mut trials, &outside);
    libtest_mimic::run(&arguments, trials).exit_code()
}
