//! A string as a sequential object, and the operations of unknown outcome that matter.

use crate::sequential::{self, Sequential};

/// An operation on a string, with its answer.
pub(super) type Call<'a> = sequential::Call<Effect<'a>>;

/// The effect of an operation on a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect<'a> {
    Put(&'a str),
    Append(&'a str),
    Get(&'a str),
}

impl Sequential for Effect<'_> {
    type State = String;

    fn after(&self, held: &String) -> Vec<String> {
        match self {
            Self::Get(text) if held == text => vec![held.clone()],
            Self::Get(_) => Vec::new(),
            Self::Put(text) => vec![(*text).to_owned()],
            Self::Append(text) => vec![format!("{held}{text}")],
        }
    }

    fn size(held: &String) -> usize {
        held.len()
    }
}

/// Returns `calls` without those of unknown outcome that no get can have seen: had one of them taken effect, the next get would have
/// shown it, unless a put came first.
pub(super) fn observed(calls: Vec<Call<'_>>) -> Vec<Call<'_>> {
    let answers: Vec<&str> = calls
        .iter()
        .filter_map(|call| match call.effect {
            Effect::Get(text) => Some(text),
            Effect::Put(_) | Effect::Append(_) => None,
        })
        .collect();
    let seen = |call: &Call<'_>| match (call.complete, call.effect) {
        (Some(_), _) => true,
        (None, Effect::Put(text)) => answers.iter().any(|answer| answer.starts_with(text)),
        (None, Effect::Append(text)) => {
            !text.is_empty() && answers.iter().any(|answer| answer.contains(text))
        }
        (None, Effect::Get(_)) => false,
    };
    calls.into_iter().filter(seen).collect()
}
