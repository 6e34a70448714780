//! Forms turned into JSON text as they are read.
//!
//! Values that JSON lacks become the nearest JSON value: keywords, symbols, characters and regular
//! expressions become strings (`:read` is `"read"`), lists become arrays, sets become sorted arrays, tags and
//! metadata are left out, and a map's keys become strings. Numbers that JSON lacks (ratios, `##NaN`, more
//! than 64 bits) become `{"number":"1/2"}`; see [`Scalar`](crate::Scalar).

use std::fmt::Write as _;

use super::{DEPTH_MAX, Forms, Result, SyntaxError};

impl Forms<'_> {
    /// Appends the next form to `json`.
    ///
    /// # Errors
    /// [`SyntaxError`], also at the end of the text.
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

    /// Reads a set: two sets of the same elements become the same array.
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

    /// Reads a form that begins with `#`: a set, a regular expression, a special number, or a tag, which is
    /// left out.
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

    /// Reads a string. Escapes that JSON has too are kept as they are.
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

    /// Reads the four digits after `\u`; half of a pair without the other becomes the unknown character.
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

    /// Reads a number, a keyword, a symbol, or one of the words for nil, true and false.
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
