//! The broker as its clients see it: real processes, real TCP, real kills.

mod bugs;
mod client;
mod cluster;
mod groups;
mod idempotence;
#[path = "../../../store/tests/store/proxy.rs"]
mod proxy;
mod replication;
mod single;
mod transactions;

/// Not a test: the program of a broker. The tests start their brokers as processes by running this one
/// function of the test binary again, with the broker's configuration in the environment; without it the
/// function does nothing.
#[test]
fn node_process() {
    let Ok(arguments) = std::env::var(cluster::NODE_ARGUMENTS) else { return };
    cluster::run_node(&arguments);
}
