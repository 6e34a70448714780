//! The end of a history, after the last invocation: compare-and-sets as edges of a graph.
//!
//! When only completions are left, the operations that are open may be linearized in any order. Let values be vertices and
//! each compare-and-set an edge from the value it observes to the one it leaves. An order of all of them is a set of
//! trails that together use each edge once: the first trail begins at the value that the register holds, each other
//! one at the value of a write. By Euler, each connected part of the graph needs as many beginnings at a vertex as
//! edges go out of it more than come in; a part in which no vertex needs one is a circuit, and needs one beginning
//! anywhere. A read is taken where its value comes by, or behind a write of its value that no trail needs. All other
//! writes come last.
//!
//! A trail may also lie in the past: just before each write that took effect, the register held some value that was
//! overwritten, and a trail of compare-and-sets that were all invoked before may begin there. (Reads are not looked for on
//! such a trail.)
//!
//! So if this counting succeeds there is a linearization. If it fails there may still be one, with crashed
//! compare-and-sets or with other insertions in the past, which the search looks for.

use super::call::{Effect, State};
use super::search::Search;

/// A value among the operations that are left.
#[derive(Clone, Copy)]
struct Vertex {
    value: State,
    /// How many edges go out of it more than come in.
    surplus: i64,
    /// How many trails can begin here: at a write, and in the past.
    writes: i64,
    past: i64,
    /// The representative vertex of its part, found by following this.
    part: usize,
    edges: bool,
    read: bool,
}

/// Returns whether the open operations of `search`, which has passed the last invocation, can surely be linearized.
pub(super) fn end(search: &Search<'_>) -> bool {
    let mut graph = Graph::default();
    let start = graph.vertex(search.state);
    // From here on every compare-and-set that is left had been invoked.
    let mut begun = 0;
    for word in 0..search.open.len() {
        let mut bits = search.open[word] & !search.done[word];
        while bits != 0 {
            let number = search.occupant[word * 64 + bits.trailing_zeros() as usize];
            bits &= bits - 1;
            let call = &search.walk.calls[number as usize];
            match call.effect {
                Effect::Read(value) => {
                    let at = graph.vertex(value);
                    graph.vertices[at].read = true;
                }
                Effect::Write(value) => {
                    let at = graph.vertex(value);
                    graph.vertices[at].writes += 1;
                }
                Effect::Cas(old, new) => {
                    begun = begun.max(call.invoke);
                    graph.edge(old, new);
                }
            }
        }
    }
    for (number, group) in search.groups.iter().enumerate() {
        if let Effect::Write(value) = group.effect {
            let begun = search.walk.group_invokes[number].partition_point(|at| *at as usize <= search.at);
            let at = graph.vertex(value);
            graph.vertices[at].writes += begun as i64 - i64::from(search.used[number]);
        }
    }
    for (_, value) in search.overwritten.iter().rev().take_while(|(at, _)| *at > begun) {
        graph.begins_in_the_past(*value);
    }
    graph.has_trails(Some(start))
}

/// Values, and compare-and-sets between them.
#[derive(Default)]
pub(super) struct Graph {
    vertices: Vec<Vertex>,
}

impl Graph {
    fn vertex(&mut self, value: State) -> usize {
        let known = self.vertices.iter().position(|vertex| vertex.value == value);
        known.unwrap_or_else(|| {
            let part = self.vertices.len();
            self.vertices.push(Vertex {
                value,
                surplus: 0,
                writes: 0,
                past: 0,
                part,
                edges: false,
                read: false,
            });
            part
        })
    }

    pub(super) fn edge(&mut self, old: State, new: State) {
        let (old, new) = (self.vertex(old), self.vertex(new));
        self.vertices[old].surplus += 1;
        self.vertices[new].surplus -= 1;
        self.vertices[old].edges = true;
        self.vertices[new].edges = true;
        let (one, other) = (self.part(old), self.part(new));
        self.vertices[one].part = other;
    }

    /// Lets one trail begin at `value`, which was overwritten.
    pub(super) fn begins_in_the_past(&mut self, value: State) {
        if let Some(vertex) = self.vertices.iter_mut().find(|vertex| vertex.value == value) {
            vertex.past += 1;
        }
    }

    fn part(&self, mut at: usize) -> usize {
        while self.vertices[at].part != at {
            at = self.vertices[at].part;
        }
        at
    }

    /// Returns whether trails can use each edge once; one of them begins at the vertex `start`, which the register holds.
    pub(super) fn has_trails(&mut self, start: Option<usize>) -> bool {
        let mut in_the_past = false;
        // The parts that a trail begins in.
        let mut begun = vec![false; self.vertices.len()];
        if let Some(start) = start {
            begun[self.part(start)] = true;
        }
        for at in 0..self.vertices.len() {
            let part = self.part(at);
            let vertex = &mut self.vertices[at];
            let needed = vertex.surplus.max(0) - i64::from(Some(at) == start && vertex.surplus > 0);
            if needed > vertex.past + vertex.writes {
                return false;
            }
            in_the_past |= needed.min(vertex.past) > 0;
            vertex.writes -= (needed - vertex.past).max(0);
            vertex.past = (vertex.past - needed).max(0);
            begun[part] |= needed > 0;
        }
        for at in 0..self.vertices.len() {
            let part = self.part(at);
            if self.vertices[at].edges && !std::mem::replace(&mut begun[part], true) {
                let begins = |other: &usize| {
                    let vertex = &self.vertices[*other];
                    self.part(*other) == part && vertex.past + vertex.writes > 0
                };
                let Some(other) = (0..self.vertices.len()).find(begins) else { return false };
                let vertex = &mut self.vertices[other];
                let past = vertex.past > 0;
                if past {
                    vertex.past -= 1
                } else {
                    vertex.writes -= 1
                }
                in_the_past |= past;
            }
        }
        self.vertices.iter().enumerate().all(|(at, vertex)| {
            !vertex.read || vertex.edges && !in_the_past || Some(at) == start || vertex.writes > 0
        })
    }
}
