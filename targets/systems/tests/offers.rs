//! What the systems offer holds together, and what a user asks is answered with settings or with a useful error.

use duress_targets::{Delivery, Promise, Request, System, Values, find, systems};

fn ask(mode: Option<&str>, options: &[(&str, &str)], bug: Option<&str>) -> Request {
    Request {
        mode: mode.map(str::to_owned),
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        bug: bug.map(str::to_owned),
        nodes: 5,
    }
}

fn refused(system: &dyn System, request: &Request) -> String {
    system.resolve(request).unwrap_err().to_string()
}

#[test]
fn every_default_and_every_scenario_can_be_run() {
    for system in systems() {
        for mode in system.modes() {
            let settings = system.resolve(&ask(Some(mode.name), &[], None)).unwrap();
            assert_eq!(system.promise(&settings), mode.promise, "{} {}", system.name(), mode.name);
            for option in system.options().iter().filter(|option| option.modes.contains(&mode.name)) {
                assert_eq!(settings.option(option.name), Some(option.default));
            }
        }
        for option in system.options() {
            assert!(option.values.accept(option.default), "{} {}", system.name(), option.name);
            assert!(option.modes.iter().all(|name| system.modes().iter().any(|mode| mode.name == *name)));
        }
        for bug in system.bugs() {
            let scenario = bug.scenario;
            assert!(bug.modes.contains(&scenario.mode), "{}", bug.name);
            let settings =
                system.resolve(&ask(Some(scenario.mode), scenario.options, Some(bug.name))).unwrap();
            assert_eq!(settings.bug.as_deref(), Some(bug.name));
            assert_eq!(system.resolve(&ask(None, &[], Some(bug.name))).unwrap(), settings, "{}", bug.name);
        }
    }
}

#[test]
fn defaults_are_filled_in() {
    let store = find("store").unwrap();
    let settings = store.resolve(&ask(None, &[], None)).unwrap();
    assert_eq!(settings.mode, "raft");
    assert_eq!(settings.option("snapshot_every"), Some("5000"));
    assert_eq!(settings.option("read"), None, "an option of another mode");
    assert_eq!(settings.option("reads"), Some("index"));
    assert_eq!(store.tolerates(&settings, 5), 2);
    assert_eq!(store.tolerates(&settings, 4), 1);

    for (reads, promise) in
        [("index", Promise::Linearizable), ("lease", Promise::Linearizable), ("local", Promise::StaleReads)]
    {
        let settings = store.resolve(&ask(None, &[("reads", reads)], None)).unwrap();
        assert_eq!(store.promise(&settings), promise, "{reads}");
    }
    let stale = store.resolve(&ask(Some("primary"), &[("read", "any")], None)).unwrap();
    assert_eq!(store.promise(&stale), Promise::StaleReads);
    assert_eq!(store.tolerates(&stale, 5), 0);
    let local = find("etcd").unwrap().resolve(&ask(None, &[("read", "serializable")], None)).unwrap();
    assert_eq!(find("etcd").unwrap().promise(&local), Promise::StaleReads);
}

#[test]
fn settings_survive_a_plan() {
    let settings = find("store").unwrap().resolve(&ask(None, &[], Some("stale-leader-read"))).unwrap();
    let saved = serde_json::to_string(&settings).unwrap();
    let options = r#"{"drift_bound_ms":"300","lease_ms":"400","reads":"index","snapshot_every":"5000"}"#;
    assert_eq!(saved, format!(r#"{{"mode":"raft","options":{options},"bug":"stale-leader-read"}}"#));
    assert_eq!(serde_json::from_str::<duress_targets::Settings>(&saved).unwrap(), settings);
}

#[test]
fn errors_list_what_is_accepted() {
    let (store, etcd) = (find("store").unwrap(), find("etcd").unwrap());
    for (seen, expected) in [
        (
            refused(store, &ask(Some("rafft"), &[], None)),
            "store has no mode \"rafft\" (did you mean \"raft\"?); accepted: raft, primary",
        ),
        (
            refused(store, &ask(None, &[], Some("stale-read"))),
            "store has no bug \"stale-read\"; accepted: ack-before-commit, stale-leader-read, vote-not-persisted, \
             fsync-skipped, cas-before-order",
        ),
        (refused(etcd, &ask(None, &[], Some("stale-read"))), "etcd has no bug \"stale-read\"; it has none"),
        (
            refused(store, &ask(Some("primary"), &[("raed", "any")], None)),
            "store has no option \"raed\" (did you mean \"read\"?); accepted: read, log_keep",
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
    let Err(unknown) = find("ectd") else { panic!("there is no such system") };
    assert_eq!(
        unknown.to_string(),
        "there is no system \"ectd\" (did you mean \"etcd\"?); known: store, broker, etcd"
    );
}

#[test]
fn whole_numbers_are_plain_decimals() {
    let values = Values::Whole { min: 1, max: 100 };
    assert!(["1", "100", "007"].iter().all(|value| values.accept(value)));
    assert!(
        !["0", "101", "+5", "-5", "5.0", "", "five", "18446744073709551616"].iter().any(|v| values.accept(v))
    );
}

#[test]
fn a_scenario_is_a_command_line() {
    let store = find("store").unwrap();
    let words =
        |name: &str| store.bugs().iter().find(|bug| bug.name == name).unwrap().scenario.words().join(" ");
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
    let broker = find("broker").unwrap();
    for (options, stored, consumed) in [
        (&[][..], Delivery::ExactlyOnce, Delivery::AtLeastOnce),
        (&[("commit", "before")], Delivery::ExactlyOnce, Delivery::AtMostOnce),
        (&[("acks", "1")], Delivery::AtMostOnce, Delivery::BestEffort),
        (&[("acks", "0"), ("commit", "before")], Delivery::AtMostOnce, Delivery::AtMostOnce),
        (&[("unclean", "on"), ("commit", "before")], Delivery::AtMostOnce, Delivery::BestEffort),
        (&[("fsync", "never")], Delivery::AtMostOnce, Delivery::BestEffort),
        (&[("retries", "3")], Delivery::ExactlyOnce, Delivery::AtLeastOnce),
        (&[("idempotent", "off")], Delivery::ExactlyOnce, Delivery::AtLeastOnce),
        (&[("retries", "3"), ("idempotent", "off")], Delivery::AtLeastOnce, Delivery::AtLeastOnce),
        (
            &[("retries", "3"), ("idempotent", "off"), ("acks", "1")],
            Delivery::BestEffort,
            Delivery::BestEffort,
        ),
    ] {
        let settings = broker.resolve(&ask(None, options, None)).unwrap();
        assert_eq!(broker.promise(&settings), Promise::Messages { stored, consumed }, "{options:?}");
        for delivery in [stored, consumed] {
            assert_eq!(Delivery::of(delivery.loss(), delivery.repetition()), delivery);
        }
    }
}

#[test]
fn the_broker_tolerates_what_leaves_a_majority_and_enough_replicas() {
    let broker = find("broker").unwrap();
    let tolerated = |options: &[(&str, &str)], nodes| {
        broker.tolerates(&broker.resolve(&ask(None, options, None)).unwrap(), nodes)
    };
    assert_eq!(tolerated(&[], 3), 1);
    assert_eq!(tolerated(&[], 5), 1);
    assert_eq!(tolerated(&[("min-insync", "1")], 5), 2);
    assert_eq!(tolerated(&[("replication", "5")], 5), 2);
    assert_eq!(tolerated(&[("replication", "1")], 5), 0);
    assert_eq!(tolerated(&[("min-insync", "3")], 3), 0);
    assert_eq!(tolerated(&[], 1), 0);
}
