//! Connections between nodes.
//!
//! Each node keeps one TCP connection to each peer for its own requests, and answers the peer's on the connection
//! the peer keeps. Requests carry a number and are answered in any order.
//!
//! - [`frame`]: `length · number · payload`.
//! - [`link`](mod@link): the requesting side, which knows whether a failed request may have left.
//! - [`listener`]: the answering side.
//! - [`payload`]: the encoding of messages.

pub mod frame;
pub mod link;
pub mod listener;
pub mod payload;

pub use link::{CallError, Link};
pub use listener::{Handler, Listener};
