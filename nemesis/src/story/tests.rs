//! Stories of every kind, and which nodes they strike.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::role::RoleMap;
use crate::selector::Relation;

/// A cluster with three client hosts and the given roles, for stories of all families.
struct Setting {
    nodes: Vec<NodeId>,
    clients: Vec<NodeId>,
    roles: Vec<Role>,
    families: BTreeSet<Family>,
    time_outs: [Duration; 1],
}

impl Setting {
    fn new(nodes: usize, roles: &[&str]) -> Self {
        let names =
            |prefix: &str, count: usize| (1..=count).map(|at| NodeId::new(format!("{prefix}{at}"))).collect();
        Self {
            nodes: names("n", nodes),
            clients: names("c", 3),
            roles: roles.iter().map(|role| Role::new(*role)).collect(),
            families: Family::ALL.into_iter().collect(),
            time_outs: [Duration::from_secs(1)],
        }
    }

    fn stage(&self, client_time_out: Option<Duration>) -> Stage<'_> {
        let Self { nodes, clients, roles, families, time_outs } = self;
        Stage { nodes, clients, roles, families, timing: Timing(time_outs), client_time_out }
    }
}

#[test]
fn every_story_is_told_with_every_number_of_nodes_that_it_works_with() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for story in Story::ALL {
        assert_eq!(Story::named(story.name()), Some(story));
        for count in story.nodes_min()..=7 {
            let setting = Setting::new(count, &["coordinator"]);
            let stage = setting.stage(Some(Duration::from_secs(6)));
            for _ in 0..50 {
                let acts = story.acts(&stage, &mut rng);
                assert!(!acts.is_empty(), "{}", story.name());
                for (number, act) in (1..).zip(&acts) {
                    let lasts = act.on.as_ref().map_or(act.within_ms, |trigger| trigger.lasts_ms);
                    assert!((1..=60_000).contains(&lasts) && act.within_ms >= lasts, "{act:?}");
                    if let Some(Event::Start { fault, .. } | Event::Heal { fault, .. }) =
                        act.on.as_ref().map(|trigger| &trigger.event)
                    {
                        assert!(fault.is_some_and(|of| of < number), "{act:?} of itself, or of a later one");
                    }
                }
            }
        }
    }
}

#[test]
fn clients_return_after_others_were_given_what_they_held() {
    let setting = Setting::new(3, &[]);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut drawn = |client_time_out, least| {
        let stage = setting.stage(client_time_out);
        for _ in 0..50 {
            let acts = Story::ZombieClient.acts(&stage, &mut rng);
            let [
                Act {
                    within_ms, fault: Fault::Partition { shape: PartitionShape::Nodes(hosts), .. }, ..
                },
            ] = &acts[..]
            else {
                panic!("{acts:?}")
            };
            assert!((least..=least * 2).contains(within_ms), "{within_ms}");
            assert!((1..=2).contains(&hosts.len()) && hosts.iter().all(|host| stage.clients.contains(host)));
        }
        (0..300).filter(|_| Story::draw(&stage, &[], &mut rng) == Story::ZombieClient).count()
    };
    let (held, nothing) = (drawn(Some(Duration::from_secs(2)), 2600), drawn(None, 1300));
    assert!(held > 2 * nothing && nothing > 0, "more often where clients hold something: {held}, {nothing}");
}

#[test]
fn every_story_that_fits_is_drawn_before_one_is_drawn_again() {
    let setting = Setting::new(3, &[]);
    let stage = setting.stage(None);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut told = Vec::new();
    for _ in 0..2 * Story::ALL.len() {
        told.push(Story::draw(&stage, &told, &mut rng));
    }
    for half in told.chunks(Story::ALL.len()) {
        assert_eq!(half.iter().copied().collect::<BTreeSet<_>>(), Story::ALL.into());
    }
}

#[test]
fn stories_of_leaders_are_told_of_the_targets_own_roles_too() {
    let setting = Setting::new(3, &["coordinator", "t0-0", "t0-1", "t0-2"]);
    let stage = setting.stage(None);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut told = |story: Story, role: &str| {
        let is_about = |act: &Act| match act.fault.targets() {
            Some(Targets::Chosen(choice)) => choice.role == Relation::Has(Role::new(role)),
            _ => false,
        };
        (0..400).filter(|_| story.acts(&stage, &mut rng).iter().any(is_about)).count()
    };
    assert!(told(Story::Zombie, "coordinator") > told(Story::Zombie, "t0-2"));
    assert!(told(Story::Zombie, "t0-2") > 0 && told(Story::Zombie, "leader") > 150);
    assert_eq!(told(Story::RollingLeader, "coordinator"), 0, "it waits for another leader");
}

#[test]
fn a_power_cut_that_comes_late_strikes_no_node_that_another_has_taken() {
    let setting = Setting::new(3, &[]);
    let acts = Story::PowerCut.acts(&setting.stage(None), &mut ChaCha8Rng::seed_from_u64(5));
    let targets = acts[0].fault.targets().expect("it strikes disks");
    assert_eq!(targets.resolve(&RoleMap::default(), &[]), setting.nodes);
    assert_eq!(targets.resolve(&RoleMap::default(), &setting.nodes), []);
}

#[test]
fn a_follower_lacks_the_role_that_the_story_is_about() {
    let setting = Setting::new(3, &["coordinator"]);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut roles = BTreeSet::new();
    for _ in 0..50 {
        let acts = Story::Succession.acts(&setting.stage(None), &mut rng);
        let relations = acts.iter().map(|act| match act.fault.targets() {
            Some(Targets::Chosen(choice)) => choice.role.clone(),
            other => panic!("{other:?}"),
        });
        let [Relation::Lacks(lacked), Relation::Has(first), Relation::Has(second)] =
            &relations.collect::<Vec<_>>()[..]
        else {
            panic!("{acts:?}")
        };
        assert!(lacked == first && first == second, "{acts:?}");
        assert!(acts[0].within_ms <= 1000, "it is back before the others do without it: {acts:?}");
        roles.insert(first.clone());
    }
    assert_eq!(roles, ["coordinator", "leader"].map(Role::new).into());
}

#[test]
fn the_one_that_lags_is_brought_up_to_date_by_those_that_are_left() {
    let setting = Setting::new(3, &[]);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut leader_is_gone = BTreeSet::new();
    for _ in 0..20 {
        let acts = Story::Laggard.acts(&setting.stage(None), &mut rng);
        let [majority, lagging, gone] = &acts[..] else { panic!("{acts:?}") };
        let named =
            |act: &Act| act.fault.targets().map(|targets| targets.named().to_vec()).unwrap_or_default();
        let (majority_nodes, lagging_nodes) = (named(majority), named(lagging));
        assert_eq!((majority_nodes.len(), lagging_nodes.len()), (2, 1));
        assert!(!majority_nodes.contains(&lagging_nodes[0]));
        leader_is_gone.insert(match gone.fault.targets() {
            Some(Targets::Nodes(nodes)) => {
                assert!(nodes.len() == 1 && majority_nodes.contains(&nodes[0]), "{acts:?}");
                false
            }
            Some(Targets::Chosen(choice)) => {
                assert!(choice.role == Relation::Has(Role::leader()) && choice.count == 1, "{acts:?}");
                true
            }
            other => panic!("{other:?}"),
        });
        // The majority accepts writes alone for a while, and part of it is disabled before the lagging node
        // starts.
        assert!(majority.within_ms < gone.after_ms && gone.after_ms < lagging.within_ms);
    }
    assert_eq!(leader_is_gone, [false, true].into());
}
