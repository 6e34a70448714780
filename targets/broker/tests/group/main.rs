//! The group coordinator, with members and a log that are simulated.

mod invariants;
mod scenarios;
mod transactions;
mod world;
