//! Every workload, and every model that histories can be checked against, by name.

use std::sync::OnceLock;

use duress_history::txn::{Elements, Held};
use duress_settings::{Settings, hint, nearest};
use duress_targets::{Description, Node, System, Topology};

use super::echo::EchoOptions;
use super::erased::{Erased, Model, Workload};
use super::lock::LockOptions;
use super::long_fork::LongForkOptions;
use super::models::FOREIGN;
use super::unique_ids::UniqueIdsOptions;
use super::{bank::BankOptions, counter::CounterOptions, register::RegisterOptions, set::SetOptions};
use super::{job::JobOptions, log::LogOptions, queue::QueueOptions, stream::StreamOptions};
use super::{table::TableOptions, txn::Transactions};
use crate::plan::hosts;

/// The workloads that the program knows, in the order in which they are listed.
pub struct Workloads {
    workloads: Vec<Box<dyn Workload>>,
    /// Models of histories that no workload here makes.
    foreign: Vec<Box<dyn Model>>,
}

/// The workloads of this program; set once, when it starts.
static KNOWN: OnceLock<Workloads> = OnceLock::new();

impl Workloads {
    /// Those that come with the program.
    #[must_use]
    pub fn standard() -> Self {
        let foreign = FOREIGN.into_iter().map(|model| -> Box<dyn Model> { Box::new(model) }).collect();
        Self { workloads: Vec::new(), foreign }
            .with::<RegisterOptions>()
            .with::<SetOptions>()
            .with::<CounterOptions>()
            .with::<LogOptions>()
            .with::<QueueOptions>()
            .with::<TableOptions>()
            .with::<StreamOptions>()
            .with::<Transactions<Elements>>()
            .with::<Transactions<Held>>()
            .with::<BankOptions>()
            .with::<LongForkOptions>()
            .with::<JobOptions>()
            .with::<LockOptions>()
            .with::<UniqueIdsOptions>()
            .with::<EchoOptions>()
    }

    /// These, and the workload that `K` describes.
    #[must_use]
    pub fn with<K: super::kind::Kind>(mut self) -> Self {
        self.workloads.push(Box::new(Erased::<K>::default()));
        self
    }

    /// Returns the workloads of this program: those it was started with, or the standard ones.
    pub fn known() -> &'static Self {
        KNOWN.get_or_init(Self::standard)
    }

    /// Makes these the workloads of this program.
    ///
    /// # Panics
    /// When the program's workloads were used or set before.
    pub fn install(self) {
        assert!(KNOWN.set(self).is_ok(), "workloads are installed before anything asks for them");
    }

    /// Returns every workload.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Workload> {
        self.workloads.iter().map(|workload| &**workload)
    }

    /// Returns the workload called `name`.
    ///
    /// # Errors
    /// [`UnknownName`].
    pub fn find(&self, name: &str) -> Result<&dyn Workload, UnknownName> {
        let found = self.iter().find(|workload| workload.name() == name);
        found.ok_or_else(|| UnknownName::new("workload", name, self.iter().map(Model::name)))
    }

    /// Returns the workloads that `system` has clients of, in the order in which they are listed. On a cluster that already
    /// runs, only those that bear what earlier runs left there.
    pub fn of(system: &dyn System) -> impl Iterator<Item = &'static dyn Workload> {
        Self::described(system.description())
    }

    /// Returns those of them that `system` has clients of with settings and so many nodes.
    pub fn spoken(
        system: &dyn System,
        settings: &Settings,
        nodes: usize,
    ) -> impl Iterator<Item = &'static dyn Workload> {
        Self::described(system.description_in(settings, nodes))
    }

    /// Returns those of them whose histories can be held to what the system promises then.
    pub fn of_settings(
        system: &dyn System,
        settings: &Settings,
        nodes: usize,
    ) -> impl Iterator<Item = &'static dyn Workload> {
        let hosts = hosts("n", nodes, 0).into_iter();
        let nodes_of = hosts.map(|host| Node { name: host.name, address: host.address });
        // Settings that do not go together are refused elsewhere.
        let deployment = system.deploy(settings, &Topology { nodes: nodes_of.collect() }).ok();
        let suits = move |workload: &&dyn Workload| {
            let promise = deployment.as_ref().map(|deployment| deployment.promise(workload.name()));
            promise.is_none_or(|promise| workload.suits(promise))
        };
        Self::spoken(system, settings, nodes).filter(suits)
    }

    fn described(description: &Description) -> impl Iterator<Item = &'static dyn Workload> {
        let Description { vocabularies, external, .. } = description;
        let spoken = |name: &str| vocabularies.iter().any(|known| known == name);
        let bears = |workload: &dyn Workload| external.is_none() || workload.bears_leftovers();
        Self::known().iter().filter(move |workload| spoken(workload.vocabulary()) && bears(*workload))
    }

    /// Returns every model: the workloads', then the others.
    pub fn models(&self) -> impl Iterator<Item = &dyn Model> {
        let own = self.workloads.iter().map(|workload| -> &dyn Model { &**workload });
        own.chain(self.foreign.iter().map(|model| &**model))
    }

    /// Returns the model called `name`.
    ///
    /// # Errors
    /// [`UnknownName`].
    pub fn model(&self, name: &str) -> Result<&dyn Model, UnknownName> {
        let found = self.models().find(|model| model.name() == name);
        found.ok_or_else(|| UnknownName::new("model", name, self.models().map(Model::name)))
    }
}

/// A name that is not a workload's or a model's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} \"{given}\"{}; known: {}", hint(nearest.as_deref()), known.join(", "))]
pub struct UnknownName {
    /// A workload or a model.
    pub what: &'static str,
    /// The name given.
    pub given: String,
    /// The names known.
    pub known: Vec<String>,
    /// The known name nearest to it.
    pub nearest: Option<String>,
}

impl UnknownName {
    fn new<'a>(what: &'static str, given: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<String> = known.map(str::to_owned).collect();
        Self { what, given: given.to_owned(), nearest: nearest(given, &known).map(str::to_owned), known }
    }
}
