//! The values that an option accepts.

use std::fmt;

/// The values that an option accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    Words(Vec<String>),
    /// A whole number from `min` to `max`, both included, written in decimal.
    Whole {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// One of these words, or a whole number from `min` to `max`.
    WordsOrWhole {
        /// The words.
        words: Vec<String>,
        /// The smallest number.
        min: u64,
        /// The largest number.
        max: u64,
    },
}

impl Values {
    /// Returns one of these words.
    #[must_use]
    pub fn words<const N: usize>(words: [&str; N]) -> Self {
        Self::Words(words.map(str::to_owned).to_vec())
    }

    /// Whether `value` is one of them.
    #[must_use]
    pub fn accept(&self, value: &str) -> bool {
        let whole = |min: u64, max: u64| {
            value.bytes().all(|byte| byte.is_ascii_digit())
                && value.parse().is_ok_and(|number: u64| (min..=max).contains(&number))
        };
        let listed = |words: &[String]| words.iter().any(|word| word == value);
        match self {
            Self::Words(words) => listed(words),
            Self::Whole { min, max } => whole(*min, *max),
            Self::WordsOrWhole { words, min, max } => listed(words) || whole(*min, *max),
        }
    }

    /// Returns the words among them, for hints.
    pub(crate) fn known_words(&self) -> &[String] {
        match self {
            Self::Words(words) | Self::WordsOrWhole { words, .. } => words,
            Self::Whole { .. } => &[],
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(&words.join(", ")),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::WordsOrWhole { words, min, max } => {
                write!(f, "{}, or a whole number from {min} to {max}", words.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_plain_decimals() {
        let values = Values::Whole { min: 1, max: 100 };
        assert!(["1", "100", "007"].iter().all(|value| values.accept(value)));
        assert!(
            !["0", "101", "+5", "-5", "5.0", "", "five", "18446744073709551616"]
                .iter()
                .any(|value| values.accept(value))
        );
    }

    #[test]
    fn a_word_may_stand_beside_numbers() {
        let values = Values::WordsOrWhole { words: vec!["-1".into()], min: 5, max: 9 };
        assert!(["-1", "5", "9"].iter().all(|value| values.accept(value)));
        assert!(!["-2", "4", "10", "1"].iter().any(|value| values.accept(value)));
        assert_eq!(values.to_string(), "-1, or a whole number from 5 to 9");
    }
}
