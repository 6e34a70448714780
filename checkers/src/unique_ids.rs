//! Unique identifiers: was each acknowledged one generated once?
//!
//! As in Jepsen's `unique-ids`. An identifier without an acknowledgement is not known, and proves nothing.

use duress_history::pairs::Completion;
use duress_history::unique_ids::UniqueIds;
use duress_history::{Allowed, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::delivery::happened;
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Role};
use crate::witness::{Describe, Op, Witness, say};

/// Checks that no two of `operations`, which are in order of invocation, were answered with the same identifier.
///
/// Time O(n).
#[must_use]
pub fn check_unique_ids(operations: &[Operation<UniqueIds>]) -> CheckReport {
    let mut findings = Findings::new(|_| Allowed::No);
    let mut first: FxHashMap<&Scalar, Op> = FxHashMap::default();
    for (op, operation) in operations.iter().enumerate() {
        let Completion::Ok { answer: UniqueIds(Some(id)), .. } = &operation.completion else { continue };
        let (op, earlier) = (op as Op, *first.entry(id).or_insert(op as Op));
        if earlier == op {
            continue;
        }
        findings.add(AnomalyKind::Duplicate, || {
            let roles = [(earlier, Role::Evidence), (op, Role::Read)];
            let witness = Witness::of(Vec::new(), operations, &(), roles);
            let (one, other) = (witness.named(earlier), witness.named(op));
            let steps = vec![say(
                format!("{one} and {other} were both answered, and each must have an identifier of its own."),
                &[earlier, op],
            )];
            let summary = format!("{id} was generated twice: by {one} and by {other}");
            witness.anomaly(AnomalyKind::Duplicate, op, summary, steps)
        });
    }
    findings.report(1, operations.len(), (happened(operations), first.len() as u64), Vec::new())
}

impl Describe for UniqueIds {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        match &self.0 {
            Some(id) => format!("generate -> {id}"),
            None => "generate".to_owned(),
        }
    }
}
