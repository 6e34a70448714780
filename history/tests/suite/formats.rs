//! Every format reads back its own output, and reports clearly what it cannot read.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use duress_history::edn;
use duress_history::event::Torn;
use duress_history::import::read_any;
use duress_history::jsonl;
use duress_history::mutex::Mutex;
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{
    Event, History, NemesisAct, NemesisEvent, NodeId, OpError, OpType, Payload, Process, ReadError, Scalar,
    SyntaxError,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<i64>().prop_map(Scalar::Int),
        "[a-z]{0,6}".prop_map(|text| Scalar::from(text.as_str())),
        any::<bool>().prop_map(Scalar::from),
        any::<String>().prop_map(|text| Scalar::from(text.as_str())),
    ]
}

fn register() -> impl Strategy<Value = Register> {
    let op = prop_oneof![
        proptest::option::of(scalar()).prop_map(RegisterOp::Read),
        scalar().prop_map(RegisterOp::Write),
        Just(RegisterOp::Delete),
        (proptest::option::of(scalar()), scalar()).prop_map(|(old, new)| RegisterOp::Cas { old, new }),
    ];
    (scalar(), op).prop_map(|(key, op)| Register { key, op })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        // Eighths are read exactly; the last digit of other fractions is serde_json's to round.
        (-1_000_000..1_000_000).prop_map(|eighths: i32| serde_json::Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The content of one event without its place.
type Content = Result<
    (u64, OpType, Register, Option<String>, Option<Box<OpError>>),
    (serde_json::Value, serde_json::Value, Option<String>),
>;

fn history() -> impl Strategy<Value = History<Register>> {
    let op_type = prop_oneof![Just(OpType::Invoke), Just(OpType::Ok), Just(OpType::Fail), Just(OpType::Info)];
    let text = || proptest::option::of("[a-z0-9 \"\\\\]{1,8}");
    let saw = proptest::option::of(proptest::option::of((0_i64..9).prop_map(Scalar::from)));
    let content = prop_oneof![
        4 => (0_u64..9, op_type, register(), text(), text(), text(), saw)
            .prop_map(|(process, op_type, register, node, error, kind, saw)| {
                let error =
                    error.map(|text| Box::new(OpError { kind: kind.map(Into::into), text, saw }));
                Ok((process, op_type, register, node, error))
            }),
        1 => (prop_oneof!["[a-z-]{1,9}( x)?".prop_map(Into::into), json()], json(), text()).prop_map(Err),
    ];
    vec((content, 0_u64..1_000_000), 1..30).prop_map(|contents: Vec<(Content, u64)>| {
        let mut history = History::default();
        let mut time = 0;
        let mut open: BTreeMap<u64, Register> = BTreeMap::new();
        for (index, (content, pause)) in contents.into_iter().enumerate() {
            time += pause;
            let index = index as u64;
            match content {
                Ok((process, mut op_type, mut action, node, error)) => {
                    // Readers take the value of a failed operation from its invocation.
                    match (op_type, open.remove(&process)) {
                        (OpType::Invoke, _) | (_, None) => op_type = OpType::Invoke,
                        (OpType::Ok, Some(_)) => {}
                        (OpType::Fail | OpType::Info, Some(invoked)) => action = invoked,
                    }
                    if op_type == OpType::Invoke {
                        if let RegisterOp::Read(value) = &mut action.op {
                            *value = None;
                        }
                        open.insert(process, action.clone());
                    }
                    let (process, node) = (Process(process), node.map(NodeId::new));
                    history.events.push(Event { index, time, process, op_type, action, node, error });
                }
                Err((f, value, error)) => {
                    let act = NemesisAct::Foreign { f, value, error };
                    history.nemesis.push(NemesisEvent { index, time, act });
                }
            }
        }
        history
    })
}

fn lines(history: &History<Register>) -> Vec<String> {
    let client = history.events.iter().map(|event| (event.index, serde_json::to_string(event)));
    let nemesis = history.nemesis.iter().map(|event| (event.index, serde_json::to_string(event)));
    let mut lines: Vec<(u64, String)> =
        client.chain(nemesis).map(|(index, line)| (index, line.expect("an event has a line"))).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn read_edn<A: Payload>(text: &str) -> History<A> {
    jsonl::read_from(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn edn_keeps_a_key_in_a_field_of_its_own_and_foreign_names_are_known() {
    let text = concat!(
        r#"{"index":0,"time":1,"type":"invoke","process":0,"f":"put","key":"x","value":1}"#,
        "\n",
        r#"{"index":1,"time":2,"type":"ok","process":0,"f":"put","key":"x","value":1}"#,
        "\n",
    );
    let history = read_edn::<CasRegister>(text);
    assert_eq!(history.other_names["write"].iter().collect::<Vec<_>>(), ["put"]);
    let mut bytes = Vec::new();
    edn::write(&history, &mut bytes).expect("written to memory");
    let read = read_edn::<CasRegister>(std::str::from_utf8(&bytes).expect("EDN is UTF-8"));
    assert_eq!(read.events, history.events);
    assert!(read.other_names.is_empty(), "{read:?}");
}

#[test]
fn deletes_are_read_however_they_name_their_register() {
    let forms = [
        r#""f":"delete","value":["x",null]"#,
        r#""f":"delete","value":"x""#,
        r#""f":"del","key":"x""#,
        r#""f":"delete","key":"x","value":null"#,
    ];
    for form in forms {
        let line = |op_type| format!(r#"{{"time":1,"type":"{op_type}","process":0,{form}}}"#);
        let text = format!("{}\n{}\n", line("invoke"), line("ok"));
        let history = read_edn::<Register>(&text);
        let delete = Register { key: "x".into(), op: RegisterOp::Delete };
        assert!(history.events.iter().all(|event| event.action == delete), "{form}: {:?}", history.events);
        let lines = lines(&history);
        assert!(lines[0].contains(r#""f":"delete","value":["x",null]"#), "{}", lines[0]);
    }
    let text = r#"{"time":1,"type":"ok","process":0,"f":"delete","value":["x",5]}"#;
    assert!(jsonl::read_from::<Register>(text.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn json_lines_round_trip(history in history()) {
        let text = lines(&history).join("\n") + "\n";
        let read = jsonl::read_from::<Register>(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        prop_assert_eq!(read, history);
    }

    #[test]
    fn a_json_array_round_trips(history in history()) {
        let text = format!("[{}]", lines(&history).join(",\n"));
        let read = jsonl::read_from::<Register>(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        prop_assert_eq!(read, history);
    }

    #[test]
    fn edn_round_trips(history in history()) {
        let mut bytes = Vec::new();
        edn::write(&history, &mut bytes)?;
        let read = jsonl::read_from::<Register>(&bytes[..]).map_err(|e| {
            TestCaseError::fail(format!("{e:?}: {}", String::from_utf8_lossy(&bytes)))
        })?;
        prop_assert_eq!(read, history);
    }

    #[test]
    fn a_file_torn_anywhere_loses_its_last_line_only(history in history(), cut in any::<proptest::sample::Index>()) {
        let text = lines(&history).join("\n") + "\n";
        let cut = cut.index(text.len());
        let kept = &text.as_bytes()[..cut];
        let whole = kept.iter().filter(|byte| **byte == b'\n').count();
        let begun = kept.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // A line that lacks only its end is whole: the event is complete.
        let complete = text.as_bytes()[cut] == b'\n';
        let torn = !complete && begun < cut;
        let expected = whole + usize::from(complete && begun < cut);
        match jsonl::read_from::<Register>(kept) {
            Ok(read) => {
                prop_assert_eq!(read.events.len() + read.nemesis.len(), expected);
                prop_assert_eq!(read.torn == Torn::LastLine, torn);
                let before = |index: u64| (index as usize) < expected;
                prop_assert!(read.events.iter().eq(history.events.iter().filter(|event| before(event.index))));
            }
            // Cut inside the first line: it cannot be distinguished from another kind of file.
            Err(ReadError::Empty | ReadError::Syntax { .. }) => prop_assert_eq!(expected, 0),
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }
}

#[test]
fn every_cut_of_a_recorded_file_is_read() {
    let text = concat!(
        "{\"index\":0,\"time\":10,\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":[\"é\",1],\"node\":\"n1\"}\n",
        "{\"index\":1,\"time\":25,\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":[\"é\",1],\"node\":\"n1\"}\n",
        "{\"index\":2,\"time\":30,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"kill\",\"value\":{\"n\":[1]}}\n",
    );
    for cut in 1..=text.len() {
        let kept = &text.as_bytes()[..cut];
        let whole = kept.iter().filter(|byte| **byte == b'\n').count();
        let complete = usize::from(text.as_bytes().get(cut) == Some(&b'\n'));
        match jsonl::read_from::<Register>(kept) {
            Ok(history) => {
                assert_eq!(history.events.len() + history.nemesis.len(), whole + complete, "cut at {cut}");
                assert_eq!(
                    history.torn == Torn::LastLine,
                    complete == 0 && !kept.ends_with(b"\n"),
                    "cut at {cut}"
                );
            }
            Err(error) => {
                assert!(
                    matches!(error, ReadError::Syntax { line: 1, .. }) && whole + complete == 0,
                    "{cut}: {error:?}"
                )
            }
        }
    }
}

/// Everything that a form can be, read as the nemesis's value.
#[test]
fn a_line_cut_within_a_number_is_torn() {
    let whole = r#"{"index":0,"time":5,"process":"nemesis","type":"info","f":"x","value":-1.5e-7}"#;
    for cut in 1..whole.len() {
        let text = format!("{whole}\n{}", &whole[..cut]);
        let read =
            jsonl::read_from::<Register>(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!((read.torn, read.nemesis.len()), (Torn::LastLine, 1), "{text}");
    }
}

fn value(form: &str) -> serde_json::Value {
    let history = read_edn::<Register>(&format!("{{:process :nemesis, :type :info, :f :x, :value {form}}}"));
    match &history.nemesis[0].act {
        NemesisAct::Foreign { value, .. } => value.clone(),
        act => panic!("{act:?}"),
    }
}

#[test]
fn every_form_of_edn_is_read() {
    use serde_json::json;
    for (form, expected) in [
        ("nil", json!(null)),
        ("true", json!(true)),
        (":a/b", json!("a/b")),
        ("sym.bol->x", json!("sym.bol->x")),
        ("-", json!("-")),
        ("+7", json!(7)),
        ("-7", json!(-7)),
        ("1N", json!(1)),
        ("1.5M", json!(1.5)),
        ("1.", json!(1.0)),
        ("1e3", json!(1000.0)),
        ("0x1F", json!(31)),
        ("18446744073709551616N", json!({"number": "18446744073709551616"})),
        ("-1/2", json!({"number": "-1/2"})),
        ("##NaN", json!({"number": "NaN"})),
        ("##-Inf", json!({"number": "-Inf"})),
        (r#""a\"\\\n\tA""#, json!("a\"\\\n\tA")),
        (r"\a", json!("a")),
        (r"\newline", json!("\n")),
        (r"[\] \, \u0041]", json!(["]", ",", "A"])),
        ("(1, 2 [3])", json!([1, 2, [3]])),
        ("#{10 2 1}", json!([1, 2, 10])),
        ("#\"a\\d+\"", json!("a\\d+")),
        ("#:k{:a 1}", json!({"a": 1})),
        ("#object[a.B 0x3a \"x\"]", json!(["a.B", 58, "x"])),
        ("'x", json!("x")),
        ("#<Foo at [1>", json!("<Foo at [1>")),
        ("\"\u{1b}[31mred\"", json!("\u{1b}[31mred")),
        ("{:a 1, 2 [x], \"c\" {}}", json!({"a": 1, "2": ["x"], "c": {}})),
        ("#inst \"2026-11-23\"", json!("2026-11-23")),
        ("#jepsen.history.Op{:a 1}", json!({"a": 1})),
        ("[1 #_ 2 #_#_ 3 4 5]", json!([1, 5])),
        ("[1 ; 2\n 3]", json!([1, 3])),
        ("^{:m 1} [1]", json!([1])),
    ] {
        assert_eq!(value(form), expected, "{form}");
    }
}

#[test]
fn histories_in_every_shape_are_read() {
    let one = "{:type :invoke, :f :read, :value nil, :process 1}";
    let other = "{:type :ok, :f :read, :value 3, :process 1 :extra {:a #{1}}}";
    let tagged = format!("#jepsen.history.Op{one}\n#jepsen.history.Op{other}");
    for text in [
        format!("{one}\n{other}\n"),
        format!("; recorded\n[{one}\n{other}]\n"),
        format!("({one} {other})"),
        format!("[#jepsen.history.Op{one},#jepsen.history.Op{other}]"),
        tagged,
    ] {
        let history = read_edn::<CasRegister>(&text);
        assert_eq!(history.events.len(), 2, "{text}");
        assert_eq!(history.events[1].index, 1);
        assert_eq!(history.events[1].action, CasRegister::from(RegisterOp::Read(Some(Scalar::Int(3)))));
    }
    let keyed =
        read_edn::<Register>("{:type :ok :f :cas :value [:x [nil \"b\"]] :process 0 :time 5 :node \"n1\"}");
    let op = RegisterOp::Cas { old: None, new: Scalar::from("b") };
    assert_eq!(keyed.events[0].action, Register { key: Scalar::from("x"), op });
    assert_eq!(keyed.events[0].node, Some(NodeId::new("n1")));
}

#[test]
fn the_nemesis_may_invoke() {
    let text = "{:process :nemesis, :type :invoke, :f :start, :value nil, :error [:x 1]}";
    let history = read_edn::<Mutex>(text);
    let act = NemesisAct::Foreign {
        f: "start".into(),
        value: serde_json::Value::Null,
        error: Some("[\"x\",1]".to_owned()),
    };
    assert_eq!(history.nemesis.iter().map(|event| &event.act).collect::<Vec<_>>(), [&act]);
}

#[test]
fn what_is_not_a_history_is_refused_with_its_line() {
    let edn = |text: &str| jsonl::read_from::<CasRegister>(text.as_bytes());
    let good = "{:type :invoke, :f :read, :value nil, :process 1}\n";
    let syntax = |error: Result<History<CasRegister>, ReadError>| match error {
        Err(ReadError::Syntax { line, source }) => (line, source),
        other => panic!("{other:?}"),
    };
    let cut = |what, began| SyntaxError::Unterminated { what, began };
    assert_eq!(syntax(edn("{:type :ok\n")), (1, cut("an operation", 1)));
    let quote = format!("{good}{{:type :ok :f :read :value \"1 :process 1}}\n{good}");
    assert_eq!(syntax(edn(&quote)).0, 2, "a quote that is missing in the midst is not an end that was cut");
    assert_eq!(syntax(edn("{:type :ok :f}")), (1, SyntaxError::OddMap));
    assert_eq!(
        syntax(edn("{:process 1 :type :invoke :f :write :value 0y1}")).1,
        SyntaxError::Number { token: "0y1".to_owned() }
    );
    assert_eq!(syntax(edn(&"[".repeat(100_000))).1, SyntaxError::TooDeep);
    let deep = format!("{{:process 1 :type :invoke :f :write :value {}}}", "[".repeat(100_000));
    assert_eq!(syntax(edn(&deep)).1, cut("an operation", 1));
    let deep =
        format!("{{:process 1 :type :invoke :f :write :value {}{}}}", "[".repeat(900), "]".repeat(900));
    assert_eq!(syntax(edn(&deep)).1, SyntaxError::TooDeep);
    assert!(matches!(edn("42"), Err(ReadError::NotAnEvent { line: 1, .. })));
    assert!(matches!(edn("[42]"), Err(ReadError::NotAnEvent { line: 1, .. })));
    assert!(matches!(edn("{:type :ok :f :read}"), Err(ReadError::Missing { missing: "process", .. })));
    assert!(matches!(edn(""), Err(ReadError::Empty)));
    assert!(matches!(
        edn("{:type :okay :f :read :process 1}"),
        Err(ReadError::Field { line: 1, field: "type", .. })
    ));
    assert!(matches!(
        edn("{:type :ok :f :read :process true}"),
        Err(ReadError::Field { line: 1, field: "process", .. })
    ));
    assert!(matches!(edn("{:type :invoke :f :add :process 1}"), Err(ReadError::Payload { line: 1, .. })));
    assert!(matches!(
        jsonl::read_from::<Mutex>(&b"\n\x7fELF\x00\x01"[..]),
        Err(ReadError::Binary { line: 2, byte: 0 })
    ));
    assert!(matches!(
        jsonl::read_from::<Mutex>(&b"{\xff}"[..]),
        Err(ReadError::Binary { line: 1, byte: 0xff })
    ));
}

#[test]
fn a_history_in_which_nothing_happened_is_no_error() {
    for text in ["[]", "\n", "()", "; nothing\n", "{:history []}"] {
        assert!(read_edn::<CasRegister>(text).is_empty(), "{text:?}");
    }
}

#[test]
fn files_of_every_format_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let edn_text =
        "{:type :invoke, :f :read, :value nil, :process 1}\n{:type :ok, :f :read, :value 3, :process 1}\n";
    let expected = read_edn::<CasRegister>(edn_text);
    let line = |value: &str, op_type: &str| {
        format!("{{\"type\":\"{op_type}\",\"f\":\"read\",\"value\":{value},\"process\":1}}")
    };
    let (one, other) = (line("null", "invoke"), line("3", "ok"));
    for (name, text) in [
        ("h.edn", edn_text.to_owned()),
        ("h", edn_text.to_owned()),
        ("h.jsonl", format!("{one}\n{other}\n")),
        ("h.json", format!("[{one},\n{other}]\n")),
        ("lines.json", format!("{one}\n{other}\n")),
        ("misnamed.jsonl", edn_text.to_owned()),
    ] {
        let path: PathBuf = folder.path().join(name);
        fs::write(&path, text).expect("the file is written");
        assert_eq!(
            read_any::<CasRegister>(&path).unwrap_or_else(|error| panic!("{name}: {error:?}")),
            expected
        );
    }
    let missing = folder.path().join("missing.edn");
    assert!(matches!(read_any::<CasRegister>(&missing), Err(ReadError::Open { .. })));
    assert!(matches!(read_any::<CasRegister>(folder.path()), Err(ReadError::NoHistory { .. })));
    for name in ["empty.edn", "empty.json", "empty.jsonl"] {
        fs::write(folder.path().join(name), "").expect("the file is written");
        let read = read_any::<CasRegister>(&folder.path().join(name));
        assert!(matches!(read, Err(ReadError::Empty)), "{name}: {read:?}");
    }
}

#[test]
fn an_event_with_a_field_more_reads_the_same() {
    let events = [
        r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"cas","value":["x",[null,-2]],"node":"n1"}"#,
        r#"{"index":1,"time":-3,"process":0,"type":"ok","f":"cas","value":["x",[null,-2]]}"#,
        "{:index 2, :time 4, :process 0, :type :invoke, :f :write, :value [:y 10]}",
        "{:index 3 :time 4 :process 0 :type :fail :f :write :value [:y 10] :error nil}",
        r#"{:type :invoke, :f :read, :value ["y" nil], :process 1, :index 4}"#,
        r#"{ :type :ok :f :read :value ["y" -0] :process 1 :index 5 }"#,
        "{:type :invoke :f :read :value [7 nil] :process 123456789012345678 :index 6}",
        "{:type :info :f :read :value nil :process 123456789012345678 :index 7}",
        r#"{"index":8,"time":123456789012345678901,"process":2,"type":"invoke","f":"write","value":["a b",[1,[]]]}"#,
        r#"{"index":9,"process":2,"type":"ok","f":"write","value":["a b",[1, [] ]],"index":9}"#,
    ];
    for upto in 1..=events.len() {
        let usual = events[..upto].join("\n");
        let more: Vec<String> = events[..upto]
            .iter()
            .map(|event| match event.strip_prefix("{\"") {
                Some(rest) => format!("{{\"remark\":\"it is }}\",\"{rest}"),
                None => format!("{{:remark \"it is }}\" {}", &event[1..]),
            })
            .collect();
        let read = |text: &str| jsonl::read_from::<Register>(text.as_bytes());
        match (read(&usual), read(&more.join("\n"))) {
            (Ok(usual), Ok(more)) => assert_eq!(usual, more, "{upto} events"),
            (Err(usual), Err(more)) => assert_eq!(usual.to_string(), more.to_string(), "{upto} events"),
            (usual, more) => panic!("{upto} events: {usual:?} and {more:?}"),
        }
    }
}
