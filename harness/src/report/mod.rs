//! Reports: the result of a run, for a person.
//!
//! - [`progress`]: while it runs;
//! - [`clocks`]: the demands on clocks, if the promise rests on them;
//! - [`text`]: the report printed at the end of a run;
//! - [`summary`]: in a line, or as Markdown, for the page of a change; [`markup`]: text within Markdown;
//! - [`html`]: the report as a page, for a reader who was not there.

pub mod clocks;
pub mod html;
pub mod markup;
pub mod progress;
pub mod summary;
pub mod text;
