//! The lesson: what it measured is on its page, and so is what it did not.

use std::fs;

use crate::Test;
use crate::stage::{PATIENCE, Stage};

pub const TESTS: &[Test] =
    &[("a_lesson_says_what_it_measured_and_what_not", a_lesson_says_what_it_measured_and_what_not)];

fn a_lesson_says_what_it_measured_and_what_not() {
    let stage = Stage::set();
    // Time for the first run, which begins at once.
    let run = stage.run("lesson sharding --budget 1s --seed 1 --markdown lesson.md", PATIENCE).exits(5);
    let page = fs::read_to_string(stage.path().join("lesson.md")).unwrap();
    assert_eq!(page, run.stdout);
    let statement =
        |words: &str| page.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{run}"));
    assert!(statement("- Keys that stay: ").ends_with("promised linearizable: kept."), "{run}");
    assert!(statement("- Keys that move: not measured").contains("the budget was used up"), "{run}");
    assert!(
        page.contains(
            "  `duress run store --mode sharded --nodes 3 --faults none --time-limit 4000ms --seed 1`"
        ),
        "{run}"
    );
    let html = fs::read_to_string(stage.path().join("runs/lesson-sharding/lesson.html")).unwrap();
    assert!(html.contains("promised linearizable: kept.") && html.contains("<svg"), "{html}");
    let record = stage.path().join("runs/lesson-sharding/01");
    assert!(record.is_dir(), "the run is kept: {run}");
    stage.assert_vanished();
}
