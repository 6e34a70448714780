//! The reasons why one transaction comes before another, in sentences, for lists and for registers.

use duress_history::txn::{Act, Elements, Held};

use super::cycle::Step;
use super::explain::{Reasons, list, relation};
use super::facts::Facts;
use super::graph::{Dependency, Level};
use super::list as lists;
use super::register::{self, INITIAL};
use crate::witness::{Op, Statement, Witness, say};

impl Reasons<Elements> for Vec<lists::Versions<'_>> {
    fn evidence(&self, facts: &Facts<'_, Elements>, step: &Step) -> Vec<Op> {
        // Any read of two elements shows their order; use the shortest.
        let Dependency::WriteWrite = step.dependency else { return Vec::new() };
        let versions = &self[step.key as usize];
        let Some((_, end)) = versions.between(step.from, step.to) else { return Vec::new() };
        let reads = facts.of_key(step.key).iter().filter_map(|place| match facts.act(*place) {
            Act::Read(Some(Elements(list))) if facts.takes_part(place.op) => {
                let seen = lists::of_others(facts, *place, list);
                (seen > end).then_some((seen, place.op))
            }
            _ => None,
        });
        reads.min().map(|(_, op)| op).into_iter().collect()
    }

    fn because(&self, facts: &Facts<'_, Elements>, step: &Step, witness: &Witness) -> Statement {
        let versions = &self[step.key as usize];
        let key = facts.keys[step.key as usize];
        let (from, to) = (witness.named(step.from), witness.named(step.to));
        let own = |op: Op| {
            let unread = versions.unread.iter().find(|append| append.place.op == op);
            unread.map_or("what it appended", |_| "what it appended, which no read shows").to_owned()
        };
        let element = |at: usize| versions.elements[at].to_string();
        let sentence = match step.dependency {
            Dependency::WriteRead => {
                let last = versions.last_seen(facts, step.key, step.from, step.to);
                let seen = last.map_or_else(|| "what it appended".to_owned(), element);
                format!("{to} saw {seen} in {key}, which {from} appended.")
            }
            Dependency::Inferred => format!(
                "{from} saw all of {key} that any read shows, and so did not see what {to} appended. {NEXT}"
            ),
            Dependency::ReadWrite => match versions.missed(facts, step.key, step.from, step.to) {
                Some((seen, Some(at))) => format!(
                    "{from} saw {} in {key} without {}, which {to} appended after that.",
                    list(&versions.elements[..seen]),
                    element(at)
                ),
                Some((seen, None)) => format!(
                    "{from} saw {} in {key}, without {}.",
                    list(&versions.elements[..seen]),
                    format_args!("that of {to}: {}", own(step.to))
                ),
                None => format!("{from} did not see in {key} what {to} appended."),
            },
            _ => match versions.between(step.from, step.to) {
                Some((one, other)) => format!(
                    "{to} appended {} to {key}, which comes after {}, which {from} appended.",
                    element(other),
                    element(one)
                ),
                None => format!(
                    "{to} appended to {key} what no read shows, so it comes after all that reads show, the last of it by {from}."
                ),
            },
        };
        say(sentence, &[step.from, step.to]).relates(relation(step), step.from, step.to)
    }
}

impl lists::Versions<'_> {
    /// Returns the positions of an element that `from` appended and of the next element that `to` appended.
    fn between(&self, from: Op, to: Op) -> Option<(usize, usize)> {
        let of = |op: Op| {
            move |(at, append): (usize, &Option<lists::Appended>)| {
                append.filter(|append| append.place.op == op).map(|_| at)
            }
        };
        let mut firsts = self.brought.iter().enumerate().filter_map(of(from));
        firsts.find_map(|first| {
            let mut after = self.brought.iter().enumerate().skip(first + 1);
            after.find_map(|(at, append)| of(to)((at, append))).map(|second| (first, second))
        })
    }

    /// Returns how many elements of other transactions each read of `reader` saw.
    fn reads_of<'f>(
        &'f self,
        facts: &'f Facts<'_, Elements>,
        key: u32,
        reader: Op,
    ) -> impl Iterator<Item = usize> + 'f {
        let places = facts.of_key(key).iter().filter(move |place| place.op == reader);
        places.filter_map(|place| match facts.act(*place) {
            Act::Read(Some(Elements(list))) => {
                Some(lists::of_others(facts, *place, list)).filter(|seen| *seen <= self.elements.len())
            }
            _ => None,
        })
    }

    /// Returns the position of the last element appended by `writer` that `reader` saw.
    fn last_seen(&self, facts: &Facts<'_, Elements>, key: u32, writer: Op, reader: Op) -> Option<usize> {
        let is_of = |at: &usize| self.brought[*at].is_some_and(|append| append.place.op == writer);
        self.reads_of(facts, key, reader).find_map(|seen| (0..seen).rev().find(is_of))
    }

    /// Returns how many elements `reader` saw, and the position of the first later append of `writer`, if a
    /// read shows it.
    fn missed(
        &self,
        facts: &Facts<'_, Elements>,
        key: u32,
        reader: Op,
        writer: Op,
    ) -> Option<(usize, Option<usize>)> {
        let is_of = |at: &usize| self.brought[*at].is_some_and(|append| append.place.op == writer);
        let seen = self.reads_of(facts, key, reader).min()?;
        Some((seen, (seen..self.brought.len()).find(is_of)))
    }
}

/// The reason why a transaction that read a version and then wrote comes before others that wrote after that
/// version.
const NEXT: &str =
    "It wrote too, after that read; nothing was written in between, or its update lost another.";

/// The versions of all registers.
pub(super) type Registers<'a> = Vec<register::Versions<'a>>;

impl Reasons<Held> for Registers<'_> {
    fn evidence(&self, facts: &Facts<'_, Held>, step: &Step) -> Vec<Op> {
        let versions = &self[step.key.min(self.len() as u32 - 1) as usize];
        versions.order(facts, step).map_or_else(Vec::new, |(_, _, one, other)| vec![one, other])
    }

    fn because(&self, facts: &Facts<'_, Held>, step: &Step, witness: &Witness) -> Statement {
        let versions = &self[step.key as usize];
        let key = facts.keys[step.key as usize];
        let (from, to) = (witness.named(step.from), witness.named(step.to));
        let value = |version: usize| versions.value(facts, version);
        if let Some((first, second, one, other)) = versions.order(facts, step) {
            let is_writer =
                self[step.key as usize].versions[first].writer.is_some_and(|it| it.op == step.from);
            let did = if is_writer { "wrote" } else { "read" };
            let order = match step.level {
                Level::RealTime => "ended before",
                _ => "was done by the same process before",
            };
            let (one_named, other_named) = (witness.named(one), witness.named(other));
            let then = if one == other {
                String::new()
            } else {
                format!(
                    " {one_named}, which shows {} there, {order} {other_named} began, which shows {}: so {} came later.",
                    value(first),
                    value(second),
                    value(second)
                )
            };
            let next = if step.dependency == Dependency::Inferred && !is_writer {
                format!(" {}", NEXT)
            } else {
                String::new()
            };
            let sentence = format!(
                "{from} {did} {} in {key}, and {to} wrote {}.{then}{next}",
                value(first),
                value(second)
            );
            return say(sentence, &[step.from, step.to, one, other]).relates(
                relation(step),
                step.from,
                step.to,
            );
        }
        let found =
            |op: Op| versions.touches.iter().find(|touch| touch.op == op).and_then(|touch| touch.found);
        let left = |op: Op| versions.touches.iter().find(|touch| touch.op == op).and_then(|touch| touch.left);
        let written = left(step.to).map_or_else(|| "a value".to_owned(), value);
        let sentence = match step.dependency {
            Dependency::WriteRead => {
                let value = versions.read_value(facts, step.from, step.to);
                format!("{to} read {value} from {key}, which {from} wrote.")
            }
            dependency => {
                let next = if dependency == Dependency::Inferred { NEXT } else { "" };
                match found(step.from) {
                    Some(INITIAL) | None => {
                        format!(
                            "{from} read {key} as it was at first, and {to} wrote {written} to it. {next}"
                        )
                    }
                    Some(version) => format!(
                        "{from} read {} from {key}; so did {to}, and then wrote {written} over it. {next}",
                        value(version)
                    ),
                }
            }
        };
        let sentence = sentence.trim_end().to_owned();
        say(sentence, &[step.from, step.to]).relates(relation(step), step.from, step.to)
    }
}

impl register::Versions<'_> {
    /// Formats the value of a version.
    fn value(&self, facts: &Facts<'_, Held>, version: usize) -> String {
        match self.versions[version].writer.map(|place| facts.act(place)) {
            Some(Act::Write(value)) => value.to_string(),
            _ => "what was there at first".to_owned(),
        }
    }

    /// Formats the value of `writer` that `reader` read.
    fn read_value(&self, facts: &Facts<'_, Held>, writer: Op, reader: Op) -> String {
        let write = self.reads().iter().find(|(read, write)| read.op == reader && write.op == writer);
        match write.map(|(_, write)| facts.act(*write)) {
            Some(Act::Write(value)) => value.to_string(),
            _ => "a value".to_owned(),
        }
    }

    /// Returns the two versions on whose order a step rests, and the transactions that show it: the first
    /// touched the first version and came before the second, which touched the second version.
    fn order(&self, facts: &Facts<'_, Held>, step: &Step) -> Option<(usize, usize, Op, Op)> {
        if step.level == Level::Data
            || !matches!(step.dependency, Dependency::ReadWrite | Dependency::Inferred)
        {
            return None;
        }
        let pairs = match step.level {
            Level::RealTime => self.of_time(facts),
            _ => self.of_processes(facts),
        };
        let of = |op: Op, version: usize| {
            let version = &self.versions[version];
            match step.dependency {
                Dependency::ReadWrite => version.readers.contains(&op),
                _ => version.readers.contains(&op) || version.writer.is_some_and(|place| place.op == op),
            }
        };
        let is_it = |(first, second): &&(usize, usize)| {
            let writer = self.versions[*second].writer;
            of(step.from, *first) && writer.is_some_and(|place| place.op == step.to)
        };
        let (first, second) = *pairs.iter().find(is_it)?;
        let touching = |version: usize| {
            let of = move |touch: &&register::Touch| [touch.found, touch.left].contains(&Some(version));
            self.touches.iter().filter(of).map(|touch| touch.op).filter(|op| facts.takes_part(*op))
        };
        let begin = |op: Op| facts.operations[op as usize].index;
        let process = |op: Op| facts.operations[op as usize].process;
        let (one, other) = match step.level {
            Level::RealTime => (
                touching(first).min_by_key(|op| facts.end(*op).unwrap_or(u64::MAX))?,
                touching(second).max_by_key(|op| begin(*op))?,
            ),
            _ => touching(first).find_map(|one| {
                let mut others = touching(second);
                let follows = |other: &Op| process(one) == process(*other) && begin(one) < begin(*other);
                others.find(follows).map(|other| (one, other))
            })?,
        };
        Some((first, second, one, other))
    }
}
