//! Jobs: the checker agrees with the definition tried out literally, each anomaly is found, and near misses pass.
//!
//! A history is written as words; of its operations,
//!
//! - `la=x.y` loads the document a with the text `x y`;
//! - `ca1` executes the task of a as part 1; `ca1=x.y` was answered with the counts of `x y`, `ca1=` found no document;
//! - `ga1,b1` gathers these parts; `ga1=x.y,b1` was answered with the first, and without the second.

use std::collections::HashSet;

use duress_checkers::job::{JobReport, check_job};
use duress_checkers::verdict::{CheckReport, Reason, Verdict};
use duress_history::job::{Counts, Job, Part};
use duress_history::{Completion, Operation, Scalar};
use proptest::prelude::*;
use words::answer;

use crate::{garbage, words};

fn text(dotted: &str) -> String {
    dotted.replace('.', " ")
}

/// Returns a part as JSON: `a1` or `a1=x.y`.
fn part(word: &str) -> String {
    let (name, counts) = match word.split_once('=') {
        Some((name, "")) => (name, "null".to_owned()),
        Some((name, counts)) => {
            (name, serde_json::to_string(&Counts::of(&text(counts))).expect("words are strings"))
        }
        None => (word, "null".to_owned()),
    };
    let (document, number) = name.split_at(1);
    format!("[\"{document}\",{number},{counts}]")
}

fn operation(word: &str, answered: bool) -> (&'static str, String) {
    let (f, rest) = word.split_at(1);
    // Only an answer has counts.
    let of = |word: &str| {
        if answered { word.to_owned() } else { word.split('=').next().unwrap_or_default().to_owned() }
    };
    match f {
        "l" => {
            let (document, content) = rest.split_once('=').expect("a document has a text");
            ("load", format!("[\"{document}\",\"{}\"]", text(content)))
        }
        "c" => ("count", part(&of(rest))),
        "g" => {
            let parts: Vec<String> = rest.split(',').map(|word| part(&of(word))).collect();
            ("gather", format!("[{}]", parts.join(",")))
        }
        other => panic!("no operation {other}"),
    }
}

fn report(words: &str) -> CheckReport {
    check_job(&words::operations::<Job>(words, operation))
}

#[track_caller]
fn check(words: &str, expected: &str) {
    let report = report(words);
    assert_eq!(answer(&report), expected, "{words}\n{:#?}", report.verdict);
}

#[test]
fn what_is_counted_once_and_gathered_is_exact() {
    check("0!la=x.y.x 1!ca1=x.y.x 2!ga1=x.y.x", "valid");
    // Executed twice, and written to one place.
    check("0!la=x 1ica1 1?ca1 2!ca1=x 0!ga1=x", "valid");
    check("0!la=x 1!ca1=x 2!ca1=x 0!ga1=x", "valid");
    // The first execution may have happened, or not; here it has not.
    check("0!la=x 1ica1 1?ca1 2!ca2=x 0!ga1,a2=x", "valid");
    // No answer confirmed the part, and the gather found it.
    check("0!la=x 1ica1 1?ca1 0!ga1=x", "valid");
    // A load of unknown outcome is no task, until a worker has found the document.
    check("0ila=x 0?la=x 1!lb=y 1!cb1=y 2!gb1=y", "valid");
    check("0ila=x 0?la=x 1!ca1=x 2!ga1=x", "valid");
    // Gathered too early, and once more.
    check("0!la=x 1ica1 2!ga1 1oca1=x 2!ga1=x", "valid");
    let JobReport { tasks, attempts, repeated, words, gathered, .. } =
        *report("0!la=x.y 1ica1 1?ca1 2!ca1=x.y 0!ga1=x.y").details.job().unwrap();
    assert_eq!((tasks, attempts, repeated, words, gathered), (1, 2, 1, 2, 2));
}

#[test]
fn a_task_that_is_lost_is_found() {
    check(
        "0!la=x.y 1ica1 1fca1 2!ga1",
        "lost-task(load a \"x y\"; count a as part 1; gather -> nothing of a)",
    );
    check("0!la=x 2!ga1", "lost-task(load a \"x\"; gather -> nothing of a)");
    check("0!la=x 1!ca1=x 2!ga1", "lost-write(count a as part 1 -> x 1; gather -> nothing of a)");
    check("0!la=x 1ica1 1?ca1 2!ga1=x 2!ga1", "lost-write(gather -> a part 1: x 1; gather -> nothing of a)");
    // The document itself.
    check("0!la=x 1!ca1= 2!ca1=x 0!ga1=x", "lost-write(load a \"x\"; count a as part 1 -> no document)");
    check("0ila=x 1!ca1= 0ola=x 2!ca1=x 0!ga1=x", "valid");
    let report = report("0!la=x.y 0!lb=z 1ica1 1fca1 1!cb1=z 2!ga1,b1=z");
    let JobReport { tasks, lost, words, gathered, .. } = *report.details.job().unwrap();
    assert_eq!((tasks, lost, words, gathered), (2, 1, 3, 1));
}

#[test]
fn a_task_that_is_counted_twice_is_found() {
    check(
        "0!la=x 1ica1 1?ca1 2!ca2=x 0!ga1=x,a2=x 0!ga1=x,a2=x",
        "doubled-task(load a \"x\"; count a as part 1; count a as part 2 -> x 1; gather -> a part 1: x 1; part 2: x 1)",
    );
    let report = report("0!la=x.y 1!ca1=x.y 2!ca2=x.y 0!ga1=x.y,a2=x.y");
    let JobReport { doubled, lost, words, gathered, .. } = *report.details.job().unwrap();
    assert_eq!((doubled, lost, words, gathered), (1, 0, 2, 4));
}

#[test]
fn counts_that_are_not_those_of_the_text_are_found() {
    check("0!la=x.x 1!ca1=x.x 2!ga1=x", "wrong-count(load a \"x x\"; gather -> a part 1: x 1)");
    check("0!la=x.x 1!ca1=x.y 2!ga1=x.x", "wrong-count(load a \"x x\"; count a as part 1 -> x 1, y 1)");
}

#[test]
fn parts_from_nowhere_are_found() {
    check("2!ga1=x", "phantom-part(gather -> a part 1: x 1)");
    check("0!la=x 2!ga1=x 1!ca1=x", "phantom-part(gather -> a part 1: x 1; count a as part 1 -> x 1)");
    check("0!la=x 1ica1 1fca1 2!ga1=x", "phantom-part(count a as part 1; gather -> a part 1: x 1)");
    check(
        "1!ca1=x 2!ga1=x 0!la=x",
        "phantom-part(count a as part 1 -> x 1) | phantom-part(gather -> a part 1: x 1)",
    );
    check("0ila=x 0fla=x 1!ca1=x", "phantom-part(load a \"x\"; count a as part 1 -> x 1)");
    check("1ica1 1?ca1 2!ga1=x", "phantom-part(gather -> a part 1: x 1)");
}

#[test]
fn what_was_not_gathered_is_open() {
    let open = "unknown: 1 of 1 loaded documents are in no gather that began after their tasks had ended: their words may be missing";
    check("0!la=x 1!ca1=x", open);
    check("0!la=x 1!ca1=x 2iga1 2fga1", open);
    // It was gathered, and given to a worker once more.
    check("0!la=x 1!ca1=x 2!ga1=x 1!ca2=x", open);
    check("0!la=x 1!ca1=x 1ica2 2!ga1=x,a2 1?ca2", open);
    // A part that may be there was not asked for.
    check("0!la=x 1!ca1=x 1ica2 1?ca2 2!ga1=x", open);
    check("0!la=x 1!ca1=x 1ica2 1fca2 2!ga1=x", "valid");
    check(
        "0!la=x 1!la=y 1!ca1=y 2!ga1=y",
        "unknown: the document a was loaded with several texts: its words are not known",
    );
    check("0ila=x 0?la=x 2!ga1", "unknown: 1 operations succeeded, but no answer shows their effect");
}

/// One step of an operation, and what must hold when it is made.
#[derive(Clone, Copy)]
enum Step<'a> {
    PutsDocument,
    /// Finds the document with this state.
    ReadsDocument(Option<bool>),
    PutsPart(u32),
    /// Finds the part of this number, or none.
    ReadsPart(u32, Option<&'a Counts>),
}

/// An operation as steps that are made in order, or a gather's in any.
struct Stepped<'a> {
    began: u64,
    ended: Option<u64>,
    steps: Vec<Step<'a>>,
}

/// Whether some moments for the steps of all operations on the document `a`, whose words are `counts`, explain every answer. Its
/// state is whether the document is there, and which parts are.
fn explained(operations: &[Operation<Job>], counts: &Counts) -> bool {
    let stepped: Vec<Stepped<'_>> = operations
        .iter()
        .filter_map(|operation| {
            let (ended, action) = match &operation.completion {
                Completion::Ok { index, answer, .. } => (Some(*index), answer),
                Completion::Info { .. } => (None, &operation.action),
                Completion::Fail { .. } => return None,
            };
            let steps = match action {
                Job::Load { .. } => vec![Step::PutsDocument],
                Job::Count { part, .. } => match (&part.counts, ended) {
                    (Some(found), Some(_)) if found != counts => return Some(impossible(operation.index)),
                    (None, Some(_)) => vec![Step::ReadsDocument(Some(false))],
                    _ => vec![Step::ReadsDocument(Some(true)), Step::PutsPart(part.number)],
                },
                Job::Gather(_) if ended.is_none() => return None,
                Job::Gather(parts) => {
                    parts.iter().map(|part| Step::ReadsPart(part.number, part.counts.as_ref())).collect()
                }
            };
            Some(Stepped { began: operation.index, ended, steps })
        })
        .collect();
    let mut events: Vec<(u64, usize)> = Vec::new();
    for (at, operation) in stepped.iter().enumerate() {
        events.push((operation.began, at));
        events.extend(operation.ended.map(|ended| (ended, at)));
    }
    events.sort_unstable();
    let start = State { passed: 0, there: false, parts: 0, done: vec![0; stepped.len()] };
    pass(&stepped, &events, counts, start, &mut HashSet::new())
}

/// An operation that no execution has.
fn impossible<'a>(index: u64) -> Stepped<'a> {
    Stepped { began: index, ended: Some(index), steps: vec![Step::ReadsDocument(None)] }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    /// How many events have passed.
    passed: usize,
    there: bool,
    /// A bit for each part.
    parts: u32,
    /// The steps made by each operation, a bit each.
    done: Vec<u32>,
}

fn pass(
    stepped: &[Stepped<'_>],
    events: &[(u64, usize)],
    counts: &Counts,
    state: State,
    tried: &mut HashSet<State>,
) -> bool {
    let Some((index, at)) = events.get(state.passed) else { return true };
    if !tried.insert(state.clone()) {
        return false;
    }
    let all = (1_u32 << stepped[*at].steps.len()) - 1;
    let begins = stepped[*at].began == *index && stepped[*at].ended != Some(*index);
    if (begins || state.done[*at] == all)
        && pass(stepped, events, counts, State { passed: state.passed + 1, ..state.clone() }, tried)
    {
        return true;
    }
    // Or an operation in progress makes a step before the event.
    (0..stepped.len()).any(|at| {
        let has_begun = events[..state.passed].contains(&(stepped[at].began, at));
        has_begun
            && stepped[at].steps.iter().enumerate().any(|(number, step)| {
                let is_gather = matches!(step, Step::ReadsPart(..));
                let next = if is_gather {
                    state.done[at] >> number & 1 == 0
                } else {
                    state.done[at].count_ones() as usize == number
                };
                if !next {
                    return false;
                }
                let mut after = state.clone();
                after.done[at] |= 1 << number;
                let fits = match *step {
                    Step::PutsDocument => {
                        after.there = true;
                        true
                    }
                    Step::ReadsDocument(there) => there == Some(state.there),
                    Step::PutsPart(number) => {
                        after.parts |= 1 << number;
                        true
                    }
                    Step::ReadsPart(number, found) => {
                        (state.parts >> number & 1 == 1) == found.is_some()
                            && found.is_none_or(|found| found == counts)
                    }
                };
                fits && pass(stepped, events, counts, after, tried)
            })
    })
}

/// Whether the result is exact, by the definition: `None` if a task has no final gather.
fn exact(operations: &[Operation<Job>]) -> Option<bool> {
    let ok = |operation: &Operation<Job>| match &operation.completion {
        Completion::Ok { index, answer, .. } => Some((*index, answer.clone())),
        _ => None,
    };
    let loads = operations.iter().filter_map(|operation| match ok(operation)? {
        (index, Job::Load { .. }) => Some(index),
        (index, Job::Count { part: Part { counts: Some(_), .. }, .. }) => Some(index),
        _ => None,
    });
    let gathers: Vec<(u64, Vec<Part>)> = operations
        .iter()
        .filter_map(|operation| match ok(operation)? {
            (_, Job::Gather(parts)) => Some((operation.index, parts)),
            _ => None,
        })
        .collect();
    let found = |parts: &[Part]| parts.iter().filter(|part| part.counts.is_some()).count();
    if gathers.iter().any(|(_, parts)| found(parts) > 1) {
        return Some(false);
    }
    let Some(loaded) = loads.min() else { return Some(true) };
    let mut after = loaded;
    let mut written = Vec::new();
    for operation in operations {
        let Job::Count { part, .. } = &operation.action else { continue };
        match &operation.completion {
            Completion::Ok {
                index, answer: Job::Count { part: Part { counts: Some(_), .. }, .. }, ..
            } => {
                written.push(part.number);
                after = after.max(*index);
            }
            Completion::Info { at, .. } => {
                written.push(part.number);
                after = after.max((*at)?.0);
            }
            Completion::Ok { index, .. } | Completion::Fail { index, .. } => after = after.max(*index),
        }
    }
    let finals = gathers.iter().filter(|(began, parts)| {
        *began > after && written.iter().all(|number| parts.iter().any(|part| part.number == *number))
    });
    let finals: Vec<usize> = finals.map(|(_, parts)| found(parts)).collect();
    if finals.is_empty() { None } else { Some(finals.contains(&1)) }
}

fn counts() -> impl Strategy<Value = Option<Counts>> {
    prop_oneof![3 => Just(Some(Counts::of("x"))), 2 => Just(None), 1 => Just(Some(Counts::of("y")))]
}

/// Operations on one document with the text `x`, and at most two parts.
fn actions() -> impl Strategy<Value = Job> {
    let document = || Scalar::from("a");
    let part = move |number, counts| Part { document: document(), number, counts };
    prop_oneof![
        1 => Just(Job::Load { document: document(), text: "x".to_owned() }),
        2 => (1_u32..3, counts()).prop_map(move |(number, counts)| Job::Count { part: part(number, counts), dies: None }),
        2 => counts().prop_map(move |counts| Job::Gather(vec![part(1, counts)])),
        2 => (counts(), counts()).prop_map(move |(one, two)| Job::Gather(vec![part(1, one), part(2, two)])),
    ]
}

/// Returns the operations as they were asked, with their answers where they are answered.
fn asked(operations: Vec<Operation<Job>>) -> Vec<Operation<Job>> {
    let bare = |part: &Part| Part::asked(part.document.clone(), part.number);
    operations
        .into_iter()
        .map(|operation| {
            let action = match &operation.action {
                Job::Load { .. } => operation.action.clone(),
                Job::Count { part, dies } => Job::Count { part: bare(part), dies: *dies },
                Job::Gather(parts) => Job::Gather(parts.iter().map(bare).collect()),
            };
            Operation { action, ..operation }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn random_jobs_are_judged_as_defined(operations in garbage::garbage(actions(), 8)) {
        let operations = asked(operations);
        let is_explained = explained(&operations, &Counts::of("x"));
        let is_exact = exact(&operations);
        match check_job(&operations).verdict {
            Verdict::Valid => prop_assert!(is_explained && is_exact == Some(true), "valid, and not by definition"),
            Verdict::Unknown(reasons) => {
                let nothing = |reason: &Reason| {
                    matches!(reason, Reason::NothingHappened { .. } | Reason::NothingObserved { .. })
                };
                let open = is_exact.is_none() || reasons.iter().all(nothing);
                prop_assert!(is_explained && is_exact != Some(false) && open, "unknown: {reasons:?}");
            }
            Verdict::Invalid(anomalies) => {
                prop_assert!(!is_explained || is_exact == Some(false), "invalid: {anomalies:#?}");
                for anomaly in &anomalies {
                    words::assert_well_formed(anomaly);
                }
            }
        }
    }
}
