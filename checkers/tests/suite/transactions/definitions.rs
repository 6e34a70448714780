//! The consistency models as the papers define them, decided by trying every order.

use std::collections::HashMap;
use std::fmt::Write as _;

use duress_history::ConsistencyModel as Model;

/// The answer to a read: the values of a list, or the value of a register, if it has one.
pub type Seen = Vec<u32>;

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub enum Act {
    Write(u8, u32),
    Read(u8, Seen),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Ok,
    Fail,
    Info,
}

#[derive(Clone, Debug)]
pub struct Transaction {
    pub process: u32,
    pub begin: u64,
    pub end: u64,
    pub ended: Ended,
    pub acts: Vec<Act>,
}

/// A small history.
#[derive(Clone, Debug, Default)]
pub struct Small {
    pub transactions: Vec<Transaction>,
}

/// Lists, or registers.
pub trait Data {
    const WRITE: &'static str;
    /// Whether finding no order is not always proof that there is none.
    fn may_be_undecided(model: Model) -> bool;
    fn written(before: &Seen, value: u32) -> Seen;
    fn json(seen: &Seen) -> String;
}

pub struct List;
pub struct Register;

impl Data for List {
    const WRITE: &'static str = "append";

    /// Lists have an order but for what no read shows: whether that can be put into one that snapshots allow is as hard as for registers.
    fn may_be_undecided(model: Model) -> bool {
        matches!(model, Model::SnapshotIsolation | Model::StrongSessionSnapshotIsolation)
    }

    fn written(before: &Seen, value: u32) -> Seen {
        before.iter().copied().chain([value]).collect()
    }

    fn json(seen: &Seen) -> String {
        format!("{seen:?}")
    }
}

impl Data for Register {
    const WRITE: &'static str = "w";

    /// A serial order of small histories is found, or else a proof that there is none.
    fn may_be_undecided(model: Model) -> bool {
        !model.implies(Model::RepeatableRead)
    }

    fn written(_: &Seen, value: u32) -> Seen {
        vec![value]
    }

    fn json(seen: &Seen) -> String {
        seen.first().map_or_else(|| "null".to_owned(), ToString::to_string)
    }
}

type State = HashMap<u8, Seen>;

impl Small {
    /// The history as lines.
    pub fn lines<D: Data>(&self) -> String {
        let mut events: Vec<(u64, String)> = Vec::new();
        for transaction in &self.transactions {
            let value = |answered: bool| {
                let acts = transaction.acts.iter().map(|act| match act {
                    Act::Write(key, value) => format!("[\"{}\",{key},{value}]", D::WRITE),
                    Act::Read(key, seen) if answered => format!("[\"r\",{key},{}]", D::json(seen)),
                    Act::Read(key, _) => format!("[\"r\",{key},null]"),
                });
                format!("[{}]", acts.collect::<Vec<_>>().join(","))
            };
            let event = |op_type: &str, answered| {
                format!(
                    "{{\"process\":{},\"type\":\"{op_type}\",\"f\":\"txn\",\"value\":{}}}\n",
                    transaction.process,
                    value(answered)
                )
            };
            events.push((transaction.begin, event("invoke", false)));
            events.push((
                transaction.end,
                match transaction.ended {
                    Ended::Ok => event("ok", true),
                    Ended::Fail => event("fail", false),
                    Ended::Info => event("info", false),
                },
            ));
        }
        events.sort();
        events.into_iter().fold(String::new(), |mut lines, (_, event)| {
            write!(lines, "{event}").expect("a string can be written to");
            lines
        })
    }

    /// Whether some of the transactions of unknown outcome, and all that were acknowledged, keep `model`.
    pub fn keeps<D: Data>(&self, model: Model) -> bool {
        let of = |ended| {
            let all = self.transactions.iter().enumerate();
            all.filter(move |(_, it)| it.ended == ended).map(|(at, _)| at).collect::<Vec<usize>>()
        };
        let (ok, info) = (of(Ended::Ok), of(Ended::Info));
        (0..1_u32 << info.len()).any(|subset| {
            let maybe = info.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1).map(|(_, it)| *it);
            let taking: Vec<usize> = ok.iter().copied().chain(maybe).collect();
            match model {
                Model::Serializable | Model::StrongSessionSerializable | Model::StrictSerializable => {
                    self.is_serial::<D>(&taking, model, &mut Vec::new(), &State::new())
                }
                Model::SnapshotIsolation | Model::StrongSessionSnapshotIsolation => {
                    self.is_of_snapshots::<D>(&taking, model, &mut Vec::new())
                }
                _ => self.is_visible::<D>(&taking, model, &mut Vec::new()),
            }
        })
    }

    /// Whether `one` must come before `other` by the order of time that the model keeps.
    fn is_before(&self, model: Model, one: usize, other: usize) -> bool {
        let (one, other) = (&self.transactions[one], &self.transactions[other]);
        match model {
            Model::StrictSerializable => one.ended == Ended::Ok && one.end < other.begin,
            Model::StrongSessionSerializable | Model::StrongSessionSnapshotIsolation | Model::Causal => {
                one.process == other.process && one.begin < other.begin
            }
            _ => false,
        }
    }

    /// Whether `state` explains the reads of a transaction; and what it leaves.
    fn applied<D: Data>(&self, at: usize, state: &State) -> Option<State> {
        let mut state = state.clone();
        for act in &self.transactions[at].acts {
            match act {
                Act::Write(key, value) => {
                    let before = state.entry(*key).or_default();
                    *before = D::written(before, *value);
                }
                Act::Read(key, seen) => {
                    let held = state.get(key).cloned().unwrap_or_default();
                    if self.transactions[at].ended == Ended::Ok && held != *seen {
                        return None;
                    }
                }
            }
        }
        Some(state)
    }

    /// One after the other.
    fn is_serial<D: Data>(
        &self,
        taking: &[usize],
        model: Model,
        taken: &mut Vec<usize>,
        state: &State,
    ) -> bool {
        if taken.len() == taking.len() {
            return true;
        }
        for at in taking {
            let left = |other: &usize| !taken.contains(other);
            let early =
                taking.iter().filter(|other| left(other)).any(|other| self.is_before(model, *other, *at));
            if !left(at) || early {
                continue;
            }
            if let Some(state) = self.applied::<D>(*at, state) {
                taken.push(*at);
                if self.is_serial::<D>(taking, model, taken, &state) {
                    return true;
                }
                taken.pop();
            }
        }
        false
    }

    fn writes(&self, at: usize, key: u8) -> bool {
        self.transactions[at].acts.iter().any(|act| matches!(act, Act::Write(of, _) if *of == key))
    }

    /// Snapshot isolation: each takes a snapshot, and commits later; nothing that it writes was written by another in between.
    /// `events` are snapshots and commits so far.
    fn is_of_snapshots<D: Data>(
        &self,
        taking: &[usize],
        model: Model,
        events: &mut Vec<(usize, bool)>,
    ) -> bool {
        if events.len() == 2 * taking.len() {
            return true;
        }
        for at in taking {
            let began = events.contains(&(*at, false));
            if events.contains(&(*at, true)) {
                continue;
            }
            if began {
                let since = events.iter().position(|event| *event == (*at, false)).expect("it began");
                let conflicts = events[since..].iter().any(|(other, commits)| {
                    *commits && (0..4).any(|key| self.writes(*at, key) && self.writes(*other, key))
                });
                if conflicts {
                    continue;
                }
            } else {
                let early =
                    |other: &usize| self.is_before(model, *other, *at) && !events.contains(&(*other, true));
                if taking.iter().any(early) {
                    continue;
                }
                let commits: Vec<usize> = events.iter().filter(|(_, it)| *it).map(|(at, _)| *at).collect();
                if self.applied::<D>(*at, &self.after::<D>(&commits)).is_none() {
                    continue;
                }
            }
            events.push((*at, began));
            if self.is_of_snapshots::<D>(taking, model, events) {
                return true;
            }
            events.pop();
        }
        false
    }

    /// Returns the state after the writes of `commits`, without regard to their reads.
    fn after<D: Data>(&self, commits: &[usize]) -> State {
        let mut state = State::new();
        for act in commits.iter().flat_map(|at| &self.transactions[*at].acts) {
            if let Act::Write(key, value) = act {
                let before = state.entry(*key).or_default();
                *before = D::written(before, *value);
            }
        }
        state
    }

    /// Read committed, read atomic and causal: some order of all is such that each transaction reads, of what is visible to it, the
    /// last; read committed demands no more than that what was read came before.
    fn is_visible<D: Data>(&self, taking: &[usize], model: Model, order: &mut Vec<usize>) -> bool {
        if order.len() == taking.len() {
            return self.is_explained::<D>(model, order);
        }
        for at in taking {
            if !order.contains(at) {
                order.push(*at);
                if self.is_visible::<D>(taking, model, order) {
                    return true;
                }
                order.pop();
            }
        }
        false
    }

    fn is_explained<D: Data>(&self, model: Model, order: &[usize]) -> bool {
        let place = |at: usize| order.iter().position(|other| *other == at).expect("it takes part");
        let commits_before = |at: usize| &order[..place(at)];
        // The order respects the order in time that the model demands.
        for one in order {
            for other in order {
                if self.is_before(model, *one, *other) && place(*one) > place(*other) {
                    return false;
                }
            }
        }
        // The writer of a value as its transaction left it, among those before.
        let left = |at: usize, key: u8| {
            let mut state = State::new();
            for act in &self.transactions[at].acts {
                if let Act::Write(of, value) = act
                    && *of == key
                {
                    let before = state.entry(key).or_default();
                    *before = D::written(before, *value);
                }
            }
            state.remove(&key).unwrap_or_default()
        };
        let mut sources: HashMap<usize, Vec<usize>> = HashMap::new();
        for at in order.iter().filter(|at| self.transactions[**at].ended == Ended::Ok) {
            let mut own: HashMap<u8, Seen> = HashMap::new();
            let mut read: HashMap<u8, Seen> = HashMap::new();
            for act in &self.transactions[*at].acts {
                match act {
                    Act::Write(key, value) => {
                        let before = own.entry(*key).or_default();
                        *before = D::written(before, *value);
                        let known = read.entry(*key).or_default();
                        if D::WRITE == "w" || self.writes(*at, *key) {
                            *known = D::written(known, *value);
                        }
                    }
                    Act::Read(key, seen) => {
                        let mine = own.get(key).cloned().unwrap_or_default();
                        let is_within = read.contains_key(key);
                        // The transaction's own appends are at the end of a list; its own write is the register's value.
                        let others: Seen = match D::WRITE {
                            "w" if own.contains_key(key) && *seen == mine => continue,
                            // A transaction may see any of what it wrote itself.
                            "w" if model == Model::ReadCommitted && self.wrote_before(*at, act, seen) => {
                                continue;
                            }
                            "w" => seen.clone(),
                            _ => match seen.strip_suffix(&mine[..]) {
                                Some(others) => others.to_vec(),
                                // A transaction may see less of what it appended itself.
                                None if model == Model::ReadCommitted => {
                                    let own =
                                        (0..=mine.len()).rev().find(|own| seen.ends_with(&mine[..*own]));
                                    seen[..seen.len() - own.unwrap_or(0)].to_vec()
                                }
                                None => return false,
                            },
                        };
                        if D::WRITE == "w" && own.contains_key(key) && model != Model::ReadCommitted {
                            return false;
                        }
                        if is_within
                            && model != Model::ReadCommitted
                            && read.get(key) != Some(seen)
                            && (!own.contains_key(key) || self.read_before(*at, *key, act))
                        {
                            return false;
                        }
                        read.insert(*key, seen.clone());
                        // The transaction that wrote the last value seen must have left exactly this state.
                        let last = others.last().copied();
                        let writer = last.map(|value| {
                            commits_before(*at)
                                .iter()
                                .copied()
                                .find(|other| left(*other, *key).last() == Some(&value))
                        });
                        match writer {
                            Some(None) => return false,
                            Some(Some(writer)) => sources.entry(*at).or_default().push(writer),
                            None => {}
                        }
                        // A list is what was appended in this order, up to there.
                        if D::WRITE == "append" {
                            let writers =
                                order.iter().filter(|other| self.writes(**other, *key) && **other != *at);
                            let whole: Seen = writers.flat_map(|other| left(*other, *key)).collect();
                            if !whole.starts_with(&others) {
                                return false;
                            }
                        }
                    }
                }
            }
        }
        if model == Model::ReadCommitted {
            return true;
        }
        // Read atomic and causal: of the writers of an object that are visible, the last.
        let sources_of = |at: usize| sources.get(&at).cloned().unwrap_or_default();
        for at in order.iter().filter(|at| self.transactions[**at].ended == Ended::Ok) {
            let mut visible: Vec<usize> = sources_of(*at);
            if model == Model::Causal {
                visible.extend(order.iter().copied().filter(|other| self.is_before(model, *other, *at)));
                let mut next = 0;
                while next < visible.len() {
                    let one = visible[next];
                    let more = sources_of(one).into_iter();
                    let before = order.iter().copied().filter(|other| self.is_before(model, *other, one));
                    for other in more.chain(before.collect::<Vec<_>>()) {
                        if !visible.contains(&other) {
                            visible.push(other);
                        }
                    }
                    next += 1;
                }
            }
            // A transaction sees the writes of others in a register until it writes it, and in a list before its own appends.
            let mut own: HashMap<u8, Seen> = HashMap::new();
            for act in &self.transactions[*at].acts {
                match act {
                    Act::Write(key, value) => own.entry(*key).or_default().push(*value),
                    Act::Read(key, seen) if D::WRITE == "append" || !own.contains_key(key) => {
                        let mine = own.get(key).cloned().unwrap_or_default();
                        let seen = seen.strip_suffix(&mine[..]).unwrap_or(seen);
                        let writers = visible.iter().copied().filter(|it| it != at && self.writes(*it, *key));
                        let last = writers.max_by_key(|writer| place(*writer));
                        let from = seen.last().and_then(|value| {
                            order.iter().copied().find(|other| left(*other, *key).last() == Some(value))
                        });
                        let agrees = match (last, from) {
                            (None, None) => true,
                            (Some(last), Some(from)) => place(last) <= place(from),
                            (None, Some(_)) => true,
                            (Some(_), None) => false,
                        };
                        if !agrees {
                            return false;
                        }
                    }
                    Act::Read(..) => {}
                }
            }
        }
        true
    }

    /// Whether the transaction wrote what it saw before it did `act`.
    fn wrote_before(&self, at: usize, act: &Act, seen: &Seen) -> bool {
        let acts = self.transactions[at].acts.iter().take_while(|other| !std::ptr::eq(*other, act));
        acts.into_iter().any(|other| matches!(other, Act::Write(_, value) if seen.first() == Some(value)))
    }

    /// Whether the transaction read `key` before it did `act`.
    fn read_before(&self, at: usize, key: u8, act: &Act) -> bool {
        let acts = &self.transactions[at].acts;
        let until = acts.iter().position(|other| std::ptr::eq(other, act)).unwrap_or_default();
        acts[..until].iter().any(|other| matches!(other, Act::Read(of, _) if *of == key))
    }
}
