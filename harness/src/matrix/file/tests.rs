use super::super::key::Takes;
use super::*;

fn options() -> RunOptions {
    let valued =
        ["mode", "bug", "workload", "faults", "nodes", "time-limit", "interval", "seed", "rate", "timeout"];
    let switches = [("overlap".to_owned(), Takes::Nothing)];
    RunOptions::new(valued.map(|name| (name.to_owned(), Takes::Value)).into_iter().chain(switches))
}

fn parse(text: &str) -> Result<MatrixFile, DocumentError> {
    MatrixFile::parse(&Document::new(Path::new("ci/m.toml"), text.to_owned()), &options())
}

fn commands(text: &str) -> Vec<(String, String)> {
    let file = parse(text).unwrap_or_else(|error| panic!("{error}"));
    let words = |cell: &Cell| cell.command.words(|name| name != "overlap", cell.seed);
    let shell = |cell: &Cell| crate::trial::Shell(&words(cell)).to_string();
    file.cells.iter().map(|cell| (cell.name.clone(), shell(cell))).collect()
}

#[test]
fn lists_stand_for_all_combinations_and_come_into_the_name() {
    let text = r#"
        [defaults]
        nodes = 3
        time-limit = "15s"
        [[cell]]
        name = "store/raft"
        target = "store"
        mode = "raft"
        seed = [1, 2]
        faults = ["partition", "kill,pause"]
        options = { reads = ["index"], snapshot_every = 100 }
        overlap = true
        expect = "valid"
    "#;
    let tail = |faults: &str, seed: u32| {
        format!(
            "run store --mode raft -o reads=index -o snapshot_every=100 --faults {faults} --nodes 3 --overlap \
             --time-limit 15s --seed {seed}"
        )
    };
    let name = |faults: &str, seed: u32| format!("store/raft/reads=index/faults={faults}/seed={seed}");
    let mut expected = Vec::new();
    for faults in ["partition", "kill,pause"] {
        for seed in [1, 2] {
            expected.push((name(faults, seed), tail(faults, seed)));
        }
    }
    assert_eq!(commands(text), expected);
    // The place of a key does not matter.
    let mut lines: Vec<&str> = text.lines().collect();
    let (name, faults) = (6, 10);
    assert!(lines[faults].contains("options"), "{}", lines[faults]);
    lines.swap(name, faults);
    assert_eq!(commands(&lines.join("\n")), expected);
}

#[test]
fn a_bug_is_run_in_its_scenario_but_for_what_is_written_beside_it() {
    let text = r#"
        [defaults]
        nodes = 9
        rate = 500
        [[bug]]
        target = "store"
        bug = ["fsync-skipped", "cas-before-order"]
        time-limit = "10s"
        expect = ["lost-write"]
        trials = 7
        minimum-rate = 0.8
    "#;
    let expected = [
        (
            "store/fsync-skipped",
            "run store --mode raft --bug fsync-skipped --workload register --faults disk:power-loss@all --interval 3s \
             --nodes 3 --rate 500 --time-limit 10s --seed 1",
        ),
        (
            "store/cas-before-order",
            "run store --mode raft --bug cas-before-order --workload register --faults none --nodes 5 --rate 500 \
             --time-limit 10s --seed 1",
        ),
    ];
    assert_eq!(commands(text), expected.map(|(name, words)| (name.to_owned(), words.to_owned())));
    let file = parse(text).unwrap();
    let Aim::Bug(gate) = &file.cells[0].aim else { panic!() };
    assert_eq!((gate.trials, gate.controls, gate.ablations), (7, 7, ABLATIONS));
    assert!((gate.minimum_rate - 0.8).abs() < 1e-9);
}

#[test]
fn a_published_bug_has_controls_that_lack_it() {
    let text = r#"
        [[bug]]
        name = "redis/lost-writes"
        target = "store"
        mode = "primary"
        options = { ack = "async" }
        faults = "partition"
        expect = "lost-write"
        what = "Writes are lost."
        source = "https://example.org/1"
        control = { nodes = 3, options = { ack = "sync" } }
    "#;
    let file = parse(text).unwrap();
    let Aim::Bug(gate) = &file.cells[0].aim else { panic!() };
    assert_eq!((&*file.cells[0].name, &*gate.bug), ("redis/lost-writes", "lost-writes"));
    let words = |command: &RunCommand| crate::trial::Shell(&command.words(|_| true, 1)).to_string();
    assert_eq!(
        words(&file.cells[0].command),
        "run store --mode primary -o ack=async --faults partition --seed 1"
    );
    let control = "run store --mode primary -o ack=sync --faults partition --nodes 3 --seed 1";
    assert_eq!(words(&gate.without), control);
    assert_eq!(gate.published.as_ref().unwrap().source, "https://example.org/1");
}

#[test]
fn the_whole_has_a_budget_and_a_folder_beside_the_file() {
    let cell = "[[cell]]\nname = \"a\"\ntarget = \"store\"\nexpect = \"valid\"\n";
    let file = parse(&format!("[matrix]\nbudget = \"90m\"\nresults = \"results\"\n{cell}")).unwrap();
    assert_eq!(file.budget, Some(Duration::from_secs(5400)));
    assert_eq!(file.results.as_deref(), Some(Path::new("ci/results")));
    assert_eq!(file.cells[0].aim, Aim::Verdict(Expectation::Valid));
}

/// Asserts that `text` is refused at `line` with an error that contains `words`.
#[track_caller]
fn refused(text: &str, line: usize, words: &[&str]) {
    let error = parse(text).map(|file| file.cells).unwrap_err().to_string();
    assert!(error.starts_with(&format!("ci/m.toml:{line}: ")), "not at line {line}: {error}");
    for word in words {
        assert!(error.contains(word), "\"{word}\" is not in: {error}");
    }
}

#[test]
fn what_is_not_understood_is_named_with_its_line() {
    let cell =
        |more: &str| format!("[[cell]]\nname = \"a\"\ntarget = \"store\"\nexpect = \"valid\"\n{more}\n");
    let bug = |more: &str| format!("[[bug]]\ntarget = \"store\"\nexpect = \"stale-read\"\n{more}\n");
    refused("a = [", 1, &[]);
    refused("", 1, &["no cell"]);
    refused("[cells]\n", 1, &["\"cells\"", "did you mean \"cell\"?"]);
    refused("[cell]\nname = \"a\"\n", 1, &["[[cell]]"]);
    refused(
        "\n[[cell]]\ntarget = \"stor\"\nname = \"a\"\nexpect = \"valid\"\n",
        3,
        &["\"stor\"", "\"store\""],
    );
    refused(&cell("mode = \"rft\""), 5, &["\"rft\"", "did you mean \"raft\"?"]);
    refused(&cell("mode = [\"raft\",\n \"primry\"]"), 6, &["\"primry\""]);
    refused(&cell("options = { speed = 1 }"), 5, &["\"speed\"", "snapshot_every"]);
    refused(&cell("\n[cell.options]\nreads = \"any\""), 7, &["reads", "\"any\"", "index, lease, local"]);
    refused(&cell("faults = [\"kill\", \"flood\"]"), 5, &["\"flood\"", "partition, "]);
    refused(&cell("faults = []"), 5, &["faults", "empty"]);
    refused(&cell("workload = \"cache\""), 5, &["\"cache\"", "register"]);
    refused(&cell("bug = \"nope\""), 5, &["\"nope\"", "stale-leader-read"]);
    refused(&cell("time-limt = \"5s\""), 5, &["\"time-limt\"", "did you mean \"time-limit\"?"]);
    refused(&cell("overlap = \"yes\""), 5, &["overlap", "true or false"]);
    refused(&cell("seed = -1"), 5, &["seed", "-1"]);
    refused(&cell("nodes = \"many\""), 5, &["nodes", "\"many\""]);
    refused(&cell("nodes = { a = 1 }"), 5, &["nodes"]);
    refused(&cell("found-within = 3"), 5, &["found-within", "valid"]);
    refused(&cell("deadline = \"soon\""), 5, &["deadline", "\"soon\""]);
    refused(&cell("trials = 3"), 5, &["\"trials\""]);
    refused("[[cell]]\nname = \"a\"\ntarget = \"store\"\n", 1, &["expect"]);
    refused("[[cell]]\nname = \"a\"\nexpect = \"valid\"\n", 1, &["target"]);
    refused("[[cell]]\ntarget = \"store\"\nexpect = \"valid\"\n", 1, &["name"]);
    refused("[[cell]]\nname = \"a b\"\ntarget = \"store\"\nexpect = \"valid\"\n", 2, &["\"a b\""]);
    refused("[[cell]]\nname = \"../a\"\ntarget = \"store\"\nexpect = \"valid\"\n", 2, &["\"../a\""]);
    refused(
        "[[cell]]\nname = \"a\"\ntarget = \"store\"\nexpect = \"stale\"\n",
        4,
        &["`stale`", "stale-read"],
    );
    refused(
        "[[cell]]\nname = \"a\"\ntarget = \"store\"\nexpect = [\"valid\", \"stale-read\"]\n",
        4,
        &["never fail"],
    );
    refused(&format!("{}{}", cell(""), cell("")), 6, &["\"a\"", "line 1"]);
    refused(&bug("bug = \"nope\""), 4, &["\"nope\"", "stale-leader-read"]);
    refused(&bug("bug = \"stale-leader-read\"\nminimum-rate = 0"), 5, &["minimum-rate"]);
    refused(&bug("bug = \"stale-leader-read\"\ntrials = 0"), 5, &["trials", "1 to"]);
    refused(
        "[[bug]]\ntarget = \"store\"\nbug = \"stale-leader-read\"\nexpect = \"valid\"\n",
        4,
        &["anomaly"],
    );
    refused(
        &bug("bug = \"stale-leader-read\"\ncontrol-allow = [\"stale-read\"]"),
        5,
        &["stale-read", "without it"],
    );
    refused("[[bug]]\ntarget = \"store\"\nexpect = \"stale-read\"\n", 1, &["bug is missing"]);
    let real = |more: &str| bug(&format!("name = \"a\"\n{more}"));
    refused(&real("control = 3"), 5, &["table"]);
    refused(&real("control = {}"), 1, &["control", "same run"]);
    refused(&real("control = { nodes = [3, 5] }"), 5, &["one value", "nodes"]);
    refused(&real("control = { target = \"broker\" }"), 5, &["target"]);
    refused(&real("control = { speed = 3 }"), 5, &["\"speed\""]);
    refused(&real("control = { nodes = 3 }\nwhat = \"It fails.\""), 6, &["source"]);
    refused(&bug("control = { nodes = 3 }"), 1, &["name"]);
    refused(&cell("control = { nodes = 3 }"), 5, &["\"control\""]);
    refused("[matrix]\nbudget = \"soon\"\n", 2, &["\"soon\""]);
    refused("[matrix]\nspeed = \"high\"\n", 2, &["\"speed\"", "budget"]);
}

#[test]
fn folders_have_no_character_that_archives_refuse() {
    let name = folder("store/faults=clock:drift=20ms_per_s@all");
    assert_eq!(name, "store/faults=clock_drift=20ms_per_s@all");
}
