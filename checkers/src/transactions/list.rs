//! Append-only lists: the order of each list's versions, given by its longest read, and contradictions to it.
//!
//! Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020). A
//! read shows every earlier version of the list, since lists only grow and no element is appended twice.
//! Every other read of a list is therefore a prefix of the longest one, and an append that no read shows
//! comes after all elements that were read.
//!
//! Beyond Elle: an append that took effect and that no read shows is known to come after each append that a
//! read shows, so a read that misses it comes before it. For a promise of serializability the answer is then
//! complete.

use duress_history::Scalar;
use duress_history::txn::{Act, Elements};
use rustc_hash::FxHashMap;

use super::facts::{Facts, Fate, Place};
use super::finding::Finding;
use super::graph::{Dependency, Level, Part};
use crate::verdict::AnomalyKind;
use crate::witness::Op;

/// The append of an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    pub(super) place: Place,
    /// Whether it is its transaction's last append to the list.
    pub(super) is_last: bool,
    aborted: bool,
}

/// The versions of one list.
#[derive(Default)]
pub(super) struct Versions<'a> {
    /// The elements in order, as far as the order is known.
    pub(super) elements: &'a [Scalar],
    /// The append of each of them; `None` for an element that was not appended.
    pub(super) brought: Vec<Option<Appended>>,
    /// Appends that no read shows, of transactions that may have taken effect.
    pub(super) unread: Vec<Appended>,
    /// An element that was appended more than once, so that the order is unknown.
    pub(super) repeated: Option<&'a Scalar>,
}

impl<'a> Versions<'a> {
    /// Returns the versions of `key` and the first findings. Records the transactions of unknown outcome that
    /// took effect.
    pub(super) fn new(facts: &Facts<'a, Elements>, key: u32) -> (Self, Vec<Finding>) {
        let (mut findings, places) = (Vec::new(), facts.of_key(key));
        let mut reads: Vec<(Place, &'a [Scalar])> = Vec::new();
        let mut appends: Vec<(&'a Scalar, Appended)> = Vec::new();
        for place in places {
            match (facts.act(*place), facts.fate(place.op)) {
                (Act::Read(Some(Elements(list))), Fate::Committed) => {
                    let others = of_others(facts, *place, list);
                    if list[others..].iter().any(|own| list[..others].contains(own)) {
                        findings.push(Finding::new(AnomalyKind::DuplicateElements, key, *place));
                    }
                    reads.push((*place, &list[..others]));
                }
                (Act::Read(_), _) => {}
                (Act::Write(element), fate) => {
                    if let Some((_, last)) = appends.last_mut()
                        && last.place.op == place.op
                    {
                        last.is_last = false;
                    }
                    let aborted = fate == Fate::Aborted;
                    appends.push((element, Appended { place: *place, is_last: true, aborted }));
                }
            }
        }
        let mut versions = Self::default();
        // The first of the longest reads.
        let longest = reads.iter().rev().max_by_key(|(_, list)| list.len());
        let Some((longest, elements)) = longest.copied() else {
            versions.unread =
                appends.into_iter().map(|(_, append)| append).filter(|it| !it.aborted).collect();
            return (versions, findings);
        };
        let mut indices: FxHashMap<&Scalar, usize> = FxHashMap::default();
        indices.reserve(elements.len());
        let mut known = elements.len();
        for (at, element) in elements.iter().enumerate() {
            if *indices.entry(element).or_insert(at) != at {
                known = at;
                break;
            }
        }
        for (place, list) in &reads {
            let same = list.iter().zip(elements).take_while(|(one, other)| one == other).count();
            let is_repeating = || {
                let mut seen: FxHashMap<&Scalar, ()> = FxHashMap::default();
                list.iter().any(|element| seen.insert(element, ()).is_some())
            };
            if (same < list.len() || known < list.len()) && is_repeating() {
                findings.push(Finding::new(AnomalyKind::DuplicateElements, key, *place));
            } else if same < list.len() {
                known = known.min(same);
                findings.push(Finding::new(AnomalyKind::IncompatibleOrder, key, *place).and(longest));
            }
        }
        // After the prefix on which all reads agree there is no order, but the elements there still have
        // writers.
        let agreed = known;
        // A transaction's appends keep their order.
        let place_of =
            |element| indices.get(element).copied().filter(|at| *at < agreed).unwrap_or(usize::MAX);
        for pair in appends.windows(2) {
            let [(first, one), (second, other)] = [pair[0], pair[1]];
            if one.place.op == other.place.op && !one.aborted && place_of(first) > place_of(second) {
                let finding = Finding::new(AnomalyKind::IncompatibleOrder, key, longest).and(other.place);
                findings.push(finding.about(first));
            }
        }
        versions.brought = vec![None; elements.len()];
        let mut elsewhere: FxHashMap<&Scalar, Appended> = FxHashMap::default();
        for (element, append) in appends {
            match indices.get(element) {
                Some(at) => match &mut versions.brought[*at] {
                    Some(other) if !other.aborted && !append.aborted => versions.repeated = Some(element),
                    Some(other) if !other.aborted => {}
                    brought => *brought = Some(append),
                },
                None => match elsewhere.get(element) {
                    Some(other) if !other.aborted && !append.aborted => versions.repeated = Some(element),
                    Some(other) if !other.aborted => {}
                    _ => {
                        elsewhere.insert(element, append);
                    }
                },
            }
        }
        let mut read_elsewhere: FxHashMap<&Scalar, ()> = FxHashMap::default();
        let mut last_shown: FxHashMap<(Op, AnomalyKind), ()> = FxHashMap::default();
        for (place, list) in &reads {
            // The agreed prefix is checked once, below.
            for element in list.iter().skip(agreed) {
                let brought = match indices.get(element) {
                    Some(at) => versions.brought[*at],
                    None => elsewhere.get(element).copied(),
                };
                let kind = match brought {
                    Some(append) if append.aborted => AnomalyKind::G1a,
                    Some(append) => {
                        facts.seen(append.place.op);
                        if elsewhere.contains_key(element) {
                            read_elsewhere.insert(element, ());
                        }
                        continue;
                    }
                    None => AnomalyKind::PhantomRead,
                };
                if last_shown.insert((place.op, kind), ()).is_none() {
                    let finding = Finding::new(kind, key, *place).about(element);
                    findings.push(finding.and(brought.map(|append| append.place)));
                }
            }
        }
        // For each element, the first read in the order of the history that is long enough to show it.
        let mut wrong = Vec::new();
        for (at, brought) in versions.brought[..agreed].iter().enumerate() {
            match brought {
                Some(append) if !append.aborted => facts.seen(append.place.op),
                Some(append) => wrong.push((at, AnomalyKind::G1a, Some(append.place))),
                None => wrong.push((at, AnomalyKind::PhantomRead, None)),
            }
        }
        for kind in [AnomalyKind::G1a, AnomalyKind::PhantomRead] {
            let first = wrong.iter().find(|(_, other, _)| *other == kind);
            let Some((at, _, source)) = first.copied() else { continue };
            for (place, _) in reads.iter().filter(|(_, list)| list.len() > at) {
                let finding = Finding::new(kind, key, *place).about(&elements[at]);
                findings.push(finding.and(source));
            }
            let after = versions.brought[at..agreed].iter().flatten().find(|append| !append.aborted);
            if let (Some(source), Some(after)) = (source, after) {
                let update = Finding::new(AnomalyKind::DirtyUpdate, key, after.place);
                findings.push(update.about(&elements[at]).and(source).and(longest));
            }
        }
        if versions.repeated.is_some() {
            let rests_on_order = [AnomalyKind::DuplicateElements, AnomalyKind::IncompatibleOrder];
            findings.retain(|finding| !rests_on_order.contains(&finding.kind));
        }
        if agreed == elements.len() {
            versions.unread = elsewhere
                .into_iter()
                .filter(|(element, append)| !append.aborted && !read_elsewhere.contains_key(element))
                .map(|(_, append)| append)
                .collect();
            versions.unread.sort_unstable_by_key(|append| (append.place.op, append.place.micro));
        }
        versions.elements = &elements[..agreed];
        versions.brought.truncate(agreed);
        (versions, findings)
    }

    /// Returns the last append before position `at` whose transaction took effect, with its position.
    pub(super) fn before(&self, at: usize) -> Option<(usize, Appended)> {
        let brought = self.brought[..at].iter().enumerate().rev();
        brought.filter_map(|(at, append)| Some((at, (*append)?))).find(|(_, append)| !append.aborted)
    }

    /// Returns the first append from position `at` on whose transaction took effect, with its position.
    fn after(&self, at: usize) -> Option<(usize, Appended)> {
        let brought = self.brought.iter().enumerate().skip(at);
        brought.filter_map(|(at, append)| Some((at, (*append)?))).find(|(_, append)| !append.aborted)
    }

    /// Returns the dependencies through `key`, and the findings between two transactions.
    pub(super) fn depend(&self, facts: &Facts<'a, Elements>, key: u32) -> (Part, Vec<Finding>) {
        let (mut part, mut findings) = (Part::default(), Vec::new());
        if self.repeated.is_some() {
            return (part, findings);
        }
        let taking = self.brought.iter().flatten().filter(|append| !append.aborted);
        let mut last: Option<Op> = None;
        for append in taking {
            if let Some(last) = last {
                part.edge(last, append.place.op, key, Dependency::WriteWrite, Level::Data);
            }
            last = Some(append.place.op);
        }
        let mut unread: Vec<Op> =
            self.unread.iter().map(|it| it.place.op).filter(|op| facts.takes_part(*op)).collect();
        unread.dedup();
        // Reads of the whole list come before all later appends.
        let mut of_all: Vec<(Op, Dependency)> =
            last.map(|op| (op, Dependency::WriteWrite)).into_iter().collect();
        // The first read of each transaction that appends to the list afterwards.
        let mut updates: Vec<(usize, Place)> = Vec::new();
        let places = facts.of_key(key);
        for (at, place) in places.iter().enumerate() {
            let Act::Read(Some(Elements(list))) = facts.act(*place) else { continue };
            let seen = of_others(facts, *place, list);
            if facts.fate(place.op) != Fate::Committed || seen > self.elements.len() {
                continue;
            }
            let is_write = |other: &&Place| matches!(facts.act(**other), Act::Write(_));
            let later = places[at..].iter().take_while(|other| other.op == place.op).filter(is_write).count();
            if later > 0 {
                let own =
                    |append: &&Appended| append.place.op == place.op && append.place.micro > place.micro;
                if let Some(append) = self.brought[..seen].iter().flatten().find(own) {
                    findings.push(Finding::new(AnomalyKind::FutureRead, key, *place).and(append.place));
                    continue;
                }
            }
            if let Some((_, append)) = self.before(seen) {
                part.edge(append.place.op, place.op, key, Dependency::WriteRead, Level::Data);
            }
            if let Some(append) = seen.checked_sub(1).and_then(|at| self.brought[at])
                && !append.is_last
                && !append.aborted
            {
                let element = &self.elements[seen - 1];
                findings.push(Finding::new(AnomalyKind::G1b, key, *place).and(append.place).about(element));
            }
            match self.after(seen) {
                Some((_, append)) => {
                    part.edge(place.op, append.place.op, key, Dependency::ReadWrite, Level::Data);
                }
                None => {
                    of_all.push((place.op, Dependency::ReadWrite));
                    // Its append is the next one, or an update was lost.
                    of_all.extend(unread.contains(&place.op).then_some((place.op, Dependency::Inferred)));
                }
            }
            let earlier = places[..at].iter().rev().take_while(|other| other.op == place.op);
            if later > 0 && earlier.filter(is_write).count() == 0 {
                updates.push((seen, *place));
            }
        }
        of_all.dedup();
        part.fan(&of_all, &unread, key, Level::Data, |op| facts.position(op));
        updates.sort_unstable_by_key(|(seen, place)| (*seen, place.op, place.micro));
        updates.dedup_by_key(|(seen, place)| (*seen, place.op));
        for pair in updates.windows(2) {
            if pair[0].0 == pair[1].0 {
                findings.push(Finding::new(AnomalyKind::LostUpdate, key, pair[1].1).and(pair[0].1));
            }
        }
        (part, findings)
    }
}

impl Versions<'_> {
    /// Returns the dependencies between appends that no read shows, if they are in the order of `places` of
    /// their transactions.
    pub(super) fn ordered(&self, facts: &Facts<'_, Elements>, key: u32, places: &[u32]) -> Part {
        let mut part = Part::default();
        let unread = self.unread.iter().map(|append| append.place.op);
        let mut unread: Vec<Op> = unread.filter(|op| facts.takes_part(*op)).collect();
        unread.sort_by_key(|op| places[*op as usize]);
        for pair in unread.windows(2) {
            part.edge(pair[0], pair[1], key, Dependency::WriteWrite, Level::Data);
        }
        part
    }
}

/// Returns how many elements of `list`, read at `place`, other transactions left. At the end of the list a
/// transaction sees its own earlier appends, which does not show the order in which others see them.
pub(super) fn of_others(facts: &Facts<'_, Elements>, place: Place, list: &[Scalar]) -> usize {
    let (before, read) = facts.micros(place.op).split_at(place.micro as usize);
    let own: Vec<&Scalar> = before
        .iter()
        .filter(|micro| micro.key == read[0].key)
        .filter_map(|micro| match &micro.act {
            Act::Write(element) => Some(element),
            Act::Read(_) => None,
        })
        .collect();
    let ends = |count: &usize| {
        list.len() >= *count && list[list.len() - count..].iter().eq(own[..*count].iter().copied())
    };
    list.len() - (0..=own.len()).rev().find(ends).unwrap_or(0)
}

/// Returns the place of the first read of transaction `op` that contradicts what the transaction read or
/// appended before, and the last place that it contradicts.
pub(super) fn internal(facts: &Facts<'_, Elements>, op: Op) -> Option<(Place, Place)> {
    let micros = facts.micros(op);
    for (at, micro) in micros.iter().enumerate() {
        let Act::Read(Some(Elements(list))) = &micro.act else { continue };
        let mut rest = &**list;
        let mut latest = None;
        for (before, earlier) in micros[..at].iter().enumerate().rev() {
            if earlier.key != micro.key {
                continue;
            }
            let place = |micro: usize| Place { op, micro: micro as u32 };
            latest = latest.or(Some(before));
            let wrong = (place(at), place(latest.unwrap_or(before)));
            match &earlier.act {
                Act::Write(element) => match rest.split_last() {
                    Some((last, others)) if last == element => rest = others,
                    _ => return Some(wrong),
                },
                Act::Read(Some(Elements(earlier))) => {
                    if **earlier != *rest {
                        return Some(wrong);
                    }
                    break;
                }
                Act::Read(None) => break,
            }
        }
    }
    None
}
