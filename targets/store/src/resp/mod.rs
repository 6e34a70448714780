//! Clients' connections: RESP2 and RESP3, as Redis clients speak them.
//!
//! - [`request`]: what clients may ask.
//! - [`reply`]: how answers look in both versions of the protocol.
//! - [`connection`]: one client, pipelining included.
//! - [`info`]: the text of `INFO`.

pub mod connection;
pub mod info;
pub mod reply;
pub mod request;
