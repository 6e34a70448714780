//! What can be taken away of a plan, apart from single faults.

use duress_nemesis::ScheduledFault;

use crate::plan::Plan;

/// A smaller plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The plan.
    pub plan: Plan,
    /// What was taken away, in words.
    pub what: String,
}

/// How long clients go on after the last fault, or after the anomaly, in milliseconds: to see what came of it.
const AFTERMATH_MS: u64 = 3000;
/// No fault begins before this, in milliseconds: clients are to have written something.
const BEFORE_MS: u64 = 1500;

/// The plan with only these of its faults, numbered anew.
#[must_use]
pub fn with_faults(plan: &Plan, faults: &[ScheduledFault]) -> Plan {
    let mut schedule = faults.to_vec();
    for (id, fault) in (1..).zip(&mut schedule) {
        fault.id = id;
    }
    Plan { schedule, ..plan.clone() }
}

/// The plan without everything after `anomaly_ms`, when the witness was complete.
#[must_use]
pub fn cut_after(plan: &Plan, anomaly_ms: u64) -> Option<Candidate> {
    let limit = anomaly_ms + AFTERMATH_MS;
    let before = plan.schedule.iter().filter(|fault| fault.start_ms < anomaly_ms);
    let clipped = before.map(|fault| ScheduledFault { stop_ms: fault.stop_ms.min(limit), ..fault.clone() });
    let shorter = with_faults(plan, &clipped.collect::<Vec<_>>());
    let plan_limit = plan.time_limit_ms;
    (limit < plan_limit).then(|| Candidate {
        plan: Plan { time_limit_ms: limit, ..shorter },
        what: format!("what came after the anomaly, from {:.1} s on", limit as f64 / 1000.0),
    })
}

/// The plan without the time before its first fault and after its last.
#[must_use]
pub fn without_idle_time(plan: &Plan) -> Option<Candidate> {
    let first = plan.schedule.iter().map(|fault| fault.start_ms).min()?;
    let last = plan.schedule.iter().map(|fault| fault.stop_ms).max()?;
    let earlier = first.saturating_sub(BEFORE_MS);
    let limit = (last - earlier + AFTERMATH_MS).min(plan.time_limit_ms - earlier);
    if limit + 1000 > plan.time_limit_ms {
        return None;
    }
    let moved = plan.schedule.iter().map(|fault| ScheduledFault {
        start_ms: fault.start_ms - earlier,
        stop_ms: fault.stop_ms - earlier,
        ..fault.clone()
    });
    let moved = with_faults(plan, &moved.collect::<Vec<_>>());
    let saved = (plan.time_limit_ms - limit) as f64 / 1000.0;
    Some(Candidate { plan: Plan { time_limit_ms: limit, ..moved }, what: format!("{saved:.1} idle seconds") })
}

/// The plan with half of its processes.
#[must_use]
pub fn fewer_processes(plan: &Plan) -> Option<Candidate> {
    let concurrency = plan.concurrency / 2;
    // Every node is to have a client.
    (concurrency >= plan.nodes.len()).then(|| Candidate {
        plan: Plan { concurrency, ..plan.clone() },
        what: format!("processes, down to {concurrency}"),
    })
}

/// The plan with half of its workload's keys.
#[must_use]
pub fn fewer_keys(plan: &Plan) -> Option<Candidate> {
    let keys = plan.workload.options.get("keys")?.as_u64()? / 2;
    let mut smaller = plan.clone();
    smaller.workload.options.insert("keys".to_owned(), keys.into());
    (keys >= 1).then(|| Candidate { plan: smaller, what: format!("keys, down to {keys}") })
}

/// The plan with three nodes, where no fault names one of the others.
#[must_use]
pub fn fewer_nodes(plan: &Plan) -> Option<Candidate> {
    const NODES: usize = 3;
    let removed = plan.nodes.get(NODES..).filter(|removed| !removed.is_empty())?;
    let named = plan.schedule.iter().flat_map(|fault| fault.fault.named_hosts());
    if named.into_iter().any(|name| removed.iter().any(|host| host.name == name)) {
        return None;
    }
    let mut smaller = plan.clone();
    smaller.nodes.truncate(NODES);
    Some(Candidate { plan: smaller, what: format!("nodes, down to {NODES}") })
}
