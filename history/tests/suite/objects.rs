//! The vocabularies of sets and counters read histories of other programs, and write what they read.

use duress_history::counter::{Counter, CounterOp};
use duress_history::set::{Set, SetFull, SetOp};
use duress_history::{OpType, Payload, Scalar};
use serde_json::value::RawValue;

fn parse<A: Payload>(op_type: OpType, f: &str, json: &str) -> Result<A, String> {
    let value: Box<RawValue> = serde_json::from_str(json).expect("JSON");
    A::parse(op_type, f, Some(&value)).map_err(|error| error.to_string())
}

#[track_caller]
fn same<A: Payload>(f: &str, json: &str, expected: &A) {
    let parsed: A = parse(OpType::Ok, f, json).unwrap_or_else(|error| panic!("{f} {json}: {error}"));
    assert_eq!(parsed, *expected, "{f} {json}");
    let mut written = Vec::new();
    parsed.serialize_value(&mut serde_json::Serializer::new(&mut written)).expect("it is written");
    assert_eq!(String::from_utf8(written).expect("text"), json);
}

fn elements(numbers: &[i64]) -> SetOp {
    SetOp::Read(Some(numbers.iter().copied().map(Scalar::Int).collect()))
}

#[test]
fn one_set_and_many() {
    let key = |name: &str| Some(Scalar::from(name));
    same("add", "7", &Set { key: None, op: SetOp::Add(Scalar::Int(7)) });
    same("add", r#"["s",7]"#, &Set { key: key("s"), op: SetOp::Add(Scalar::Int(7)) });
    same("read", "null", &Set { key: None, op: SetOp::Read(None) });
    same("read", "[]", &Set { key: None, op: elements(&[]) });
    same("read", "[1,2]", &Set { key: None, op: elements(&[1, 2]) });
    same("read", "[1]", &Set { key: None, op: elements(&[1]) });
    same("read", r#"["s",null]"#, &Set { key: key("s"), op: SetOp::Read(None) });
    same("read", r#"["s",[]]"#, &Set { key: key("s"), op: elements(&[]) });
    same("read", r#"["s",[1,2]]"#, &Set { key: key("s"), op: elements(&[1, 2]) });
    for (f, json) in
        [("add", "[1,2,3]"), ("add", "null"), ("read", "7"), ("read", "[[1],[2]]"), ("remove", "7")]
    {
        assert!(parse::<Set>(OpType::Ok, f, json).is_err(), "{f} {json}");
    }
    let (asked, other) =
        (Set { key: key("s"), op: SetOp::Read(None) }, Set { key: None, op: elements(&[1]) });
    assert!(!asked.completed_by(&other), "an answer about another set");
}

#[test]
fn elements_of_any_shape() {
    same("add", "7", &SetFull(SetOp::Add(Scalar::Int(7))));
    let pair: SetFull = parse(OpType::Invoke, "add", "[0,  1]").expect("any element");
    assert_eq!(pair, SetFull(SetOp::Add(Scalar::from("[0,1]"))));
    let read: SetFull = parse(OpType::Ok, "read", "[[0,1], 2, null]").expect("any elements");
    assert_eq!(
        read,
        SetFull(SetOp::Read(Some(vec![Scalar::from("[0,1]"), Scalar::Int(2), Scalar::from("null")])))
    );
    let asked: SetFull = parse(OpType::Invoke, "read", "[0, null]").expect("with any argument");
    assert_eq!(asked, SetFull(SetOp::Read(None)));
    assert!(asked.completed_by(&read));
    assert!(parse::<SetFull>(OpType::Ok, "read", "7").is_err());
}

#[test]
fn one_counter_and_many() {
    let key = Some(Scalar::from("c"));
    same("add", "-3", &Counter { key: None, op: CounterOp::Add(-3) });
    same("add", r#"["c",2]"#, &Counter { key: key.clone(), op: CounterOp::Add(2) });
    same("read", "null", &Counter { key: None, op: CounterOp::Read(None) });
    same("read", "5", &Counter { key: None, op: CounterOp::Read(Some(5)) });
    same("read", r#"["c",null]"#, &Counter { key: key.clone(), op: CounterOp::Read(None) });
    same("read", r#"["c",5]"#, &Counter { key, op: CounterOp::Read(Some(5)) });
    for (f, json) in [("add", "null"), ("add", "\"1\""), ("read", "[1,2,3]"), ("set", "1")] {
        assert!(parse::<Counter>(OpType::Ok, f, json).is_err(), "{f} {json}");
    }
}
