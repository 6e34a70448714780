//! The options of a workload on the command line, and the given values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The options of one workload, as the plan keeps them.
pub type Options = Map<String, Value>;

/// An option of a workload on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadOption {
    /// Its name: of a [`Takes::Weight`] that of the operation (`--weight reads=2`), else that of the flag (`--keys 6`).
    pub name: &'static str,
    /// The field of the workload's options that it sets.
    pub field: &'static str,
    /// The kind of its value.
    pub takes: Takes,
    /// Its effect, in a few words.
    pub help: &'static str,
}

/// The kind of value that an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A whole number.
    Number,
    /// A duration; the field is in milliseconds.
    Duration,
    /// On or off; the field is a boolean.
    Switch,
    /// How often an operation is drawn beside others.
    Weight,
}

impl WorkloadOption {
    /// Returns a flag that takes a whole number.
    #[must_use]
    pub const fn number(name: &'static str, field: &'static str, help: &'static str) -> Self {
        Self { name, field, takes: Takes::Number, help }
    }

    /// Returns a flag that takes a duration; `field` is in milliseconds.
    #[must_use]
    pub const fn duration(name: &'static str, field: &'static str, help: &'static str) -> Self {
        Self { name, field, takes: Takes::Duration, help }
    }

    /// Returns a flag that is on or off; `field` is a boolean.
    #[must_use]
    pub const fn switch(name: &'static str, field: &'static str, help: &'static str) -> Self {
        Self { name, field, takes: Takes::Switch, help }
    }

    /// Returns the weight of the operation `name`, whose field has the same name.
    #[must_use]
    pub const fn weight(name: &'static str) -> Self {
        Self { name, field: name, takes: Takes::Weight, help: "" }
    }
}

/// The options of all workloads that were given on the command line: durations in milliseconds, 1 for on and 0 for off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadSettings {
    /// The flags, by name.
    pub flags: BTreeMap<String, u64>,
    /// The weights, by operation.
    pub weights: BTreeMap<String, u64>,
}

/// An option that a workload does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workload {workload} has no {option}; it has {known}")]
pub struct ForeignOption {
    /// The workload.
    pub workload: String,
    /// The option that was given.
    pub option: String,
    /// Those that the workload has.
    pub known: String,
}

impl WorkloadSettings {
    /// Returns the options of the workload `name`, which has `known` and these `defaults`, with those given
    /// in their place.
    ///
    /// # Errors
    /// [`ForeignOption`] for one that the workload does not have.
    pub fn resolve(
        &self,
        name: &str,
        known: &[WorkloadOption],
        mut defaults: Options,
    ) -> Result<Options, ForeignOption> {
        let mut set = |option: &str, weight: bool, value: u64| -> bool {
            let found =
                known.iter().find(|known| known.name == option && weight == (known.takes == Takes::Weight));
            if let Some(found) = found {
                let value = match found.takes {
                    Takes::Switch => Value::Bool(value > 0),
                    Takes::Number | Takes::Duration | Takes::Weight => value.into(),
                };
                defaults.insert(found.field.to_owned(), value);
            }
            found.is_some()
        };
        let foreign =
            |option: String| ForeignOption { workload: name.to_owned(), option, known: listed(known) };
        for (flag, value) in &self.flags {
            if !set(flag, false, *value) {
                return Err(foreign(format!("--{flag}")));
            }
        }
        for (operation, weight) in &self.weights {
            if !set(operation, true, *weight) {
                return Err(foreign(format!("--weight of {operation}")));
            }
        }
        Ok(defaults)
    }
}

/// `--keys, --weight of reads, writes, cas`.
fn listed(known: &[WorkloadOption]) -> String {
    let (weights, flags): (Vec<&WorkloadOption>, Vec<&WorkloadOption>) =
        known.iter().partition(|option| option.takes == Takes::Weight);
    let mut words: Vec<String> = flags.iter().map(|option| format!("--{}", option.name)).collect();
    if !weights.is_empty() {
        let names: Vec<&str> = weights.iter().map(|option| option.name).collect();
        words.push(format!("--weight of {}", names.join(", ")));
    }
    if words.is_empty() { "no options".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [WorkloadOption; 2] =
        [WorkloadOption::number("keys", "keys", "how many keys"), WorkloadOption::weight("reads")];

    fn given(flags: &[(&str, u64)], weights: &[(&str, u64)]) -> Result<Options, ForeignOption> {
        let map =
            |pairs: &[(&str, u64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let defaults = [("keys", 6), ("reads", 2)].map(|(name, value)| (name.to_owned(), Value::from(value)));
        WorkloadSettings { flags: map(flags), weights: map(weights) }.resolve(
            "cache",
            &KNOWN,
            defaults.into_iter().collect(),
        )
    }

    #[test]
    fn what_is_given_takes_the_place_of_defaults() {
        let options = given(&[("keys", 9)], &[]).unwrap();
        assert_eq!((options["keys"].as_u64(), options["reads"].as_u64()), (Some(9), Some(2)));
        assert_eq!(given(&[], &[("reads", 0)]).unwrap()["reads"].as_u64(), Some(0));
    }

    #[test]
    fn an_option_of_another_workload_is_refused_with_those_there_are() {
        let refused = given(&[("topics", 1)], &[]).unwrap_err().to_string();
        assert_eq!(refused, "the workload cache has no --topics; it has --keys, --weight of reads");
        let refused = given(&[], &[("sends", 1)]).unwrap_err().to_string();
        assert!(refused.contains("--weight of sends"), "{refused}");
    }
}
