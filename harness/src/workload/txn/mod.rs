//! The workloads `list-append` and `rw-register`: transactions over many keys.

pub mod finish;
pub mod judge;
pub mod mix;
pub mod options;

use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::recorder::RecordError;
use duress_history::txn::Txn;
use duress_history::{Operation, Promise};
use serde::{Deserialize, Serialize};

pub use self::judge::TxnModel;
pub use self::options::TxnOptions;

use self::finish::groups;
use self::mix::TxnMix;
use super::kind::{Ending, Kind};
use super::objects::read_all;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::Dispatcher;

/// Transactions on objects whose reads are answered with `R`s: lists or registers.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Transactions<R> {
    /// How they are exercised.
    pub options: TxnOptions,
    #[serde(skip)]
    model: PhantomData<fn() -> R>,
}

impl<R> Default for Transactions<R> {
    fn default() -> Self {
        Self { options: TxnOptions::default(), model: PhantomData }
    }
}

#[async_trait(?Send)]
impl<R: TxnModel> Kind for Transactions<R> {
    type Action = Txn<R>;
    type Mix = TxnMix<R>;

    const NAME: &'static str = R::NAME;
    const DESCRIPTION: &'static str = R::DESCRIPTION;
    const PROMISES: &'static [&'static str] = Promise::OF_TRANSACTIONS;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        self.options.validate()
    }

    fn mix(&self, seed: u64) -> TxnMix<R> {
        TxnMix::new(self.options, seed)
    }

    fn rename(mix: &mut TxnMix<R>, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut TxnMix<R>,
        dispatcher: &mut Dispatcher<Txn<R>>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        read_all(groups(mix.keys().all()), dispatcher, deadline).await
    }

    fn judge(operations: &[Operation<Txn<R>>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}
