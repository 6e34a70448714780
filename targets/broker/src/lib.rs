//! A replicated log broker that speaks the Kafka protocol: a subject made to be broken.

pub mod group;
pub mod log;
