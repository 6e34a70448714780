//! What a run showed of the system apart from the answers to clients.

use std::fmt;

use duress_checkers::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, Step};
use duress_history::nemesis::Return;
use duress_history::{NodeId, Scalar};
use serde::{Deserialize, Serialize};

use crate::record::faults::FaultRecord;

/// Something that a run showed apart from the answers to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Finding {
    /// A node did not serve in time after a fault was healed, though nothing else kept it from that.
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
        /// How long it may be, in milliseconds, while nothing else explains it.
        bound_ms: u64,
        /// What it last said, or did not.
        why: String,
    },
}

impl Finding {
    /// What `faults` show: a node that did not come back is found once for each fault after whose heal it did not.
    #[must_use]
    pub fn of(faults: &[FaultRecord]) -> Vec<Self> {
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

    /// The same as an anomaly of its own kind, which no operation of a client is part of.
    #[must_use]
    pub fn anomaly(&self) -> Anomaly {
        let Self::NotRecovered { node, fault, what, healed_us, silent_ms, bound_ms, why } = self;
        let step = |sentence: String| Step { sentence, labels: Vec::new() };
        let seconds = |ms: u64| ms as f64 / 1000.0;
        Anomaly {
            kind: AnomalyKind::NotRecovered,
            objects: vec![Object::new(ObjectKind::Node, &Scalar::from(node.as_str()))],
            summary: self.to_string(),
            start: None,
            operations: Vec::new(),
            relations: Vec::new(),
            contradicts: None,
            steps: vec![
                step(format!("Fault {fault} ({what}) was healed at {:.3} s.", *healed_us as f64 / 1e6)),
                step(format!(
                    "{node} was asked again and again, from a host that no fault touches, and did not serve for {:.3} s; at last: {why}.",
                    seconds(*silent_ms)
                )),
                step(format!(
                    "For the last {} s of that at least, no other fault had struck it, no fault disturbed links, clocks or disks, and no more nodes were away than the system tolerates.",
                    seconds(*bound_ms)
                )),
            ],
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NotRecovered { node, fault, what, silent_ms, bound_ms, .. } = self;
        write!(
            f,
            "{node} did not serve for {:.1} s after fault {fault} ({what}) was healed, and the bound is {} s",
            *silent_ms as f64 / 1000.0,
            *bound_ms as f64 / 1000.0
        )
    }
}

#[cfg(test)]
mod tests {
    use duress_history::nemesis::{NodeReturn, Recovery, Unjudged};

    use super::*;

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
        assert!(steps[1].contains("15.400 s; at last: no answer."), "{}", steps[1]);
    }
}
