//! A newcomer reads a report: of a real run that went wrong, and of a made-up one that tries to break out.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Test;
use crate::page::{Page, Scheme};
use crate::synthetic;
use duress_testing::{Missing, Need};

pub const TESTS: &[Test] = &[
    ("a_failing_run_is_clicked_through", clicked_through),
    ("the_timeline_is_walked_and_dragged", walked),
    ("a_history_without_a_run_is_read", history_alone),
    ("what_a_target_wrote_cannot_break_out", hostile),
    ("it_is_readable_light_and_dark_wide_and_narrow", readable),
];

/// Returns the report of a real run whose replicas answer stale reads.
fn failing_run() -> Result<(TempDir, PathBuf), Missing> {
    let folder = tempfile::Builder::new().prefix("duress-report-").tempdir().unwrap();
    let duress = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_duress"));
        command.args(words).current_dir(folder.path()).stdin(Stdio::null());
        command.output().unwrap()
    };
    let doctor = duress(&["doctor"]);
    if !doctor.status.success() {
        return Err(Missing::new(
            Need::Namespaces,
            "no cluster can be run here (see duress doctor)".to_owned(),
        ));
    }
    let words = [
        "run",
        "store",
        "--mode",
        "primary",
        "-o",
        "read=any",
        "--promise",
        "linearizable",
        "--faults",
        "partition",
        "--time-limit",
        "8",
        "--seed",
        "7",
    ];
    let ended = duress(&words);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("report.html"), "{said}");
    let report = folder.path().join("runs/latest/report.html");
    Ok((folder, report))
}

fn history_alone() -> Result<(), Missing> {
    let folder = tempfile::Builder::new().prefix("duress-history-").tempdir().unwrap();
    let mut history = String::new();
    for (client, call, op, value, output) in
        [(0, 0_u64, "put", "a", "{}"), (1, 10, "put", "b", "{}"), (2, 20, "get", "", r#"{"Value":"a"}"#)]
    {
        let (call, end) = (1_700_000_000_000 + call, 1_700_000_000_004 + call);
        let input = format!(r#"{{"Op":"{op}","Key":"x","Value":"{value}"}}"#);
        history += &format!(
            r#"{{"ClientId":{client},"Input":{input},"Call":{call}000000,"Output":{output},"Return":{end}000000}}"#
        );
        history.push('\n');
    }
    std::fs::write(folder.path().join("history.jsonl"), history).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_duress"));
    command.args(["check", "history.jsonl", "--report", "out.html"]).current_dir(folder.path());
    let ended = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    let mut page = Page::open(&folder.path().join("out.html"), 1280, Scheme::Light);
    for width in [1280, 390] {
        page.resize(width, Scheme::Light);
        let wider = page.ask("document.documentElement.scrollWidth > innerWidth");
        assert_eq!(wider, false, "it scrolls sideways at {width}");
        page.picture(&format!("history-{width}"));
    }
    assert_eq!(page.ask("document.querySelectorAll('svg.witness g.op').length"), 3);
    // The button leaves the keyboard on the timeline.
    page.ask("document.querySelector('[data-show=timeline]').click()");
    page.press(".");
    page.until("document.querySelector('#operation h4') !== null");
    let told = page.text("document.querySelector('#operation').innerText");
    assert!(told.contains("by process") && told.contains("of the history"), "{told}");
    page.assert_quiet();
    Ok(())
}

fn clicked_through() -> Result<(), Missing> {
    let (_folder, report) = failing_run()?;
    let mut page = Page::open(&report, 1280, Scheme::Light);

    // The anomaly, its time and node, the fault, and the command for running it again.
    let head = page.text("document.querySelector('h1').innerText");
    assert!(head.starts_with("INVALID"), "{head}");
    let facts = page.text("document.querySelector('#what').innerText");
    for wanted in ["The promise", "on node n", "after the clients began", "duress replay runs/"] {
        assert!(facts.contains(wanted), "{wanted:?} is not in {facts}");
    }

    // A step lights up its bars, and a bar its steps, by mouse and by keyboard.
    let step = page.middle("#anomaly-1 .steps li");
    page.mouse("mouseMoved", step, false);
    page.until("document.querySelectorAll('#anomaly-1 .op.lit').length > 0");
    assert_eq!(page.number("document.querySelectorAll('#anomaly-1 .op.contradicts').length"), 1.0);
    page.mouse("mouseMoved", (2.0, 2.0), false);
    page.until("document.querySelectorAll('.lit').length === 0");
    page.ask("document.querySelector('#anomaly-1 .op.contradicts').focus()");
    page.until("document.querySelectorAll('#anomaly-1 .steps li.lit').length > 0");

    // The anomaly with some room around it, which may be the whole run.
    page.click("#anomaly-1 [data-show=timeline]");
    page.until("document.activeElement.id === 'timeline-view'");
    page.until(
        "(() => { const view = document.getElementById('timeline-view').dataset;
         const of = document.querySelector('#anomaly-1 [data-show=timeline]').dataset;
         const [from, to] = [Number(of.from), Number(of.to)];
         const room = Math.max(2000, (to - from) * 0.25) + 1;
         return Number(view.from) <= from + 1 && Number(view.to) >= to - 1
             && Number(view.to) - Number(view.from) <= to - from + 2 * room; })()",
    );
    logs(&mut page);

    assert_eq!(page.number("document.querySelectorAll('.chart canvas').length"), 2.0);
    let left_out = page.text("document.querySelector('#coverage').innerText");
    assert!(left_out.contains("kill") && left_out.contains("clock"), "{left_out}");
    page.assert_quiet();
    Ok(())
}

/// The timeline of a made-up run, so that as many operations are around its anomaly on a fast machine as on a slow one.
fn walked() -> Result<(), Missing> {
    let folder = tempfile::Builder::new().prefix("duress-timeline-").tempdir().unwrap();
    synthetic::run(folder.path(), 20_000);
    let mut page = Page::open(&folder.path().join("report.html"), 1280, Scheme::Light);
    timeline(&mut page);
    page.assert_quiet();
    Ok(())
}

fn timeline(page: &mut Page) {
    const VIEW: &str = "document.getElementById('timeline-view').dataset";
    page.click("#anomaly-1 [data-show=timeline]");
    page.until(&format!("{VIEW}.level === 'operations'"));
    let near = page.number(&format!("{VIEW}.to - {VIEW}.from"));
    assert!(near < page.number("report.data.lasted") / 2.0, "{near}");
    // The keyboard is there already.
    page.press(".");
    page.until("document.querySelector('#operation h4') !== null");
    let told = page.text("document.querySelector('#operation').innerText");
    assert!(told.contains("by process") && told.contains("of the history"), "{told}");
    // And by mouse, where the widest one is drawn: on a canvas that may be higher than the window, and of a bar
    // that may reach beyond the canvas.
    page.ask("document.querySelector('#operation').replaceChildren()");
    let place = page.ask(
        "(() => { const canvas = document.getElementById('timeline-canvas');
         const bar = report.timeline.bars().reduce((a, b) => (b.w > a.w ? b : a));
         const height = bar.y + bar.h / 2;
         scrollBy({top: canvas.getBoundingClientRect().top + height - innerHeight / 2, behavior: 'instant'});
         const r = canvas.getBoundingClientRect();
         const x = (Math.max(0, bar.x) + Math.min(r.width, bar.x + bar.w)) / 2;
         return [r.left + x, r.top + height]; })()",
    );
    page.click_at((place[0].as_f64().unwrap(), place[1].as_f64().unwrap()));
    page.until("document.querySelector('#operation h4') !== null");
    page.ask("document.getElementById('timeline-view').focus()");
    page.press("0");
    page.until(&format!("{VIEW}.from === '0' && Number({VIEW}.to) >= report.data.lasted"));
    page.press("+");
    let half = format!("Number({VIEW}.to) - Number({VIEW}.from) < 0.6 * report.data.lasted");
    page.until(&half);
    // A drag to the left shows later operations.
    let before = page.number(&format!("Number({VIEW}.from)"));
    let (x, y) = page.middle("#timeline-canvas");
    page.mouse("mousePressed", (x, y), true);
    page.mouse("mouseMoved", (x - 100.0, y), true);
    page.mouse("mouseReleased", (x - 100.0, y), false);
    page.until(&format!("Number({VIEW}.from) > {before}"));
    page.click("[data-timeline=whole]");
    page.until(&format!("{VIEW}.from === '0'"));
}

fn logs(page: &mut Page) {
    const ROWS: &str = "[...document.querySelectorAll('#lines-list tr')]";
    page.click("#anomaly-1 [data-show=surroundings]");
    page.until(&format!("{ROWS}.length > 0"));
    let all = page.text("document.getElementById('lines-found').innerText");
    page.click("#search-reset");
    page.until(&format!("document.getElementById('lines-found').innerText !== {all:?}"));
    // Packets out, then words in: only lines of logs and faults that have them are left.
    page.click("#search [value=packet]");
    page.until(&format!("!{ROWS}.some((row) => row.className === 'packet')"));
    page.click("#search [name=text]");
    page.type_text("partition");
    page.until(&format!(
        "{ROWS}.length > 0 && {ROWS}.every((row) => row.innerText.toLowerCase().includes('partition'))"
    ));
    page.until(&format!("{ROWS}.some((row) => row.className === 'nemesis')"));
    page.ask("(() => { const e = document.querySelector('#search [name=text]'); e.value = 'serving'; e.dispatchEvent(new Event('input', {bubbles: true})); })()");
    page.until(&format!("{ROWS}.some((row) => row.className === 'stderr')"));
    page.click("#search [name=node][value=n1]");
    page.until(&format!("!{ROWS}.some((row) => row.children[1].innerText === 'n1')"));
}

fn hostile() -> Result<(), Missing> {
    let folder = tempfile::Builder::new().prefix("duress-hostile-").tempdir().unwrap();
    synthetic::run(folder.path(), 20_000);
    let mut page = Page::open(&folder.path().join("report.html"), 1280, Scheme::Dark);
    assert_eq!(page.ask("window.broken ?? null"), serde_json::Value::Null);
    // The hostile text is there to be read.
    let escaped = serde_json::to_string(synthetic::HOSTILE).unwrap();
    page.ask("document.getElementById('search-reset').click()");
    page.until(&format!("document.querySelector('#lines-list').innerText.includes({escaped})"));
    assert_eq!(page.ask(&format!("document.querySelector('#witness').innerText.includes({escaped})")), true);
    page.assert_quiet();
    Ok(())
}

fn readable() -> Result<(), Missing> {
    let (_folder, report) = failing_run()?;
    for (name, width, scheme) in [
        ("wide-light", 1280, Scheme::Light),
        ("wide-dark", 1280, Scheme::Dark),
        ("narrow-light", 390, Scheme::Light),
        ("narrow-dark", 390, Scheme::Dark),
    ] {
        let mut page = Page::open(&report, width, scheme);
        // Only elements that scroll by themselves are wider than the page.
        let over = page.number("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert!(over <= 0.0, "{name} is {over} pixels too wide");
        for (front, back, least) in [
            ("text", "bg", 7.0),
            ("muted", "bg", 4.5),
            ("muted", "soft", 4.5),
            ("accent", "bg", 4.5),
            ("bad", "bg", 4.5),
            ("on", "bad", 4.5),
            ("on", "valid", 4.5),
            ("on", "unknown", 4.5),
            ("on", "broken", 4.5),
            ("ok", "bg", 3.0),
            ("info", "bg", 3.0),
            ("fault", "bg", 3.0),
            ("fail", "bg", 3.0),
        ] {
            let contrast = page.number(&format!("({CONTRAST})({front:?}, {back:?})"));
            assert!(contrast >= least, "{name}: {front} on {back} has a contrast of {contrast:.2}");
        }
        // Every drawn or clickable element has a name.
        let nameless = "[...document.querySelectorAll('svg[role], [role=img], button, input, select, [tabindex]')].filter((e) =>
            !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label') || e.labels?.length)).map((e) => e.outerHTML.slice(0, 80))";
        assert_eq!(page.ask(nameless), serde_json::json!([]), "{name}");
        page.picture(name);
        page.assert_quiet();
    }
    Ok(())
}

/// The contrast of two of the page's colours, as the Web Content Accessibility Guidelines define it.
const CONTRAST: &str = "(front, back) => {
    const light = (name) => {
        const hex = report.colour(name).slice(1);
        const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}";
