//! Clusters that already run: the example's processes, which outlive every run, and the faults of its manifest.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use duress_testing::Missing;
use nix::sys::signal::Signal;

use crate::manifests::python;
use crate::record::nemesis;
use crate::stage::{Finished, PATIENCE, Stage, wait_until};
use crate::{Test, TestIfAllowed};

pub const TESTS_WITHOUT_CLUSTERS: &[Test] = &[
    ("what_needs_an_arena_is_refused", what_needs_an_arena_is_refused),
    ("mistakes_in_its_tables_are_named", mistakes_in_its_tables_are_named),
    ("a_node_that_does_not_answer_ends_the_run_at_once", a_node_that_does_not_answer_ends_the_run_at_once),
];

/// None of these needs namespaces.
pub const TESTS_WITH_PYTHON: &[TestIfAllowed] = &[
    ("stale_reads_are_found_under_faults_with_evidence", stale_reads_are_found_under_faults_with_evidence),
    ("what_earlier_runs_left_is_no_anomaly", what_earlier_runs_left_is_no_anomaly),
    ("a_command_that_fails_proves_nothing", a_command_that_fails_proves_nothing),
    ("a_fault_that_stays_is_said_loudly", a_fault_that_stays_is_said_loudly),
    ("an_interrupt_heals_what_is_in_force", an_interrupt_heals_what_is_in_force),
    ("one_run_at_a_time_has_the_cluster", one_run_at_a_time_has_the_cluster),
    ("a_trial_asks_every_evidence_command", a_trial_asks_every_evidence_command),
];

/// A short run of few clients.
const SHORT: &str = "--time-limit 5 --concurrency 2n --seed 4";

/// Returns a stage with the example, at addresses of its own.
fn example() -> (Stage, String) {
    let stage = Stage::set();
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../targets/manifests");
    for file in
        ["toy/store.py", "toy/client.py", "toy/duress_client.py", "running/duress.toml", "running/cluster.sh"]
    {
        let to = stage.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(manifests.join(file), to).unwrap();
    }
    // Free at this moment, all at once.
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    for (old, new) in ["127.0.0.1:7101", "127.0.0.1:7102", "127.0.0.1:7103"].into_iter().zip(&addresses) {
        edit(&stage, old, new);
    }
    (stage, addresses.join(" "))
}

fn edit(stage: &Stage, from: &str, to: &str) {
    let text = fs::read_to_string(stage.path().join("running/duress.toml")).unwrap();
    assert!(text.contains(from), "the manifest has {from}");
    stage.write("running/duress.toml", text.replacen(from, to, 1));
}

/// The example's processes.
struct Running {
    stage: Stage,
    nodes: String,
}

impl Running {
    /// Starts the example, whose followers answer reads by `reads`.
    fn start(reads: &str) -> Self {
        let (stage, nodes) = example();
        let running = Self { stage, nodes };
        running.cluster(&["start", reads]).exits(0);
        running
    }

    /// Runs the example's script.
    fn cluster(&self, words: &[&str]) -> Finished {
        let mut command = self.stage.command(Path::new("sh"));
        command.arg("running/cluster.sh").args(words).env("NODES", &self.nodes);
        self.stage.start(self.told(command)).wait(PATIENCE)
    }

    /// Has a program, and the commands that it starts, find the processes.
    fn told(&self, mut command: std::process::Command) -> std::process::Command {
        command.env("STATE", self.stage.path().join("state"));
        command
    }

    fn duress(&self, line: &str) -> Finished {
        self.stage.start(self.told(self.stage.duress(line))).wait(PATIENCE)
    }

    /// Fails the test unless every process runs, and ends them.
    fn end(self) {
        for node in ["n1", "n2", "n3"] {
            self.cluster(&["is-paused", node]).exits(1);
        }
        self.cluster(&["stop"]).exits(0);
        self.stage.assert_vanished();
    }
}

fn stale_reads_are_found_under_faults_with_evidence() -> Result<(), Missing> {
    python()?;
    let running = Running::start("any");
    let run = running.duress(&format!("run ./running {SHORT}")).exits(1);
    // The smallest witness of a stale read may have another name.
    assert!(["stale-read", "nonlinearizable"].iter().any(|kind| run.stdout.contains(kind)), "{run}");
    assert!(run.stdout.contains("command pause on "), "{run}");
    assert!(run.stdout.contains("not in force before, in force now (\"n"), "{run}");
    let lacks = "faults of the families partition, packet, kill, pause, restart, clock, disk, resources, membership, upgrade, stories";
    assert!(run.stderr.contains(lacks) && run.stdout.contains(lacks), "{run}");
    let record = running.stage.latest();
    let history = record.history();
    let [starts, stops] = ["start-command", "stop-command"].map(|f| {
        let events = nemesis(&history, f);
        events.iter().filter(|event| event["value"]["evidence"].is_object()).count()
    });
    assert!(starts > 0 && starts == stops, "{starts} faults, and {stops} were healed: {run}");
    let logs = fs::read_dir(record.path().join("faults")).unwrap().count();
    assert!(logs >= starts, "what the commands wrote is kept: {logs} files of {starts} faults");
    assert!(!record.path().join("network.pcapng").exists() && !record.path().join("nodes").exists());
    running.end();
    Ok(())
}

fn what_earlier_runs_left_is_no_anomaly() -> Result<(), Missing> {
    python()?;
    let running = Running::start("primary");
    for workload in ["register", "register", "counter"] {
        // The same seed each time: the same operations, on keys of their own.
        let line = format!(
            "run ./running {SHORT} --workload {workload} --faults command:pause@n2 --interval 1500ms"
        );
        running.duress(&line).exits(0);
    }
    let again = running.duress("replay runs/latest").exits(0);
    assert!(again.stdout.contains("VALID"), "{again}");
    running.end();
    Ok(())
}

fn a_command_that_fails_proves_nothing() -> Result<(), Missing> {
    python()?;
    let running = Running::start("primary");
    let manifest = fs::read_to_string(running.stage.path().join("running/duress.toml")).unwrap();
    for (from, to, says) in [
        (
            "sh cluster.sh is-paused {node}",
            "true",
            "left no evidence: its own command says of n2: in force before",
        ),
        ("sh cluster.sh is-paused {node}", "false", "not in force before, not in force now"),
        ("sh cluster.sh is-paused {node}", "sh -c 'exit 3'", "says nothing (0 is in force, 1 is not)"),
        ("sh cluster.sh pause {node}", "sh cluster.sh puase {node}", "(\"unknown command puase\")"),
        ("sh cluster.sh pause {node}", "sleep 60", "the inject command for n2 did not end within 1 s"),
    ] {
        let text = manifest.replacen(from, to, 1).replacen("deadline = \"5s\"", "deadline = \"1s\"", 1);
        // A string of words has no quotes.
        let text = text.replace("\"sh -c 'exit 3'\"", "[\"sh\", \"-c\", \"exit 3\"]");
        running.stage.write("running/duress.toml", text);
        let run = running
            .duress(&format!("run ./running {SHORT} --faults command:pause@n2 --interval 3s"))
            .exits(3);
        assert!(run.stdout.contains("BROKEN") && run.stdout.contains(says), "{from} -> {to}: {run}");
        assert!(!run.stdout.contains("LEFT WITH A FAULT"), "{from} -> {to}: {run}");
    }
    running.end();
    Ok(())
}

fn a_fault_that_stays_is_said_loudly() -> Result<(), Missing> {
    python()?;
    let running = Running::start("primary");
    edit(&running.stage, "sh cluster.sh resume {node}", "true {node}");
    let line = format!("run ./running {SHORT} --faults command:pause@n2 --interval 4s");
    let run = running.duress(&line).exits(3);
    let left = "THE CLUSTER IS LEFT WITH A FAULT, as far as its evidence command tells; heal it by hand: fault 1 (command pause on n2), by ";
    assert!(run.stdout.contains(left) && run.stderr.contains(left), "{run}");
    assert!(run.stdout.contains("fault 1 could not be healed"), "{run}");
    running.cluster(&["is-paused", "n2"]).exits(0);
    running.cluster(&["resume", "n2"]).exits(0);
    running.end();
    Ok(())
}

fn an_interrupt_heals_what_is_in_force() -> Result<(), Missing> {
    python()?;
    for signals in [1, 2] {
        let running = Running::start("primary");
        let schedule = r#"[{"start_ms": 500, "stop_ms": 50000, "kind": "command", "name": "pause", "disables": true, "targets": {"nodes": ["n2"]}}]"#;
        running.stage.write("schedule.json", schedule);
        let line = "run ./running --concurrency n --time-limit 60 --schedule schedule.json";
        let started = running.stage.start(running.told(running.stage.duress(line)));
        let link = running.stage.path().join("runs/latest");
        wait_until("the run has a folder", PATIENCE, || link.exists());
        let record = running.stage.latest();
        wait_until("the fault is in force", PATIENCE, || record.has("commanded"));
        running.cluster(&["is-paused", "n2"]).exits(0);
        for _ in 0..signals {
            started.signal(Signal::SIGINT);
        }
        let run = started.wait(Duration::from_secs(60));
        assert!([0, 2].contains(&run.code()), "{run}");
        assert!(record.has("withdrawn"), "{run}");
        running.end();
    }
    Ok(())
}

fn one_run_at_a_time_has_the_cluster() -> Result<(), Missing> {
    python()?;
    let running = Running::start("primary");
    let line = "run ./running --concurrency n --time-limit 60 --faults none";
    let first = running.stage.start(running.told(running.stage.duress(line)));
    let link = running.stage.path().join("runs/latest");
    wait_until("the run has a folder", PATIENCE, || link.exists());
    let second = running.duress(line).exits(3);
    assert!(second.one_error().contains("another run has this cluster"), "{second}");
    first.signal(Signal::SIGKILL);
    first.wait(PATIENCE);
    // The kernel kills the client programs with it.
    wait_until("no client is left", PATIENCE, || running.stage.members().len() == 3);
    running.end();
    Ok(())
}

fn a_trial_asks_every_evidence_command() -> Result<(), Missing> {
    python()?;
    let running = Running::start("primary");
    let good = running.duress("try ./running").exits(0);
    assert!(good.stdout.contains("its evidence says that it is not in force on n3"), "{good}");
    assert!(good.stdout.contains("nothing to mend"), "{good}");
    running.cluster(&["pause", "n3"]).exits(0);
    let paused = running.duress("try ./running").exits(3);
    assert!(paused.stdout.contains("says that it is in force on n3, and none was injected"), "{paused}");
    running.cluster(&["resume", "n3"]).exits(0);
    running.end();
    Ok(())
}

fn what_needs_an_arena_is_refused() {
    let (stage, _) = example();
    let own = "cannot be had on a cluster that already runs: its faults are command:pause, or none, or all";
    for (words, says) in [
        ("--faults partition", own),
        ("--faults story", own),
        ("--faults command:puase", own),
        ("--faults command:pause@fsync=3", "a fault can wait for leader-change, start, heal and op"),
        ("--faults command:pause@n4", "names the node n4"),
        ("--nodes 5", "its manifest lists 3 nodes"),
        ("--program follower=/bin/true", "program"),
    ] {
        let run = stage.run(&format!("run ./running --dry-run {words}"), PATIENCE).exits(254);
        assert!(run.one_error().contains(says), "{words}: {run}");
    }
    let own = stage.run("run store --dry-run --faults command:pause", PATIENCE).exits(254);
    assert!(own.one_error().contains("is for a cluster that already runs"), "{own}");
    let crashes = stage.run("crash-states ./running", PATIENCE).exits(254);
    assert!(crashes.one_error().contains("already runs"), "{crashes}");
    let plan = stage.run("run ./running --dry-run", PATIENCE).exits(0);
    assert!(plan.stdout.contains("\"kind\": \"command\"") && !plan.stdout.contains("\"arena\""), "{plan}");
    edit(&stage, "127.0.0.1:", "[::1]:");
    let plan = stage.run("run ./running --dry-run", PATIENCE).exits(0);
    assert!(plan.stdout.contains("\"address\": \"::1\""), "{plan}");
    edit(&stage, "\"counter\"", "\"log\"");
    let messages = stage.run("run ./running --dry-run --workload log", PATIENCE).exits(254);
    assert!(messages.one_error().contains("what earlier runs left on the cluster"), "{messages}");
}

fn mistakes_in_its_tables_are_named() {
    for (from, to, says) in [
        ("127.0.0.1:", "::1:", "write 10.0.0.1:7000, [fd00::1]:7000 or db1.example:7000"),
        ("127.0.0.1:", "no-such-host.invalid:", "cannot look up the address no-such-host.invalid:"),
        ("name = \"n1\"", "name = \"one\"", "\"one\" is not a node's name: it has a digit"),
        ("name = \"n2\"", "name = \"n1\"", "another node is called n1"),
        ("[cluster]", "[clutser]", "unknown key \"clutser\" (did you mean \"cluster\"?)"),
        ("tolerates = 0", "nodes = 3", "[[cluster.external]] lists the nodes"),
        ("tolerates = 0", "port = 7000", "each node of [[cluster.external]] has its address"),
        ("evidence = ", "# ", "the fault pause has no `evidence`, and a fault without evidence never counts"),
        ("{node}", "{nod}", "the inject command of the fault pause: unknown placeholder {nod}"),
        ("[client]", "[[role]]\nname = \"primary\"\ncommand = \"true\"\n[client]", "nothing is started"),
        ("[client]", "[ready]\nlog = \"up\"\n[client]", "does not see what the nodes"),
        ("[client]", "[client]\nlacks = [\"keys\"]", "the cluster keeps what earlier runs wrote"),
    ] {
        let (stage, _) = example();
        edit(&stage, from, to);
        let run = stage.run("run ./running --dry-run", PATIENCE).exits(254);
        let error = run.one_error();
        let named = error.contains("running/duress.toml") || to.contains(".invalid");
        assert!(named && error.contains(says), "{from} -> {to}: {error}");
    }
    let (stage, _) = example();
    edit(&stage, "\"sh cluster.sh is-paused {node}\"", "\"no-such-program\"");
    let missing = stage.run("run ./running", PATIENCE).exits(3);
    assert!(
        missing.one_error().contains("the program of the fault \"no-such-program\" is not in PATH"),
        "{missing}"
    );
}

fn a_node_that_does_not_answer_ends_the_run_at_once() {
    let (stage, _) = example();
    let run = stage.run(&format!("run ./running {SHORT}"), PATIENCE).exits(3);
    let says = "start the cluster, or mend the node's address in [[cluster.external]]";
    assert!(run.stdout.contains("Connection refused") && run.stdout.contains(says), "{run}");
}
