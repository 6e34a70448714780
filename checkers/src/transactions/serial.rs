//! The search for a serial order of transactions that explains every answer, and the proof that there is none.
//!
//! Two rules say what follows from an order that is known in part, if transactions run one after the other. If one writer
//! of an object comes before a transaction that read another's version of it, it comes before that other writer
//! too. If one writer comes before another, so does every transaction that read the first one's version. Both
//! are repeated until nothing new follows (Biswas and Enea, "On the Complexity of Checking Transactional
//! Consistency", OOPSLA 2019, call this saturation). A cycle then proves that no order explains the answers.
//!
//! Without a cycle, little is left to be searched for. Of the transactions that nothing has to precede any more, the
//! search takes one that only reads, since that is never wrong, or else the writer that is due first: it comes before
//! all others that write its objects, and what follows from that is added at once. If this leads to a cycle, the
//! next one is tried. Sets of transactions from which no order goes on are remembered.
//!
//! Which writers come before a node is kept as a vector clock for each node. Writers are divided into chains, each
//! member of which is known to come before the next; the clock has the number of the members of each chain
//! that come before the node or are it. There are about as many chains as clients.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::FxHashSet;

use super::chains::{Chains, Link, OfKey, Successors};
use super::explain::Shown;
use super::facts::Facts;
use super::graph::{Dependency, Graph, Node};
use super::proof::{Derived, Proof};
use super::search::mixed;
use super::visibility::Access;
use crate::witness::Op;

/// The number of clocks' entries compared, per transaction, before the search gives up.
const WORK_PER_TRANSACTION: u64 = 40_000;

/// The length of the list of what is to be undone at which earlier choices become final: about 100 MB.
const UNDO_MAX: usize = 1 << 22;

/// The number of transactions at which a search may take as long as with more.
const SMALL: u64 = 100_000;

/// The result of the search.
pub(super) enum Serial {
    /// An order explains every answer.
    Found,
    /// None does, as the proof shows.
    Contradiction(Proof),
    /// None was found: it was interrupted, took too much time or memory, or no short proof exists.
    Undecided,
}

/// Why nothing more can follow.
enum Halt {
    /// The edge that was to be added, or to be followed, closes a cycle.
    Cycle(Node, Node),
    /// The work is used up, or the user has interrupted it.
    GivenUp,
}

/// A change that the search may take back.
enum Undo {
    /// An entry of a clock, and its value before.
    Entry(usize, u32),
    /// An edge that was added.
    Edge(Node, Node),
    /// A transaction that was taken, and the state before.
    Taken(Op, u64),
    /// An object whose version was replaced, and the one before.
    Current(u32, Option<Op>),
}

struct Search<'a> {
    interrupt: &'a AtomicBool,
    accesses: &'a [Access],
    /// The accesses of each transaction.
    first_access: Vec<u32>,
    keys: Vec<OfKey>,
    links: Vec<Link>,
    /// The known edges, and those that were added.
    known: Successors,
    added: Vec<Vec<Node>>,
    /// The edges added from transactions that do not write.
    from_readers: FxHashSet<(Op, Op)>,
    width: usize,
    clocks: Vec<u32>,
    /// The nodes whose clocks have risen.
    risen: VecDeque<Node>,
    is_risen: Vec<bool>,
    undo: Vec<Undo>,
    /// The number of nodes for which each still waits.
    waits: Vec<u32>,
    taken: Vec<bool>,
    due: Vec<u64>,
    taking: Vec<bool>,
    joints_from: Node,
    free: BTreeSet<(u64, Node)>,
    writers: BTreeSet<(u64, Node)>,
    /// The version of each object that is current: that of this writer.
    current: Vec<Option<Op>>,
    state: u64,
    count: usize,
    /// The clocks' entries that may still be compared.
    work_left: u64,
    /// Whether what is derived is kept for a proof: before the first choice.
    is_proving: bool,
    derived: Vec<Derived>,
}

/// Searches for an order of the transactions that keeps all edges of `graph`, or for the proof that there is none.
pub(super) fn search<R: Shown>(
    facts: &Facts<'_, R>,
    accesses: &[Access],
    graph: &Graph,
    interrupt: &AtomicBool,
) -> Serial {
    let Some(mut search) = Search::new(facts, accesses, graph, interrupt) else { return Serial::Undecided };
    match search.rise() {
        Ok(()) if search.finds() => Serial::Found,
        Ok(()) | Err(Halt::GivenUp) => Serial::Undecided,
        Err(Halt::Cycle(from, to)) => Proof::new(graph, &search.derived, (from, to), interrupt)
            .map_or(Serial::Undecided, Serial::Contradiction),
    }
}

/// Returns whether there is such an order that the search finds.
pub(super) fn finds<R: Shown>(
    facts: &Facts<'_, R>,
    accesses: &[Access],
    graph: &Graph,
    interrupt: &AtomicBool,
) -> bool {
    Search::new(facts, accesses, graph, interrupt)
        .is_some_and(|mut search| search.rise().is_ok() && search.finds())
}

impl<'a> Search<'a> {
    /// Returns a search in which nothing is derived yet; `None` if the edges have a cycle, or there are too many chains.
    fn new<R: Shown>(
        facts: &Facts<'_, R>,
        accesses: &'a [Access],
        graph: &Graph,
        interrupt: &'a AtomicBool,
    ) -> Option<Self> {
        let known = Successors::new(graph);
        let order = known.sorted(|node| if node < graph.joints_from { facts.position(node) } else { 0 })?;
        let Chains { links, count: width } = Chains::new(accesses, graph, &known, &order)?;
        let (nodes, operations) = (graph.nodes(), facts.operations.len());
        let mut first_access = vec![0_u32; operations + 1];
        for access in accesses {
            first_access[access.op as usize + 1] += 1;
        }
        for at in 1..first_access.len() {
            first_access[at] += first_access[at - 1];
        }
        let keys = OfKey::all(facts.keys.len(), accesses, &links);
        let mut waits = vec![0_u32; nodes];
        for to in &known.ends {
            waits[*to as usize] += 1;
        }
        let taking: Vec<bool> = (0..operations as Op).map(|op| facts.takes_part(op)).collect();
        let count = taking.iter().filter(|takes| **takes).count();
        let mut search = Self {
            interrupt,
            accesses,
            first_access,
            keys,
            links,
            known,
            added: vec![Vec::new(); nodes],
            from_readers: FxHashSet::default(),
            width,
            clocks: vec![0; width * nodes],
            risen: VecDeque::new(),
            is_risen: vec![false; nodes],
            undo: Vec::new(),
            waits,
            taken: vec![false; operations],
            due: vec![u64::MAX; nodes],
            taking,
            joints_from: graph.joints_from,
            free: BTreeSet::new(),
            writers: BTreeSet::new(),
            current: vec![None; facts.keys.len()],
            state: 0,
            count,
            work_left: WORK_PER_TRANSACTION * (count as u64 + SMALL),
            is_proving: true,
            derived: Vec::new(),
        };
        search.start(facts, &order);
        Some(search)
    }

    /// Sets the clocks, and when each node is due: the earliest end of a transaction that is it or comes after it.
    fn start<R: Shown>(&mut self, facts: &Facts<'_, R>, order: &[Node]) {
        for node in order {
            let at = *node as usize * self.width;
            if let Some(link) = self.links.get(*node as usize)
                && link.number > 0
            {
                self.clocks[at + link.chain as usize] = link.number;
            }
            for next in self.known.range(*node) {
                let next = self.known.ends[next] as usize * self.width;
                for chain in 0..self.width {
                    self.clocks[next + chain] = self.clocks[next + chain].max(self.clocks[at + chain]);
                }
            }
            if *node < self.joints_from {
                self.risen.push_back(*node);
                self.is_risen[*node as usize] = true;
            }
        }
        for node in order.iter().rev() {
            let own = if *node < self.joints_from { facts.end(*node) } else { None };
            let after = self.known.of(*node).iter().map(|next| self.due[*next as usize]).min();
            self.due[*node as usize] = own.unwrap_or(u64::MAX).min(after.unwrap_or(u64::MAX));
        }
    }

    fn accesses(&self, op: Op) -> &'a [Access] {
        &self.accesses[self.first_access[op as usize] as usize..self.first_access[op as usize + 1] as usize]
    }

    /// Whether `first` is a writer that is known to come before `second`.
    fn before(&self, first: Op, second: Node) -> bool {
        let link = self.links[first as usize];
        link.number > 0
            && first != second
            && self.clocks[second as usize * self.width + link.chain as usize] >= link.number
    }

    /// Derives everything that follows from the clocks that have risen.
    fn rise(&mut self) -> Result<(), Halt> {
        while let Some(node) = self.risen.pop_front() {
            self.is_risen[node as usize] = false;
            let halt = self.derive(node).and_then(|()| self.pass_on(node));
            if halt.is_err() {
                for node in self.risen.drain(..) {
                    self.is_risen[node as usize] = false;
                }
                return halt;
            }
        }
        Ok(())
    }

    /// Raises the clocks of the successors of `node`.
    fn pass_on(&mut self, node: Node) -> Result<(), Halt> {
        for at in self.known.range(node) {
            self.raise(node, self.known.ends[at])?;
        }
        for at in 0..self.added[node as usize].len() {
            self.raise(node, self.added[node as usize][at])?;
        }
        Ok(())
    }

    /// Notes the work of comparing two clocks, or of taking a transaction.
    fn spend(&mut self) -> Result<(), Halt> {
        self.work_left = self.work_left.saturating_sub(self.width as u64 + 1);
        let goes_on = self.work_left > 0 && !self.interrupt.load(Ordering::Relaxed);
        if goes_on { Ok(()) } else { Err(Halt::GivenUp) }
    }

    /// Raises the clock of `to`, which comes after `from`.
    fn raise(&mut self, from: Node, to: Node) -> Result<(), Halt> {
        let (source, target) = (from as usize * self.width, to as usize * self.width);
        if let Some(link) = self.links.get(to as usize)
            && link.number > 0
            && self.clocks[source + link.chain as usize] >= link.number
        {
            return Err(Halt::Cycle(from, to));
        }
        self.spend()?;
        let mut rises = false;
        for chain in 0..self.width {
            let (theirs, mine) = (self.clocks[source + chain], self.clocks[target + chain]);
            if theirs > mine {
                self.note(Undo::Entry(target + chain, mine));
                self.clocks[target + chain] = theirs;
                rises = true;
            }
        }
        if rises && !self.is_risen[to as usize] {
            self.is_risen[to as usize] = true;
            self.risen.push_back(to);
        }
        Ok(())
    }

    /// Keeps what is to be undone: nothing before the first choice.
    fn note(&mut self, undo: Undo) {
        if !self.is_proving {
            self.undo.push(undo);
        }
    }

    /// Adds an edge that is not known.
    fn add(&mut self, from: Op, to: Op) -> Result<(), Halt> {
        self.added[from as usize].push(to);
        self.note(Undo::Edge(from, to));
        if !self.taken[from as usize] {
            self.bind(to);
            if self.taken[to as usize] {
                return Err(Halt::Cycle(from, to));
            }
        }
        self.raise(from, to)
    }

    /// Adds an edge that follows from the order of the two transactions `between`.
    fn follow(&mut self, derived: Derived) -> Result<(), Halt> {
        let Derived { from, to, .. } = derived;
        let is_known = from == to
            || self.before(from, to)
            || (self.links[from as usize].number == 0 && !self.from_readers.insert((from, to)));
        if is_known {
            return Ok(());
        }
        if self.is_proving {
            self.derived.push(derived);
        }
        self.add(from, to)
    }

    /// Applies both rules to a transaction.
    fn derive(&mut self, op: Node) -> Result<(), Halt> {
        if op >= self.joints_from {
            return Ok(());
        }
        for access in self.accesses(op) {
            let key = access.key;
            for writer in self.latest_before(op, key) {
                let between = (writer, op);
                if let Some(Some(source)) = access.read
                    && source != writer
                    && source != op
                {
                    let dependency = Dependency::Inferred;
                    self.follow(Derived { from: writer, to: source, key, dependency, between })?;
                }
                if access.writes {
                    for at in self.keys[key as usize].readers(writer) {
                        let reader = self.keys[key as usize].readers[at].1;
                        let dependency = Dependency::ReadWrite;
                        self.follow(Derived { from: reader, to: op, key, dependency, between })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the writers of an object that come before `op` and before no other writer that does.
    fn latest_before(&self, op: Op, key: u32) -> Vec<Op> {
        let clock = &self.clocks[op as usize * self.width..(op as usize + 1) * self.width];
        let mut latest: Vec<Op> = Vec::new();
        for (chain, members) in &self.keys[key as usize].writers {
            let mut seen = members.partition_point(|(number, _)| *number <= clock[*chain as usize]);
            if seen > 0 && members[seen - 1].1 == op {
                seen -= 1;
            }
            let Some(last) = seen.checked_sub(1) else { continue };
            let writer = members[last].1;
            if latest.iter().any(|other| self.before(writer, *other)) {
                continue;
            }
            latest.retain(|other| !self.before(*other, writer));
            latest.push(writer);
        }
        latest
    }

    /// Lets a node wait for one more, or for one less.
    fn bind(&mut self, node: Node) {
        self.waits[node as usize] += 1;
        if self.waits[node as usize] == 1 && node < self.joints_from {
            let due = self.due[node as usize];
            self.waiting(node).remove(&(due, node));
        }
    }

    fn waiting(&mut self, op: Op) -> &mut BTreeSet<(u64, Node)> {
        if self.links[op as usize].number > 0 { &mut self.writers } else { &mut self.free }
    }

    /// Makes `node` ready, since nothing has to precede it any more.
    fn release(&mut self, node: Node) {
        let mut released = vec![node];
        while let Some(node) = released.pop() {
            if node >= self.joints_from {
                self.unbind_after(node, &mut released);
            } else if self.taking[node as usize] {
                let due = self.due[node as usize];
                self.waiting(node).insert((due, node));
            }
        }
    }

    fn unbind_after(&mut self, node: Node, released: &mut Vec<Node>) {
        for at in self.known.range(node) {
            self.unbind(self.known.ends[at], released);
        }
        for at in 0..self.added[node as usize].len() {
            self.unbind(self.added[node as usize][at], released);
        }
    }

    fn unbind(&mut self, node: Node, released: &mut Vec<Node>) {
        self.waits[node as usize] -= 1;
        if self.waits[node as usize] == 0 {
            released.push(node);
        }
    }

    /// Takes `op` as the next transaction, and derives what follows.
    fn take(&mut self, op: Op) -> Result<(), Halt> {
        self.spend()?;
        let due = self.due[op as usize];
        self.waiting(op).remove(&(due, op));
        self.undo.push(Undo::Taken(op, self.state));
        self.taken[op as usize] = true;
        self.state ^= mixed(u64::from(op) << 1);
        let mut released = Vec::new();
        self.unbind_after(op, &mut released);
        for node in released {
            self.release(node);
        }
        for access in self.accesses(op).iter().filter(|access| access.writes) {
            let key = access.key as usize;
            let before = self.current[key].replace(op);
            self.undo.push(Undo::Current(access.key, before));
            let version = |writer: Op| mixed(u64::from(writer) << 1 | 1);
            self.state ^= before.map_or(0, version) ^ version(op);
            // The members of a chain are taken in its order.
            for chain in 0..self.keys[key].writers.len() {
                let members = &self.keys[key].writers[chain].1;
                let taken = members.partition_point(|(_, writer)| self.taken[*writer as usize]);
                if let Some((_, next)) = members.get(taken).copied()
                    && !self.before(op, next)
                {
                    self.add(op, next)?;
                }
            }
        }
        self.rise()
    }

    /// Undoes everything down to `length`.
    fn undo_to(&mut self, length: usize) {
        while self.undo.len() > length {
            match self.undo.pop() {
                Some(Undo::Entry(at, before)) => self.clocks[at] = before,
                Some(Undo::Edge(from, to)) => {
                    self.added[from as usize].pop();
                    self.from_readers.remove(&(from, to));
                    if !self.taken[from as usize] {
                        let mut released = Vec::new();
                        self.unbind(to, &mut released);
                        for node in released {
                            if !self.taken[node as usize] {
                                self.release(node);
                            }
                        }
                    }
                }
                Some(Undo::Taken(op, state)) => {
                    self.rebind_after(op);
                    self.taken[op as usize] = false;
                    self.state = state;
                    let due = self.due[op as usize];
                    self.waiting(op).insert((due, op));
                }
                Some(Undo::Current(key, before)) => self.current[key as usize] = before,
                None => {}
            }
        }
    }

    /// Makes the successors of `node` wait for it again.
    fn rebind_after(&mut self, node: Node) {
        let mut bound = vec![node];
        while let Some(node) = bound.pop() {
            let mut ends: Vec<Node> = self.known.of(node).to_vec();
            ends.extend_from_slice(&self.added[node as usize]);
            for end in ends {
                self.bind(end);
                if self.waits[end as usize] == 1 && end >= self.joints_from {
                    bound.push(end);
                }
            }
        }
    }

    /// Returns whether an order was found.
    fn finds(&mut self) -> bool {
        (self.is_proving, self.derived) = (false, Vec::new());
        let first: Vec<Node> =
            (0..self.waits.len() as Node).filter(|node| self.waits[*node as usize] == 0).collect();
        for node in first {
            self.release(node);
        }
        let mut order: Vec<Op> = Vec::with_capacity(self.count);
        // For each writer that was taken, where the undoing begins, and the length of the order before.
        let mut choices: Vec<(usize, usize)> = Vec::new();
        let mut dead: FxHashSet<u64> = FxHashSet::default();
        // The last writer tried in this state, not to be tried again.
        let mut tried: Option<(u64, Op)> = None;
        while order.len() < self.count {
            if self.undo.len() > UNDO_MAX {
                self.undo.clear();
                choices.clear();
            }
            let length = self.undo.len();
            let free = if tried.is_none() { self.free.first().copied() } else { None };
            let next = match (free, tried) {
                (Some((_, op)), _) => Some(op),
                (None, None) if dead.contains(&self.state) => None,
                (None, tried) => {
                    let from = tried.map_or((0, 0), |(due, op)| (due, op + 1));
                    self.writers.range(from..).next().map(|(_, op)| *op)
                }
            };
            if let Some(op) = next {
                match self.take(op) {
                    Ok(()) => {
                        if free.is_none() {
                            choices.push((length, order.len()));
                        }
                        order.push(op);
                        tried = None;
                        continue;
                    }
                    Err(Halt::GivenUp) => return false,
                    Err(Halt::Cycle(..)) => self.undo_to(length),
                }
                if free.is_none() {
                    tried = Some((self.due[op as usize], op));
                    continue;
                }
            }
            // Return to the last choice.
            dead.insert(self.state);
            let Some((length, before)) = choices.pop() else { return false };
            let op = order[before];
            order.truncate(before);
            self.undo_to(length);
            tried = Some((self.due[op as usize], op));
        }
        self.explains(&order)
    }

    /// Whether every transaction reads the versions that are current in `order`.
    fn explains(&self, order: &[Op]) -> bool {
        let mut current: Vec<Option<Op>> = vec![None; self.keys.len()];
        order.iter().all(|op| {
            let accesses = self.accesses(*op);
            let reads = accesses.iter().all(|access| {
                access.read.is_none_or(|writer| writer == current[access.key as usize] || writer == Some(*op))
            });
            for access in accesses.iter().filter(|access| access.writes) {
                current[access.key as usize] = Some(*op);
            }
            reads
        })
    }
}
