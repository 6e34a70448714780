//! `duress serve`: the runs in a folder, in a browser.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::tell;
use crate::serve::root::Root;
use crate::serve::routes::{Audience, Served, router};

/// How long answers under way may take once the program is asked to end.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The folder with the runs
    #[arg(default_value = "runs")]
    runs: PathBuf,
    /// The address to listen on; others than this machine's own can be reached by anybody
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// The port to listen on; 0 for any that is free
    #[arg(long, default_value_t = 8077)]
    port: u16,
}

pub fn serve(args: &ServeArgs) -> Result<Exit, Failure> {
    let root = Root::new(&args.runs).map_err(|error| {
        Failure::usage(error)
            .hint("`duress run` makes the folder runs; give another one if yours is elsewhere")
    })?;
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::internal)?;
    let served = runtime.block_on(listen(args, root));
    // What still reads a large file need not be waited for.
    runtime.shutdown_timeout(FAREWELL);
    served
}

async fn listen(args: &ServeArgs, root: Root) -> Result<Exit, Failure> {
    let wanted = SocketAddr::new(args.bind, args.port);
    let failed = |error: std::io::Error| {
        let error = anyhow::Error::new(error).context(format!("cannot listen on {wanted}"));
        Failure::usage(error).hint("--port 0 takes a port that is free")
    };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let audience = if args.bind.is_loopback() { Audience::Local } else { Audience::Anybody };
    if audience == Audience::Anybody {
        tell(format_args!(
            "warning: every user who can reach {address} can read every run; nothing asks for a password"
        ));
    }
    let (end, ending) = watch::channel(false);
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::internal)?;
    tell(format_args!("{} is at http://{address}/ (Ctrl-C ends)", root.path().display()));
    let mut ended = ending.clone();
    let server =
        axum::serve(listener, router(Served { root, audience, ending })).with_graceful_shutdown(async move {
            // A sender that is gone means the end as well.
            let _ = ended.wait_for(|ended| *ended).await;
        });
    let mut server = std::pin::pin!(server.into_future());
    let asked = std::future::poll_fn(|context| {
        let any = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    tokio::select! {
        result = &mut server => return result.map(|()| Exit::Valid).map_err(Failure::internal),
        () = asked => {}
    }
    end.send_replace(true);
    // Answers under way are finished, if they are quick.
    match timeout(FAREWELL, server).await {
        Ok(result) => result.map(|()| Exit::Valid).map_err(Failure::internal),
        Err(_) => Ok(Exit::Valid),
    }
}
