//! The store as its clients see it: real processes, real TCP, real kills.

mod bugs;
mod client;
mod cluster;
mod commands;
mod contract;
mod lease;
mod membership;
mod primary;
mod proxy;
mod raft;
mod ring;
mod sharded;
mod transactions;

/// Not a test: the program of a node. The tests start their nodes as processes by running this one function
/// of the test binary again, with the node's configuration in the environment; without it the function does
/// nothing.
#[test]
fn node_process() {
    let Ok(arguments) = std::env::var(cluster::NODE_ARGUMENTS) else { return };
    cluster::run_node(&arguments);
}
