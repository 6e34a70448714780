//! The workload `unique-ids`: the system generates identifiers.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::unique_ids::check_unique_ids;
use duress_history::recorder::RecordError;
use duress_history::unique_ids::UniqueIds;
use duress_history::{Event, Operation};
use serde::{Deserialize, Serialize};

use super::generator::limit::TimeLimit;
use super::generator::{Context, Generator, Next};
use super::kind::{Ending, Kind};
use super::models::found;
use crate::judge::{Judgement, Question};
use crate::run::dispatcher::{Dispatcher, Stop};

/// The workload has no options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UniqueIdsOptions {}

/// The number of requests at the end of a run, when everything is healed.
const LAST: u64 = 100;

/// Requests for identifiers, as many as are left.
#[derive(Debug)]
pub struct Generate {
    left: u64,
}

impl Generator<UniqueIds> for Generate {
    fn next(&mut self, _: &Context) -> Next<UniqueIds> {
        if self.left == 0 {
            return Next::Done;
        }
        self.left -= 1;
        Next::Op(UniqueIds(None))
    }

    fn update(&mut self, _: &Event<UniqueIds>) {}
}

#[async_trait(?Send)]
impl Kind for UniqueIdsOptions {
    type Action = UniqueIds;
    type Mix = Generate;

    const NAME: &'static str = "unique-ids";
    const DESCRIPTION: &'static str = "\
identifiers that the system generates, through all nodes
At the end a hundred more are asked for, whose nodes may have forgotten what they gave.
Checked: does every acknowledged identifier differ from all others?";
    const FINISH: Duration = Duration::from_secs(10);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn mix(&self, _: u64) -> Generate {
        Generate { left: u64::MAX }
    }

    async fn finish(
        _: &mut Generate,
        dispatcher: &mut Dispatcher<UniqueIds>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let mut last = TimeLimit::new(Generate { left: LAST }, deadline);
        dispatcher.run(&mut last, Stop::Now, async {}).await?;
        Ok(Ending::default())
    }

    fn judge(operations: &[Operation<UniqueIds>], _: &Question, _: &AtomicBool) -> Judgement {
        found(check_unique_ids(operations), Self::NAME, "unique", "no identifier was generated twice")
    }
}
