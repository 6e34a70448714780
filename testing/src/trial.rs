//! Tests that are ignored, or fail, where something is missing.

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::need::Missing;

impl Missing {
    /// What a test comes to that found this missing: it is ignored, for that reason.
    ///
    /// # Errors
    /// Where it is required.
    pub fn ended(self) -> Result<Completion, Failed> {
        let Self { need, reason } = self;
        if need.is_required() {
            return Err(
                format!("{} is required by DURESS_REQUIRE, and missing: {reason}", need.name()).into()
            );
        }
        Ok(Completion::ignored_with(reason))
    }
}

/// A test that may find something missing: the runner then says that it was ignored, and why; where it is required, the
/// test fails. A test that fails panics.
pub fn trial(name: impl Into<String>, test: impl FnOnce() -> Result<(), Missing> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match test() {
        Ok(()) => Ok(Completion::Completed),
        Err(missing) => missing.ended(),
    })
}

/// Runs a suite of which nothing can be run here: it is one test, named like the suite.
#[must_use]
pub fn nothing_runs(suite: &str, missing: Missing) -> std::process::ExitCode {
    libtest_mimic::run(&Arguments::from_args(), vec![trial(suite, || Err(missing))]).exit_code()
}
