//! The one form of the nemesis's events in a file.

use serde::de::DeserializeOwned;
use serde::ser::{Error as _, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Evidence, FaultName, NemesisAct, NemesisEvent, NodeReturn, Recovery, Return};
use crate::event::OpType;
use crate::node::NodeId;

const START: &str = "start-";
const SKIP: &str = "skip-";
const STOP: &str = "stop-";
const LED: &str = "leader";
const RECOVERY: &str = "recovery";
const NODE_ENDED: &str = "crash";
const COMPARED: &str = "compared";
const SETTLED: &str = "recovered";
/// The name of a record of earlier versions: one node served again.
const READY: &str = "ready";
/// The bound of earlier versions.
const READY_BOUND_MS: u64 = 15_000;

/// The `value` of a fault's start or stop.
#[derive(Serialize, Deserialize)]
struct FaultValue {
    fault: u32,
    what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    away: Vec<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    late_us: Option<u64>,
    /// The evidence in words; it is not read back.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

#[derive(Serialize, Deserialize)]
struct LedValue {
    node: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct EndedValue {
    node: NodeId,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct SettledValue {
    after_ms: u64,
    not_serving: Vec<NodeId>,
}

#[derive(Deserialize)]
struct ReadyValue {
    fault: u32,
    node: NodeId,
    after_ms: u64,
}

impl FaultValue {
    fn new(fault: &FaultName) -> Self {
        Self {
            fault: fault.id,
            what: fault.what.clone(),
            leader: None,
            away: Vec::new(),
            event: None,
            since_us: None,
            late_us: None,
            summary: None,
            evidence: None,
        }
    }

    fn with(mut self, evidence: &Evidence) -> Self {
        self.summary = Some(evidence.to_string());
        self.evidence = Some(evidence.clone());
        self
    }
}

impl NemesisAct {
    /// Reads an event at `time`, in nanoseconds since the run began. An event in another form is foreign.
    pub(crate) fn read(time: u64, f: Value, value: Value, error: Option<String>) -> Self {
        let ours = f.as_str().and_then(|f| ours(time, f, &value, error.as_deref()));
        ours.unwrap_or(Self::Foreign { f, value, error })
    }

    /// Returns `f`, `value` and `error`.
    fn written(&self) -> serde_json::Result<(Value, Value, Option<&str>)> {
        let of = |prefix: &str, fault: &FaultName| Value::from(format!("{prefix}{}", fault.family));
        Ok(match self {
            Self::Starting { fault, leader, event } => {
                let (leader, event) = (leader.clone(), event.clone());
                let value = FaultValue { leader, event, ..FaultValue::new(fault) };
                (of(START, fault), serde_json::to_value(value)?, None)
            }
            Self::Skipped { fault, why } => {
                (of(SKIP, fault), serde_json::to_value(FaultValue::new(fault))?, Some(why))
            }
            Self::Started { fault, leader, away, since_us, late_us, evidence } => {
                let value = FaultValue {
                    leader: leader.clone(),
                    away: away.clone(),
                    since_us: Some(*since_us),
                    late_us: Some(*late_us),
                    ..FaultValue::new(fault).with(evidence)
                };
                (of(START, fault), serde_json::to_value(value)?, None)
            }
            Self::StartFailed { fault, leader, error } => {
                let value = FaultValue { leader: leader.clone(), ..FaultValue::new(fault) };
                (of(START, fault), serde_json::to_value(value)?, Some(error))
            }
            Self::Stopping { fault } => {
                (of(STOP, fault), serde_json::to_value(FaultValue::new(fault))?, None)
            }
            Self::Stopped { fault, evidence } => {
                (of(STOP, fault), serde_json::to_value(FaultValue::new(fault).with(evidence))?, None)
            }
            Self::StopFailed { fault, error } => {
                (of(STOP, fault), serde_json::to_value(FaultValue::new(fault))?, Some(error))
            }
            Self::Led { node, before, term } => {
                let value = LedValue { node: node.clone(), before: before.clone(), term: *term };
                (LED.into(), serde_json::to_value(value)?, None)
            }
            Self::Recovered(recovery) => (RECOVERY.into(), serde_json::to_value(recovery)?, None),
            Self::Compared(comparison) => (COMPARED.into(), serde_json::to_value(comparison)?, None),
            Self::NodeEnded { node, status, fault } => {
                let value = EndedValue { node: node.clone(), status: status.clone(), fault: *fault };
                (NODE_ENDED.into(), serde_json::to_value(value)?, None)
            }
            Self::Settled { after_ms, not_serving } => {
                let value = SettledValue { after_ms: *after_ms, not_serving: not_serving.clone() };
                (SETTLED.into(), serde_json::to_value(value)?, None)
            }
            Self::Foreign { f, value, error } => (f.clone(), value.clone(), error.as_deref()),
        })
    }
}

/// Returns the act, if it has our nemesis's form.
fn ours(time: u64, f: &str, value: &Value, error: Option<&str>) -> Option<NemesisAct> {
    if let Some(family) = f.strip_prefix(START) {
        let FaultValue { fault, what, leader, away, event, since_us, late_us, evidence, .. } = parsed(value)?;
        let fault = FaultName { id: fault, family: family.to_owned(), what };
        return Some(match (evidence, error) {
            (None, None) => NemesisAct::Starting { fault, leader, event },
            (_, Some(error)) => NemesisAct::StartFailed { fault, leader, error: error.to_owned() },
            (Some(evidence), None) => NemesisAct::Started {
                fault,
                leader,
                away,
                // The earliest versions did not record this moment separately from that of the evidence.
                since_us: since_us.unwrap_or(time / 1000),
                late_us: late_us.unwrap_or(0),
                evidence,
            },
        });
    }
    if let (Some(family), Some(why)) = (f.strip_prefix(SKIP), error) {
        let FaultValue { fault, what, .. } = parsed(value)?;
        let fault = FaultName { id: fault, family: family.to_owned(), what };
        return Some(NemesisAct::Skipped { fault, why: why.to_owned() });
    }
    if let Some(family) = f.strip_prefix(STOP) {
        let FaultValue { fault, what, evidence, .. } = parsed(value)?;
        let fault = FaultName { id: fault, family: family.to_owned(), what };
        return Some(match (evidence, error) {
            (None, None) => NemesisAct::Stopping { fault },
            (_, Some(error)) => NemesisAct::StopFailed { fault, error: error.to_owned() },
            (Some(evidence), None) => NemesisAct::Stopped { fault, evidence },
        });
    }
    match (f, error) {
        (LED, None) => {
            let LedValue { node, before, term } = parsed(value)?;
            Some(NemesisAct::Led { node, before, term })
        }
        (RECOVERY, None) => parsed(value).map(NemesisAct::Recovered),
        (COMPARED, None) => parsed(value).map(NemesisAct::Compared),
        (NODE_ENDED, None) => {
            let EndedValue { node, status, fault } = parsed(value)?;
            Some(NemesisAct::NodeEnded { node, status, fault })
        }
        (SETTLED, None) => {
            let SettledValue { after_ms, not_serving } = parsed(value)?;
            Some(NemesisAct::Settled { after_ms, not_serving })
        }
        (READY, error) => {
            let ReadyValue { fault, node, after_ms } = parsed(value)?;
            let came = match error {
                None => Return::Back { after_ms },
                Some(error) => Return::Silent { waited_ms: after_ms, why: error.to_owned() },
            };
            Some(NemesisAct::Recovered(Recovery {
                fault,
                healed_us: (time / 1000).saturating_sub(after_ms * 1000),
                bound_ms: READY_BOUND_MS,
                nodes: vec![NodeReturn { node, came }],
                links: Vec::new(),
            }))
        }
        _ => None,
    }
}

fn parsed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

impl Serialize for NemesisEvent {
    /// Serializes the line of the history file, without its line end.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (f, value, error) = self.act.written().map_err(S::Error::custom)?;
        let mut line = serializer.serialize_struct("NemesisEvent", 7)?;
        line.serialize_field("index", &self.index)?;
        line.serialize_field("time", &self.time)?;
        line.serialize_field("process", "nemesis")?;
        line.serialize_field("type", &OpType::Info)?;
        line.serialize_field("f", &f)?;
        line.serialize_field("value", &value)?;
        if let Some(error) = error {
            line.serialize_field("error", error)?;
        }
        line.end()
    }
}
