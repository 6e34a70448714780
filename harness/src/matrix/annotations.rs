//! Annotations of GitHub Actions: a line of output for each failed cell, which is shown at that cell's line of the file.

use super::results::MatrixResults;

/// Cells beyond so many are not annotated: GitHub shows ten annotations of each kind for a step.
const ANNOTATED: usize = 10;

/// Returns the lines of `results`; empty if no cell failed.
#[must_use]
pub fn annotations(results: &MatrixResults) -> String {
    let failed = results.cells.iter().filter(|cell| cell.outcome.failed()).take(ANNOTATED);
    let file = property(&results.matrix.display().to_string());
    let line = |cell: &super::results::CellResult| {
        let title = property(&format!("{}: {}", cell.name, cell.outcome.words()));
        format!("::error file={file},line={},title={title}::{}\n", cell.line, data(&cell.message))
    };
    failed.map(line).collect()
}

/// Escapes a message, as GitHub's own toolkit does.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
