//! Messages of Maelstrom's protocol: one JSON object a line, `{"src": …, "dest": …, "body": {"type": …, …}}`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::outcome::{CauseKind, RequestError};

/// A message between nodes, clients and services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Message {
    /// The sender.
    pub(super) src: String,
    /// The receiver.
    pub(super) dest: String,
    /// Its type, its number, the number of the request that it replies to, and its arguments.
    pub(super) body: Body,
}

/// The body of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Body {
    /// The request, or the request's name with `_ok`, or `error`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The number of a request, unique to its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) msg_id: Option<u64>,
    /// The number of the request that this replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_reply_to: Option<u64>,
    /// The arguments.
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

impl Body {
    /// Returns a request, or a reply, with these arguments.
    pub(super) fn new(
        kind: impl Into<String>,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { kind: kind.into(), fields, ..Self::default() }
    }

    /// Returns an error of Maelstrom's catalogue.
    pub(super) fn error(code: u64, text: &str) -> Self {
        Self::new("error", [("code", code.into()), ("text", text.into())])
    }

    /// Returns an argument; null if it is missing.
    pub(super) fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    /// Returns the code of an error.
    pub(super) fn code(&self) -> Option<u64> {
        (self.kind == "error").then(|| self.field("code").as_u64().unwrap_or(CRASH))
    }
}

impl Message {
    /// Parses a line.
    ///
    /// # Errors
    /// When it is not such an object.
    pub(super) fn parse(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// Returns it as a line, with its end.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a JSON value can be written");
        line.push(b'\n');
        line
    }
}

/// The code of "key does not exist".
pub(super) const NO_KEY: u64 = 20;
/// The code of "the comparison of a compare-and-set failed".
pub(super) const DIFFERS: u64 = 22;
/// The code of "the operation is not supported".
pub(super) const UNSUPPORTED: u64 = 10;
/// The code of "crashed": it may have happened.
const CRASH: u64 = 13;

/// Returns the meaning of an error reply. By the protocol, these codes are definite; every other leaves the outcome open.
pub(super) fn failure(body: &Body) -> RequestError {
    let code = body.code().unwrap_or(CRASH);
    let text = format!("error {code}: {}", body.field("text").as_str().unwrap_or_default());
    match code {
        1 | UNSUPPORTED | 11 | 12 | 14 | NO_KEY | 21 => RequestError::definite(CauseKind::Rejected, text),
        DIFFERS | 30 => RequestError::definite(CauseKind::Precondition, text),
        _ => RequestError::open(CauseKind::Unknown, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Reach;

    #[test]
    fn a_message_is_a_line_of_json() {
        let line = br#"{"id":7,"src":"c1","dest":"n1","body":{"type":"read","msg_id":3,"key":5}}"#;
        let message = Message::parse(line).unwrap();
        assert_eq!((message.src.as_str(), message.dest.as_str()), ("c1", "n1"));
        assert_eq!((message.body.msg_id, message.body.in_reply_to), (Some(3), None));
        assert_eq!(message.body.field("key"), 5);
        let written = String::from_utf8(message.line()).unwrap();
        assert_eq!(
            written,
            "{\"src\":\"c1\",\"dest\":\"n1\",\"body\":{\"type\":\"read\",\"msg_id\":3,\"key\":5}}\n"
        );
    }

    #[test]
    fn only_the_codes_of_the_catalogue_that_are_definite_are() {
        for code in [1, 10, 11, 12, 14, 20, 21, 22, 30] {
            assert_eq!(failure(&Body::error(code, "no")).reach, Reach::Nothing, "{code}");
        }
        for code in [0, 13, 31, 1000] {
            assert_eq!(failure(&Body::error(code, "perhaps")).reach, Reach::Unknown, "{code}");
        }
        assert_eq!(failure(&Body::new("error", [])).reach, Reach::Unknown, "an error without a code");
    }
}
