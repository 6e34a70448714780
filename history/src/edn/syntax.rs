//! EDN's forms, turned into JSON text as they are read.
//!
//! What JSON lacks becomes the nearest thing it has: keywords, symbols and characters become texts (`:read` is
//! `"read"`), lists and sets become arrays, ratios and `##NaN` become texts, tags and metadata are left out, and a map's
//! keys become texts. Sizes beyond 64 bits are kept digit for digit and left to whoever reads the number.

use std::fmt::Write as _;

/// Deeper than this no history is nested, and the reader calls itself once a level.
const DEPTH_MAX: u32 = 64;

/// Why a text is not EDN, or not the EDN of a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdnError {
    /// The text ends too early.
    #[error("the file ends inside {what} that began at line {began}: it has been cut short")]
    Unterminated {
        /// What was begun.
        what: &'static str,
        /// Where.
        began: u64,
    },
    /// A character that cannot stand there.
    #[error("unexpected {found:?}: expected {expected}")]
    Unexpected {
        /// The character.
        found: char,
        /// What could stand there.
        expected: &'static str,
    },
    /// A map with a key and no value.
    #[error("a map has a key without a value")]
    OddMap,
    /// A token that begins like a number and is none.
    #[error("{token:?} is no number")]
    Number {
        /// The token.
        token: String,
    },
    /// A backslash with something after it that it does not go with.
    #[error("{token:?} is no character or escape that EDN has")]
    Escape {
        /// What stands after the backslash.
        token: String,
    },
    /// Too many brackets inside each other.
    #[error("it is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// An element of the history is no map.
    #[error("expected an operation, which is a map: {{:type …, :f …, :process …}}; found {found}")]
    NotAnOperation {
        /// What stands there instead, shortened.
        found: String,
    },
    /// An operation lacks what every operation has.
    #[error("the operation has no {field}")]
    Missing {
        /// The keyword.
        field: &'static str,
    },
}

/// Reads forms from a text, and knows the line it is at.
pub(super) struct Forms<'a> {
    rest: &'a str,
    line: u64,
    depth: u32,
}

/// What a collection begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Map,
    Sequence(char),
}

impl<'a> Forms<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1, depth: 0 }
    }

    /// The line that the next form begins at, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Skips what means nothing, and shows the next character; `None` at the end.
    ///
    /// # Errors
    /// [`EdnError`] in a form that is to be left out.
    pub(super) fn peek(&mut self) -> Result<Option<char>, EdnError> {
        loop {
            let Some(next) = self.rest.chars().next() else { return Ok(None) };
            if next.is_whitespace() || next == ',' {
                self.skip(next);
            } else if next == ';' {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if self.rest.starts_with("#_") {
                self.rest = &self.rest[2..];
                // Counted as a level: discarded forms may themselves begin with a discarded form, without end.
                self.nested(|forms| forms.form("a discarded form", &mut String::new()))?;
            } else if self.rest.starts_with("#!") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else {
                return Ok(Some(next));
            }
        }
    }

    /// Skips tags and metadata too, and opens the collection that follows; `None` when it is something else.
    ///
    /// # Errors
    /// [`EdnError`] in a form that is to be left out.
    pub(super) fn open(&mut self) -> Result<Option<Opening>, EdnError> {
        loop {
            let opening = match self.peek()? {
                Some('{') => Opening::Map,
                Some('[') => Opening::Sequence(']'),
                Some('(') => Opening::Sequence(')'),
                Some('#') if self.rest[1..].starts_with(|next: char| next.is_alphabetic()) => {
                    self.skip('#');
                    self.token();
                    continue;
                }
                _ => return Ok(None),
            };
            self.rest = &self.rest[1..];
            return Ok(Some(opening));
        }
    }

    /// Steps over `closing` if it comes next.
    ///
    /// # Errors
    /// [`EdnError`] in a form that is to be left out, and at the end of the text inside `what`, begun at line `began`.
    pub(super) fn close(&mut self, closing: char, what: &'static str, began: u64) -> Result<bool, EdnError> {
        let next = self.peek()?.ok_or(EdnError::Unterminated { what, began })?;
        if next == closing {
            self.skip(next);
        }
        Ok(next == closing)
    }

    /// Appends the next form to `json`.
    ///
    /// # Errors
    /// [`EdnError`], also when there is none.
    pub(super) fn form(&mut self, what: &'static str, json: &mut String) -> Result<(), EdnError> {
        let began = self.line;
        let next = self.peek()?.ok_or(EdnError::Unterminated { what, began })?;
        match next {
            '{' => self.nested(|forms| forms.map(json)),
            '[' => self.nested(|forms| forms.sequence(']', "a vector", json)),
            '(' => self.nested(|forms| forms.sequence(')', "a list", json)),
            '"' => self.string(json),
            '\\' => self.character(json),
            '#' => self.nested(|forms| forms.dispatch(json)),
            '^' => self.nested(|forms| {
                forms.skip('^');
                forms.form("metadata", &mut String::new())?;
                forms.form("a form with metadata", json)
            }),
            ']' | '}' | ')' => Err(EdnError::Unexpected { found: next, expected: "a value" }),
            _ => self.atom(json),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<(), EdnError>) -> Result<(), EdnError> {
        if self.depth == DEPTH_MAX {
            return Err(EdnError::TooDeep);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Steps over `next`, which comes next.
    fn skip(&mut self, next: char) {
        self.line += u64::from(next == '\n');
        self.rest = &self.rest[next.len_utf8()..];
    }

    fn map(&mut self, json: &mut String) -> Result<(), EdnError> {
        let began = self.line;
        self.skip('{');
        json.push('{');
        let mut first = true;
        while !self.close('}', "a map", began)? {
            if !std::mem::take(&mut first) {
                json.push(',');
            }
            let mut key = String::new();
            self.form("a map", &mut key)?;
            // A key that is no text becomes the text of its JSON: {0 100} is {"0":100}.
            if key.starts_with('"') {
                json.push_str(&key)
            } else {
                quote(&key, json)
            }
            json.push(':');
            if self.peek()? == Some('}') {
                return Err(EdnError::OddMap);
            }
            self.form("a map", json)?;
        }
        json.push('}');
        Ok(())
    }

    fn sequence(&mut self, closing: char, what: &'static str, json: &mut String) -> Result<(), EdnError> {
        let began = self.line;
        self.rest = &self.rest[1..];
        json.push('[');
        let mut first = true;
        while !self.close(closing, what, began)? {
            if !std::mem::take(&mut first) {
                json.push(',');
            }
            self.form(what, json)?;
        }
        json.push(']');
        Ok(())
    }

    /// What begins with `#`: a set, a number that is none, or a tag, which is left out.
    fn dispatch(&mut self, json: &mut String) -> Result<(), EdnError> {
        self.skip('#');
        match self.rest.chars().next() {
            Some('{') => self.sequence('}', "a set", json),
            Some('#') => {
                self.skip('#');
                let token = self.token();
                if !matches!(token, "NaN" | "Inf" | "-Inf") {
                    return Err(EdnError::Number { token: format!("##{token}") });
                }
                quote(token, json);
                Ok(())
            }
            Some(next) if next.is_alphabetic() => {
                self.token();
                self.form("a tagged form", json)
            }
            Some(found) => Err(EdnError::Unexpected { found, expected: "a tag, a set or ##NaN" }),
            None => Err(EdnError::Unterminated { what: "a tag", began: self.line }),
        }
    }

    fn string(&mut self, json: &mut String) -> Result<(), EdnError> {
        let began = self.line;
        self.skip('"');
        let mut text = String::new();
        loop {
            let end = EdnError::Unterminated { what: "a string", began };
            let next = self.rest.chars().next().ok_or(end.clone())?;
            self.skip(next);
            match next {
                '"' => break,
                '\\' => {
                    let escape = self.rest.chars().next().ok_or(end)?;
                    self.skip(escape);
                    text.push(match escape {
                        't' => '\t',
                        'r' => '\r',
                        'n' => '\n',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        '\\' | '"' | '\'' => escape,
                        'u' => self.unicode()?,
                        other => return Err(EdnError::Escape { token: other.to_string() }),
                    });
                }
                other => text.push(other),
            }
        }
        quote(&text, json);
        Ok(())
    }

    /// The four digits after `\u`; the two halves of a pair are not joined, and stand for an unknown character.
    fn unicode(&mut self) -> Result<char, EdnError> {
        let digits: String = self.rest.chars().take(4).collect();
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
        let code = code.ok_or_else(|| EdnError::Escape { token: format!("u{digits}") })?;
        self.rest = &self.rest[4..];
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn character(&mut self, json: &mut String) -> Result<(), EdnError> {
        let began = self.line;
        self.skip('\\');
        let first = self.rest.chars().next().ok_or(EdnError::Unterminated { what: "a character", began })?;
        self.skip(first);
        // Any character may stand there, also one that ends a token; more may follow to make a name.
        let token = format!("{first}{}", if first.is_alphanumeric() { self.token() } else { "" });
        let mut chars = token.chars();
        let character = match (token.as_str(), chars.next(), chars.next()) {
            ("newline", ..) => '\n',
            ("space", ..) => ' ',
            ("tab", ..) => '\t',
            ("return", ..) => '\r',
            ("backspace", ..) => '\u{8}',
            ("formfeed", ..) => '\u{c}',
            (_, Some(only), None) => only,
            (name, Some('u'), Some(_)) if name.len() == 5 => u32::from_str_radix(&name[1..], 16)
                .map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
                .map_err(|_| EdnError::Escape { token: token.clone() })?,
            _ => return Err(EdnError::Escape { token }),
        };
        quote(character.encode_utf8(&mut [0; 4]), json);
        Ok(())
    }

    /// Everything up to the next white space or bracket.
    fn token(&mut self) -> &'a str {
        let ends = |next: char| next.is_whitespace() || ",;()[]{}\"\\".contains(next);
        let (token, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        token
    }

    /// A number, a keyword, a symbol, or one of the three words.
    fn atom(&mut self, json: &mut String) -> Result<(), EdnError> {
        let token = self.token();
        let unsigned = token.strip_prefix(['+', '-']).unwrap_or(token);
        if unsigned.starts_with(|first: char| first.is_ascii_digit()) {
            return number(token, json);
        }
        match token {
            "nil" => json.push_str("null"),
            "true" | "false" => json.push_str(token),
            _ => quote(token.strip_prefix(':').unwrap_or(token), json),
        }
        Ok(())
    }
}

/// Appends the number `token`; big integers and decimals lose their mark, ratios become texts.
fn number(token: &str, json: &mut String) -> Result<(), EdnError> {
    let bad = || EdnError::Number { token: token.to_owned() };
    let plain = token.strip_prefix('+').unwrap_or(token);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = plain.strip_prefix('-').unwrap_or(plain);
    if let Some((numerator, denominator)) = unsigned.split_once('/') {
        if !digits(numerator) || !digits(denominator) {
            return Err(bad());
        }
        quote(plain, json);
        return Ok(());
    }
    let is_decimal = unsigned.ends_with('M') || unsigned.contains(['.', 'e', 'E']);
    let plain = plain.strip_suffix(['N', 'M']).unwrap_or(plain);
    if !is_decimal {
        let unsigned = plain.strip_prefix('-').unwrap_or(plain);
        if !digits(unsigned) || (unsigned.len() > 1 && unsigned.starts_with('0')) {
            return Err(bad());
        }
        json.push_str(plain);
        return Ok(());
    }
    // `1.` is EDN and no JSON.
    let value: f64 = plain.parse().map_err(|_| bad())?;
    if !value.is_finite() {
        return Err(bad());
    }
    write!(json, "{value:?}").map_err(|_| bad())
}

/// Appends `text` as a JSON text.
pub(super) fn quote(text: &str, json: &mut String) {
    json.push('"');
    for next in text.chars() {
        match next {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                json.push_str("\\u00");
                let hex = |digit: u32| char::from_digit(digit, 16).unwrap_or('0');
                json.push(hex(u32::from(control) >> 4));
                json.push(hex(u32::from(control) & 15));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}
