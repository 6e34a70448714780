//! Many runs: each a child process of this program ([`child`]), until the budget runs out or the user
//! interrupts ([`halt`]); how often they found something, with its uncertainty ([`proportion`]); and their
//! commands in shell syntax ([`shell`]). Completed runs are kept ([`state`]).

pub mod child;
pub mod halt;
pub mod proportion;
pub mod shell;
pub mod state;

pub use child::{Finding, Found, Trial, TrialSpec, run};
pub use halt::{Halt, halting};
pub use proportion::Proportion;
pub use shell::Shell;
