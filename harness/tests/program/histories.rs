//! `duress check`: a history is judged by its content, and a file that is not a history is refused in one
//! line.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Test;
use crate::stage::{PATIENCE, Stage, wait_until};
use crate::witness::{assert_proves, explained};

pub const TESTS: &[Test] = &[
    ("one_older_answer_is_named", one_older_answer_is_named),
    ("the_times_of_a_check_are_printed", the_times_of_a_check_are_printed),
    ("a_queue_is_checked_in_its_order", a_queue_is_checked_in_its_order),
    ("a_bank_has_a_total", a_bank_has_a_total),
    ("a_history_is_exported", a_history_is_exported),
    ("a_lock_has_its_owner", a_lock_has_its_owner),
    ("fencing_tokens_grow", fencing_tokens_grow),
    ("a_torn_last_line_is_left_out", a_torn_last_line_is_left_out),
    ("what_is_no_history_is_refused", what_is_no_history_is_refused),
    ("promises_of_other_operations_are_refused", promises_of_other_operations_are_refused),
    (
        "registers_can_be_promised_less_than_linearizability",
        registers_can_be_promised_less_than_linearizability,
    ),
    ("reads_can_be_promised_to_be_fresh", reads_can_be_promised_to_be_fresh),
    ("other_formats_get_the_same_answer", other_formats_get_the_same_answer),
    ("what_others_record_is_checked_as_they_mean_it", what_others_record_is_checked_as_they_mean_it),
    ("what_is_assumed_decides", what_is_assumed_decides),
    ("what_is_not_decided_in_time_is_unknown", what_is_not_decided_in_time_is_unknown),
    ("a_check_can_be_interrupted", a_check_can_be_interrupted),
    ("what_the_nemesis_saw_counts", what_the_nemesis_saw_counts),
    ("a_page_shows_any_history", a_page_shows_any_history),
    ("a_page_that_cannot_be_written_is_refused_first", a_page_that_cannot_be_written_is_refused_first),
];

/// Two processes on two keys; the last read of `x` is the last line.
const GOOD: &str = r#"{"index":0,"time":1000,"process":0,"type":"invoke","f":"write","value":["x",1],"node":"n1"}
{"index":1,"time":2000,"process":0,"type":"ok","f":"write","value":["x",1],"node":"n1"}
{"index":2,"time":3000,"process":1,"type":"invoke","f":"read","value":["x",null],"node":"n2"}
{"index":3,"time":3500,"process":"nemesis","type":"info","f":"start-pause","value":{"fault":1,"what":"pause n1"}}
{"index":4,"time":4000,"process":1,"type":"ok","f":"read","value":["x",1],"node":"n2"}
{"index":5,"time":5000,"process":0,"type":"invoke","f":"cas","value":["x",[1,2]],"node":"n1"}
{"index":6,"time":5500,"process":1,"type":"invoke","f":"write","value":["y",7],"node":"n2"}
{"index":7,"time":6000,"process":0,"type":"ok","f":"cas","value":["x",[1,2]],"node":"n1"}
{"index":8,"time":7000,"process":1,"type":"info","f":"write","value":["y",7],"node":"n2","error":"timeout"}
{"index":9,"time":8000,"process":2,"type":"invoke","f":"read","value":["x",null],"node":"n2"}
{"index":10,"time":9000,"process":2,"type":"ok","f":"read","value":["x",2],"node":"n2"}
"#;

fn one_older_answer_is_named() {
    let stage = Stage::set();
    stage.write("good.jsonl", GOOD);
    let good = stage.run("check good.jsonl", PATIENCE).exits(0);
    assert!(good.stdout.starts_with("VALID: "), "{good}");
    stage.write("bad.jsonl", older_answer());
    let bad = stage.run("check bad.jsonl", PATIENCE).exits(1);
    assert!(bad.stdout.contains("stale-read on key x") && bad.stdout.contains("(index 9 and 10)"), "{bad}");
    assert!(bad.stdout.ends_with("INVALID: not linearizable: 1 of 2 keys\n"), "{bad}");
    let json = stage.run("check bad.jsonl --json", PATIENCE).exits(1).stdout;
    let report: Value = serde_json::from_str(&json).unwrap();
    let anomaly = &report["verdict"]["invalid"][0];
    let objects = serde_json::json!([{"kind": "key", "name": "x"}]);
    assert_eq!((&anomaly["kind"], &anomaly["objects"]), (&"stale-read".into(), &objects), "{json}");
    let history: Vec<Value> =
        older_answer().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(assert_proves(anomaly, &history));
    // With the original answer of the read, the history is impeccable.
    let mut operations = anomaly["operations"].as_array().unwrap().clone();
    let read = operations.iter_mut().find(|operation| operation["action"] == "read -> 1").unwrap();
    read["action"] = "read -> 2".into();
    assert!(explained(&operations, &anomaly["start"]["initial"]), "{operations:#?}");
}

fn the_times_of_a_check_are_printed() {
    let stage = Stage::set();
    stage.write("good.jsonl", GOOD);
    let plain = stage.run("check good.jsonl", PATIENCE).exits(0);
    assert_eq!(plain.stderr, "");
    let good = stage.run("check good.jsonl --stats", PATIENCE).exits(0);
    assert_eq!(good.stdout, plain.stdout, "the answer stays as it is");
    for part in ["reading 0.", "pairing 0.", "checking 0.", "2 keys near-linear, 0 by search", "peak memory "]
    {
        assert!(good.stderr.contains(part), "{part}: {good}");
    }
}

fn a_queue_is_checked_in_its_order() {
    let stage = Stage::set();
    let one = |f: &str, asked: &str, answered: &str| {
        format!(
            "{{:process 0 :type :invoke :f :{f} :value {asked}}}\n{{:process 0 :type :ok :f :{f} :value {answered}}}\n"
        )
    };
    let history = [("push", "2", "2"), ("push", "1", "1"), ("pop", "nil", "2"), ("pop", "nil", "1")];
    let history: String = history.into_iter().map(|(f, asked, answered)| one(f, asked, answered)).collect();
    stage.write("queue.edn", history);
    for (model, exit) in [("fifo-queue", 0), ("unordered-queue", 0), ("stack", 1), ("priority-queue", 1)] {
        let answer = stage.run(&format!("check queue.edn --model {model}"), PATIENCE).exits(exit);
        let verdict =
            if exit == 0 { "VALID: linearizable" } else { "INVALID: not linearizable: 1 of 1 keys" };
        assert!(answer.stdout.contains(verdict), "{model}: {answer}");
    }
}

fn a_bank_has_a_total() {
    let stage = Stage::set();
    let read = |balances: &str| {
        let event =
            |kind: &str, value: &str| format!("{{:process 0 :type :{kind} :f :read :value {value}}}\n");
        event("invoke", "nil") + &event("ok", balances)
    };
    stage.write("bank.edn", read("{0 10, 1 20}") + &read("{0 35, 1 -5}"));
    for (options, exit, words) in [
        ("", 1, "INVALID: not of a constant total: 1 negative-value"),
        ("--negative-balances", 0, "VALID: of a constant total"),
        ("--negative-balances --total 31", 1, "INVALID: not of a constant total: 2 wrong-total"),
    ] {
        let answer = stage.run(&format!("check bank.edn --model bank {options}"), PATIENCE).exits(exit);
        assert!(answer.stdout.contains(words), "{options}: {answer}");
    }
    let refused = stage.run("check bank.edn --total 30", PATIENCE).exits(254);
    assert!(refused.one_error().contains("about accounts, and register has none"), "{refused}");
}

fn a_history_is_exported() {
    let stage = Stage::set();
    stage.write("good.jsonl", GOOD);
    stage.write("bad.jsonl", older_answer());
    for name in ["good", "bad"] {
        let checked = stage.run(&format!("check {name}.jsonl"), PATIENCE);
        for (format, file) in [("jepsen", "out.edn"), ("porcupine", "out.json")] {
            stage.run(&format!("export {name}.jsonl --format {format} -o {file}"), PATIENCE).exits(0);
            let again = stage.run(&format!("check {file}"), PATIENCE).exits(checked.code());
            assert_eq!(again.stdout.lines().last(), checked.stdout.lines().last(), "{format}: {again}");
        }
    }
    let refused = stage.run("export good.jsonl --model register --format elle", PATIENCE).exits(254);
    assert!(refused.one_error().contains("the format elle cannot hold histories of register"), "{refused}");
    // The usual model of this form is list-append, and the history is of another.
    let refused = stage.run("export good.jsonl --format elle", PATIENCE).exits(254).stderr;
    assert!(refused.contains("not an operation of the model") && refused.contains("--model"), "{refused}");
    let lists = concat!(
        r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"txn","value":[["append","x",1],["r","x",null]]}"#,
        "\n",
        r#"{"index":1,"time":2,"process":0,"type":"ok","f":"txn","value":[["append","x",1],["r","x",[1]]]}"#,
    );
    stage.write("lists.jsonl", lists);
    let elle = stage.run("export lists.jsonl --model list-append --format elle", PATIENCE).exits(0);
    let line = r#":f :txn, :value [[:append "x" 1] [:r "x" [1]]]}"#;
    assert!(elle.stdout.lines().last().is_some_and(|last| last.ends_with(line)), "{elle}");
    let refused = stage.run("export lists.jsonl --model list-append --format porcupine", PATIENCE).exits(254);
    assert!(refused.one_error().contains("choose --format jepsen"), "{refused}");
}

fn a_lock_has_its_owner() {
    let stage = Stage::set();
    let one = |(process, f): (u32, &str)| {
        format!("{{:process {process} :type :invoke :f :{f}}}\n{{:process {process} :type :ok :f :{f}}}\n")
    };
    stage.write("stolen.edn", [(0, "lock"), (1, "unlock")].map(one).concat());
    stage.write("twice.edn", [(0, "lock"), (0, "lock"), (0, "unlock")].map(one).concat());
    for (file, model, exit) in [
        ("stolen", "mutex", 0),
        ("stolen", "owned-mutex", 1),
        ("stolen", "reentrant-mutex", 1),
        ("twice", "owned-mutex", 1),
        ("twice", "reentrant-mutex", 0),
    ] {
        let answer = stage.run(&format!("check {file}.edn --model {model}"), PATIENCE).exits(exit);
        let verdict =
            if exit == 0 { "VALID: linearizable" } else { "INVALID: not linearizable: 1 of 1 keys" };
        assert!(answer.stdout.contains(verdict), "{file} {model}: {answer}");
    }
}

fn fencing_tokens_grow() {
    let stage = Stage::set();
    let one = |(process, f, answer): (u32, &str, &str)| {
        format!(
            "{{:process {process} :type :invoke :f :{f}}}\n{{:process {process} :type :ok :f :{f} :value {answer}}}\n"
        )
    };
    let good = [(0, "acquire", "{:fence 7}"), (0, "release", "7"), (1, "acquire", "9")];
    stage.write("good.edn", good.map(one).concat());
    stage.write("twice.edn", [good[0], (0, "acquire", "7")].map(one).concat());
    stage.write("expired.edn", [good[0], good[2]].map(one).concat());
    stage.write("smaller.edn", [good[2], (1, "release", "nil"), good[0]].map(one).concat());
    stage.write("unknown.edn", [(0, "acquire", "nil")].map(one).concat());
    let models = ["fenced-mutex", "reentrant-fenced-mutex", "fenced-lease"];
    for (file, exits) in [
        ("good", [0, 0, 0]),
        ("twice", [1, 0, 1]),
        ("expired", [1, 1, 0]),
        ("smaller", [1, 1, 1]),
        ("unknown", [2, 2, 2]),
    ] {
        for (model, exit) in models.into_iter().zip(exits) {
            let answer = stage.run(&format!("check {file}.edn --model {model}"), PATIENCE).exits(exit);
            let anomaly = match (file, model) {
                ("expired", _) | ("twice", "fenced-mutex") => "double-acquire",
                _ => "nonmonotonic-fence",
            };
            assert_eq!(answer.stdout.contains(anomaly), exit == 1, "{file} {model}: {answer}");
            let exported = format!("export {file}.edn --model {model} --format porcupine -o out.json");
            stage.run(&exported, PATIENCE).exits(0);
            let again = stage.run(&format!("check out.json --model {model}"), PATIENCE).exits(exit);
            assert_eq!(again.stdout.contains(anomaly), exit == 1, "{file} {model}: {again}");
        }
    }
    stage.write("owner.edn", [(0, "acquire", ":n1")].map(one).concat());
    let refused = stage.run("check owner.edn --model fenced-lease", PATIENCE).exits(254);
    assert!(refused.one_error().contains("expected a fencing token"), "{refused}");
}

/// Returns the good history, in which the last read is answered with the value that was replaced before it
/// began.
fn older_answer() -> String {
    let bad = GOOD.replace(r#""f":"read","value":["x",2]"#, r#""f":"read","value":["x",1]"#);
    assert_ne!(bad, GOOD);
    bad
}

fn a_torn_last_line_is_left_out() {
    let stage = Stage::set();
    for cut in [1, 2, 20, 60] {
        stage.write("torn.jsonl", &GOOD[..GOOD.len() - cut]);
        stage.run("check torn.jsonl", PATIENCE).exits(0);
        // The part before it is judged all the same.
        let invoked = r#"{"index":11,"time":9500,"process":3,"type":"invoke","f":"read","value":["x",null]}"#;
        stage.write("torn.jsonl", older_answer() + &invoked[..invoked.len() - cut]);
        stage.run("check torn.jsonl", PATIENCE).exits(1);
    }
}

fn what_is_no_history_is_refused() {
    let stage = Stage::set();
    let line = |number: usize, with: &str| -> Vec<u8> {
        let lines = GOOD.lines().enumerate().map(|(at, line)| if at + 1 == number { with } else { line });
        lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
    };
    let half = GOOD.lines().nth(4).map(|line| &line[..line.len() / 2]).unwrap();
    let typed = |from: &str, to: &str| {
        let fifth = GOOD.lines().nth(4).unwrap();
        assert!(fifth.contains(from), "{from}");
        line(5, &fifth.replace(from, to))
    };
    let tries: [(&str, Vec<u8>, &str); 14] = [
        ("empty", Vec::new(), "empty"),
        ("torn from the start", GOOD.as_bytes()[..40].to_vec(), "line 1"),
        ("binary", (0..=255).cycle().take(4096).collect(), "line 1"),
        ("binary with braces", b"{\"index\":0\x00\xff\xfe}\n".to_vec(), "line 1"),
        ("prose", b"It was the best of times.\nIt was the worst of times.\n".to_vec(), "line 1"),
        ("cut in the middle", line(5, half), "line 5"),
        ("a number for a line", line(5, "17"), "line 5"),
        ("a process without a name", typed("\"process\":1", "\"process\":[]"), "line 5"),
        ("another process", typed("\"process\":1", "\"process\":\"one\""), "never invoked"),
        ("an unknown type", typed("\"type\":\"ok\"", "\"type\":\"okay\""), "line 5"),
        ("an unknown operation", typed("\"f\":\"read\"", "\"f\":\"peek\""), "line 5"),
        ("a value that is nothing", typed("[\"x\",1]", "null"), "line 5"),
        (
            "an index that contradicts time",
            line(
                5,
                "{\"index\":4,\"time\":9000000000,\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":[\"x\",1]}",
            ),
            "--order",
        ),
        ("an answer to no question", typed("\"process\":1", "\"process\":5"), "never invoked"),
    ];
    for (what, bytes, word) in tries {
        stage.write("history.jsonl", bytes);
        refused(&stage, "check history.jsonl", what, word);
    }
    fs::remove_file(stage.path().join("history.jsonl")).unwrap();
    fs::create_dir(stage.path().join("folder")).unwrap();
    refused(&stage, "check folder", "a folder without a history", "history.jsonl, history.edn");
    refused(&stage, "check nowhere.jsonl", "a missing file", "nowhere.jsonl");
    stage.write("good.jsonl", GOOD);
    refused(&stage, "check good.jsonl/history.jsonl", "a file for a folder", "good.jsonl");
    refused(&stage, "check good.jsonl --model mutex", "another model", "line 1");
}

#[track_caller]
/// Correct answers, from nodes that no longer agree, or of which one never came back.
fn what_the_nemesis_saw_counts() {
    let stage = Stage::set();
    let compared = |digest: &str| {
        format!(
            r#"{{"index":11,"time":9500,"process":"nemesis","type":"info","f":"compared","value":{{"occasion":"healed","objects":[{{"copies":[{{"node":"n1","position":"7","digest":"a","keys":2}},{{"node":"n2","position":"7","digest":"{digest}","keys":2}}],"different":1,"differences":[{{"key":"x","held":{{"n1":"2","n2":null}}}}]}}]}}}}"#
        )
    };
    let recovery = |came: &str| {
        format!(
            r#"{{"index":11,"time":9500,"process":"nemesis","type":"info","f":"recovery","value":{{"fault":1,"healed_us":5,"bound_ms":15000,"nodes":[{{"node":"n1",{came}}}],"links":[]}}}}"#
        )
    };
    let silent = r#""came":"silent","waited_ms":15010,"why":"no answer""#;
    for (line, code, words) in [
        (compared("a"), 0, "VALID: "),
        (compared("b"), 1, "INVALID: after the last heal, the copies at n1 and n2"),
        (recovery(r#""came":"back","after_ms":3"#), 0, "VALID: "),
        (recovery(silent), 1, "INVALID: n1 did not serve for 15.0 s"),
    ] {
        stage.write("history.jsonl", format!("{GOOD}{line}\n"));
        let run = stage.run("check history.jsonl", PATIENCE).exits(code);
        assert!(run.stdout.lines().any(|line| line.starts_with(words)), "{run}");
    }
}

fn refused(stage: &Stage, line: &str, what: &str, word: &str) {
    let run = stage.run(line, PATIENCE).exits(254);
    let error = run.one_error();
    assert!(error.contains(word), "{what}: \"{word}\" is not in {run}");
    assert!(error.contains(line.split_whitespace().nth(1).unwrap()), "{what}: no file is named in {run}");
    assert_eq!(run.stdout, "", "{what}");
}

fn promises_of_other_operations_are_refused() {
    let stage = Stage::set();
    stage.write("history.jsonl", GOOD);
    for (line, words) in [
        ("--promise exactly-once", "it can be held to: linearizable, stale-reads"),
        ("--model log --promise stale-reads", "exactly-once, at-least-once"),
        ("--model mutex --promise stale-reads", "it takes no promise"),
        ("--consistency PL-3", "register cannot be held to serializable"),
        ("--model list-append --promise linearizable", "strict-serializable, strong-snapshot-isolation"),
    ] {
        let run = stage.run(&format!("check history.jsonl {line}"), PATIENCE).exits(254);
        assert!(run.one_error().contains(words), "{run}");
    }
}

fn registers_can_be_promised_less_than_linearizability() {
    let stage = Stage::set();
    stage.write("stale.jsonl", older_answer());
    stage.run("check stale.jsonl", PATIENCE).exits(1);
    let sequential = stage.run("check stale.jsonl --promise sequential", PATIENCE).exits(0);
    assert!(sequential.stdout.contains("VALID: sequential"), "{sequential}");
    // The process that wrote 2 reads the older value.
    stage.write("own.jsonl", older_answer().replace("\"process\":2", "\"process\":0"));
    for promise in ["sequential", "causal"] {
        let run = stage.run(&format!("check own.jsonl --promise {promise}"), PATIENCE).exits(1);
        assert!(run.stdout.contains(&format!("INVALID: not {promise}")), "{run}");
    }
}

fn reads_can_be_promised_to_be_fresh() {
    let stage = Stage::set();
    let measured = "old reads: 1 of 3 (33.3 %); versions up to 1 ";
    // The older answer is to a read that began 2 us after the end of the compare-and-set that replaced it.
    stage.write("old.jsonl", older_answer());
    for (promise, code) in [
        ("regular", 1),
        ("safe", 1),
        ("bounded-staleness=0", 1),
        ("bounded-staleness=1", 0),
        ("bounded-staleness=1us", 1),
        ("bounded-staleness=2us", 0),
    ] {
        let run = stage.run(&format!("check old.jsonl --promise {promise}"), PATIENCE).exits(code);
        let word =
            if code == 0 { format!("VALID: {promise}") } else { format!("INVALID: not {promise}: 1 ") };
        assert!(run.stdout.contains(&word) && run.stdout.contains(measured), "{run}");
        assert_eq!(run.stdout.contains("stale-read on key x"), code == 1, "{run}");
    }
    // The others measure the same, and the page and the JSON have it.
    for promise in ["linearizable", "stale-reads", "sequential", "causal"] {
        let check = format!("check old.jsonl --promise {promise}");
        let run = stage.run(&format!("{check} --report {promise}.html"), PATIENCE);
        assert!(run.stdout.contains(measured), "{run}");
        let page = fs::read_to_string(stage.path().join(format!("{promise}.html"))).unwrap();
        assert!(page.contains(measured), "{run}");
        assert!(stage.run(&format!("{check} --json"), PATIENCE).stdout.contains("\"read_ages\""), "{run}");
    }
    // Without times there are no ages, also where a page needs some; the order of events is enough for versions.
    let untimed: String = older_answer()
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            event.as_object_mut().unwrap().remove("time");
            format!("{event}\n")
        })
        .collect();
    let one_less = older_answer().replacen("\"time\":2000,", "", 1);
    for (history, name) in [(untimed, "untimed.jsonl"), (one_less, "one-less.jsonl")] {
        stage.write(name, history);
        for page in ["", "--report untimed.html"] {
            let run =
                stage.run(&format!("check {name} --promise bounded-staleness=1h {page}"), PATIENCE).exits(2);
            assert!(run.stdout.contains("key x was not decided: a read is a version old"), "{run}");
            stage.run(&format!("check {name} --promise bounded-staleness=1 {page}"), PATIENCE).exits(0);
        }
    }
}

fn other_formats_get_the_same_answer() {
    let stage = Stage::set();
    for (history, code) in [(GOOD.to_owned(), 0), (older_answer(), 1)] {
        let lines: Vec<&str> = history.lines().collect();
        stage.write("history.json", format!("[{}]", lines.join(",\n")));
        stage.run("check history.json", PATIENCE).exits(code);
    }
}

/// Returns a history in which one process writes 7, and then another reads `read`.
fn written_then_read(read: &str) -> [String; 2] {
    let event = |process: u32, op_type: &str, f: &str, value: &str, time: u32| {
        format!("{{:process {process} :type :{op_type} :f :{f} :value {value} :time {time}}}\n")
    };
    let writer = event(0, "invoke", "write", "7", 100) + &event(0, "ok", "write", "7", 200);
    let reader = event(1, "invoke", "read", "nil", 300) + &event(1, "ok", "read", read, 400);
    [writer, reader]
}

/// Returns the data that the scripts of the page at `name` draw.
fn page_data(stage: &Stage, name: &str) -> (String, Value) {
    let page = fs::read_to_string(stage.path().join(name)).unwrap();
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data = serde_json::from_str(data).unwrap();
    (page, data)
}

fn a_page_shows_any_history() {
    let stage = Stage::set();
    stage.write("good.jsonl", GOOD);
    let plain = stage.run("check good.jsonl", PATIENCE).exits(0);
    let good = stage.run("check good.jsonl --report good.html", PATIENCE).exits(0);
    assert_eq!((&good.stdout, &*good.stderr), (&plain.stdout, "report: good.html\n"));
    let (page, data) = page_data(&stage, "good.html");
    assert_eq!(
        (&data["operations"], &data["nodes"]),
        (&5.into(), &serde_json::json!(["n1", "n2"])),
        "{data}"
    );
    assert!(
        page.contains(">VALID<") && page.contains("duress check good.jsonl --report good.html"),
        "{page}"
    );
    // Only a run has a plan, logs and packets.
    for absent in ["id=\"witness\"", "id=\"nodes\"", "id=\"surroundings\"", "id=\"coverage\"", "id=\"run\""] {
        assert!(!page.contains(absent), "{absent}");
    }
    // Several files of another program, with times since 1970; and then its transactions, without any times.
    let since = |text: &str| text.replace(":time ", ":time 1700000000000").replace("00}", "00000}");
    let [writer, reader] = written_then_read("8").map(|text| since(&text).replace(":f :write", ":f :put"));
    stage.write("writer.edn", writer);
    stage.write("reader.edn", reader);
    let files = "check writer.edn reader.edn --model cas-register --report bad.html";
    stage.run(files, PATIENCE).exits(1);
    let (page, data) = page_data(&stage, "bad.html");
    assert_eq!(
        (&data["functions"], &data["lasted"]),
        (&serde_json::json!(["write (put)", "read"]), &300.into()),
        "{data}"
    );
    assert_eq!(data["anomalies"].as_array().unwrap().len(), 1, "{data}");
    assert!(page.contains("class=\"witness\"") && page.contains("read -&gt; 8"), "{page}");
    let txn = |process: u32, op_type: &str, value: &str| {
        format!("{{:process {process} :type :{op_type} :f :txn :value {value}}}\n")
    };
    let skew = txn(0, "invoke", "[[:append 1 1] [:r 2 nil]]")
        + &txn(1, "invoke", "[[:append 2 1] [:r 1 nil]]")
        + &txn(0, "ok", "[[:append 1 1] [:r 2 []]]")
        + &txn(1, "ok", "[[:append 2 1] [:r 1 []]]");
    stage.write("skew.edn", skew);
    stage.run("check skew.edn --model list-append --json --report skew.html", PATIENCE).exits(1);
    // Which of both transactions came first does not matter to a snapshot.
    for promise in ["--promise snapshot-isolation", "--consistency PL-SI"] {
        stage.run(&format!("check skew.edn --model list-append {promise}"), PATIENCE).exits(0);
    }
    let (page, data) = page_data(&stage, "skew.html");
    assert_eq!((&data["functions"], &data["lasted"]), (&serde_json::json!(["txn"]), &3000.into()), "{data}");
    assert!(page.contains("append 1 1, r 2 -&gt; []") && !page.contains("id=\"charts\""), "{page}");
}

fn a_page_that_cannot_be_written_is_refused_first() {
    let stage = Stage::set();
    stage.write("good.jsonl", GOOD);
    for (page, words) in
        [("nowhere/x.html", "cannot write"), (".", "cannot write"), ("good.jsonl", "is not a page")]
    {
        let run = stage.run(&format!("check good.jsonl --report {page}"), PATIENCE).exits(254);
        let error = run.one_error();
        assert!(error.contains(page) && error.contains(words), "{run}");
        assert_eq!(run.stdout, "", "nothing was checked");
    }
    assert_eq!(fs::read_to_string(stage.path().join("good.jsonl")).unwrap(), GOOD);
    // Without a history there is no page; with one, a page replaces a page.
    stage.run("check missing.jsonl --report page.html", PATIENCE).exits(254);
    assert!(!stage.path().join("page.html").exists());
    for _ in 0..2 {
        stage.run("check good.jsonl --report page.html", PATIENCE).exits(0);
    }
}

fn what_others_record_is_checked_as_they_mean_it() {
    let stage = Stage::set();
    for (read, code) in [("7", 0), ("8", 1)] {
        let [writer, reader] = written_then_read(read);
        stage.write("writer.edn", &writer);
        stage.write("reader.edn", &reader);
        stage.write("joined.edn", format!("{reader}{writer}"));
        for histories in ["reader.edn writer.edn", "joined.edn", "joined.edn --order time"] {
            stage.run(&format!("check {histories} --model cas-register"), PATIENCE).exits(code);
        }
        // Read before it was written, if lines are in order.
        stage.run("check joined.edn --model cas-register --order file", PATIENCE).exits(1);
        let text = format!(
            "0\t:invoke\t:write\t7\n0\t:ok\t:write\t7\n1\t:invoke\t:read\tnil\n1\t:ok\t:read\t{read}\n"
        );
        fs::create_dir_all(stage.path().join("store/latest")).unwrap();
        fs::write(stage.path().join("store/latest/history.txt"), text).unwrap();
        stage.run("check store --model cas-register", PATIENCE).exits(code);
        let operations = format!(
            r#"[{{"who":"a","input":{{"verb":"write","value":7}},"call":1,"return":2}},
                {{"who":"b","input":{{"verb":"read"}},"call":3,"output":{read},"return":4}}]"#
        );
        stage.write("operations.json", operations);
        refused(
            &stage,
            "check operations.json --model cas-register",
            "a name that is not known",
            "--map FIELD=f",
        );
        let mapped = "check operations.json --model cas-register --map who=process --map input.verb=f --map input.value=value";
        stage.run(&format!("{mapped} --map output=answer"), PATIENCE).exits(code);
    }
    let unknown = stage.run("check joined.edn --map it=val", PATIENCE).exits(254);
    assert!(unknown.one_error().contains("THEIRS=OURS"), "{unknown}");
    let torn = written_then_read("7").concat() + "{:process 1 :type :invoke";
    stage.write("torn.edn", torn);
    let torn = stage.run("check torn.edn --model cas-register", PATIENCE).exits(0);
    assert!(torn.stdout.contains("cut short"), "{torn}");
}

fn what_is_assumed_decides() {
    let stage = Stage::set();
    stage.write("gone.edn", written_then_read("nil").concat());
    stage.write("found.edn", &written_then_read("9")[1]);
    let gone = stage.run("check gone.edn --model cas-register --initial 0", PATIENCE).exits(1);
    assert!(gone.stdout.contains("lost-write"), "{gone}");
    stage.run("check gone.edn --model cas-register --initial 0 --nil-is-unknown", PATIENCE).exits(2);
    for (initial, code) in [("9", 0), ("any", 0), ("'\"9\"'", 1), ("nil", 1), ("8", 1)] {
        let initial = initial.trim_matches('\'');
        stage.run(&format!("check found.edn --model cas-register --initial {initial}"), PATIENCE).exits(code);
    }
}

/// Compare-and-sets that all overlap, over five values each of which is written many times: no order of them
/// ends in the value read afterwards, and there are too many orders to try.
fn endless() -> String {
    const OVERLAPPING: u64 = 60;
    let mut lines = Vec::new();
    let mut event = |process: u64, op_type: &str, f: &str, value: String| {
        let index = lines.len();
        lines.push(format!(
            r#"{{"index":{index},"time":{index},"process":{process},"type":"{op_type}","f":"{f}","value":["x",{value}]}}"#
        ));
    };
    for op_type in ["invoke", "ok"] {
        event(900, op_type, "write", "0".to_owned());
    }
    for op_type in ["invoke", "ok"] {
        for process in 0..OVERLAPPING {
            event(process, op_type, "cas", format!("[{},{}]", process % 5, (process + 1 + process / 5) % 5));
        }
    }
    event(901, "invoke", "read", "null".to_owned());
    event(901, "ok", "read", "4".to_owned());
    lines.join("\n") + "\n"
}

fn what_is_not_decided_in_time_is_unknown() {
    let stage = Stage::set();
    stage.write("endless.jsonl", endless());
    let began = Instant::now();
    let check = stage.run("check endless.jsonl --check-limit 200ms", PATIENCE).exits(2);
    assert!(check.stdout.contains("UNKNOWN: ") && check.stdout.contains("key x was not decided"), "{check}");
    assert!(began.elapsed() >= Duration::from_millis(200), "not tried for as long as it may take");
}

fn a_check_can_be_interrupted() {
    let stage = Stage::set();
    stage.write("endless.jsonl", endless());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let started = stage.start(stage.duress("check endless.jsonl --check-limit 1h"));
        wait_until("the check listens", PATIENCE, || started.catches(signal));
        started.signal(signal);
        let check = started.wait(PATIENCE).exits(2);
        assert!(
            check.stdout.contains("UNKNOWN: ") && check.stdout.contains("the check was stopped"),
            "{check}"
        );
    }
}
