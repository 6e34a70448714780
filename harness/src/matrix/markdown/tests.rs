use super::super::annotations::annotations;
use super::super::bank::BugRecord;
use super::super::cell::Published;
use super::super::detection::Detections;
use super::super::junit::junit;
use super::super::results::FORMAT;
use super::*;
use crate::trial::Proportion;

/// Text with everything in it that a format could take for its own.
const HOSTILE: &str = "a|b `c` *d* <e> & \"f\" [g](h) ]]> \\| \u{1} ü\nnext";

fn cell(name: &str, outcome: Outcome, message: &str) -> CellResult {
    CellResult {
        name: name.to_owned(),
        target: "store".to_owned(),
        line: 3,
        expected: "valid".to_owned(),
        outcome,
        message: message.to_owned(),
        seconds: 12.5,
        command: "duress run store --seed 1".to_owned(),
        runs: Vec::new(),
        bug: None,
        published: None,
        change: None,
    }
}

fn results() -> MatrixResults {
    let mut bug = cell("store/fsync-skipped", Outcome::MissingAnomaly, "found in 1/4 trials");
    let detection = Proportion { found: 1, of: 4 };
    bug.bug = Some(BugRecord {
        target: "store".to_owned(),
        bug: "fsync-skipped".to_owned(),
        detection,
        detection_interval: detection.wilson(),
        time: Detections::new([Some(2.0), None, None, None], 30.0),
        median_s: None,
        false_alarms: Proportion { found: 0, of: 4 },
        without_faults: Some(Proportion { found: 0, of: 3 }),
        inconclusive: 0,
        anomalies: vec!["lost-write".to_owned()],
    });
    bug.change = Some("power | is lost".to_owned());
    bug.published = Some(Published { what: HOSTILE.to_owned(), source: "https://example.org/1".to_owned() });
    let cells = Outcome::WORST_FIRST.iter().map(|outcome| cell(outcome.words(), *outcome, HOSTILE));
    MatrixResults {
        format: FORMAT,
        matrix: "ci/m.toml".into(),
        program: "0.1.0".to_owned(),
        machine: "x86_64-2-cores".to_owned(),
        began: "2026-01-01T00:00:00Z".to_owned(),
        seconds: 80.0,
        shard: None,
        exit: 1,
        cells: cells.chain([bug]).collect(),
    }
}

/// Returns the cells of a row of a table, as a reader of Markdown takes it apart.
fn fields(row: &str) -> Vec<String> {
    let inner = row.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')).unwrap();
    let mut fields = vec![String::new()];
    let mut escaping = false;
    for c in inner.chars() {
        match (escaping, c) {
            (false, '\\') => escaping = true,
            (false, '|') => fields.push(String::new()),
            _ => {
                escaping = false;
                fields.last_mut().unwrap().push(c);
            }
        }
    }
    fields.iter().map(|field| field.trim().to_owned()).collect()
}

#[test]
fn every_row_has_the_columns_of_its_table_whatever_is_in_it() {
    let text = markdown(&results());
    let mut columns = None;
    let mut rows = 0;
    for line in text.lines() {
        match (line.starts_with('|'), columns) {
            (false, _) => columns = None,
            (true, None) => columns = Some(fields(line).len()),
            (true, Some(columns)) => {
                assert_eq!(fields(line).len(), columns, "{line}");
                rows += 1;
            }
        }
    }
    // A row of dashes for either table, eight cells, one bug.
    assert_eq!(rows, 2 + 8 + 1, "{text}");
    let row = text.lines().find(|line| line.contains("passed |")).unwrap();
    assert_eq!(fields(row)[3], HOSTILE.replace('\n', " "), "what is read is what was written");
}

#[test]
fn what_failed_is_told_first_with_the_command_that_runs_it_again() {
    let text = markdown(&results());
    let first = text.find("**unexpected anomaly: unexpected anomaly**").unwrap();
    let table = text.find("| | cell |").unwrap();
    assert!(first < table, "{text}");
    assert_eq!(
        text.matches("- again: `duress run store --seed 1`").count(),
        7,
        "six outcomes and a bug: {text}"
    );
    assert!(text.contains("1/4 (25 %, 5 to 70 %)") && text.contains("over 30 s"), "{text}");
}

#[test]
fn code_holds_backticks() {
    assert_eq!(code("a b"), "`a b`");
    assert_eq!(code("a ``b`"), "``` a ``b` ```");
}

/// Returns the elements of an XML text: their names and attributes, opening and closing ones alike; fails
/// where it is not well formed as far as this looks.
fn elements(xml: &str) -> Vec<(String, String)> {
    let mut open: Vec<String> = Vec::new();
    let mut elements = Vec::new();
    for part in xml.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("a tag without an end: {part}"));
        assert!(!text.contains('>') || text.contains("&gt;"), "{text}");
        let ampersands = part.split('&').skip(1);
        for entity in ampersands {
            let name = entity.split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot", "apos"].contains(&name) || name.starts_with('#'), "&{name}");
        }
        if tag.starts_with('?') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "what was opened last is closed first");
            continue;
        }
        let inner = tag.trim_end_matches('/');
        let (name, attributes) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
        elements.push((name.to_owned(), attributes.to_owned()));
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    elements
}

/// Returns the value of an attribute, as it is written.
fn attribute<'a>(attributes: &'a str, name: &str) -> &'a str {
    let after =
        attributes.split(&format!("{name}=\"")).nth(1).unwrap_or_else(|| panic!("no {name} in {attributes}"));
    after.split('"').next().unwrap()
}

/// The shape that the schema of the Jenkins plug-in asks for, which other systems read as well.
#[test]
fn junit_has_the_shape_that_ci_systems_read() {
    let results = results();
    let xml = junit(&results).unwrap();
    let elements = elements(&xml);
    let all = |name: &str| elements.iter().filter(|(have, _)| have == name).collect::<Vec<_>>();
    let names: std::collections::BTreeSet<&str> = elements.iter().map(|(name, _)| name.as_str()).collect();
    let known = [
        "error",
        "failure",
        "properties",
        "property",
        "skipped",
        "system-out",
        "testcase",
        "testsuite",
        "testsuites",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), known);
    let [(_, suites)] = all("testsuites")[..] else { panic!("{xml}") };
    let [(_, suite)] = all("testsuite")[..] else { panic!("one target, one suite: {xml}") };
    for of in [suites, suite] {
        assert_eq!(attribute(of, "tests"), "9");
        // An anomaly too many, one too few, and the bug that is found too seldom.
        assert_eq!(attribute(of, "failures"), "3");
        assert_eq!(attribute(of, "errors"), "4", "error, broken, unknown, not run");
    }
    assert_eq!(all("skipped").len(), 1);
    let mut names: Vec<&str> = all("testcase").iter().map(|(_, case)| attribute(case, "name")).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 9);
    for (_, case) in all("testcase") {
        assert_eq!(attribute(case, "classname"), "store");
        assert!(attribute(case, "time").parse::<f64>().is_ok(), "{case}");
    }
    for (_, failure) in all("failure").into_iter().chain(all("error")) {
        assert!(!attribute(failure, "message").is_empty() && !attribute(failure, "type").is_empty());
    }
    assert!(!xml.contains('\u{1}'), "a character that XML cannot hold");
}

#[test]
fn failed_cells_are_annotated_at_their_lines() {
    let mut results = results();
    results.matrix = "ci/a,b:c.toml".into();
    let text = annotations(&results);
    let failed = results.cells.iter().filter(|cell| cell.outcome.failed()).count();
    assert_eq!(text.lines().count(), failed, "{text}");
    for line in text.lines() {
        assert!(line.starts_with("::error file=ci/a%2Cb%3Ac.toml,line=3,title="), "{line}");
    }
    assert!(text.contains("ü%0Anext"), "{text}");
}
