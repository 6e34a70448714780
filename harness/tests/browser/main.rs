//! The report as its readers see it: opened from its file in a real Chromium, clicked through, and looked at.
//!
//! Without a Chromium (`sh ci/install-chromium` installs Debian's) everything here is ignored, with the reason.
//! `DURESS_CHROMIUM` names another one; `DURESS_SCREENSHOTS` a folder to leave pictures in.

mod devtools;
mod messages;
mod page;
mod reading;
mod scale;
mod synthetic;

use std::process::ExitCode;

use duress_testing::{Missing, Need, trial};
use libtest_mimic::Arguments;

type Test = (&'static str, fn() -> Result<(), Missing>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One browser at a time: the tests measure one page's speed.
    arguments.test_threads = Some(1);
    let tests: Vec<Test> = [reading::TESTS, messages::TESTS, scale::TESTS].concat();
    let chromium = devtools::find();
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let chromium = chromium.clone();
            trial(name, move || {
                let reason = "chromium is not installed: sh ci/install-chromium";
                chromium.ok_or_else(|| Missing::new(Need::Chromium, reason))?;
                test()
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
