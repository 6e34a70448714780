//! The schedule of a plan: a fault mix expanded, and what its faults need.

use std::time::Duration;

use duress_nemesis::membership::Members;
use duress_nemesis::schedule::{CommandVariant, MixOptions, check_kinds, expand};
use duress_nemesis::upgrade::Programs;
use duress_nemesis::{Fault, FaultSpec, LossLimit, Role, ScheduledFault};
use duress_settings::Settings;
use duress_targets::{Deployment, ExternalFault};

use crate::cli::exit::Failure;
use crate::plan::{ClockSource, DataLocation, Plan};
use crate::workload::Workload;

/// Returns the schedule that `mix` expands to for the nodes, the interval and the limits of `plan`, with faults from
/// `warm_up` on, drawn from `seed`.
pub(super) fn expanded(
    plan: &Plan,
    deployment: &dyn Deployment,
    workload: &dyn Workload,
    mix: &[FaultSpec],
    warm_up: Duration,
    seed: u64,
) -> Result<Vec<ScheduledFault>, Failure> {
    let (nodes, clients) =
        (plan.node_names(), plan.clients.iter().map(|host| host.name.clone()).collect::<Vec<_>>());
    let setup = workload.setup(&plan.workload.options).map_err(Failure::usage)?;
    let roles: Vec<Role> = deployment.roles(&setup).into_iter().map(Role::new).collect();
    let commands = commands(deployment);
    let options = MixOptions {
        nodes: &nodes,
        clients: &clients,
        roles: &roles,
        seed,
        interval: Duration::from_millis(plan.fault_interval_ms),
        warm_up,
        time_limit: plan.time_limit(),
        time_outs: &deployment.time_outs().all(),
        client_time_out: deployment.time_outs().client,
        losses: plan.losses.unwrap_or_else(|| LossLimit::tolerated(deployment.tolerates())),
        clock_bound: deployment.clock_bound(),
        members: members(deployment),
        programs: programs(&plan.settings),
        commands: commands.as_deref(),
    };
    expand(mix, &options).map_err(Failure::usage)
}

/// Returns whether the members of a cluster can be changed.
fn members(deployment: &dyn Deployment) -> Members {
    if deployment.membership().is_some() { Members::Changeable } else { Members::Fixed }
}

/// Returns the programs that nodes can be started with.
fn programs(settings: &Settings) -> Programs {
    if settings.upgrades.is_empty() { Programs::One } else { Programs::Two }
}

/// Returns the faults of a cluster that already runs.
fn commands(deployment: &dyn Deployment) -> Option<Vec<CommandVariant>> {
    let variant =
        |fault: &ExternalFault| CommandVariant { name: fault.name.clone(), disables: fault.disables };
    deployment.external().map(|faults| faults.iter().map(variant).collect())
}

/// Checks that `plan` is for the kind of cluster that `deployment` is, and that it can have the faults of the schedule.
pub(super) fn check(plan: &Plan, deployment: &dyn Deployment) -> Result<(), Failure> {
    if deployment.external().is_some() == plan.arena.is_some() {
        let error = match &plan.arena {
            Some(_) => "the plan has an arena, and its cluster already runs",
            None => "the plan has no arena, and its cluster does not run already",
        };
        return Err(
            Failure::usage(anyhow::anyhow!(error)).hint("`duress run … --dry-run` prints a plan that fits")
        );
    }
    let (members, programs) = (members(deployment), programs(&plan.settings));
    check_kinds(&plan.schedule, members, programs, commands(deployment).as_deref()).map_err(Failure::usage)
}

/// Gives nodes clocks and disks of their own if a fault of the schedule needs them: both cost something.
pub(super) fn equip(plan: &mut Plan) {
    let Some(arena) = &mut plan.arena else { return };
    let any = |is: fn(&Fault) -> bool| plan.schedule.iter().any(|fault| is(&fault.fault));
    if any(|fault| matches!(fault, Fault::Clock { .. })) {
        arena.clock = ClockSource::Own;
    }
    let counted =
        |fault: &ScheduledFault| fault.on.as_ref().is_some_and(|trigger| trigger.event.needs_disk());
    if any(|fault| matches!(fault, Fault::Disk { .. })) || plan.schedule.iter().any(counted) {
        arena.data = DataLocation::Breakable;
    }
}
