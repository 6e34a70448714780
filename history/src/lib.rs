//! What happened.

pub mod node;

pub use node::NodeId;
