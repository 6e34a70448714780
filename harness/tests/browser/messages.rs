//! The messages around an anomaly: drawn, tied to its operations, and searched.

use crate::Test;
use crate::page::{Page, Scheme};
use crate::synthetic;
use duress_testing::Missing;

pub const TESTS: &[Test] = &[("messages_light_up_with_their_operations", tied)];

fn tied() -> Result<(), Missing> {
    const ROWS: &str = "[...document.querySelectorAll('#messages-list tr')]";
    let folder = tempfile::Builder::new().prefix("duress-messages-").tempdir().unwrap();
    synthetic::run(folder.path(), 20_000);
    let mut page = Page::open(&folder.path().join("report.html"), 1280, Scheme::Light);
    let drawn = |what: &str| format!("document.querySelectorAll('#messages-1 g.message{what}').length");
    let all = [page.number(&drawn("")), page.number(&drawn(".carries")), page.number(&drawn(".lost"))];
    assert_eq!(all, [8.0, 4.0, 2.0]);

    // A message lights up its operation in the witness, and the operation its messages.
    let request = page.middle("#messages-1 g.message.carries text");
    page.mouse("mouseMoved", request, false);
    page.until("document.querySelector('#anomaly-1 table.operations tr.lit th')?.innerText === 'A'");
    page.mouse("mouseMoved", (2.0, 2.0), false);
    page.until("document.querySelectorAll('.lit').length === 0");
    let row = page.middle("#anomaly-1 table.operations tbody tr");
    page.mouse("mouseMoved", row, false);
    page.until(&format!("{} === 2", drawn(".lit")));
    // By keyboard, too: in the order of time.
    page.ask("document.querySelector('#messages-1 g.message').focus()");
    page.press("Tab");
    page.until("document.activeElement.getAttribute('aria-label')?.startsWith('Message 2,')");

    // The list has those drawn, until all are asked for; its rows are tied to the diagram.
    page.until(&format!("{ROWS}.length === 8"));
    let found = page.middle("#messages-list tr");
    page.mouse("mouseMoved", found, false);
    page.until(&format!("{} === 2", drawn(".lit")));
    page.click("#message-search [name=text]");
    page.type_text("did not arrive");
    page.until(&format!("{ROWS}.length === 2 && {ROWS}.every((row) => row.innerText.includes('replicate'))"));

    for (width, scheme) in
        [(1280, Scheme::Light), (1280, Scheme::Dark), (390, Scheme::Light), (390, Scheme::Dark)]
    {
        page.resize(width, scheme);
        // Charts follow the window's width a moment later.
        page.until("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
        page.picture(&format!("messages-{width}-{scheme:?}"));
    }
    assert_eq!(page.ask("window.broken ?? null"), serde_json::Value::Null);
    page.assert_quiet();
    Ok(())
}
