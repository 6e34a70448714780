//! `duress run` and `duress replay`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use duress_arena::PortKind;
use duress_arena::capabilities::probe;
use duress_history::Promise;
use duress_nemesis::schedule::{Expansion, MixOptions, Overlap, expand};
use duress_nemesis::{Family, Fault, FaultSpec, LossLimit, ScheduledFault};
use duress_settings::{Request, Settings};
use duress_targets::{Deployment, Scenario, System};
use rand::RngExt;

use super::perform::{OutputArgs, isolated};
use super::shrink::replay_times;
use super::target::TargetArgs;
use super::words::{Concurrency, duration, promise};
use super::workload::WorkloadArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::plan::{
    ArenaPlan, CapturePlan, ClockSource, DEFAULT_FLOOR, DataLocation, NODES_MAX, Plan, VERSION, hosts,
};
use crate::systems::systems;
use crate::workload::{Model, Workload, Workloads};

/// The fault mix of a run that names none.
const DEFAULT_FAULTS: &str = "partition,kill,pause";
/// The number of nodes of a run that names none.
const DEFAULT_NODES: usize = 5;
/// The mean time between the faults of a run that names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(3);
/// The shortest mean time between faults.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// How long clients run when the run names no limit.
const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(30);
/// When a client gives up on an operation, where nothing says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long patient clients wait at most, where nothing says otherwise.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// The ceiling of TCP's retransmission time-out in the hosts.
const TCP_RTO_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// What clients do (`duress workloads` lists it) [default: the bug's, or the target's first]
    #[arg(long)]
    workload: Option<String>,
    /// The faults, as family or family:variant, separated by commas (`duress faults` lists them); none, or all
    /// [default: partition,kill,pause]
    #[arg(long, value_name = "MIX")]
    faults: Option<String>,
    /// A schedule written by hand instead of a mix: a JSON list of faults, as in plan.json
    #[arg(long, value_name = "FILE", conflicts_with = "faults")]
    schedule: Option<PathBuf>,
    /// Mean time from one fault to the next [default: 3s, less where a run is too short for every fault of the mix]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    interval: Option<Duration>,
    /// Let faults of different items of the mix be in force at once
    #[arg(long)]
    overlap: bool,
    /// Let faults that are drawn take away more nodes at once than the target promises to survive losing
    #[arg(long)]
    beyond_tolerance: bool,
    /// Do not end all nodes at once and start them again after the last reads, to read and compare everything once more
    #[arg(long)]
    no_final_restart: bool,
    /// No fault starts before this
    #[arg(long, value_name = "DURATION", default_value = "1500ms", value_parser = duration)]
    warm_up: Duration,
    /// How many nodes the cluster has [default: 5]
    #[arg(long)]
    nodes: Option<usize>,
    /// How many processes there are at a time: a number, or 3n for three a node
    #[arg(long, value_name = "NUMBER", default_value = "3n", value_parser = Concurrency::parse)]
    concurrency: Concurrency,
    /// Operations a second over all processes [default: each process as fast as it is answered]
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
    /// How long clients run [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_limit: Option<Duration>,
    /// When a client gives up on an operation [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// When a third of the clients give up, so that their requests wait where others have left [default: three times
    /// --timeout, at most 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    patience: Option<Duration>,
    /// Let no client go from node to node
    #[arg(long)]
    no_roaming: bool,
    /// What every random decision is drawn from [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    workload_options: WorkloadArgs,
    /// Where nodes keep their data
    #[arg(long, value_enum, default_value = "tmpfs")]
    data: DataLocation,
    /// Which packets are kept in network.pcapng
    #[arg(long, value_enum, default_value = "ring")]
    capture: CapturePlan,
    /// How hosts are attached to the network
    #[arg(long, value_enum, default_value = "auto")]
    port: PortChoice,
    #[command(flatten)]
    output: OutputArgs,
    /// What answers are held to [default: what the target promises]: linearizable or stale-reads, or exactly-once,
    /// at-least-once, at-most-once or best-effort
    #[arg(long, value_name = "PROMISE", value_parser = promise)]
    promise: Option<Promise>,
    /// The least share of the time in which clients must be answered for the run to count; 0 lifts the floor, and with
    /// it all that a run must have exercised
    #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_FLOOR)]
    floor: u8,
    /// Print the plan and end
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The plan: a plan.json, or a run's folder
    plan: PathBuf,
    /// Run it so often, and say how often it fails [default: once, with its report]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    times: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

/// How hosts are attached.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PortChoice {
    /// The best that works here
    Auto,
    /// TUN devices
    Tun,
    /// veth pairs and packet sockets
    Packet,
}

/// `duress run`.
pub fn run(args: &RunArgs) -> Result<Exit, Failure> {
    // Everything that can be wrong with the command line is found before anything is started.
    let mut planned = plan(args)?;
    if args.dry_run {
        if let Some(port) = fixed(args.port) {
            planned.plan.arena.port = port;
        }
        print(planned.plan.to_json())?;
        return Ok(Exit::Valid);
    }
    isolated(&args.output, move || {
        planned.plan.arena.port = match fixed(args.port) {
            Some(port) => port,
            None => best_port()?,
        };
        Ok(planned)
    })
}

/// `duress replay`.
pub fn replay(args: &ReplayArgs) -> Result<Exit, Failure> {
    if let Some(times) = args.times {
        return replay_times(&args.plan, times, args.output.runs().join("replays"));
    }
    let plan = Plan::load(&args.plan).map_err(Failure::usage)?;
    let system = systems().find(&plan.target).map_err(Failure::usage)?;
    let request = Request {
        mode: Some(plan.settings.mode.clone()),
        options: plan.settings.options.clone(),
        bug: plan.settings.bug.clone(),
        programs: plan.settings.programs.clone(),
        nodes: plan.nodes.len(),
    };
    system.resolve(&request).map_err(Failure::usage)?;
    let workload = workload(system, &plan.workload.name)?;
    workload.validate(&plan.workload.options, plan.concurrency).map_err(Failure::usage)?;
    let deployment = system.deploy(&plan.settings, &plan.topology()).map_err(Failure::usage)?;
    system.available(&plan.settings.programs).map_err(missing)?;
    isolated(&args.output, move || {
        let mut plan = plan;
        // A plan made where TUN devices work must also run where they do not.
        if plan.arena.port == PortKind::Tun {
            plan.arena.port = best_port()?;
        }
        Ok(Planned { plan, system, workload, deployment })
    })
}

/// A plan, and what it is about.
pub(super) struct Planned {
    /// The plan.
    pub(super) plan: Plan,
    /// The system under test.
    pub(super) system: &'static dyn System,
    /// What clients do.
    pub(super) workload: &'static dyn Workload,
    /// The system, bound to the plan's settings and nodes.
    pub(super) deployment: Arc<dyn Deployment>,
}

/// The workload `name`, which `system` must have clients of.
pub(super) fn workload(system: &dyn System, name: &str) -> Result<&'static dyn Workload, Failure> {
    let workload = Workloads::known().find(name).map_err(Failure::usage)?;
    let known: Vec<&str> = Workloads::of(system).map(Model::name).collect();
    if known.contains(&name) {
        return Ok(workload);
    }
    let name_of_system = &system.description().name;
    let known = known.join(", ");
    Err(Failure::usage(anyhow::anyhow!("{name_of_system} has no workload \"{name}\"; it has {known}")))
}

pub(super) fn missing(error: duress_targets::MissingSystem) -> Failure {
    Failure { exit: Exit::Broken, error: error.into(), hint: None }
}

fn fixed(choice: PortChoice) -> Option<PortKind> {
    match choice {
        PortChoice::Auto => None,
        PortChoice::Tun => Some(PortKind::Tun),
        PortChoice::Packet => Some(PortKind::Packet),
    }
}

fn best_port() -> Result<PortKind, Failure> {
    PortKind::best().map_err(|error| {
        let error =
            anyhow::Error::new(error).context("cannot find out how hosts can be attached to a network");
        Failure {
            exit: Exit::Broken,
            error,
            hint: Some("`duress doctor` says what this machine allows".to_owned()),
        }
    })
}

/// Resolves the command line into a plan; the port is the better one, until it is known which works.
fn plan(args: &RunArgs) -> Result<Planned, Failure> {
    let system = args.target.system()?;
    let scenario = args.target.bug.as_ref().and_then(|name| system.description().scenarios.get(name));
    let workload = match (&args.workload, scenario) {
        (Some(name), _) => workload(system, name)?,
        (None, Some(scenario)) => workload(system, &scenario.workload)?,
        (None, None) => Workloads::of(system).next().ok_or_else(|| {
            let name = &system.description().name;
            Failure::usage(anyhow::anyhow!("{name} has clients of no workload"))
        })?,
    };
    let planned_workload = match scenario.filter(|scenario| scenario.workload == workload.name()) {
        Some(scenario) => args.workload_options.or(&scenario.workload_options)?.resolve(workload)?,
        None => args.workload_options.resolve(workload)?,
    };
    let node_count = args.nodes.or(scenario.map(|scenario| scenario.nodes)).unwrap_or(DEFAULT_NODES);
    if !(1..=NODES_MAX).contains(&node_count) {
        return Err(Failure::usage(anyhow::anyhow!("--nodes is {node_count}: a cluster has 1 to 99 nodes")));
    }
    let request = args.target.request(node_count)?;
    let settings: Settings = system.resolve(&request).map_err(Failure::usage)?;
    let faults = match (&args.faults, scenario) {
        _ if args.schedule.is_some() => "by hand".to_owned(),
        (Some(mix), _) if mix.trim().is_empty() => "none".to_owned(),
        (Some(mix), _) => mix.clone(),
        (None, Some(scenario)) if scenario.faults.is_empty() => "none".to_owned(),
        (None, Some(scenario)) => scenario.faults.join(","),
        (None, None) if node_count == 1 => "kill,pause".to_owned(),
        (None, None) => DEFAULT_FAULTS.to_owned(),
    };
    let faults = if faults == "all" { all_allowed()? } else { faults };
    let mix = match &args.schedule {
        Some(_) => Vec::new(),
        None => FaultSpec::parse_mix(&faults).map_err(Failure::usage)?,
    };
    let seconds = |of: fn(&Scenario) -> u64| scenario.map(|scenario| Duration::from_secs(of(scenario)));
    let time_limit =
        args.time_limit.or(seconds(|scenario| scenario.time_limit_s)).unwrap_or(DEFAULT_TIME_LIMIT);
    let given =
        args.interval.or(seconds(|scenario| scenario.interval_s).filter(|interval| !interval.is_zero()));
    // A short run gets shorter intervals, so that every item of the mix has its turn.
    let turns = u32::try_from(mix.len()).unwrap_or(u32::MAX).saturating_add(1);
    let fitting = (time_limit.saturating_sub(args.warm_up) / turns).clamp(INTERVAL_MIN, DEFAULT_INTERVAL);
    let interval = given.unwrap_or(fitting);
    let scenario_timeout = scenario.and_then(|scenario| scenario.timeout_s).map(Duration::from_secs);
    let timeout = args.timeout.or(scenario_timeout).unwrap_or(DEFAULT_TIMEOUT);
    let patience = args.patience.unwrap_or((timeout * 3).min(PATIENCE_MAX).max(timeout));
    let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(0..=u64::from(u32::MAX)));
    let mut plan = Plan {
        version: VERSION,
        target: system.description().name.clone(),
        settings,
        nodes: hosts("n", node_count, 0),
        clients: hosts("c", node_count, 100),
        workload: planned_workload,
        concurrency: args.concurrency.processes(node_count),
        rate_hz: args.rate,
        time_limit_ms: millis(time_limit),
        operation_timeout_ms: millis(timeout),
        patience_ms: Some(millis(patience)),
        roaming: !args.no_roaming,
        seed,
        faults,
        fault_interval_ms: millis(interval),
        overlap: if args.overlap { Overlap::Items } else { Overlap::Never },
        losses: None,
        promise: args.promise,
        floor_percent: args.floor,
        schedule: Vec::new(),
        final_restart: false,
        arena: ArenaPlan {
            port: PortKind::Tun,
            data: args.data,
            clock: ClockSource::Machine,
            capture: args.capture,
            tcp_rto_max_ms: Some(millis(TCP_RTO_MAX)),
        },
    };
    if interval < INTERVAL_MIN {
        return Err(Failure::usage(anyhow::anyhow!("--interval must be at least 100ms")));
    }
    plan.validate().map_err(Failure::usage)?;
    workload.validate(&plan.workload.options, plan.concurrency).map_err(Failure::usage)?;
    let deployment = system.deploy(&plan.settings, &plan.topology()).map_err(Failure::usage)?;
    plan.schedule = match &args.schedule {
        Some(path) => read_schedule(path)?,
        None => {
            let tolerated = deployment.tolerates();
            let losses =
                if args.beyond_tolerance { LossLimit::Beyond } else { LossLimit::tolerated(tolerated) };
            plan.losses = Some(losses);
            expanded(&plan, losses, &*deployment, &mix, args)?
        }
    };
    // A run without faults keeps to none.
    plan.final_restart = !args.no_final_restart && !plan.schedule.is_empty();
    plan.validate().map_err(Failure::usage)?;
    // A clock or a disk of the node's own costs something, so nodes get one only when a fault needs it.
    let any = |is: fn(&Fault) -> bool| plan.schedule.iter().any(|fault| is(&fault.fault));
    if any(|fault| matches!(fault, Fault::Clock { .. })) {
        plan.arena.clock = ClockSource::Own;
    }
    if any(|fault| matches!(fault, Fault::Disk { .. })) {
        plan.arena.data = DataLocation::Breakable;
    }
    if !args.dry_run {
        system.available(&plan.settings.programs).map_err(missing)?;
    }
    Ok(Planned { plan, system, workload, deployment })
}

/// The families of faults that this machine allows, and those that it forbids.
pub(super) fn families() -> Result<(Vec<Family>, Vec<Family>), Failure> {
    let found = probe().map_err(Failure::internal)?;
    let allowed = |family: &Family| match family {
        Family::Clock => found.ptrace.is_available() && cfg!(target_arch = "x86_64"),
        Family::Disk => found.fuse.is_available(),
        _ => true,
    };
    Ok(Family::ALL.into_iter().partition(allowed))
}

/// Every family of faults that this machine allows, as a mix.
fn all_allowed() -> Result<String, Failure> {
    let (allowed, forbidden) = families()?;
    let names =
        |families: &[Family]| families.iter().map(|family| family.name()).collect::<Vec<_>>().join(",");
    if !forbidden.is_empty() {
        tell(format_args!(
            "left out of all faults, since this machine forbids them (see duress doctor): {}",
            names(&forbidden)
        ));
    }
    Ok(names(&allowed))
}

/// The schedule that `mix` expands to.
fn expanded(
    plan: &Plan,
    losses: LossLimit,
    deployment: &dyn Deployment,
    mix: &[FaultSpec],
    args: &RunArgs,
) -> Result<Vec<ScheduledFault>, Failure> {
    let (nodes, clients) =
        (plan.node_names(), plan.clients.iter().map(|host| host.name.clone()).collect::<Vec<_>>());
    let Expansion { faults, beyond } = expand(
        mix,
        &MixOptions {
            nodes: &nodes,
            clients: &clients,
            seed: plan.seed,
            interval: Duration::from_millis(plan.fault_interval_ms),
            warm_up: args.warm_up,
            time_limit: plan.time_limit(),
            overlap: plan.overlap,
            losses,
            clock_bound: deployment.clock_bound(),
        },
    )
    .map_err(Failure::usage)?;
    if beyond > 0 {
        tell(format_args!(
            "left out: {beyond} faults that, together with others, would take away more nodes than {} survives losing \
             (--beyond-tolerance keeps them)",
            plan.target
        ));
    }
    Ok(faults)
}

/// Reads a schedule written by hand: a JSON list of faults, as `plan.json` has it.
fn read_schedule(path: &Path) -> Result<Vec<ScheduledFault>, Failure> {
    let named = |error: anyhow::Error| {
        Failure::usage(error.context(format!("cannot read the schedule {}", path.display())))
    };
    let text = fs::read_to_string(path).map_err(|error| named(error.into()))?;
    let mut schedule: Vec<ScheduledFault> = serde_json::from_str(&text).map_err(|error| {
        named(error.into())
            .hint("a schedule is a list of faults as in plan.json: `duress run … --dry-run` prints one")
    })?;
    schedule.sort_by_key(|fault| (fault.start_ms, fault.stop_ms));
    for (id, fault) in (1..).zip(&mut schedule) {
        fault.id = id;
    }
    Ok(schedule)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
