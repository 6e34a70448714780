//! Every system there is, by name.

use crate::broker::Broker;
use crate::etcd::Etcd;
use crate::nearest::nearest;
use crate::settings::hint_words;
use crate::store::Store;
use crate::system::System;

static SYSTEMS: [&dyn System; 3] = [&Store, &Broker, &Etcd];

/// Every system, in the order in which they are listed to the user.
#[must_use]
pub fn systems() -> &'static [&'static dyn System] {
    &SYSTEMS
}

/// The system called `name`.
///
/// # Errors
/// [`UnknownSystem`], listing the known ones.
pub fn find(name: &str) -> Result<&'static dyn System, UnknownSystem> {
    SYSTEMS.iter().copied().find(|system| system.name() == name).ok_or_else(|| {
        let known: Vec<&'static str> = SYSTEMS.iter().map(|system| system.name()).collect();
        UnknownSystem { given: name.to_owned(), hint: nearest(name, &known), known }
    })
}

/// A name that is no system's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no system \"{given}\"{}; known: {}", hint_words(*hint), known.join(", "))]
pub struct UnknownSystem {
    /// The name given.
    pub given: String,
    /// The names known.
    pub known: Vec<&'static str>,
    /// The known name nearest to it.
    pub hint: Option<&'static str>,
}
