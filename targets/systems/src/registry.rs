//! Systems by name.

use duress_settings::{hint, nearest};

use crate::system::System;

/// The systems that can be put under test, in the order in which they are listed to the user.
pub struct Systems {
    systems: Vec<Box<dyn System>>,
}

impl Systems {
    /// These systems.
    #[must_use]
    pub fn new(systems: Vec<Box<dyn System>>) -> Self {
        Self { systems }
    }

    /// Returns every system.
    pub fn iter(&self) -> impl Iterator<Item = &dyn System> {
        self.systems.iter().map(|system| &**system)
    }

    /// Returns the system called `name`.
    ///
    /// # Errors
    /// [`UnknownSystem`], listing the known ones.
    pub fn find(&self, name: &str) -> Result<&dyn System, UnknownSystem> {
        self.iter().find(|system| system.description().name == name).ok_or_else(|| {
            let known: Vec<String> = self.iter().map(|system| system.description().name.clone()).collect();
            UnknownSystem { given: name.to_owned(), nearest: nearest(name, &known).map(str::to_owned), known }
        })
    }
}

/// A name that is not a system's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown system \"{given}\"{}; known: {}", hint(nearest.as_deref()), known.join(", "))]
pub struct UnknownSystem {
    /// The name given.
    pub given: String,
    /// The names known.
    pub known: Vec<String>,
    /// The known name nearest to it.
    pub nearest: Option<String>,
}
