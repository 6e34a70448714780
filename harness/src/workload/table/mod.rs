//! The workload `table`: is what remains of a compacted log the table that the whole log made?

pub mod finish;
pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::recorder::RecordError;
use duress_history::table::Table;
use duress_history::{Operation, Promise};
use duress_targets::{Keeps, Setup, TABLE_TOPIC, Topic};

pub use self::options::TableOptions;

use self::finish::{FinalTable, Read};
use self::mix::TableMix;
use super::kind::{Ending, Kind};
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::{Dispatcher, Stop};

#[async_trait(?Send)]
impl Kind for TableOptions {
    type Action = Table;
    type Mix = TableMix;

    const NAME: &'static str = "table";
    const DESCRIPTION: &'static str = "\
a compacted log: puts and deletes of keys, and reads of the remaining records
At the end the log is read to its end.
Checked: do the remaining records give the table of the whole log?";
    const PROMISES: &'static [&'static str] = Promise::OF_MESSAGES;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(40);

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn setup(&self) -> Setup {
        let topic = Topic { name: TABLE_TOPIC.to_owned(), partitions: self.partitions, keeps: Keeps::Latest };
        Setup { topics: vec![topic] }
    }

    fn mix(&self, seed: u64) -> TableMix {
        TableMix::new(*self, seed)
    }

    async fn finish(
        _: &mut TableMix,
        dispatcher: &mut Dispatcher<Table>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let mut finals = FinalTable::new(deadline);
        dispatcher.run(&mut finals, Stop::Now, async {}).await?;
        Ok(match finals.read() {
            Read::ToTheEnd => Ending::default(),
            Read::No => Ending::undecided(
                "at the end the log was not read to where it ended: a record lost there would not be seen"
                    .to_owned(),
            ),
        })
    }

    fn judge(operations: &[Operation<Table>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}
