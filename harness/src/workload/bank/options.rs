//! The options of the workload `bank`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range, weights};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("accounts", "accounts", "how many accounts there are"),
    WorkloadOption::number("balance", "balance", "how much each account has at first"),
    WorkloadOption::number("amount-max", "amount_max", "how much a transfer moves at most"),
    WorkloadOption::weight("transfers"),
    WorkloadOption::weight("reads"),
];

/// How a bank is exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankOptions {
    /// How many accounts there are.
    pub accounts: u32,
    /// How much each account has at first.
    pub balance: u32,
    /// How much a transfer moves at most.
    pub amount_max: u32,
    /// Weight of transfers in the mix.
    pub transfers: u32,
    /// Weight of reads.
    pub reads: u32,
}

impl Default for BankOptions {
    fn default() -> Self {
        Self { accounts: 8, balance: 10, amount_max: 5, transfers: 1, reads: 1 }
    }
}

impl BankOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self) -> Result<(), RangeError> {
        let Self { accounts, balance, amount_max, transfers, reads } = *self;
        // etcd has at most 128 operations in a transaction.
        range("accounts", &accounts, (2..=100).contains(&accounts), "2 to 100 accounts")?;
        let fine = (1..=1_000_000_000).contains(&balance);
        range("balance", &balance, fine, "1 to 1000000000 in each account")?;
        let fine = (1..=1_000_000_000).contains(&amount_max);
        range("greatest amount", &amount_max, fine, "1 to 1000000000 in a transfer")?;
        weights(&[transfers, reads])
    }
}
