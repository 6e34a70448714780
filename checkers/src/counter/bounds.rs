//! The bounds that earlier reads give to later ones, all of them in one pass.
//!
//! The least that a read R can be after a read B that was answered before it began is
//!
//! > B + (adds of more than 0 that began after B was answered and were acknowledged before R began)
//! >   + (adds of less than 0 that began before R was answered and were not acknowledged before B began).
//!
//! The second sum is one that depends on R alone, less one that depends on B alone. The first grows, for all B that were
//! answered before an add began, when that add is acknowledged. So the greatest of these bounds is known at any time from a
//! tree over the reads, in the order of their answers, in which a prefix is raised at once. The most that R can be is the
//! same with all signs changed.

use super::facts::{Add, Facts};

/// A read that lies outside of the bounds that an earlier one gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Violation {
    /// Its place in the list of reads.
    pub(super) read: usize,
    /// The place of the earlier read; `None` for what the counter held at first.
    pub(super) base: Option<usize>,
    pub(super) side: Side,
}

/// On which side of the bounds a read lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Below,
    Above,
}

impl Side {
    /// `number`, such that below is what is wrong.
    pub(super) fn oriented(self, number: i128) -> i128 {
        match self {
            Self::Below => number,
            Self::Above => -number,
        }
    }
}

/// An event at an index. Where several share an index, the variant that is listed first comes first, which supposes nothing of
/// their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    AddBegins(usize),
    ReadBegins(usize),
    AddEnds(usize),
    ReadEnds(usize),
}

/// Finds reads out of range, in the order of their answers. One that is gives no bounds to others. Time O(n log n).
pub(super) fn violations(facts: &Facts<'_>) -> Vec<Violation> {
    let mut events: Vec<(u64, Event)> = Vec::with_capacity(2 * (facts.adds.len() + facts.reads.len()));
    for (at, add) in facts.adds.iter().enumerate() {
        events.push((add.begun, Event::AddBegins(at)));
        events.extend(add.acknowledged.map(|index| (index, Event::AddEnds(at))));
    }
    for (at, read) in facts.reads.iter().enumerate() {
        events.push((read.since, Event::ReadBegins(at)));
        events.push((read.answered, Event::ReadEnds(at)));
    }
    events.sort_unstable();
    let mut below = Bound::new(facts, Side::Below);
    let mut above = Bound::new(facts, Side::Above);
    // By add, how many reads had been answered when it began.
    let mut bases_before = vec![0; facts.adds.len()];
    let mut bases: Vec<Option<usize>> = vec![None];
    let mut violations = Vec::new();
    for (_, event) in events {
        match event {
            Event::AddBegins(at) => {
                bases_before[at] = bases.len();
                below.add_begins(&facts.adds[at]);
                above.add_begins(&facts.adds[at]);
            }
            Event::AddEnds(at) => {
                below.add_ends(&facts.adds[at], bases_before[at]);
                above.add_ends(&facts.adds[at], bases_before[at]);
            }
            Event::ReadBegins(at) => {
                below.read_begins(at);
                above.read_begins(at);
            }
            Event::ReadEnds(at) => {
                let found = below.violated(at).or_else(|| above.violated(at));
                if let Some((side, base)) = found {
                    violations.push(Violation { read: at, base: bases[base], side });
                } else {
                    bases.push(Some(at));
                    below.read_ends(at);
                    above.read_ends(at);
                }
            }
        }
    }
    violations
}

/// The bound on one side, with the signs of all numbers such that it is the lower one.
struct Bound<'b, 'a> {
    facts: &'b Facts<'a>,
    side: Side,
    /// By base: its value, with what surely was added since, less what had surely been taken away before it began.
    tree: Raised,
    /// Everything that was taken away by adds that have begun.
    begun: i128,
    /// The acknowledged part of it.
    acknowledged: i128,
    /// By read: the greatest of the tree when it began, its base, and what had been taken away by then.
    pending: Vec<(i128, usize, i128)>,
}

impl<'b, 'a> Bound<'b, 'a> {
    fn new(facts: &'b Facts<'a>, side: Side) -> Self {
        let mut tree = Raised::new(facts.reads.len() + 1);
        tree.push(0);
        let pending = vec![(0, 0, 0); facts.reads.len()];
        Self { facts, side, tree, begun: 0, acknowledged: 0, pending }
    }

    fn add_begins(&mut self, add: &Add) {
        self.begun += self.side.oriented(add.delta).min(0);
    }

    fn add_ends(&mut self, add: &Add, bases_before: usize) {
        let delta = self.side.oriented(add.delta);
        if delta > 0 {
            self.tree.raise(bases_before, delta);
        } else {
            self.acknowledged += delta;
        }
    }

    fn read_begins(&mut self, at: usize) {
        let (greatest, base) = self.tree.greatest();
        self.pending[at] = (greatest, base, self.acknowledged);
    }

    /// The side and the base, if the read lies outside.
    fn violated(&self, at: usize) -> Option<(Side, usize)> {
        let (greatest, base, _) = self.pending[at];
        let value = self.side.oriented(self.facts.reads[at].value);
        (value < greatest + self.begun).then_some((self.side, base))
    }

    fn read_ends(&mut self, at: usize) {
        let (.., acknowledged) = self.pending[at];
        self.tree.push(self.side.oriented(self.facts.reads[at].value) - acknowledged);
    }
}

/// Numbers in a row, of which any first ones can be raised at once, and the greatest be found.
struct Raised {
    /// The size of the lowest level.
    leaves: usize,
    /// How many there are.
    count: usize,
    /// By node: the greatest value below it, without the raises of its ancestors, and where that value is.
    greatest: Vec<(i128, usize)>,
    /// By node: the raise of everything below it.
    raised: Vec<i128>,
}

/// Less than any number that occurs.
const ABSENT: i128 = i128::MIN / 4;

impl Raised {
    fn new(count_max: usize) -> Self {
        let leaves = count_max.next_power_of_two();
        let greatest = (0..2 * leaves).map(|at| (ABSENT, at.saturating_sub(leaves))).collect();
        Self { leaves, count: 0, greatest, raised: vec![0; 2 * leaves] }
    }

    fn push(&mut self, number: i128) {
        let mut at = self.leaves + self.count;
        let mut above = 0;
        let mut ancestor = at;
        while ancestor > 1 {
            ancestor /= 2;
            above += self.raised[ancestor];
        }
        // The raises of its ancestors before it came do not concern it.
        self.raised[at] = 0;
        self.greatest[at] = (number - above, self.count);
        self.count += 1;
        while at > 1 {
            at /= 2;
            self.refresh(at);
        }
    }

    /// Raises the first `count` numbers by `by`.
    fn raise(&mut self, count: usize, by: i128) {
        // The nodes that cover them, from right to left.
        let mut end = self.leaves + count;
        let whole = end == 2 * self.leaves;
        if whole {
            self.lift(1, by);
            return;
        }
        let first = end;
        while end > 1 {
            if end % 2 == 1 {
                self.lift(end - 1, by);
            }
            end /= 2;
        }
        let mut at = first;
        while at > 1 {
            at /= 2;
            self.refresh(at);
        }
    }

    fn lift(&mut self, node: usize, by: i128) {
        self.raised[node] += by;
        self.greatest[node].0 += by;
    }

    fn refresh(&mut self, node: usize) {
        let (left, right) = (self.greatest[2 * node], self.greatest[2 * node + 1]);
        // The last of several, because its bound is nearer.
        let (number, place) = if right.0 >= left.0 { right } else { left };
        self.greatest[node] = (number + self.raised[node], place);
    }

    /// The greatest, and its place.
    fn greatest(&self) -> (i128, usize) {
        self.greatest[1]
    }
}
