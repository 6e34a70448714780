//! `duress maelstrom-node`: the process at a node of Maelstrom's protocol.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use duress_targets::maelstrom::Relay;

use crate::cli::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub struct MaelstromNodeArgs {
    /// This node's name
    #[arg(long)]
    node: String,
    /// A node and its address, once for each, this one included
    #[arg(long = "member", value_name = "NAME=ADDRESS:PORT", value_parser = member)]
    members: Vec<(String, SocketAddr)>,
    /// The socket of the services
    #[arg(long, value_name = "FILE")]
    services: PathBuf,
    /// The file of the messages that the node sends and receives
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// Tell the node a topology
    #[arg(long)]
    topology: bool,
    /// The node's program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn member(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS:PORT")?;
    Ok((name.to_owned(), address.parse().map_err(|error| format!("{address}: {error}"))?))
}

pub fn node(args: MaelstromNodeArgs) -> Result<Exit, Failure> {
    let MaelstromNodeArgs { node, members, services, messages, topology, command } = args;
    let relay = Relay { node, nodes: members, services, messages, topology, command };
    relay.run().map_err(Failure::internal)?;
    Ok(Exit::Valid)
}
