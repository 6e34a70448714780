//! A request with every default filled in, and how a program reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde::{Deserialize, Serialize};

use crate::error::SettingsError;

/// How a program is run, fully resolved: part of the plan.
///
/// A plan may have been edited by hand, so the typed readers return an error for an option that is missing or has a
/// value that the type does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The mode.
    pub mode: String,
    /// Every option of that mode.
    pub options: BTreeMap<String, String>,
    /// The seeded bug, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<String>,
    /// Programs to use instead of those that would be found, by role: this compares two releases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, PathBuf>,
    /// Programs that take the place of those while it runs, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upgrades: BTreeMap<String, PathBuf>,
}

impl Settings {
    /// Returns the same with the programs that take the place of others from the beginning; `None` if there are none.
    #[must_use]
    pub fn upgraded(&self) -> Option<Self> {
        let mut upgraded = self.clone();
        upgraded.programs.append(&mut upgraded.upgrades);
        (!self.upgrades.is_empty()).then_some(upgraded)
    }

    /// Returns the value of an option, if the mode has it.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Returns the value of an option that is one of several words: the variants of `T`, as serde names them.
    ///
    /// # Errors
    /// The option is missing, or its value names no variant.
    pub fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T, SettingsError> {
        let value = self.present(name)?;
        variant(value).ok_or_else(|| unreadable(name, value))
    }

    /// Returns the value of an option that is a whole number.
    ///
    /// # Errors
    /// The option is missing, or `T` cannot hold its value.
    pub fn whole<T: TryFrom<u64>>(&self, name: &str) -> Result<T, SettingsError> {
        let value = self.present(name)?;
        let number = value.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| unreadable(name, value))
    }

    /// Returns the value of an option that is a whole number, or `None` when it is the word `unless`.
    ///
    /// # Errors
    /// The option is missing, or its value is neither.
    pub fn whole_unless<T: TryFrom<u64>>(
        &self,
        name: &str,
        unless: &str,
    ) -> Result<Option<T>, SettingsError> {
        if self.option(name) == Some(unless) { Ok(None) } else { self.whole(name).map(Some) }
    }

    /// Returns the value of an option that is a whole number of milliseconds.
    ///
    /// # Errors
    /// The option is missing, or its value is not a whole number.
    pub fn millis(&self, name: &str) -> Result<Duration, SettingsError> {
        self.whole(name).map(Duration::from_millis)
    }

    /// Returns the seeded bug: one of the variants of `T`, as serde names them.
    ///
    /// # Errors
    /// The name of the bug names no variant.
    pub fn bug<T: DeserializeOwned>(&self) -> Result<Option<T>, SettingsError> {
        let read = |name: &String| variant(name).ok_or_else(|| unreadable("--bug", name));
        self.bug.as_ref().map(read).transpose()
    }

    fn present(&self, name: &str) -> Result<&str, SettingsError> {
        self.option(name)
            .ok_or_else(|| SettingsError::Missing { option: name.to_owned(), mode: self.mode.clone() })
    }
}

fn variant<T: DeserializeOwned>(word: &str) -> Option<T> {
    let word: StrDeserializer<'_, WordError> = word.into_deserializer();
    T::deserialize(word).ok()
}

fn unreadable(option: &str, given: &str) -> SettingsError {
    SettingsError::Unreadable { option: option.to_owned(), given: given.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Reads {
        ByLease,
        Local,
    }

    fn settings() -> Settings {
        let options = [("reads", "by-lease"), ("keep", "300"), ("retention", "-1")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Settings {
            mode: "raft".into(),
            options,
            bug: Some("local".into()),
            programs: [].into(),
            upgrades: [].into(),
        }
    }

    #[test]
    fn options_are_read_into_types() {
        let settings = settings();
        assert_eq!(settings.word("reads"), Ok(Reads::ByLease));
        assert_eq!(settings.whole("keep"), Ok(300_u16));
        assert_eq!(settings.millis("keep"), Ok(Duration::from_millis(300)));
        assert_eq!(settings.whole_unless::<u64>("retention", "-1"), Ok(None));
        assert_eq!(settings.whole_unless("keep", "-1"), Ok(Some(300_u64)));
        assert_eq!(settings.bug(), Ok(Some(Reads::Local)));
    }

    #[test]
    fn a_plan_edited_by_hand_is_refused() {
        let settings = settings();
        for (error, says) in [
            (settings.whole::<u8>("keep").unwrap_err(), "option keep cannot be \"300\""),
            (settings.word::<Reads>("keep").unwrap_err(), "option keep cannot be \"300\""),
            (settings.whole::<u64>("retention").unwrap_err(), "option retention cannot be \"-1\""),
            (settings.millis("lease").unwrap_err(), "the settings of mode raft lack option lease"),
        ] {
            assert_eq!(error.to_string(), says);
        }
        let strange = Settings { bug: Some("none".into()), ..settings };
        assert_eq!(strange.bug::<Reads>().unwrap_err().to_string(), "option --bug cannot be \"none\"");
    }

    #[test]
    fn settings_survive_a_plan() {
        let settings = settings();
        let saved = serde_json::to_string(&settings).unwrap();
        let options = r#"{"keep":"300","reads":"by-lease","retention":"-1"}"#;
        assert_eq!(saved, format!(r#"{{"mode":"raft","options":{options},"bug":"local"}}"#));
        assert_eq!(serde_json::from_str::<Settings>(&saved).unwrap(), settings);
        let without = Settings { bug: None, ..settings };
        assert!(!serde_json::to_string(&without).unwrap().contains("bug"));
    }
}
