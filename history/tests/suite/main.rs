//! Histories read, written, paired and recorded, by example and against random input.

mod evidence;
mod foreign;
mod formats;
mod logs;
mod nemesis;
mod objects;
mod pairs;
mod recorder;
mod traffic;
mod transactions;
