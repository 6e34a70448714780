//! One node by hand, for playing with a real client.
//!
//! ```text
//! cargo run -p duress-store --example node -- MODE NAME LISTEN PEER_LISTEN DATA [PEER=ADDRESS]… [-o key=value]… [--bug NAME]
//! ```

use std::error::Error;
use std::process::ExitCode;

use duress_settings::Request;
use duress_store::{Config, Peer, offer, serve};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn parse(mut args: impl Iterator<Item = String>) -> Result<Config, Box<dyn Error>> {
    let mut next = |what: &str| args.next().ok_or_else(|| format!("missing {what}"));
    let mode = next("MODE")?;
    let (name, listen, peer_listen, data) =
        (next("NAME")?, next("LISTEN")?, next("PEER_LISTEN")?, next("DATA")?);
    let mut peers: Vec<Peer> = Vec::new();
    let mut request = Request { mode: Some(mode), ..Request::default() };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("missing a value after {arg}"));
        match arg.as_str() {
            "-o" => {
                let option = value()?;
                let (name, value) = option.split_once('=').ok_or("an option is key=value")?;
                request = request.with_option(name, value);
            }
            "--bug" => request.bug = Some(value()?),
            _ => peers.push(arg.parse()?),
        }
    }
    request.nodes = peers.len() + 1;
    let settings = offer().resolve("store", &request, None)?;
    let config = Config::new(name.parse()?, listen.parse()?, peer_listen.parse()?, data.into(), &settings)?;
    Ok(Config { peers, ..config })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info,openraft=off".into());
    let filter: Targets = filter.parse().expect("a filter of levels");
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(config) => serve(config).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(&*error);
            while let Some(error) = cause {
                tracing::error!("{error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
