//! Clients: one logical connection each, found by the vocabulary of their operations.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::{NodeId, Payload, Process};

use crate::outcome::{Cause, Outcome};
use crate::place::Place;
use crate::topology::UnknownNode;

/// A client of a workload whose operations are `A`s: one logical connection, one operation at a time.
///
/// It connects when necessary, keeps the connection after a clean answer, drops it after anything else, and
/// never repeats a request by itself. Dropping the returned future drops the connection too.
#[async_trait]
pub trait Client<A: Sync>: Send {
    /// Does `action` and returns its outcome, by the rules of [`crate::outcome`].
    async fn invoke(&mut self, action: &A) -> Outcome<A>;

    /// Starts what takes long to start, such as a program, so that the first operations need not wait for it. Ends by
    /// itself, whether or not that worked: an operation says what is wrong.
    ///
    /// # Errors
    /// The reason, if no client of this deployment can ever carry out an operation.
    async fn warm_up(&mut self) -> Result<(), Cause> {
        Ok(())
    }
}

/// A client's location, its node, and its patience.
#[derive(Clone)]
pub struct Seat {
    /// The node that it speaks to.
    pub node: NodeId,
    /// The place that its connections come from.
    pub place: Arc<dyn Place>,
    /// How long each operation may take in total, connecting included.
    pub timeout: Duration,
    /// The file that a client program's standard error is appended to, if it is kept.
    pub stderr: Option<PathBuf>,
    /// The folder in which each client program gets one of its own for temporary files, gone with the program; the
    /// machine's if absent.
    pub scratch: Option<PathBuf>,
    /// The record of the messages that it exchanges, if its system keeps one.
    pub traffic: Option<ClientTraffic>,
}

/// The part of a client in a record of messages.
#[derive(Clone, Debug)]
pub struct ClientTraffic {
    /// The process whose operations it carries out: only those of this one.
    pub process: Process,
    /// The file, which all clients share.
    pub file: PathBuf,
}

/// The address at which clients find each node.
pub(crate) type Addresses = Arc<dyn Fn(&NodeId) -> Result<SocketAddr, UnknownNode> + Send + Sync>;

type Make<A> = Box<dyn Fn(Seat) -> Result<Box<dyn Client<A>>, UnknownNode> + Send + Sync>;

/// The clients of one deployment, by vocabulary.
#[derive(Default)]
pub struct Clients {
    /// The name of each vocabulary and a [`Make`] of its actions.
    makers: Vec<(&'static str, Box<dyn Any + Send + Sync>)>,
}

impl Clients {
    /// These and clients of the vocabulary `A`, which `make` makes. A client connects on its first operation.
    #[must_use]
    pub fn with<A: Payload + Sync + 'static>(
        mut self,
        make: impl Fn(Seat) -> Result<Box<dyn Client<A>>, UnknownNode> + Send + Sync + 'static,
    ) -> Self {
        let make: Make<A> = Box::new(make);
        self.makers.push((A::NAME, Box::new(make)));
        self
    }

    /// Keeps those whose vocabulary `speaks` accepts.
    #[must_use]
    pub(crate) fn only(mut self, speaks: impl Fn(&str) -> bool) -> Self {
        self.makers.retain(|(name, _)| speaks(name));
        self
    }

    /// Returns a fresh client whose operations are `A`s.
    ///
    /// # Errors
    /// [`ClientError`] when the node is not a node of the cluster, or the system has no such clients.
    pub fn client<A: Payload + Sync + 'static>(&self, seat: Seat) -> Result<Box<dyn Client<A>>, ClientError> {
        let make = self.makers.iter().find_map(|(_, make)| make.downcast_ref::<Make<A>>());
        let make = make.ok_or_else(|| ClientError::None {
            vocabulary: A::NAME,
            known: self.vocabularies().collect::<Vec<_>>().join(", "),
        })?;
        Ok(make(seat)?)
    }

    /// Returns the names of the vocabularies that there are clients of.
    pub fn vocabularies(&self) -> impl Iterator<Item = &'static str> {
        self.makers.iter().map(|(name, _)| *name)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.vocabularies()).finish()
    }
}

/// The reason why a client cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The node is not in the topology.
    #[error(transparent)]
    UnknownNode(#[from] UnknownNode),
    /// The system has no clients with these operations.
    #[error("no clients of the vocabulary {vocabulary}, only of {known}")]
    None {
        /// The requested vocabulary.
        vocabulary: &'static str,
        /// The vocabularies that there are clients of.
        known: String,
    },
}
