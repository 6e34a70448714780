//! Identifiers, banks and long forks: near misses, and forks against the definition tried out literally.

use duress_checkers::bank::{BankOptions, check_bank};
use duress_checkers::long_fork::check_long_fork;
use duress_checkers::unique_ids::check_unique_ids;
use duress_checkers::verdict::{CheckReport, Verdict};
use duress_history::pairs::pair;
use duress_history::{Allowed, ConsistencyModel, Operation, Payload, edn};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::witness;

/// Returns operations that follow one another: each `f`, and the EDN asked and answered.
fn operations<A: Payload>(steps: &[(&str, &str, &str)]) -> Vec<Operation<A>> {
    let mut text = String::new();
    for (f, asked, answered) in steps {
        text += &format!("{{:process 0 :type :invoke :f {f} :value {asked}}}\n");
        text += &format!("{{:process 0 :type :ok :f {f} :value {answered}}}\n");
    }
    pair(edn::read_str::<A>(&text).unwrap_or_else(|error| panic!("{text}: {error:?}")).events)
        .expect("it pairs")
}

/// `valid`, `unknown`, or the anomalies by name.
fn answer(report: &CheckReport) -> String {
    report.verdict.anomalies().iter().for_each(witness::assert_well_formed);
    match &report.verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Unknown(_) => "unknown".to_owned(),
        Verdict::Invalid(anomalies) => {
            let kinds: Vec<&str> = anomalies.iter().map(|anomaly| anomaly.kind.name()).collect();
            kinds.join(" ")
        }
    }
}

#[test]
fn identifiers_differ() {
    let ids = |ids: &[&str]| {
        let steps: Vec<_> = ids.iter().map(|id| (":generate", "nil", *id)).collect();
        answer(&check_unique_ids(&operations(&steps)))
    };
    assert_eq!(ids(&["1", "\"1\"", "[1]", "[1 1]", "{:a 1}"]), "valid");
    assert_eq!(ids(&["1", "2", "1", "1.0"]), "duplicate duplicate");
    assert_eq!(ids(&["{:a 1, :b 2}", "{:b 2, :a 1}"]), "duplicate");
}

#[test]
fn balances_add_up() {
    let bank = |options: BankOptions, reads: &[&str]| {
        let steps: Vec<_> = reads.iter().map(|read| (":read", "nil", *read)).collect();
        answer(&check_bank(&operations(&steps), options))
    };
    let by_reads = BankOptions::default();
    assert_eq!(bank(by_reads, &["{0 1, 1 2}", "{0 3, 1 0}", "[0 3]"]), "valid");
    assert_eq!(bank(by_reads, &["{0 1, 1 1}", "{0 1, 1 2}", "{0 3, 1 0}"]), "wrong-total");
    assert_eq!(bank(by_reads, &["{0 4, 1 -1}", "{0 1, 1 nil}"]), "negative-value nil-balance");
    assert_eq!(bank(BankOptions { negative: Allowed::Yes, ..by_reads }, &["{0 4, 1 -1}"]), "valid");
    assert_eq!(bank(BankOptions { total: Some(3), ..by_reads }, &["{0 1, 1 2}"]), "valid");
    assert_eq!(bank(BankOptions { total: Some(4), ..by_reads }, &["{0 1, 1 2}"]), "wrong-total");
    let transfer = "{:from 0 :to 1 :amount 1}";
    assert_eq!(answer(&check_bank(&operations(&[(":transfer", transfer, transfer)]), by_reads)), "unknown");
}

#[test]
fn accounts_that_are_created_tell_the_total() {
    let create = (":create", "{0 1, 1 2}", "{0 1, 1 2}");
    let read = |balances: &'static str| (":read", "[0 1]", balances);
    let under = |model: &str, steps: &[(&'static str, &'static str, &'static str)]| {
        let options =
            BankOptions { model: ConsistencyModel::named(model).unwrap(), ..BankOptions::default() };
        answer(&check_bank(&operations(steps), options))
    };
    let wrong = [create, read("{0 1, 1 1}"), read("{1 2, 0 0}")];
    for model in ["strict-serializable", "snapshot-isolation", "repeatable-read", "consistent-view"] {
        assert_eq!(under(model, &[create, read("{0 3, 1 0}"), read("{1 3, 0 0}")]), "valid", "{model}");
        assert_eq!(under(model, &wrong), "wrong-total wrong-total", "{model}");
        assert_eq!(under(model, &[create, read("{0 3, 1 nil}")]), "nil-balance", "{model}");
        assert_eq!(under(model, &[create, read("{0 4, 1 -1}")]), "negative-value", "{model}");
    }
    // Less than that promises nothing about totals, and what is not promised cannot be kept either.
    for model in ["read-committed", "read-atomic", "causal", "cursor-stability", "strong-read-committed"] {
        assert_eq!(under(model, &wrong), "unknown", "{model}");
        assert_eq!(under(model, &[create, read("{0 3, 1 0}")]), "unknown", "{model}");
    }
    // No account is there yet: an old state, which only real time excludes.
    let early = [create, read("{0 nil, 1 nil}"), read("{0 3, 1 0}")];
    assert_eq!(under("serializable", &early), "valid");
    assert_eq!(under("strict-serializable", &early), "nil-balance");
    assert_eq!(under("strict-serializable", &[early[1], create, early[2]]), "valid");
    assert_eq!(under("serializable", &early[..2]), "unknown", "nothing was seen");
    // The checker does not judge reads of other accounts than those created, nor accounts created in two ways.
    assert_eq!(under("serializable", &[create, (":read", "nil", "{0 3, 2 0}")]), "unknown");
    assert_eq!(
        under("serializable", &[create, (":create", "{0 2, 1 2}", "{0 2, 1 2}"), wrong[1]]),
        "unknown"
    );
    assert_eq!(under("serializable", &[create, create, wrong[1]]), "wrong-total");
}

/// Each read saw these of the keys 0, 1 and 2 written, and each of them was written.
fn forks(reads: &[[bool; 3]]) -> CheckReport {
    let mut steps: Vec<(String, String)> =
        (0..3).map(|key| (format!("[[:w {key} 1]]"), format!("[[:w {key} 1]]"))).collect();
    for seen in reads {
        let read = |is_answered: bool| {
            let value = |seen: &bool| if is_answered && *seen { "1" } else { "nil" };
            let micros: Vec<String> =
                seen.iter().enumerate().map(|(key, seen)| format!("[:r {key} {}]", value(seen))).collect();
            format!("[{}]", micros.join(" "))
        };
        steps.push((read(false), read(true)));
    }
    let steps: Vec<_> =
        steps.iter().map(|(asked, answered)| (":txn", asked.as_str(), answered.as_str())).collect();
    check_long_fork(&operations(&steps), ConsistencyModel::default())
}

#[test]
fn forks_are_anomalies_where_they_are_forbidden() {
    let write = |value: &'static str| (":txn", value, value);
    let read = |answer: &'static str| (":txn", "[[:r 0 nil] [:r 1 nil]]", answer);
    let forked = [
        write("[[:w 0 1]]"),
        write("[[:w 1 1]]"),
        read("[[:r 0 1] [:r 1 nil]]"),
        read("[[:r 0 nil] [:r 1 1]]"),
    ];
    let under = |model: &str, steps: &[_]| {
        answer(&check_long_fork(&operations(steps), ConsistencyModel::named(model).unwrap()))
    };
    for model in ["strict-serializable", "serializable", "snapshot-isolation", "repeatable-read"] {
        assert_eq!(under(model, &forked), "long-fork", "{model}");
        assert_eq!(under(model, &forked[..3]), "valid", "{model}");
    }
    for model in ["consistent-view", "causal", "read-atomic", "read-committed"] {
        assert_eq!(under(model, &forked), "unknown", "{model}");
        assert_eq!(under(model, &forked[..3]), "unknown", "{model}");
        assert_eq!(under(model, &[forked[0], read("[[:r 0 7] [:r 1 nil]]")]), "phantom-read", "{model}");
    }
}

#[test]
fn a_read_of_a_write_that_failed_is_an_aborted_read() {
    let ended = |how: &str| {
        let text = format!(
            "{{:process 0 :type :invoke :f :txn :value [[:w 0 1]]}}\n{{:process 0 :type {how} :f :txn :value [[:w 0 1]]}}\n\
             {{:process 1 :type :invoke :f :txn :value [[:r 0 nil] [:r 1 nil]]}}\n\
             {{:process 1 :type :ok :f :txn :value [[:r 0 1] [:r 1 nil]]}}\n"
        );
        pair(edn::read_str(&text).expect("it is read").events).expect("it pairs")
    };
    let under = |how: &str, model: &str| {
        answer(&check_long_fork(&ended(how), ConsistencyModel::named(model).unwrap()))
    };
    assert_eq!(under(":fail", "serializable"), "aborted-read");
    assert_eq!(under(":fail", "read-committed"), "aborted-read");
    assert_eq!(under(":fail", "read-uncommitted"), "unknown");
    assert_eq!([":info", ":ok"].map(|how| under(how, "serializable")), ["valid", "valid"]);
}

#[test]
fn what_cannot_be_compared_is_unknown() {
    let write = |value: &'static str| (":txn", value, value);
    let check = |steps: &[_]| answer(&check_long_fork(&operations(steps), ConsistencyModel::default()));
    let both = (":txn", "[[:r 0 nil] [:r 1 nil]]", "[[:r 0 1] [:r 1 nil]]");
    assert_eq!(check(&[write("[[:w 0 1]]"), both]), "valid");
    assert_eq!(check(&[write("[[:w 0 2]]"), both]), "phantom-read");
    assert_eq!(check(&[write("[[:w 0 1]]"), write("[[:w 0 2]]"), both]), "unknown");
    assert_eq!(check(&[write("[[:w 0 1] [:w 1 1]]"), both]), "unknown");
    let three = (":txn", "[[:r 0 nil] [:r 1 nil] [:r 2 nil]]", "[[:r 0 1] [:r 1 nil] [:r 2 nil]]");
    let writes = ["[[:w 0 1]]", "[[:w 1 1]]", "[[:w 2 1]]"].map(write);
    assert_eq!(check(&[writes[0], writes[1], both, three]), "valid");
    assert_eq!(check(&[writes[0], writes[1], writes[2], both, three]), "unknown");
}

proptest! {
    #[test]
    fn forks_are_found_where_no_order_of_the_writes_explains_the_reads(
        reads in vec(any::<[bool; 3]>(), 1..8),
    ) {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let is_prefix = |order: &[usize; 3], read: &[bool; 3]| {
            order.windows(2).all(|pair| read[pair[0]] || !read[pair[1]])
        };
        let possible = orders.iter().any(|order| reads.iter().all(|read| is_prefix(order, read)));
        let report = forks(&reads);
        prop_assert_eq!(answer(&report) == "valid", possible, "{:?}", report.verdict);
        prop_assert!(answer(&report).split(' ').all(|kind| matches!(kind, "valid" | "long-fork")));
    }
}
