//! The words that all witnesses are told in: labels of operations, and times.

/// What the `at`th operation of a witness is called: `A`, `B`, … `Z`, `A1`, `B1`, …
pub(crate) fn label(at: usize) -> String {
    let letter = char::from(b'A' + (at % 26) as u8);
    if at < 26 { letter.to_string() } else { format!("{letter}{}", at / 26) }
}

/// Nanoseconds as seconds, to the microsecond where the millisecond does not tell.
pub(crate) fn seconds(time: u64) -> String {
    format!("{}.{:06} s", time / 1_000_000_000, time % 1_000_000_000 / 1_000)
}
