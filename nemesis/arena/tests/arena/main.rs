//! The arena against a real kernel: real namespaces, packets and processes.
//!
//! Namespaces need a single-threaded start, so this has a `main` of its own: it isolates itself first, and
//! runs the tests in the runner. Tests that need what the machine refuses are ignored, with the reason.
//!
//! Some tests need a program to run: they start this one again, with a scene to play as its argument.

mod capture;
mod fixture;
mod lifetime;
mod network;
mod pcapng;
mod processes;
mod scene;
mod shaping;
mod throttle;
mod trains;
#[path = "../../examples/two_hosts.rs"]
mod two_hosts;
mod unprivileged;

use std::process::ExitCode;

use duress_arena::capabilities::{Availability, Capabilities};
use duress_arena::{Role, capabilities, isolate};
use duress_testing::{Missing, Need, nothing_runs};
use libtest_mimic::{Arguments, Completion, Trial};

use crate::scene::Scene;

/// Runs the example that the crate's front door shows.
fn example(allowed: &Capabilities) -> Trial {
    let tracing = allowed.ptrace.clone();
    Trial::ignorable_test("the_example_shows_what_it_says", move || {
        if let Availability::Unavailable(reason) = tracing {
            return Missing::new(Need::Ptrace, reason).ended();
        }
        let output = scene::command(Scene::Example).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() && text.contains("n1 to n2: Dropped") && text.contains("s ahead") {
            return Ok(Completion::Completed);
        }
        Err(format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    })
}

fn main() -> ExitCode {
    if let Some(scene) = scene::asked_for() {
        return scene.play();
    }
    let allowed = capabilities::probe().expect("a machine that can fork");
    match isolate() {
        Ok(Role::Runner) => {}
        Ok(Role::Outer(status)) => return scene::pass_on(status),
        Err(error) if !allowed.namespaces.is_available() || !allowed.proc.is_available() => {
            return nothing_runs("arena", Missing::new(Need::Namespaces, format!("{error}: {allowed:?}")));
        }
        Err(error) => panic!("namespaces are available, yet: {error:?}"),
    }
    let mut arguments = Arguments::from_args();
    // One at a time: several of these tests measure, and the machine is small.
    arguments.test_threads.get_or_insert(1);
    let mut trials: Vec<Trial> = Vec::new();
    network::register(&mut trials, &allowed);
    shaping::register(&mut trials, &allowed);
    trains::register(&mut trials, &allowed);
    capture::register(&mut trials, &allowed);
    processes::register(&mut trials);
    throttle::register(&mut trials);
    lifetime::register(&mut trials);
    unprivileged::register(&mut trials);
    trials.push(example(&allowed));
    libtest_mimic::run(&arguments, trials).exit_code()
}
