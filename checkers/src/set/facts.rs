//! The facts of a history, by set: its elements, and the reads that have them.

use duress_history::set::{Set, SetOp};
use duress_history::{Completion, NodeId, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::verdict::{Object, ObjectKind, Role};
use crate::witness::{Describe, Op, Witness};

/// The place of an element in the list of elements of its set.
pub(super) type ElementId = u32;

/// An event that an operation ended with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) index: u64,
    pub(super) time: u64,
    pub(super) op: Op,
}

/// One element.
#[derive(Debug)]
pub(super) struct Element<'a> {
    pub(super) value: &'a Scalar,
    /// The first add that may have happened: the index of its invocation.
    pub(super) begun: Option<(u64, Op)>,
    /// The first acknowledgement of an add.
    pub(super) acknowledged: Option<Known>,
    /// An add that failed.
    pub(super) failed: Option<Op>,
    /// The reads that have it, by invocation: places in the list of reads.
    pub(super) seen: Vec<u32>,
}

impl Element<'_> {
    /// Whether anything was to add it.
    pub(super) fn is_added(&self) -> bool {
        self.begun.is_some() || self.failed.is_some()
    }
}

/// One read that was answered.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) op: Op,
    pub(super) node: Option<&'a NodeId>,
    pub(super) index: u64,
    pub(super) time: u64,
    pub(super) answered: Known,
    /// What it has, rising, each once.
    pub(super) elements: Vec<ElementId>,
    /// One that it has twice.
    pub(super) repeated: Vec<ElementId>,
}

impl Read<'_> {
    pub(super) fn has(&self, element: ElementId) -> bool {
        self.elements.binary_search(&element).is_ok()
    }
}

/// What a history says of one set.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) operations: &'a [Operation<Set>],
    pub(super) key: Option<&'a Scalar>,
    pub(super) elements: Vec<Element<'a>>,
    /// By invocation.
    pub(super) reads: Vec<Read<'a>>,
    ids: FxHashMap<&'a Scalar, ElementId>,
}

impl<'a> Facts<'a> {
    /// The sets of `operations`, by key.
    pub(super) fn by_key(operations: &'a [Operation<Set>]) -> Vec<Self> {
        let mut places: FxHashMap<Option<&Scalar>, usize> = FxHashMap::default();
        let mut sets: Vec<Self> = Vec::new();
        for (op, operation) in operations.iter().enumerate() {
            let key = operation.action.key.as_ref();
            let place = *places.entry(key).or_insert_with(|| {
                let (elements, reads) = (Vec::new(), Vec::new());
                sets.push(Self { operations, key, elements, reads, ids: FxHashMap::default() });
                sets.len() - 1
            });
            sets[place].operation(op as Op, operation);
        }
        for set in &mut sets {
            // Elements in the order in which they are met: those of the adds that began first, and what was never added.
            for (at, read) in set.reads.iter().enumerate() {
                read.elements.iter().for_each(|id| set.elements[*id as usize].seen.push(at as u32));
            }
        }
        sets.sort_by_key(|set| set.key);
        sets
    }

    fn operation(&mut self, op: Op, operation: &'a Operation<Set>) {
        match (&operation.action.op, &operation.completion) {
            (SetOp::Add(value), completion) => {
                let element = self.id(value) as usize;
                let element = &mut self.elements[element];
                match completion {
                    Completion::Fail { .. } => {
                        element.failed.get_or_insert(op);
                    }
                    Completion::Info { .. } => {
                        element.begun.get_or_insert((operation.index, op));
                    }
                    Completion::Ok { index, time, .. } => {
                        element.begun.get_or_insert((operation.index, op));
                        if element.acknowledged.is_none_or(|known| *index < known.index) {
                            element.acknowledged = Some(Known { index: *index, time: *time, op });
                        }
                    }
                }
            }
            (
                SetOp::Read(_),
                Completion::Ok { index, time, answer: Set { op: SetOp::Read(Some(values)), .. } },
            ) => {
                let mut elements: Vec<ElementId> = values.iter().map(|value| self.id(value)).collect();
                elements.sort_unstable();
                let mut repeated: Vec<ElementId> =
                    elements.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
                repeated.dedup();
                elements.dedup();
                self.reads.push(Read {
                    op,
                    node: operation.node.as_ref(),
                    index: operation.index,
                    time: operation.time,
                    answered: Known { index: *index, time: *time, op },
                    elements,
                    repeated,
                });
            }
            (SetOp::Read(_), _) => {}
        }
    }

    fn id(&mut self, value: &'a Scalar) -> ElementId {
        let elements = &mut self.elements;
        *self.ids.entry(value).or_insert_with(|| {
            let (begun, acknowledged, failed, seen) = (None, None, None, Vec::new());
            elements.push(Element { value, begun, acknowledged, failed, seen });
            (elements.len() - 1) as ElementId
        })
    }

    /// From when on an element is known to be there: the first acknowledgement, or the first answer that has it.
    pub(super) fn known(&self, element: &Element<'_>) -> Option<Known> {
        let seen = element.seen.iter().map(|at| self.reads[*at as usize].answered);
        element.acknowledged.into_iter().chain(seen).min_by_key(|known| known.index)
    }

    /// A witness about `elements` of this set.
    pub(super) fn witness(
        &self,
        elements: &[ElementId],
        roles: impl IntoIterator<Item = (Op, Role)>,
    ) -> Witness {
        let values = elements.iter().map(|id| self.elements[*id as usize].value.clone());
        let focus: Vec<Scalar> = values.collect();
        let elements = focus.iter().map(|value| Object::new(ObjectKind::Element, value));
        let objects = elements.chain(self.key.map(|key| Object::new(ObjectKind::Key, key))).collect();
        Witness::of(objects, self.operations, &focus, roles)
    }

    /// The set, as sentences speak of it.
    pub(super) fn subject(&self) -> String {
        self.key.map_or_else(|| "the set".to_owned(), Scalar::to_string)
    }
}

impl Describe for Set {
    /// The elements that a witness is about.
    type Focus = Vec<Scalar>;

    fn describe(&self, focus: &Vec<Scalar>) -> String {
        match &self.op {
            SetOp::Add(element) => format!("add {element}"),
            SetOp::Read(None) => "read".to_owned(),
            SetOp::Read(Some(elements)) => {
                let list = |wanted: bool| -> String {
                    let chosen = focus.iter().filter(|element| elements.contains(element) == wanted);
                    chosen.map(ToString::to_string).collect::<Vec<String>>().join(", ")
                };
                let (with, without) = (list(true), list(false));
                let count = elements.len();
                let with = if with.is_empty() { with } else { format!(" with {with}") };
                let without = if without.is_empty() { without } else { format!(" without {without}") };
                format!("read -> {count} elements{with}{without}")
            }
        }
    }
}
