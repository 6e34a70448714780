//! `duress store`: one node of our own store.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use duress_settings::Request;
use duress_store::{Beginning, Config, NodeName, Peer, offer};

use crate::cli::exit::{Exit, Failure};
use crate::cli::{subject, words};

#[derive(Debug, Args)]
#[command(after_help = subject::help(offer()))]
pub struct StoreArgs {
    /// How the nodes replicate, the same on every node
    #[arg(long)]
    mode: Option<String>,
    /// This node's name; in mode primary without failover the first in order of name is the primary
    #[arg(long, default_value = "n1")]
    node: NodeName,
    /// The address to listen on for clients
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6379")]
    listen: SocketAddr,
    /// The address to listen on for the other nodes
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7379")]
    peer_listen: SocketAddr,
    /// Another node and its address for this one; once for each
    #[arg(long = "peer", value_name = "NAME=ADDRESS:PORT")]
    peers: Vec<Peer>,
    /// Begin as a node that an administrator will add (RAFT.NODE ADD), if the folder is empty; in mode raft
    #[arg(long)]
    join: bool,
    /// The folder of its data, made if missing
    #[arg(long, value_name = "FOLDER", default_value = "duress-store-data")]
    data: PathBuf,
    /// An option of the mode, the same on every node; may be repeated
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = words::option)]
    options: Vec<(String, String)>,
    /// Switch on one seeded bug
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

pub fn store(args: &StoreArgs) -> Result<Exit, Failure> {
    let request = Request {
        mode: args.mode.clone(),
        options: args.options.iter().cloned().collect(),
        bug: args.bug.clone(),
        nodes: args.peers.len() + 1,
        ..Request::default()
    };
    let settings = offer().resolve("store", &request, None).map_err(Failure::usage)?;
    let config = Config::new(args.node.clone(), args.listen, args.peer_listen, args.data.clone(), &settings)
        .map_err(Failure::usage)?;
    let beginning = if args.join { Beginning::Joins } else { Beginning::Founds };
    let config = Config { peers: args.peers.clone(), beginning, ..config };
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
