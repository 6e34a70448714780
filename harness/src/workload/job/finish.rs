//! The last reads of a run: the parts of each round, through every node.

use duress_history::Scalar;
use duress_history::job::{Counts, Job, Part};

use crate::workload::objects::Object;

impl Object for Job {
    /// The parts that are gathered together: their documents and numbers.
    type Key = Vec<(Scalar, u32)>;
    type Held = Vec<Option<Counts>>;

    fn reading(parts: Self::Key) -> Self {
        Self::Gather(parts.into_iter().map(|(document, number)| Part::asked(document, number)).collect())
    }

    fn object(&self) -> Option<Self::Key> {
        match self {
            Self::Gather(parts) => {
                Some(parts.iter().map(|part| (part.document.clone(), part.number)).collect())
            }
            Self::Load { .. } | Self::Count { .. } => None,
        }
    }

    fn held(&self) -> Option<Self::Held> {
        match self {
            Self::Gather(parts) => Some(parts.iter().map(|part| part.counts.clone()).collect()),
            Self::Load { .. } | Self::Count { .. } => None,
        }
    }
}
