//! EDN's and JSON's forms, turned into JSON text as they are read.
//!
//! One reader serves both: JSON is read as EDN in which a colon between a key and its value is white space. What JSON
//! lacks becomes the nearest thing it has: keywords, symbols, characters and regular expressions become strings
//! (`:read` is `"read"`), lists become arrays, sets become sorted arrays, tags and metadata are left out, and a map's
//! keys become strings. Numbers that JSON lacks (ratios, `##NaN`, more than 64 bits) become `{"number":"1/2"}`; see
//! [`Scalar`](crate::Scalar).

use std::fmt::Write as _;

/// Deeper than this no history is nested, and the reader calls itself once a level.
const DEPTH_MAX: u32 = 64;

/// Why a text is neither EDN nor JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The text ends too early.
    #[error("the file ends inside {what} that began at line {began}: it has been cut short")]
    Unterminated {
        /// What was begun.
        what: &'static str,
        /// Where.
        began: u64,
    },
    /// A character that cannot be there.
    #[error("unexpected {found:?}: expected {expected}")]
    Unexpected {
        /// The character.
        found: char,
        /// What could be there.
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
        /// What follows the backslash.
        token: String,
    },
    /// Too many brackets inside each other.
    #[error("it is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
}

/// Reads forms from a text, and knows the line it is at.
#[derive(Clone)]
pub(crate) struct Forms<'a> {
    text: &'a str,
    /// Where the next form is looked for, in bytes.
    at: usize,
    line: u64,
    depth: u32,
}

/// What comes next.
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
    /// Reads `text`, whose first line is the `line`th of its file.
    pub(crate) fn new(text: &'a str, line: u64) -> Self {
        Self { text, at: 0, line, depth: 0 }
    }

    /// The line that the next form begins at, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// How many bytes have been read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Steps over `bytes` bytes that were read by other means.
    pub(crate) fn step_over(&mut self, bytes: usize) {
        let read = &self.text.as_bytes()[self.at..self.at + bytes];
        self.line += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at += bytes;
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// Skips what means nothing, and shows the next byte; `None` at the end.
    ///
    /// # Errors
    /// [`SyntaxError`] in a form that is to be left out.
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

    /// What the next form is, behind its tags and metadata, which are skipped; `None` at the end.
    ///
    /// # Errors
    /// [`SyntaxError`] in what is left out.
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

    /// Steps over `closing` if it comes next.
    ///
    /// # Errors
    /// [`SyntaxError`] in a form that is to be left out, and at the end of the text inside `what`, begun at line
    /// `began`.
    pub(crate) fn close(&mut self, closing: u8, what: &'static str, began: u64) -> Result<bool> {
        let next = self.peek()?.ok_or(SyntaxError::Unterminated { what, began })?;
        if next == closing {
            self.at += 1;
        }
        Ok(next == closing)
    }

    /// The name that comes next, of a field: a keyword, a string or a symbol; `None`, with nothing read, where it is
    /// something else.
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

    /// Skips the next form, whatever is in it: only brackets, strings and comments are looked at.
    ///
    /// # Errors
    /// [`SyntaxError`] where there is no form, or none that ends.
    pub(crate) fn skip(&mut self, what: &'static str) -> Result<()> {
        let began = self.line;
        let end = SyntaxError::Unterminated { what, began };
        // A closing bracket belongs to an opening one that was skipped; prefixes ask for one more form.
        let (mut open, mut wanted) = (0_u64, 1_u64);
        loop {
            let whole = match self.byte(0).ok_or(end.clone())? {
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                    false
                }
                b' ' | b',' | b'\t' | b'\r' | 0 | 0x0b | 0x0c => {
                    self.at += 1;
                    false
                }
                b':' if self.separates() => {
                    self.at += 1;
                    false
                }
                b';' => {
                    self.at += self.until_line_end();
                    false
                }
                b'"' => {
                    self.skip_string().ok_or(end.clone())?;
                    true
                }
                b'\\' => {
                    self.at += 1;
                    let first = self.rest().chars().next().ok_or(end.clone())?;
                    self.at += first.len_utf8();
                    if first.is_alphanumeric() {
                        self.token();
                    }
                    true
                }
                b'[' | b'(' | b'{' => {
                    self.at += 1;
                    open += 1;
                    false
                }
                found @ (b']' | b')' | b'}') => {
                    open = open
                        .checked_sub(1)
                        .ok_or(SyntaxError::Unexpected { found: char::from(found), expected: "a value" })?;
                    self.at += 1;
                    true
                }
                b'^' => {
                    self.at += 1;
                    wanted += u64::from(open == 0);
                    false
                }
                b'\'' | b'`' | b'~' | b'@' => {
                    self.at += 1;
                    false
                }
                b'#' => {
                    self.at += 1;
                    match self.byte(0).ok_or(end.clone())? {
                        b'"' | b'{' | b'(' => {}
                        b'\'' => self.at += 1,
                        b'_' => {
                            self.at += 1;
                            wanted += u64::from(open == 0);
                        }
                        b'<' => {
                            self.unreadable().ok_or(end.clone())?;
                            if open == 0 {
                                wanted -= 1;
                            }
                        }
                        b'#' => {
                            self.at += 1;
                        }
                        _ => {
                            self.token();
                        }
                    }
                    if wanted == 0 {
                        return Ok(());
                    }
                    false
                }
                _ => {
                    let token = !self.token().is_empty();
                    if !token {
                        // White space beyond ASCII, or a control character.
                        self.at += self.rest().chars().next().map_or(1, char::len_utf8);
                    }
                    token
                }
            };
            if whole && open == 0 {
                wanted -= 1;
                if wanted == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Steps over the string that comes next; `None` where it does not end.
    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.byte(0)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => {
                    self.line += u64::from(self.byte(1)? == b'\n');
                    self.at += 2;
                    while !self.text.is_char_boundary(self.at) {
                        self.at += 1;
                    }
                }
                next => {
                    self.line += u64::from(next == b'\n');
                    self.at += 1;
                }
            }
        }
    }

    /// Steps over `<java.io.IOException …>`, which Clojure prints and cannot read; `None` where it does not end.
    fn unreadable(&mut self) -> Option<()> {
        let mut open = 0;
        loop {
            match self.byte(0)? {
                b'<' => open += 1,
                b'>' => open -= 1,
                b'\n' => self.line += 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(());
            }
        }
    }

    /// Appends the next form to `json`.
    ///
    /// # Errors
    /// [`SyntaxError`], also when there is none.
    pub(crate) fn form(&mut self, what: &'static str, json: &mut String) -> Result<()> {
        let began = self.line;
        match self.peek()?.ok_or(SyntaxError::Unterminated { what, began })? {
            b'{' => self.nested(|forms| forms.map(json)),
            b'[' => self.nested(|forms| forms.sequence(b']', "a vector", json).map(drop)),
            b'(' => self.nested(|forms| forms.sequence(b')', "a list", json).map(drop)),
            b'"' => self.string(json),
            b'\\' => self.character(json),
            b'#' => self.nested(|forms| forms.dispatch(json)),
            b'^' => self.nested(|forms| {
                forms.at += 1;
                forms.skip("metadata")?;
                forms.form("a form with metadata", json)
            }),
            b'\'' | b'`' | b'~' | b'@' => self.nested(|forms| {
                forms.at += 1;
                forms.form("a quoted form", json)
            }),
            found @ (b']' | b'}' | b')') => {
                Err(SyntaxError::Unexpected { found: char::from(found), expected: "a value" })
            }
            _ => self.atom(json),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.depth == DEPTH_MAX {
            return Err(SyntaxError::TooDeep);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn map(&mut self, json: &mut String) -> Result<()> {
        let began = self.line;
        self.at += 1;
        json.push('{');
        let mut first = true;
        while !self.close(b'}', "a map", began)? {
            if !std::mem::take(&mut first) {
                json.push(',');
            }
            let key = json.len();
            self.form("a map", json)?;
            // A key that is not a string becomes the string of its JSON: {0 100} is {"0":100}.
            if !json[key..].starts_with('"') {
                let text = json.split_off(key);
                quote(&text, json);
            }
            json.push(':');
            if self.peek()? == Some(b'}') {
                return Err(SyntaxError::OddMap);
            }
            self.form("a map", json)?;
        }
        json.push('}');
        Ok(())
    }

    /// Appends the elements up to `closing`; returns where in `json` each begins.
    fn sequence(&mut self, closing: u8, what: &'static str, json: &mut String) -> Result<Vec<usize>> {
        let began = self.line;
        self.at += 1;
        json.push('[');
        let mut begins = Vec::new();
        while !self.close(closing, what, began)? {
            if !begins.is_empty() {
                json.push(',');
            }
            begins.push(json.len());
            self.form(what, json)?;
        }
        json.push(']');
        Ok(begins)
    }

    /// A set: two sets of the same elements become the same array.
    fn set(&mut self, json: &mut String) -> Result<()> {
        let mut text = String::new();
        let begins = self.sequence(b'}', "a set", &mut text)?;
        let ends = begins.iter().skip(1).map(|next| next - 1).chain([text.len() - 1]);
        let mut elements: Vec<&str> =
            begins.iter().zip(ends).map(|(begin, end)| &text[*begin..end]).collect();
        elements.sort_unstable_by_key(|element| (element.len(), *element));
        json.push('[');
        json.push_str(&elements.join(","));
        json.push(']');
        Ok(())
    }

    /// What begins with `#`: a set, a regular expression, a number that is none, or a tag, which is left out.
    fn dispatch(&mut self, json: &mut String) -> Result<()> {
        let began = self.line;
        self.at += 1;
        let end = SyntaxError::Unterminated { what: "a tag", began };
        match self.byte(0).ok_or(end.clone())? {
            b'{' => self.set(json),
            b'(' => self.form("a function", json),
            b'"' => {
                let begin = self.at + 1;
                self.skip_string().ok_or(end)?;
                quote(&self.text[begin..self.at - 1], json);
                Ok(())
            }
            b'#' => {
                self.at += 1;
                let token = self.token();
                if !matches!(token, "NaN" | "Inf" | "-Inf") {
                    return Err(SyntaxError::Number { token: format!("##{token}") });
                }
                odd_number(token, json);
                Ok(())
            }
            b'<' => {
                let begin = self.at;
                self.unreadable().ok_or(end)?;
                quote(&self.text[begin..self.at], json);
                Ok(())
            }
            b'\'' | b'=' | b'?' => {
                self.at += 1;
                self.form("a tagged form", json)
            }
            _ => {
                let Some(first) = self.rest().chars().next() else { return Err(end) };
                if first != ':' && !first.is_alphabetic() {
                    return Err(SyntaxError::Unexpected { found: first, expected: "a tag, a set or ##NaN" });
                }
                self.token();
                self.form("a tagged form", json)
            }
        }
    }

    /// A string. Escapes that JSON has too are kept as they are.
    fn string(&mut self, json: &mut String) -> Result<()> {
        let end = SyntaxError::Unterminated { what: "a string", began: self.line };
        self.at += 1;
        json.push('"');
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
            let plain = rest.iter().position(special).ok_or(end.clone())?;
            json.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain + 1;
            match rest[plain] {
                b'"' => break,
                b'\\' => {
                    let escape = self.rest().chars().next().ok_or(end.clone())?;
                    self.at += escape.len_utf8();
                    match escape {
                        't' | 'r' | 'n' | 'b' | 'f' | '\\' | '"' | '/' => json.extend(['\\', escape]),
                        '\'' => json.push('\''),
                        'u' => self.unicode(json, &end)?,
                        other => return Err(SyntaxError::Escape { token: other.to_string() }),
                    }
                }
                control => {
                    self.line += u64::from(control == b'\n');
                    escape_control(control, json);
                }
            }
        }
        json.push('"');
        Ok(())
    }

    /// The four digits after `\u`; half of a pair without the other becomes the unknown character.
    fn unicode(&mut self, json: &mut String, end: &SyntaxError) -> Result<()> {
        let code = self.four_digits(end)?;
        if (0xd800..0xdc00).contains(&code) && self.rest().starts_with("\\u") {
            let mut ahead = self.clone();
            ahead.at += 2;
            let low = ahead.four_digits(end)?;
            if (0xdc00..0xe000).contains(&low) {
                self.at = ahead.at;
                let _ = write!(json, "\\u{code:04x}\\u{low:04x}");
                return Ok(());
            }
        }
        let code = if (0xd800..0xe000).contains(&code) { 0xfffd } else { code };
        let _ = write!(json, "\\u{code:04x}");
        Ok(())
    }

    fn four_digits(&mut self, end: &SyntaxError) -> Result<u32> {
        let digits: String = self.rest().chars().take(4).collect();
        if digits.chars().count() < 4 {
            return Err(end.clone());
        }
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| hex);
        let code = code.ok_or_else(|| SyntaxError::Escape { token: format!("u{digits}") })?;
        self.at += 4;
        Ok(code)
    }

    fn character(&mut self, json: &mut String) -> Result<()> {
        let began = self.line;
        self.at += 1;
        let first = self.rest().chars().next();
        let first = first.ok_or(SyntaxError::Unterminated { what: "a character", began })?;
        self.at += first.len_utf8();
        self.line += u64::from(first == '\n');
        // Any character may be there, also one that ends a token; more may follow to make a name.
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
                .map_err(|_| SyntaxError::Escape { token: token.clone() })?,
            _ => return Err(SyntaxError::Escape { token }),
        };
        quote(character.encode_utf8(&mut [0; 4]), json);
        Ok(())
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

    /// A number, a keyword, a symbol, or one of the words for nil, true and false.
    fn atom(&mut self, json: &mut String) -> Result<()> {
        let token = self.token();
        let unsigned = token.strip_prefix(['+', '-']).unwrap_or(token);
        if unsigned.starts_with(|first: char| first.is_ascii_digit()) {
            return number(token, json);
        }
        match token {
            "nil" | "null" => json.push_str("null"),
            "true" | "false" => json.push_str(token),
            "" => {
                let found = self.rest().chars().next().unwrap_or(' ');
                return Err(SyntaxError::Unexpected { found, expected: "a value" });
            }
            _ => quote(token.trim_start_matches(':'), json),
        }
        Ok(())
    }
}

/// Appends a number that JSON lacks.
fn odd_number(token: &str, json: &mut String) {
    json.push_str("{\"number\":");
    quote(token, json);
    json.push('}');
}

/// Appends the number `token`, by its value: `3N`, `3M` and `0x3` are 3.
fn number(token: &str, json: &mut String) -> Result<()> {
    let bad = || SyntaxError::Number { token: token.to_owned() };
    let plain = token.strip_prefix('+').unwrap_or(token);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (sign, unsigned) = match plain.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", plain),
    };
    if let Some((numerator, denominator)) = unsigned.split_once('/') {
        if !digits(numerator) || !digits(denominator) {
            return Err(bad());
        }
        odd_number(plain, json);
        return Ok(());
    }
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let value = u64::from_str_radix(hex.strip_suffix('N').unwrap_or(hex), 16).map_err(|_| bad())?;
        return write!(json, "{sign}{value}").map_err(|_| bad());
    }
    let unsigned = unsigned.strip_suffix(['N', 'M']).unwrap_or(unsigned);
    if digits(unsigned) {
        if unsigned.len() > 1 && unsigned.starts_with('0') {
            return Err(bad());
        }
        let fits = unsigned.len() < 19
            || (sign.is_empty() && unsigned.parse::<u64>().is_ok())
            || format!("{sign}{unsigned}").parse::<i64>().is_ok();
        if fits {
            json.push_str(sign);
            json.push_str(unsigned);
        } else {
            odd_number(&format!("{sign}{unsigned}"), json);
        }
        return Ok(());
    }
    // `1.` is EDN and not JSON.
    let value: f64 = unsigned.parse().map_err(|_| bad())?;
    if !value.is_finite() {
        return Err(bad());
    }
    write!(json, "{sign}{value:?}").map_err(|_| bad())
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(text: &str, json: &mut String) {
    json.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte < 0x20 || matches!(byte, b'"' | b'\\') {
            json.push_str(&text[plain..at]);
            plain = at + 1;
            match byte {
                b'"' => json.push_str("\\\""),
                b'\\' => json.push_str("\\\\"),
                control => escape_control(control, json),
            }
        }
    }
    json.push_str(&text[plain..]);
    json.push('"');
}

/// Appends a control character as JSON has it.
fn escape_control(control: u8, json: &mut String) {
    match control {
        b'\n' => json.push_str("\\n"),
        b'\r' => json.push_str("\\r"),
        b'\t' => json.push_str("\\t"),
        other => {
            // Writing to a string cannot fail.
            let _ = write!(json, "\\u{other:04x}");
        }
    }
}
