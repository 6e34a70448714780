//! The workload `register`: reads, writes and compare-and-sets over many keys, each of which must be linearizable.

pub mod finish;
pub mod mix;

use std::time::Duration;

use duress_checkers::CheckReport;
use duress_checkers::linearizable::{Budget, check_registers};
use duress_history::Operation;
use duress_history::recorder::RecordError;
use duress_history::register::Register;
use duress_targets::{Client, Promise, WorkloadSetup};

use crate::judge::{JudgeError, Judgement, within};
use crate::plan::PlanError;
use crate::run::cluster_access::ClusterAccess;
use crate::run::dispatcher::{Dispatcher, Stop};
use crate::workload::register::finish::FinalReads;
use crate::workload::register::mix::{RegisterMix, RegisterOptions};
use crate::workload::{Ending, WorkloadKind};

impl WorkloadKind for RegisterOptions {
    type Action = Register;
    type Mix = RegisterMix;

    const FINISH: Duration = Duration::from_secs(15);

    fn validate(&self) -> Result<(), PlanError> {
        let Self { keys, operations_per_key, reads, writes, cas } = *self;
        PlanError::range("keys", &keys, (1..=100_000).contains(&keys), "1 to 100000 keys at a time")?;
        let fine = (1..=10_000_000).contains(&operations_per_key);
        PlanError::range("operations per key", &operations_per_key, fine, "1 to 10000000")?;
        PlanError::weights(&[reads, writes, cas])
    }

    fn setup(&self) -> WorkloadSetup {
        WorkloadSetup::Register
    }

    fn client(cluster: &ClusterAccess, slot: usize) -> Box<dyn Client<Register>> {
        cluster.register_client(slot)
    }

    fn mix(&self, seed: u64) -> RegisterMix {
        RegisterMix::new(*self, seed)
    }

    async fn finish(
        mix: &RegisterMix,
        dispatcher: &mut Dispatcher<Register>,
        deadline: Duration,
    ) -> Result<Ending, RecordError> {
        let keys = mix.keys();
        let asked = keys.len();
        let mut finals = FinalReads::new(keys, deadline);
        dispatcher.run(&mut finals, Stop::Now, async {}).await?;
        let mut ending = Ending::default();
        let unanswered = finals.unanswered();
        if unanswered > 0 {
            ending.notes.push(format!(
                "{unanswered} of {asked} keys were not read at the end: a write lost there would not be seen"
            ));
        }
        Ok(ending)
    }

    fn judge(
        operations: &[Operation<Register>],
        _: Promise,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        // Registers start without a value.
        within(limit, |interrupt| check_registers(operations, None, &Budget::default(), interrupt))
            .map(|report| linearizability(report, "register"))
    }
}

/// The words for a check of linearizability of what `model` names.
pub fn linearizability(report: CheckReport, model: &str) -> Judgement {
    let anomalies = report.verdict.anomalies().len();
    Judgement {
        property: "linearizable".to_owned(),
        holds: "every answer fits one order of the operations".to_owned(),
        broken: format!("not linearizable: {anomalies} of {} keys", report.keys),
        checked: format!("{} operations on {} keys", report.operations, report.keys),
        findings: Vec::new(),
        model: model.to_owned(),
        report: serde_json::json!(report),
        verdict: report.verdict,
    }
}
