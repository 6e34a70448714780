//! Text from elsewhere within Markdown: it stays text.

/// Returns `text` escaped: no character of it is markup, and it stays in its line and in its cell of a table.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Any punctuation of ASCII may be escaped so; these are those that mean something within a line.
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '!'
            | '@' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\r' | '\n' | '\t' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns `text` as code within a line, set off by more backticks than it has in a row.
#[must_use]
pub fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let ticks = "`".repeat(longest + 1);
    let text = text.replace(['\r', '\n'], " ");
    // A space on either side is not shown, and keeps a backtick at the end apart.
    if longest == 0 { format!("{ticks}{text}{ticks}") } else { format!("{ticks} {text} {ticks}") }
}
