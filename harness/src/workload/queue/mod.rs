//! The workload `queue`: is every message given to a member of the group, and how often?

pub mod finish;
pub mod mix;

use std::time::Duration;

use duress_checkers::delivery::{Gaps, LogOptions as CheckOptions, check_queue};
use duress_history::Operation;
use duress_history::log::Log;
use duress_history::recorder::RecordError;
use duress_targets::{Client, Promise, WorkloadSetup};

use crate::judge::{JudgeError, Judgement, within};
use crate::plan::PlanError;
use crate::run::cluster_access::ClusterAccess;
use crate::run::dispatcher::{Dispatcher, Stop};
use crate::workload::log::mix::Partitions;
use crate::workload::log::{log_ranges, read_everything};
use crate::workload::queue::finish::Drain;
use crate::workload::queue::mix::{QueueMix, QueueOptions};
use crate::workload::{Ending, WorkloadKind, delivery, listed};

impl WorkloadKind for QueueOptions {
    type Action = Log;
    type Mix = QueueMix;

    const FINISH: Duration = Duration::from_secs(60);

    fn validate(&self) -> Result<(), PlanError> {
        let Self { topics, partitions, sends_max, membership_ms } = *self;
        log_ranges(topics, partitions, sends_max)?;
        let fine = (10..=86_400_000).contains(&membership_ms);
        PlanError::range("membership", &membership_ms, fine, "10 ms to one day")
    }

    fn setup(&self) -> WorkloadSetup {
        let Partitions { topics, .. } = Partitions::new(self.topics, self.partitions);
        WorkloadSetup::Queue { topics, partitions: self.partitions }
    }

    fn client(cluster: &ClusterAccess, slot: usize) -> Box<dyn Client<Log>> {
        cluster.log_client(slot)
    }

    fn mix(&self, seed: u64) -> QueueMix {
        QueueMix::new(*self, seed)
    }

    async fn finish(
        mix: &QueueMix,
        dispatcher: &mut Dispatcher<Log>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let partitions = mix.partitions();
        let mut drain = Drain::new(partitions.topic_names(), partitions.keys.clone(), deadline);
        dispatcher.run(&mut drain, Stop::Now, async {}).await?;
        let left = drain.left();
        let mut ending = Ending::default();
        if !left.is_empty() {
            ending.undecided.push(format!(
                "at the end the group had not committed everything of {} of {} partitions ({}): a message that it was not given would not be seen",
                left.len(),
                partitions.keys.len(),
                listed(&left)
            ));
        }
        // What the group was not given may be in the log or not: that tells a lost message from one that was passed over.
        ending.undecided.extend(read_everything(partitions, dispatcher, deadline).await?);
        Ok(ending)
    }

    fn judge(
        operations: &[Operation<Log>],
        promise: Promise,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        let consumed = delivery::consumed(promise);
        let options = CheckOptions {
            promise: delivery::promised(consumed),
            gaps: Gaps::Never,
            acknowledged: delivery::acknowledged(delivery::stored(promise)),
        };
        within(limit, |interrupt| check_queue(operations, &options, interrupt))
            .map(|report| delivery::judgement(report, consumed, "consumed", "queue"))
    }
}
