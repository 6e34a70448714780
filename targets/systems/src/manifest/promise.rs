//! The promise that a manifest makes to each workload.

use duress_history::Promise;
use duress_history::txn::{Answer, Held};
use duress_settings::Settings;

use super::document::{Document, Promises};
use crate::deployment::{LONG_FORK, TRANSACTIONS};
use crate::postgres::Isolation;

/// The workloads whose promises are about messages.
const OF_MESSAGES: [&str; 4] = ["log", "queue", "table", "stream"];

/// Returns the names of the promises that `workload` can have; the first is that of a manifest that says nothing.
fn names(workload: &str) -> &'static [&'static str] {
    match workload {
        workload if OF_MESSAGES.contains(&workload) => Promise::OF_MESSAGES,
        workload if TRANSACTIONS.contains(&workload) => Promise::OF_TRANSACTIONS,
        "register" => Promise::OF_REGISTERS,
        _ => Promise::OF_OBJECTS,
    }
}

/// Returns the promises that `workload` can have, in the order of their names; not those with a bound.
fn promises(workload: &str) -> impl Iterator<Item = Promise> {
    names(workload).iter().filter_map(|name| Promise::named(name))
}

/// Returns the promise called `name`, if it is one that `workload` can have.
fn named(workload: &str, name: &str) -> Option<Promise> {
    Promise::named(name).filter(|promise| promise.is_among(names(workload)))
}

/// Returns the first workload to which `promises` has a promise that it cannot have, and the ones that it can.
pub(super) fn unknown(promises: &Promises) -> Option<(&str, String)> {
    let (workload, name) = promises.iter().find(|(workload, name)| named(workload, name).is_none())?;
    let text =
        format!("\"{name}\" is not a promise to {workload}: write one of {}", names(workload).join(", "));
    Some((workload, text))
}

/// Returns a promise that both of these imply: the weaker, if they can be compared; else `other`, if there is none.
fn shared(one: Promise, other: Promise, workload: &str) -> Promise {
    let strongest = promises(workload).next();
    if one.implies(other) || strongest == Some(one) {
        return other;
    }
    if strongest == Some(other) {
        return one;
    }
    let implied = |promise: &Promise| one.implies(*promise) && other.implies(*promise);
    std::iter::once(one).chain(promises(workload)).find(implied).unwrap_or(other)
}

/// Returns the promise to `workload` with these settings: one that each of those implies that the manifest, the mode and
/// the options' values have, and the isolation level of clients that speak SQL.
pub(super) fn of(
    document: &Document,
    settings: &Settings,
    isolation: Option<Isolation>,
    workload: &str,
) -> Promise {
    // Another workload of the same transactions.
    let workload = if workload == LONG_FORK { Held::NAME } else { workload };
    let of_mode = document.modes.get(&settings.mode).map(|mode| &mode.promise);
    let of_values =
        settings.options.iter().filter_map(|(name, value)| document.options.get(name)?.promise.get(value));
    let weakest = weakest(document, of_mode.into_iter().chain(of_values), workload);
    let of_level = isolation.and_then(|level| named(workload, level.promise()));
    of_level.map_or(weakest, |of_level| shared(weakest, of_level, workload))
}

fn weakest<'d>(
    document: &'d Document,
    others: impl Iterator<Item = &'d Promises>,
    workload: &str,
) -> Promise {
    let strongest = promises(workload).next().unwrap_or(Promise::LINEARIZABLE);
    std::iter::once(&document.promise)
        .chain(others)
        .filter_map(|promises| named(workload, promises.get(workload)?))
        .fold(strongest, |held, other| shared(held, other, workload))
}

/// Returns the promises of a mode, for the list of systems.
pub(super) fn words(document: &Document, mode: &str) -> String {
    let speaks = super::clients::vocabularies(&document.client);
    let of_mode = || document.modes.get(mode).map(|mode| &mode.promise);
    let each = speaks
        .iter()
        .map(|workload| format!("{workload} {}", weakest(document, of_mode().into_iter(), workload)));
    each.collect::<Vec<_>>().join("; ")
}
