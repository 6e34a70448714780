//! EDN's and JSON's forms.
//!
//! One reader serves both: JSON is read as EDN in which a colon between a key and its value is white space. A
//! form is either turned into JSON ([`json`]) or skipped ([`skip`]); this file has what both need.

mod json;
mod skip;

pub(crate) use json::quote;

/// The deepest allowed nesting, more than in any history: the reader calls itself once a level.
const DEPTH_MAX: u32 = 64;

/// The reason why a text is neither EDN nor JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The text ends too early.
    #[error("the file ends inside {what} that began at line {began}: it has been cut short")]
    Unterminated {
        /// The unterminated form.
        what: &'static str,
        /// Where.
        began: u64,
    },
    /// A character that cannot be there.
    #[error("unexpected {found:?}: expected {expected}")]
    Unexpected {
        /// The character.
        found: char,
        /// The possible forms.
        expected: &'static str,
    },
    /// A map with a key and no value.
    #[error("a map has a key without a value")]
    OddMap,
    /// A token that begins like a number and is not one.
    #[error("{token:?} is not a number")]
    Number {
        /// The token.
        token: String,
    },
    /// A backslash with something after it that it does not go with.
    #[error("{token:?} is neither a character nor an escape of EDN or JSON")]
    Escape {
        /// The character or word after the backslash.
        token: String,
    },
    /// Too many brackets inside each other.
    #[error("it is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
}

/// Reads forms from a text, and keeps count of its lines.
#[derive(Clone)]
pub(crate) struct Forms<'a> {
    text: &'a str,
    /// The offset of the next form, in bytes.
    at: usize,
    line: u64,
    depth: u32,
}

/// The kind of the next form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A map.
    Map,
    /// A vector or list that ends with this character.
    Sequence(u8),
    /// Anything else.
    Other,
}

type Result<T> = std::result::Result<T, SyntaxError>;

impl<'a> Forms<'a> {
    /// Returns a reader of `text`, whose first line is the `line`th of its file.
    pub(crate) fn new(text: &'a str, line: u64) -> Self {
        Self { text, at: 0, line, depth: 0 }
    }

    /// Returns the line that the next form begins at, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Returns the line of the next character that is not white space.
    pub(crate) fn next_line(mut self) -> u64 {
        // A form to leave out may be unterminated: then it begins where it does.
        let _ = self.peek();
        self.line
    }

    /// How many bytes have been read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns the text not read yet.
    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Steps over `bytes` bytes that were read by other means.
    pub(crate) fn step_over(&mut self, bytes: usize) {
        let read = &self.text.as_bytes()[self.at..self.at + bytes];
        self.line += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at += bytes;
    }

    /// Steps over `bytes` bytes of the present line that were read by other means.
    pub(crate) fn step_along(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// Skips white space, comments and forms to leave out, and returns the next byte; `None` at the end.
    ///
    /// # Errors
    /// [`SyntaxError`] in a form to leave out.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            let Some(next) = self.byte(0) else { return Ok(None) };
            match next {
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                }
                // The end of a file whose last blocks were never written is full of zeros.
                b' ' | b',' | b'\t' | b'\r' | 0 | 0x0b | 0x0c => self.at += 1,
                b':' if self.separates() => self.at += 1,
                b';' => self.at += self.until_line_end(),
                b'#' if self.byte(1) == Some(b'!') => self.at += self.until_line_end(),
                b'#' if self.byte(1) == Some(b'_') => {
                    self.at += 2;
                    self.skip("a discarded form")?;
                }
                0x80.. => match self.rest().chars().next() {
                    Some(wide) if wide.is_whitespace() || wide == '\u{feff}' => self.at += wide.len_utf8(),
                    _ => return Ok(Some(next)),
                },
                _ => return Ok(Some(next)),
            }
        }
    }

    /// Whether the colon that comes next is JSON's, between a key and its value; it begins a keyword otherwise.
    fn separates(&self) -> bool {
        let after = self.byte(1).unwrap_or(b' ');
        let token = after.is_ascii_alphabetic() || b"*+!_?<>=%&$./:-'#".contains(&after) || after >= 0x80;
        !token || self.at.checked_sub(1).is_some_and(|before| self.text.as_bytes()[before] == b'"')
    }

    fn until_line_end(&self) -> usize {
        self.rest().find('\n').unwrap_or(self.rest().len())
    }

    /// Returns the kind of the next form, after skipping its tags and metadata; `None` at the end.
    ///
    /// # Errors
    /// [`SyntaxError`] in a skipped form.
    pub(crate) fn next(&mut self) -> Result<Option<Next>> {
        loop {
            return Ok(Some(match self.peek()? {
                None => return Ok(None),
                Some(b'{') => Next::Map,
                Some(b'[') => Next::Sequence(b']'),
                Some(b'(') => Next::Sequence(b')'),
                Some(b'^') => {
                    self.at += 1;
                    self.skip("metadata")?;
                    continue;
                }
                Some(b'#') => match self.byte(1) {
                    // `#:ns{…}`: the names of fields are looked at without their namespaces.
                    Some(next) if next == b':' || next.is_ascii_alphabetic() => {
                        self.at += 1;
                        self.token();
                        continue;
                    }
                    _ => Next::Other,
                },
                Some(_) => Next::Other,
            }));
        }
    }

    /// Steps over the bracket that comes next.
    pub(crate) fn open(&mut self) {
        self.at += 1;
    }

    /// Steps over `closing` if it comes next; returns whether it did.
    ///
    /// # Errors
    /// [`SyntaxError`] in a form to leave out, and at the end of the text inside `what`, begun at line
    /// `began`.
    pub(crate) fn close(&mut self, closing: u8, what: &'static str, began: u64) -> Result<bool> {
        let next = self.peek()?.ok_or(SyntaxError::Unterminated { what, began })?;
        if next == closing {
            self.at += 1;
        }
        Ok(next == closing)
    }

    /// Reads the name of a field: a keyword, a string or a symbol; `None`, with nothing read, for any other
    /// form.
    ///
    /// # Errors
    /// [`SyntaxError`].
    pub(crate) fn name(&mut self) -> Result<Option<&'a str>> {
        let name = match self.peek()? {
            Some(b'"') => {
                let rest = &self.text.as_bytes()[self.at + 1..];
                match rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n')) {
                    Some(end) if rest[end] == b'"' => {
                        let begin = self.at + 1;
                        self.at = begin + end + 1;
                        &self.text[begin..begin + end]
                    }
                    _ => return Ok(None),
                }
            }
            Some(b':') => {
                self.at += 1;
                self.token()
            }
            Some(next) if next.is_ascii_alphabetic() => self.token(),
            _ => return Ok(None),
        };
        Ok(Some(name.trim_start_matches(':')))
    }

    /// Everything up to the next white space or bracket.
    fn token(&mut self) -> &'a str {
        let ends = |next: &u8| *next <= b' ' || b",;()[]{}\"\\".contains(next);
        let rest = self.rest();
        let mut end = rest.bytes().position(|byte| ends(&byte)).unwrap_or(rest.len());
        // White space beyond ASCII is rare, and looked for only where there is anything beyond ASCII.
        if !rest[..end].is_ascii() {
            end = rest[..end].find(char::is_whitespace).unwrap_or(end);
        }
        self.at += end;
        &rest[..end]
    }
}
