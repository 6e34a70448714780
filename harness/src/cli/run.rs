//! `duress run` and `duress replay`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use duress_arena::PortKind;
use duress_arena::capabilities::probe;
use duress_history::Promise;
use duress_nemesis::{Family, FaultSpec, LossLimit, ScheduledFault};
use duress_settings::{Request, Settings};
use duress_targets::{
    Deployment, Description, ExternalFault, ExternalNode, Scenario, System, Topology, protocols_of,
};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::perform::{OutputArgs, isolated, perform};
use super::schedule::{equip, expanded};
use super::shrink::replay_times;
use super::target::{Subject, TargetArgs, available};
use super::test_count::repeat;
use super::try_out::{self, TryArgs};
use super::words::{Concurrency, duration, named_nodes, nodes, promise};
use super::workload::WorkloadArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::hunt::draw::changes_members;
use crate::plan::{
    ArenaPlan, CapturePlan, ClockSource, DEFAULT_FLOOR, DataLocation, NODES_MAX, Plan, PlannedHost, VERSION,
    fresh_key_prefix, hosts,
};
use crate::systems;
use crate::trial::Shell;
use crate::workload::{Model, Workload, Workloads};

/// The fault mix of a run without `--faults`.
const DEFAULT_FAULTS: &str = "partition,kill,pause,restart,story";
/// The same for a single node.
const DEFAULT_FAULTS_ALONE: &str = "kill,pause,restart";
/// The same for nodes that lose their data when they are killed.
const DEFAULT_FAULTS_IN_MEMORY: &str = "partition,pause,packet:delay=50ms,packet:loss=10%";
/// The same for a single such node.
const DEFAULT_FAULTS_IN_MEMORY_ALONE: &str = "pause";
/// The mean time between faults of a run without `--interval`: short, but long enough for correct targets to
/// make progress.
const DEFAULT_INTERVAL: Duration = Duration::from_millis(700);
/// The same for a single node, where each fault stops everything.
const DEFAULT_INTERVAL_ALONE: Duration = Duration::from_secs(2);
/// The operations per second of a run without `--rate` on one object, all of which each read may return.
const RATE_OF_ONE_OBJECT: f64 = 100.0;
/// The shortest mean time between faults.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The time for which clients run without `--time-limit`.
const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(30);
/// The time for which clients run in `duress try`.
const DEFAULT_TRY_LIMIT: Duration = Duration::from_secs(3);
/// The default time-out of an operation.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest default time-out of patient clients.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// The random stream of the options, separate from those of the schedule and the workload.
const OPTIONS_STREAM: u64 = 3;
/// The upper limit of TCP's retransmission time-out in the hosts.
const TCP_RTO_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// With --bug: take nothing from the bug's scenario
    #[arg(long, requires = "bug")]
    no_scenario: bool,
    /// Draw the options that are not given and that do not affect the promise from the values that the target
    /// lists (`duress targets`)
    #[arg(long)]
    draw_options: bool,
    /// The operations of the clients (`duress workloads` lists them) [default: the bug's, or the first that
    /// the target has with these settings]
    #[arg(long, short)]
    workload: Option<String>,
    /// The faults, as family or family:variant, and stories, separated by commas (`duress faults` lists them); none, or all
    /// [default: partition,kill,pause,restart,story]
    #[arg(long, alias = "nemesis", value_name = "MIX")]
    faults: Option<String>,
    /// A handwritten schedule instead of a mix: a JSON list of faults, as in plan.json
    #[arg(long, value_name = "FILE", conflicts_with = "faults")]
    schedule: Option<PathBuf>,
    /// Mean time between the starts of two faults: the intensity of the run [default: 700ms, less if a run is
    /// too short for every fault of the mix, and 2s for a single node]
    #[arg(long, alias = "nemesis-interval", value_name = "DURATION", value_parser = duration)]
    interval: Option<Duration>,
    /// Let randomly drawn faults disable more nodes at once than the target tolerates
    #[arg(long)]
    beyond_tolerance: bool,
    /// Skip the final restart: killing and restarting all nodes, then reading and comparing everything once more
    #[arg(long)]
    no_final_restart: bool,
    /// The earliest start of a fault
    #[arg(long, value_name = "DURATION", default_value = "1500ms", value_parser = duration)]
    warm_up: Duration,
    /// The number of nodes, or their names: n1,n2,n3 [default: 5, or the manifest's]
    #[arg(long, value_parser = nodes)]
    nodes: Option<usize>,
    /// The name of a node, once for each: n1, n2, …
    #[arg(long, short = 'n', value_name = "NAME", conflicts_with = "nodes")]
    node: Vec<String>,
    /// The number of concurrent processes: a number, or 3n for three per node
    #[arg(long, value_name = "NUMBER", default_value = "3n", value_parser = Concurrency::parse)]
    concurrency: Concurrency,
    /// Operations per second over all processes [default: as fast as the answers allow, and 100 on a system with one object]
    #[arg(long, short, value_name = "HZ")]
    rate: Option<f64>,
    /// How long clients run [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_limit: Option<Duration>,
    /// The time-out of an operation [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// The time-out of a third of the clients, whose requests outlast those of the others [default: three
    /// times --timeout, at most 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    patience: Option<Duration>,
    /// Keep every client at its node
    #[arg(long)]
    no_roaming: bool,
    /// The seed of every random decision [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Run so often, each time with the next seed and into a folder of its own, and end with the worst exit code
    #[arg(long, value_name = "NUMBER", conflicts_with = "dry_run", value_parser = clap::value_parser!(u32).range(1..))]
    test_count: Option<u32>,
    #[command(flatten)]
    workload_options: WorkloadArgs,
    /// The place of the nodes' data
    #[arg(long, value_enum, default_value = "tmpfs")]
    data: DataLocation,
    /// The packets to keep in network.pcapng
    #[arg(long, value_enum, default_value = "ring")]
    capture: CapturePlan,
    /// How hosts are attached to the network
    #[arg(long, value_enum, default_value = "auto")]
    port: PortChoice,
    #[command(flatten)]
    output: OutputArgs,
    /// The promise to check the answers against [default: the target's]: linearizable, stale-reads, eventual, sequential,
    /// causal, regular, safe, bounded-staleness=3 (versions) or =500ms (time), or session guarantees, as in
    /// monotonic-reads or read-your-writes+monotonic-reads;
    /// exactly-once, at-least-once, at-most-once or best-effort; or strict-serializable, serializable,
    /// snapshot-isolation or another consistency model of transactions
    #[arg(long, value_name = "PROMISE", value_parser = promise)]
    promise: Option<Promise>,
    /// The least share of the time in which clients must be answered for the run to count; 0 lifts this and every other
    /// demand on what a run must exercise
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
    /// Run it this many times, and report how often it fails [default: once, with its report]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    times: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The attachment of hosts.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PortChoice {
    /// The best that works here
    Auto,
    /// TUN devices
    Tun,
    /// veth pairs and packet sockets
    Packet,
}

/// Runs `duress run`.
pub fn run(args: &RunArgs) -> Result<Exit, Failure> {
    // Everything that can be wrong with the command line is found before anything is started.
    let mut planned = plan(args)?;
    if let Some(times) = args.test_count {
        return repeat(times, planned.plan.seed);
    }
    if args.dry_run {
        if let (Some(port), Some(arena)) = (fixed(args.port), &mut planned.plan.arena) {
            arena.port = port;
        }
        print(planned.plan.to_json())?;
        return Ok(Exit::Valid);
    }
    let complete = |arena: &mut ArenaPlan| {
        arena.port = match fixed(args.port) {
            Some(port) => port,
            None => best_port()?,
        };
        Ok(())
    };
    isolated(planned, complete, |planned| perform(planned, &args.output))
}

/// Runs `duress try`: the plan of the same `duress run` for a few seconds and without faults, described instead of judged.
pub fn try_out(TryArgs(mut args): TryArgs) -> Result<Exit, Failure> {
    args.faults = Some("none".to_owned());
    args.time_limit = Some(args.time_limit.unwrap_or(DEFAULT_TRY_LIMIT));
    let planned = plan(&args)?;
    let workload = args.workload.iter().flat_map(|workload| ["--workload".to_owned(), workload.clone()]);
    let words: Vec<String> = std::iter::once(args.target.target.clone()).chain(workload).collect();
    let (target, runs) = (Shell(&words).to_string(), args.output.runs().to_owned());
    let complete = |arena: &mut ArenaPlan| {
        arena.port = best_port()?;
        Ok(())
    };
    isolated(planned, complete, |planned| try_out::perform(planned, &target, &runs))
}

/// Runs `duress replay`.
pub fn replay(args: &ReplayArgs) -> Result<Exit, Failure> {
    if let Some(times) = args.times {
        return replay_times(&args.plan, times, args.output.runs().join("replays"));
    }
    let mut plan = Plan::load(&args.plan).map_err(Failure::usage)?;
    let system = systems::of(&plan).map_err(Failure::usage)?;
    let request = Request {
        mode: Some(plan.settings.mode.clone()),
        options: plan.settings.options.clone(),
        bug: plan.settings.bug.clone(),
        scenario: false,
        programs: plan.settings.programs.clone(),
        upgrades: plan.settings.upgrades.clone(),
        nodes: plan.nodes.len(),
    };
    system.resolve(&request).map_err(Failure::usage)?;
    let workload = workload(system, &plan.workload.name)?;
    workload.validate(&plan.workload.options, plan.concurrency).map_err(Failure::usage)?;
    let deployment = system.deploy(&plan.settings, &plan.topology()).map_err(Failure::usage)?;
    super::schedule::check(&plan, &*deployment)?;
    available(system, &plan.settings)?;
    // The cluster may have the keys of the run that is replayed.
    plan.key_prefix = plan.key_prefix.map(|_| fresh_key_prefix());
    let complete = |arena: &mut ArenaPlan| {
        // A plan made where TUN devices work must also run where they do not.
        if arena.port == PortKind::Tun {
            arena.port = best_port()?;
        }
        Ok(())
    };
    isolated(Planned { plan, system, workload, deployment }, complete, |planned| {
        perform(planned, &args.output)
    })
}

/// A plan, with its workload and deployment.
pub(super) struct Planned {
    /// The plan.
    pub(super) plan: Plan,
    /// The system under test.
    pub(super) system: &'static dyn System,
    /// The clients' workload.
    pub(super) workload: &'static dyn Workload,
    /// The system, bound to the plan's settings and nodes.
    pub(super) deployment: Arc<dyn Deployment>,
}

/// Checks that a system has a workload with these settings and so many nodes. A promise that is given takes the place of the
/// system's, which may be too weak for the workload.
pub(super) fn has_workload(
    system: &dyn System,
    settings: &Settings,
    nodes: usize,
    workload: &dyn Workload,
    given: Option<Promise>,
) -> Result<(), Failure> {
    let known: Vec<&str> = Workloads::of_settings(system, settings, nodes).map(Model::name).collect();
    let spoken = Workloads::spoken(system, settings, nodes).any(|spoken| spoken.name() == workload.name());
    if known.contains(&workload.name()) || spoken && given.is_some() {
        return Ok(());
    }
    let (lacks, instead) = match spoken {
        true => ("promises too little for the workload", "; with --promise it is run and held to that"),
        false => ("has no workload", ""),
    };
    Err(Failure::usage(anyhow::anyhow!(
        "the mode {} of {} with these options {lacks} \"{}\"; it has {}{instead}",
        settings.mode,
        system.description().name,
        workload.name(),
        known.join(", ")
    )))
}

/// Returns the workload `name`, which `system` must have clients of.
pub(super) fn workload(system: &dyn System, name: &str) -> Result<&'static dyn Workload, Failure> {
    let workload = Workloads::known().find(name).map_err(Failure::usage)?;
    let known: Vec<&str> = Workloads::of(system).map(Model::name).collect();
    if known.contains(&name) {
        return Ok(workload);
    }
    let Description { name: name_of_system, vocabularies, .. } = system.description();
    let known = known.join(", ");
    if vocabularies.iter().any(|spoken| spoken == workload.vocabulary()) {
        return Err(Failure::usage(anyhow::anyhow!(
            "the workload \"{name}\" would take what earlier runs left on the cluster for its own, and {name_of_system} already \
             runs; it has {known}"
        )));
    }
    let none = anyhow::anyhow!("{name_of_system} has no workload \"{name}\"; it has {known}");
    Err(Failure::usage(none).hint(offered(workload)))
}

/// Returns what offers `workload`, in a sentence.
fn offered(workload: &dyn Workload) -> String {
    let (name, vocabulary) = (workload.name(), workload.vocabulary());
    let offers = |system: &&dyn System| Workloads::of(*system).any(|offered| offered.name() == name);
    let built_in = systems::systems().iter().filter(offers).map(|system| system.description().name.clone());
    let built_in: Vec<String> = built_in.collect();
    let protocols = protocols_of(vocabulary).join(", ");
    let manifests = (!protocols.is_empty()).then(|| {
        format!("manifests whose clients speak \"{vocabulary}\", by one of the protocols {protocols}")
    });
    let either: Vec<String> = built_in.into_iter().chain(manifests).collect();
    match either.is_empty() {
        true => format!("{name} is for programs that speak Maelstrom's protocol"),
        false => format!("{name} is offered by {}", either.join(", ")),
    }
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
            anyhow::Error::new(error).context("cannot determine how hosts can be attached to a network");
        Failure {
            exit: Exit::Broken,
            error,
            hint: Some("`duress doctor` reports what this machine allows".to_owned()),
        }
    })
}

/// Resolves the command line into a plan. The port is a preliminary one until it is known which works.
pub(super) fn plan(args: &RunArgs) -> Result<Planned, Failure> {
    let Subject { system, workload: named } = args.target.system(args.workload.as_deref())?;
    let bug = args.target.bug.as_ref().filter(|_| !args.no_scenario);
    let scenario = bug.and_then(|name| system.description().scenarios.get(name));
    let asked = named.as_deref().or(scenario.map(|scenario| &*scenario.workload));
    let workload = match asked {
        Some(name) => workload(system, name)?,
        None => Workloads::of(system).next().ok_or_else(|| {
            let name = &system.description().name;
            Failure::usage(anyhow::anyhow!("{name} has no workloads"))
        })?,
    };
    let named =
        if args.node.is_empty() { None } else { Some(named_nodes(&args.node).map_err(Failure::usage)?) };
    let node_count = args.nodes.or(named).or(scenario.map(|scenario| scenario.nodes));
    let node_count = node_count.unwrap_or(system.description().nodes);
    if !(1..=NODES_MAX).contains(&node_count) {
        return Err(Failure::usage(anyhow::anyhow!("--nodes is {node_count}: a cluster has 1 to 99 nodes")));
    }
    let external = system.description().external.as_deref();
    if let Some(nodes) = external.filter(|nodes| nodes.len() != node_count) {
        return Err(Failure::usage(anyhow::anyhow!(
            "--nodes is {node_count}, and the cluster already runs: its manifest lists {} nodes",
            nodes.len()
        )));
    }
    let request = Request { scenario: !args.no_scenario, ..args.target.request(node_count)? };
    let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(0..=u64::from(u32::MAX)));
    let settings = resolved(system, request, args.draw_options.then_some(seed))?;
    let workload = match has_workload(system, &settings, node_count, workload, args.promise) {
        Ok(()) => workload,
        // The user named no workload, and the mode may have another one.
        Err(lacking) if asked.is_none() => {
            Workloads::of_settings(system, &settings, node_count).next().ok_or(lacking)?
        }
        Err(lacking) => return Err(lacking),
    };
    let description = system.description_in(&settings, node_count);
    let planned_workload = match scenario.filter(|scenario| scenario.workload == workload.name()) {
        Some(scenario) => {
            args.workload_options.or(&scenario.workload_options)?.resolve(workload, description)?
        }
        None => args.workload_options.resolve(workload, description)?,
    };
    let faults = match (&args.faults, scenario) {
        _ if args.schedule.is_some() => "by hand".to_owned(),
        (Some(mix), _) if mix.trim().is_empty() => "none".to_owned(),
        (Some(mix), _) => mix.clone(),
        (None, Some(scenario)) if scenario.faults.is_empty() => "none".to_owned(),
        (None, Some(scenario)) => scenario.faults.join(","),
        (None, None) if external.is_some() => "all".to_owned(),
        (None, None) if !system.description().durable && node_count == 1 => {
            DEFAULT_FAULTS_IN_MEMORY_ALONE.to_owned()
        }
        (None, None) if !system.description().durable => DEFAULT_FAULTS_IN_MEMORY.to_owned(),
        (None, None) if node_count == 1 => DEFAULT_FAULTS_ALONE.to_owned(),
        (None, None) => DEFAULT_FAULTS.to_owned(),
    };
    let faults = match (external, faults.as_str()) {
        (Some(_), "all") => all_of_its_own(system, &settings)?,
        (None, "all") => all_allowed(system, &settings, node_count)?,
        _ => faults,
    };
    let mix = match &args.schedule {
        Some(_) => Vec::new(),
        None => FaultSpec::parse_mix(&faults).map_err(Failure::usage)?,
    };
    let seconds = |of: fn(&Scenario) -> u64| scenario.map(|scenario| Duration::from_secs(of(scenario)));
    let time_limit =
        args.time_limit.or(seconds(|scenario| scenario.time_limit_s)).unwrap_or(DEFAULT_TIME_LIMIT);
    let given =
        args.interval.or(seconds(|scenario| scenario.interval_s).filter(|interval| !interval.is_zero()));
    // A short run gets shorter intervals, so that every item of the mix gets a turn.
    let turns = u32::try_from(mix.len()).unwrap_or(u32::MAX).saturating_add(1);
    let usual = if node_count == 1 { DEFAULT_INTERVAL_ALONE } else { DEFAULT_INTERVAL };
    let fitting = (time_limit.saturating_sub(args.warm_up) / turns).clamp(INTERVAL_MIN, usual);
    let interval = given.unwrap_or(fitting);
    let scenario_timeout = scenario.and_then(|scenario| scenario.timeout_s).map(Duration::from_secs);
    let timeout = args.timeout.or(scenario_timeout).unwrap_or(DEFAULT_TIMEOUT);
    let patience = args.patience.unwrap_or((timeout * 3).min(PATIENCE_MAX).max(timeout));
    let mut plan = Plan {
        version: VERSION,
        target: system.description().name.clone(),
        manifest: system.manifest().cloned(),
        settings,
        nodes: external.map_or_else(|| Ok(hosts("n", node_count, 0)), running)?,
        clients: external.map_or_else(|| hosts("c", node_count, 100), |_| Vec::new()),
        workload: planned_workload,
        concurrency: args.concurrency.processes(node_count),
        rate_hz: args.rate.or(system.description().has_one_object().then_some(RATE_OF_ONE_OBJECT)),
        time_limit_ms: millis(time_limit),
        operation_timeout_ms: millis(timeout),
        patience_ms: Some(millis(patience)),
        roaming: !args.no_roaming,
        seed,
        faults,
        fault_interval_ms: millis(interval),
        losses: None,
        promise: args.promise,
        floor_percent: args.floor,
        schedule: Vec::new(),
        final_restart: false,
        key_prefix: external.map(|_| fresh_key_prefix()),
        arena: external.is_none().then(|| ArenaPlan {
            port: PortKind::Tun,
            data: args.data,
            clock: ClockSource::Machine,
            capture: args.capture,
            tcp_rto_max_ms: Some(millis(TCP_RTO_MAX)),
        }),
    };
    if interval < INTERVAL_MIN {
        return Err(Failure::usage(anyhow::anyhow!("--interval must be at least 100ms")));
    }
    plan.validate().map_err(Failure::usage)?;
    workload.validate(&plan.workload.options, plan.concurrency).map_err(Failure::usage)?;
    let deployment = system.deploy(&plan.settings, &plan.topology()).map_err(Failure::usage)?;
    if let Some(promise) = plan.promise {
        workload.can_be_held_to(promise).map_err(Failure::usage)?;
    }
    plan.schedule = match &args.schedule {
        Some(path) => read_schedule(path)?,
        None => {
            let tolerated = deployment.tolerates();
            let losses =
                if args.beyond_tolerance { LossLimit::Beyond } else { LossLimit::tolerated(tolerated) };
            plan.losses = Some(losses);
            expanded(&plan, &*deployment, workload, &mix, args.warm_up, seed)?
        }
    };
    // A run without faults has no final restart either.
    plan.final_restart = !args.no_final_restart
        && !plan.schedule.is_empty()
        && system.description().durable
        && plan.arena.is_some();
    plan.validate().map_err(Failure::usage)?;
    super::schedule::check(&plan, &*deployment)?;
    equip(&mut plan);
    if !args.dry_run {
        available(system, &plan.settings)?;
    }
    Ok(Planned { plan, system, workload, deployment })
}

/// Resolves the settings that `request` asks for. With a `seed`, options that do not affect the promise are
/// drawn unless they are given.
fn resolved(system: &dyn System, mut request: Request, seed: Option<u64>) -> Result<Settings, Failure> {
    let settings = system.resolve(&request).map_err(Failure::usage)?;
    let Some(seed) = seed else { return Ok(settings) };
    let offer = &system.description().offer;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(OPTIONS_STREAM);
    for option in offer.options_of(&settings.mode) {
        // Draw a value even for a given option, so that giving one option does not change the others.
        let drawn = option.drawn.choose(&mut rng);
        // A value set by a bug's scenario counts as given too.
        let given = settings.options.get(&option.name) != Some(&option.default);
        if let (Some(value), false) = (drawn, given || request.options.contains_key(&option.name)) {
            request.options.insert(option.name.clone(), value.clone());
        }
    }
    system.resolve(&request).map_err(Failure::usage)
}

/// Returns the families of faults that this machine supports, and those that it does not.
pub(super) fn families() -> Result<(Vec<Family>, Vec<Family>), Failure> {
    let found = probe().map_err(Failure::internal)?;
    let allowed = |family: &Family| match family {
        Family::Clock => found.ptrace.is_available() && cfg!(target_arch = "x86_64"),
        Family::Disk => found.fuse.is_available(),
        _ => true,
    };
    Ok(Family::ALL.into_iter().partition(allowed))
}

/// Returns nodes that already run, as a plan has them: the names of their hosts are looked up.
fn running(nodes: &[ExternalNode]) -> Result<Vec<PlannedHost>, Failure> {
    let host = |node: &ExternalNode| match node.resolved() {
        Ok(node) => Ok(PlannedHost { name: node.name, address: node.address }),
        Err(error) => {
            let text = format!("cannot look up the address {} of the node {}", node.address, node.name);
            Err(Failure::usage(anyhow::Error::new(error).context(text)))
        }
    };
    nodes.iter().map(host).collect()
}

/// Returns every fault of a cluster that already runs, as a mix.
fn all_of_its_own(system: &dyn System, settings: &Settings) -> Result<String, Failure> {
    let nodes = system.description().external.iter().flatten().map(ExternalNode::node);
    let deployment = system.deploy(settings, &Topology { nodes: nodes.collect() }).map_err(Failure::usage)?;
    let name = |fault: &ExternalFault| format!("{}:{}", Family::Command.name(), fault.name);
    let names: Vec<String> = deployment.external().into_iter().flatten().map(name).collect();
    Ok(if names.is_empty() { "none".to_owned() } else { names.join(",") })
}

/// Returns every family of faults that this machine supports, and the target with these settings, as a mix.
fn all_allowed(system: &dyn System, settings: &Settings, nodes: usize) -> Result<String, Failure> {
    let (mut allowed, forbidden) = families()?;
    allowed.retain(|family| match family {
        Family::Membership => changes_members(system, settings, nodes),
        Family::Upgrade => !settings.upgrades.is_empty(),
        _ => true,
    });
    let names = |families: &[Family], more: &[&str]| {
        families.iter().map(|family| family.name()).chain(more.iter().copied()).collect::<Vec<_>>().join(",")
    };
    if !forbidden.is_empty() {
        tell(format_args!(
            "left out of all faults, since this machine forbids them (see duress doctor): {}",
            names(&forbidden, &[])
        ));
    }
    Ok(names(&allowed, &["story"]))
}

/// Reads a handwritten schedule: a JSON list of faults, as in `plan.json`.
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
