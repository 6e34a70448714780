//! Registers: the known order of each register's versions, and contradictions to it.
//!
//! Each value is written once, so a read shows from which transaction it read. The order of versions is known
//! only in part:
//! - the initial value of a register comes before everything;
//! - a transaction that read a version and then wrote, wrote the next one, or an update was lost;
//! - if two transactions are in an order, of one process or of real time, the versions that they touch are in the
//!   same order. Otherwise the second transaction would have read, or written over, a version that had been
//!   overwritten before it began.
//!
//! The last rule finds stale reads. Each version has a *zone*: it was there when the first transaction that
//! touched it ended, and it was still there or still to come when the last one began. A version is before
//! another if it was there before the other's zone ended: Gibbons and Korach, "Testing Shared Memories" (SIAM
//! J. Comput. 1997). Each version is linked to those directly before it, as many as there are overlapping
//! transactions.

use duress_history::txn::{Act, Held};
use duress_history::{Assumed, Initial, NilReads, Scalar};
use rustc_hash::{FxHashMap, FxHashSet};

use super::facts::{Facts, Fate, Place};
use super::finding::Finding;
use super::graph::{Dependency, Level, Part};
use crate::verdict::AnomalyKind;
use crate::witness::Op;

/// The number of directly preceding versions examined. More exist only if hundreds of transactions overlap.
const OVERLAP_MAX: usize = 256;

/// The initial version of a register.
pub(super) const INITIAL: usize = 0;

/// A version of a register: the value that a transaction left at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Version {
    /// The write; `None` for the initial version.
    pub(super) writer: Option<Place>,
    /// The other transactions that were acknowledged and read it, each once, in the order of the history.
    pub(super) readers: Vec<Op>,
}

/// The versions of one register.
#[derive(Default)]
pub(super) struct Versions<'a> {
    /// The first is the initial one.
    pub(super) versions: Vec<Version>,
    /// A value that was written more than once, so that the versions are unknown.
    pub(super) repeated: Option<&'a Scalar>,
    /// The reads of other transactions' writes, each with the write, which may be an intermediate one.
    reads: Vec<(Place, Place)>,
    /// The versions that each transaction found and left.
    pub(super) touches: Vec<Touch>,
}

/// The effect of one transaction on a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) op: Op,
    /// The version that it read before it wrote.
    pub(super) found: Option<usize>,
    /// The version that it left.
    pub(super) left: Option<usize>,
}

impl<'a> Versions<'a> {
    /// Returns the versions of `key` and the first findings. Records the transactions of unknown outcome that
    /// took effect.
    pub(super) fn new(facts: &Facts<'a, Held>, key: u32, assumed: &Assumed) -> (Self, Vec<Finding>) {
        let (mut findings, places) = (Vec::new(), facts.of_key(key));
        let mut this = Self { versions: vec![Version::default()], ..Self::default() };
        // By value: the write, whether it is its transaction's last one, and whether the transaction failed.
        let mut writes: FxHashMap<&'a Scalar, (Place, bool, bool)> = FxHashMap::default();
        writes.reserve(places.len());
        for (at, place) in places.iter().enumerate() {
            let Act::Write(value) = facts.act(*place) else { continue };
            let own = places[at + 1..].iter().take_while(|other| other.op == place.op);
            let is_left = !own.into_iter().any(|other| matches!(facts.act(*other), Act::Write(_)));
            let aborted = facts.fate(place.op) == Fate::Aborted;
            match writes.get(value) {
                Some((.., false)) if !aborted => this.repeated = Some(value),
                Some((.., false)) => {}
                _ => {
                    writes.insert(value, (*place, is_left, aborted));
                }
            }
        }
        let mut initial = match &assumed.initial {
            Initial::Known(value) => Some(value.as_ref()),
            Initial::Any => None,
        };
        if let Some(Some(value)) = initial
            && let Some((value, (.., false))) = writes.get_key_value(value)
        {
            this.repeated = Some(value);
        }
        if this.repeated.is_some() {
            return (this, findings);
        }
        let mut numbers: FxHashMap<(Op, u32), usize> = FxHashMap::default();
        for (at, place) in places.iter().enumerate() {
            if !matches!(facts.act(*place), Act::Write(_)) || facts.fate(place.op) == Fate::Aborted {
                continue;
            }
            let later = places[at + 1..].iter().take_while(|other| other.op == place.op);
            if !later.into_iter().any(|other| matches!(facts.act(*other), Act::Write(_))) {
                numbers.insert((place.op, place.micro), this.versions.len());
                this.versions.push(Version { writer: Some(*place), readers: Vec::new() });
            }
        }
        take_part(facts, places, &writes);
        let mut at = 0;
        while at < places.len() {
            let op = places[at].op;
            let own = places[at..].iter().take_while(|place| place.op == op).count();
            let mut touch = Touch { op, found: None, left: None };
            let mut wrote = false;
            for place in &places[at..at + own] {
                let held = match facts.act(*place) {
                    Act::Write(_) => {
                        wrote = true;
                        touch.left = numbers.get(&(op, place.micro)).copied().or(touch.left);
                        continue;
                    }
                    Act::Read(Some(Held(held))) if facts.takes_part(op) => held.as_ref(),
                    Act::Read(_) => continue,
                };
                if held.is_none() && assumed.nil_reads == NilReads::Unknown {
                    continue;
                }
                match held.and_then(|value| writes.get(value)) {
                    Some((writer, ..)) if writer.op == op && writer.micro > place.micro => {
                        findings.push(Finding::new(AnomalyKind::FutureRead, key, *place).and(*writer));
                    }
                    Some((writer, ..)) if writer.op == op => {}
                    // A failed write may have been of the initial value.
                    Some((writer, _, true)) if *initial.get_or_insert(held) != held => {
                        let finding = Finding::new(AnomalyKind::G1a, key, *place).and(*writer);
                        findings.push(finding.about(held.expect("what was written is not nil")));
                    }
                    Some((writer, is_left, false)) => {
                        let value = held.expect("what was written is not nil");
                        this.reads.push((*place, *writer));
                        if !is_left {
                            let finding = Finding::new(AnomalyKind::G1b, key, *place).and(*writer);
                            findings.push(finding.about(value));
                            continue;
                        }
                        this.read(numbers[&(writer.op, writer.micro)], op, wrote, &mut touch);
                    }
                    // If the initial value is unknown, the first such read determines it.
                    _ if *initial.get_or_insert(held) == held => this.read(INITIAL, op, wrote, &mut touch),
                    _ => {
                        let finding = Finding::new(AnomalyKind::PhantomRead, key, *place);
                        findings.push(match held {
                            Some(value) => finding.about(value),
                            None => finding,
                        });
                    }
                }
            }
            this.touches.push(touch);
            at += own;
        }
        (this, findings)
    }

    /// Records that `op` read `version`, before or after a write of its own.
    fn read(&mut self, version: usize, op: Op, wrote: bool, touch: &mut Touch) {
        if wrote {
            return;
        }
        touch.found = touch.found.or(Some(version));
        let readers = &mut self.versions[version].readers;
        if readers.last() != Some(&op) {
            readers.push(op);
        }
    }

    /// Returns the reads of other transactions' writes.
    pub(super) fn reads(&self) -> &[(Place, Place)] {
        &self.reads
    }

    /// Returns the reads that were answered before what they read began to be written.
    pub(super) fn future_reads(&self, facts: &Facts<'a, Held>, key: u32) -> Vec<Finding> {
        let is_future = |(read, write): &&(Place, Place)| {
            facts.end(read.op).is_some_and(|end| end < facts.operations[write.op as usize].index)
        };
        let finding =
            |(read, write): &(Place, Place)| Finding::new(AnomalyKind::FutureRead, key, *read).and(*write);
        self.reads.iter().filter(is_future).map(finding).collect()
    }

    fn writer(&self, version: usize) -> Option<Op> {
        self.versions[version].writer.map(|place| place.op)
    }

    /// Returns the dependencies through `key`, and the findings between two transactions.
    pub(super) fn depend(&self, facts: &Facts<'a, Held>, key: u32) -> (Part, Vec<Finding>) {
        let (mut part, mut findings) = (Part::default(), Vec::new());
        if self.repeated.is_some() {
            return (part, findings);
        }
        let updates: FxHashSet<Op> = self
            .touches
            .iter()
            .filter(|it| it.found.is_some() && it.left.is_some())
            .map(|it| it.op)
            .collect();
        for (read, write) in &self.reads {
            part.edge(write.op, read.op, key, Dependency::WriteRead, Level::Data);
        }
        // The direct successors of each version: by transactions that read it before they wrote.
        let mut next: Vec<Vec<Op>> = vec![Vec::new(); self.versions.len()];
        let mut has_parent = vec![false; self.versions.len()];
        for Touch { op, found, left } in &self.touches {
            if let (Some(found), Some(left)) = (found, left)
                && facts.takes_part(*op)
            {
                next[*found].push(*op);
                has_parent[*left] = *found != INITIAL;
                if let [.., other, _] = next[*found][..] {
                    let place =
                        |op: Op| *facts.of_key(key).iter().find(|place| place.op == op).expect("it is one");
                    findings.push(Finding::new(AnomalyKind::LostUpdate, key, place(*op)).and(place(other)));
                }
            }
        }
        findings.extend(self.cyclic(facts, key));
        // Versions without a known predecessor come after the initial one; the rest follows.
        next[INITIAL] = (1..self.versions.len())
            .filter(|version| !has_parent[*version])
            .filter_map(|version| self.writer(version))
            .filter(|op| facts.takes_part(*op))
            .collect();
        for (version, next) in next.iter().enumerate().filter(|(_, next)| !next.is_empty()) {
            part.fan(&self.sources(version, &updates), next, key, Level::Data, |op| facts.position(op));
        }
        for (pairs, level) in
            [(self.of_processes(facts), Level::Process), (self.of_time(facts), Level::RealTime)]
        {
            for pairs in pairs.chunk_by(|one, other| one.0 == other.0) {
                let mut sources = self.sources(pairs[0].0, &updates);
                sources.extend(self.writer(pairs[0].0).map(|op| (op, Dependency::Inferred)));
                let next: Vec<Op> = pairs.iter().filter_map(|(_, second)| self.writer(*second)).collect();
                part.fan(&sources, &next, key, level, |op| facts.position(op));
            }
        }
        (part, findings)
    }

    /// Returns the cycles of versions in which transactions read each version before they left the next, with
    /// the places of these reads.
    fn cyclic(&self, facts: &Facts<'a, Held>, key: u32) -> Vec<Finding> {
        // The transaction that left each version, and the version that it had found.
        let mut before: Vec<Option<(Op, usize)>> = vec![None; self.versions.len()];
        for Touch { op, found, left } in self.touches.iter().filter(|touch| facts.takes_part(touch.op)) {
            if let (Some(found), Some(left)) = (found, left) {
                before[*left] = Some((*op, *found));
            }
        }
        // The backward walk that met each version.
        let mut met = vec![usize::MAX; self.versions.len()];
        let mut findings = Vec::new();
        for first in 0..self.versions.len() {
            let mut at = first;
            while met[at] == usize::MAX
                && let Some((_, found)) = before[at]
            {
                met[at] = first;
                at = found;
            }
            if met[at] != first || before[at].is_none() {
                continue;
            }
            let (mut cycle, begin) = (Vec::new(), at);
            while let Some((op, found)) = before[at] {
                let is_read = |place: &&Place| place.op == op && matches!(facts.act(**place), Act::Read(_));
                cycle.extend(facts.of_key(key).iter().find(is_read));
                at = found;
                if at == begin {
                    break;
                }
            }
            cycle.reverse();
            findings.extend(cycle.first().map(|place| {
                let finding = Finding::new(AnomalyKind::CyclicVersions, key, *place);
                cycle[1..].iter().fold(finding, |finding, place| finding.and(*place))
            }));
        }
        findings
    }

    /// Returns the dependencies through `key` if versions are written in the order of `places` of their
    /// transactions.
    pub(super) fn ordered(&self, facts: &Facts<'a, Held>, key: u32, places: &[u32]) -> Part {
        let mut part = Part::default();
        for (read, write) in &self.reads {
            part.edge(write.op, read.op, key, Dependency::WriteRead, Level::Data);
        }
        let takes_part = |version: &usize| self.writer(*version).is_some_and(|op| facts.takes_part(op));
        let mut order: Vec<usize> = (1..self.versions.len()).filter(takes_part).collect();
        order.sort_by_key(|version| self.writer(*version).map(|op| places[op as usize]));
        order.insert(0, INITIAL);
        for pair in order.windows(2) {
            let Some(next) = self.writer(pair[1]) else { continue };
            if let Some(writer) = self.writer(pair[0]) {
                part.edge(writer, next, key, Dependency::WriteWrite, Level::Data);
            }
            for reader in &self.versions[pair[0]].readers {
                part.edge(*reader, next, key, Dependency::ReadWrite, Level::Data);
            }
        }
        part
    }

    /// Returns the pairs of versions that one process touched in this order.
    pub(super) fn of_processes(&self, facts: &Facts<'a, Held>) -> Vec<(usize, usize)> {
        let (mut pairs, mut last): (Vec<_>, FxHashMap<u64, usize>) = (Vec::new(), FxHashMap::default());
        for Touch { op, found, left } in &self.touches {
            let (Some(first), true) = (found.or(*left), facts.takes_part(*op)) else { continue };
            let process = facts.operations[*op as usize].process.0;
            if let Some(before) = last.insert(process, left.unwrap_or(first))
                && before != first
                && before != INITIAL
                && first != INITIAL
            {
                pairs.push((before, first));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Returns the pairs of versions whose first comes before the second by their zones, without one in
    /// between.
    pub(super) fn of_time(&self, facts: &Facts<'a, Held>) -> Vec<(usize, usize)> {
        // The time at which each version was there, and the last at which it was still there or still to
        // come.
        let mut there: Vec<u64> = vec![u64::MAX; self.versions.len()];
        let mut still: Vec<u64> = vec![0; self.versions.len()];
        for Touch { op, found, left } in &self.touches {
            if !facts.takes_part(*op) {
                continue;
            }
            for version in [*found, *left].into_iter().flatten().filter(|version| *version != INITIAL) {
                there[version] = there[version].min(facts.end(*op).unwrap_or(u64::MAX));
                still[version] = still[version].max(facts.operations[*op as usize].index);
            }
        }
        let takes_part = |version: &usize| self.writer(*version).is_some_and(|op| facts.takes_part(op));
        let versions: Vec<usize> = (1..self.versions.len()).filter(takes_part).collect();
        let mut by_there = versions.clone();
        by_there.sort_unstable_by_key(|version| there[*version]);
        // For each prefix of the versions by `there`, the two with the latest `still`.
        let mut latest: Vec<[usize; 2]> = Vec::with_capacity(by_there.len() + 1);
        let mut two = [INITIAL; 2];
        latest.push(two);
        for version in &by_there {
            if still[*version] > still[two[0]] || two[0] == INITIAL {
                two = [*version, two[0]];
            } else if still[*version] > still[two[1]] || two[1] == INITIAL {
                two[1] = *version;
            }
            latest.push(two);
        }
        let mut pairs = Vec::new();
        for version in versions {
            let before = by_there.partition_point(|other| there[*other] < still[version]);
            let [one, other] = latest[before];
            let last = if one == version { other } else { one };
            if last == INITIAL {
                continue;
            }
            pairs.push((last, version));
            if there[version] < still[last] {
                pairs.push((version, last));
            }
            let from = by_there[..before].partition_point(|other| there[*other] < still[last]);
            let directly = by_there[from..before].iter().rev().take(OVERLAP_MAX);
            pairs.extend(directly.filter(|other| ![version, last].contains(other)).map(|it| (*it, version)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Returns the transactions that come before every version after `version`: those that read it. If a
    /// transaction among `updates` wrote the next version, its write comes before the others too, or an
    /// update was lost.
    fn sources(&self, version: usize, updates: &FxHashSet<Op>) -> Vec<(Op, Dependency)> {
        let readers = self.versions[version].readers.iter();
        let updating =
            readers.clone().filter(|op| updates.contains(op)).map(|op| (*op, Dependency::Inferred));
        readers.map(|op| (*op, Dependency::ReadWrite)).chain(updating).collect()
    }
}

/// Records the transactions of unknown outcome whose writes were read: they took effect.
///
/// A compare-and-set among them had read what it was to replace: its request has the answer that other reads lack.
fn take_part(facts: &Facts<'_, Held>, places: &[Place], writes: &FxHashMap<&Scalar, (Place, bool, bool)>) {
    let mut reads: Vec<Place> =
        places.iter().filter(|place| facts.fate(place.op) == Fate::Committed).copied().collect();
    while let Some(read) = reads.pop() {
        if let Act::Read(Some(Held(Some(value)))) = facts.act(read)
            && let Some((writer, _, false)) = writes.get(value)
            && !facts.takes_part(writer.op)
        {
            facts.seen(writer.op);
            let first = places.partition_point(|place| place.op < writer.op);
            reads.extend(places[first..].iter().take_while(|place| place.op == writer.op));
        }
    }
}

/// Returns the place of the first read of transaction `op` that contradicts what the transaction read or
/// wrote before, and the place that it contradicts.
pub(super) fn internal(facts: &Facts<'_, Held>, op: Op, nil_reads: NilReads) -> Option<(Place, Place)> {
    let micros = facts.micros(op);
    let answer = |act: &Act<Held>| match act {
        Act::Read(Some(Held(held))) if held.is_some() || nil_reads == NilReads::Observed => {
            Some(held.clone())
        }
        Act::Read(_) => None,
        Act::Write(value) => Some(Some(value.clone())),
    };
    for (at, micro) in micros.iter().enumerate() {
        if matches!(micro.act, Act::Write(_)) {
            continue;
        }
        let Some(held) = answer(&micro.act) else { continue };
        let mut earlier = micros[..at].iter().enumerate().rev();
        let known = earlier.find_map(|(before, earlier)| {
            (earlier.key == micro.key).then(|| answer(&earlier.act).map(|held| (before, held))).flatten()
        });
        if let Some((before, known)) = known
            && known != held
        {
            let place = |micro: usize| Place { op, micro: micro as u32 };
            return Some((place(at), place(before)));
        }
    }
    None
}
