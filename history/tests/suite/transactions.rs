//! The vocabularies of transactions, as others record them.

use duress_history::pairs::pair;
use duress_history::txn::{Act, Elements, Held, ListAppend, RwRegister, Txn};
use duress_history::{Completion, History, ReadError, Scalar, edn, jsonl};

fn texts<R: duress_history::txn::Answer>(history: History<Txn<R>>) -> Vec<String> {
    history.events.iter().map(|event| serde_json::to_string(event).expect("an event")).collect()
}

#[test]
fn lists_are_read_from_edn_and_written() {
    let text = "{:process 0, :type :invoke, :f :txn, :value [[:append :x 1] [:r :y nil]]}\n\
                {:process 0, :type :ok, :f :txn, :value [[:append :x 1] [:r :y [1 \"a\"]]]}\n\
                {:process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}\n\
                {:process 1, :type :ok, :f :txn, :value [[:r :x nil]]}\n";
    let history = edn::read_str::<ListAppend>(text).expect("a history");
    let lines = texts(history.clone());
    assert!(lines[1].contains(r#""value":[["append","x",1],["r","y",[1,"a"]]]"#), "{}", lines[1]);
    let again = jsonl::read_from::<ListAppend>(lines.join("\n").as_bytes()).expect("our own lines");
    assert_eq!(again.events, history.events);
    let operations = pair(history.events).expect("it pairs");
    let Completion::Ok { answer, .. } = &operations[1].completion else { panic!("{operations:?}") };
    // A list that was never appended to is empty, however that is said.
    assert_eq!(answer.micros[0].act, Act::Read(Some(Elements(Box::default()))));
    assert_eq!(operations[1].action.micros[0].act, Act::Read(None));
}

#[test]
fn what_did_not_succeed_is_what_was_asked() {
    for completion in
        [":info, :value \"timed out\"", ":fail, :value nil", ":info, :value [[:w :x 1] [:r :x 7]]"]
    {
        let text = format!(
            "{{:process 0, :type :invoke, :f :txn, :value [[:w :x 1] [:r :x nil]]}}\n\
             {{:process 0, :type {completion}, :f :txn, :error :timeout}}\n"
        );
        let history = edn::read_str::<RwRegister>(&text).expect("a history");
        assert_eq!(history.events[1].action, history.events[0].action, "{completion}");
    }
}

#[test]
fn the_name_of_the_operation_means_nothing() {
    let text = "{:process 1 :type :invoke :value [[:r 3 nil]]}\n{:process 1 :type :ok :value [[:r 3 5]]}\n\
                {:process 1 :type :invoke :f :read-only :value [[:r 3 nil]]}\n";
    let history = edn::read_str::<RwRegister>(text).expect("a history");
    assert_eq!(history.events.len(), 3);
    assert_eq!(history.events[1].action.micros[0].act, Act::Read(Some(Held(Some(Scalar::from(5))))));
}

#[test]
fn what_is_not_a_transaction_is_refused_in_one_sentence() {
    let read = |value: &str| {
        let text = format!("{{:process 0 :type :invoke :f :txn :value {value}}}\n");
        edn::read_str::<ListAppend>(&text).expect_err("not a transaction").to_string()
    };
    for value in ["[[:rp :x nil]]", "[[:append :x]]", "5", "[[:append :x 1 2]]", "[:append :x 1]"] {
        assert!(read(value).contains("line 1"), "{}", read(value));
    }
    let other = "{:process 0 :type :invoke :f :write :value 3}\n";
    assert!(matches!(edn::read_str::<ListAppend>(other), Err(ReadError::Payload { .. })));
    // A transaction that ends as another than was asked for does not pair.
    let text = "{:process 0 :type :invoke :f :txn :value [[:append :x 1]]}\n{:process 0 :type :ok :f :txn :value [[:append :x 2]]}\n";
    assert!(pair(edn::read_str::<ListAppend>(text).expect("a history").events).is_err());
}
