//! The vocabularies of logs and tables: every shape is read back as it was written, and Jepsen's as it writes them.

use std::collections::BTreeMap;

use duress_history::event::PayloadError;
use duress_history::jsonl;
use duress_history::log::{Log, LogMicro, Offset, Offsets, Polled, Start, canonical_key};
use duress_history::pairs::{Completion, pair};
use duress_history::stream::{Output, PartRead, Progress, ReadFrom, Stream, StreamRecord, Then};
use duress_history::table::{PartitionRead, Place, Table, TableRecord};
use duress_history::{Event, History, OpType, Payload, Process, ReadError, Scalar, edn};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<i64>().prop_map(Scalar::Int),
        any::<String>().prop_map(|text| Scalar::from(text.as_str())),
        "-?[0-9]{1,3}".prop_map(|text| Scalar::from(text.as_str())),
    ]
}

/// Keys by their one names, as every reader returns them.
fn key() -> impl Strategy<Value = Scalar> {
    prop_oneof![value(), "t[0-9]-[0-9]".prop_map(|text| Scalar::from(text.as_str()))].prop_map(canonical_key)
}

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset)
}

fn offsets() -> impl Strategy<Value = Offsets> {
    btree_map(key(), offset(), 0..4)
}

fn polled() -> impl Strategy<Value = Polled> {
    btree_map(key(), vec((offset(), value()), 0..4), 0..4)
}

fn micro() -> impl Strategy<Value = LogMicro> {
    prop_oneof![
        (key(), value(), option::of(offset())).prop_map(|(key, value, offset)| LogMicro::Send {
            key,
            value,
            offset
        }),
        option::of(polled()).prop_map(LogMicro::Poll),
    ]
}

fn log() -> impl Strategy<Value = Log> {
    let keys = || vec(key(), 0..4);
    prop_oneof![
        4 => vec(micro(), 0..4).prop_map(Log::Send),
        4 => vec(micro(), 0..4).prop_map(Log::Poll),
        4 => vec(micro(), 0..4).prop_map(Log::Txn),
        1 => keys().prop_map(|keys| Log::Assign { keys, from: Start::Beginning }),
        1 => keys().prop_map(|keys| Log::Assign { keys, from: Start::Position }),
        1 => keys().prop_map(Log::Subscribe),
        1 => offsets().prop_map(Log::Seek),
        1 => option::of(offsets()).prop_map(Log::Commit),
        1 => option::of(offsets()).prop_map(Log::Committed),
        1 => option::of(offsets()).prop_map(Log::EndOffsets),
        1 => Just(Log::Crash),
    ]
}

fn table() -> impl Strategy<Value = Table> {
    let place = || option::of((key(), offset()).prop_map(|(partition, offset)| Place { partition, offset }));
    let record = (offset(), value(), option::of(value())).prop_map(|(offset, key, value)| TableRecord {
        offset,
        key,
        value,
    });
    let read = (offset(), vec(record, 0..4)).prop_map(|(next, records)| PartitionRead { next, records });
    prop_oneof![
        (value(), value(), place()).prop_map(|(key, value, place)| Table::Put { key, value, place }),
        (value(), place()).prop_map(|(key, place)| Table::Delete { key, place }),
        option::of(btree_map(key(), read, 0..4)).prop_map(Table::ReadLog),
        option::of(offsets()).prop_map(Table::EndOffsets),
    ]
}

fn stream() -> impl Strategy<Value = Stream> {
    let then = || prop_oneof![Just(Then::Commit), Just(Then::Abort), Just(Then::Die)];
    let from = || prop_oneof![Just(ReadFrom::Beginning), Just(ReadFrom::Position)];
    let output = (key(), value(), 0..9u64, value());
    let output = output.prop_map(|(partition, key, count, value)| Output { partition, key, count, value });
    let record = (offset(), value(), 0..9u64, value(), 0..9u64)
        .prop_map(|(offset, key, count, value, attempt)| StreamRecord { offset, key, count, value, attempt });
    let part = (offset(), offset(), vec(record, 0..4)).prop_map(|(from, next, records)| PartRead {
        from,
        next,
        records,
    });
    let progress = (offsets(), offsets(), offsets()).prop_map(|(committed, inputs, outputs)| Progress {
        committed,
        inputs,
        outputs,
    });
    prop_oneof![
        (key(), value(), value(), option::of(offset()))
            .prop_map(|(partition, key, value, offset)| Stream::Send { partition, key, value, offset }),
        (0..9u64, 0..9u64, then(), option::of(vec(output, 0..4)))
            .prop_map(|(worker, attempt, then, outputs)| Stream::Process { worker, attempt, then, outputs }),
        (from(), option::of(btree_map(key(), part, 0..4)))
            .prop_map(|(from, read)| Stream::Read { from, read }),
        option::of(progress).prop_map(Stream::Progress),
    ]
}

/// Writes every action as an event, in both formats, and reads it back.
fn round_trip<A: Payload>(actions: Vec<A>) -> Result<(), TestCaseError> {
    let events = actions.into_iter().enumerate().map(|(at, action)| Event {
        index: at as u64,
        time: at as u64,
        process: Process(0),
        op_type: OpType::Ok,
        action,
        node: None,
        error: None,
    });
    let history = History { events: events.collect(), ..History::default() };
    let mut lines = String::new();
    for event in &history.events {
        lines
            .push_str(&serde_json::to_string(event).map_err(|error| TestCaseError::fail(error.to_string()))?);
        lines.push('\n');
    }
    let read = jsonl::read_from::<A>(lines.as_bytes());
    let read = read.map_err(|error| TestCaseError::fail(format!("{error:?}: {lines}")))?;
    prop_assert_eq!(&read, &history);
    let mut bytes = Vec::new();
    edn::write(&history, &mut bytes)?;
    let read = jsonl::read_from::<A>(&bytes[..])
        .map_err(|error| TestCaseError::fail(format!("{error:?}: {}", String::from_utf8_lossy(&bytes))))?;
    prop_assert_eq!(&read, &history);
    Ok(())
}

proptest! {
    #[test]
    fn logs_round_trip(actions in vec(log(), 1..6)) {
        round_trip(actions)?;
    }

    #[test]
    fn tables_round_trip(actions in vec(table(), 1..6)) {
        round_trip(actions)?;
    }

    #[test]
    fn streams_round_trip(actions in vec(stream(), 1..6)) {
        round_trip(actions)?;
    }

    #[test]
    fn a_key_has_one_name(key in value()) {
        let once = canonical_key(key.clone());
        prop_assert_eq!(&once.to_string(), &key.to_string());
        prop_assert_eq!(canonical_key(once.clone()), once.clone());
        prop_assert_eq!(canonical_key(Scalar::from(key.to_string().as_str())), once);
    }

    #[test]
    fn nothing_makes_the_parser_panic(f in "send|poll|txn|assign|seek|commit|put|delete|read-log", value in "[\\[\\]{}:,\"a-z0-9 -]{0,40}") {
        let line = format!("{{\"process\":0,\"type\":\"ok\",\"f\":\"{f}\",\"value\":{value}}}\n");
        let _ = jsonl::read_from::<Log>(line.as_bytes());
        let _ = jsonl::read_from::<Table>(line.as_bytes());
    }
}

fn one_line<A: Payload>(f: &str, value: &str) -> Result<A, ReadError> {
    let line = format!("{{\"process\":0,\"type\":\"ok\",\"f\":\"{f}\",\"value\":{value}}}\n");
    jsonl::read_from::<A>(line.as_bytes()).map(|history| history.events[0].action.clone())
}

fn send(key: Scalar, value: i64, offset: Option<u64>) -> LogMicro {
    LogMicro::Send { key, value: Scalar::Int(value), offset: offset.map(Offset) }
}

#[test]
fn each_shape_is_written_as_documented() {
    let key = || Scalar::from("t0-2");
    let at = |offset: u64| BTreeMap::from([(key(), Offset(offset))]);
    let polled = BTreeMap::from([(key(), vec![(Offset(7), Scalar::Int(1)), (Offset(9), Scalar::Int(2))])]);
    for (action, f, value) in [
        (Log::Send(vec![send(key(), 5, None)]), "send", r#"[["send","t0-2",5]]"#),
        (Log::Send(vec![send(key(), 5, Some(3))]), "send", r#"[["send","t0-2",[3,5]]]"#),
        (Log::Poll(vec![LogMicro::Poll(None)]), "poll", r#"[["poll"]]"#),
        (Log::Poll(vec![LogMicro::Poll(Some(polled))]), "poll", r#"[["poll",{"t0-2":[[7,1],[9,2]]}]]"#),
        (Log::Assign { keys: vec![key()], from: Start::Position }, "assign", r#"["t0-2"]"#),
        (
            Log::Assign { keys: vec![key()], from: Start::Beginning },
            "assign",
            r#"{"keys":["t0-2"],"from":"beginning"}"#,
        ),
        (Log::Subscribe(vec![Scalar::from("t0")]), "subscribe", r#"["t0"]"#),
        (Log::Seek(at(4)), "seek", r#"{"t0-2":4}"#),
        (Log::Commit(None), "commit", "null"),
        (Log::Committed(Some(at(4))), "committed", r#"{"t0-2":4}"#),
        (Log::EndOffsets(Some(at(4))), "end-offsets", r#"{"t0-2":4}"#),
        (Log::Crash, "crash", "null"),
    ] {
        let event = Event {
            index: 0,
            time: 0,
            process: Process(0),
            op_type: OpType::Ok,
            action: action.clone(),
            node: None,
            error: None,
        };
        let line = serde_json::to_string(&event).expect("an event has a line");
        assert!(line.contains(&format!("\"f\":\"{f}\",\"value\":{value}")), "{line}");
        assert_eq!(one_line::<Log>(f, value).expect("it reads back"), action);
    }
}

#[test]
fn jepsens_keys_are_whole_numbers_in_maps_too() {
    let text = "{:type :invoke, :f :txn, :value [[:send 0 7] [:poll]], :process 1}\n\
                {:type :ok, :f :txn, :value [[:send 0 [nil 7]] [:poll {0 [[3 5] [4 6]], 12 []}]], :process 1}\n\
                {:type :invoke, :f :assign, :value [0 12], :process 1, :seek-to-beginning? true}\n\
                {:type :info, :f :assign, :value nil, :process 1}";
    let history = jsonl::read_from::<Log>(text.as_bytes()).expect("a history");
    let polled = BTreeMap::from([
        (Scalar::Int(0), vec![(Offset(3), Scalar::Int(5)), (Offset(4), Scalar::Int(6))]),
        (Scalar::Int(12), Vec::new()),
    ]);
    let answer = Log::Txn(vec![send(Scalar::Int(0), 7, None), LogMicro::Poll(Some(polled))]);
    let operations = pair(history.events).expect("they pair");
    assert!(matches!(&operations[0].completion, Completion::Ok { answer: found, .. } if *found == answer));
    let assigned = Log::Assign { keys: vec![Scalar::Int(0), Scalar::Int(12)], from: Start::Beginning };
    assert_eq!((&operations[1].action, operations.len()), (&assigned, 2));
}

#[test]
fn what_was_asked_is_what_is_completed() {
    let one = |micro: LogMicro| Log::Send(vec![micro]);
    let key = || Scalar::from("t0-0");
    let asked = one(send(key(), 1, None));
    assert!(asked.completed_by(&one(send(key(), 1, Some(4)))));
    assert!(!asked.completed_by(&one(send(key(), 2, Some(4)))), "another value");
    assert!(!asked.completed_by(&one(send(Scalar::from("t0-1"), 1, None))), "another partition");
    assert!(!asked.completed_by(&Log::Txn(vec![send(key(), 1, None)])), "another operation");
    assert!(!asked.completed_by(&Log::Send(Vec::new())), "fewer steps");
    assert!(Log::Commit(None).completed_by(&Log::Commit(Some(BTreeMap::new()))));
    assert!(!Log::Seek(BTreeMap::new()).completed_by(&Log::Seek(BTreeMap::from([(key(), Offset(1))]))));
    let place = Some(Place { partition: key(), offset: Offset(3) });
    let put = |value, place| Table::Put { key: Scalar::from("a"), value: Scalar::Int(value), place };
    assert!(put(1, None).completed_by(&put(1, place.clone())));
    assert!(!put(1, None).completed_by(&put(2, place)));
}

#[test]
fn the_shapes_of_tables_are_as_documented() {
    let place = Place { partition: Scalar::from("t0-0"), offset: Offset(3) };
    let key = || Scalar::from("7");
    let put = Table::Put { key: key(), value: Scalar::Int(1), place: Some(place.clone()) };
    assert_eq!(one_line::<Table>("put", r#"["7",1,["t0-0",3]]"#).expect("a put"), put);
    assert_eq!(
        one_line::<Table>("delete", r#"["7",["t0-0",3]]"#).expect("a deletion"),
        Table::Delete { key: key(), place: Some(place) }
    );
    assert_eq!(
        one_line::<Table>("delete", r#"["7"]"#).expect("a deletion"),
        Table::Delete { key: key(), place: None }
    );
    let record = |offset, value: Option<i64>| TableRecord {
        offset: Offset(offset),
        key: key(),
        value: value.map(Scalar::Int),
    };
    let read = PartitionRead { next: Offset(5), records: vec![record(3, Some(1)), record(4, None)] };
    assert_eq!(
        one_line::<Table>("read-log", r#"{"t0-0":{"next":5,"records":[[3,"7",1],[4,"7",null]]}}"#)
            .expect("a read"),
        Table::ReadLog(Some(BTreeMap::from([(Scalar::from("t0-0"), read)])))
    );
}

#[test]
fn other_shapes_are_refused() {
    let refused = |f: &str, value: &str| match one_line::<Log>(f, value) {
        Err(ReadError::Payload { source: PayloadError::Shape { f, .. }, .. }) => f,
        other => panic!("{f} {value}: {other:?}"),
    };
    for (f, value) in [
        ("send", "null"),
        ("send", r#"[["send","a"]]"#),
        ("send", r#"[["send","a",[1]]]"#),
        ("send", r#"[["send","a",[1,2,3]]]"#),
        ("send", r#"[["send","a",[-2,2]]]"#),
        ("send", r#"[["append","a",1]]"#),
        ("poll", r#"[["poll",{"a":[[1]]}]]"#),
        ("poll", r#"[["poll",{"a":[[1,2]],"a":[]}]]"#),
        ("poll", r#"[["poll",{},{}]]"#),
        ("assign", r#"{"keys":["a"],"from":"end"}"#),
        ("seek", "null"),
        ("seek", r#"{"a":null}"#),
        ("committed", "3"),
    ] {
        assert_eq!(refused(f, value), f);
    }
    assert!(matches!(
        one_line::<Log>("append", "null"),
        Err(ReadError::Payload { source: PayloadError::UnknownF { model: "log", .. }, .. })
    ));
    assert!(one_line::<Table>("put", r#"["a"]"#).is_err());
    assert!(one_line::<Table>("put", r#"["a",1,["t0-0"]]"#).is_err());
    assert!(one_line::<Table>("delete", r#"["a",1,2]"#).is_err());
    assert!(one_line::<Table>("read-log", r#"{"t0-0":[[1,"a",2]]}"#).is_err());
}
