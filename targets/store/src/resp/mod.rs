//! Clients' connections: RESP2 and RESP3, as Redis clients speak them.
//!
//! - [`request`]: the requests of clients.
//! - [`reply`]: answers in both versions of the protocol.
//! - [`connection`]: one client, pipelining included; [`transaction`]: its requests between `MULTI` and `EXEC`.
//! - [`info`]: the text of `INFO`.

pub mod connection;
pub mod info;
pub mod reply;
pub mod request;
pub mod transaction;
