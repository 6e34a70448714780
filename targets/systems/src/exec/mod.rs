//! Clients that are programs of the user's own, which speak JSON lines on their standard input and output: the protocol
//! of `docs/clients.md`.
//!
//! Each client has a process of its own in the client's host ([`client`]), or all clients of a host share one
//! ([`shared_client`], [`shared`]). A process of its own is killed, with everything that it started, when an operation is not
//! answered in time, and either after each line that breaks the protocol: what a program says then proves nothing any more.
//!
//! # The outcome of an operation
//!
//! | what was seen | outcome |
//! |---|---|
//! | `ok`, with an answer to this operation | `Ok` |
//! | `fail`, or a program that could not be started or did not open its connection | `Fail` |
//! | `info` | `Info` |
//! | a line that is no answer to this operation: malformed, of another `id`, a second one, one that was not asked for, an `ok` with an `error` | `Info` (unreadable), with the line |
//! | no answer in time, or the end of the program | as for a broken connection: `Fail` for a read, or if not a byte was sent; `Info` otherwise |

mod answer;
mod client;
mod program;
mod shared;
mod shared_client;
mod spoken;

pub(crate) use client::ExecClient;
pub(crate) use program::{Launch, Pool};
pub(crate) use shared::SharedPrograms;
pub(crate) use shared_client::SharedClient;
pub(crate) use spoken::Spoken;
