//! Echoes: does each reply have the payload of its request?
//!
//! As in Maelstrom's workload `echo`. A request without a reply proves nothing.

use duress_history::echo::Echo;
use duress_history::pairs::Completion;
use duress_history::{Allowed, Operation};

use crate::delivery::happened;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Role};
use crate::witness::{Describe, Op, Witness, say};

/// Checks that each of `operations`, which are in order of invocation, was answered with what it had asked.
///
/// Time O(n).
#[must_use]
pub fn check_echo(operations: &[Operation<Echo>]) -> CheckReport {
    let mut findings = Findings::new(|_| Allowed::No);
    for (op, operation) in operations.iter().enumerate() {
        let Completion::Ok { answer, .. } = &operation.completion else { continue };
        if *answer == operation.action {
            continue;
        }
        let (op, Echo(asked), Echo(answered)) = (op as Op, &operation.action, answer);
        findings.add(AnomalyKind::WrongEcho, || {
            let witness = Witness::of(Vec::new(), operations, &(), [(op, Role::Read)]);
            let text = format!("{} asked for {asked}, and its reply has {answered}.", witness.named(op));
            let summary = format!("{asked} was answered with {answered}");
            witness.anomaly(AnomalyKind::WrongEcho, op, summary, vec![say(text, &[op])])
        });
    }
    let happened = happened(operations);
    findings.report(1, operations.len(), (happened, happened), Vec::new())
}

impl Describe for Echo {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        format!("echo -> {}", self.0)
    }

    fn describe_asked(&self, (): &()) -> String {
        format!("echo {}", self.0)
    }
}
