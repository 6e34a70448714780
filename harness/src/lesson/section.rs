//! The results of a topic: statements, tables and charts.

/// The results of one topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// The statements, in order.
    pub statements: Vec<Statement>,
    /// The charts.
    pub charts: Vec<Chart>,
    /// The tables.
    pub tables: Vec<Table>,
}

/// One sentence, with its number and the command that repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The sentence.
    pub text: String,
    /// The commands, of which each is a run; none if it was computed.
    pub commands: Vec<String>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The meaning of its rows and columns.
    pub caption: String,
    /// The columns' heads.
    pub head: Vec<String>,
    /// The rows, with as many cells as there are heads.
    pub rows: Vec<Vec<String>>,
}

/// A chart: for each category one value of each series.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Its title.
    pub caption: String,
    /// The label of the horizontal axis.
    pub across: String,
    /// The label of the vertical axis, with the unit.
    pub up: String,
    /// The categories.
    pub categories: Vec<String>,
    /// The series.
    pub series: Vec<Series>,
}

/// One series of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Whether theory predicts it; otherwise it was measured.
    pub predicted: bool,
    /// A value for each category, if there is one.
    pub values: Vec<Option<f64>>,
}

impl Statement {
    /// A statement about `runs`.
    #[must_use]
    pub fn of<'a>(text: String, runs: impl IntoIterator<Item = &'a super::experiment::Measured>) -> Self {
        Self { text, commands: runs.into_iter().map(|run| run.command.clone()).collect() }
    }
}

/// Returns `text` with a capital at its beginning, as a sentence begins.
#[must_use]
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl Chart {
    /// Returns its values as a table, a row for each category.
    #[must_use]
    pub fn table(&self) -> Table {
        let head = std::iter::once(self.across.clone());
        let series = self.series.iter().map(|series| match series.predicted {
            true => format!("{} (predicted)", series.name),
            false => series.name.clone(),
        });
        let row = |at: usize| {
            let value = |series: &Series| match series.values.get(at).copied().flatten() {
                Some(value) => format!("{value:.1}"),
                None => "–".to_owned(),
            };
            std::iter::once(self.categories[at].clone()).chain(self.series.iter().map(value)).collect()
        };
        Table {
            caption: format!("{}: {}", self.caption, self.up),
            head: head.chain(series).collect(),
            rows: (0..self.categories.len()).map(row).collect(),
        }
    }
}
