//! Small histories of one partition against brute force: every log that could explain the answers is tried.
//!
//! A log explains a history when each acknowledged message is at its acknowledged offset, none is at two, and
//! each send and each poll can be given a moment between its invocation and its answer such that messages are
//! appended in the order of their offsets, and a poll returns the messages that follow its consumer's place
//! and had been appended by then.
//!
//! No log may explain a history that the checker calls invalid; and some log must explain one that it calls
//! valid.

use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{LogOptions, check_log};
use duress_checkers::verdict::Verdict;
use duress_history::log::{Log, LogMicro, Offset, Start};
use duress_history::pairs::pair;
use duress_history::{Completion, Event, OpType, Operation, Process, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Messages of a history, at most.
const SENDS: usize = 4;
/// The possible offsets of a message.
const OFFSETS: u64 = 6;

fn key() -> Scalar {
    Scalar::from("t0-0")
}

/// Generates a random history: sensible clients, whose answers come from a log in which messages are
/// anywhere, mostly in order.
fn history(random: &mut ChaCha8Rng) -> Vec<Operation<Log>> {
    let mut events: Vec<Event<Log>> = Vec::new();
    let mut open: Vec<Option<Log>> = vec![None; 3];
    let mut numbers: Vec<u64> = vec![0, 1, 2];
    let mut processes = 3;
    let mut sent = 0_i64;
    // The message at each offset, according to the answers; now and then an answer is made up.
    let mut log: Vec<(u64, i64)> = Vec::new();
    let mut places = [0_u64; 3];
    let count = random.random_range(6..26);
    while events.len() < count {
        let client = random.random_range(0..3_usize);
        let mut event = |process: u64, op_type: OpType, action: Log| {
            let index = events.len() as u64;
            let process = Process(process);
            events.push(Event { index, time: index, process, op_type, action, node: None, error: None });
        };
        let Some(action) = open[client].take() else {
            let action = match random.random_range(0..10) {
                0..4 if sent < SENDS as i64 => {
                    sent += 1;
                    Log::Send(vec![LogMicro::Send { key: key(), value: Scalar::Int(sent), offset: None }])
                }
                0..8 => Log::Poll(vec![LogMicro::Poll(None)]),
                8 => Log::Assign { keys: vec![key()], from: Start::Beginning },
                _ => Log::Assign { keys: vec![key()], from: Start::Position },
            };
            event(numbers[client], OpType::Invoke, action.clone());
            open[client] = Some(action);
            continue;
        };
        let made_up = random.random_range(0..6) == 0;
        if random.random_range(0..8) == 0 {
            let fails = random.random_range(0..2) == 0;
            if let Log::Send(micros) = &action
                && (!fails || made_up)
                && random.random_range(0..2) == 0
                && let LogMicro::Send { value: Scalar::Int(value), .. } = micros[0]
            {
                log.push((log.last().map_or(0, |(offset, _)| offset + 1), value));
            }
            event(numbers[client], if fails { OpType::Fail } else { OpType::Info }, action);
            if !fails {
                (numbers[client], processes, places[client]) = (processes, processes + 1, 0);
            }
            continue;
        }
        let answer = match action {
            Log::Send(micros) => {
                let LogMicro::Send { value: Scalar::Int(value), .. } = micros[0] else {
                    unreachable!("one send")
                };
                let next = log.last().map_or(0, |(offset, _)| offset + 1);
                let gap = u64::from(random.random_range(0..6) == 0);
                let mut offset = (next + gap).min(OFFSETS - 1);
                if made_up {
                    offset = random.random_range(0..OFFSETS);
                }
                if !made_up || random.random_range(0..2) == 0 {
                    log.retain(|(other, _)| *other != offset);
                    log.push((offset, value));
                    log.sort_unstable();
                }
                let offset = (random.random_range(0..8) != 0).then_some(Offset(offset));
                Log::Send(vec![LogMicro::Send { key: key(), value: Scalar::Int(value), offset }])
            }
            Log::Poll(_) => {
                let from = if made_up { random.random_range(0..OFFSETS) } else { places[client] };
                let most = random.random_range(0..4_usize);
                let mut given: Vec<(Offset, Scalar)> = log
                    .iter()
                    .filter(|(offset, _)| *offset >= from)
                    .take(most)
                    .map(|(offset, value)| (Offset(*offset), Scalar::Int(*value)))
                    .collect();
                if made_up && given.len() > 1 && random.random_range(0..3) == 0 {
                    given.remove(0);
                }
                if let Some((Offset(last), _)) = given.last() {
                    places[client] = last + 1;
                }
                Log::Poll(vec![LogMicro::Poll(Some([(key(), given)].into()))])
            }
            Log::Assign { from, .. } => {
                if from == Start::Beginning {
                    places[client] = 0;
                }
                action
            }
            other => other,
        };
        event(numbers[client], OpType::Ok, answer);
    }
    pair(events).expect("clients do one thing at a time")
}

/// Returns one line an operation.
fn told(operations: &[Operation<Log>]) -> String {
    let line = |operation: &Operation<Log>| {
        let (end, known) = match &operation.completion {
            Completion::Ok { index, answer, .. } => (format!("ok {index}"), answer),
            Completion::Fail { index, .. } => (format!("fail {index}"), &operation.action),
            Completion::Info { .. } => ("info".to_owned(), &operation.action),
        };
        format!("process {} from {} {end}: {known:?}\n", operation.process, operation.index)
    };
    operations.iter().map(line).collect()
}

/// A send as the oracle sees it: its value, its invocation, its acknowledgement, the acknowledged offset.
struct Sent {
    value: i64,
    begun: u64,
    answered: Option<u64>,
    told: Option<u64>,
}

/// A poll: its consumer's place if known, its answer's index, its messages.
struct OraclePoll {
    place: Option<u64>,
    answered: u64,
    messages: Vec<(u64, i64)>,
}

fn sends(operations: &[Operation<Log>]) -> Vec<Sent> {
    let mut sends = Vec::new();
    for operation in operations {
        let (known, answered) = match &operation.completion {
            Completion::Ok { index, answer, .. } => (answer, Some(*index)),
            Completion::Info { .. } => (&operation.action, None),
            Completion::Fail { .. } => continue,
        };
        let Log::Send(micros) = known else { continue };
        let LogMicro::Send { value: Scalar::Int(value), offset, .. } = micros[0] else { continue };
        let told = offset.map(|offset| offset.0);
        sends.push(Sent { value, begun: operation.index, answered, told });
    }
    sends
}

fn polls(operations: &[Operation<Log>]) -> Vec<OraclePoll> {
    let mut polls = Vec::new();
    // By process: whether it has assigned, and its place. One that never did was set up before the history began: it may
    // have begun anywhere, and keeps its place from then on until it assigns.
    let mut consumers: std::collections::BTreeMap<Process, (bool, Option<u64>)> =
        std::collections::BTreeMap::new();
    for operation in operations {
        let Completion::Ok { index, answer, .. } = &operation.completion else { continue };
        match answer {
            Log::Assign { from: Start::Beginning, .. } => {
                consumers.insert(operation.process, (true, Some(0)));
            }
            Log::Assign { from: Start::Position, .. } => {
                let consumer = consumers.entry(operation.process).or_insert((true, None));
                if !std::mem::replace(&mut consumer.0, true) {
                    consumer.1 = None;
                }
            }
            Log::Poll(micros) => {
                let LogMicro::Poll(Some(polled)) = &micros[0] else { continue };
                let messages = polled.get(&key()).map_or(&[][..], Vec::as_slice);
                let value = |value: &Scalar| match value {
                    Scalar::Int(value) => *value,
                    _ => unreachable!("numbers only"),
                };
                let messages: Vec<(u64, i64)> =
                    messages.iter().map(|(offset, scalar)| (offset.0, value(scalar))).collect();
                let consumer = consumers.entry(operation.process).or_insert((false, None));
                let place = consumer.1;
                if let Some((last, _)) = messages.last() {
                    consumer.1 = Some(last + 1);
                }
                polls.push(OraclePoll { place, answered: *index, messages });
            }
            _ => {}
        }
    }
    polls
}

/// Whether `log`, by send the offset of its message, explains the answers.
fn explains(sends: &[Sent], polls: &[OraclePoll], log: &[Option<u64>]) -> bool {
    let mut stands: Vec<(u64, &Sent)> =
        sends.iter().zip(log).filter_map(|(sent, offset)| offset.map(|offset| (offset, sent))).collect();
    stands.sort_unstable_by_key(|(offset, _)| *offset);
    // Appended as early as can be: moments between events, as twice their indices and one more.
    let mut moment = 0;
    let mut appended: Vec<(u64, i64, u64)> = Vec::new();
    for (offset, sent) in stands {
        moment = moment.max(2 * sent.begun + 1);
        if sent.answered.is_some_and(|answered| moment > 2 * answered) {
            return false;
        }
        appended.push((offset, sent.value, moment));
    }
    polls.iter().all(|poll| {
        let Some((first, _)) = poll.messages.first() else { return true };
        let from = poll.place.unwrap_or(*first);
        let follows: Vec<&(u64, i64, u64)> =
            appended.iter().filter(|(offset, ..)| *offset >= from).take(poll.messages.len()).collect();
        follows.len() == poll.messages.len()
            && follows.iter().zip(&poll.messages).all(|((offset, value, moment), (given, message))| {
                offset == given && value == message && *moment <= 2 * poll.answered
            })
    })
}

/// Whether any log explains the answers.
fn explained(sends: &[Sent], polls: &[OraclePoll], log: &mut Vec<Option<u64>>) -> bool {
    if log.len() == sends.len() {
        return explains(sends, polls, log);
    }
    let sent = &sends[log.len()];
    let offsets: Vec<Option<u64>> = match (sent.answered, sent.told) {
        (Some(_), Some(told)) => vec![Some(told)],
        // Beyond what anybody can have read, too.
        (Some(_), None) => (0..OFFSETS + SENDS as u64).map(Some).collect(),
        (None, _) => (0..OFFSETS + SENDS as u64).map(Some).chain([None]).collect(),
    };
    offsets.into_iter().any(|offset| {
        if offset.is_some() && log.contains(&offset) {
            return false;
        }
        log.push(offset);
        let found = explained(sends, polls, log);
        log.pop();
        found
    })
}

#[test]
fn what_is_invalid_no_log_explains_and_what_is_valid_some_log_does() {
    let (mut valid, mut invalid, mut unknown, mut unexplained) = (0, 0, 0, 0);
    for seed in 0..6_000 {
        let operations = history(&mut ChaCha8Rng::seed_from_u64(seed));
        let (sends, polls) = (sends(&operations), polls(&operations));
        let explained = explained(&sends, &polls, &mut Vec::new());
        let report = check_log(&operations, &LogOptions::default(), &AtomicBool::new(false));
        match report.verdict {
            Verdict::Valid => {
                assert!(explained, "seed {seed}: valid, and no log explains it:\n{}", told(&operations));
                valid += 1;
            }
            Verdict::Invalid(anomalies) => {
                assert!(
                    !explained,
                    "seed {seed}: some log explains it:\n{anomalies:#?}\n{}",
                    told(&operations)
                );
                invalid += 1;
            }
            Verdict::Unknown(_) => {
                unknown += 1;
                unexplained += i32::from(!explained);
            }
        }
    }
    println!(
        "{valid} valid, {invalid} invalid, {unknown} unknown, {unexplained} of them without an explanation"
    );
    assert!(valid > 300 && invalid > 800 && unknown > 300, "{valid} {invalid} {unknown}");
    // Undecided histories are so for messages that no poll received, not for anything that could have been
    // seen.
    assert!(unexplained * 20 < unknown, "{unexplained} of {unknown} unknown histories have no explanation");
}
