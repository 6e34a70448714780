//! Version vectors: which writes of a key have been seen.
//!
//! Parker and others, "Detection of mutual inconsistency in distributed systems" (IEEE TSE 1983). An actor counts its writes of one
//! key from 1; a dot is one of them; a vector has, for each actor, how many of its writes have been seen: all of them up to there.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::placement::Member;

/// The place that counts writes of a key: one copy of it, from when a node began to keep it until it was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The node.
    pub node: Member,
    /// Which of its starts this was, from 1.
    pub start: u64,
    /// The number within that.
    pub number: u64,
}

/// One write of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// The actor that counted it.
    pub actor: Actor,
    /// How many writes it had counted then, this one included.
    pub count: u64,
}

/// The writes that have been seen, as many as each actor has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionVector(BTreeMap<Actor, u64>);

impl VersionVector {
    /// Whether this write has been seen.
    pub fn contains(&self, dot: &Dot) -> bool {
        self.0.get(&dot.actor).is_some_and(|seen| dot.count <= *seen)
    }

    /// Adds what another has.
    pub fn join(&mut self, other: &Self) {
        for (actor, count) in &other.0 {
            let seen = self.0.entry(*actor).or_default();
            *seen = (*seen).max(*count);
        }
    }

    /// Counts one more write of an actor, and adds it. `None` if a vector that no node made has used its numbers up.
    pub fn count(&mut self, actor: Actor) -> Option<Dot> {
        let seen = self.0.entry(actor).or_default();
        *seen = seen.checked_add(1)?;
        Some(Dot { actor, count: *seen })
    }
}

impl fmt::Display for VersionVector {
    /// Formats `0.1.7=3,2.1.0=1`: the node, the start and the number of each actor, and its count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (Actor { node, start, number }, count)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}.{start}.{number}={count}", node.0)?;
        }
        Ok(())
    }
}

/// The text is not one that [`VersionVector`] is formatted as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a version vector")]
pub struct NotAVector;

impl FromStr for VersionVector {
    type Err = NotAVector;

    fn from_str(text: &str) -> Result<Self, NotAVector> {
        fn number<T: FromStr>(text: Option<&str>) -> Result<T, NotAVector> {
            text.and_then(|text| text.parse().ok()).ok_or(NotAVector)
        }
        let counted = |part: &str| {
            let (actor, count) = part.split_once('=').ok_or(NotAVector)?;
            let mut parts = actor.splitn(3, '.');
            let node = Member(number(parts.next())?);
            let actor = Actor { node, start: number(parts.next())?, number: number(parts.next())? };
            Ok((actor, number(Some(count))?))
        };
        match text {
            "" => Ok(Self::default()),
            text => text.split(',').map(counted).collect::<Result<_, _>>().map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_read_as_it_was_written_and_nothing_else_is_one() {
        let actor = |node, number| Actor { node: Member(node), start: 2, number };
        let mut vector = VersionVector::default();
        assert_eq!("".parse(), Ok(vector.clone()));
        for actor in [actor(0, 7), actor(0, 7), actor(3, 0)] {
            vector.count(actor).unwrap();
        }
        assert_eq!(vector.to_string(), "0.2.7=2,3.2.0=1");
        assert_eq!(vector.to_string().parse(), Ok(vector));
        for text in ["x", "0.2.7", "0.2=1", "0.2.7=", "0.2.7=1,", "0.2.7.1=1", "70000.1.1=1", "0.1.1=-1"] {
            assert_eq!(text.parse::<VersionVector>(), Err(NotAVector), "{text}");
        }
        let mut used_up: VersionVector = format!("0.2.7={}", u64::MAX).parse().unwrap();
        assert_eq!(used_up.count(actor(0, 7)), None);
    }
}
