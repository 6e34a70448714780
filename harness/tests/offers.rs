//! The systems' offers are consistent, and a user's request is answered with settings or with a useful error.

use std::sync::Arc;

use duress::systems::systems;
use duress::workload::Workloads;
use duress_history::{Delivery, NodeId, Promise};
use duress_nemesis::FaultSpec;
use duress_settings::{Request, Settings};
use duress_targets::{Deployment, Node, Setup, System, Topology};

fn ask(mode: Option<&str>, options: &[(&str, &str)], bug: Option<&str>) -> Request {
    Request {
        mode: mode.map(str::to_owned),
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        bug: bug.map(str::to_owned),
        scenario: true,
        nodes: 5,
        ..Request::default()
    }
}

fn find(name: &str) -> &'static dyn System {
    systems().find(name).unwrap()
}

/// `system` with so many nodes.
fn deployed(system: &dyn System, settings: &Settings, nodes: u8) -> Arc<dyn Deployment> {
    let nodes = (1..=nodes)
        .map(|number| Node { name: NodeId::new(format!("n{number}")), address: [10, 77, 0, number].into() });
    system.deploy(settings, &Topology { nodes: nodes.collect() }).unwrap()
}

fn refused(system: &dyn System, request: &Request) -> String {
    system.resolve(request).unwrap_err().to_string()
}

#[test]
fn what_options_are_drawn_from_is_accepted_and_changes_no_promise() {
    let mut drawn = 0;
    for system in systems().iter() {
        for option in &system.description().offer.options {
            for (value, mode) in
                option.drawn.iter().flat_map(|value| option.modes.iter().map(move |mode| (value, mode)))
            {
                let promised = |options: &[(&str, &str)]| {
                    let settings = system.resolve(&ask(Some(mode.as_str()), options, None)).unwrap();
                    let deployment = deployed(system, &settings, 5);
                    assert!(!deployment.time_outs().all().is_empty());
                    (deployment.promise("register"), deployment.tolerates())
                };
                assert_eq!(
                    promised(&[(option.name.as_str(), value.as_str())]),
                    promised(&[]),
                    "{} = {value}",
                    option.name
                );
                drawn += 1;
            }
        }
    }
    assert!(drawn > 20, "{drawn} values");
}

#[test]
fn every_default_and_every_scenario_can_be_run() {
    for system in systems().iter() {
        let description = system.description();
        let offer = &description.offer;
        for mode in &offer.modes {
            let settings = system.resolve(&ask(Some(&mode.name), &[], None)).unwrap();
            let deployment = deployed(system, &settings, 5);
            let mut vocabularies: Vec<&str> = deployment.clients().vocabularies().collect();
            vocabularies.sort_unstable();
            let in_mode = system.description_in(&settings, 5);
            let mut described: Vec<&str> = in_mode.vocabularies.iter().map(String::as_str).collect();
            described.sort_unstable();
            assert_eq!(vocabularies, described, "{} has the clients that it declares", description.name);
            for option in offer.options_of(&mode.name) {
                assert_eq!(settings.option(&option.name), Some(option.default.as_str()));
            }
        }
        for option in &offer.options {
            assert!(option.values.accept(&option.default), "{} {}", description.name, option.name);
            assert!(option.modes.iter().all(|name| offer.modes.iter().any(|mode| mode.name == *name)));
        }
        let named: Vec<&String> = offer.bugs.iter().map(|bug| &bug.name).collect();
        assert!(description.scenarios.keys().all(|name| named.contains(&name)), "a scenario of no bug");
        for bug in &offer.bugs {
            let scenario = description.scenarios.get(&bug.name).expect("each bug has a scenario");
            assert!(bug.modes.contains(&scenario.mode), "{}", bug.name);
            FaultSpec::parse_mix(&scenario.faults.join(",")).unwrap();
            assert!(Workloads::known().iter().any(|workload| workload.name() == scenario.workload));
            let options: Vec<(&str, &str)> =
                scenario.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let settings = system.resolve(&ask(Some(&scenario.mode), &options, Some(&bug.name))).unwrap();
            assert_eq!(settings.bug.as_ref(), Some(&bug.name));
            assert_eq!(system.resolve(&ask(None, &[], Some(&bug.name))).unwrap(), settings, "{}", bug.name);
            deployed(system, &settings, 3);
        }
    }
}

#[test]
fn defaults_are_filled_in() {
    let store = find("store");
    let settings = store.resolve(&ask(None, &[], None)).unwrap();
    assert_eq!(settings.mode, "raft");
    assert_eq!(settings.option("snapshot_every"), Some("5000"));
    assert_eq!(settings.option("read"), None, "an option of another mode");
    assert_eq!(settings.option("reads"), Some("index"));
    assert_eq!(deployed(store, &settings, 5).tolerates(), 2);
    assert_eq!(deployed(store, &settings, 4).tolerates(), 1);

    for (reads, promise) in
        [("index", Promise::LINEARIZABLE), ("lease", Promise::LINEARIZABLE), ("local", Promise::STALE_READS)]
    {
        let settings = store.resolve(&ask(None, &[("reads", reads)], None)).unwrap();
        let deployment = deployed(store, &settings, 5);
        assert_eq!(deployment.promise("register"), promise, "{reads}");
        assert_eq!(deployment.promise("list-append"), of_transactions(promise), "{reads}");
        for workload in ["bank", "long-fork"] {
            assert_eq!(deployment.promise(workload), of_transactions(promise), "{workload} {reads}");
        }
        assert_eq!(deployment.clock_bound().is_some(), reads == "lease");
    }
    let stale = store.resolve(&ask(Some("primary"), &[("read", "any")], None)).unwrap();
    assert_eq!(deployed(store, &stale, 5).promise("register"), Promise::STALE_READS);
    assert_eq!(deployed(store, &stale, 5).promise("rw-register"), of_transactions(Promise::STALE_READS));
    assert_eq!(deployed(store, &stale, 5).tolerates(), 0);
    let sharded = store.resolve(&ask(Some("sharded"), &[("shards", "3")], None)).unwrap();
    let deployment = deployed(store, &sharded, 5);
    assert_eq!((deployment.promise("register"), deployment.tolerates()), (Promise::LINEARIZABLE, 2));
    assert_eq!(deployment.promise("list-append"), Promise::STRICT_SERIALIZABLE);
    assert_eq!(deployment.roles(&Setup::default()), ["shard-1", "shard-2"]);
    let etcd = find("etcd");
    let local = etcd.resolve(&ask(None, &[("read", "serializable")], None)).unwrap();
    assert_eq!(deployed(etcd, &local, 3).promise("register"), Promise::STALE_READS);
    assert_eq!(deployed(etcd, &local, 3).promise("list-append"), of_transactions(Promise::STALE_READS));
    let usual = etcd.resolve(&ask(None, &[], None)).unwrap();
    assert_eq!(deployed(etcd, &usual, 3).promise("rw-register"), Promise::STRICT_SERIALIZABLE);
}

/// Returns the promise about transactions of a system that makes `promise` about single objects.
fn of_transactions(promise: Promise) -> Promise {
    match promise {
        Promise::STALE_READS => Promise::named("serializable").unwrap(),
        _ => Promise::STRICT_SERIALIZABLE,
    }
}

#[test]
fn the_quorums_of_the_ring_decide_what_it_promises() {
    let store = find("store");
    let promised = |options: &[(&str, &str)], nodes: u8| {
        let settings = store.resolve(&ask(Some("ring"), options, None)).unwrap();
        let deployment = deployed(store, &settings, nodes);
        (deployment.promise("register"), deployment.tolerates())
    };
    let regular = Promise::named("regular").unwrap();
    for (options, nodes, promise, tolerates) in [
        (&[][..], 5, Promise::LINEARIZABLE, 1),
        // With fewer nodes than copies, all of them own every key.
        (&[], 2, Promise::LINEARIZABLE, 0),
        (&[("r", "1"), ("w", "3")], 5, Promise::LINEARIZABLE, 0),
        (&[("n", "5"), ("r", "3"), ("w", "3")], 5, Promise::LINEARIZABLE, 2),
        (&[("read_repair", "async")], 5, regular, 1),
        (&[("read_repair", "off")], 5, regular, 1),
        (&[("r", "1")], 5, Promise::EVENTUAL, 1),
        (&[("w", "1"), ("read_repair", "off")], 5, Promise::EVENTUAL, 1),
        (&[("sloppy", "on")], 5, Promise::EVENTUAL, 3),
    ] {
        assert_eq!(promised(options, nodes), (promise, tolerates), "{options:?}, {nodes} nodes");
    }
    for (conflict, workload, promise) in [
        ("lww", "set", Promise::named("written").unwrap()),
        ("siblings", "set", Promise::EVENTUAL),
        ("siblings", "register", Promise::named("written").unwrap()),
    ] {
        let settings = store.resolve(&ask(Some("ring"), &[("conflict", conflict)], None)).unwrap();
        let deployment = deployed(store, &settings, 5);
        assert_eq!(deployment.promise(workload), promise, "{conflict}, {workload}");
        let mut clients: Vec<&str> = deployment.clients().vocabularies().collect();
        let mut described: Vec<&str> =
            store.description_in(&settings, 5).vocabularies.iter().map(String::as_str).collect();
        clients.sort_unstable();
        described.sort_unstable();
        assert_eq!(clients, described, "{conflict}");
    }
    let settings = store.resolve(&ask(Some("ring"), &[("w", "4")], None)).unwrap();
    let Err(error) = store.deploy(&settings, &Topology { nodes: Vec::new() }) else { panic!("deployed") };
    assert_eq!(error.to_string(), "option w cannot be \"4, with n=3\"");
}

#[test]
fn the_copies_of_a_write_decide_what_a_primary_promises() {
    let store = find("store");
    let promised = |options: &[(&str, &str)], nodes: u8| {
        let settings = store.resolve(&ask(Some("primary"), options, None)).unwrap();
        let deployment = deployed(store, &settings, nodes);
        let mut clients: Vec<&str> = deployment.clients().vocabularies().collect();
        let mut described: Vec<&str> =
            store.description_in(&settings, nodes.into()).vocabularies.iter().map(String::as_str).collect();
        clients.sort_unstable();
        described.sort_unstable();
        assert_eq!(clients, described, "{options:?}");
        let promise = deployment.promise("register");
        let of_lists = match promise {
            Promise::LINEARIZABLE | Promise::STALE_READS => of_transactions(promise),
            _ => Promise::named("read-uncommitted").unwrap(),
        };
        assert_eq!(deployment.promise("list-append"), of_lists, "{options:?}");
        (promise, deployment.tolerates(), clients.len())
    };
    let any_written = Promise::named("written").unwrap();
    let auto = ("failover", "auto");
    for (options, nodes, promise, tolerates, vocabularies) in [
        (&[("ack", "semi")][..], 5, Promise::LINEARIZABLE, 0, 8),
        (&[("ack", "sync"), ("read", "any")], 5, Promise::STALE_READS, 0, 8),
        (&[auto], 3, any_written, 1, 5),
        (&[auto, ("read", "any")], 5, any_written, 2, 5),
        // Alone it is every majority.
        (&[auto], 1, Promise::LINEARIZABLE, 0, 8),
        (&[auto, ("ack", "semi")], 3, Promise::LINEARIZABLE, 1, 8),
        (&[auto, ("ack", "semi")], 4, Promise::LINEARIZABLE, 1, 8),
        (&[auto, ("ack", "semi")], 5, any_written, 2, 5),
        (&[auto, ("ack", "sync")], 5, Promise::LINEARIZABLE, 2, 8),
        (&[auto, ("ack", "sync"), ("read", "any")], 5, Promise::STALE_READS, 2, 8),
    ] {
        assert_eq!(
            promised(options, nodes),
            (promise, tolerates, vocabularies),
            "{options:?}, {nodes} nodes"
        );
    }
}

#[test]
fn settings_that_were_not_filled_in_are_refused() {
    let bare = Settings {
        mode: "raft".to_owned(),
        options: [].into(),
        bug: None,
        programs: [].into(),
        upgrades: [].into(),
    };
    let Err(error) = find("store").deploy(&bare, &Topology { nodes: Vec::new() }) else { panic!("deployed") };
    assert_eq!(error.to_string(), "the settings of mode raft lack option reads");
}

#[test]
fn errors_list_what_is_accepted() {
    let (store, etcd) = (find("store"), find("etcd"));
    for (seen, expected) in [
        (
            refused(store, &ask(Some("rafft"), &[], None)),
            "store has no mode \"rafft\" (did you mean \"raft\"?); accepted: raft, primary, sharded, ring",
        ),
        (
            refused(store, &ask(None, &[], Some("stale-read"))),
            "store has no bug \"stale-read\"; accepted: ack-before-commit, stale-leader-read, vote-not-persisted, \
             fsync-skipped, cas-before-order, leadership-resumed, snapshot-lacks-last-batch, stale-configuration, \
             lease-short-of-quorum, replica-skips-change, exec-piecewise, exec-reads-early, exec-retried, served-before-arrival, old-owner-serves, \
             retried-after-move, dropped-keys-stay, repair-writes-older, lww-by-clock, hint-lost-on-restart, \
             deleted-key-resurrected, siblings-dropped, actor-reused, promoted-replica-behind, two-primaries-after-pause, resync-skips-range",
        ),
        (refused(etcd, &ask(None, &[], Some("stale-read"))), "etcd has no bug \"stale-read\"; it has none"),
        (
            refused(store, &ask(Some("primary"), &[("raed", "any")], None)),
            "store has no option \"raed\" (did you mean \"read\"?); accepted: read, log_keep, ack, failover, \
             heartbeat_ms, election_min_ms, election_max_ms",
        ),
        (
            refused(etcd, &ask(None, &[("read", "linearisable")], None)),
            "option read of etcd cannot be \"linearisable\" (did you mean \"linearizable\"?); accepted: linearizable, \
             serializable",
        ),
        (
            refused(store, &ask(None, &[("snapshot_every", "0")], None)),
            "option snapshot_every of store cannot be \"0\"; accepted: a whole number from 1 to 1000000000",
        ),
        (
            refused(store, &ask(None, &[("read", "any")], None)),
            "option \"read\" of store does not apply to mode raft, only to primary",
        ),
        (
            refused(store, &ask(Some("primary"), &[], Some("vote-not-persisted"))),
            "bug \"vote-not-persisted\" of store does not apply to mode primary, only to raft",
        ),
        (refused(store, &Request::default()), "store needs at least one node"),
    ] {
        assert_eq!(seen, expected);
    }
    let Err(unknown) = systems().find("ectd") else { panic!("there is no such system") };
    assert_eq!(
        unknown.to_string(),
        "unknown system \"ectd\" (did you mean \"etcd\"?); known: store, broker, etcd"
    );
}

#[test]
fn a_scenario_is_a_command_line() {
    let words = |name: &str| find("store").description().scenarios[name].words().join(" ");
    assert_eq!(
        words("ack-before-commit"),
        "--workload register --mode raft --nodes 5 --faults partition:isolate-leader --interval 5s --time-limit 30s"
    );
    assert_eq!(
        words("cas-before-order"),
        "--workload register --mode raft --nodes 5 --faults none --time-limit 20s"
    );
}

#[test]
fn the_brokers_settings_decide_what_delivery_it_promises() {
    let broker = find("broker");
    for (options, stored, consumed) in [
        (&[][..], Delivery::EXACTLY_ONCE, Delivery::AT_LEAST_ONCE),
        (&[("commit", "before")], Delivery::EXACTLY_ONCE, Delivery::AT_MOST_ONCE),
        (&[("acks", "1")], Delivery::AT_MOST_ONCE, Delivery::BEST_EFFORT),
        (&[("acks", "0"), ("commit", "before")], Delivery::AT_MOST_ONCE, Delivery::AT_MOST_ONCE),
        (&[("unclean", "on"), ("commit", "before")], Delivery::AT_MOST_ONCE, Delivery::BEST_EFFORT),
        (&[("fsync", "never")], Delivery::AT_MOST_ONCE, Delivery::BEST_EFFORT),
        (&[("retries", "3")], Delivery::EXACTLY_ONCE, Delivery::AT_LEAST_ONCE),
        (&[("idempotent", "off")], Delivery::EXACTLY_ONCE, Delivery::AT_LEAST_ONCE),
        (&[("retries", "3"), ("idempotent", "off")], Delivery::AT_LEAST_ONCE, Delivery::AT_LEAST_ONCE),
        (
            &[("retries", "3"), ("idempotent", "off"), ("acks", "1")],
            Delivery::BEST_EFFORT,
            Delivery::BEST_EFFORT,
        ),
    ] {
        let settings = broker.resolve(&ask(None, options, None)).unwrap();
        let promise = deployed(broker, &settings, 3).promise("register");
        assert_eq!(promise, Promise::Messages { stored, consumed }, "{options:?}");
    }
}

#[test]
fn the_broker_tolerates_what_leaves_a_majority_and_enough_replicas() {
    let broker = find("broker");
    let tolerated = |options: &[(&str, &str)], nodes| {
        deployed(broker, &broker.resolve(&ask(None, options, None)).unwrap(), nodes).tolerates()
    };
    assert_eq!(tolerated(&[], 3), 1);
    assert_eq!(tolerated(&[], 5), 1);
    assert_eq!(tolerated(&[("min-insync", "1")], 5), 2);
    assert_eq!(tolerated(&[("replication", "5")], 5), 2);
    assert_eq!(tolerated(&[("replication", "1")], 5), 0);
    assert_eq!(tolerated(&[("min-insync", "3")], 3), 0);
    assert_eq!(tolerated(&[], 1), 0);
}
