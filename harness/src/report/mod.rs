//! Reports: what a run came to, for a person.
//!
//! - [`progress`]: while it runs;
//! - [`clocks`]: what the clocks were asked for, where the promise rests on them;
//! - [`text`]: the report printed at the end of a run;
//! - [`html`]: the report that is a page, to be read by a person who was not there.

pub mod clocks;
pub mod html;
pub mod progress;
pub mod text;
