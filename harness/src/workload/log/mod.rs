//! The workload `log`: is every acknowledged message in its partition, once, in its place, for everybody?

pub mod finish;
pub mod mix;

use std::time::Duration;

use duress_checkers::delivery::{Gaps, LogOptions as CheckOptions, check_log};
use duress_history::Operation;
use duress_history::log::Log;
use duress_history::recorder::RecordError;
use duress_targets::{Client, Promise, WorkloadSetup};

use crate::judge::{JudgeError, Judgement, within};
use crate::plan::PlanError;
use crate::run::cluster_access::ClusterAccess;
use crate::run::dispatcher::{Dispatcher, Stop};
use crate::workload::log::finish::FinalPolls;
use crate::workload::log::mix::{LogMix, LogOptions, Partitions};
use crate::workload::{Ending, WorkloadKind, delivery, listed};

impl WorkloadKind for LogOptions {
    type Action = Log;
    type Mix = LogMix;

    const FINISH: Duration = Duration::from_secs(40);

    fn validate(&self) -> Result<(), PlanError> {
        let Self { topics, partitions, sends_max, tenure_ms, .. } = *self;
        log_ranges(topics, partitions, sends_max)?;
        let fine = (10..=86_400_000).contains(&tenure_ms);
        PlanError::range("tenure", &tenure_ms, fine, "10 ms to one day")?;
        PlanError::weights(&[self.sends, self.polls, self.seeks, self.commits, self.committed])
    }

    fn setup(&self) -> WorkloadSetup {
        let Partitions { topics, .. } = Partitions::new(self.topics, self.partitions);
        WorkloadSetup::Log { topics, partitions: self.partitions }
    }

    fn client(cluster: &ClusterAccess, slot: usize) -> Box<dyn Client<Log>> {
        cluster.log_client(slot)
    }

    fn mix(&self, seed: u64) -> LogMix {
        LogMix::new(*self, seed)
    }

    async fn finish(
        mix: &LogMix,
        dispatcher: &mut Dispatcher<Log>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let undecided = read_everything(mix.partitions(), dispatcher, deadline).await?;
        Ok(Ending { undecided: undecided.into_iter().collect(), ..Ending::default() })
    }

    fn judge(
        operations: &[Operation<Log>],
        promise: Promise,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        let stored = delivery::stored(promise);
        let options = CheckOptions {
            promise: delivery::promised(stored),
            gaps: Gaps::Never,
            acknowledged: delivery::acknowledged(stored),
        };
        within(limit, |interrupt| check_log(operations, &options, interrupt))
            .map(|report| delivery::judgement(report, stored, "stored", "log"))
    }
}

/// Polls every partition from its beginning to its end; says what could not be read until `deadline`.
pub(super) async fn read_everything(
    partitions: &Partitions,
    dispatcher: &mut Dispatcher<Log>,
    deadline: Duration,
) -> Result<Option<String>, RecordError> {
    let mut finals = FinalPolls::new(&partitions.keys, dispatcher.slots(), deadline);
    dispatcher.run(&mut finals, Stop::Now, async {}).await?;
    let unread = finals.unread();
    Ok((!unread.is_empty()).then(|| {
        format!(
            "at the end {} of {} partitions were not read to their ends ({}): a message lost there would not be seen",
            unread.len(),
            partitions.keys.len(),
            listed(&unread)
        )
    }))
}

/// Whether topics, partitions and messages are within what a run can make of them.
pub(super) fn log_ranges(topics: u32, partitions: u32, sends_max: u32) -> Result<(), PlanError> {
    PlanError::range("topics", &topics, (1..=100).contains(&topics), "1 to 100 topics")?;
    let fine = (1..=1000).contains(&partitions);
    PlanError::range("partitions", &partitions, fine, "1 to 1000 partitions of each topic")?;
    PlanError::range(
        "sends",
        &sends_max,
        (1..=1000).contains(&sends_max),
        "1 to 1000 messages of an operation",
    )
}
