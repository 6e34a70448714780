//! Transactions on a log read what others committed, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{LogOptions, check_log};
use duress_checkers::verdict::{AnomalyKind, Details, RelationKind, Verdict};
use duress_history::log::Log;
use duress_history::pairs::pair;
use duress_history::{Delivery, Operation, edn};
use proptest::collection::vec;
use proptest::prelude::*;

/// Transactions that all overlap: the `at`th sends `at` to the partition `at`, and is given what those sent that it reads.
fn overlapping(reads: &[Vec<usize>]) -> Vec<Operation<Log>> {
    let mut text = String::new();
    for at in 0..reads.len() {
        text += &format!("{{:process {at} :type :invoke :f :txn :value [[:send {at} {at}] [:poll]]}}\n");
    }
    for (at, read) in reads.iter().enumerate() {
        let polled: Vec<String> = read.iter().map(|from| format!("{from} [[0 {from}]]")).collect();
        let polled = polled.join(" ");
        text += &format!(
            "{{:process {at} :type :ok :f :txn :value [[:send {at} [0 {at}]] [:poll {{{polled}}}]]}}\n"
        );
    }
    pair(edn::read_str::<Log>(&text).expect("a history").events).expect("it pairs")
}

/// How often each anomaly of isolation was found.
fn found(operations: &[Operation<Log>], promise: Delivery) -> (BTreeMap<AnomalyKind, u64>, Verdict) {
    let options = LogOptions { promise, ..LogOptions::default() };
    let report = check_log(operations, &options, &AtomicBool::new(false));
    let Details::Delivery(details) = report.details else { panic!("a log has other details") };
    let isolation = |kind: &AnomalyKind| matches!(kind, AnomalyKind::G1c | AnomalyKind::PrecommittedRead);
    (details.found.into_iter().filter(|(kind, _)| isolation(kind)).collect(), report.verdict)
}

#[test]
fn each_read_from_the_other() {
    let (counts, verdict) = found(&overlapping(&[vec![1], vec![0]]), Delivery::EXACTLY_ONCE);
    assert_eq!(counts, BTreeMap::from([(AnomalyKind::G1c, 1)]));
    let [anomaly] = verdict.anomalies() else { panic!("{verdict:?}") };
    let shown: Vec<&str> = anomaly.operations.iter().map(|shown| shown.action.as_str()).collect();
    assert_eq!(shown, ["send 0 to 0, poll 1 -> 1@0", "send 1 to 1, poll 0 -> 0@0"]);
    let relations: Vec<(&str, &str, RelationKind)> = anomaly
        .relations
        .iter()
        .map(|relation| (relation.from.as_str(), relation.to.as_str(), relation.kind))
        .collect();
    assert_eq!(relations, [("A", "B", RelationKind::WriteRead), ("B", "A", RelationKind::WriteRead)]);
    // Whoever may read what is not settled may read this.
    let (counts, verdict) = found(&overlapping(&[vec![1], vec![0]]), Delivery::BEST_EFFORT);
    assert_eq!((counts.len(), verdict.anomalies().len()), (1, 0));
}

#[test]
fn one_way_is_no_cycle() {
    assert!(found(&overlapping(&[vec![], vec![0], vec![0, 1]]), Delivery::EXACTLY_ONCE).0.is_empty());
}

#[test]
fn the_shortest_cycle_is_shown() {
    let (counts, verdict) =
        found(&overlapping(&[vec![3], vec![0, 2], vec![1], vec![2]]), Delivery::EXACTLY_ONCE);
    assert_eq!(counts, BTreeMap::from([(AnomalyKind::G1c, 1)]));
    assert_eq!(verdict.anomalies()[0].operations.len(), 2, "{verdict:#?}");
}

#[test]
fn what_it_sent_itself_is_not_committed() {
    let (counts, _) = found(&overlapping(&[vec![0]]), Delivery::EXACTLY_ONCE);
    assert_eq!(counts, BTreeMap::from([(AnomalyKind::PrecommittedRead, 1)]));
}

/// Whether some transaction reads, over others, from itself.
fn is_circular(reads: &[Vec<usize>]) -> bool {
    (0..reads.len()).any(|start| {
        let (mut met, mut work) = (BTreeSet::new(), reads[start].clone());
        while let Some(at) = work.pop() {
            if met.insert(at) {
                work.extend(&reads[at]);
            }
        }
        met.contains(&start)
    })
}

proptest! {
    #[test]
    fn a_cycle_is_found_where_there_is_one(reads in vec(vec(0_usize..12, 0..3), 12)) {
        let reads: Vec<Vec<usize>> = reads
            .into_iter()
            .enumerate()
            .map(|(at, read)| read.into_iter().filter(|from| *from != at).collect::<BTreeSet<_>>().into_iter().collect())
            .collect();
        let (counts, verdict) = found(&overlapping(&reads), Delivery::EXACTLY_ONCE);
        prop_assert_eq!(!counts.is_empty(), is_circular(&reads));
        for anomaly in verdict.anomalies().iter().filter(|anomaly| anomaly.kind == AnomalyKind::G1c) {
            let process = |label: &String| {
                let shown = anomaly.operations.iter().find(|shown| shown.label == *label);
                shown.expect("it is shown").process.0 as usize
            };
            // Each relation is a message that was read, and together they lead back.
            prop_assert_eq!(anomaly.relations.len(), anomaly.operations.len());
            for relation in &anomaly.relations {
                prop_assert!(reads[process(&relation.to)].contains(&process(&relation.from)));
            }
            let froms: BTreeSet<&String> = anomaly.relations.iter().map(|relation| &relation.from).collect();
            let tos: BTreeSet<&String> = anomaly.relations.iter().map(|relation| &relation.to).collect();
            prop_assert_eq!(froms, tos);
        }
    }
}
