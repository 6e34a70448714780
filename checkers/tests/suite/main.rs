//! Every checker against definitions, oracles, simulations and examples.
//!
//! All in one program, since linking each of them takes as long as running it.

mod against_oracle;
mod anomalies;
mod counters;
mod deliveries;
mod eventual;
mod fenced_locks;
mod freshness;
mod growing;
mod invariants;
mod isolation;
mod jobs;
mod kv_append;
mod large;
mod locks;
mod log_oracle;
mod log_simulated;
mod nothing;
mod queues;
mod sessions;
mod sets;
mod stale;
mod stream_simulated;
mod streams;
mod tables;
mod total_queue;
mod transactions;
mod weak_registers;

// The tests share these modules: definitions, random histories, and a notation for histories and verdicts.
mod garbage;
mod log_simulation;
mod notation;
mod objects;
mod one_register;
mod oracle;
mod queue_simulation;
mod registers;
mod replicas;
mod simulation;
mod small;
mod store;
mod witness;
mod words;
