//! Histories of other programs are read as they were meant, or refused with a sentence that names the remedy.

mod times;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use duress_history::event::{PayloadError, Torn};
use duress_history::fenced_mutex::FencedMutex;
use duress_history::import::{self, FieldMap, Options, Order};
use duress_history::mutex::Mutex;
use duress_history::pairs::pair;
use duress_history::register::{CasRegister, Register};
use duress_history::{Completion, History, Operation, Payload, ReadError};

fn read_with<A: Payload>(text: &str, options: &Options) -> Result<History<A>, ReadError> {
    import::read_from(text.as_bytes(), options)
}

fn read<A: Payload>(text: &str) -> History<A> {
    read_with(text, &Options::default()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn refused<A: Payload>(text: &str) -> String {
    let error = read_with::<A>(text, &Options::default()).expect_err("it is refused");
    let mut sentence = error.to_string();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        sentence = format!("{sentence}: {next}");
        cause = next;
    }
    sentence
}

/// Returns each operation in few words: `process action -> completion`.
fn told<A: Payload>(history: &History<A>) -> Vec<String> {
    fn action<A: Payload>(action: &A) -> String {
        let value = serde_json::to_string(&Value(action)).expect("a value has JSON");
        let key = action.key().map_or_else(String::new, |key| format!("{key} "));
        format!("{} {key}{value}", action.f())
    }
    struct Value<'a, A>(&'a A);
    impl<A: Payload> serde::Serialize for Value<'_, A> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize_value(serializer)
        }
    }
    let operation = |operation: &Operation<A>| {
        let completion = match &operation.completion {
            Completion::Ok { answer, .. } => action(answer),
            Completion::Fail { .. } => "fail".to_owned(),
            Completion::Info { at: Some(_), .. } => "info".to_owned(),
            Completion::Info { at: None, .. } => "open".to_owned(),
        };
        format!("{} {} -> {completion}", operation.process, action(&operation.action))
    };
    pair(history.events.clone()).expect("it pairs").iter().map(operation).collect()
}

#[test]
fn keys_may_have_a_field_of_their_own() {
    let edn = "{:process 0 :type :invoke :f :write :key :x :value 4}\n{:process 0 :type :ok :f :write :key :x}\n\
               {:process 1 :type :invoke :f :cas :key 7 :value [nil 5]}\n{:process 1 :type :fail :f :cas :key 7 :value false}\n\
               {:process 1 :type :invoke :f :read :key \"x\" :value nil}\n{:process 1 :type :ok :f :read :value 4}";
    let expected = ["0 write x 4 -> write x 4", "1 cas 7 [null,5] -> fail", "1 read x null -> read x 4"];
    assert_eq!(told(&read::<CasRegister>(edn)), expected);
    let tuples = [
        "0 write [\"x\",4] -> write [\"x\",4]",
        "1 cas [7,[null,5]] -> fail",
        "1 read [\"x\",null] -> read [\"x\",4]",
    ];
    assert_eq!(told(&read::<Register>(edn)), tuples);
    let json = r#"{"process":0,"type":"invoke","f":"put","key":"x","value":[1,2]}
                  {"process":0,"type":"ok","f":"put","key":"x","value":[1,2]}"#;
    assert_eq!(told(&read::<CasRegister>(json)), ["0 write x [1,2] -> write x [1,2]"]);
    let twice = r#"{"process":0,"type":"invoke","f":"write","key":"x","value":["x",2]}"#;
    assert_eq!(told(&read::<Register>(twice)), ["0 write [\"x\",2] -> open"]);
}

#[test]
fn where_it_is_unclear_which_register_is_meant_it_is_asked() {
    let tuples = "{:process 0 :type :invoke :f :write :value [\"x\" 4]}";
    assert!(refused::<CasRegister>(tuples).contains("--model register"));
    let mixed =
        "{:process 0 :type :invoke :f :write :key 1 :value 4}\n{:process 1 :type :invoke :f :write :value 4}";
    assert!(refused::<CasRegister>(mixed).contains("line 2: `key` is missing"));
    let key = "{:process 0 :type :invoke :f :read :key 1}";
    assert!(matches!(
        read_with::<duress_history::table::Table>(&key.replace("read", "read-log"), &Options::default()),
        Err(ReadError::Payload { line: 1, source: PayloadError::Key { .. } })
    ));
    let unanswered =
        "{:process 0 :type :invoke :f :read :value [1 nil]}\n{:process 0 :type :ok :f :read :value nil}";
    assert!(refused::<Register>(unanswered).contains("line 2"));
}

#[test]
fn locks_are_named_by_their_key() {
    let text = "{:process 0 :type :invoke :f :acquire :value [1 nil]}\n{:process 0 :type :ok :f :acquire :value [1 33]}\n\
                {:process 1 :type :invoke :f :lock :key 2}\n{:process 1 :type :info :f :lock :value :timeout}";
    assert_eq!(
        told(&read::<Mutex>(text)),
        ["0 acquire 1 null -> acquire 1 null", "1 acquire 2 null -> info"]
    );
    let token =
        "{:process 0 :type :invoke :f :acquire}\n{:process 0 :type :ok :f :acquire :value [\"n1\" 3]}";
    assert_eq!(told(&read::<Mutex>(token)), ["0 acquire null -> acquire null"]);
    assert!(
        refused::<Mutex>("{:process 0 :type :invoke :f :acquire :value [\"n1\" 3]}")
            .contains("[lock, null], or a field `key`")
    );
}

#[test]
fn acquisitions_are_answered_with_fencing_tokens() {
    let answered = |invoked: &str, answer: &str| {
        format!(
            "{{:process 0 :type :invoke :f :lock {invoked}}}\n{{:process 0 :type :ok :f :lock :value {answer}}}\n\
             {{:process 0 :type :invoke :f :unlock {invoked}}}\n{{:process 0 :type :ok :f :unlock :value {answer}}}"
        )
    };
    for (invoked, answer, lock, token) in [
        ("", "7", "", "7"),
        ("", "-7N", "", "-7"),
        ("", "nil", "", "null"),
        (":value \"uid\"", "{:client \"c\" :fence 7 :uid \"uid\"}", "", "7"),
        (":key 1", "{:token 7}", "1 ", "7"),
        (":value [1 nil]", "[1 7]", "1 ", "7"),
        (":value [1 nil]", "[1 {:fence nil}]", "1 ", "null"),
    ] {
        let expected = [
            format!("0 acquire {lock}null -> acquire {lock}{token}"),
            format!("0 release {lock}null -> release {lock}null"),
        ];
        assert_eq!(told(&read::<FencedMutex>(&answered(invoked, answer))), expected, "{invoked} {answer}");
    }
    for answer in
        ["\"n1\"", "1.5", "true", "{:client 1}", "{:fence \"1\"}", "[1 2 3]", "99999999999999999999"]
    {
        let refused = refused::<FencedMutex>(&answered("", answer));
        assert!(refused.contains("line 2") && refused.contains("a fencing token"), "{answer}: {refused}");
    }
    let leased = answered(":value {:lease-ms 200}", "7").replacen(":ok", ":info", 1);
    let expected = [r#"0 acquire {"lease_ms":200} -> info"#, "0 release null -> release null"];
    assert_eq!(told(&read::<FencedMutex>(&leased)), expected);
    let other = refused::<FencedMutex>("{:process 0 :type :invoke :f :read}");
    assert!(other.contains("the model \"fenced-mutex\""), "{other}");
}

#[test]
fn a_compare_and_set_may_be_flat() {
    let text =
        "{:process 0 :type :invoke :f :cas :value [:a 1 2]}\n{:process 0 :type :ok :f :cas :value [:a 1 2]}";
    assert_eq!(told(&read::<Register>(text)), ["0 cas [\"a\",[1,2]] -> cas [\"a\",[1,2]]"]);
}

#[test]
fn what_failed_or_is_unknown_is_what_was_invoked() {
    let text = "{:process 0 :type :invoke :f :write :value 60}\n{:process 0 :type :fail :f :write :value 0}\n\
                {:process 1 :type :invoke :f :cas :value [1 2]}\n{:process 1 :type :info :f :cas :value #object[x.Y 0x1 \"z\"]}\n\
                {:process 2 :type :invoke :f :write :value 5}\n{:process 2 :type :info :f :write :value 09:15}\n\
                {:process 3 :type :invoke :f :write :value 5}\n{:process 3 :type :ok :f :write}";
    let expected = ["0 write 60 -> fail", "1 cas [1,2] -> info", "2 write 5 -> info", "3 write 5 -> write 5"];
    assert_eq!(told(&read::<CasRegister>(text)), expected);
    let other = "{:process 0 :type :invoke :f :write :value 60}\n{:process 0 :type :ok :f :write :value 0}";
    assert!(pair(read::<CasRegister>(other).events).is_err(), "an answer that says otherwise");
    let cas = "{:process 0 :type :invoke :f :cas :value [1 2]}\n{:process 0 :type :ok :f :cas :value false}";
    assert!(refused::<CasRegister>(cas).contains("line 2"));
}

#[test]
fn notes_between_operations_are_left_out_and_counted() {
    let text = "{:process 0 :type :info :f :log :value \"hello\"}\n{:process 0 :type :invoke :f :write :value 1}\n\
                {:process 0 :type :info :f :log :value \"still there\"}\n{:process 0 :type :ok :f :write :value 1}\n\
                {:process :checker :type :info :f :look}";
    let history = read::<CasRegister>(text);
    assert_eq!(told(&history), ["0 write 1 -> write 1"]);
    assert_eq!(
        history.skipped.into_iter().collect::<Vec<_>>(),
        [("log".to_owned(), 2), ("look".to_owned(), 1)]
    );
    assert!(refused::<CasRegister>("{:process 0 :type :invoke :f :add :value 1}").contains("\"add\""));
}

#[test]
fn what_the_nemesis_did_may_be_called_anything() {
    for f in ["[:db :cut]", "{:a 1}", "nil", "#{:x}", "\"two words\"", "3"] {
        for process in [":nemesis", "\"nemesis\"", ":nemesis-2"] {
            let history =
                read::<CasRegister>(&format!("{{:type :info :process {process} :f {f} :value #inst \"x\"}}"));
            assert_eq!((history.events.len(), history.nemesis.len()), (0, 1), "{f}");
        }
    }
    assert_eq!(read::<CasRegister>("{:type :info :process :nemesis}").nemesis.len(), 1);
}

#[test]
fn what_no_checker_reads_may_be_anything() {
    for junk in [
        "#object[a.B 0x3a \"a.B@3a\"]",
        "#object [a.B 0x3a 1.2.3.4:80]",
        "#<IOException java.io.IOException: no [more>",
        "#\"[a-z]{2}\\d\"",
        "#:db{:id 17592186045418, :name \"x\"}",
        "{:at #inst \"2026-11-23T10:00:00.000-00:00\" :id #uuid \"1\"}",
        "09:15:00",
        "[1 2 #_{:a [}} 3]",
        "^{:line 3} (fn [x] (inc x))",
        "#'user/x",
        "@ref",
        "\\u0041",
        "\\[",
        "##NaN",
        "1.5e300M",
        "\"\u{1b}[31mred\u{1b}[0m and \u{7}\"",
        "\"C:\\qux \\0\"",
        "#{#{} [] {}}",
        "#?(:clj 1 :cljs 2)",
    ] {
        for field in [":exception", ":error", ":trace", ":node"] {
            let text = format!(
                "{{:process 0 :type :invoke :f :write :value 1}}\n{{:process 0 {field} {junk} :type :info :f :write :value 1}}\n\
                 {{:process 1 :type :invoke :f :write :value 2}}"
            );
            assert_eq!(
                told(&read::<CasRegister>(&text)),
                ["0 write 1 -> info", "1 write 2 -> open"],
                "{field} {junk}"
            );
        }
    }
    let coloured = "{:process 0 :type :invoke :f :write :value 1}\n\
                    {:process 0 :type :fail :f :write :value 1 :error \"\u{1b}[1;31mno\u{1b}[0m leader\u{7}\"}";
    assert_eq!(
        read::<CasRegister>(coloured).events[1].error.as_ref().map(ToString::to_string).as_deref(),
        Some("no leader")
    );
    let latin = b"{:process 0 :type :invoke :f :write :value 1 :note \"caf\xe9\"}";
    let history = import::read_from::<CasRegister>(&latin[..], &Options::default()).expect("a history");
    assert_eq!(told(&history), ["0 write 1 -> open"]);
}

#[test]
fn values_are_of_every_kind() {
    for (form, json) in [
        ("true", "true"),
        ("1.50", "1.5"),
        ("3.0", "3"),
        ("3N", "3"),
        ("3M", "3"),
        ("-1/2", "{\"number\":\"-1/2\"}"),
        ("##Inf", "{\"number\":\"Inf\"}"),
        ("123456789012345678901234567890", "{\"number\":\"123456789012345678901234567890\"}"),
        ("9223372036854775808", "9223372036854775808"),
        ("0x10", "16"),
        (":kw", "\"kw\""),
        ("\\a", "\"a\""),
        ("\"nil\"", "\"nil\""),
        ("{:b 1 :a [2.0]}", "{\"a\":[2],\"b\":1}"),
        ("#{3 1 2}", "[1,2,3]"),
        ("[1 2 3]", "[1,2,3]"),
        ("#uuid \"8-4\"", "\"8-4\""),
    ] {
        let text = format!(
            "{{:process 0 :type :invoke :f :write :value {form}}}\n{{:process 0 :type :ok :f :write :value {form}}}"
        );
        assert_eq!(told(&read::<CasRegister>(&text)), [format!("0 write {json} -> write {json}")], "{form}");
    }
    let text = r#"{"process":0,"type":"invoke","f":"write","value":18446744073709551617}"#;
    assert!(refused::<CasRegister>(text).contains("record it as a string"));
}

#[test]
fn sets_are_equal_whatever_their_order() {
    let text = "{:process 0 :type :invoke :f :write :value #{:a :b :c}}\n{:process 0 :type :ok :f :write :value #{:c :a :b}}";
    assert_eq!(told(&read::<CasRegister>(text)).len(), 1);
}

#[test]
fn processes_may_have_names() {
    let text = "{:process :c1 :type :invoke :f :write :value 1}\n{:process \"c2\" :type :invoke :f :write :value 2}\n\
                {:process :c1 :type :ok :f :write :value 1}\n{:process \"7\" :type :invoke :f :write :value 3}\n\
                {:process 1 :type :invoke :f :write :value 4}\n{:process -2 :type :invoke :f :write :value 5}";
    let expected = [
        "0 write 1 -> write 1",
        "1 write 2 -> open",
        "7 write 3 -> open",
        "8 write 4 -> open",
        "9 write 5 -> open",
    ];
    assert_eq!(told(&read::<CasRegister>(text)), expected);
    let late = "{:process 0 :type :invoke :f :write :value 1}\n{:process :c :type :invoke :f :write :value 2}\n\
                {:process 0 :type :ok :f :write :value 1}";
    assert_eq!(told(&read::<CasRegister>(late)), ["0 write 1 -> write 1", "1 write 2 -> open"]);
}

#[test]
fn times_may_be_negative_fractions_or_missing() {
    let times = |one: &str, other: &str| {
        let text = format!(
            "{{:process 0 :type :invoke :f :write :value 1 {one}}}\n{{:process 0 :type :ok :f :write :value 1 {other}}}"
        );
        let history = read::<CasRegister>(&text);
        [history.events[0].time, history.events[1].time]
    };
    assert_eq!(times(":time -5", ":time 7"), [0, 12]);
    assert_eq!(times(":time 0.5", ":time 2"), [500_000_000, 2_000_000_000]);
    assert_eq!(times(":time 1", ":time 1.25"), [1_000_000_000, 1_250_000_000]);
    assert_eq!(
        times(":time 1700000000000.5", ":time 1700000000001.5"),
        [1_700_000_000_000_500_000, 1_700_000_000_001_500_000]
    );
    assert_eq!(times(":time 1000", ":time \"2000\""), [1000, 2000]);
    assert_eq!(times("", ""), [0, 0]);
    assert_eq!(times(":time 5", ":time \"noon\""), [5, 5]);
    assert_eq!(times(":time nil", ":time 3"), [0, 3]);
}

#[test]
fn an_object_may_be_a_whole_operation() {
    let porcupine = r#"[{"ClientId":0,"Input":{"Op":"put","Key":"a","Value":"7"},"Call":100,"Output":{},"Return":200},
        {"ClientId":1,"Input":{"Op":"get","Key":"a"},"Call":300,"Output":{"Value":"7"},"Return":400},
        {"ClientId":1,"Input":{"Op":"get","Key":"a"},"Call":500,"Output":{"exists":false,"value":0},"Return":600},
        {"ClientId":2,"Input":{"Op":"cas","Key":"a","From":"7","To":"8"},"Call":150,"Output":{"ok":false},"Return":250},
        {"ClientId":3,"Input":{"Op":"put","Key":"a","Value":"9"},"Call":160,"Output":{"unknown":true},"Return":9223372036854775807},
        {"ClientId":0,"Input":{"Op":"put","Key":"a","Value":"5"},"Call":700,"Output":{"err":"no leader"},"Return":800}]"#;
    let expected = [
        "0 write [\"a\",\"7\"] -> write [\"a\",\"7\"]",
        "2 cas [\"a\",[\"7\",\"8\"]] -> fail",
        "3 write [\"a\",\"9\"] -> open",
        "1 read [\"a\",null] -> read [\"a\",\"7\"]",
        "1 read [\"a\",null] -> read [\"a\",null]",
        "0 write [\"a\",\"5\"] -> info",
    ];
    assert_eq!(told(&read::<Register>(porcupine)), expected);
    let flat = r#"{"client":"a","op":"write","key":"x","value":1,"start":1.5,"end":2.5}
        {"client":"b","op":"read","key":"x","value":1,"start":2.0,"end":3.0}
        {"client":"b","op":"write","key":"x","value":2,"start":4.0,"end":null,"error":"timeout"}"#;
    let expected = [
        "0 write [\"x\",1] -> write [\"x\",1]",
        "1 read [\"x\",null] -> read [\"x\",1]",
        "1 write [\"x\",2] -> open",
    ];
    assert_eq!(told(&read::<Register>(flat)), expected);
    let edn = "{:client 4 :op :read :call 5 :return 9 :output 3} {:client 4 :op :write :call 7 :return 12 :value 3}";
    assert_eq!(told(&read::<CasRegister>(edn)), ["4 read null -> read 3", "5 write 3 -> write 3"]);
    // If one ends as the other begins, they overlap, as in Porcupine.
    let touching = "{:client 0 :op :write :call 1 :return 2 :value 3}{:client 0 :op :write :call 2 :return 3 :value 4}\
                    {:client 1 :op :write :call 2 :return 3 :value 5}";
    assert_eq!(times::order(&read::<CasRegister>(touching)), "0i 1i 2i 0o 1o 2o");
    let nameless = r#"{"Input":{"key":"a","value":7},"Call":100,"Output":null,"Return":200}"#;
    assert!(refused::<Register>(nameless).contains("--map FIELD=f"));
}

#[test]
fn etcds_operations_are_reads_and_writes() {
    let line = |client: u32, input: &str, output: &str, call: u32, ret: u32| {
        format!(
            "{{\"ClientId\":{client},\"Input\":{input},\"Call\":{call},\"Output\":{output},\"Return\":{ret}}}\n"
        )
    };
    let put = |value: &str| {
        format!(
            "{{\"Type\":\"txn\",\"Range\":null,\"Txn\":{{\"Conditions\":null,\"OperationsOnSuccess\":[{{\"Type\":\"put-operation\",\
             \"Range\":{{\"Start\":\"\"}},\"Put\":{{\"Key\":\"k\",\"Value\":{{\"Value\":\"{value}\",\"Hash\":0}},\"LeaseID\":0}}}}]}}}}"
        )
    };
    let get = "{\"Type\":\"range\",\"Range\":{\"Start\":\"k\",\"End\":\"\",\"Limit\":0,\"Revision\":0},\"Txn\":null}";
    let got = "{\"Range\":{\"KVs\":[{\"Key\":\"k\",\"Value\":{\"Value\":\"1\",\"Hash\":0},\"ModRevision\":2}],\"Count\":1},\"Revision\":2,\"Error\":\"\"}";
    let done = "{\"Txn\":{\"Failure\":false,\"Results\":[{\"KVs\":null}]},\"Revision\":2,\"Error\":\"\"}";
    let compact = "{\"Type\":\"compact\",\"Range\":null,\"Txn\":null}";
    let text = line(1, &put("1"), done, 10, 20)
        + &line(2, get, got, 30, 40)
        + &line(2, get, "{\"Range\":{\"KVs\":null,\"Count\":0},\"Error\":\"\"}", 1, 2)
        + &line(3, &put("2"), "{\"Error\":\"context deadline exceeded\"}", 50, 60)
        + &line(3, compact, "{}", 70, 80);
    let expected = [
        "2 read [\"k\",null] -> read [\"k\",null]",
        "1 write [\"k\",\"1\"] -> write [\"k\",\"1\"]",
        "2 read [\"k\",null] -> read [\"k\",\"1\"]",
        "3 write [\"k\",\"2\"] -> info",
    ];
    assert_eq!(told(&read::<Register>(&text)), expected);
    let many = get.replace("\"End\":\"\"", "\"End\":\"z\"");
    assert!(refused::<Register>(&line(1, &many, got, 1, 2)).contains("one key"));
}

#[test]
fn fields_are_renamed_as_asked() {
    let text = r#"{"who":{"id":3},"what":"invoke","verb":"write","it":4,"f":"noise"}
        {"who":{"id":3},"what":"ok","verb":"write","it":4,"f":"noise"}"#;
    let mut options = Options::default();
    for mapping in ["who.id=process", "what=type", "verb=f", "it=value"] {
        options.fields.add(mapping).expect("a mapping");
    }
    let history = read_with::<CasRegister>(text, &options).expect("a history");
    assert_eq!(told(&history), ["3 write 4 -> write 4"]);
    assert!(refused::<CasRegister>(text).contains("its fields are f, it, verb, what, who"));
    let mut fields = FieldMap::default();
    assert!(
        fields.add("it=val").is_err_and(|error| error.to_string().contains("OURS is one of index, time"))
    );
    assert!(fields.add("it").is_err());
}

#[test]
fn other_names_of_fields_are_known() {
    let text = r#"{"client":1,"type":"INVOKE","op":"set","val":4,"timestamp":5}
        {"client":1,"type":"OK","op":"set","val":4,"timestamp":6}"#;
    assert_eq!(told(&read::<CasRegister>(text)), ["1 write 4 -> write 4"]);
    let porcupine = r#"[{"ClientId":0,"Kind":false,"Value":{"op":"write","value":1},"Id":0},{"ClientId":0,"Kind":true,"Value":{},"Id":0}]"#;
    assert_eq!(told(&read::<CasRegister>(porcupine)), ["0 write 1 -> write 1"]);
    let spaced = "#:op{:process 1 :type :invoke :f :read}\n{:op/process 1 :op/type :ok :op/f :register/read :op/value 3}";
    assert!(refused::<CasRegister>(spaced).contains("register/read"));
    assert_eq!(told(&read::<CasRegister>(&spaced.replace("register/", ""))), ["1 read null -> read 3"]);
}

#[test]
fn lines_of_text_are_events() {
    let table = "0\t:invoke\t:write\t4\n0\t:ok\t:write\t4\n:nemesis\t:info\t[:cut 1]\tnil\n1\t:invoke\t:cas\t[4 1]\n\
                 1\t:info\t:cas\t[4 1]\tno answer (yet\n2\t:invoke\t:read\tnil\n2\t:fail\t:read\t:timed out]\n";
    let history = read::<CasRegister>(table);
    assert_eq!(told(&history), ["0 write 4 -> write 4", "1 cas [4,1] -> info", "2 read null -> fail"]);
    assert_eq!(history.nemesis.len(), 1);
    assert_eq!(history.events[3].error.as_ref().map(ToString::to_string).as_deref(), Some("no answer (yet"));
    let words = "process type f value\n0 invoke write 4\n0 ok write 4\n";
    assert_eq!(told(&read::<CasRegister>(words)), ["0 write 4 -> write 4"]);
    let log = "INFO  jepsen.core - Run, Forrest, run!\nINFO  jepsen.util - 3\t:invoke\t:read\tnil\n\
               WARN  n1: is :ok now, I think\nINFO  jepsen.util - :nemesis\t:info\t:start\tnil\n\
               2026-11-23 10:00:00,123{GMT}\tINFO\t[jepsen worker 3] jepsen.util: 3\t:ok\t:read\t5\nDone: {:valid? true}\n";
    let history = read::<CasRegister>(log);
    assert_eq!((told(&history), history.nemesis.len()), (vec!["3 read null -> read 5".to_owned()], 1));
    let bracketed = "[2026-11-23 10:00:00] INFO jepsen.util - 3 :invoke :write 4\n[2026-11-23 10:00:01] INFO jepsen.util - 3 :ok :write 4\n";
    assert_eq!(told(&read::<CasRegister>(bracketed)), ["3 write 4 -> write 4"]);
    assert!(refused::<CasRegister>(&table.replace("2\t:invoke", "2 invokes")).contains("line 6"));
    assert!(refused::<CasRegister>("hello\nworld\n").contains("line 1"));
    let torn = read::<CasRegister>("0\t:invoke\t:write\t4\n0\t:ok");
    assert_eq!((torn.torn, torn.events.len()), (Torn::LastLine, 1));
}

#[test]
fn vectors_are_events() {
    for text in [
        "[0 :invoke :write 4]\n[0 :ok :write 4]\n",
        "[[0 :invoke :write 4] [0 :ok :write 4 nil]]",
        "([0 :invoke :write 4] (0 :ok :write 4))",
        "[0,\"invoke\",\"write\",4]\n[0,\"ok\",\"write\",4]\n",
        "[[0, \"invoke\", \"write\", 4],\n [0, \"ok\", \"write\", 4]]",
    ] {
        assert_eq!(told(&read::<CasRegister>(text)), ["0 write 4 -> write 4"], "{text}");
    }
    assert!(refused::<CasRegister>("[0 :invoke]").contains("found [0 :invoke]"));
}

#[test]
fn a_history_may_be_inside_a_map() {
    let event = "{:process 0 :type :invoke :f :write :value 4}";
    for text in [
        format!("{{:name \"x\" :opts {{:history 3}} :history [{event}] :results {{:valid? #object[x]}}}}"),
        format!("{{:history ({event}), :x}}").replace(", :x", ""),
        format!("#jepsen.core.Test{{:history [{event}]}}"),
        r#"{"name":"x","history":[{"process":0,"type":"invoke","f":"write","value":4}],"seed":1}"#.to_owned(),
        r#"{"operations": [{"process":0,"type":"invoke","f":"write","value":4}]}"#.to_owned(),
    ] {
        assert_eq!(told(&read::<CasRegister>(&text)), ["0 write 4 -> open"], "{text}");
    }
}

#[test]
fn an_end_that_was_cut_short_is_left_out() {
    let whole = "{:process 0 :type :invoke :f :write :value 4}";
    let second = "{:process 0 :type :ok :f :write\n :value 4 :error \"é\"}";
    for cut in 1..second.len() {
        for (before, between) in [("", "\n"), ("[", " "), ("{:history [", ",")] {
            let bytes = [format!("{before}{whole}{between}").as_bytes(), &second.as_bytes()[..cut]].concat();
            let history = import::read_from::<CasRegister>(&bytes[..], &Options::default());
            let history =
                history.unwrap_or_else(|error| panic!("{}: {error:?}", String::from_utf8_lossy(&bytes)));
            assert_eq!((history.torn, history.events.len()), (Torn::LastLine, 1), "cut at {cut}");
        }
    }
    assert_eq!(read::<CasRegister>(&format!("[{whole}")).torn, Torn::LastLine);
    assert_eq!(
        read::<CasRegister>(&format!("{whole}\n\0\0\0\0")).torn,
        Torn::No,
        "blocks that were never written"
    );
}

#[test]
fn packed_histories_are_unpacked() {
    let text: String =
        (0..9_000).map(|at| format!("{{:process {at} :type :invoke :f :write :value {at}}}\n")).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(text.as_bytes()).expect("packed");
    let gz = gz.finish().expect("packed");
    let zst = ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    for (name, bytes) in [("history.edn.gz", &gz), ("history.edn.zst", &zst), ("no-extension", &gz)] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        let history =
            import::read_any::<CasRegister>(&path).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!((history.events.len(), history.torn), (9_000, Torn::No), "{name}");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
        match import::read_any::<CasRegister>(&path) {
            Ok(history) => assert!(history.torn == Torn::LastLine && history.events.len() > 1_000, "{name}"),
            // Zstandard outputs nothing before a whole window is there.
            Err(error) => {
                assert!(name.ends_with("zst") && matches!(error, ReadError::Io { .. }), "{name}: {error:?}")
            }
        }
    }
    fs::write(folder.path().join("h.bz2"), b"BZh91AY&SY").expect("written");
    let error = import::read_any::<CasRegister>(&folder.path().join("h.bz2")).expect_err("it is not read");
    assert!(error.to_string().contains("unpack it first"));
}

#[test]
fn a_folder_is_the_history_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("register/20261123T100000");
    fs::create_dir_all(&run).expect("folders");
    std::os::unix::fs::symlink(&run, folder.path().join("latest")).expect("a link");
    fs::write(run.join("history.txt"), "0\t:invoke\t:write\t1\n").expect("written");
    assert_eq!(told(&import::read_any::<CasRegister>(&run).expect("a history")), ["0 write 1 -> open"]);
    fs::write(run.join("history.edn"), "{:process 0 :type :invoke :f :write :value 2}\n").expect("written");
    assert_eq!(told(&import::read_any::<CasRegister>(&run).expect("a history")), ["0 write 2 -> open"]);
    assert_eq!(
        told(&import::read_any::<CasRegister>(folder.path()).expect("a history")),
        ["0 write 2 -> open"]
    );
    let error = import::read_any::<CasRegister>(&folder.path().join("register"))
        .expect_err("the folder has no history");
    assert!(error.to_string().contains("history.edn, history.txt"), "{error}");
}
