//! The workload `log`: is every acknowledged message in its partition, once, in its place, for every reader?

pub mod finish;
pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::growing::{Growing, Logs};
use duress_history::log::Log;
use duress_history::recorder::RecordError;
use duress_history::{Operation, Promise};
use duress_targets::Setup;

pub use self::options::LogOptions;

use self::finish::FinalPolls;
use self::mix::{LogMix, Partitions};
use super::kind::{Ending, Kind, listed};
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::{Dispatcher, Stop};

#[async_trait(?Send)]
impl Kind for LogOptions {
    type Action = Log;
    type Mix = LogMix;

    const NAME: &'static str = "log";
    const DESCRIPTION: &'static str = "\
sends to the partitions of topics, and polls by consumers that come and go
Each value is sent once. Processes consume now by assignment, from the beginning or where they were, now as members of a
group; they seek, commit, and die without a word. At the end every partition is polled from its beginning to its end.
Checked: is every acknowledged message in its partition, once, in its place, for every reader?";
    const PROMISES: &'static [&'static str] = Promise::OF_MESSAGES;
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(40);

    fn growing(promise: Promise) -> Option<Box<dyn Growing<Log>>> {
        Some(Box::new(Logs::new(promise.stored())))
    }

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn setup(&self) -> Setup {
        options::topics(self.topics, self.partitions)
    }

    fn mix(&self, seed: u64) -> LogMix {
        LogMix::new(*self, seed)
    }

    async fn finish(
        mix: &mut LogMix,
        dispatcher: &mut Dispatcher<Log>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let undecided = read_everything(mix.partitions(), dispatcher, deadline).await?;
        Ok(Ending { undecided: undecided.into_iter().collect() })
    }

    fn judge(operations: &[Operation<Log>], question: &Question, interrupt: &AtomicBool) -> Judgement {
        judge::judge(operations, question, interrupt)
    }
}

/// Polls every partition from its beginning to its end; returns the partitions that could not be read until
/// `deadline`.
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
