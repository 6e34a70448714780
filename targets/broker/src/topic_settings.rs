//! The settings of a topic, fixed when it is made, by Kafka's names.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Options;

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Toggle {
    /// On.
    On,
    /// Off.
    Off,
}

/// How a topic's old records are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CleanupPolicy {
    /// By age and size.
    Delete,
    /// All but the latest of every key.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl CleanupPolicy {
    const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactAndDelete => "compact,delete",
        }
    }
}

/// The settings of a topic, complete: those that it did not specify are the broker's options at the time it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicSettings {
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `min.insync.replicas`.
    pub min_insync: u16,
    /// `unclean.leader.election.enable`.
    pub unclean: Toggle,
    /// `retention.ms`.
    pub retention: Option<Duration>,
    /// `retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_age: Duration,
    /// `max.message.bytes`.
    pub batch_bytes: u32,
    /// `delete.retention.ms`.
    pub delete_retention: Duration,
    /// `min.cleanable.dirty.ratio`.
    pub dirty_ratio: f64,
}

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The setting does not exist.
    #[error("unknown topic config name: {0}")]
    Name(String),
    /// It cannot have that value.
    #[error("invalid value {value} for configuration {name}: it takes {expected}")]
    Value {
        /// The setting.
        name: String,
        /// The value given.
        value: String,
        /// The values it takes.
        expected: &'static str,
    },
}

impl TopicSettings {
    /// Returns the settings of a topic that specifies none, with this many replicas of each partition. The
    /// default of `min.insync.replicas` cannot exceed that number.
    pub fn of(options: &Options, replicas: u16) -> Self {
        Self {
            cleanup: CleanupPolicy::Delete,
            min_insync: options.min_insync.min(replicas),
            unclean: options.unclean,
            retention: options.retention,
            retention_bytes: options.retention_bytes,
            segment_bytes: options.segment_bytes,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            batch_bytes: 1 << 20,
            delete_retention: Duration::from_secs(24 * 3600),
            dirty_ratio: 0.5,
        }
    }

    /// Changes one setting.
    ///
    /// # Errors
    /// The setting does not exist, or it cannot have that value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let given = NameAndValue { name, value };
        match name {
            "cleanup.policy" => {
                self.cleanup = match value {
                    "delete" => CleanupPolicy::Delete,
                    "compact" => CleanupPolicy::Compact,
                    "compact,delete" | "delete,compact" => CleanupPolicy::CompactAndDelete,
                    _ => return Err(given.wrong("delete, compact or both with a comma")),
                }
            }
            "min.insync.replicas" => self.min_insync = given.number(1)?,
            "unclean.leader.election.enable" => {
                self.unclean = match value {
                    "true" => Toggle::On,
                    "false" => Toggle::Off,
                    _ => return Err(given.wrong("true or false")),
                }
            }
            "retention.ms" => self.retention = given.unless_unlimited()?.map(Duration::from_millis),
            "retention.bytes" => self.retention_bytes = given.unless_unlimited()?,
            "segment.bytes" => self.segment_bytes = given.number::<u64>(14)?,
            "segment.ms" => self.segment_age = Duration::from_millis(given.number(1)?),
            "max.message.bytes" => self.batch_bytes = given.number(1)?,
            "delete.retention.ms" => self.delete_retention = Duration::from_millis(given.number(0)?),
            "min.cleanable.dirty.ratio" => {
                let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                self.dirty_ratio = ratio.ok_or_else(|| given.wrong("a number from 0 to 1"))?;
            }
            _ => return Err(SettingError::Name(name.into())),
        }
        Ok(())
    }

    /// Returns all settings, by name.
    pub fn list(&self) -> BTreeMap<&'static str, String> {
        let limit = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string());
        let millis = |time: Duration| time.as_millis().to_string();
        BTreeMap::from([
            ("cleanup.policy", self.cleanup.name().to_owned()),
            ("min.insync.replicas", self.min_insync.to_string()),
            ("unclean.leader.election.enable", (self.unclean == Toggle::On).to_string()),
            ("retention.ms", limit(self.retention.map(|age| age.as_millis() as u64))),
            ("retention.bytes", limit(self.retention_bytes)),
            ("segment.bytes", self.segment_bytes.to_string()),
            ("segment.ms", millis(self.segment_age)),
            ("max.message.bytes", self.batch_bytes.to_string()),
            ("delete.retention.ms", millis(self.delete_retention)),
            ("min.cleanable.dirty.ratio", self.dirty_ratio.to_string()),
        ])
    }
}

/// A setting as a client gave it.
struct NameAndValue<'a> {
    name: &'a str,
    value: &'a str,
}

impl NameAndValue<'_> {
    fn wrong(&self, expected: &'static str) -> SettingError {
        SettingError::Value { name: self.name.into(), value: self.value.into(), expected }
    }

    fn number<T: std::str::FromStr + PartialOrd>(&self, least: T) -> Result<T, SettingError> {
        let number = self.value.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| self.wrong("a whole number that is large enough"))
    }

    fn unless_unlimited(&self) -> Result<Option<u64>, SettingError> {
        if self.value == "-1" { Ok(None) } else { self.number(0).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn what_is_listed_can_be_set() {
        let mut settings = TopicSettings::of(&config(&[], None).options, 3);
        assert_eq!(settings.min_insync, 2);
        assert_eq!(TopicSettings::of(&config(&[], None).options, 1).min_insync, 1);
        settings.set("cleanup.policy", "compact").unwrap();
        settings.set("retention.ms", "-1").unwrap();
        let mut again = TopicSettings::of(&config(&[], None).options, 3);
        for (name, value) in settings.list() {
            again.set(name, &value).unwrap();
        }
        assert_eq!(settings, again);
        assert!(matches!(again.set("no.such", "1"), Err(SettingError::Name(_))));
        assert!(matches!(again.set("min.insync.replicas", "0"), Err(SettingError::Value { .. })));
    }
}
