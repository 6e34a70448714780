//! Figures in words.

/// Formats nanoseconds as seconds with six digits, cut off and not rounded, as the checkers do.
#[must_use]
pub fn seconds(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
}

/// Nanoseconds as seconds with one digit.
#[must_use]
pub fn about(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `one` or `several`, with the number before it.
#[must_use]
pub fn count(number: usize, one: &str, several: &str) -> String {
    format!("{} {}", thousands(number as u64), if number == 1 { one } else { several })
}

/// `a, b and c`.
#[must_use]
pub fn list(words: &[String]) -> String {
    match words {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(seconds(3_664_720_888), "3.664720");
        assert_eq!(count(1, "fault", "faults"), "1 fault");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
