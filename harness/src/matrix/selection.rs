//! The selection of a file's cells: by name, by slice, by shard.

use std::fmt;
use std::str::FromStr;

/// A pattern of names: `*` matches any characters, `/` among them, and `?` one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Parses the pattern `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether `name` is of this pattern, from its beginning to its end.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut here) = (0, 0);
        // The place to continue at when the last star must match one character more.
        let mut star: Option<(usize, usize)> = None;
        while here < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at + 1, here));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[here] => {
                    at += 1;
                    here += 1;
                }
                _ => match star {
                    Some((after, swallowed)) => {
                        star = Some((after, swallowed + 1));
                        at = after;
                        here = swallowed + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One part of several that together are everything: `2/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

/// An invalid shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid shard \"{0}\": use 1/3 for the first of three")]
pub struct ShardError(String);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ShardError(text.to_owned());
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let (number, of) = (number.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if (1..=of).contains(&number) && of <= 1000 { Ok(Self { number, of }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// Returns the positions of this shard's items, which cost `costs`, in their order.
    ///
    /// The dearest is assigned first, each to the shard with the least cost so far: every shard of the same
    /// list comes to the same division, and their costs are about the same.
    #[must_use]
    pub fn pick(self, costs: &[u64]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(costs[*at]), *at));
        let mut loads = vec![0_u64; self.of];
        let mut mine = Vec::new();
        for at in order {
            let least = (0..self.of).min_by_key(|shard| (loads[*shard], *shard)).unwrap_or(0);
            // An item without cost still takes its place.
            loads[least] += costs[at].max(1);
            if least + 1 == self.number {
                mine.push(at);
            }
        }
        mine.sort_unstable();
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, is) in [
            ("store/*", "store/raft/faults=kill", true),
            ("store/*", "broker/raft", false),
            ("*", "", true),
            ("*raft*", "store/raft/x", true),
            ("store/raft", "store/raft/x", false),
            ("s?ore/*=2", "store/raft/seed=2", true),
            ("s?ore/*=2", "store/raft/seed=22", false),
            ("*=2*", "store/raft/seed=22", true),
            ("*=2", "store/seed=21", false),
            ("a*b*c", "aXbYbZc", true),
            ("", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), is, "{pattern} and {name}");
        }
    }

    #[test]
    fn shards_are_disjoint_complete_and_of_about_the_same_cost() {
        let costs: Vec<u64> = (0..57).map(|number| 10 + number * 37 % 91).collect();
        for of in [1, 2, 3, 8, 60] {
            let mut all = Vec::new();
            let mut loads = Vec::new();
            for number in 1..=of {
                let mine = Shard { number, of }.pick(&costs);
                assert!(mine.is_sorted());
                loads.push(mine.iter().map(|at| costs[*at]).sum::<u64>());
                all.extend(mine);
            }
            all.sort_unstable();
            assert_eq!(all, (0..costs.len()).collect::<Vec<_>>());
            let spread = loads.iter().max().unwrap() - loads.iter().min().unwrap();
            assert!(spread <= 100, "{loads:?}");
        }
        assert_eq!(Shard { number: 2, of: 3 }.pick(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_shard_is_written_as_a_fraction() {
        assert_eq!("2/3".parse(), Ok(Shard { number: 2, of: 3 }));
        for bad in ["", "1", "0/3", "4/3", "a/b", "1/0", "-1/2", "1/99999"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
