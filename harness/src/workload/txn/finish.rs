//! The last reads of a run: transactions of several keys each.

use std::collections::BTreeSet;

use duress_history::Scalar;
use duress_history::txn::{Act, Answer, Micro, Txn};

use crate::workload::objects::Object;

/// How many keys a transaction of the final phase reads.
const KEYS_MAX: usize = 8;

/// Returns `keys`, grouped by the transactions that read them at the end.
#[must_use]
pub fn groups(keys: BTreeSet<Scalar>) -> BTreeSet<Vec<Scalar>> {
    let keys: Vec<Scalar> = keys.into_iter().collect();
    keys.chunks(KEYS_MAX).map(<[Scalar]>::to_vec).collect()
}

impl<R: Answer> Object for Txn<R> {
    type Key = Vec<Scalar>;
    type Held = Self;

    fn reading(keys: Vec<Scalar>) -> Self {
        Self { micros: keys.into_iter().map(|key| Micro { key, act: Act::Read(None) }).collect() }
    }

    fn object(&self) -> Option<Vec<Scalar>> {
        Some(self.micros.iter().map(|micro| micro.key.clone()).collect())
    }

    fn held(&self) -> Option<Self> {
        self.micros.iter().all(|micro| matches!(micro.act, Act::Read(Some(_)))).then(|| self.clone())
    }
}
