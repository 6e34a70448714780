//! What a run's folder says of the run, read loosely: a report of an older or newer run is better than none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// `plan.json`, as far as a report tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PlanRecord {
    /// The system under test.
    pub target: String,
    /// Its mode, options and seeded bug.
    pub settings: SettingsRecord,
    /// Its nodes.
    pub nodes: Vec<HostRecord>,
    /// The hosts of the clients.
    pub clients: Vec<HostRecord>,
    /// What clients did, with its options.
    pub workload: BTreeMap<String, Value>,
    /// How many processes there were at a time.
    pub concurrency: u64,
    /// Operations a second; closed loop without it.
    pub rate_hz: Option<f64>,
    /// How long clients ran.
    pub time_limit_ms: u64,
    /// When a client gave up.
    pub operation_timeout_ms: u64,
    /// What every random decision was drawn from.
    pub seed: u64,
    /// The fault mix.
    pub faults: String,
    /// Mean time between faults.
    pub fault_interval_ms: u64,
    /// Whether faults could overlap.
    pub overlap: String,
    /// The faults, in full.
    pub schedule: Vec<Value>,
    /// What nodes saw as their world.
    pub arena: BTreeMap<String, Value>,
}

/// How the system under test was set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SettingsRecord {
    /// Its mode.
    pub mode: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Its seeded bug.
    pub bug: Option<String>,
}

/// A host of the arena.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HostRecord {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
}

impl PlanRecord {
    /// The workload's name.
    #[must_use]
    pub fn workload_name(&self) -> &str {
        self.workload.get("name").and_then(Value::as_str).unwrap_or("unknown")
    }

    /// The names of the nodes.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }
}

/// `verdict.json`, as far as a report tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VerdictRecord {
    /// `valid`, `invalid`, `unknown`, `broken`.
    pub verdict: String,
    /// The proofs of an invalid run.
    pub anomalies: Vec<AnomalyRecord>,
    /// Why a run is unknown or broken.
    pub reasons: Vec<String>,
    /// What was run, in words.
    pub subject: String,
    /// What it promises, in words.
    pub promise: String,
    /// The command that runs it again.
    pub replay: String,
    /// The check: how much it covered.
    pub check: BTreeMap<String, Value>,
    /// The figures.
    pub statistics: Value,
    /// The faults, with their evidence.
    pub faults: Vec<FaultRecord>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// A fault with its evidence.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FaultRecord {
    /// Its number in the schedule.
    pub id: u64,
    /// What it was.
    pub what: String,
    /// The node that led when it started, where it struck by that.
    pub leader: Option<String>,
    /// When it was in force, in milliseconds.
    pub start_ms: Option<u64>,
    /// When it was healed, in milliseconds.
    pub stop_ms: Option<u64>,
    /// What proved that it took hold.
    pub took_hold: Option<String>,
    /// What proved that it healed.
    pub healed: Option<String>,
    /// What went wrong with it.
    pub errors: Vec<String>,
}

/// A proof that a promise was broken.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnomalyRecord {
    /// Its name.
    pub kind: String,
    /// What it is about, the narrowest first; empty where there is only one object.
    pub objects: Vec<ObjectRecord>,
    /// The anomaly in one sentence.
    pub summary: String,
    /// What is supposed of the state before.
    pub start: Value,
    /// The operations that prove it.
    pub operations: Vec<WitnessRecord>,
    /// Which of them must come before which.
    pub relations: Vec<RelationRecord>,
    /// The label of the operation whose answer contradicts the others.
    pub contradicts: Option<String>,
    /// The argument.
    pub steps: Vec<StepRecord>,
}

/// Something that an anomaly is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ObjectRecord {
    /// What it is: `key`, `partition`, …
    pub kind: String,
    /// Its name.
    pub name: Value,
}

/// That one operation of a witness must come before another.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RelationRecord {
    /// The label of the earlier operation.
    pub from: String,
    /// The label of the later one.
    pub to: String,
    /// What orders them: `realtime`, `wr`, …
    pub kind: String,
    /// Why, in one sentence.
    pub because: String,
}

/// One operation of a witness.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WitnessRecord {
    /// What the steps call it.
    pub label: String,
    /// Index of its invocation.
    pub index: u64,
    /// Index of its completion.
    pub completion_index: Option<u64>,
    /// Who did it.
    pub process: Value,
    /// The node it was sent to.
    pub node: Option<String>,
    /// When it was invoked, in nanoseconds.
    pub time: u64,
    /// When it completed, in nanoseconds.
    pub completion_time: Option<u64>,
    /// What it did.
    pub action: String,
    /// How it ended: `ok`, `fail`, `info`.
    pub ended: String,
}

/// One sentence of an argument.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StepRecord {
    /// The sentence.
    pub sentence: String,
    /// The operations it speaks of.
    pub labels: Vec<String>,
}

impl AnomalyRecord {
    /// What it is about, in words, where that has a name: `message 7 of partition t0-2`.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        let name = |name: &Value| name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        let objects: Vec<String> =
            self.objects.iter().map(|object| format!("{} {}", object.kind, name(&object.name))).collect();
        (!objects.is_empty()).then(|| objects.join(" of "))
    }

    /// From the first invocation to the last end, in nanoseconds; `None` without operations.
    #[must_use]
    pub fn span(&self) -> Option<(u64, u64)> {
        let first = self.operations.iter().map(|operation| operation.time).min()?;
        let last = self.operations.iter().map(|of| of.completion_time.unwrap_or(of.time)).max()?;
        Some((first, last.max(first)))
    }

    /// The operation whose answer contradicts the others.
    #[must_use]
    pub fn contradicting(&self) -> Option<&WitnessRecord> {
        self.operation(self.contradicts.as_ref()?)
    }

    /// The operation with this label.
    #[must_use]
    pub fn operation(&self, label: &str) -> Option<&WitnessRecord> {
        self.operations.iter().find(|operation| operation.label == label)
    }
}

impl FaultRecord {
    /// Whether it was in force at some time between `from` and `to`, in nanoseconds.
    #[must_use]
    pub fn overlaps(&self, from: u64, to: u64) -> bool {
        let start = self.start_ms.map(|ms| ms * 1_000_000);
        let stop = self.stop_ms.map_or(u64::MAX, |ms| ms * 1_000_000);
        start.is_some_and(|start| start <= to) && stop >= from
    }
}

/// Reads the JSON file `name` of `folder`; what is missing or no JSON of this shape is `None`.
#[must_use]
pub fn load<T: DeserializeOwned>(folder: &Path, name: &str) -> Option<T> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    serde_json::from_str(&text)
        .inspect_err(|error| tracing::warn!(name, %error, "left out of the report"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_passed_over() {
        let text = r#"{"verdict":"invalid","new":1,"anomalies":[{"kind":"lost-message","objects":[{"kind":"partition","name":"t0-2"}],"contradicts":"A","cycle":[]}]}"#;
        let verdict: VerdictRecord = serde_json::from_str(text).expect("loose");
        assert_eq!(verdict.anomalies[0].about().as_deref(), Some("partition t0-2"));
        assert!(
            verdict.anomalies[0].contradicting().is_none(),
            "it names an operation that it does not have"
        );
        assert_eq!(verdict.anomalies[0].span(), None);
    }
}
