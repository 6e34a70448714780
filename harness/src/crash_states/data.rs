//! The data of a node as clients see it: numbered writes, and a comparison of the node's data with them.

use async_trait::async_trait;
use duress_arena::disk::crash::Requests;
use duress_targets::{ClientError, Setup};

use super::Stage;
use super::messages::Messages;
use super::registers::Registers;
use super::trial::Finding;

/// One client of a node, and the data that clients write and read.
#[async_trait]
pub(super) trait Data {
    /// Does the client's write `number`.
    ///
    /// # Errors
    /// The client's error, if the write was not acknowledged.
    async fn write(&mut self, number: u64) -> Result<(), String>;

    /// Reads everything, and compares it with the writes of all clients: those that were acknowledged must be there, and
    /// those that were begun may be. Returns the first difference.
    ///
    /// # Errors
    /// The client's error, if something could not be read.
    async fn compare(&mut self, requests: &[Requests]) -> Result<Option<Finding>, String>;
}

/// A vocabulary through which crash states can be written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Values under keys.
    Register,
    /// Messages in one partition.
    Log,
}

impl Vocabulary {
    /// Returns the first of `names` that is one, in the order of this type.
    pub fn among<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let names: Vec<&str> = names.collect();
        let known = [("register", Self::Register), ("log", Self::Log)];
        known.into_iter().find(|(name, _)| names.contains(name)).map(|(_, vocabulary)| vocabulary)
    }

    /// Returns what the cluster needs before the first write.
    pub(super) fn setup(self) -> Setup {
        match self {
            Self::Register => Setup::default(),
            Self::Log => super::messages::setup(),
        }
    }

    /// Returns client `number` of the node, from 0.
    pub(super) fn open(self, stage: &Stage, number: usize) -> Result<Box<dyn Data>, ClientError> {
        Ok(match self {
            Self::Register => Box::new(Registers::new(stage.client()?, number)),
            Self::Log => Box::new(Messages::new(stage.client()?, number)),
        })
    }
}
