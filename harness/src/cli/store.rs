//! `duress store`: one node of our own store.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use duress_store::{Bug, Config, Mode, NodeName, Peer};

use crate::cli::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub struct StoreArgs {
    /// How the nodes replicate: raft or primary
    #[arg(long, default_value = "raft")]
    mode: Mode,
    /// This node's name; in mode primary the first in order of name is the primary
    #[arg(long, default_value = "n1")]
    node: NodeName,
    /// Where it listens for clients
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6379")]
    listen: SocketAddr,
    /// Where it listens for the other nodes
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7379")]
    peer_listen: SocketAddr,
    /// Another node and where it listens for this one; once for each
    #[arg(long = "peer", value_name = "NAME=ADDRESS:PORT")]
    peers: Vec<Peer>,
    /// The folder of its data, made if missing
    #[arg(long, value_name = "FOLDER", default_value = "duress-store-data")]
    data: PathBuf,
    /// An option of the mode, as key=value; may be repeated
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Switch on one seeded bug (`duress bugs` lists them)
    #[arg(long, value_name = "NAME")]
    bug: Option<Bug>,
}

pub fn store(args: &StoreArgs) -> Result<Exit, Failure> {
    let mut mode = args.mode.clone();
    for option in &args.options {
        mode.set_option(option).map_err(Failure::usage)?;
    }
    let mut config =
        Config::new(args.node.clone(), args.listen, args.peer_listen, args.data.clone()).with_mode(mode);
    for peer in &args.peers {
        config = config.with_peer(peer.name.clone(), peer.address);
    }
    if let Some(bug) = args.bug {
        config = config.with_bug(bug);
    }
    config.validate().map_err(Failure::usage)?;
    crate::cli::log::to_stderr();
    // One thread a node: a whole cluster shares the machine with its clients.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(
            |error| Failure::internal(anyhow::Error::new(error).context("cannot start the runtime")),
        )?;
    runtime.block_on(duress_store::serve(config)).map_err(Failure::internal)?;
    Ok(Exit::Valid)
}
