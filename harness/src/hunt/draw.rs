//! The runs of a hunt: options that the user has fixed are kept, everything else is drawn from the hunt's
//! seed and the run's number, so that run 17 of a hunt is the same whenever it is run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use duress_nemesis::{Family, FaultSpec, Story, variants};
use duress_settings::{BugSpec, Request, Settings, SettingsError, Values};
use duress_targets::{Deployment, Node, System, Topology};
use rand::seq::{IndexedRandom, IteratorRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::plan::hosts;
use crate::workload::option::{Takes, WorkloadOption};
use crate::workload::{Workload, Workloads};

/// The options that the user has fixed for every run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// The system under test.
    pub target: String,
    /// Its mode, options, bug and programs, as far as they were given; the number of nodes does not count.
    pub request: Request,
    /// The workload.
    pub workload: Option<String>,
    /// Its name on the command line, if that is another.
    pub workload_word: Option<String>,
    /// The fault mix.
    pub faults: Option<String>,
    /// The number of nodes.
    pub nodes: Option<usize>,
    /// How long clients run, in seconds.
    pub time_limit_s: Option<u64>,
}

/// One run of a hunt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The words after `duress`, but for the folder.
    pub words: Vec<String>,
    /// The run's own seed, which is among the words.
    pub seed: u64,
    /// How long its clients run, in seconds.
    pub time_limit_s: u64,
}

/// Lengths of runs in seconds, and how often each is drawn: most defects show early or not at all, and some need long.
const LENGTHS: [(u64, u32); 3] = [(12, 5), (25, 3), (50, 2)];
/// Sizes of clusters.
const SIZES: [(usize, u32); 2] = [(3, 3), (5, 2)];
/// Processes for each node: published partition failures need few operations, races need many.
const LOADS: [(&str, u32); 5] = [("1n", 1), ("3n", 3), ("8n", 2), ("20n", 1), ("30n", 1)];
/// Mean times between the starts of faults, in milliseconds; without one, that of `duress run`.
const INTERVALS: [(Option<u64>, u32); 3] = [(None, 4), (Some(300), 1), (Some(2000), 1)];
/// When clients give up, in milliseconds: a request that outlives a change of leader shows how it is repeated.
const TIMEOUTS: [(u64, u32); 3] = [(300, 1), (1000, 2), (3000, 2)];
/// The factors for a workload's numbers, as numerator and denominator.
const SCALES: [(u64, u64); 4] = [(1, 4), (1, 2), (4, 1), (16, 1)];
/// How often a run may promise less than the defaults.
const WEAKER: f64 = 0.3;
/// How often an option of the target is not its default in such a run.
const OPTIONS: f64 = 0.3;
/// How often an option is not its default in the other runs, if as much is promised then.
const FREE_OPTIONS: f64 = 0.5;
/// An option whose values go up to this is a number of nodes.
const NODES_MAX: u64 = 9;
/// The variants that a hunt does not draw. They destroy acknowledged data, or what the target relies on, so that what follows is
/// not the target's defect.
const DESTRUCTIVE: [&str; 4] = ["lying-fsync", "bitflip", "truncate", "corrupt-undetected"];
/// How often one story is told again and again.
const ONE_STORY: f64 = 0.3;
/// How often stories are among the faults otherwise.
const STORIES: f64 = 0.5;

/// Returns the run `number` of a hunt from `seed` on `system`, with the families of faults that this machine
/// allows.
#[must_use]
pub fn draw(system: &dyn System, fixed: &Fixed, allowed: &[Family], seed: u64, number: u64) -> Drawn {
    // Runs of one hunt must not share their random numbers.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    let bug = bug(system, fixed);
    let sizes: Vec<(usize, u32)> =
        SIZES.into_iter().filter(|(nodes, _)| bug.is_none_or(|bug| *nodes >= bug.nodes_min)).collect();
    let external = system.description().external.as_ref();
    let drawn_nodes = || external.map_or_else(|| weighted(&sizes, &mut rng), Vec::len);
    let nodes = fixed.nodes.unwrap_or_else(drawn_nodes);
    let time_limit_s = fixed.time_limit_s.unwrap_or_else(|| weighted(&LENGTHS, &mut rng));
    let (mode, workload) = dealt(system, fixed, nodes, seed, number);
    let seed = rng.random_range(0..=u64::from(u32::MAX));
    let settings = mode.and_then(|mode| settings(system, fixed, &mode, workload, nodes, &mut rng));
    let description = settings
        .as_ref()
        .map_or_else(|| system.description(), |settings| system.description_in(settings, nodes));
    let lacks = &description.lacks;
    let rests_on_clocks = settings.as_ref().is_some_and(|settings| rests_on_clocks(system, settings, nodes));
    let durable = system.description().durable;
    let fits = |family: &Family| match family {
        Family::Clock => !rests_on_clocks,
        Family::Membership => {
            settings.as_ref().is_some_and(|settings| changes_members(system, settings, nodes))
        }
        Family::Upgrade => !fixed.request.upgrades.is_empty(),
        // Without data of its own a node survives neither, and its messages may not bear being repeated.
        Family::Kill | Family::Restart | Family::Disk | Family::Packet => durable,
        Family::Partition | Family::Pause | Family::Resources | Family::Command => true,
    };
    let allowed: Vec<Family> = allowed.iter().copied().filter(fits).collect();
    let mut words = vec!["run".to_owned(), fixed.target.clone()];
    let mut say = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    if let Some(settings) = &settings {
        say("mode", settings.mode.clone());
    }
    if let Some(bug) = &fixed.request.bug {
        say("bug", bug.clone());
        // The run that is known to find the bug would lend its settings.
        words.push("--no-scenario".to_owned());
    }
    let mut say = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    let Request { programs, upgrades, .. } = &fixed.request;
    for (flag, programs) in [("program", programs), ("upgrade-to", upgrades)] {
        programs.iter().for_each(|(name, path)| say(flag, format!("{name}={}", path.display())));
    }
    say("nodes", nodes.to_string());
    say("time-limit", format!("{time_limit_s}s"));
    let load = weighted(&LOADS, &mut rng);
    say("concurrency", load.to_owned());
    say("timeout", format!("{}ms", weighted(&TIMEOUTS, &mut rng)));
    let ends_early = workload.is_some_and(Workload::prefix_closed);
    if let Some(workload) = workload {
        say("workload", fixed.workload_word.clone().unwrap_or_else(|| workload.name().to_owned()));
        // A system with one object keeps one.
        if !system.description().has_one_object() {
            for (name, value) in workload_options(workload, nodes, lacks, &mut rng) {
                say(name, value);
            }
        }
    }
    let interval = weighted(&INTERVALS, &mut rng);
    let faults = fixed.faults.clone().unwrap_or_else(|| match external {
        Some(_) => "all".to_owned(),
        None => faults(&allowed, durable, nodes, &mut rng),
    });
    // A short run with a long interval cannot inject every family, and the floor would make it unknown.
    let paced = |interval: &u64| (faults.split(',').count() as u64 + 1) * interval <= time_limit_s * 1000;
    if let Some(interval) = interval.filter(paced) {
        say("interval", format!("{interval}ms"));
    }
    say("faults", faults);
    say("seed", seed.to_string());
    // Options that no promise depends on are the run's to draw.
    words.push("--draw-options".to_owned());
    if ends_early {
        words.push("--stop-at-first-anomaly".to_owned());
    }
    let options = settings.iter().flat_map(|settings| &settings.options);
    for (name, value) in options.filter(|(name, value)| is_said(system, fixed, name, value)) {
        words.extend(["-o".to_owned(), format!("{name}={value}")]);
    }
    Drawn { words, seed, time_limit_s }
}

/// Whether the target's promise rests on clocks. A clock that is wrong by more than the bound may break the
/// promise, which is not a defect.
fn rests_on_clocks(system: &dyn System, settings: &Settings, nodes: usize) -> bool {
    deployed(system, settings, nodes).is_some_and(|deployment| deployment.clock_bound().is_some())
}

/// Whether the members of a cluster of so many nodes can be removed and added.
pub fn changes_members(system: &dyn System, settings: &Settings, nodes: usize) -> bool {
    nodes >= FaultSpec::any(Family::Membership).nodes_min()
        && deployed(system, settings, nodes).is_some_and(|deployment| deployment.membership().is_some())
}

/// Returns `system` with these settings on so many nodes; `None` if they do not go together.
fn deployed(system: &dyn System, settings: &Settings, nodes: usize) -> Option<Arc<dyn Deployment>> {
    let nodes = hosts("n", nodes, 0).into_iter().map(|host| Node { name: host.name, address: host.address });
    system.deploy(settings, &Topology { nodes: nodes.collect() }).ok()
}

/// Returns the seeded bug that is hunted, if there is one.
pub fn bug<'a>(system: &'a dyn System, fixed: &Fixed) -> Option<&'a BugSpec> {
    let name = fixed.request.bug.as_ref()?;
    system.description().offer.bugs.iter().find(|bug| bug.name == *name)
}

fn weighted<T: Copy>(choices: &[(T, u32)], rng: &mut impl Rng) -> T {
    let (choice, _) = choices.choose_weighted(rng, |(_, weight)| *weight).expect("weights are positive");
    *choice
}

/// Returns the fixed options, completed for each mode of `system` that accepts them, on so many nodes; at least one.
///
/// # Errors
/// The first mode's error, if none accepts them.
pub fn modes(system: &dyn System, fixed: &Fixed, nodes: usize) -> Result<Vec<Settings>, SettingsError> {
    let modes: Vec<String> = match &fixed.request.mode {
        Some(mode) => vec![mode.clone()],
        None => system.description().offer.modes.iter().map(|mode| mode.name.clone()).collect(),
    };
    let (mut fitting, mut refused) = (Vec::new(), None);
    for mode in modes {
        match system.resolve(&Request { mode: Some(mode.clone()), nodes, ..fixed.request.clone() }) {
            Ok(settings) => fitting.push(settings),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(error) if fitting.is_empty() => Err(error),
        _ => Ok(fitting),
    }
}

/// Returns the mode and the workload of the run `number` of a hunt from `seed`; `None` for a mode if none accepts the
/// fixed options.
///
/// Each pair of them comes once before any comes twice, as cards are dealt: a defect of one mode that one workload sees
/// has its turn in a hunt of a few minutes.
fn dealt(
    system: &dyn System,
    fixed: &Fixed,
    nodes: usize,
    seed: u64,
    number: u64,
) -> (Option<String>, Option<&'static dyn Workload>) {
    let modes = modes(system, fixed, nodes).unwrap_or_default();
    let wanted =
        |workload: &&dyn Workload| fixed.workload.as_ref().is_none_or(|name| workload.name() == name);
    let of_mode = |settings: &Settings| {
        let workloads: Vec<_> = Workloads::of_settings(system, settings, nodes).filter(wanted).collect();
        let mode = settings.mode.clone();
        workloads.into_iter().map(move |workload| (Some(mode.clone()), Some(workload)))
    };
    let mut deck: Vec<(Option<String>, Option<&'static dyn Workload>)> =
        modes.iter().flat_map(of_mode).collect();
    if deck.is_empty() {
        // They do not go together, which `duress run` then explains.
        deck.push((modes.first().map(|fixed| fixed.mode.clone()), Workloads::of(system).find(wanted)));
    }
    let cards = deck.len() as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The runs' own numbers come from the first streams.
    rng.set_stream(u64::MAX - number / cards);
    deck.shuffle(&mut rng);
    deck.swap_remove((number % cards) as usize)
}

/// Draws values of the options of `mode`; `None` if they do not go together, which `duress run` then explains. The fixed ones
/// alone if the system would not have the workload with those that were drawn.
fn settings(
    system: &dyn System,
    fixed: &Fixed,
    mode: &str,
    workload: Option<&'static dyn Workload>,
    nodes: usize,
    rng: &mut impl Rng,
) -> Option<Settings> {
    let bug = bug(system, fixed);
    let mut options = fixed.request.options.clone();
    let resolve = |options: &BTreeMap<String, String>| {
        let request =
            Request { mode: Some(mode.to_owned()), options: options.clone(), nodes, ..fixed.request.clone() };
        system.resolve(&request).ok()
    };
    let offer = &system.description().offer;
    let promise = |options: &BTreeMap<String, String>| {
        // Whatever the run draws itself.
        let drawn = offer.options_of(mode).filter(|option| !options.contains_key(&option.name));
        let drawn = drawn.filter_map(|option| Some((option.name.clone(), option.drawn.last()?.clone())));
        let settings = resolve(&options.clone().into_iter().chain(drawn).collect())?;
        Some(deployed(system, &settings, nodes)?.promise(workload.map_or("", |workload| workload.name())))
    };
    // Most options weaken the promise, and then show less.
    let kept = if rng.random_bool(WEAKER) { None } else { promise(&options) };
    let likelihood = if kept.is_some() { FREE_OPTIONS } else { OPTIONS };
    for option in offer.options_of(mode) {
        let choices: Vec<String> = match &option.values {
            Values::Words(words) | Values::WordsOrWhole { words, .. } => words.clone(),
            // Numbers of nodes, such as a quorum, decide what is promised. Others have a range to be drawn from.
            Values::Whole { min, max } if *max <= NODES_MAX && option.drawn.is_empty() => {
                (*min..=nodes as u64).map(|number| number.to_string()).collect()
            }
            Values::Whole { .. } => continue,
        };
        let choices = bug.and_then(|bug| bug.options.get(&option.name)).unwrap_or(&choices);
        // The default has its share of the runs already.
        let others: Vec<&String> = choices.iter().filter(|word| **word != option.default).collect();
        let drawn = others.choose(rng).filter(|_| rng.random_bool(likelihood));
        let Some(word) = drawn.filter(|_| !options.contains_key(&option.name)) else { continue };
        options.insert(option.name.clone(), (*word).clone());
        // It may not go with those that are there, such as a quorum of more nodes than there are copies.
        let fits = |settings: Settings| deployed(system, &settings, nodes).is_some();
        let misfits = matches!(option.values, Values::Whole { .. }) && !resolve(&options).is_some_and(fits);
        if misfits || kept.is_some() && promise(&options) != kept {
            options.remove(&option.name);
        }
    }
    let has_workload = |settings: &Settings| {
        let known = |name| Workloads::of_settings(system, settings, nodes).any(|known| known.name() == name);
        workload.is_none_or(|workload| known(workload.name()))
    };
    resolve(&options).filter(has_workload).or_else(|| resolve(&fixed.request.options))
}

/// Whether a setting of the target's option is worth saying: it was fixed, or is not the default.
fn is_said(system: &dyn System, fixed: &Fixed, name: &str, value: &str) -> bool {
    let options = &system.description().offer.options;
    let default = options.iter().any(|option| option.name == name && option.default == value);
    !default || fixed.request.options.contains_key(name)
}

/// Returns some of the workload's options, far from their defaults: few keys and many, short lives and long ones, much
/// reading and little. Weights of operations that clients lack are left out.
fn workload_options(
    workload: &dyn Workload,
    nodes: usize,
    lacks: &[String],
    rng: &mut impl Rng,
) -> BTreeMap<&'static str, String> {
    let mut drawn = BTreeMap::new();
    let mut weights: Vec<String> = Vec::new();
    let mut options = workload.defaults();
    let lacking = |option: &&WorkloadOption| !lacks.iter().any(|lacking| lacking == option.name);
    for option in workload.options().iter().filter(lacking) {
        let Some(default) = options.get(option.field).and_then(serde_json::Value::as_u64) else { continue };
        // A weight that is far above the others would leave nothing but its operation.
        let scales = if option.takes == Takes::Weight { &SCALES[..3] } else { &SCALES[..] };
        let (times, over) = *scales.choose(rng).expect("there are some");
        let value = (default * times / over).max(1);
        let before = options.insert(option.field.to_owned(), value.into());
        // Runs with the defaults never do what an option of 0 leaves out.
        let likelihood = if default == 0 { 0.6 } else { 0.3 };
        // Processes as few as they are drawn at the least.
        if rng.random_bool(likelihood) && value != default && workload.validate(&options, nodes).is_ok() {
            match option.takes {
                Takes::Number => _ = drawn.insert(option.name, value.to_string()),
                Takes::Duration => _ = drawn.insert(option.name, format!("{value}ms")),
                // A switch that is off breaks the promise of an exact result.
                Takes::Switch => {}
                Takes::Weight => weights.push(format!("{}={value}", option.name)),
            }
        } else {
            options.extend(before.map(|before| (option.field.to_owned(), before)));
        }
    }
    if !weights.is_empty() {
        drawn.insert("weight", weights.join(","));
    }
    drawn
}

/// Returns a fault mix: one story beside a family or none, everything at once, a few families, or one variant for itself beside
/// a family.
fn faults(allowed: &[Family], durable: bool, nodes: usize, rng: &mut impl Rng) -> String {
    let some = |count: usize, rng: &mut _| -> Vec<String> {
        allowed.sample(rng, count).map(|family| family.name().to_owned()).collect()
    };
    // A story that must be told at the right moment to show something has to be told often.
    if durable && rng.random_bool(ONE_STORY) {
        let told = |story: &&Story| {
            story.nodes_min() <= nodes && story.needs().is_none_or(|family| allowed.contains(&family))
        };
        let story = Story::ALL.iter().filter(told).choose(rng).map(|story| format!("story:{}", story.name()));
        return story.into_iter().chain(some(rng.random_range(0..2), rng)).collect::<Vec<String>>().join(",");
    }
    let mut items: BTreeSet<String> = match rng.random_range(0..4) {
        0 => some(allowed.len(), rng),
        1 => some(2, rng),
        2 => some(3, rng),
        _ => some(1, rng),
    }
    .into_iter()
    .collect();
    let fitting: Vec<String> = variants()
        .iter()
        .filter(|variant| allowed.contains(&variant.family) && variant.nodes_min() <= nodes)
        // The role of the example need not be one of this target; the roles that it has are drawn anyway.
        .filter(|variant| variant.name != "role" && !DESTRUCTIVE.contains(&variant.name))
        .map(|variant| format!("{}:{}", variant.family.name(), variant.example))
        .collect();
    if let Some(variant) = fitting.choose(rng).filter(|_| items.len() < 3) {
        items.insert(variant.clone());
    }
    // Faults that follow each other as those of real failures did; nodes are killed in most of them.
    if rng.random_bool(STORIES) && durable {
        items.insert("story".to_owned());
    }
    items.into_iter().collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems::systems;

    fn fixed(target: &str) -> Fixed {
        Fixed { target: target.to_owned(), ..Fixed::default() }
    }

    fn drawn(fixed: &Fixed, number: u64) -> String {
        let system = systems().find(&fixed.target).unwrap();
        draw(system, fixed, &Family::ALL, 7, number).words.join(" ")
    }

    #[test]
    fn a_run_is_the_same_whenever_it_is_drawn_and_no_two_are_alike() {
        let runs: BTreeSet<String> = (0..50).map(|number| drawn(&fixed("store"), number)).collect();
        assert_eq!(runs.len(), 50);
        assert!((0..50).all(|number| runs.contains(&drawn(&fixed("store"), number))));
    }

    #[test]
    fn what_is_fixed_stays() {
        let request = Request { mode: Some("primary".to_owned()), ..Request::default() };
        let fixed = Fixed {
            request: request.with_option("read", "primary"),
            nodes: Some(4),
            faults: Some("kill".to_owned()),
            time_limit_s: Some(9),
            workload: Some("register".to_owned()),
            ..fixed("store")
        };
        for number in 0..20 {
            let run = drawn(&fixed, number);
            for word in [
                "--mode primary ",
                "-o read=primary",
                "--nodes 4 ",
                "--faults kill ",
                "--time-limit 9s ",
                "--workload register ",
            ] {
                assert!(run.contains(word), "{word}: {run}");
            }
        }
    }

    #[test]
    fn a_bug_is_hunted_in_its_own_modes() {
        let request = Request { bug: Some("ack-before-commit".to_owned()), ..Request::default() };
        let fixed = Fixed { request, ..fixed("store") };
        assert!((0..20).all(|number| drawn(&fixed, number).contains("--mode raft --bug ack-before-commit ")));
    }

    #[test]
    fn a_bug_is_hunted_where_it_can_show() {
        let request = Request { bug: Some("lease-short-of-quorum".to_owned()), ..Request::default() };
        let fixed = Fixed { request, ..fixed("store") };
        for run in (0..20).map(|number| drawn(&fixed, number)) {
            assert!(run.contains("-o reads=lease") && run.contains("--nodes 5 "), "{run}");
        }
    }

    #[test]
    fn clocks_stay_as_they_are_where_a_promise_rests_on_them() {
        let request = Request { mode: Some("raft".to_owned()), ..Request::default() };
        let fixed = Fixed { request: request.with_option("reads", "lease"), ..fixed("store") };
        // The story "clock-step" is one of these.
        assert!((0..300).all(|number| !drawn(&fixed, number).contains("clock")));
    }

    #[test]
    fn quorums_are_of_the_copies_that_there_are() {
        let request = Request { mode: Some("ring".to_owned()), ..Request::default() };
        let fixed = Fixed { request, ..fixed("store") };
        for run in (0..200).map(|number| drawn(&fixed, number)) {
            assert!(copies(&run, "r", 2).max(copies(&run, "w", 2)) <= copies(&run, "n", 3), "{run}");
        }
    }

    /// Returns the number that a run of the store's ring has for an option.
    fn copies(run: &str, name: &str, default: u64) -> u64 {
        let drawn = run.split(&format!("-o {name}=")).nth(1).and_then(|rest| rest.split(' ').next());
        drawn.map_or(default, |number| number.parse().unwrap())
    }

    #[test]
    fn options_that_weaken_no_promise_are_drawn_often() {
        let count = |target: &str, mode: &str, wanted: &dyn Fn(&str) -> bool| {
            let request = Request { mode: Some(mode.to_owned()), ..Request::default() };
            let fixed = Fixed { request, nodes: Some(3), ..fixed(target) };
            (0..200).filter(|number| wanted(&drawn(&fixed, *number))).count()
        };
        let elects = |run: &str| {
            run.contains("failover=auto") && run.contains("-o ack=") && !run.contains("-o read=any")
        };
        let elected = count("store", "primary", &elects);
        assert!(elected > 20, "{elected} of 200 elect primaries that lose nothing");
        let repeats = count("broker", "isr", &|run| run.contains("idempotent=off"));
        assert!(repeats < 60, "{repeats} of 200 may store messages twice, if they retry");
    }

    #[test]
    fn a_job_is_dealt_where_reads_are_fresh() {
        let jobs = |fixed: &Fixed| {
            let runs: Vec<String> = (0..200).map(|number| drawn(fixed, number)).collect();
            runs.into_iter().filter(|run| run.contains("--workload job")).collect::<Vec<_>>()
        };
        let runs = jobs(&fixed("store"));
        assert!(runs.len() > 20, "{}", runs.len());
        for weak in ["reads=local", "read=any", "sloppy=on", "retry", "dedupe"] {
            assert!(!runs.iter().any(|run| run.contains(weak)), "{weak}: {runs:#?}");
        }
        for run in runs.iter().filter(|run| run.contains("--mode ring")) {
            assert!(copies(run, "r", 2) + copies(run, "w", 2) > copies(run, "n", 3), "{run}");
        }
        let local =
            Request { options: [("reads".to_owned(), "local".to_owned())].into(), ..Request::default() };
        assert!(jobs(&Fixed { request: local, ..fixed("store") }).is_empty());
    }

    #[test]
    fn each_family_has_time() {
        for number in 0..300 {
            let run = drawn(&fixed("store"), number);
            let after = |name: &str| run.split(name).nth(1)?.split(' ').next().map(str::to_owned);
            let (Some(faults), Some(limit)) = (after("--faults "), after("--time-limit ")) else { continue };
            if run.contains("--interval 2000ms") {
                let limit: usize = limit.trim_end_matches('s').parse().unwrap();
                assert!(faults.split(',').count() * 2 < limit, "{run}");
            }
        }
    }

    #[test]
    fn every_mode_meets_every_workload_before_any_does_twice() {
        let pair = |number| {
            let run = drawn(&fixed("store"), number);
            let after = |name: &str| run.split(name).nth(1)?.split(' ').next().map(str::to_owned);
            (after("--mode "), after("--workload "))
        };
        let store = systems().find("store").unwrap();
        let modes = modes(store, &fixed("store"), 3).unwrap();
        let cards =
            modes.iter().flat_map(|settings| Workloads::of_settings(store, settings, 3)).count() as u64;
        for round in 0..3 {
            let pairs: BTreeSet<_> = (round * cards..(round + 1) * cards).map(pair).collect();
            assert_eq!(pairs.len() as u64, cards);
        }
        assert!((0..cards).any(|number| pair(number) != pair(cards + number)), "each round is shuffled anew");
    }

    #[test]
    fn much_is_drawn() {
        let runs: Vec<String> = (0..500).map(|number| drawn(&fixed("store"), number)).collect();
        for word in [
            "--mode primary",
            "--faults clock,disk,",
            "story:succession ",
            "kill:",
            "--keys ",
            "--nodes 3",
            "--nodes 5",
            "reads=",
            "20n",
            "deletes=",
            "-o r=1",
            "-o w=3",
        ] {
            assert!(runs.iter().any(|run| run.contains(word)), "{word} is never drawn");
        }
        for word in DESTRUCTIVE {
            assert!(variants().iter().any(|variant| variant.name == word), "{word} is no variant");
            assert!(!runs.iter().any(|run| run.contains(word)), "{word} is drawn");
        }
    }
}
