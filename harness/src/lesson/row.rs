//! The results of a cell's run.

use std::path::Path;

use duress_checkers::delivery::DeliveryReport;
use duress_history::{Allowed, Delivery};

use super::cell::Cell;
use crate::judge::verdict::RunVerdict;
use crate::record::verdict::VerdictRecord;
use crate::run::conductor::chain;

/// A cell and what became of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// The results of its run.
    pub result: RowResult,
}

/// The results of a cell's run.
#[derive(Clone, Debug)]
pub enum RowResult {
    /// Messages were counted.
    Counted(Counted),
    /// They were not, and this is why.
    Nothing(String),
}

/// The delivery counts of a run.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The run's verdict.
    pub verdict: RunVerdict,
    /// The broker's promise, in words.
    pub promise: String,
    /// The delivery of messages.
    pub delivery: DeliveryReport,
}

impl Counted {
    /// Returns the number of messages that were acknowledged or read, and are gone.
    ///
    /// An acknowledgement without an offset does not give the message's place, so that a checker cannot prove
    /// that it is gone; but if everything was read to its end, a message that was not found is gone.
    #[must_use]
    pub fn gone(&self) -> u64 {
        let counts = self.delivery.counts;
        match self.verdict {
            RunVerdict::Valid | RunVerdict::Invalid { .. } => counts.lost + counts.unseen,
            RunVerdict::Unknown { .. } | RunVerdict::Broken { .. } => counts.lost,
        }
    }
}

impl Counted {
    /// Returns the promise of delivery that was kept, where that can be said.
    #[must_use]
    pub fn reached(&self) -> Option<Delivery> {
        let counts = self.delivery.counts;
        let repetition = Allowed::from(counts.duplicated + counts.redelivered > 0);
        let lost = || (self.gone() > 0).then(|| Delivery::of(Allowed::Yes, repetition));
        self.delivery.reached.or_else(lost)
    }
}

impl RowResult {
    /// Reads the results of the run in `folder`; `otherwise` is the reason why there may be none.
    #[must_use]
    pub fn read(folder: &Path, otherwise: &str) -> Self {
        match VerdictRecord::load(folder) {
            Ok(Some(VerdictRecord { verdict, promise, check, .. })) => match check.delivery() {
                Some(delivery) => Self::Counted(Counted { verdict, promise, delivery: delivery.clone() }),
                None => Self::Nothing("no counts".to_owned()),
            },
            Ok(None) => Self::Nothing(otherwise.to_owned()),
            Err(error) => Self::Nothing(chain(&error)),
        }
    }
}
