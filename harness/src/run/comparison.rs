//! The final comparison of replicas: each node's own copies, read until all are at the same position.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use duress_history::NodeId;
use duress_history::nemesis::{Agreement, ComparedObject, Comparison, CopySeen, Difference, Occasion};
use duress_targets::ReplicaCopy;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::run::cluster_access::ClusterAccess;
use crate::run::conductor::chain;

/// One question to a node takes at most this long.
const ATTEMPT: Duration = Duration::from_secs(3);
/// The pause before copies at different positions are read again.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(50);
/// Differences that are kept.
const DIFFERENCES_MAX: usize = 8;

/// Compares the copies of all nodes but `except`, whose disks may have lost data; retries until `patience` is
/// over if a node does not answer, copies are at different positions, or they differ in a system where they come to agree by
/// and by. `None` if the system does not report copies.
pub async fn compare(
    cluster: &ClusterAccess,
    except: &BTreeSet<NodeId>,
    occasion: Occasion,
    patience: Duration,
) -> Option<Comparison> {
    let end = Instant::now() + patience;
    loop {
        let nodes: Vec<NodeId> = cluster.nodes().into_iter().filter(|node| !except.contains(node)).collect();
        let asked = nodes.iter().map(|node| cluster.deployment.copies(node, &*cluster.operator, ATTEMPT));
        let mut copies: BTreeMap<Option<String>, BTreeMap<NodeId, ReplicaCopy>> = BTreeMap::new();
        let mut untold = BTreeMap::new();
        for (node, answer) in nodes.iter().zip(join_all(asked).await) {
            match answer {
                Ok(Some(told)) => {
                    for copy in told {
                        copies.entry(copy.object.clone()).or_default().insert(node.clone(), copy);
                    }
                }
                Ok(None) => return None,
                Err(error) => _ = untold.insert(node.clone(), chain(&error)),
            }
        }
        let objects = copies.into_iter().map(|(name, copies)| compared(name, &copies)).collect();
        let comparison = Comparison { occasion, objects, untold };
        let converging = cluster.deployment.converges() && comparison.has_diverged();
        if (comparison.open().is_none() && !converging) || Instant::now() >= end {
            return Some(comparison);
        }
        sleep(BETWEEN_ROUNDS).await;
    }
}

/// Returns the copies of one object, compared.
fn compared(name: Option<String>, copies: &BTreeMap<NodeId, ReplicaCopy>) -> ComparedObject {
    let seen = |(node, copy): (&NodeId, &ReplicaCopy)| CopySeen {
        node: node.clone(),
        position: copy.position.clone(),
        digest: digest(copy),
        keys: copy.values.len() as u64,
    };
    let mut object = ComparedObject {
        name,
        copies: copies.iter().map(seen).collect(),
        different: 0,
        differences: Vec::new(),
    };
    if let Agreement::Diverged(one, _) = object.agreement() {
        let position = one.position.clone();
        let there: Vec<(&NodeId, &ReplicaCopy)> =
            copies.iter().filter(|(_, copy)| copy.position == position).collect();
        let keys: BTreeSet<&String> = there.iter().flat_map(|(_, copy)| copy.values.keys()).collect();
        for key in keys {
            let held: BTreeMap<NodeId, Option<String>> =
                there.iter().map(|(node, copy)| ((*node).clone(), copy.values.get(key).cloned())).collect();
            let mut values = held.values();
            let first = values.next();
            if values.all(|other| Some(other) == first) {
                continue;
            }
            object.different += 1;
            if object.differences.len() < DIFFERENCES_MAX {
                object.differences.push(Difference { key: key.clone(), held });
            }
        }
    }
    object
}

/// Returns all that a copy holds in a word, the system's own beside ours.
fn digest(copy: &ReplicaCopy) -> String {
    let mut hasher = DefaultHasher::new();
    copy.values.hash(&mut hasher);
    let separator = if copy.digest.is_empty() { "" } else { ", " };
    format!("{}{separator}contents {:016x}", copy.digest, hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(position: &str, values: &[(&str, &str)]) -> ReplicaCopy {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ReplicaCopy { position: position.to_owned(), values, ..ReplicaCopy::default() }
    }

    fn object(copies: &[(&str, ReplicaCopy)]) -> ComparedObject {
        let copies = copies.iter().map(|(node, copy)| (NodeId::new(*node), copy.clone())).collect();
        compared(None, &copies)
    }

    #[test]
    fn what_differs_at_one_position_is_named() {
        let held = [("a", "1"), ("b", "2")];
        let same = object(&[("n1", copy("7", &held)), ("n2", copy("7", &held))]);
        assert_eq!((same.agreement(), same.different), (Agreement::Same, 0));
        let lacks = object(&[
            ("n1", copy("7", &held)),
            ("n2", copy("7", &held[..1])),
            ("n3", copy("6", &[("c", "3")])),
        ]);
        assert!(matches!(lacks.agreement(), Agreement::Diverged(..)));
        let [difference] = &lacks.differences[..] else { panic!("{lacks:?}") };
        let expected = [(NodeId::new("n1"), Some("2".to_owned())), (NodeId::new("n2"), None)];
        assert_eq!((difference.key.as_str(), &difference.held), ("b", &expected.into()));
    }

    #[test]
    fn copies_at_different_positions_say_nothing() {
        let apart = object(&[("n1", copy("7", &[("a", "1")])), ("n2", copy("6", &[]))]);
        assert_eq!((apart.agreement(), apart.different), (Agreement::Apart, 0));
    }

    #[test]
    fn what_the_system_says_of_a_copy_counts() {
        let revision = |digest: &str| ReplicaCopy { digest: digest.to_owned(), ..copy("7", &[("a", "1")]) };
        let diverged = object(&[("n1", revision("revision 3")), ("n2", revision("revision 4"))]);
        assert!(matches!(diverged.agreement(), Agreement::Diverged(..)));
        assert_eq!(diverged.different, 0);
    }
}
