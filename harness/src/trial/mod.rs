//! Many runs: each a child process of this program ([`child`]), until the time is up or the user asks for the end
//! ([`halt`]); how often they came to something, with its uncertainty ([`proportion`]); and their commands as a shell
//! takes them ([`shell`]). What was run already is kept ([`state`]).

pub mod child;
pub mod halt;
pub mod proportion;
pub mod shell;
pub mod state;

pub use child::{Finding, Found, Trial, TrialSpec, run};
pub use halt::{Halt, halting};
pub use proportion::Proportion;
pub use shell::Shell;
