//! The promises of a system about its answers: one vocabulary for objects that hold values, for messages that
//! are delivered, and for transactions.
//!
//! Promises are ordered: one [implies](Promise::implies) another when every system that keeps the first keeps
//! the second too.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::consistency_model::ConsistencyModel;
use crate::freshness::Freshness;
use crate::session::SessionGuarantees;

/// The promise about the answers to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// Objects that hold values: registers, sets, counters.
    Objects(Consistency),
    /// Messages kept in partitions, each with one order, and handed to groups of consumers.
    Messages {
        /// How an acknowledged message is kept in its partition, as a reader of the whole partition sees it.
        stored: Delivery,
        /// How an acknowledged message reaches a group that consumes by subscription, over all its members.
        consumed: Delivery,
    },
    /// Transactions of several operations each, on many objects.
    Transactions(ConsistencyModel),
    /// Registers, each by itself: how old a value that is read may be.
    Freshness(Freshness),
    /// Registers that many processes share: what each of them may rely on.
    Sessions(SessionGuarantees),
}

impl Promise {
    /// Every object is linearizable: what most systems of objects promise.
    pub const LINEARIZABLE: Self = Self::Objects(Consistency::Linearizable);

    /// Writes are linearizable, reads may be old.
    pub const STALE_READS: Self = Self::Objects(Consistency::StaleReads);

    /// Replicas come to agree on everything that was acknowledged.
    pub const EVENTUAL: Self = Self::Objects(Consistency::Eventual);

    /// The names of the promises about sets and counters, strongest first.
    pub const OF_OBJECTS: &'static [&'static str] = &["linearizable", "stale-reads", "eventual"];

    /// The names of the promises about registers: those about objects; consistency models, for which each operation is
    /// a transaction: sequential and causal consistency; those about the age of reads, with placeholders for bounds; and
    /// session guarantees.
    pub const OF_REGISTERS: &'static [&'static str] = &[
        "linearizable",
        "stale-reads",
        "eventual",
        "sequential",
        "causal",
        "regular",
        "safe",
        "bounded-staleness=VERSIONS",
        "bounded-staleness=DURATION",
        "written",
        "pram",
        "read-your-writes",
        "monotonic-reads",
        "monotonic-writes",
        "writes-follow-reads",
    ];

    /// The names of the promises about messages, strongest first.
    pub const OF_MESSAGES: &'static [&'static str] =
        &["exactly-once", "at-least-once", "at-most-once", "best-effort"];

    /// Every transaction takes effect at once, at a moment between its beginning and its end.
    pub const STRICT_SERIALIZABLE: Self = Self::Transactions(ConsistencyModel::StrictSerializable);

    /// The names of the promises about transactions, stronger ones first.
    pub const OF_TRANSACTIONS: &'static [&'static str] = &{
        const COUNT: usize = ConsistencyModel::ALL.len();
        let mut names = [""; COUNT];
        let mut at = 0;
        while at < COUNT {
            names[at] = ConsistencyModel::ALL[COUNT - 1 - at].name();
            at += 1;
        }
        names
    };

    /// Returns the promise called `name`, as the command line has it: `linearizable`, `stale-reads`, a promise
    /// of delivery, which then applies both to stored and to consumed messages, one of the age of reads, session
    /// guarantees joined by `+`, or any name of a consistency model of transactions.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "linearizable" => Some(Self::LINEARIZABLE),
            "stale-reads" => Some(Self::STALE_READS),
            "eventual" => Some(Self::EVENTUAL),
            name => Delivery::named(name)
                .map(|delivery| Self::Messages { stored: delivery, consumed: delivery })
                .or_else(|| name.parse().ok().map(Self::Freshness))
                .or_else(|| SessionGuarantees::named(name).map(Self::Sessions))
                .or_else(|| ConsistencyModel::named(name).map(Self::Transactions)),
        }
    }

    /// Whether it is one of those called `names`, some of which may have a placeholder for a bound, or session guarantees
    /// where each of them is.
    #[must_use]
    pub fn is_among(self, names: &[&str]) -> bool {
        let form = if let Self::Freshness(freshness) = self { Some(freshness.form()) } else { None };
        let is_sessions = |promise| matches!(promise, Self::Sessions(_));
        let is = |named| self == named || (is_sessions(self) && is_sessions(named));
        names.iter().any(|name| form == Some(*name) || Self::named(name).is_some_and(is))
    }

    /// Whether every system that keeps `self` keeps `other` too.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        match (self, other) {
            (Self::Objects(one), Self::Objects(other)) => one >= other,
            (
                Self::Messages { stored, consumed },
                Self::Messages { stored: other_stored, consumed: other_consumed },
            ) => stored.implies(other_stored) && consumed.implies(other_consumed),
            (Self::Transactions(one), Self::Transactions(other)) => one.implies(other),
            (Self::Freshness(one), Self::Freshness(other)) => one.implies(other),
            (Self::Sessions(one), Self::Sessions(other)) => one.implies(other),
            // Session guarantees and the age of reads are about registers only. Together, all four guarantees are causal
            // consistency.
            (Self::Objects(Consistency::Linearizable), Self::Freshness(_) | Self::Sessions(_)) => true,
            // Old reads may contradict each other, and writes take effect in an order that respects time.
            (Self::Objects(Consistency::StaleReads), Self::Sessions(other)) => {
                SessionGuarantees::OF_WRITES.implies(other)
            }
            (Self::Transactions(one), Self::Sessions(_)) => one.implies(ConsistencyModel::Causal),
            (_, _) => false,
        }
    }

    /// Returns the promise about objects; a system that makes none is held to the strongest.
    #[must_use]
    pub fn consistency(self) -> Consistency {
        match self {
            Self::Objects(consistency) => consistency,
            Self::Messages { .. } | Self::Transactions(_) | Self::Freshness(_) | Self::Sessions(_) => {
                Consistency::Linearizable
            }
        }
    }

    /// Returns the promise about the partitions themselves; a system that makes none about messages is held
    /// to the strongest.
    #[must_use]
    pub fn stored(self) -> Delivery {
        match self {
            Self::Messages { stored, .. } => stored,
            Self::Objects(_) | Self::Transactions(_) | Self::Freshness(_) | Self::Sessions(_) => {
                Delivery::EXACTLY_ONCE
            }
        }
    }

    /// Returns the promise about the messages that a group consumes, likewise.
    #[must_use]
    pub fn consumed(self) -> Delivery {
        match self {
            Self::Messages { consumed, .. } => consumed,
            Self::Objects(_) | Self::Transactions(_) | Self::Freshness(_) | Self::Sessions(_) => {
                Delivery::EXACTLY_ONCE
            }
        }
    }

    /// Returns the promise about transactions; a system that makes none is held to the strongest.
    #[must_use]
    pub fn transactions(self) -> ConsistencyModel {
        match self {
            Self::Transactions(model) => model,
            Self::Objects(_) | Self::Messages { .. } | Self::Freshness(_) | Self::Sessions(_) => {
                ConsistencyModel::StrictSerializable
            }
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Objects(consistency) => f.pad(consistency.name()),
            Self::Messages { stored, consumed } => f.pad(&format!("stored {stored}, consumed {consumed}")),
            Self::Transactions(model) => model.fmt(f),
            Self::Freshness(freshness) => freshness.fmt(f),
            Self::Sessions(guarantees) => guarantees.fmt(f),
        }
    }
}

/// The promise about objects that hold values, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Replicas apply changes in any order. A read returns the state after some of the changes that had begun. Once no more
    /// changes are made and everything is healed, all replicas have every acknowledged one. For objects whose changes commute.
    /// Those of registers do not: of their writes one wins, and all replicas come to have that.
    Eventual,
    /// All changes of an object take effect in one order that respects real time. A read returns the state
    /// after some prefix of that order, perhaps an old one. Once no more writes are made and everything is
    /// healed, all replicas agree.
    StaleReads,
    /// All operations on an object take effect in one order that respects real time.
    Linearizable,
}

impl Consistency {
    /// Returns the name as reports print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Eventual => "eventually consistent",
            Self::StaleReads => "linearizable writes, stale reads",
            Self::Linearizable => "linearizable",
        }
    }
}

/// The promise about the delivery of messages: each point is forbidden or allowed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delivery {
    /// Whether a message may be lost that was acknowledged, or that a consumer has read.
    pub loss: Allowed,
    /// Whether one message may be in its partition, or reach a group, more than once.
    pub repetition: Allowed,
    /// Whether messages may overtake others of their partition: those sent again, or those whose producer
    /// does not wait for acknowledgements.
    pub reordering: Allowed,
    /// Whether consumers may receive unsettled messages: such a message may vanish, and its offset be given
    /// to another message.
    pub unsettled_reads: Allowed,
}

impl Delivery {
    /// Every acknowledged message is delivered, and none twice.
    pub const EXACTLY_ONCE: Self = Self::of(Allowed::No, Allowed::No);
    /// No acknowledged message is lost, and any may be delivered again.
    pub const AT_LEAST_ONCE: Self = Self::of(Allowed::No, Allowed::Yes);
    /// A message may be lost, and is never delivered again.
    pub const AT_MOST_ONCE: Self = Self::of(Allowed::Yes, Allowed::No);
    /// A message may be lost, and may be delivered again.
    pub const BEST_EFFORT: Self = Self::of(Allowed::Yes, Allowed::Yes);

    /// Returns the strongest promise that allows this much loss and repetition.
    ///
    /// A message that is sent again may overtake others, and if messages may be lost an acknowledgement does
    /// not mean that the message has its place: both allow reordering. A message that may be lost may be lost
    /// after it was read.
    #[must_use]
    pub const fn of(loss: Allowed, repetition: Allowed) -> Self {
        let reordering = match (loss, repetition) {
            (Allowed::No, Allowed::No) => Allowed::No,
            _ => Allowed::Yes,
        };
        Self { loss, repetition, reordering, unsettled_reads: loss }
    }

    /// Whether every system that keeps `self` keeps `other` too.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        self.loss <= other.loss
            && self.repetition <= other.repetition
            && self.reordering <= other.reordering
            && self.unsettled_reads <= other.unsettled_reads
    }

    /// Returns the name, as the command line has it: `at-least-once`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.loss, self.repetition) {
            (Allowed::Yes, Allowed::Yes) => "best-effort",
            (Allowed::Yes, Allowed::No) => "at-most-once",
            (Allowed::No, Allowed::Yes) => "at-least-once",
            (Allowed::No, Allowed::No) => "exactly-once",
        }
    }

    /// Returns the promise called `name`, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::EXACTLY_ONCE, Self::AT_LEAST_ONCE, Self::AT_MOST_ONCE, Self::BEST_EFFORT]
            .into_iter()
            .find(|delivery| delivery.name() == name)
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name().replace('-', " "))
    }
}

/// Whether a promise leaves room for something. `No` is the stronger promise, and the lesser value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowed {
    /// It breaks the promise.
    No,
    /// It may happen.
    Yes,
}

impl From<bool> for Allowed {
    fn from(allowed: bool) -> Self {
        if allowed { Self::Yes } else { Self::No }
    }
}

/// The demand of a promise on clocks: in any stretch of `lease`, as a node's wall clock counts it, that clock
/// falls behind the others by at most `slack`. Leases are such promises: a node that holds one relies on its
/// own clock to notice its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockBound {
    /// How long a node relies on its clock.
    pub lease: Duration,
    /// By how much the clock may fall behind meanwhile.
    pub slack: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_ordered() {
        assert!(Promise::LINEARIZABLE.implies(Promise::STALE_READS));
        assert!(!Promise::STALE_READS.implies(Promise::LINEARIZABLE));
        for weaker in [Delivery::AT_LEAST_ONCE, Delivery::AT_MOST_ONCE, Delivery::BEST_EFFORT] {
            assert!(Delivery::EXACTLY_ONCE.implies(weaker));
            assert!(!weaker.implies(Delivery::EXACTLY_ONCE));
            assert!(weaker.implies(Delivery::BEST_EFFORT));
        }
        assert!(!Delivery::AT_LEAST_ONCE.implies(Delivery::AT_MOST_ONCE));
        let of = |name| Promise::named(name).unwrap();
        assert!(Promise::STRICT_SERIALIZABLE.implies(of("PL-SI")));
        assert!(!of("snapshot-isolation").implies(of("serializable")));
        for name in ["regular", "safe", "written", "bounded-staleness=2", "bounded-staleness=1s"] {
            assert!(Promise::LINEARIZABLE.implies(of(name)) && !of(name).implies(Promise::STALE_READS));
            assert!(!Promise::STALE_READS.implies(of(name)) && of(name).is_among(Promise::OF_REGISTERS));
            assert!(!of(name).is_among(Promise::OF_OBJECTS));
        }
        // Promises about other things are not comparable.
        assert!(!Promise::STRICT_SERIALIZABLE.implies(Promise::LINEARIZABLE));
        assert!(!Promise::LINEARIZABLE.implies(of("read-uncommitted")));
        for strong in ["linearizable", "sequential", "causal", "pram+writes-follow-reads"] {
            assert!(
                of(strong).implies(of("pram")) && of(strong).implies(of("writes-follow-reads")),
                "{strong}"
            );
            assert!(!of("pram").implies(of(strong)), "{strong}");
        }
        assert!(of("pram").implies(of("monotonic-writes")) && !of("pram").implies(of("writes-follow-reads")));
        assert!(Promise::STALE_READS.implies(of("monotonic-writes")));
        assert!(!Promise::STALE_READS.implies(of("monotonic-reads")));
    }

    #[test]
    fn session_guarantees_may_be_joined_where_each_is_known() {
        let joined = Promise::named("monotonic-reads+writes-follow-reads").unwrap();
        assert!(joined.is_among(Promise::OF_REGISTERS) && !joined.is_among(Promise::OF_OBJECTS));
        assert!(Promise::LINEARIZABLE.is_among(Promise::OF_OBJECTS));
        assert!(!Promise::STRICT_SERIALIZABLE.is_among(Promise::OF_REGISTERS));
    }

    #[test]
    fn each_kind_of_promise_has_names_of_its_own() {
        let kinds = [Promise::OF_OBJECTS, Promise::OF_MESSAGES, Promise::OF_TRANSACTIONS];
        for (place, names) in kinds.iter().enumerate() {
            for name in *names {
                let promise = Promise::named(name).unwrap();
                assert_eq!(kinds.iter().position(|kind| kind.contains(name)), Some(place), "{name}");
                let is_of_kind = match promise {
                    Promise::Objects(_) => place == 0,
                    Promise::Messages { .. } => place == 1,
                    Promise::Transactions(_) => place == 2,
                    Promise::Freshness(_) | Promise::Sessions(_) => false,
                };
                assert!(is_of_kind, "{name}");
            }
        }
        assert_eq!(Promise::OF_TRANSACTIONS[0], "strict-serializable");
    }

    #[test]
    fn named_promises_are_found_by_their_names() {
        for name in ["exactly-once", "at-least-once", "at-most-once", "best-effort"] {
            assert_eq!(Delivery::named(name).map(Delivery::name), Some(name));
        }
        assert_eq!(Delivery::named("twice"), None);
    }
}
