//! Histories checked while they grow.
//!
//! [`Growing`] takes one event after the other, and says at any time whether those until then are possible. It keeps what is
//! open: what a later event can still contradict. For each prefix of a history on registers or sets the answer is that of the
//! whole check of the same vocabulary; of logs it is part of that. The whole check remains the authority: it is the one that
//! knows the operations of a witness, and how to explain them.
//!
//! - [`Registers`]: linearizability of registers; [`Sets`]: of sets;
//! - [`Logs`]: what is certain at once of the log of a broker;
//! - [`ByKey`]: a history taken apart by object, each followed by itself.

mod logs;
mod registers;
mod sets;

use duress_history::{Event, OpError, OpType, Process, Scalar};
use rustc_hash::FxHashMap;

pub use logs::Logs;
pub use registers::Registers;
pub use sets::Sets;

/// The check of a history that grows.
pub trait Growing<A>: Send {
    /// Takes the next event of a client, in order of index.
    fn take(&mut self, event: &Event<A>);

    /// Returns what is known after the events until now.
    fn so_far(&self) -> SoFar;
}

/// The result of a check so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Operations that ended and were checked.
    pub operations: u64,
    /// The index of the first event that shows an anomaly: the history until this event is impossible.
    pub anomaly: Option<u64>,
    /// Objects that are not followed any further, and are left to the whole check.
    pub left: u64,
}

/// A moment of a history: the index of an event and one, since 0 is the moment before all of them.
pub(crate) type Moment = u64;

/// An operation that ended.
pub struct Ended<'a, A> {
    op_type: OpType,
    /// The moments of its invocation and of its end.
    begun: Moment,
    at: Moment,
    /// The request, and, if it is [`OpType::Ok`], the answer.
    asked: &'a A,
    answer: &'a A,
    error: Option<&'a OpError>,
}

/// Why an object is not followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The last event is impossible after those before it.
    Anomaly,
    /// The object is beyond what can be followed.
    Beyond,
}

/// One object, followed while operations on it begin and end.
///
/// After a [`Break`] nothing more is asked of it.
pub trait Object: Default + Send {
    /// The operations on it.
    type Action: Clone + Send;

    /// Returns the name of the object that `action` is about.
    fn key(action: &Self::Action) -> Option<&Scalar>;

    /// An operation was invoked. None that can still be answered was invoked before `oldest`.
    ///
    /// # Errors
    /// [`Break`].
    fn begin(&mut self, asked: &Self::Action, at: Moment, oldest: Moment) -> Result<(), Break>;

    /// An operation ended. None that can still be answered was invoked before `oldest`.
    ///
    /// # Errors
    /// [`Break`].
    fn end(&mut self, ended: &Ended<'_, Self::Action>, oldest: Moment) -> Result<(), Break>;
}

/// A history taken apart by object.
pub struct ByKey<O: Object> {
    /// `None` for those that are not followed any further.
    objects: FxHashMap<Option<Scalar>, Option<Followed<O>>>,
    so_far: SoFar,
}

/// An object, and the operations on it that were not answered yet, by invocation.
struct Followed<O: Object> {
    object: O,
    open: Vec<(Process, Moment, O::Action)>,
}

impl<O: Object> Default for ByKey<O> {
    fn default() -> Self {
        Self { objects: FxHashMap::default(), so_far: SoFar::default() }
    }
}

impl<O: Object> Followed<O> {
    fn take(&mut self, event: &Event<O::Action>) -> Result<(), Break> {
        let at = event.index + 1;
        if event.op_type == OpType::Invoke {
            let oldest = self.open.first().map_or(at, |(_, begun, _)| *begun);
            self.open.push((event.process, at, event.action.clone()));
            return self.object.begin(&event.action, at, oldest);
        }
        // The whole check refuses a history in which none is there.
        let place = self.open.iter().position(|(process, ..)| *process == event.process);
        let (_, begun, asked) = self.open.remove(place.ok_or(Break::Beyond)?);
        let oldest = self.open.first().map_or(at, |(_, begun, _)| *begun);
        let (op_type, error) = (event.op_type, event.error.as_deref());
        self.object.end(&Ended { op_type, begun, at, asked: &asked, answer: &event.action, error }, oldest)
    }
}

impl<O: Object> Growing<O::Action> for ByKey<O> {
    fn take(&mut self, event: &Event<O::Action>) {
        let key = O::key(&event.action);
        let known = match self.objects.get_mut(&key.cloned()) {
            Some(known) => known,
            None => {
                let followed = Followed { object: O::default(), open: Vec::new() };
                self.objects.entry(key.cloned()).or_insert(Some(followed))
            }
        };
        let Some(followed) = known else { return };
        let taken = followed.take(event);
        self.so_far.operations += u64::from(event.op_type != OpType::Invoke);
        match taken {
            Ok(()) => return,
            Err(Break::Anomaly) => _ = self.so_far.anomaly.get_or_insert(event.index),
            Err(Break::Beyond) => self.so_far.left += 1,
        }
        *known = None;
    }

    fn so_far(&self) -> SoFar {
        self.so_far
    }
}
