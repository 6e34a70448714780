//! System calls and machine code of the clock, each behind a safe function.
//!
//! Every `unsafe` block of the clock is in this folder.

pub mod handshake;
pub mod memory;
pub mod ptrace;
pub mod segment;
pub mod stub;
