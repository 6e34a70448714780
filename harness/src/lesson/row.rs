//! What the run of a cell left.

use std::fs;
use std::path::Path;

use duress_checkers::delivery::DeliveryReport;
use duress_checkers::verdict::Details;
use duress_history::{Allowed, Delivery};
use serde::Deserialize;

use super::cell::Cell;

/// A cell and what became of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// What its run left.
    pub result: RowResult,
}

/// What the run of a cell left.
#[derive(Clone, Debug)]
pub enum RowResult {
    /// Messages were counted.
    Counted(Counted),
    /// They were not, and this is why.
    Nothing(String),
}

/// What a run says of delivery.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The run's verdict.
    pub verdict: Verdict,
    /// What the broker promised, in words.
    pub promise: String,
    /// What became of messages.
    pub delivery: DeliveryReport,
}

impl Counted {
    /// Messages that were acknowledged or read, and are gone.
    ///
    /// An acknowledgement without an offset does not say where the message should be, so that a checker cannot prove that
    /// it is gone; but where everything was read to its end, what is nowhere is gone.
    #[must_use]
    pub fn gone(&self) -> u64 {
        let counts = self.delivery.counts;
        match self.verdict {
            Verdict::Valid | Verdict::Invalid => counts.lost + counts.unseen,
            Verdict::Unknown | Verdict::Broken => counts.lost,
        }
    }
}

impl Counted {
    /// The promise of delivery that was kept, where that can be said.
    #[must_use]
    pub fn reached(&self) -> Option<Delivery> {
        let counts = self.delivery.counts;
        let repetition = Allowed::from(counts.duplicated + counts.redelivered > 0);
        let lost = || (self.gone() > 0).then(|| Delivery::of(Allowed::Yes, repetition));
        self.delivery.reached.or_else(lost)
    }
}

/// The verdict on a run, held against what the broker promises with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The promise was kept.
    Valid,
    /// It was broken.
    Invalid,
    /// Not everything was decided.
    Unknown,
    /// The run proves nothing.
    Broken,
}

/// As much of `verdict.json` as the lesson needs.
#[derive(Deserialize)]
struct VerdictFile {
    verdict: Verdict,
    promise: String,
    check: CheckFile,
}

#[derive(Deserialize)]
struct CheckFile {
    details: Details,
}

impl RowResult {
    /// Reads what the run in `folder` left; `otherwise` says why there may be nothing.
    #[must_use]
    pub fn read(folder: &Path, otherwise: &str) -> Self {
        let text = match fs::read(folder.join("verdict.json")) {
            Ok(text) => text,
            Err(_) => return Self::Nothing(otherwise.to_owned()),
        };
        match serde_json::from_slice(&text) {
            Ok(VerdictFile {
                verdict,
                promise,
                check: CheckFile { details: Details::Delivery(delivery) },
            }) => Self::Counted(Counted { verdict, promise, delivery }),
            Ok(_) => Self::Nothing("nothing was counted".to_owned()),
            Err(error) => Self::Nothing(format!("its verdict.json cannot be read: {error}")),
        }
    }
}
