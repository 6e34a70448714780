//! The workload `job`: a word count by many workers, whose gathered result must be exact.

pub mod finish;
pub mod judge;
pub mod mix;
pub mod options;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::Operation;
use duress_history::job::Job;
use duress_history::recorder::RecordError;

pub use self::options::JobOptions;

use self::mix::JobMix;
use super::kind::{Ending, Kind};
use super::objects::read_all;
use super::option::WorkloadOption;
use crate::judge::{Judgement, Question};
use crate::plan::range::RangeError;
use crate::run::dispatcher::{Dispatcher, Stop};

#[async_trait(?Send)]
impl Kind for JobOptions {
    type Action = Job;
    type Mix = JobMix;

    const NAME: &'static str = "job";
    const DESCRIPTION: &'static str = "\
a word count: documents scattered over the keys, a task for each, and the gathered result
Each client is a worker that reads a document and writes its counts as a part; now and then one ends in the midst of that. A
task that was not acknowledged is given to another worker (--retry); each execution writes the same part (--dedupe). When
the tasks of a round are done its parts are gathered, and the next round begins; at the end those of all rounds are gathered
once more through every node.
Checked: is what was gathered the word count of the loaded documents, exactly?";
    // Where reads may be old a worker may find no document, and a gather no part: the system is not wrong then.
    const PROMISES: &'static [&'static str] = &["linearizable"];
    const OPTIONS: &'static [WorkloadOption] = options::ON_COMMAND_LINE;
    const FINISH: Duration = Duration::from_secs(15);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;

    fn validate(&self, _: usize) -> Result<(), RangeError> {
        Self::validate(self)
    }

    fn mix(&self, seed: u64) -> JobMix {
        JobMix::new(*self, seed)
    }

    fn rename(mix: &mut JobMix, prefix: &str) {
        mix.rename(prefix);
    }

    async fn finish(
        mix: &mut JobMix,
        dispatcher: &mut Dispatcher<Job>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        mix.close(deadline);
        dispatcher.run(mix, Stop::Now, async {}).await?;
        let mut ending = read_all(mix.results().collect(), dispatcher, deadline).await?;
        let left = mix.left();
        if left > 0 {
            ending
                .undecided
                .push(format!("{left} tasks were not done in time: their parts were not gathered"));
        }
        Ok(ending)
    }

    fn judge(operations: &[Operation<Job>], _: &Question, _: &AtomicBool) -> Judgement {
        judge::judge(operations)
    }
}
