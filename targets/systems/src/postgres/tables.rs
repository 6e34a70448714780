//! The tables are made once, at a node that takes writes, and each statement is tried out by preparing it.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::options::Options;
use super::refusal::Stage;
use super::session::{SqlConnection, answers_text, fits};
use super::statements::Used;
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;

/// Makes the tables at the first of `nodes` that makes them, and prepares the statements of `vocabularies` there.
///
/// # Errors
/// A definite [`RequestError`], that of the last node; after a node that could not be reached, or is read-only, the next is tried.
pub(crate) async fn make_tables(
    from: &dyn Place,
    nodes: &[SocketAddr],
    options: &Options,
    vocabularies: &[String],
    deadline: Instant,
) -> Result<(), RequestError> {
    let mut failure = RequestError::definite(CauseKind::Rejected, "there is no node that clients speak to");
    for node in nodes {
        match make_at(from, *node, options, vocabularies, deadline).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = error,
        }
        if failure.cause.kind == CauseKind::Rejected {
            break;
        }
    }
    Err(failure)
}

async fn make_at(
    from: &dyn Place,
    node: SocketAddr,
    options: &Options,
    vocabularies: &[String],
    deadline: Instant,
) -> Result<(), RequestError> {
    let mut connection = SqlConnection::open(from, node, options, deadline).await?;
    let named = |name: &str, failure: RequestError| {
        RequestError::definite(failure.cause.kind, format!("{name}: {}", failure.cause.text))
    };
    for table in &options.statements.tables {
        let made = connection.run(table, Stage::Undecided, deadline).await;
        made.map_err(|failure| named("tables", failure))?;
    }
    for used in vocabularies.iter().flat_map(|vocabulary| options.statements.of(vocabulary)) {
        let prepared = connection.prepare(used.text, deadline).await;
        let prepared = prepared.map_err(|failure| named(used.name, failure))?;
        let fits = fits(&prepared, used.params).and_then(|()| match used.reads {
            true => answers_text(&prepared),
            false => Ok(()),
        });
        let fits = fits.and_then(|()| uses_all(&used, prepared.params().len()));
        fits.map_err(|text| {
            RequestError::definite(
                CauseKind::Rejected,
                format!("the statement {} does not fit: {text}", used.name),
            )
        })?;
    }
    Ok(())
}

/// Says which value of an operation a statement with the parameters `$1` to `$taken` leaves out: a write without its value, or a
/// read of every key, would look like a defect of the system.
fn uses_all(used: &Used<'_>, taken: usize) -> Result<(), String> {
    match taken < used.params {
        true => Err(format!("it has no ${}, and the operation has {} values", taken + 1, used.params)),
        false => Ok(()),
    }
}
