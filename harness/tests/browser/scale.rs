//! The report of a large run: small enough, quickly open, and smooth.

use std::fs;
use std::time::Instant;

use crate::Test;
use crate::page::{Page, Scheme};
use crate::synthetic;
use duress_testing::Missing;

pub const TESTS: &[Test] = &[("a_large_run_opens_quickly_and_pans_smoothly", large)];

/// How many operations: a million takes an unoptimized recorder too long, unless `DURESS_OPERATIONS` asks for it.
const OPERATIONS: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// The largest report, in bytes.
const BYTES_MAX: u64 = 25_000_000;
/// The longest time until every operation can be looked at, in milliseconds.
const OPENS_MS: f64 = 3_000.0;
/// The longest that half of the frames may take while the timeline is dragged, in milliseconds: thirty a second, in a
/// browser without a graphics card.
const MEDIAN_MS: f64 = 34.0;
/// The longest that 95 of 100 may take, on a machine that others use too.
const SLOW_MS: f64 = 250.0;

fn large() -> Result<(), Missing> {
    let folder = tempfile::Builder::new().prefix("duress-large-").tempdir().unwrap();
    let asked = std::env::var("DURESS_OPERATIONS").ok().and_then(|number| number.parse().ok());
    let operations: u64 = asked.unwrap_or(OPERATIONS);
    let began = Instant::now();
    synthetic::run(folder.path(), operations);
    let report = folder.path().join("report.html");
    let size = fs::metadata(&report).unwrap().len();
    println!(
        "{operations} operations: made in {:.1} s, report.html has {size} bytes",
        began.elapsed().as_secs_f64()
    );
    assert!(size < BYTES_MAX, "{size} bytes");

    let mut page = Page::open(&report, 1280, Scheme::Light);
    assert_eq!(page.text("document.documentElement.dataset.operations"), operations.to_string());
    let mark = |page: &mut Page, name: &str| {
        page.number(&format!("performance.getEntriesByName('{name}')[0].startTime"))
    };
    let (tiles, unpacked) = (mark(&mut page, "tiles"), mark(&mut page, "operations"));
    println!("drawn from afar after {tiles:.0} ms, every operation unpacked after {unpacked:.0} ms");
    assert!(unpacked < OPENS_MS, "{unpacked:.0} ms");
    page.picture("large-whole");

    // Far away, at the least that is counted from the operations themselves, and among single ones.
    for (name, share) in [("tiles", 0.8), ("bins", 0.07), ("operations", 0.0005)] {
        page.ask(&format!("(() => {{ const all = report.data.lasted; report.timeline.set(all * 0.4, all * (0.4 + {share})); }})()"));
        page.until(&format!("document.getElementById('timeline-view').dataset.level === '{name}'"));
        let frames = drag(&mut page);
        let (median, slow) = (frames[frames.len() / 2], frames[frames.len() * 95 / 100]);
        println!(
            "{name}: {} frames of a drag, median {median:.1} ms, 95 % within {slow:.1} ms",
            frames.len()
        );
        assert!(median < MEDIAN_MS && slow < SLOW_MS, "{name}: {frames:?}");
    }
    page.picture("large-near");
    page.assert_quiet();
    Ok(())
}

/// Drags the timeline to and fro; answers how long each frame took, sorted, in milliseconds.
fn drag(page: &mut Page) -> Vec<f64> {
    let (x, y) = page.middle("#timeline-canvas");
    page.ask(
        "(() => { window.frames_seen = []; let last = performance.now();
         const frame = (now) => { frames_seen.push(now - last); last = now; window.frame_loop = requestAnimationFrame(frame); };
         window.frame_loop = requestAnimationFrame((now) => { last = now; window.frame_loop = requestAnimationFrame(frame); }); })()",
    );
    page.mouse("mousePressed", (x, y), true);
    for step in 0..90 {
        let by = f64::from(step) * 4.0;
        let by = if step < 45 { by } else { 360.0 - by };
        page.mouse("mouseMoved", (x + by, y), true);
    }
    page.mouse("mouseReleased", (x, y), false);
    page.ask("cancelAnimationFrame(frame_loop)");
    let seen = page.ask("frames_seen");
    let mut frames: Vec<f64> =
        seen.as_array().unwrap().iter().filter_map(serde_json::Value::as_f64).collect();
    frames.sort_by(f64::total_cmp);
    assert!(frames.len() > 20, "{frames:?}");
    frames
}
