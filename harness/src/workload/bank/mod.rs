//! The workload `bank`: transfers between a few accounts, whose total every read must show.

pub mod finish;
pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::bank::Bank;
use duress_history::recorder::RecordError;
use duress_history::{Operation, Promise};

pub use self::options::BankOptions;

use self::mix::BankMix;
use super::kind::{Ending, Kind};
use super::objects::read_all;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::Dispatcher;

#[async_trait(?Send)]
impl Kind for BankOptions {
    type Action = Bank;
    type Mix = BankMix;

    const NAME: &'static str = "bank";
    const DESCRIPTION: &'static str = "\
accounts: transfers between them, and reads of all balances, whose total never changes
The accounts are created first; a transfer of more than an account has is refused; at the end all balances are read once more
through every node.
Checked: do the balances of every read add up to the total, with none below zero?";
    const PROMISES: &'static [&'static str] = Promise::OF_TRANSACTIONS;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn mix(&self, seed: u64) -> BankMix {
        BankMix::new(*self, seed)
    }

    fn rename(mix: &mut BankMix, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut BankMix,
        dispatcher: &mut Dispatcher<Bank>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let mut ending = read_all([mix.accounts().to_vec()].into(), dispatcher, deadline).await?;
        if !mix.created() {
            ending.undecided.push("no client could create the accounts: nothing was transferred".to_owned());
        }
        Ok(ending)
    }

    fn judge(operations: &[Operation<Bank>], question: &Question, _: &AtomicBool) -> Judgement {
        judge::judge(operations, question)
    }
}
