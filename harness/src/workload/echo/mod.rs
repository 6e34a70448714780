//! The workload `echo`: the system answers each request with what it contains.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use duress_checkers::echo::check_echo;
use duress_history::echo::Echo;
use duress_history::recorder::RecordError;
use duress_history::{Event, Operation, Scalar};
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
pub struct EchoOptions {}

/// The number of requests at the end of a run, when everything is healed.
const LAST: u64 = 100;

/// Requests with one payload after the other, each used once, until the last.
#[derive(Debug)]
pub struct Echoes {
    number: u64,
    last: u64,
}

impl Generator<Echo> for Echoes {
    fn next(&mut self, _: &Context) -> Next<Echo> {
        if self.number == self.last {
            return Next::Done;
        }
        self.number += 1;
        Next::Op(Echo(Scalar::from(format!("Please echo {}", self.number).as_str())))
    }

    fn update(&mut self, _: &Event<Echo>) {}
}

#[async_trait(?Send)]
impl Kind for EchoOptions {
    type Action = Echo;
    type Mix = Echoes;

    const NAME: &'static str = "echo";
    const DESCRIPTION: &'static str = "\
requests with a payload of their own, through all nodes
At the end a hundred more are sent, when everything is healed.
Checked: does each reply have the payload of its request?";
    const FINISH: Duration = Duration::from_secs(10);
    const ROAMS: bool = true;
    const BEARS_LEFTOVERS: bool = true;
    const PREFIX_CLOSED: bool = true;

    fn mix(&self, _: u64) -> Echoes {
        Echoes { number: 0, last: u64::MAX }
    }

    async fn finish(
        mix: &mut Echoes,
        dispatcher: &mut Dispatcher<Echo>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let last = Echoes { number: mix.number, last: mix.number + LAST };
        dispatcher.run(&mut TimeLimit::new(last, deadline), Stop::Now, async {}).await?;
        Ok(Ending::default())
    }

    fn judge(operations: &[Operation<Echo>], _: &Question, _: &AtomicBool) -> Judgement {
        found(check_echo(operations), Self::NAME, "echoed", "every reply has the payload of its request")
    }
}
