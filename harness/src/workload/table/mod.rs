//! The workload `table`: is what remains of a compacted log the table that the whole log made?

pub mod finish;
pub mod mix;

use std::time::Duration;

use duress_checkers::table::{TableOptions as CheckOptions, check_table};
use duress_history::Operation;
use duress_history::recorder::RecordError;
use duress_history::table::Table;
use duress_targets::{Client, Promise, WorkloadSetup};

use crate::judge::{JudgeError, Judgement, within};
use crate::plan::PlanError;
use crate::run::cluster_access::ClusterAccess;
use crate::run::dispatcher::{Dispatcher, Stop};
use crate::workload::table::finish::{FinalTable, Read};
use crate::workload::table::mix::{TableMix, TableOptions};
use crate::workload::{Ending, WorkloadKind, delivery};

impl WorkloadKind for TableOptions {
    type Action = Table;
    type Mix = TableMix;

    const FINISH: Duration = Duration::from_secs(40);

    fn validate(&self) -> Result<(), PlanError> {
        let Self { keys, partitions, puts, deletes, reads } = *self;
        PlanError::range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 keys")?;
        let fine = (1..=1000).contains(&partitions);
        PlanError::range("partitions", &partitions, fine, "1 to 1000 partitions")?;
        PlanError::weights(&[puts, deletes, reads])
    }

    fn setup(&self) -> WorkloadSetup {
        WorkloadSetup::Table { partitions: self.partitions }
    }

    fn client(cluster: &ClusterAccess, slot: usize) -> Box<dyn Client<Table>> {
        cluster.table_client(slot)
    }

    fn mix(&self, seed: u64) -> TableMix {
        TableMix::new(*self, seed)
    }

    async fn finish(
        _: &TableMix,
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

    fn judge(
        operations: &[Operation<Table>],
        promise: Promise,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        let stored = delivery::stored(promise);
        let options = CheckOptions { promise: delivery::promised(stored) };
        within(limit, |interrupt| check_table(operations, &options, interrupt))
            .map(|report| delivery::judgement(report, stored, "kept", "table"))
    }
}
