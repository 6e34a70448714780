//! The promise that a manifest makes to each workload.

use duress_history::Promise;
use duress_settings::Settings;

use super::document::{Document, Promises};

/// The workloads whose promises are about messages; those of the others are about objects.
const OF_MESSAGES: [&str; 3] = ["log", "queue", "table"];

/// The strongest promise to a workload: that of a manifest that says nothing.
fn strongest(workload: &str) -> &'static str {
    if OF_MESSAGES.contains(&workload) { "exactly-once" } else { "linearizable" }
}

/// Returns the promise called `name`, if it is one that `workload` can have.
fn named(workload: &str, name: &str) -> Option<Promise> {
    let promise = Promise::named(name)?;
    let of_messages = matches!(promise, Promise::Messages { .. });
    (of_messages == OF_MESSAGES.contains(&workload)).then_some(promise)
}

/// Returns the promise to `workload` with these settings: the weakest of those that the manifest, the mode and the options'
/// values have.
pub(super) fn of(document: &Document, settings: &Settings, workload: &str) -> Promise {
    let of_mode = document.modes.get(&settings.mode).map(|mode| &mode.promise);
    let of_values =
        settings.options.iter().filter_map(|(name, value)| document.options.get(name)?.promise.get(value));
    weakest(document, of_mode.into_iter().chain(of_values), workload)
}

fn weakest<'d>(
    document: &'d Document,
    others: impl Iterator<Item = &'d Promises>,
    workload: &str,
) -> Promise {
    let strongest = named(workload, strongest(workload)).unwrap_or(Promise::LINEARIZABLE);
    std::iter::once(&document.promise)
        .chain(others)
        .filter_map(|promises| named(workload, promises.get(workload)?))
        .fold(strongest, |held, other| if held.implies(other) { other } else { held })
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
