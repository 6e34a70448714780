//! The head of every page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The style of every page.
const STYLE: &str = include_str!("../../../assets/report/report.css");

/// The policy of a page that is a file: nothing may be loaded from anywhere. A report opens offline, and a target's output
/// cannot make it call home.
pub const CLOSED: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// Returns a page: its head, with the policy for its content if there is one and with `styles` beside that of every page,
/// and its body.
#[must_use]
pub fn page(title: &str, policy: Option<&str>, styles: &[&str], body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(policy) = policy { meta http-equiv="Content-Security-Policy" content=(policy); }
                title { (title) " · duress" }
                style { @for style in styles { (PreEscaped(*style)) } (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
}
