//! The report as somebody sees it: opened from its file in a real Chromium, clicked through, and looked at.
//!
//! Without a Chromium (`sh ci/install-chromium` installs Debian's) everything here is skipped, with the reason.
//! `DURESS_CHROMIUM` names another one; `DURESS_SCREENSHOTS` a folder to leave pictures in.

mod devtools;
mod page;
mod reading;
mod scale;
mod synthetic;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

/// Why something was not tested.
struct Skipped(String);

type Test = (&'static str, fn() -> Result<(), Skipped>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One browser at a time: what is measured is one page's speed.
    arguments.test_threads = Some(1);
    let tests: Vec<Test> = [reading::TESTS, scale::TESTS].concat();
    let chromium = devtools::find();
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let chromium = chromium.clone();
            Trial::ignorable_test(name, move || {
                if chromium.is_none() {
                    let reason = "there is no chromium here: sh ci/install-chromium";
                    return Ok(Completion::ignored_with(reason));
                }
                match test() {
                    Ok(()) => Ok(Completion::Completed),
                    Err(Skipped(reason)) => Ok(Completion::ignored_with(reason)),
                }
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
