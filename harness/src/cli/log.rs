//! The program's own log: `duress.log` in the run's folder.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The environment variable for the log filter: levels, overall and per target, as in `info,openraft=error`.
pub const VARIABLE: &str = "DURESS_LOG";

/// The filter unless [`VARIABLE`] overrides it. The consensus library logs every step of its own at `info`:
/// more than the rest together.
const DEFAULT_FILTER: &str = "info,openraft=error";

/// Logs to the file `path` from now on, [`DEFAULT_FILTER`] unless [`VARIABLE`] says otherwise.
///
/// # Errors
/// When the file cannot be made.
pub fn to_file(path: &Path) -> std::io::Result<()> {
    let file = File::create(path)?;
    start(Mutex::new(file));
    Ok(())
}

/// Logs to standard error from now on: for a node of our own subjects, whose output the arena keeps.
pub fn to_stderr() {
    start(std::io::stderr);
}

fn start<W>(writer: W)
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let wanted = std::env::var(VARIABLE).ok().and_then(|wanted| wanted.parse().ok());
    let filter: Targets =
        wanted.unwrap_or_else(|| DEFAULT_FILTER.parse().expect("the default filter is well-formed"));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    // Refused only when a subscriber is set already, which then keeps logging.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
