//! Strings that can be appended to, against the definition tried out literally.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::Budget;
use duress_checkers::verdict::{CheckReport, Reason, Verdict};
use duress_history::kv_append::{KvAppend, KvOp};
use duress_history::pairs::pair;
use duress_history::{Completion, Operation, edn};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::words;

fn check(operations: &[Operation<KvAppend>]) -> CheckReport {
    check_kv_append(operations, &Budget::default(), &AtomicBool::new(false))
}

/// `0ipa` invokes put a, `0op` completes it; `a` appends, `g` gets. `_` is the empty string.
fn operations(words: &str) -> Vec<Operation<KvAppend>> {
    words::operations(words, |operation, _| {
        let (f, text) = operation.split_at(1);
        let f = match f {
            "p" => "put",
            "a" => "append",
            _ => "get",
        };
        let value = if text == "_" { "null".to_owned() } else { format!("{text:?}") };
        (f, format!("[\"k\", {value}]"))
    })
}

fn answer(words: &str) -> String {
    match check(&operations(words)).verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Unknown(reasons) => format!("unknown: {}", reasons[0]),
        Verdict::Invalid(anomalies) => {
            let shown: Vec<&str> =
                anomalies[0].operations.iter().map(|shown| shown.action.as_str()).collect();
            format!("{}; {}", shown.join("; "), anomalies[0].steps.last().expect("an argument").sentence)
        }
    }
}

#[test]
fn a_get_shows_what_was_put_and_appended() {
    assert_eq!(answer("0ipa 0opa 1iab 1oab 0ig_ 0ogab"), "valid");
    assert_eq!(
        answer("0ipa 0opa 1iab 1oab 0ig_ 0oga"),
        "put \"a\"; append \"b\"; get -> \"a\"; So in every order of these operations that agrees with real time, k holds \
         \"ab\" when C (get -> \"a\") is answered."
    );
    // Operations in progress may have taken effect, in any order.
    assert_eq!(
        answer("0iaa 1iab 2ig_ 2ogba 3ig_ 3ogbac"),
        "get -> \"bac\"; But \"bac\" is not a concatenation of strings that operations may have put or appended."
    );
    assert_eq!(answer("0iaa 1iab 2ig_ 2ogba 0oaa 1oab 3ig_ 3ogba"), "valid");
    assert_eq!(answer("0iaa 0oaa 1iab 1?ab 2ig_ 2ogab 2ig_ 2ogab"), "valid");
    let forgotten = answer("0iaa 0oaa 1iab 1?ab 2ig_ 2ogab 2ig_ 2oga");
    assert!(forgotten.starts_with("get -> \"ab\"; get -> \"a\";"), "{forgotten}");
    assert_eq!(answer("0ig_ 0og_"), "valid");
    assert_eq!(answer("0ipa 0fpa 0ig_ 0og_"), "valid");
    assert_eq!(answer("0ig_ 0fg_"), "unknown: none of 1 operations succeeded");
}

#[test]
fn a_witness_is_small() {
    // A thousand appends, each seen, and then one that is forgotten.
    let mut words = String::new();
    for at in 0..40 {
        let text: String = (0..=at).map(|at| format!("{at},")).collect();
        words += &format!("0ia{at}, 0oa{at}, 1ig_ 1og{text} ");
    }
    words += "0ipx 0opx 1iay 1oay 1ig_ 1ogx";
    assert!(answer(&words).starts_with("put \"x\"; append \"y\"; get -> \"x\";"), "{}", answer(&words));
}

#[test]
fn keys_are_apart() {
    let text = "{:process 0 :type :invoke :f :put :key 1 :value \"a\"}\n{:process 0 :type :ok :f :put :key 1 :value \"a\"}\n\
                {:process 0 :type :invoke :f :get :value [2 nil]}\n{:process 0 :type :ok :f :get :value [2 \"\"]}";
    let history = edn::read_str::<KvAppend>(text).expect("a history");
    let report = check(&pair(history.events).expect("it pairs"));
    assert_eq!((report.verdict, report.keys), (Verdict::Valid, 2));
}

/// Whether some order of `operations` is right, tried out one by one. At most 64 operations.
fn linearizable(operations: &[Operation<KvAppend>]) -> bool {
    let taking: Vec<(u64, Option<u64>, KvOp)> = operations
        .iter()
        .filter_map(|operation| match &operation.completion {
            Completion::Ok { index, answer, .. } => Some((operation.index, Some(*index), answer.op.clone())),
            Completion::Fail { .. } => None,
            Completion::Info { .. } => match &operation.action.op {
                KvOp::Get(_) => None,
                op => Some((operation.index, None, op.clone())),
            },
        })
        .collect();
    fn extend(
        taking: &[(u64, Option<u64>, KvOp)],
        taken: u64,
        held: &str,
        tried: &mut HashSet<(u64, String)>,
    ) -> bool {
        if !tried.insert((taken, held.to_owned())) {
            return false;
        }
        let left = |at: usize| taken >> at & 1 == 0;
        let must = |at: usize| left(at) && taking[at].1.is_some();
        if !(0..taking.len()).any(must) {
            return true;
        }
        let earliest = (0..taking.len()).filter(|at| left(*at)).filter_map(|at| taking[at].1).min();
        (0..taking.len()).filter(|at| left(*at)).any(|at| {
            let (invoke, _, op) = &taking[at];
            if earliest.is_some_and(|earliest| *invoke > earliest) {
                return false;
            }
            let next = match op {
                KvOp::Put(text) => text.to_string(),
                KvOp::Append(text) => format!("{held}{text}"),
                KvOp::Get(Some(text)) if text.as_str() == held => held.to_owned(),
                KvOp::Get(_) => return false,
            };
            extend(taking, taken | 1 << at, &next, tried)
        })
    }
    extend(&taking, 0, "", &mut HashSet::new())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_definition_says_the_same(moves in vec((0_usize..4, 0_usize..4, 0_usize..4, 0_u32..10), 1..24)) {
        // Each process does one thing at a time; the answers are made up, from a few strings.
        const TEXTS: [&str; 4] = ["_", "a", "b", "ab"];
        let mut words: Vec<String> = Vec::new();
        let mut open: [Option<(char, &str)>; 4] = [None; 4];
        for (process, kind, text, ends) in moves {
            match open[process].take() {
                None => {
                    let f = ['p', 'a', 'a', 'g'][kind];
                    let text = if f == 'g' { "_" } else { ["a", "b", "a", "b"][text] };
                    open[process] = Some((f, text));
                    words.push(format!("{process}i{f}{text}"));
                }
                Some((f, asked)) => {
                    let text = if f == 'g' { TEXTS[text] } else { asked };
                    let ended = match ends { 0 => '?', 1 => 'f', _ => 'o' };
                    words.push(format!("{process}{ended}{f}{text}"));
                }
            }
        }
        let operations = operations(&words.join(" "));
        let report = check(&operations);
        match &report.verdict {
            Verdict::Valid => prop_assert!(linearizable(&operations)),
            Verdict::Unknown(reasons) => {
                let nothing =
                    matches!(reasons[..], [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }]);
                prop_assert!(nothing);
            }
            Verdict::Invalid(anomalies) => {
                prop_assert!(!linearizable(&operations));
                let shown = |operation: &&Operation<KvAppend>| {
                    anomalies[0].operations.iter().any(|shown| shown.index == operation.index)
                };
                let witness: Vec<_> = operations.iter().filter(shown).cloned().collect();
                prop_assert!(!linearizable(&witness), "{:#?}", anomalies);
            }
        }
    }
}
