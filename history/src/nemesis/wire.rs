//! The one form of the nemesis's events in a file.

use serde::de::DeserializeOwned;
use serde::ser::{Error as _, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Evidence, FaultName, NemesisAct, NemesisEvent, NodeReturn, Recovery, Return};
use crate::event::OpType;
use crate::node::NodeId;

const START: &str = "start-";
const STOP: &str = "stop-";
const RECOVERY: &str = "recovery";
const NODE_ENDED: &str = "crash";
const COMPARED: &str = "compared";
const SETTLED: &str = "recovered";
/// One node that served again, as earlier versions recorded it.
const READY: &str = "ready";
/// The bound that earlier versions had.
const READY_BOUND_MS: u64 = 15_000;

/// `value` of a fault's beginning or end.
#[derive(Serialize, Deserialize)]
struct FaultValue {
    fault: u32,
    what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader: Option<NodeId>,
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
    /// What an event at `time`, in nanoseconds since the run began, says: whatever is not of ours is foreign.
    pub(crate) fn read(time: u64, f: Value, value: Value, error: Option<String>) -> Self {
        let ours = f.as_str().and_then(|f| ours(time, f, &value, error.as_deref()));
        ours.unwrap_or(Self::Foreign { f, value, error })
    }

    /// `f`, `value` and `error`.
    fn written(&self) -> serde_json::Result<(Value, Value, Option<&str>)> {
        let of = |prefix: &str, fault: &FaultName| Value::from(format!("{prefix}{}", fault.family));
        Ok(match self {
            Self::Starting { fault, leader } => {
                let value = FaultValue { leader: leader.clone(), ..FaultValue::new(fault) };
                (of(START, fault), serde_json::to_value(value)?, None)
            }
            Self::Started { fault, leader, since_us, late_us, evidence } => {
                let value = FaultValue {
                    leader: leader.clone(),
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

/// The act, if it is one that our nemesis records.
fn ours(time: u64, f: &str, value: &Value, error: Option<&str>) -> Option<NemesisAct> {
    if let Some(family) = f.strip_prefix(START) {
        let FaultValue { fault, what, leader, since_us, late_us, evidence, .. } = parsed(value)?;
        let fault = FaultName { id: fault, family: family.to_owned(), what };
        return Some(match (evidence, error) {
            (None, None) => NemesisAct::Starting { fault, leader },
            (_, Some(error)) => NemesisAct::StartFailed { fault, leader, error: error.to_owned() },
            (Some(evidence), None) => NemesisAct::Started {
                fault,
                leader,
                // The earliest versions did not keep the moment apart from that of the evidence.
                since_us: since_us.unwrap_or(time / 1000),
                late_us: late_us.unwrap_or(0),
                evidence,
            },
        });
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
    /// The line of the history file, without its line end.
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
