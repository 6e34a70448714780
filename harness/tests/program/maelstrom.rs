//! Programs that speak Maelstrom's protocol.

use duress_testing::Missing;

use crate::TestIfAllowed;
use crate::manifests::python;
use crate::stage::{Finished, PATIENCE, Stage};

pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("nodes_that_are_right_pass", nodes_that_are_right_pass),
    ("nodes_that_are_wrong_are_found", nodes_that_are_wrong_are_found),
    ("a_node_that_breaks_the_protocol_is_quoted", a_node_that_breaks_the_protocol_is_quoted),
    ("the_workload_is_one_of_maelstroms", the_workload_is_one_of_maelstroms),
];

/// A stage with nodes of every workload.
fn nodes() -> Result<Stage, Missing> {
    python()?;
    let stage = Stage::set();
    stage.write("node.py", include_str!("maelstrom/node.py"));
    Ok(stage)
}

/// Runs the nodes with these arguments, of which the first is the workload.
fn run(stage: &Stage, arguments: &[&str], options: &str) -> Finished {
    let mut command = stage.duress("run");
    command.arg(format!("maelstrom:python3 node.py {}", arguments.join(" ")));
    command.args(["--workload", arguments[0]]).args(options.split_whitespace());
    let finished = stage.start(command).wait(PATIENCE);
    stage.assert_vanished();
    finished
}

fn nodes_that_are_right_pass() -> Result<(), Missing> {
    let stage = nodes()?;
    for workload in ["broadcast", "lin-kv", "txn-list-append", "unique-ids"] {
        let run = run(&stage, &[workload], "--nodes 3 --time-limit 4s --faults partition --interval 800ms")
            .exits(0);
        assert!(run.stdout.starts_with(&format!("VALID: node ({workload})")), "{run}");
    }
    let replayed = stage.run("replay runs/latest", PATIENCE).exits(0);
    assert!(replayed.stdout.starts_with("VALID: node (unique-ids)"), "{replayed}");
    Ok(())
}

fn nodes_that_are_wrong_are_found() -> Result<(), Missing> {
    let stage = nodes()?;
    for (arguments, faults, kind) in [
        // Each message is sent once, so that those that a partition drops are missing for good.
        (["g-set", "once"], "partition", ": diverged "),
        // Reads of another store are old.
        (["lin-kv", "seq-kv"], "none", ": stale-read "),
        (["txn-rw-register", "unconditional"], "none", ": lost-update "),
        (["unique-ids", "same"], "none", ": duplicate"),
    ] {
        let options = format!("--nodes 3 --time-limit 5s --interval 800ms --faults {faults}");
        let run = run(&stage, &arguments, &options).exits(1);
        assert!(run.stdout.contains(kind), "{arguments:?}: {run}");
    }
    Ok(())
}

fn a_node_that_breaks_the_protocol_is_quoted() -> Result<(), Missing> {
    let run = run(&nodes()?, &["lin-kv", "chatty"], "--nodes 3 --time-limit 5s").exits(3);
    assert!(run.stdout.contains("the node wrote a line that is not a message"), "{run}");
    assert!(run.stdout.contains("ready to serve"), "{run}");
    let run =
        self::run(&nodes()?, &["unique-ids", "late"], "--nodes 1 --time-limit 2s --faults none").exits(3);
    assert!(run.stdout.contains("ended by itself") && run.stdout.contains("\"late\""), "{run}");
    Ok(())
}

fn the_workload_is_one_of_maelstroms() -> Result<(), Missing> {
    let stage = nodes()?;
    let run = |options: &str| {
        let mut command = stage.duress("run");
        command.arg("maelstrom:./node.py").args(options.split_whitespace());
        stage.start(command).wait(PATIENCE).exits(254).stderr
    };
    let missing = run("");
    assert!(missing.contains("--workload") && missing.contains("broadcast, g-set"), "{missing}");
    let keys = run("--workload broadcast --keys 5");
    assert!(keys.contains("--keys: the system has one set"), "{keys}");
    let unknown = run("--workload lin-kw");
    assert!(unknown.contains("did you mean \"lin-kv\"?"), "{unknown}");
    Ok(())
}
