//! The workload `write-once`: each key is written once, and read a few times.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress::judge::{Judgement, Question, Times};
use duress::plan::range::{RangeError, range};
use duress::run::dispatcher::{Dispatcher, Stop};
use duress::workload::generator::{Context, Generator, Next};
use duress::workload::objects::FinalReads;
use duress::workload::option::WorkloadOption;
use duress::workload::{Ending, Kind};
use duress_checkers::linearizable::{Budget, check_registers};
use duress_history::recorder::RecordError;
use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, Operation, Scalar};
use serde::{Deserialize, Serialize};

/// Its options.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteOnce {
    readers: u32,
}

impl Default for WriteOnce {
    fn default() -> Self {
        Self { readers: 2 }
    }
}

/// A write, then reads of the same key, then the next key.
pub struct Mix {
    readers: u32,
    operations: u32,
}

impl Generator<Register> for Mix {
    fn next(&mut self, _: &Context) -> Next<Register> {
        let (key, turn) = (self.operations / (self.readers + 1), self.operations % (self.readers + 1));
        self.operations += 1;
        let op = if turn == 0 { RegisterOp::Write(Scalar::from(1)) } else { RegisterOp::Read(None) };
        Next::Op(Register { key: Scalar::from(i64::from(key)), op })
    }

    fn update(&mut self, _: &Event<Register>) {}
}

#[async_trait(?Send)]
impl Kind for WriteOnce {
    type Action = Register;
    type Mix = Mix;

    const NAME: &'static str = "write-once";
    const DESCRIPTION: &'static str = "writes each key once\nChecked: is each key linearizable?";
    const PROMISES: &'static [&'static str] = &["linearizable"];
    const OPTIONS: &'static [WorkloadOption] =
        &[WorkloadOption::number("readers", "readers", "how often each key is read")];
    const FINISH: Duration = Duration::from_secs(5);

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        range("readers", &self.readers, (1..=100).contains(&self.readers), "1 to 100 reads of each key")
    }

    fn mix(&self, _: u64) -> Mix {
        Mix { readers: self.readers, operations: 0 }
    }

    async fn finish(
        mix: &mut Mix,
        dispatcher: &mut Dispatcher<Register>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let last = Scalar::from(i64::from(mix.operations / (mix.readers + 1)));
        let mut finals = FinalReads::new([last], dispatcher.nodes(), deadline);
        dispatcher.run(&mut finals, Stop::Now, async {}).await?;
        Ok(Ending::default())
    }

    fn judge(operations: &[Operation<Register>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        let report = check_registers(operations, &question.assumed, &Budget::default(), interrupt);
        Judgement {
            property: "linearizable".to_owned(),
            holds: "every key holds what was written to it once".to_owned(),
            broken: "a key does not hold what was written to it".to_owned(),
            checked: format!("{} operations", report.operations),
            findings: Vec::new(),
            model: Self::NAME.to_owned(),
            report,
            times: Times::default(),
            copy: None,
        }
    }
}
