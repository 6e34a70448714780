//! Events as nearly every recorder writes them, read without a detour.
//!
//! These are maps of fields that are numbers, words without escapes, null, and vectors of those, in EDN or JSON, each field
//! once:
//!
//! ```text
//! {"index":7,"time":120345678,"process":3,"type":"ok","f":"cas","value":["x",[1,2]],"node":"n2"}
//! {:index 7, :time 120345678, :process 3, :type :ok, :f :cas, :value ["x" [1 2]]}
//! ```
//!
//! Everything else is left to [`forms`](super::forms), which reads these events too, and to the same result.

use std::str::from_utf8;

use crate::event::OpType;

/// So many digits fit into any of our numbers.
const DIGITS_MAX: usize = 18;

/// So deep vectors are followed.
const DEPTH_MAX: u32 = 8;

/// An event of a client, with its value as JSON in a text of its own.
pub(super) struct Quick<'a> {
    pub(super) index: Option<u64>,
    pub(super) time: Option<i64>,
    pub(super) process: u64,
    pub(super) op_type: OpType,
    pub(super) f: &'a str,
    pub(super) node: Option<&'a str>,
    /// How many bytes it takes.
    pub(super) bytes: usize,
}

/// The event that `text` begins with, if it is one of these; its value replaces what is in `json`, and is nothing where
/// it is null or missing.
pub(super) fn read<'a>(text: &'a str, json: &mut String) -> Option<Quick<'a>> {
    json.clear();
    let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
    cursor.expect(b'{')?;
    let (mut index, mut time, mut process, mut op_type) = (None, None, None, None);
    let (mut f, mut node, mut value, mut error) = (None, None, None, None);
    loop {
        cursor.space();
        if cursor.peek()? == b'}' {
            break;
        }
        let name = cursor.name()?;
        cursor.space();
        let known = match name {
            b"index" => index.replace(cursor.number()?).is_some(),
            b"time" => time.replace(cursor.signed()?).is_some(),
            b"process" => process.replace(cursor.number()?).is_some(),
            b"type" => {
                let word = match cursor.word()? {
                    b"invoke" => OpType::Invoke,
                    b"ok" => OpType::Ok,
                    b"fail" => OpType::Fail,
                    b"info" => OpType::Info,
                    _ => return None,
                };
                op_type.replace(word).is_some()
            }
            b"f" => f.replace(cursor.word()?).is_some(),
            b"node" if cursor.peek()? == b'"' => node.replace(cursor.word()?).is_some(),
            b"value" => value.replace(cursor.value(json, 0)?).is_some(),
            b"error" => error.replace(cursor.null()?).is_some(),
            _ => return None,
        };
        if known {
            return None;
        }
    }
    if json == "null" {
        json.clear();
    }
    Some(Quick {
        index,
        time,
        process: process?,
        op_type: op_type?,
        f: from_utf8(f?).ok()?,
        node: node.and_then(|node| from_utf8(node).ok()),
        bytes: cursor.at + 1,
    })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while let Some(b' ' | b',') = self.peek() {
            self.at += 1;
        }
    }

    /// Bytes up to the next one that is not `fit`.
    fn run(&mut self, fit: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !fit(*byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// The name of a field: `"name":` or `:name`.
    fn name(&mut self) -> Option<&'a [u8]> {
        let quoted = self.peek()? == b'"';
        let name = self.word()?;
        if quoted {
            self.expect(b':')?;
        }
        Some(name)
    }

    /// `"word"` or `:word`, of letters, digits, dashes and underlines.
    fn word(&mut self) -> Option<&'a [u8]> {
        let first = self.peek()?;
        self.at += 1;
        let word = self.run(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        match first {
            b'"' => self.expect(b'"')?,
            b':' => self.ends()?,
            _ => return None,
        }
        (!word.is_empty()).then_some(word)
    }

    /// Whether what was read ends here.
    fn ends(&self) -> Option<()> {
        matches!(self.peek()?, b' ' | b',' | b'}' | b']').then_some(())
    }

    fn digits(&mut self) -> Option<&'a [u8]> {
        let digits = self.run(|byte| byte.is_ascii_digit());
        self.ends()?;
        let plain = digits.len() == 1 || digits.first().is_some_and(|first| *first != b'0');
        (plain && digits.len() <= DIGITS_MAX).then_some(digits)
    }

    fn number(&mut self) -> Option<u64> {
        Some(self.digits()?.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    fn signed(&mut self) -> Option<i64> {
        let negative = self.expect(b'-').is_some();
        let number = i64::try_from(self.number()?).ok()?;
        Some(if negative { -number } else { number })
    }

    fn null(&mut self) -> Option<()> {
        let rest = &self.bytes[self.at..];
        self.at += if rest.starts_with(b"nil") {
            3
        } else if rest.starts_with(b"null") {
            4
        } else {
            return None;
        };
        self.ends()
    }

    /// Appends a value to `json`.
    fn value(&mut self, json: &mut String, depth: u32) -> Option<()> {
        match self.peek()? {
            b'0'..=b'9' => json.push_str(from_utf8(self.digits()?).ok()?),
            b'-' => {
                self.at += 1;
                json.push('-');
                json.push_str(from_utf8(self.digits()?).ok().filter(|digits| *digits != "0")?);
            }
            b'n' => {
                self.null()?;
                json.push_str("null");
            }
            b'"' | b':' => {
                let word = self.word()?;
                json.push('"');
                json.push_str(from_utf8(word).ok()?);
                json.push('"');
            }
            b'[' if depth < DEPTH_MAX => {
                self.at += 1;
                json.push('[');
                let mut first = true;
                loop {
                    self.space();
                    if self.peek()? == b']' {
                        break;
                    }
                    if !std::mem::take(&mut first) {
                        json.push(',');
                    }
                    self.value(json, depth + 1)?;
                }
                self.at += 1;
                json.push(']');
            }
            _ => return None,
        }
        Some(())
    }
}
