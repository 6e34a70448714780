//! Findings of a run about the system apart from the answers to clients.

use std::fmt;

use duress_checkers::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, Step};
use duress_history::nemesis::{Agreement, ComparedObject, Comparison, Occasion, Return};
use duress_history::{NemesisAct, NemesisEvent, NodeId, Scalar};
use serde::{Deserialize, Serialize};

use crate::record::faults::{FaultRecord, faults};

/// Something that a run showed apart from the answers to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Finding {
    /// A node did not serve in time after a fault was healed, and no other cause explains it.
    NotRecovered {
        /// The node.
        node: NodeId,
        /// The fault's number in the schedule.
        fault: u32,
        /// The fault in words.
        what: String,
        /// When it was healed, in microseconds since the run began.
        healed_us: u64,
        /// How long the node was silent after that, in milliseconds.
        silent_ms: u64,
        /// The longest allowed time, in milliseconds, without another explanation.
        bound_ms: u64,
        /// Its last error or status.
        why: String,
    },
    /// Two nodes hold different things at one position of the order of all changes.
    Diverged {
        /// When that was seen.
        occasion: Occasion,
        /// The object that they are copies of.
        object: ComparedObject,
    },
}

impl Finding {
    /// Everything that `nemesis`, the nemesis's part of a history, shows.
    #[must_use]
    pub fn all(nemesis: &[NemesisEvent]) -> Vec<Self> {
        let mut findings = Self::of(&faults(nemesis));
        findings.extend(comparisons(nemesis).flat_map(Self::diverged));
        findings
    }

    /// Returns the findings in `faults`: a node that did not come back is reported once for each fault after
    /// whose heal it did not.
    fn of(faults: &[FaultRecord]) -> Vec<Self> {
        let mut findings = Vec::new();
        for fault in faults {
            for recovery in &fault.recoveries {
                findings.extend(recovery.nodes.iter().filter_map(|node| match &node.came {
                    Return::Silent { waited_ms, why } => Some(Self::NotRecovered {
                        node: node.node.clone(),
                        fault: fault.id,
                        what: fault.what.clone(),
                        healed_us: recovery.healed_us,
                        silent_ms: *waited_ms,
                        bound_ms: recovery.bound_ms,
                        why: why.clone(),
                    }),
                    Return::Back { .. } | Return::NotJudged { .. } => None,
                }));
            }
        }
        findings
    }

    /// Returns the findings in `comparison`: an object is reported once, however many of its keys differ.
    fn diverged(comparison: &Comparison) -> impl Iterator<Item = Self> {
        let diverged = |object: &&ComparedObject| matches!(object.agreement(), Agreement::Diverged(..));
        comparison
            .objects
            .iter()
            .filter(diverged)
            .map(|object| Self::Diverged { occasion: comparison.occasion, object: object.clone() })
    }

    /// Returns the same as an anomaly of its own kind, which no operation of a client is part of.
    #[must_use]
    pub fn anomaly(&self) -> Anomaly {
        let (kind, objects, sentences) = match self {
            Self::NotRecovered { node, fault, what, healed_us, silent_ms, bound_ms, why } => {
                let seconds = |ms: u64| ms as f64 / 1000.0;
                let sentences = vec![
                    format!("Fault {fault} ({what}) was healed at {:.3} s.", *healed_us as f64 / 1e6),
                    format!(
                        "{node} was probed repeatedly, from a host that no fault touches, and did not serve for {:.3} s; last result: {why}.",
                        seconds(*silent_ms)
                    ),
                    format!(
                        "For the last {} s of that at least, no other fault had struck it, no fault disturbed links, clocks or disks, and no more nodes were away than the system tolerates.",
                        seconds(*bound_ms)
                    ),
                ];
                (AnomalyKind::NotRecovered, vec![node_object(node)], sentences)
            }
            Self::Diverged { occasion, object } => diverged(*occasion, object),
        };
        Anomaly {
            kind,
            objects,
            summary: self.to_string(),
            start: None,
            operations: Vec::new(),
            relations: Vec::new(),
            contradicts: None,
            steps: sentences.into_iter().map(|sentence| Step { sentence, labels: Vec::new() }).collect(),
        }
    }
}

/// Returns the comparisons of the nodes' own copies.
pub fn comparisons(nemesis: &[NemesisEvent]) -> impl Iterator<Item = &Comparison> {
    nemesis.iter().filter_map(|event| match &event.act {
        NemesisAct::Compared(comparison) => Some(comparison),
        _ => None,
    })
}

fn node_object(node: &NodeId) -> Object {
    Object::new(ObjectKind::Node, &Scalar::from(node.as_str()))
}

/// Returns the objects of diverged copies, and the sentences that prove it.
fn diverged(occasion: Occasion, object: &ComparedObject) -> (AnomalyKind, Vec<Object>, Vec<String>) {
    let mut objects: Vec<Object> = Vec::new();
    objects.extend(object.differences.first().map(|first| {
        let key = Scalar::from(first.key.as_str());
        Object::new(ObjectKind::Key, &key)
    }));
    objects.extend(object.name.as_ref().map(|name| {
        let name = Scalar::from(name.as_str());
        Object::new(ObjectKind::Partition, &name)
    }));
    let copies: Vec<String> = object
        .copies
        .iter()
        .map(|copy| {
            format!("{} is at {} with {} keys ({})", copy.node, copy.position, copy.keys, copy.digest)
        })
        .collect();
    let mut sentences = vec![
        format!(
            "{}, each node was asked for its own copy, from a host that no fault touches: {}.",
            capitalized(&occasion.to_string()),
            copies.join("; ")
        ),
        "Copies at the same position in the order of all changes must have the same content, whatever clients did."
            .to_owned(),
    ];
    for difference in &object.differences {
        let held = difference.held.iter().map(|(node, value)| match value {
            Some(value) => format!("{node} has {}", abbreviated(value)),
            None => format!("{node} does not have it"),
        });
        sentences.push(format!("Key {}: {}.", difference.key, held.collect::<Vec<_>>().join(", ")));
    }
    if let Agreement::Diverged(one, other) = object.agreement() {
        objects.extend([node_object(&one.node), node_object(&other.node)]);
    }
    (AnomalyKind::Diverged, objects, sentences)
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Returns a value, its middle left out where it is long.
fn abbreviated(value: &str) -> String {
    const SHOWN: usize = 40;
    let letters: Vec<char> = value.chars().collect();
    if letters.len() <= 2 * SHOWN {
        return value.to_owned();
    }
    let (head, tail) = (&letters[..SHOWN], &letters[letters.len() - SHOWN..]);
    format!("{}…{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRecovered { node, fault, what, silent_ms, bound_ms, .. } => write!(
                f,
                "{node} did not serve for {:.1} s after fault {fault} ({what}) was healed, and the bound is {} s",
                *silent_ms as f64 / 1000.0,
                *bound_ms as f64 / 1000.0
            ),
            Self::Diverged { occasion, object } => {
                let of = object.name.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
                match object.agreement() {
                    Agreement::Diverged(one, other) => write!(
                        f,
                        "{occasion}, the copies{of} at {} and {} were both at {}, and {} {}",
                        one.node,
                        other.node,
                        one.position,
                        object.different,
                        if object.different == 1 { "key differs" } else { "keys differ" }
                    ),
                    Agreement::Same | Agreement::Apart => write!(f, "{occasion}, the copies{of} agreed"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use duress_history::nemesis::{CopySeen, Difference, NodeReturn, Recovery, Unjudged};

    use super::*;

    #[test]
    fn copies_that_differ_at_one_position_are_found_with_the_key() {
        let copy = |name: &str, digest: &str| CopySeen {
            node: NodeId::new(name),
            position: "812".into(),
            digest: digest.into(),
            keys: 3,
        };
        let held = [("n1", Some("5".to_owned())), ("n3", None)];
        let held = held.map(|(node, value)| (NodeId::new(node), value)).into();
        let object = ComparedObject {
            name: None,
            copies: vec![copy("n1", "a"), copy("n2", "a"), copy("n3", "b")],
            different: 1,
            differences: vec![Difference { key: "r17".into(), held }],
        };
        let same = ComparedObject { copies: vec![copy("n1", "a"), copy("n2", "a")], ..object.clone() };
        let comparison =
            Comparison { occasion: Occasion::Healed, objects: vec![object, same], untold: BTreeMap::new() };
        let findings: Vec<Finding> = Finding::diverged(&comparison).collect();
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let anomaly = finding.anomaly();
        assert_eq!(
            anomaly.summary,
            "after the last heal, the copies at n1 and n3 were both at 812, and 1 key differs"
        );
        let named: Vec<String> = anomaly.objects.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["key r17", "node n1", "node n3"]);
        assert_eq!(anomaly.steps[2].sentence, "Key r17: n1 has 5, n3 does not have it.");
    }

    #[test]
    fn only_a_silence_that_nothing_explains_is_found() {
        let node = |name: &str, came| NodeReturn { node: NodeId::new(name), came };
        let because = Unjudged::Fault { fault: 4 };
        let recovery = Recovery {
            fault: 3,
            healed_us: 12_345_678,
            bound_ms: 15_000,
            nodes: vec![
                node("n1", Return::Back { after_ms: 80 }),
                node("n2", Return::Silent { waited_ms: 15_400, why: "no answer".to_owned() }),
                node("n3", Return::NotJudged { waited_ms: 900, because }),
            ],
            links: Vec::new(),
        };
        let fault = FaultRecord {
            id: 3,
            what: "kill n2".into(),
            recoveries: vec![recovery],
            ..FaultRecord::default()
        };
        let findings = Finding::of(&[fault]);
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let anomaly = finding.anomaly();
        assert_eq!(anomaly.object(ObjectKind::Node), Some(&Scalar::from("n2")));
        assert_eq!(
            anomaly.summary,
            "n2 did not serve for 15.4 s after fault 3 (kill n2) was healed, and the bound is 15 s"
        );
        let steps: Vec<&str> = anomaly.steps.iter().map(|step| step.sentence.as_str()).collect();
        assert_eq!(steps[0], "Fault 3 (kill n2) was healed at 12.346 s.");
        assert!(steps[1].contains("15.400 s; last result: no answer."), "{}", steps[1]);
    }
}
