//! A proof that a promise was broken.
//!
//! It is a small graph: its nodes are operations, each with a role; its edges say which operation must come before which,
//! and why. A cycle between transactions has one operation for each transaction and one relation for each edge.

use std::fmt;

use duress_history::{NodeId, OpType, Process, Scalar};
use serde::{Deserialize, Serialize};

use super::kind::AnomalyKind;

/// A few operations that cannot have happened as they were answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Its name.
    pub kind: AnomalyKind,
    /// The objects that it is about, the narrowest first: an element, then its key. Empty if there is only
    /// one object.
    pub objects: Vec<Object>,
    /// The anomaly in one sentence.
    pub summary: String,
    /// The object's state before the first of `operations`; null if the witness assumes nothing about it.
    pub start: Option<WitnessStart>,
    /// The witness, by invocation: these operations alone, with the rest of the history left out in ways that can
    /// only make it easier to explain, are already impossible.
    pub operations: Vec<WitnessOperation>,
    /// The order between pairs of `operations`.
    pub relations: Vec<Relation>,
    /// The label of the operation whose answer contradicts the others; null if no operation does more than
    /// the others, as in a cycle.
    pub contradicts: Option<String>,
    /// Why the operations are impossible, to be followed on paper.
    pub steps: Vec<Step>,
}

impl Anomaly {
    /// Returns the same, about the narrower object of `kind` called `name`.
    pub(crate) fn about(mut self, kind: ObjectKind, name: &Scalar) -> Self {
        self.objects.insert(0, Object::new(kind, name));
        self
    }

    /// Returns the name of the first object of `kind`.
    #[must_use]
    pub fn object(&self, kind: ObjectKind) -> Option<&Scalar> {
        self.objects.iter().find(|object| object.kind == kind).map(|object| &object.name)
    }

    /// Returns the operation whose answer contradicts the others.
    #[must_use]
    pub fn contradicting(&self) -> Option<&WitnessOperation> {
        let label = self.contradicts.as_ref()?;
        self.operations.iter().find(|operation| operation.label == *label)
    }
}

/// Something that an anomaly is about. Printed as `key r0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The kind of object.
    pub kind: ObjectKind,
    /// Its name.
    pub name: Scalar,
}

impl Object {
    /// Returns the object of `kind` called `name`.
    #[must_use]
    pub fn new(kind: ObjectKind, name: &Scalar) -> Self {
        Self { kind, name: name.clone() }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// The kind of an anomaly's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A register, set or counter by its key, or the key of a record.
    Key,
    /// A partition of a log.
    Partition,
    /// A message of a partition, by its value.
    Message,
    /// An element of a set.
    Element,
    /// A document of a job.
    Document,
    /// A transaction.
    Transaction,
    /// A node of the system.
    Node,
}

impl ObjectKind {
    /// Returns the name as printed and as saved.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Partition => "partition",
            Self::Message => "message",
            Self::Element => "element",
            Self::Document => "document",
            Self::Transaction => "transaction",
            Self::Node => "node",
        }
    }
}

/// The assumption of a witness about the object before its first operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessStart {
    /// The history's initial value; `None` is the register that was never written.
    Initial(Option<Scalar>),
    /// None: the witness is impossible whatever the object's state.
    Any,
}

/// One operation of a witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessOperation {
    /// Its name in steps and relations: `A`, `B`, …
    pub label: String,
    /// Its role in the proof.
    pub role: Role,
    /// Index of its invocation in the history.
    pub index: u64,
    /// Index of its completion, if it has one.
    pub completion_index: Option<u64>,
    /// The process that invoked it.
    pub process: Process,
    /// The node it was sent to.
    pub node: Option<NodeId>,
    /// When it was invoked, nanoseconds since the run began.
    pub time: u64,
    /// When it completed, nanoseconds since the run began, if it did.
    pub completion_time: Option<u64>,
    /// Its action: `write 7`, `read -> 3`, `cas 3 -> 4`; `send 7 to t0-2 -> 15`, `poll t0-2 -> 7@15`.
    pub action: String,
    /// How it ended; `info` also where the history ends before it.
    pub ended: OpType,
    /// Why it failed or is unknown, in the target's or the network's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The role of an operation in a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Its answer is the subject of the anomaly.
    Read,
    /// It brought the value, message or element that the anomaly is about.
    Write,
    /// It put another in the place of that.
    Overwrite,
    /// It took a lock.
    Acquire,
    /// It gave a lock back.
    Release,
    /// Its answer shows an effect that had been taken, or the place of a message.
    Evidence,
    /// Everything that was acknowledged before it lies below an offset that it gives.
    Mark,
    /// It put a consumer where it was, or made it a member of its group.
    Position,
    /// It committed how far a group had come, or was answered with that.
    Commit,
    /// It is a transaction of a cycle.
    Transaction,
    /// It takes part, as the others do.
    Part,
}

/// That one operation must come before another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// The label of the earlier operation.
    pub from: String,
    /// The label of the later one.
    pub to: String,
    /// The kind of order.
    pub kind: RelationKind,
    /// Why, in one sentence.
    pub because: String,
}

/// The order of two operations: the dependencies of Adya, and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RelationKind {
    /// The later one wrote after the earlier one, or over its value.
    #[serde(rename = "ww")]
    WriteWrite,
    /// The later one read the earlier one's write.
    #[serde(rename = "wr")]
    WriteRead,
    /// The later one overwrote the value that the earlier one read.
    #[serde(rename = "rw")]
    ReadWrite,
    /// The earlier one was answered before the later one began.
    #[serde(rename = "realtime")]
    RealTime,
    /// One process did both, one after the other.
    #[serde(rename = "process")]
    Process,
}

/// One sentence of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The sentence.
    pub sentence: String,
    /// The labels of the operations it speaks of.
    pub labels: Vec<String>,
}
