//! The witness of each anomaly of a job, and how its operations are described.

use duress_history::job::{Counts, Dies, Job, Part};
use duress_history::{Operation, Scalar};

use super::facts::Document;
use crate::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, Role};
use crate::witness::{Describe, Op, Witness, say};

/// The operations of one task that a witness shows at most.
const ATTEMPTS_SHOWN: usize = 6;
/// The words that a witness shows at most.
const WORDS_SHOWN: usize = 12;

/// A contradiction in the record of a document.
pub(super) enum Case<'a> {
    /// A worker or a gather has words of a document that was not loaded by then.
    NeverLoaded { reader: Op },
    /// A worker or a gather has other words than its text.
    Miscounted { reader: Op, counts: &'a Counts },
    /// `known` shows that it was there, and a worker found none.
    DocumentGone { known: Op, reader: Op },
    /// A gather has a part that no execution can have written.
    Unwritten { gather: Op, number: u32 },
    /// `known` shows that a part was there, and a gather found none.
    PartGone { known: Op, gather: Op, number: u32 },
    /// No final gather has a part of it, this one neither.
    NeverCounted { gather: Op },
    /// A gather has these parts of it.
    Doubled { gather: Op, numbers: Vec<u32> },
}

impl Case<'_> {
    pub(super) fn kind(&self) -> AnomalyKind {
        match self {
            Self::NeverLoaded { .. } | Self::Unwritten { .. } => AnomalyKind::PhantomPart,
            Self::Miscounted { .. } => AnomalyKind::WrongCount,
            Self::DocumentGone { .. } | Self::PartGone { .. } => AnomalyKind::LostWrite,
            Self::NeverCounted { .. } => AnomalyKind::LostTask,
            Self::Doubled { .. } => AnomalyKind::DoubledTask,
        }
    }

    /// Returns the operation whose answer is wrong.
    fn reader(&self) -> Op {
        match self {
            Self::NeverLoaded { reader }
            | Self::Miscounted { reader, .. }
            | Self::DocumentGone { reader, .. } => *reader,
            Self::Unwritten { gather, .. }
            | Self::PartGone { gather, .. }
            | Self::NeverCounted { gather }
            | Self::Doubled { gather, .. } => *gather,
        }
    }
}

/// Returns the proof that `case` is an anomaly of the document called `name`.
pub(super) fn anomaly(
    operations: &[Operation<Job>],
    name: &Scalar,
    document: &Document<'_>,
    case: &Case<'_>,
) -> Anomaly {
    let reader = case.reader();
    let mut roles = vec![(reader, Role::Read)];
    let attempts = |wanted: &dyn Fn(u32) -> bool| -> Vec<Op> {
        let attempts = document.attempts.iter().filter(|attempt| wanted(attempt.number));
        attempts.map(|attempt| attempt.op).take(ATTEMPTS_SHOWN).collect()
    };
    let loads: Vec<Op> = document.loads.iter().map(|load| load.op).take(1).collect();
    // The operations before the wrong answer that the argument needs.
    let before: Vec<Op> = match case {
        Case::NeverLoaded { .. } => document.failed_loads.clone(),
        Case::Miscounted { .. } => loads.clone(),
        Case::DocumentGone { known, .. } | Case::PartGone { known, .. } => vec![*known],
        Case::Unwritten { number, .. } => attempts(&|other| other == *number),
        Case::NeverCounted { .. } => [loads.clone(), attempts(&|_| true)].concat(),
        Case::Doubled { numbers, .. } => {
            [loads.clone(), attempts(&|other| numbers.contains(&other))].concat()
        }
    };
    roles.extend(before.iter().map(|op| {
        let is_load = matches!(operations[*op as usize].action, Job::Load { .. });
        (*op, if is_load { Role::Write } else { Role::Evidence })
    }));
    let witness = Witness::of(vec![Object::new(ObjectKind::Document, name)], operations, name, roles);
    let named = witness.named(reader);
    let words = document.counts.total();
    let (summary, steps) = match case {
        Case::NeverLoaded { .. } => {
            let mut steps = vec![say(format!("{named} has words of {name}."), &[reader])];
            steps.push(match before.is_empty() {
                true => say(format!("But no load of {name} had begun by then."), &[reader]),
                false => say(format!("But every load of {name} that had begun by then had failed."), &before),
            });
            (format!("{named} has words of {name}, which was not loaded"), steps)
        }
        Case::Miscounted { counts, .. } => {
            let steps = vec![
                say(format!("The words of {name} are {}, by its text.", shown(&document.counts)), &loads),
                say(format!("{named} has {}.", shown(counts)), &[reader]),
            ];
            (format!("{named} has other words than the text of {name}"), steps)
        }
        Case::DocumentGone { known, .. } => {
            let steps = vec![
                witness.before(*known, reader),
                say(format!("No operation removes a document, and {named} found none."), &[reader]),
            ];
            (
                format!("{named} found no document, although {} had been answered", witness.named(*known)),
                steps,
            )
        }
        Case::PartGone { known, number, .. } => {
            let steps = vec![
                say(
                    format!("{} shows that the part {number} of {name} was written.", witness.named(*known)),
                    &[*known],
                ),
                witness.before(*known, reader),
                say(format!("No operation removes a part, and {named} lacks it."), &[reader]),
            ];
            (format!("{named} lacks a part of {name} that {} shows", witness.named(*known)), steps)
        }
        Case::Unwritten { number, .. } => {
            let why = match before.is_empty() {
                true => format!("But no worker was to write the part {number} of {name}."),
                false => format!(
                    "But each worker that was to write the part {number} of {name} began after that, failed, or found no document."
                ),
            };
            let steps =
                vec![say(format!("{named} has the part {number} of {name}."), &[reader]), say(why, &before)];
            (format!("{named} has a part of {name} that no worker can have written"), steps)
        }
        Case::NeverCounted { .. } => {
            let given = document.attempts.len();
            let mut steps = vec![say(format!("The document {name} was loaded."), &before)];
            steps.push(match given {
                0 => say("No worker was given its task.", &[]),
                _ => say(
                    format!(
                        "Its task was given to a worker {}, and none acknowledged that it wrote a part.",
                        if given == 1 { "once".to_owned() } else { format!("{given} times") }
                    ),
                    &before,
                ),
            });
            steps.push(say(
                format!(
                    "{named} began after all that had ended and has no part of {name}, and neither has any other gather that did: its \
                     {words} words are missing in the result."
                ),
                &[reader],
            ));
            (format!("the {words} words of {name} are missing in the result: its task was lost"), steps)
        }
        Case::Doubled { numbers, .. } => {
            let times = numbers.len();
            let each = before.iter().filter(|op| !loads.contains(op)).map(|op| witness.named(*op));
            let each = each.collect::<Vec<_>>().join(" and ");
            let steps = vec![
                say(format!("The task of {name} was executed more than once: {each}."), &before),
                say(
                    format!(
                        "{named} has {times} parts of {name}: its {words} words are counted {times} times."
                    ),
                    &[reader],
                ),
            ];
            (
                format!("the {words} words of {name} are counted {times} times: its task was executed again"),
                steps,
            )
        }
    };
    witness.anomaly(case.kind(), reader, summary, steps)
}

/// Describes the first few words.
fn shown(counts: &Counts) -> String {
    let more = if counts.0.len() > WORDS_SHOWN { ", …" } else { "" };
    let first = Counts(counts.0.iter().take(WORDS_SHOWN).map(|(word, n)| (word.clone(), *n)).collect());
    if counts.0.is_empty() { "no words".to_owned() } else { format!("{first}{more}") }
}

impl Describe for Job {
    /// The document: of the other parts of a gather, only the number of documents is shown.
    type Focus = Scalar;

    fn describe(&self, name: &Scalar) -> String {
        match self {
            Self::Load { .. } | Self::Count { dies: Some(_), .. } => self.describe_asked(name),
            Self::Count { part: Part { document, number, counts }, dies: None } => match counts {
                Some(counts) => format!("count {document} as part {number} -> {}", shown(counts)),
                None => format!("count {document} as part {number} -> no document"),
            },
            Self::Gather(parts) => {
                let of_it = parts.iter().filter(|part| part.document == *name);
                let found = of_it.filter_map(|part| Some((part.number, part.counts.as_ref()?)));
                let found: Vec<String> =
                    found.map(|(number, counts)| format!("part {number}: {}", shown(counts))).collect();
                match found.is_empty() {
                    true => format!("gather -> nothing of {name}"),
                    false => format!("gather -> {name} {}", found.join("; ")),
                }
            }
        }
    }

    fn describe_asked(&self, name: &Scalar) -> String {
        match self {
            Self::Load { document, text } => {
                let words: Vec<&str> = text.split_whitespace().take(WORDS_SHOWN + 1).collect();
                let (first, more) = words.split_at(words.len().min(WORDS_SHOWN));
                format!("load {document} \"{}{}\"", first.join(" "), if more.is_empty() { "" } else { " …" })
            }
            Self::Count { part: Part { document, number, .. }, dies } => {
                let dies = match dies {
                    None => "",
                    Some(Dies::Unwritten) => ", to end before it is written",
                    Some(Dies::Unreported) => ", to end before telling",
                };
                format!("count {document} as part {number}{dies}")
            }
            Self::Gather(_) => format!("gather {name} and others"),
        }
    }
}
