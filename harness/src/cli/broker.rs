//! `duress broker`: one node of our own broker.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use duress_broker::{Config, NodeName, Peer, offer};
use duress_settings::Request;

use crate::cli::exit::{Exit, Failure};
use crate::cli::{subject, words};

#[derive(Debug, Args)]
#[command(after_help = subject::help(offer()))]
pub struct BrokerArgs {
    /// How partitions are replicated
    #[arg(long, default_value = "isr")]
    mode: String,
    /// This broker's name; its number in the protocol is its place in the order of all names, from 1
    #[arg(long, default_value = "n1")]
    node: NodeName,
    /// Where it listens for clients
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// Where clients are told to connect, if not where it listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    advertise: Option<SocketAddr>,
    /// Where it listens for the other brokers
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9192")]
    peer_listen: SocketAddr,
    /// Another broker and where it listens for this one; once for each
    #[arg(long = "peer", value_name = "NAME=ADDRESS:PORT")]
    peers: Vec<Peer>,
    /// The folder of its data, made if missing
    #[arg(long, value_name = "FOLDER", default_value = "duress-broker-data")]
    data: PathBuf,
    /// An option, the same on every broker; may be repeated
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = words::option)]
    options: Vec<(String, String)>,
    /// Switch on one seeded bug
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

pub fn broker(args: &BrokerArgs) -> Result<Exit, Failure> {
    let request = Request {
        mode: Some(args.mode.clone()),
        options: args.options.iter().cloned().collect(),
        bug: args.bug.clone(),
        nodes: args.peers.len() + 1,
        ..Request::default()
    };
    let settings = offer().resolve("broker", &request, None).map_err(Failure::usage)?;
    let config = Config::new(args.node.clone(), args.listen, args.peer_listen, args.data.clone(), &settings)
        .map_err(Failure::usage)?;
    let config =
        Config { advertise: args.advertise.unwrap_or(args.listen), peers: args.peers.clone(), ..config };
    config.validate().map_err(Failure::usage)?;
    crate::cli::log::to_stderr();
    // One thread besides those of the partitions: a whole cluster shares the machine with its clients.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(
            |error| Failure::internal(anyhow::Error::new(error).context("cannot start the runtime")),
        )?;
    runtime.block_on(duress_broker::serve(config)).map_err(Failure::internal)?;
    Ok(Exit::Valid)
}
