//! Last in, first out.
//!
//! An element is *certainly inside* from the answer of its push until its pop begins. One that never is can go in and come out
//! at one moment, whatever else is there, and is left out. At a moment at which none is certainly inside, the stack can be
//! empty: move the pops that may be earlier before it, and the pushes of the other elements that are inside after it. So the
//! stretches between such moments are decided one by one. Throughout a stretch some element is inside; so in any order that
//! explains it one element is at the bottom: it goes in before every other, and comes out after every other. An
//! element can be at the bottom if its push began before any of the stretch was answered, and its pop was answered after every other pop
//! had begun. Whether the rest is right does not depend on which of these is chosen: taken away, it leaves a history that is right
//! if the whole is, and that any of them can enclose. The rest falls into stretches again.
//!
//! The decomposition is that of Lee and Mathur, "Efficient decrease-and-conquer linearizability monitoring" (2024). Time O(n log² n):
//! when a stretch falls apart, only its smaller parts are rebuilt.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::AtomicBool;

use super::cover::Cover;
use super::elements::{Element, Refused, go_on};
use super::violation::Violation;

/// Elements, by their place in the list of those that are certainly inside at some time, of a stretch at each moment of which
/// one of them is.
struct Stretch {
    from: usize,
    to: usize,
    /// Those whose push may be too late, the earliest invocation first.
    late: BinaryHeap<Reverse<(u64, usize)>>,
    /// The others, the latest answer of a pop first.
    early: BinaryHeap<(u64, usize)>,
    /// All, the latest invocation of a pop first.
    last: BinaryHeap<(u64, usize)>,
}

/// The elements that are certainly inside at some time, in the order in which they begin to be.
struct Stack {
    elements: Vec<Element>,
    /// By element, whether it was found to be at the bottom, and taken away.
    gone: Vec<bool>,
    /// How many elements are certainly inside just before each one begins to be.
    cover: Cover,
}

/// Decides whether a stack is right: whether it is linearizable. There are no pops of unknown outcome that took an element out.
///
/// # Errors
/// [`Refused`], but never undecided.
pub(super) fn decide(elements: &[Element], interrupt: &AtomicBool) -> Result<(), Refused> {
    let mut elements: Vec<Element> =
        elements.iter().filter(|element| element.inside_from() < element.inside_to()).copied().collect();
    elements.sort_by_key(Element::inside_from);
    let mut stack = Stack { gone: vec![false; elements.len()], cover: Cover::new(elements.len()), elements };
    for at in 0..stack.elements.len() {
        go_on(interrupt)?;
        stack.cover.add(stack.covered(at), 1);
    }
    let all = stack.stretch(0, stack.elements.len());
    let mut stretches = stack.parts(all);
    while let Some(mut stretch) = stretches.pop() {
        go_on(interrupt)?;
        while stretch.from < stretch.to && stack.gone[stretch.from] {
            stretch.from += 1;
        }
        if stretch.from == stretch.to {
            continue;
        }
        let Some(bottom) = stack.bottom(&mut stretch) else {
            return Err(Violation::NoBottom { inside: stack.chain(&stretch) }.into());
        };
        stack.gone[bottom] = true;
        stack.cover.add(stack.covered(bottom), -1);
        stretches.extend(stack.parts(stretch));
    }
    Ok(())
}

impl Stack {
    /// Returns which elements begin to be certainly inside while `at` is.
    fn covered(&self, at: usize) -> std::ops::Range<usize> {
        let to = self.elements[at].inside_to();
        at + 1..self.elements.partition_point(|other| other.inside_from() < to).max(at + 1)
    }

    fn stretch(&self, from: usize, to: usize) -> Stretch {
        let left = || (from..to).filter(|at| !self.gone[*at]);
        Stretch {
            from,
            to,
            late: left().map(|at| Reverse((self.elements[at].enqueue.invoke, at))).collect(),
            early: BinaryHeap::new(),
            last: left().map(|at| (self.elements[at].inside_to(), at)).collect(),
        }
    }

    /// Returns an element that may be at the bottom of `stretch`, the first of which is there.
    fn bottom(&self, stretch: &mut Stretch) -> Option<usize> {
        let start = self.elements[stretch.from].inside_from();
        let (from, to) = (stretch.from, stretch.to);
        let here = |at: usize| (from..to).contains(&at) && !self.gone[at];
        while let Some(Reverse((_, at))) =
            stretch.late.peek().copied().filter(|Reverse((invoke, _))| *invoke <= start)
        {
            stretch.late.pop();
            stretch.early.push((self.elements[at].out_by(), at));
        }
        for heap in [&mut stretch.last, &mut stretch.early] {
            while heap.peek().is_some_and(|(_, at)| !here(*at)) {
                heap.pop();
            }
        }
        let (end, _) = stretch.last.peek()?;
        stretch.early.peek().filter(|(out_by, _)| out_by >= end).map(|(_, at)| *at)
    }

    /// Returns the stretches into which `stretch` falls where no element is certainly inside.
    fn parts(&mut self, stretch: Stretch) -> Vec<Stretch> {
        let (mut bounds, end) = (vec![stretch.from], stretch.to);
        while let Some(at) = self.cover.take_uncovered(stretch.from + 1..end) {
            bounds.push(at);
        }
        bounds.sort_unstable();
        bounds.push(end);
        let largest = (1..bounds.len()).max_by_key(|at| bounds[*at] - bounds[at - 1]).unwrap_or(1);
        let mut parts: Vec<Stretch> = (1..bounds.len())
            .filter(|at| *at != largest)
            .map(|at| self.stretch(bounds[at - 1], bounds[at]))
            .collect();
        parts.push(Stretch { from: bounds[largest - 1], to: bounds[largest], ..stretch });
        parts
    }

    /// Returns as few elements of `stretch` as suffice for one of them to be inside at each of its moments.
    fn chain(&self, stretch: &Stretch) -> Vec<Element> {
        let left = (stretch.from..stretch.to).filter(|at| !self.gone[*at]).map(|at| self.elements[at]);
        let mut left = left.peekable();
        let mut chain: Vec<Element> = Vec::new();
        let mut next = left.peek().copied();
        while let Some(element) = next.take() {
            chain.push(element);
            let to = element.inside_to();
            while let Some(other) = left.next_if(|other| other.inside_from() < to) {
                if other.inside_to() > next.map_or(to, |next: Element| next.inside_to()) {
                    next = Some(other);
                }
            }
        }
        chain
    }
}
