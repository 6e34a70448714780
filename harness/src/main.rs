//! The program `duress`.

use std::process::ExitCode;

fn main() -> ExitCode {
    duress::cli::main().into()
}
