//! The values of a key that were written without knowledge of each other, and the writes that have been seen.
//!
//! Dotted version vectors: Preguiça and others, "Brief announcement: efficient causality tracking in distributed storage systems
//! with dotted version vectors" (PODC 2012), in the form for a whole set of siblings of Almeida and others, "Scalable and accurate
//! causality tracking for eventually consistent stores" (DAIS 2014). Each value has the dot of its write; one vector has all
//! writes that were seen here. A write whose dot is in the vector and that has no value has been replaced by one that had seen it.
//!
//! What keeps that true: an actor counts within one copy, which has all its writes so far; and who forgets the copy forgets
//! the actor with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::vector::{Actor, Dot, VersionVector};

/// The values of a key, or, with `V = ()`, their dots alone. No values: the key was deleted, or never written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Siblings<V> {
    seen: VersionVector,
    values: BTreeMap<Dot, V>,
}

impl<V: Clone> Siblings<V> {
    /// Returns what is known once both are: the values of each that the other has too, or has not seen.
    pub fn merge(&self, other: &Self) -> Self {
        let kept_of = |one: &Self, other: &Self| {
            let kept = |(dot, _): &(&Dot, &V)| other.values.contains_key(dot) || !other.seen.contains(dot);
            one.values.iter().filter(kept).map(|(dot, value)| (*dot, value.clone())).collect::<Vec<_>>()
        };
        let mut seen = self.seen.clone();
        seen.join(&other.seen);
        let values = kept_of(self, other).into_iter().chain(kept_of(other, self)).collect();
        Self { seen, values }
    }

    /// Writes a value, or deletes, in place of what `context` has seen. `actor` counts the writes of this copy.
    pub fn write(&self, actor: Actor, context: &VersionVector, value: Option<V>) -> Option<Self> {
        let mut written = self.clone();
        written.values.retain(|dot, _| !context.contains(dot));
        written.seen.join(context);
        if let Some(value) = value {
            written.values.insert(written.seen.count(actor)?, value);
        }
        Some(written)
    }

    /// Returns the writes that have been seen: the context of a write that replaces all values.
    pub fn seen(&self) -> &VersionVector {
        &self.seen
    }

    /// Returns the values, in the order of their dots.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }

    /// Returns the same without the values.
    pub fn dots(&self) -> Siblings<()> {
        Siblings { seen: self.seen.clone(), values: self.values.keys().map(|dot| (*dot, ())).collect() }
    }

    /// The bug `siblings-dropped`: keeps the last of the values only.
    pub fn drop_all_but_one(&mut self) {
        if let Some((dot, value)) = self.values.pop_last() {
            self.values = BTreeMap::from([(dot, value)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ring::placement::Member;

    /// Numbers that depend on the seed alone: Marsaglia's xorshift.
    struct Draws(u64);

    impl Draws {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }

    /// A copy as the definition has it: all writes that were seen, one by one, and which of them were replaced. A value is the
    /// number of its write.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    struct History {
        seen: BTreeSet<u32>,
        replaced: BTreeSet<u32>,
    }

    impl History {
        fn merge(&mut self, other: &Self) {
            self.seen.extend(&other.seen);
            self.replaced.extend(&other.replaced);
        }

        fn values(&self) -> BTreeSet<u32> {
            self.seen.difference(&self.replaced).copied().collect()
        }
    }

    /// A copy of the key, its actor, and what it should have.
    struct Replica {
        copy: Siblings<u32>,
        actor: Actor,
        history: History,
    }

    /// A node told a client this context; it stands for these writes.
    #[derive(Clone, Default)]
    struct Told {
        context: VersionVector,
        seen: BTreeSet<u32>,
    }

    fn values(copy: &Siblings<u32>) -> BTreeSet<u32> {
        copy.values().copied().collect()
    }

    /// Has clients write and delete at replicas, with any context that they were ever told, while replicas exchange copies in any
    /// order, late ones too, and some forget theirs once another has it. Returns the replicas.
    fn exercise(seed: u64, steps: usize, fresh_actors: bool) -> Vec<Replica> {
        let mut draws = Draws(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut actors = 0..;
        let mut actor = move |node: usize| {
            let number = if fresh_actors { actors.next().unwrap() } else { 0 };
            Actor { node: Member(node as u16), start: 1, number }
        };
        let new = |actor| Replica { copy: Siblings::default(), actor, history: History::default() };
        let mut replicas: Vec<Replica> = (0..4).map(|node| new(actor(node))).collect();
        let mut told = vec![Told::default()];
        let mut under_way: Vec<(Siblings<u32>, History)> = Vec::new();
        for write in 0..steps as u32 {
            let at = draws.below(replicas.len());
            match draws.below(8) {
                0..=2 => {
                    let Told { context, seen } = told[draws.below(told.len())].clone();
                    let Replica { copy, actor, history } = &mut replicas[at];
                    let value = Some(write).filter(|_| draws.below(6) > 0);
                    *copy = copy.write(*actor, &context, value).unwrap();
                    // A replica knows that a write was replaced, even if it never had that write.
                    history.merge(&History { seen: seen.clone(), replaced: seen });
                    history.seen.extend(value);
                }
                3 => {
                    let Replica { copy, history, .. } = &replicas[at];
                    told.push(Told { context: copy.seen().clone(), seen: history.seen.clone() });
                }
                4 => under_way.push((replicas[at].copy.clone(), replicas[at].history.clone())),
                5 | 6 if !under_way.is_empty() => {
                    let (copy, history) = under_way[draws.below(under_way.len())].clone();
                    replicas[at].copy = replicas[at].copy.merge(&copy);
                    replicas[at].history.merge(&history);
                }
                7 if at == 3 => {
                    // A node that stood in hands its copy over, and forgets it.
                    let away = std::mem::replace(&mut replicas[3], new(actor(3)));
                    replicas[0].copy = replicas[0].copy.merge(&away.copy);
                    replicas[0].history.merge(&away.history);
                }
                _ => {}
            }
            let Replica { copy, history, .. } = &replicas[at];
            if fresh_actors {
                assert_eq!(values(copy), history.values(), "seed {seed}, step {write}");
            }
        }
        replicas
    }

    #[test]
    fn a_copy_has_the_values_that_no_write_which_had_seen_them_replaced() {
        let mut most = 0;
        for seed in 1..=150 {
            let replicas = exercise(seed, 200, true);
            most = most.max(replicas.iter().map(|replica| replica.copy.values().count()).max().unwrap());
            let merged = |order: &[usize]| {
                order.iter().fold(Siblings::default(), |merged, at| replicas[*at].copy.merge(&merged))
            };
            let mut history = History::default();
            replicas.iter().for_each(|replica| history.merge(&replica.history));
            let all = merged(&[0, 1, 2, 3]);
            assert_eq!(values(&all), history.values(), "seed {seed}: in the end no value is lost");
            assert_eq!(merged(&[3, 1, 0, 2, 1]), all, "seed {seed}: in any order, and any number of times");
        }
        assert!(most > 3, "{most} siblings: too few to show anything");
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent() {
        for seed in 1..=60 {
            let copies: Vec<Siblings<u32>> =
                exercise(seed, 60, true).into_iter().map(|replica| replica.copy).collect();
            for one in &copies {
                assert_eq!(&one.merge(one), one);
                for other in &copies {
                    assert_eq!(one.merge(other), other.merge(one));
                    assert_eq!(one.merge(other).merge(other), one.merge(other));
                    for third in &copies {
                        assert_eq!(one.merge(other).merge(third), one.merge(&other.merge(third)));
                    }
                }
            }
        }
    }

    #[test]
    fn an_actor_that_outlives_its_copy_loses_writes() {
        let lost = (1..=60).filter(|seed| {
            let replicas = exercise(*seed, 200, false);
            replicas.iter().any(|replica| values(&replica.copy) != replica.history.values())
        });
        assert!(lost.count() > 10, "the histories above could not tell");
    }
}
