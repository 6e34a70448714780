//! The shared part of delivery checks: the promise, and the words for the findings.

use duress_checkers::CheckReport;
use duress_checkers::delivery::{Acknowledged, DeliveryCounts, DeliveryReport};
use duress_checkers::verdict::AnomalyKind;
use duress_history::{Allowed, Delivery};

use crate::judge::{Judgement, Times};

/// Returns the meaning of an acknowledgement under a promise: a message that survives is readable.
pub fn acknowledged(delivery: Delivery) -> Acknowledged {
    match delivery.loss {
        Allowed::No => Acknowledged::Readable,
        Allowed::Yes => Acknowledged::Appended,
    }
}

/// Words the check of `model`, whose messages were to be `what` (stored, consumed) by `delivery`.
pub fn judgement(report: CheckReport, delivery: Delivery, what: &str, model: &str) -> Judgement {
    let mut kinds: Vec<(AnomalyKind, u64)> = Vec::new();
    for anomaly in report.verdict.anomalies() {
        match kinds.iter_mut().find(|(kind, _)| *kind == anomaly.kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((anomaly.kind, 1)),
        }
    }
    let found = report.details.delivery().map(|delivery| &delivery.found);
    let broken: Vec<String> = kinds
        .iter()
        .map(|(kind, shown)| {
            // Only the first few of a kind have witnesses.
            let count = found.and_then(|found| found.get(kind)).unwrap_or(shown);
            format!("{count} {kind}")
        })
        .collect();
    Judgement {
        property: format!("{what} {delivery}"),
        holds: format!("every answer fits messages {what} {delivery}"),
        broken: format!("not {what} {delivery}: {}", broken.join(", ")),
        checked: format!("{} operations on {} partitions", report.operations, report.keys),
        findings: report.details.delivery().map(findings).unwrap_or_default(),
        model: match delivery.name() {
            "exactly-once" => model.to_owned(),
            weaker => format!("{model} --promise {weaker}"),
        },
        report,
        times: Times::default(),
        copy: None,
    }
}

/// Returns the promise that a record keeps, with its counts.
fn findings(report: &DeliveryReport) -> Vec<String> {
    let DeliveryCounts {
        sent,
        acknowledged,
        failed,
        unknown,
        delivered,
        unacknowledged_delivered,
        deliveries,
        lost,
        unseen,
        duplicated,
        reordered,
        undelivered,
        redelivered,
    } = report.counts;
    let mut lines = vec![
        match report.reached {
            Some(reached) => format!("delivery reached: {reached}"),
            None => "delivery reached: unknown".to_owned(),
        },
        format!("  {sent} messages sent: {acknowledged} acknowledged, {failed} refused, {unknown} unknown"),
        format!(
            "  {delivered} messages delivered, in {deliveries} deliveries; {unacknowledged_delivered} of them were never acknowledged"
        ),
        format!("  {lost} lost, {duplicated} duplicated, {reordered} reordered, {unseen} unseen"),
    ];
    if undelivered + redelivered > 0 {
        lines.push(format!(
            "  {undelivered} committed but given to no consumer, {redelivered} given to the group more than once"
        ));
    }
    let found: Vec<String> = report.found.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if !found.is_empty() {
        lines.push(format!("  found, tolerated ones included: {}", found.join(", ")));
    }
    lines
}
