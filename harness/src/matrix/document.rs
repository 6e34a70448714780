//! A TOML file in which every word knows its line, so that errors can point at it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file that cannot be used, or a place in it.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// The error, in one sentence that names the word.
        message: String,
    },
}

/// The text of a file, and the offsets of its lines.
#[derive(Clone, Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`DocumentError::Read`].
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        let text = fs::read_to_string(path)
            .map_err(|source| DocumentError::Read { path: path.to_owned(), source })?;
        Ok(Self::new(path, text))
    }

    /// Returns a document of this text, with the name `path`.
    #[must_use]
    pub fn new(path: &Path, text: String) -> Self {
        Self { path: path.to_owned(), text }
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file's table, borrowed from its text.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`] if it is not TOML.
    pub fn table(&self) -> Result<DeTable<'_>, DocumentError> {
        DeTable::parse(&self.text).map(Spanned::into_inner).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            self.wrong(span, error.message())
        })
    }

    /// Returns the error that `message` is, at the line where `span` begins.
    #[must_use]
    pub fn wrong(&self, span: Range<usize>, message: impl Into<String>) -> DocumentError {
        DocumentError::Wrong { path: self.path.clone(), line: self.line(span.start), message: message.into() }
    }

    /// Returns the line, counted from one, of the byte at `offset`.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Returns a value in the form of the command line: strings unchanged, numbers and booleans as they are
/// written. `None` for lists, tables and dates, which no option of the command line takes.
#[must_use]
pub fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let document = Document::new(Path::new("m.toml"), "a = 1\n\nb = [\n".to_owned());
        let error = document.table().unwrap_err().to_string();
        assert!(error.starts_with("m.toml:") && error.contains(':'), "{error}");
        let document = Document::new(Path::new("m.toml"), "a = 1\nb = 2\n".to_owned());
        let table = document.table().unwrap();
        let (_, value) = table.iter().find(|(key, _)| key.get_ref() == "b").unwrap();
        assert_eq!(document.wrong(value.span(), "no").to_string(), "m.toml:2: no");
    }

    #[test]
    fn values_are_words() {
        let document = Document::new(
            Path::new("m.toml"),
            "a = \"x\"\nb = 1_000\nc = 2.5\nd = true\ne = [1]\n".to_owned(),
        );
        let table = document.table().unwrap();
        let words: Vec<Option<String>> = table.values().map(|value| word(value.get_ref())).collect();
        let expected = [Some("x"), Some("1000"), Some("2.5"), Some("true"), None];
        assert_eq!(words, expected.map(|word| word.map(str::to_owned)));
    }
}
