//! A run as words of a command line: a cell's arguments to `duress run`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::key::Key;

/// A `duress run`, but for its seed and its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCommand {
    /// The system under test.
    pub target: String,
    /// The options of the command line by their long names, without dashes: `time-limit` → `15s`.
    pub flags: BTreeMap<String, String>,
    /// The target's own options: each `-o name=value`.
    pub options: BTreeMap<String, String>,
}

/// The value of a flag that takes no value, when it is set.
pub const SET: &str = "true";

/// Flags that are written first, since they say the most; all others follow by name.
const FIRST: [&str; 4] = ["mode", "bug", "workload", "faults"];

impl RunCommand {
    /// Returns the words after `duress`, in an order that depends only on the command. `takes_value` returns
    /// whether an option of that name has a value.
    #[must_use]
    pub fn words(&self, takes_value: impl Fn(&str) -> bool, seed: u64) -> Vec<String> {
        let mut words = vec!["run".to_owned(), self.target.clone()];
        if !self.flags.contains_key("mode") {
            words.extend(self.target_options());
        }
        let first = FIRST.iter().filter_map(|name| self.flags.get_key_value(*name));
        let rest = self.flags.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
        for (name, value) in first.chain(rest) {
            if takes_value(name) {
                words.extend([format!("--{name}"), value.clone()]);
            } else if value == SET {
                words.push(format!("--{name}"));
            }
            if name == "mode" {
                words.extend(self.target_options());
            }
        }
        words.extend(["--seed".to_owned(), seed.to_string()]);
        words
    }

    fn target_options(&self) -> impl Iterator<Item = String> + '_ {
        self.options.iter().flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")])
    }

    /// Returns the program that it names in the place of one that would be found.
    #[must_use]
    pub fn programs(&self) -> BTreeMap<String, PathBuf> {
        let program = self.flags.get("program").and_then(|program| program.split_once('='));
        program.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).into_iter().collect()
    }

    /// This command with what `over` says put over it.
    #[must_use]
    pub fn overlaid(mut self, over: &Self) -> Self {
        self.target.clone_from(&over.target);
        self.flags.extend(over.flags.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.options.extend(over.options.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// Sets what `key` stands for, unless that is the seed.
    pub fn set(&mut self, key: &Key, value: &str) {
        match key {
            Key::Target => value.clone_into(&mut self.target),
            Key::Option(name) => _ = self.options.insert(name.clone(), value.to_owned()),
            Key::Seed => {}
            key => _ = self.flags.insert(key.name().to_owned(), value.to_owned()),
        }
    }

    /// This command with one flag set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.flags.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Reads the words of a scenario (`--name value` and `-o key=value`) into a command on `target`.
    ///
    /// # Errors
    /// [`ScenarioError`], naming the word that is neither.
    pub fn from_scenario(target: &str, words: &[String]) -> Result<Self, ScenarioError> {
        let mut command = Self { target: target.to_owned(), ..Self::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let wrong = || ScenarioError { word: word.clone() };
            let value = words.next().ok_or_else(wrong)?;
            if word == "-o" {
                let (name, value) = value.split_once('=').ok_or_else(wrong)?;
                command.options.insert(name.to_owned(), value.to_owned());
            } else {
                let name = word.strip_prefix("--").ok_or_else(wrong)?;
                command.flags.insert(name.to_owned(), value.clone());
            }
        }
        Ok(command)
    }
}

/// A bug's scenario that is not a list of options with values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bug's scenario has the word \"{word}\", which is not an option with a value")]
pub struct ScenarioError {
    /// The word.
    pub word: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Shell;

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_have_one_order_and_say_everything() {
        let words = owned(&["--mode", "raft", "--nodes", "3", "--faults", "kill:all", "-o", "reads=lease"]);
        let command = RunCommand::from_scenario("store", &words)
            .unwrap()
            .with("overlap", SET)
            .with("bug", "fsync-skipped");
        let words = command.words(|name| name != "overlap", 7);
        assert_eq!(
            Shell(&words).to_string(),
            "run store --mode raft -o reads=lease --bug fsync-skipped --faults kill:all --nodes 3 --overlap --seed 7"
        );
    }

    #[test]
    fn what_is_put_over_a_command_wins() {
        let below = RunCommand::from_scenario("store", &owned(&["--nodes", "5", "-o", "a=1"])).unwrap();
        let above = RunCommand::from_scenario("store", &owned(&["--nodes", "3", "-o", "b=2"])).unwrap();
        let both = below.overlaid(&above).words(|_| true, 1);
        assert_eq!(Shell(&both).to_string(), "run store -o a=1 -o b=2 --nodes 3 --seed 1");
    }

    #[test]
    fn a_shell_reads_the_words_back() {
        assert_eq!(Shell(&owned(&["a b", "it's", ""])).to_string(), r"'a b' 'it'\''s' ''");
    }

    #[test]
    fn a_scenario_of_something_else_is_refused() {
        for bad in [&["kill"][..], &["--nodes"], &["-o", "reads"], &["nodes", "3"]] {
            assert!(RunCommand::from_scenario("store", &owned(bad)).is_err(), "{bad:?}");
        }
    }
}
