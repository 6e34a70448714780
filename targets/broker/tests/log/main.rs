//! The storage engine against plain models of its promises.

mod appends;
mod compaction;
mod model;
mod retention;
mod sequences;
mod torn_tail;
mod transactions;
mod wire;
