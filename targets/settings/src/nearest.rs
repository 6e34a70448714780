//! The accepted word nearest to a mistyped one.

/// Returns the word of `accepted` that `given` was probably meant to be, if one is near enough.
///
/// Near enough is an edit distance (insertions, deletions, substitutions) of at most a third of the longer word, rounded
/// up. The earlier word wins a tie.
#[must_use]
pub fn nearest<'a, W: AsRef<str>>(given: &str, accepted: &'a [W]) -> Option<&'a str> {
    let (distance, word) = accepted
        .iter()
        .map(|word| (edit_distance(given, word.as_ref()), word.as_ref()))
        .min_by_key(|(distance, _)| *distance)?;
    let longer = given.chars().count().max(word.chars().count());
    (distance <= longer.div_ceil(3)).then_some(word)
}

/// Returns ` (did you mean "raft"?)`, or an empty string.
#[must_use]
pub fn hint(nearest: Option<&str>) -> String {
    nearest.map(|word| format!(" (did you mean \"{word}\"?)")).unwrap_or_default()
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, have) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, want) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(have != *want);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (from, to, distance) in
            [("", "", 0), ("", "raft", 4), ("raft", "", 4), ("kitten", "sitting", 3), ("raft", "rfat", 2)]
        {
            assert_eq!(edit_distance(from, to), distance, "{from} → {to}");
        }
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let modes = ["raft", "primary"];
        assert_eq!(nearest("rft", &modes), Some("raft"));
        assert_eq!(nearest("primry", &modes), Some("primary"));
        assert_eq!(nearest("quorum", &modes), None);
        assert_eq!(nearest::<&str>("raft", &[]), None);
    }
}
