//! A fast path for events in the form that nearly every recorder writes.
//!
//! These are maps of fields that are numbers, words without escapes, null, and vectors of those, in EDN or
//! JSON, each field once:
//! ```text
//! {"index":7,"time":120345678,"process":3,"type":"ok","f":"cas","value":["x",[1,2]],"node":"n2"}
//! {:index 7, :time 120345678, :process 3, :type :ok, :f :cas, :value ["x" [1 2]]}
//! ```
//!
//! All other events are left to [`forms`](super::forms), which reads these events too, with the same result.

use crate::event::OpType;

/// So many digits fit into any of our numbers.
const DIGITS_MAX: usize = 18;

/// So deep vectors are followed.
const DEPTH_MAX: u32 = 8;

/// An event of a client, with its value as JSON in a string of its own.
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

/// Reads the event at the start of `text`, if it has this form, which takes no more than one line; its value replaces the
/// content of `json`, which is empty for a null or missing value.
pub(super) fn read<'a>(text: &'a str, json: &mut String) -> Option<Quick<'a>> {
    json.clear();
    let mut cursor = Cursor { text, bytes: text.as_bytes(), at: 0 };
    cursor.expect(b'{')?;
    let (mut index, mut time, mut process, mut op_type) = (None, None, None, None);
    let (mut f, mut node, mut value, mut error) = (None, None, None, None);
    loop {
        cursor.space();
        if cursor.peek()? == b'}' {
            break;
        }
        let field = cursor.name()?;
        cursor.space();
        let known = match field {
            Field::Index => index.replace(cursor.number()?).is_some(),
            Field::Time => time.replace(cursor.signed()?).is_some(),
            Field::Process => process.replace(cursor.number()?).is_some(),
            Field::Type => op_type.replace(cursor.op_type()?).is_some(),
            Field::F => f.replace(cursor.word()?).is_some(),
            Field::Node if cursor.peek()? == b'"' => node.replace(cursor.word()?).is_some(),
            Field::Value => value.replace(cursor.value(json, 0)?).is_some(),
            Field::Error => error.replace(cursor.null()?).is_some(),
            Field::Node => return None,
        };
        if known {
            return None;
        }
    }
    if json == "null" {
        json.clear();
    }
    Some(Quick { index, time, process: process?, op_type: op_type?, f: f?, node, bytes: cursor.at + 1 })
}

/// A field that an event of this form may have.
#[derive(Clone, Copy)]
enum Field {
    Index,
    Time,
    Process,
    Type,
    F,
    Value,
    Node,
    Error,
}

/// Whether a byte may be in a word: letters, digits, dashes and underlines.
const IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        byte += 1;
    }
    table
};

struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b',') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads the name of a field: `"name":` or `:name`.
    #[inline]
    fn name(&mut self) -> Option<Field> {
        // By patterns, which the compiler turns into a few comparisons.
        let (field, length) = match self.bytes.get(self.at + 1..)? {
            [b'i', b'n', b'd', b'e', b'x', ..] => (Field::Index, 5),
            [b't', b'i', b'm', b'e', ..] => (Field::Time, 4),
            [b'p', b'r', b'o', b'c', b'e', b's', b's', ..] => (Field::Process, 7),
            [b't', b'y', b'p', b'e', ..] => (Field::Type, 4),
            [b'f', ..] => (Field::F, 1),
            [b'v', b'a', b'l', b'u', b'e', ..] => (Field::Value, 5),
            [b'n', b'o', b'd', b'e', ..] => (Field::Node, 4),
            [b'e', b'r', b'r', b'o', b'r', ..] => (Field::Error, 5),
            _ => return None,
        };
        if self.closes(length)? == b'"' {
            self.expect(b':')?;
        }
        Some(field)
    }

    /// Reads the type of an event: `"word"` or `:word`.
    #[inline]
    fn op_type(&mut self) -> Option<OpType> {
        let (op_type, length) = match self.bytes.get(self.at + 1..)? {
            [b'i', b'n', b'v', b'o', b'k', b'e', ..] => (OpType::Invoke, 6),
            [b'o', b'k', ..] => (OpType::Ok, 2),
            [b'f', b'a', b'i', b'l', ..] => (OpType::Fail, 4),
            [b'i', b'n', b'f', b'o', ..] => (OpType::Info, 4),
            _ => return None,
        };
        self.closes(length)?;
        Some(op_type)
    }

    /// Steps over a word of `length` bytes, if it ends there; returns the byte that begins it.
    #[inline]
    fn closes(&mut self, length: usize) -> Option<u8> {
        let first = self.peek()?;
        self.at += 1 + length;
        match first {
            b'"' => self.expect(b'"')?,
            b':' => self.ends()?,
            _ => return None,
        }
        Some(first)
    }

    /// Reads a word: `"word"` or `:word`.
    #[inline]
    fn word(&mut self) -> Option<&'a str> {
        let begin = self.at + 1;
        let mut end = begin;
        while self.bytes.get(end).is_some_and(|byte| IN_WORD[usize::from(*byte)]) {
            end += 1;
        }
        self.closes(end - begin)?;
        self.text.get(begin..end).filter(|word| !word.is_empty())
    }

    /// Whether the form ends here.
    #[inline]
    fn ends(&self) -> Option<()> {
        matches!(self.peek()?, b' ' | b',' | b'}' | b']').then_some(())
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (begin, mut number) = (self.at, 0_u64);
        while let Some(digit) = self.peek().map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            // Too many digits are refused below.
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        self.ends()?;
        let digits = self.at - begin;
        let plain = digits == 1 || digits > 1 && self.bytes[begin] != b'0';
        (plain && digits <= DIGITS_MAX).then_some(number)
    }

    #[inline]
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
        let begin = self.at;
        match self.peek()? {
            b'0'..=b'9' => {
                self.number()?;
                json.push_str(self.text.get(begin..self.at)?);
            }
            b'-' => {
                self.at += 1;
                // A zero has no sign.
                self.number().filter(|number| *number != 0)?;
                json.push_str(self.text.get(begin..self.at)?);
            }
            b'n' => {
                self.null()?;
                json.push_str("null");
            }
            b'"' | b':' => {
                let word = self.word()?;
                json.push('"');
                json.push_str(word);
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
