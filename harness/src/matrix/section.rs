//! A table of a matrix file: its keys for the run, and those for the outcome.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use duress_checkers::verdict::AnomalyKind;
use duress_settings::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::cell::Named;
use super::command::SET;
use super::document::{Document, DocumentError, word};
use super::key::{Key, RunOptions, Takes};
use crate::cli::words::duration;

/// A word of the file, and its place.
pub type Word = (String, Range<usize>);

/// The key of a bug for what its controls have in another way.
pub const CONTROL: &str = "control";

/// The values of one key: one, or the list that expands to a cell each.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The values, at least one.
    pub values: Vec<Word>,
    /// Whether they are written as a list, if only of one.
    pub listed: bool,
}

/// A table of the file: its keys for the run, and those for the outcome.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its place.
    pub span: Range<usize>,
    /// Its keys for the run.
    pub axes: BTreeMap<Key, Axis>,
    /// Its other keys.
    pub own: BTreeMap<String, Vec<Word>>,
    /// Its table `control`.
    pub control: Option<Box<Section>>,
}

/// Reads the tables of a document whose cells may give these options.
pub struct Reader<'a> {
    /// The document.
    pub document: &'a Document,
    /// The options of `duress run`.
    pub options: &'a RunOptions,
}

impl Reader<'_> {
    /// Returns the error that `message` is, at the line of `span`.
    pub fn wrong(&self, span: Range<usize>, message: impl Into<String>) -> DocumentError {
        self.document.wrong(span, message)
    }

    /// Returns the error that `given` is not one of the keys `known`.
    pub fn unknown(&self, given: &str, span: Range<usize>, known: &[&str]) -> DocumentError {
        let hint = match nearest(given, known) {
            Some(near) => format!(" (did you mean \"{near}\"?)"),
            None => String::new(),
        };
        self.wrong(span, format!("unknown key \"{given}\"{hint}; known: {}", known.join(", ")))
    }

    /// Returns the table that `value` must be.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`], as of everything here.
    pub fn table<'t, 'i>(&self, value: &'t Spanned<DeValue<'i>>) -> Result<&'t DeTable<'i>, DocumentError> {
        value.get_ref().as_table().ok_or_else(|| self.wrong(value.span(), "a table is expected here"))
    }

    /// Returns one word, or several.
    fn words(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Word>, DocumentError> {
        let one = |value: &Spanned<DeValue<'_>>| {
            let word = word(value.get_ref()).ok_or_else(|| {
                self.wrong(
                    value.span(),
                    format!("{name} is a string, a number or a boolean, or a list of them"),
                )
            })?;
            Ok((word, value.span()))
        };
        match value.get_ref().as_array() {
            None => Ok(vec![one(value)?]),
            Some(list) if list.is_empty() => {
                Err(self.wrong(value.span(), format!("{name} is an empty list: no cell would be left")))
            }
            Some(list) => list.iter().map(one).collect(),
        }
    }

    /// Reads a table that may have these keys of its own, besides those of the run.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`], naming the key.
    pub fn section(
        &self,
        table: &DeTable<'_>,
        span: Range<usize>,
        own_keys: &[&str],
    ) -> Result<Section, DocumentError> {
        let mut section = Section { span, ..Section::default() };
        for (key, value) in table {
            let name: &str = key.get_ref();
            let axis = |value: &Spanned<DeValue<'_>>| {
                let listed = value.get_ref().is_array();
                Ok::<_, DocumentError>(Axis { values: self.words(name, value)?, listed })
            };
            if name == CONTROL && own_keys.contains(&CONTROL) {
                let control = self.section(self.table(value)?, value.span(), &[])?;
                let axes = control.axes.iter();
                if let Some((key, axis)) =
                    axes.clone().find(|(key, axis)| **key == Key::Target || axis.listed)
                {
                    let message = format!("a control has its bug's target, and one value of each key: {key}");
                    return Err(self.wrong(axis.values[0].1.clone(), message));
                }
                section.control = Some(Box::new(control));
            } else if own_keys.contains(&name) {
                section.own.insert(name.to_owned(), self.words(name, value)?);
            } else if name == "target" {
                section.axes.insert(Key::Target, axis(value)?);
            } else if name == "options" {
                for (option, value) in self.table(value)? {
                    section.axes.insert(Key::Option(option.get_ref().to_string()), axis(value)?);
                }
            } else if let Some(takes) = self.options.takes(name) {
                let axis = axis(value)?;
                for (value, span) in &axis.values {
                    if takes == Takes::Nothing && value != SET && value != "false" {
                        return Err(self.wrong(span.clone(), format!("{name} is true or false")));
                    }
                }
                section.axes.insert(Key::flag(name), axis);
            } else {
                let mut known: Vec<&str> = own_keys.to_vec();
                known.extend(["target", "options"]);
                known.extend(self.options.names());
                return Err(self.unknown(name, key.span(), &known));
            }
        }
        Ok(section)
    }
}

/// The keys of a section for the outcome, with the defaults behind them.
pub struct Own<'a> {
    /// The reader of the file.
    pub reader: &'a Reader<'a>,
    /// The section.
    pub section: &'a Section,
    /// The defaults for missing keys.
    pub defaults: &'a Section,
}

impl<'a> Own<'a> {
    /// Returns the values of a key; empty if it is missing.
    pub fn several(&self, name: &str) -> &'a [Word] {
        self.section.own.get(name).or_else(|| self.defaults.own.get(name)).map_or(&[], Vec::as_slice)
    }

    /// Returns the value of a key that has only one.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`] for a list.
    pub fn one(&self, name: &str) -> Result<Option<(&'a str, Range<usize>)>, DocumentError> {
        match self.several(name) {
            [] => Ok(None),
            [(value, span)] => Ok(Some((value, span.clone()))),
            [_, (_, span), ..] => {
                Err(self.reader.wrong(span.clone(), format!("{name} is one value, not a list")))
            }
        }
    }

    /// Returns the value of a key, parsed with `parse`.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`], naming the expected form.
    pub fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, DocumentError> {
        self.one(name)?
            .map(|(value, span)| {
                parse(value).ok_or_else(|| {
                    self.reader.wrong(span, format!("{name} is \"{value}\": {expected} is expected"))
                })
            })
            .transpose()
    }

    /// Parses a duration.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`].
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, DocumentError> {
        self.parsed(name, "a duration as 30s or 2m", |value| duration(value).ok())
    }

    /// Whether a key is true; a missing key is not.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`].
    pub fn truth(&self, name: &str) -> Result<bool, DocumentError> {
        let truth = self.parsed(name, "true or false", |value| value.parse::<bool>().ok())?;
        Ok(truth.unwrap_or(false))
    }

    /// Parses a number from `least` on.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`].
    pub fn count(&self, name: &str, least: u32) -> Result<Option<u32>, DocumentError> {
        self.parsed(name, &format!("a whole number from {least} to 10000"), |value| {
            value.parse().ok().filter(|count| (least..=10_000).contains(count))
        })
    }

    /// Returns the anomalies that a key names, without `valid`.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`], naming the word that is not an anomaly.
    pub fn kinds(&self, name: &str) -> Result<Vec<AnomalyKind>, DocumentError> {
        self.several(name)
            .iter()
            .filter(|(word, _)| word != "valid")
            .map(|(word, span)| {
                serde_json::from_value(serde_json::Value::from(word.as_str()))
                    .map_err(|error| self.reader.wrong(span.clone(), format!("{name}: {error}")))
            })
            .collect()
    }

    /// Returns the anomalies that are expected and allowed; none expected means that valid is.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`], naming the word that is not an anomaly.
    pub fn named(&self) -> Result<Named, DocumentError> {
        let wanted = self.several("expect");
        if wanted.is_empty() {
            let message =
                "the expectation is missing: expect = \"valid\", or the anomalies of which one must appear";
            return Err(self.reader.wrong(self.section.span.clone(), message));
        }
        if let (true, Some((_, span))) = (wanted.len() > 1, wanted.iter().find(|(word, _)| word == "valid")) {
            let message = "valid cannot be expected together with anomalies: that would never fail";
            return Err(self.reader.wrong(span.clone(), message));
        }
        Ok(Named { expected: self.kinds("expect")?, allowed: self.kinds("allow")? })
    }
}
