//! Numbers and strings packed for a page: variable-length integers, deflated, in base64.
//!
//! A browser unpacks them with `atob` and `DecompressionStream("deflate")`.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

/// Deflates `bytes` and writes them in base64.
#[must_use]
pub fn deflated(bytes: &[u8]) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    // Writing to memory cannot fail.
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default();
    STANDARD.encode(packed)
}

/// Returns a value as JSON that is safe in a script element: nothing in it can end the element or begin a
/// comment.
#[must_use]
pub fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("a page's data has only keys that are text");
    // In JSON these occur only within strings, where an escape means the same.
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A growing column of unsigned integers, seven bits a byte, the lowest first (LEB128).
#[derive(Clone, Debug, Default)]
pub struct Column {
    bytes: Vec<u8>,
}

impl Column {
    /// Adds `value`.
    pub fn push(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Returns the column, packed.
    #[must_use]
    pub fn packed(&self) -> String {
        deflated(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;

    use super::*;

    #[test]
    fn columns_unpack_to_what_was_packed() {
        let values = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut column = Column::default();
        for value in values {
            column.push(value);
        }
        let packed = STANDARD.decode(column.packed()).expect("base64");
        let mut bytes = Vec::new();
        ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("deflated");
        let mut unpacked = vec![];
        let (mut value, mut shift) = (0_u64, 0);
        for byte in bytes {
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                unpacked.push(value);
                (value, shift) = (0, 0);
            }
        }
        assert_eq!(unpacked, values);
    }

    #[test]
    fn hostile_text_cannot_leave_its_element() {
        let hostile = "</script><script>alert(1)</script><!-- & ]]>\u{2028}";
        let text = json(&hostile);
        assert!(!text.contains(['<', '>', '&']), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).expect("JSON"), hostile);
    }
}
