//! How many intervals cover each of a row of places, while intervals come and go.

use std::ops::Range;

/// A segment tree: for each of its ranges, the least count, and what was added to all of the range.
#[derive(Debug)]
pub(super) struct Cover {
    /// A power of two: node 1 is all places, and the children of node `n` are `2 n` and `2 n + 1`.
    places: usize,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The least count of the range, without that of ranges around it.
    least: i64,
    added: i64,
}

/// The count of a place that was taken: no number of intervals makes up for it.
const TAKEN: i64 = 1 << 40;

impl Cover {
    /// Returns the cover of so many places by no interval.
    pub(super) fn new(places: usize) -> Self {
        let places = places.next_power_of_two();
        Self { places, nodes: vec![Node { least: 0, added: 0 }; 2 * places] }
    }

    /// Adds `count` to each place of `range`. Time O(log places).
    pub(super) fn add(&mut self, range: Range<usize>, count: i64) {
        if !range.is_empty() {
            self.add_below(1, 0..self.places, &range, count);
        }
    }

    fn add_below(&mut self, node: usize, own: Range<usize>, range: &Range<usize>, count: i64) {
        if range.start <= own.start && own.end <= range.end {
            self.nodes[node].least += count;
            self.nodes[node].added += count;
        } else if own.start < range.end && range.start < own.end {
            let middle = own.start.midpoint(own.end);
            self.add_below(2 * node, own.start..middle, range, count);
            self.add_below(2 * node + 1, middle..own.end, range, count);
            self.nodes[node].least =
                self.nodes[node].added + self.nodes[2 * node].least.min(self.nodes[2 * node + 1].least);
        }
    }

    /// Returns a place of `range` that no interval covers, and never returns it again. Time O(log places).
    pub(super) fn take_uncovered(&mut self, range: Range<usize>) -> Option<usize> {
        let place = self.uncovered_below(1, 0..self.places, &range, 0)?;
        self.add(place..place + 1, TAKEN);
        Some(place)
    }

    fn uncovered_below(
        &self,
        node: usize,
        own: Range<usize>,
        range: &Range<usize>,
        around: i64,
    ) -> Option<usize> {
        let is_apart = own.end <= range.start || range.end <= own.start;
        if is_apart || around + self.nodes[node].least > 0 {
            return None;
        }
        if own.len() == 1 {
            return Some(own.start);
        }
        let (middle, around) = (own.start.midpoint(own.end), around + self.nodes[node].added);
        self.uncovered_below(2 * node, own.start..middle, range, around)
            .or_else(|| self.uncovered_below(2 * node + 1, middle..own.end, range, around))
    }
}
