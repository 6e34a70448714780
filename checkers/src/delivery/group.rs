//! Delivery to a consumer group: undelivered and redelivered messages.
//!
//! A group has consumed everything below its committed offset: it will not receive that again.
//!
//! *Undelivered*: a message that is in the log lies below a committed offset, and no member ever received it.
//! A poll of unknown outcome is not an excuse: the application did not receive its messages, and committing
//! them was wrong. If acknowledgements have no offsets, a message is undelivered when the committed offset
//! reached a mark that came after the acknowledgement; see [`marks`](super::marks).
//!
//! *Redelivered*: two polls of members received the message of one offset.
//!
//! A group begins at the beginning of every partition. If a consumer outside the group commits for it, or a
//! member moves with `seek`, the commits no longer show that a message was consumed; a message that no member
//! received is then unseen.

use duress_history::Scalar;
use duress_history::log::{Log, Offset};
use duress_history::pairs::Completion;

use super::describe::in_partition;
use super::facts::{Facts, Op, Partition, Record, Sent};
use super::lost::Losses;
use super::marks::{self, Mark};
use super::members::Members;
use super::promise::LogOptions;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, ObjectKind, Role};
use crate::witness::say;

/// The messages of one partition that the group received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Consumed {
    /// Messages, each once.
    pub(super) messages: u64,
    /// Those of them that were never acknowledged.
    pub(super) unacknowledged: u64,
    /// How many times.
    pub(super) deliveries: u64,
    /// Acknowledged messages that it was not given, and that are neither lost nor undelivered.
    pub(super) unseen: u64,
}

/// Finds messages that the group did not receive, or received twice. Time O(n log n).
pub(super) fn deliveries(
    facts: &Facts<'_>,
    members: &Members,
    losses: &[Losses],
    options: &LogOptions,
    findings: &mut Findings,
) -> Vec<Consumed> {
    let commits = commits(facts, members);
    let mut consumed = Vec::with_capacity(facts.partitions.len());
    for (at, (partition, losses)) in facts.partitions.iter().zip(losses).enumerate() {
        let mut so_far = Consumed::default();
        if partition.repeated.is_none() {
            let mut delivered = vec![false; partition.sends.len()];
            redelivered(facts, members, partition, &mut delivered, &mut so_far, findings);
            let commit = commits[at];
            let mark = commit.and_then(|(_, below)| marks::latest(partition, below, options.acknowledged));
            let group = Group { facts, partition, commit, mark };
            group.undelivered(&delivered, losses, &mut so_far, findings);
        }
        consumed.push(so_far);
    }
    consumed
}

fn redelivered(
    facts: &Facts<'_>,
    members: &Members,
    partition: &Partition<'_>,
    delivered: &mut [bool],
    consumed: &mut Consumed,
    findings: &mut Findings,
) {
    let mut last: Option<&Record<'_>> = None;
    let mut reported: Option<(u64, &Scalar)> = None;
    for record in partition.records.iter().filter(|record| members.is_member(record.op)) {
        consumed.deliveries += 1;
        let sent = record.send.map(|send| (send, &partition.sends[send as usize]));
        if let Some((send, sent)) = sent
            && !std::mem::replace(&mut delivered[send as usize], true)
        {
            consumed.messages += 1;
            consumed.unacknowledged += u64::from(!sent.is_acknowledged());
        }
        let before = last.replace(record);
        let again = before.filter(|before| {
            before.offset == record.offset && before.value == record.value && before.op != record.op
        });
        let Some(before) = again else { continue };
        if reported == Some((record.offset, record.value)) {
            continue;
        }
        reported = Some((record.offset, record.value));
        findings.add(AnomalyKind::Redelivered, || {
            let (key, value, offset) = (partition.key, record.value, record.offset);
            let joined = [before.op, record.op].into_iter().filter_map(|op| members.joined(op));
            let roles = [(before.op, Role::Evidence), (record.op, Role::Read)];
            let roles = roles.into_iter().chain(joined.map(|op| (op, Role::Position)));
            let witness = in_partition(facts.operations, key, roles, [offset]);
            let by = |op: Op| {
                let member = members.joined(op).map_or_else(String::new, |joined| {
                    format!(", whose process is a member of the group by {}", witness.named(joined))
                });
                let about: Vec<Op> = [op].into_iter().chain(members.joined(op)).collect();
                say(format!("{} received {value} at offset {offset}{member}.", witness.named(op)), &about)
            };
            let steps = vec![by(before.op), by(record.op)];
            let summary = format!("the group received {value} at offset {offset} of {key} more than once");
            witness
                .anomaly(AnomalyKind::Redelivered, record.op, summary, steps)
                .about(ObjectKind::Message, value)
        });
    }
}

/// The highest offset that the group is known to have committed, and the operation that shows it.
type Commits = Option<(Op, u64)>;

/// Commits by partition; `None` also if they prove nothing.
fn commits(facts: &Facts<'_>, members: &Members) -> Vec<Commits> {
    let mut commits: Vec<Commits> = vec![None; facts.partitions.len()];
    let mut void = vec![false; facts.partitions.len()];
    for (op, operation) in facts.operations.iter().enumerate() {
        let op = op as Op;
        let failed = matches!(operation.completion, Completion::Fail { .. });
        match &operation.action {
            Log::Commit(_) if !failed && !members.is_member(op) => void.fill(true),
            Log::Seek(offsets) if !failed && members.is_member(op) => {
                offsets.keys().filter_map(|key| facts.partition(key)).for_each(|at| void[at as usize] = true);
            }
            _ => {}
        }
        let Completion::Ok { answer: Log::Commit(Some(offsets)) | Log::Committed(Some(offsets)), .. } =
            &operation.completion
        else {
            continue;
        };
        for (key, Offset(offset)) in offsets {
            let Some(at) = facts.partition(key) else { continue };
            let highest = &mut commits[at as usize];
            if highest.is_none_or(|(_, before)| *offset > before) {
                *highest = Some((op, *offset));
            }
        }
    }
    commits.into_iter().zip(void).map(|(commit, void)| commit.filter(|_| !void)).collect()
}

struct Group<'a, 'b> {
    facts: &'a Facts<'b>,
    partition: &'a Partition<'b>,
    commit: Commits,
    /// The latest mark that the group has consumed.
    mark: Option<Mark>,
}

impl<'b> Group<'_, 'b> {
    fn undelivered(
        &self,
        delivered: &[bool],
        losses: &Losses,
        consumed: &mut Consumed,
        findings: &mut Findings,
    ) {
        for (id, sent) in self.partition.sends.iter().enumerate() {
            let is_there = sent.is_acknowledged() || sent.seen.is_some();
            if delivered[id] || losses.lost[id] || !is_there {
                continue;
            }
            match self.passed(sent) {
                Some((commit, mark)) => {
                    findings.add(AnomalyKind::Undelivered, || self.explain(sent, commit, mark));
                }
                None => consumed.unseen += u64::from(sent.is_acknowledged()),
            }
        }
    }

    /// Returns the operation that shows that the group is done with a message; and the mark that shows it,
    /// where no offset does.
    fn passed(&self, sent: &Sent<'b>) -> Option<(Op, Option<Mark>)> {
        let (commit, committed) = self.commit?;
        match sent.offset() {
            Some(offset) if offset < committed => Some((commit, None)),
            Some(_) if sent.seen.is_some() => None,
            // Without an offset, or with one that the end went back behind.
            _ => {
                let mark = self.mark.filter(|mark| self.facts.precedes(sent.op, mark.op))?;
                Some((commit, Some(mark)))
            }
        }
    }

    fn explain(&self, sent: &Sent<'b>, commit: Op, mark: Option<Mark>) -> crate::verdict::Anomaly {
        let (facts, key, value) = (self.facts, self.partition.key, sent.value);
        let own = |record: &&Record<'_>| std::ptr::eq(record.value, sent.value) || record.value == sent.value;
        let reader = match (sent.is_acknowledged(), sent.seen) {
            (false, Some(seen)) => self.partition.at(seen.low).iter().find(own).map(|record| record.op),
            _ => None,
        };
        let shows = reader.unwrap_or(sent.op);
        let by = mark.and_then(|mark| marks::shown_by(facts, self.partition, &mark));
        let roles = [(sent.op, Role::Write), (shows, Role::Evidence), (commit, Role::Commit)];
        let marks = mark.map(|mark| (mark.op, Role::Mark)).into_iter();
        let roles = roles.into_iter().chain(marks).chain(by.map(|op| (op, Role::Evidence)));
        let offsets = sent.offset().into_iter().chain(mark.map(|mark| mark.below.wrapping_sub(1)));
        let witness = in_partition(facts.operations, key, roles, offsets);
        let place = sent.offset().map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let mut steps =
            vec![say(format!("By {}, {value} is in {key}{place}.", witness.named(shows)), &[shows])];
        if let Some(mark) = &mark {
            steps.push(witness.before(sent.op, mark.op).and(&marks::describe(mark)));
        }
        let committed = self.commit.map_or(0, |(_, committed)| committed);
        steps.push(say(
            format!(
                "By {}, the group has consumed everything below offset {committed}.",
                witness.named(commit)
            ),
            &[commit],
        ));
        steps.push(say(format!("No member of the group ever received {value}."), &[]));
        let summary =
            format!("the group committed offset {committed} of {key} and never received {value}{place}");
        witness.anomaly(AnomalyKind::Undelivered, commit, summary, steps).about(ObjectKind::Message, value)
    }
}
