//! One register while its history grows: the conditions of `linearizable::chains`, kept up by event.
//!
//! These speak of chains, and of f, the earliest completion in one, and s, the latest invocation. An event changes one chain,
//! so that only what it has to do with the others is looked at. What makes that possible with little memory:
//!
//! - A value is *over* once an operation of a later cluster of its chain has completed, or one of a chain that is after its own,
//!   before any operation was invoked that can still be answered. An answer with it would then be a violation, as it is with a
//!   value that nothing wrote. So it is forgotten. (A chain is after another one when f of the other is less than its s; it only
//!   becomes so for more chains.)
//! - A write or compare-and-set that was not answered counts from the moment at which an answered operation observes its value.
//!   One that crashed is remembered until then.
//!
//! A value may be written again when it is over. One that is written while it is not has two producers, and the register is
//! not followed any further.

use duress_history::OpType;
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use rustc_hash::FxHashMap;

use super::{Break, Ended, Moment, Object};

/// Before everything, and after it.
const BEFORE: Moment = 0;
const NEVER: Moment = Moment::MAX;

/// So many values are looked through to forget some.
const SWEEP_MIN: usize = 8;
/// A register with more values that are not over is not followed: each operation looks at all of them.
const LIVE_MAX: usize = 1 << 12;

type Value = Option<Scalar>;
/// The number of a cluster or a chain. No two have the same.
type Id = u64;

/// A register, empty at first.
pub struct Registers {
    /// The cluster of each value that has a producer and is not over.
    values: FxHashMap<Value, Id>,
    clusters: FxHashMap<Id, Cluster>,
    /// By number, rising.
    chains: Vec<Chain>,
    next: Id,
    /// How many clusters are in chains, and at how many of them those that are over are forgotten.
    live: usize,
    sweep_at: usize,
}

/// A value: its producer and the reads that saw it.
struct Cluster {
    value: Value,
    producer: Producer,
    /// Absent as long as nothing shows that the producer took effect.
    chain: Option<Id>,
    /// The earliest completion; [`NEVER`] if there is none.
    first: Moment,
    /// The earliest completion in later clusters of the chain.
    later: Moment,
    /// The cluster before it in the chain.
    before: Option<Id>,
    /// Whether a compare-and-set observed the value, and took effect.
    succeeded: bool,
}

/// The operation that produces a value.
#[derive(Clone)]
enum Producer {
    /// None: it is there from the start.
    Start,
    Write(Moment),
    /// With the value that it observes.
    Cas(Moment, Value),
}

struct Chain {
    number: Id,
    /// f and s.
    first: Moment,
    last: Moment,
    /// The least f of the chains that are after this one.
    over: Moment,
    /// Its clusters that are not over.
    members: Vec<Id>,
}

impl Default for Registers {
    fn default() -> Self {
        let mut register = Self {
            values: FxHashMap::default(),
            clusters: FxHashMap::default(),
            chains: Vec::new(),
            next: 0,
            live: 1,
            sweep_at: SWEEP_MIN,
        };
        let number = register.produce(None, Producer::Start);
        // Its chain comes before all others.
        let members = vec![number];
        register.chains.push(Chain { number, first: BEFORE, last: BEFORE, over: NEVER, members });
        if let Some(cluster) = register.clusters.get_mut(&number) {
            (cluster.chain, cluster.first) = (Some(number), BEFORE);
        }
        register
    }
}

/// The change that an operation makes, and what it observes.
enum Effect<'a> {
    Observe(Option<&'a Scalar>),
    Write(Option<&'a Scalar>),
    Cas(Option<&'a Scalar>, &'a Scalar),
}

fn effect(op: &RegisterOp) -> Effect<'_> {
    match op {
        RegisterOp::Read(value) => Effect::Observe(value.as_ref()),
        RegisterOp::Write(value) => Effect::Write(Some(value)),
        RegisterOp::Delete => Effect::Write(None),
        RegisterOp::Cas { old, new } if old.as_ref() == Some(new) => Effect::Observe(old.as_ref()),
        RegisterOp::Cas { old, new } => Effect::Cas(old.as_ref(), new),
    }
}

/// Returns the value that `op` leaves behind, where that is a change.
fn produced(op: &RegisterOp) -> Option<Value> {
    match effect(op) {
        Effect::Observe(_) => None,
        Effect::Write(value) => Some(value.cloned()),
        Effect::Cas(_, new) => Some(Some(new.clone())),
    }
}

impl Object for Registers {
    type Action = Register;

    fn key(action: &Register) -> Option<&Scalar> {
        Some(&action.key)
    }

    fn begin(&mut self, asked: &Register, at: Moment, oldest: Moment) -> Result<(), Break> {
        let (value, producer) = match effect(&asked.op) {
            Effect::Observe(_) => return Ok(()),
            Effect::Write(value) => (value.cloned(), Producer::Write(at)),
            Effect::Cas(old, new) => (Some(new.clone()), Producer::Cas(at, old.cloned())),
        };
        if self.values.contains_key(&value) {
            self.sweep(oldest);
            if self.values.contains_key(&value) {
                return Err(Break::Beyond);
            }
        }
        self.produce(value, producer);
        Ok(())
    }

    fn end(&mut self, ended: &Ended<'_, Register>, oldest: Moment) -> Result<(), Break> {
        match ended.op_type {
            OpType::Ok => {
                let value = match effect(&ended.answer.op) {
                    Effect::Observe(value) | Effect::Write(value) => value.cloned(),
                    Effect::Cas(_, new) => Some(new.clone()),
                };
                self.see(&value, ended)?;
            }
            OpType::Fail => {
                if let Some(value) = produced(&ended.asked.op) {
                    let id = self.values.remove(&value);
                    if id
                        .and_then(|id| self.clusters.remove(&id))
                        .is_some_and(|failed| failed.chain.is_some())
                    {
                        return Err(Break::Anomaly);
                    }
                }
                // A comparison that failed, and reports the value found, is a read.
                let saw = ended.error.and_then(|error| error.saw.as_ref());
                if let (RegisterOp::Cas { .. }, Some(saw)) = (&ended.asked.op, saw) {
                    self.see(saw, ended)?;
                }
            }
            OpType::Info | OpType::Invoke => {}
        }
        if self.live >= self.sweep_at {
            self.sweep(oldest);
            self.sweep_at = SWEEP_MIN.max(2 * self.live);
        }
        if self.chains.len() > LIVE_MAX { Err(Break::Beyond) } else { Ok(()) }
    }
}

impl Registers {
    /// Takes note of an operation that may produce `value`.
    fn produce(&mut self, value: Value, producer: Producer) -> Id {
        let id = self.next;
        self.next += 1;
        self.values.insert(value.clone(), id);
        let (chain, before, succeeded) = (None, None, false);
        self.clusters
            .insert(id, Cluster { value, producer, chain, first: NEVER, later: NEVER, before, succeeded });
        id
    }

    /// An operation of the cluster of `value` was answered.
    fn see(&mut self, value: &Value, ended: &Ended<'_, Register>) -> Result<(), Break> {
        let id = *self.values.get(value).ok_or(Break::Anomaly)?;
        self.take_effect(id)?;
        self.join(id, ended.begun, Some(ended.at))
    }

    /// The producer of a value took effect, and all that it rests on.
    fn take_effect(&mut self, id: Id) -> Result<(), Break> {
        // From a value back to the one that it was compared with, until one that took effect.
        let mut pending = Vec::new();
        let mut at = id;
        let mut chain = loop {
            let Some(cluster) = self.clusters.get(&at) else { return Err(Break::Anomaly) };
            if cluster.chain.is_some() {
                break cluster.chain;
            }
            // In a circle, each of them would have to be first.
            if pending.contains(&at) {
                return Err(Break::Anomaly);
            }
            pending.push(at);
            match &cluster.producer {
                Producer::Cas(_, old) => at = *self.values.get(old).ok_or(Break::Anomaly)?,
                Producer::Start | Producer::Write(_) => break None,
            }
        };
        let mut before = chain.map(|_| at);
        while let Some(id) = pending.pop() {
            if let Some(before) = before.and_then(|before| self.clusters.get_mut(&before))
                && std::mem::replace(&mut before.succeeded, true)
            {
                return Err(Break::Anomaly);
            }
            let number = *chain.get_or_insert_with(|| {
                let number = self.next;
                self.next += 1;
                let members = Vec::new();
                self.chains.push(Chain { number, first: NEVER, last: BEFORE, over: NEVER, members });
                number
            });
            let Some(cluster) = self.clusters.get_mut(&id) else { return Err(Break::Anomaly) };
            (cluster.chain, cluster.before) = (Some(number), before);
            let place = self.chains.binary_search_by_key(&number, |chain| chain.number);
            self.chains[place.map_err(|_| Break::Anomaly)?].members.push(id);
            self.live += 1;
            if let Producer::Write(begun) | Producer::Cas(begun, _) = cluster.producer {
                self.join(id, begun, None)?;
            }
            before = Some(id);
        }
        Ok(())
    }

    /// An operation joins the cluster `id`, which took effect: answered now, or without an answer.
    fn join(&mut self, id: Id, begun: Moment, answered: Option<Moment>) -> Result<(), Break> {
        let Some(cluster) = self.clusters.get_mut(&id) else { return Err(Break::Anomaly) };
        if cluster.later < begun {
            return Err(Break::Anomaly);
        }
        let (Some(number), mut before) = (cluster.chain, cluster.before) else { return Err(Break::Anomaly) };
        if let Some(now) = answered
            && cluster.first == NEVER
        {
            cluster.first = now;
            // A cluster that knows of a later completion has told all clusters before it.
            while let Some(earlier) = before.and_then(|before| self.clusters.get_mut(&before))
                && earlier.later == NEVER
            {
                earlier.later = now;
                before = earlier.before;
            }
        }
        // Chains are removed with their last cluster.
        let Ok(place) = self.chains.binary_search_by_key(&number, |chain| chain.number) else {
            return Err(Break::Anomaly);
        };
        let chain = &mut self.chains[place];
        chain.first = chain.first.min(answered.unwrap_or(NEVER));
        chain.last = chain.last.max(begun);
        let (first, last, mut over) = (chain.first, chain.last, chain.over);
        for other in &mut self.chains {
            if other.number == number {
                continue;
            }
            if first < other.last {
                over = over.min(other.first);
            }
            if other.first < last {
                other.over = other.over.min(first);
            }
        }
        self.chains[place].over = over;
        if over < last { Err(Break::Anomaly) } else { Ok(()) }
    }

    /// Forgets values that are over. Those that are pending are not looked at: many may have crashed.
    fn sweep(&mut self, oldest: Moment) {
        let Self { values, clusters, chains, .. } = self;
        self.live = 0;
        for chain in &mut *chains {
            let all = chain.over < oldest;
            chain.members.retain(|id| {
                let over = all || clusters.get(id).is_none_or(|cluster| cluster.later < oldest);
                if over && let Some(cluster) = clusters.remove(id) {
                    values.remove(&cluster.value);
                }
                !over
            });
            self.live += chain.members.len();
        }
        chains.retain(|chain| chain.over >= oldest);
    }
}
