//! The place of a value in an answer: a JSON pointer, or the words before it.

use serde_json::Value;

/// Returns the value at `place` of `text`: a place that begins with a slash is a JSON pointer, any other is the beginning of
/// the line, or the words in it, after which the value follows up to the next space.
pub(super) fn find(text: &str, place: &str) -> Option<Value> {
    if place.starts_with('/') {
        let value: Value = serde_json::from_str(text).ok()?;
        return value.pointer(place).cloned();
    }
    let (_, after) = text.split_once(place)?;
    let word: String =
        after.trim_start_matches([' ', '\t']).chars().take_while(|letter| !letter.is_whitespace()).collect();
    (!word.is_empty()).then_some(Value::String(word))
}

/// Returns a value that is a word, whatever its type in JSON.
pub(super) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_pointer_or_by_the_words_before() {
        let found = |text: &str, place: &str| find(text, place).as_ref().and_then(word);
        assert_eq!(found(r#"{"raft":{"leader":"n2","term":7}}"#, "/raft/leader").as_deref(), Some("n2"));
        assert_eq!(found(r#"{"raft":{"leader":"n2","term":7}}"#, "/raft/term").as_deref(), Some("7"));
        assert_eq!(found(r#"{"leader":null}"#, "/leader"), None);
        assert_eq!(found("# Replication\r\nrole:master\r\nslaves:2", "role:").as_deref(), Some("master"));
        assert_eq!(found("Mode: leader\n", "Mode:").as_deref(), Some("leader"));
        assert_eq!(found("not JSON", "/leader"), None);
    }
}
