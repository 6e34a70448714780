//! The options of workloads on the command line, as the workloads declare them.

use std::collections::{BTreeMap, BTreeSet};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use duress_targets::system::Description;

use super::exit::Failure;
use super::words::{Weight, duration};
use crate::plan::PlannedWorkload;
use crate::workload::option::{Takes, WorkloadOption, WorkloadSettings};
use crate::workload::{Workload, Workloads};

/// The fields of the options of a workload on objects that leave it one object.
const ONE_OBJECT: [(&str, u32); 3] = [("keys", 1), ("cold_keys", 0), ("operations_per_key", 10_000_000)];

/// The words for off and on.
const SWITCH: [&str; 2] = ["off", "on"];

/// The given options of workloads; [`WorkloadArgs::resolve`] decides which of them the workload has.
#[derive(Debug, Default)]
pub struct WorkloadArgs {
    given: WorkloadSettings,
}

impl WorkloadArgs {
    /// Returns the workload with these options, and the defaults of those that are not given: 0 for the weight of an
    /// operation that `system` lacks, on for a switch that it has on, and one object if it has no more.
    ///
    /// # Errors
    /// A usage error for an option that is another workload's, for a weight of an operation that clients lack, and for several
    /// objects where there is one.
    pub fn resolve(&self, workload: &dyn Workload, system: &Description) -> Result<PlannedWorkload, Failure> {
        let mut defaults = workload.defaults();
        if system.has_one_object() {
            for (field, value) in ONE_OBJECT {
                // Several objects that the system keeps as one would each have the others' changes.
                let flag = field.replace('_', "-");
                if self.given.flags.get(&flag).is_some_and(|given| *given != u64::from(value)) {
                    let text = format!("--{flag}: the system has one {} for all clients", workload.name());
                    return Err(Failure::usage(anyhow::anyhow!("{text}; leave the option out")));
                }
                defaults.entry(field).and_modify(|usual| *usual = value.into());
            }
        }
        for option in workload.options() {
            let is_named = |names: &[String]| names.iter().any(|name| name == option.name);
            if option.takes == Takes::Switch && is_named(&system.switches) {
                defaults.insert(option.field.to_owned(), true.into());
            }
            if option.takes == Takes::Weight && is_named(&system.lacks) {
                defaults.insert(option.field.to_owned(), 0.into());
                if self.given.weights.get(option.name).is_some_and(|weight| *weight > 0) {
                    let text =
                        format!("--weight {}: the system's clients have no such operation", option.name);
                    return Err(Failure::usage(anyhow::anyhow!(text)));
                }
            }
        }
        let options = self.given.resolve(workload.name(), workload.options(), defaults);
        Ok(PlannedWorkload { name: workload.name().to_owned(), options: options.map_err(Failure::usage)? })
    }

    /// Returns these options, completed with the `others`, by flag.
    ///
    /// # Errors
    /// A usage error for a flag that no workload has.
    pub fn or(&self, others: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let words = others.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
        let command = Self::augment_args(Command::new("options of a workload").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(Failure::usage)?;
        let Self { mut given } = Self::from_arg_matches(&matches).map_err(Failure::usage)?;
        given.flags.extend(self.given.flags.clone());
        given.weights.extend(self.given.weights.clone());
        Ok(Self { given })
    }
}

/// The flag `name` of the workloads that have it, with its help in each.
struct Flag {
    name: &'static str,
    takes: Takes,
    help: String,
}

/// Returns every flag of every workload, in the order in which workloads list them.
fn flags() -> Vec<Flag> {
    let mut names: Vec<(&'static str, Takes)> = Vec::new();
    let options = || Workloads::known().iter().map(|workload| (workload, workload.options()));
    for option in options().flat_map(|(_, options)| options).filter(|option| option.takes != Takes::Weight) {
        if !names.contains(&(option.name, option.takes)) {
            names.push((option.name, option.takes));
        }
    }
    let help = |name: &str| {
        // Workloads for which it decides the same are named together.
        let mut said: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
        for (workload, options) in options() {
            let with = options.iter().filter(|option| option.name == name && option.takes != Takes::Weight);
            for option in with {
                said.entry(option.help).or_default().push((workload.name(), default(workload, option)));
            }
        }
        let lines = said.into_iter().map(|(help, workloads)| {
            let (names, defaults): (Vec<&str>, Vec<String>) = workloads.into_iter().unzip();
            format!("{}: {help} [default: {}]", names.join(", "), defaults.join(", "))
        });
        lines.collect::<Vec<_>>().join("; ")
    };
    names.into_iter().map(|(name, takes)| Flag { name, takes, help: help(name) }).collect()
}

fn default(workload: &dyn Workload, option: &WorkloadOption) -> String {
    let defaults = workload.defaults();
    let field = defaults.get(option.field);
    let value = field.and_then(serde_json::Value::as_u64).unwrap_or_default();
    match option.takes {
        Takes::Switch => {
            let on = field.and_then(serde_json::Value::as_bool).unwrap_or_default();
            SWITCH[usize::from(on)].to_owned()
        }
        Takes::Duration if value.is_multiple_of(1000) => format!("{}s", value / 1000),
        Takes::Duration => format!("{value}ms"),
        Takes::Number | Takes::Weight => value.to_string(),
    }
}

/// `register: reads, writes, cas; log: …`.
fn weights() -> String {
    let of = |workload: &dyn Workload| {
        let names: Vec<&str> = workload
            .options()
            .iter()
            .filter(|option| option.takes == Takes::Weight)
            .map(|option| option.name)
            .collect();
        (!names.is_empty()).then(|| format!("{}: {}", workload.name(), names.join(", ")))
    };
    Workloads::known().iter().filter_map(of).collect::<Vec<_>>().join("; ")
}

impl Args for WorkloadArgs {
    fn augment_args(command: Command) -> Command {
        let command = command.next_help_heading("Options of workloads");
        let command = flags().into_iter().fold(command, |command, flag| {
            // As many of Jepsen's tests call it.
            let alias = (flag.name == "operations-per-key").then_some("ops-per-key");
            let arg = Arg::new(flag.name).long(flag.name).aliases(alias).help(flag.help);
            command.arg(match flag.takes {
                Takes::Duration => arg.value_name("DURATION").value_parser(|text: &str| {
                    duration(text).map(|value| u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
                }),
                Takes::Switch => arg
                    .value_name("SWITCH")
                    .value_parser(PossibleValuesParser::new(SWITCH).map(|word| u64::from(word == SWITCH[1]))),
                Takes::Number | Takes::Weight => arg.value_name("NUMBER").value_parser(value_parser!(u64)),
            })
        });
        let help = format!(
            "How often an operation is drawn beside others, as operation=weight, several with commas ({}); may be repeated",
            weights()
        );
        let weight = Arg::new("weight")
            .long("weight")
            .value_name("OPERATION=WEIGHT")
            .action(ArgAction::Append)
            .value_delimiter(',')
            .value_parser(Weight::parse)
            .help(help);
        command.arg(weight).next_help_heading(None)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WorkloadArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let names: BTreeSet<&str> = flags().iter().map(|flag| flag.name).collect();
        let flags = names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), *matches.get_one::<u64>(name)?)))
            .collect();
        let weights = matches
            .get_many::<Weight>("weight")
            .into_iter()
            .flatten()
            .map(|weight| (weight.operation.clone(), u64::from(weight.weight)))
            .collect();
        Ok(Self { given: WorkloadSettings { flags, weights } })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
