//! System calls that no safe wrapper covers, each behind a safe function.
//!
//! Hosts, switch and processes have every `unsafe` block of theirs in this folder.

pub mod child;
pub mod interface;
pub mod own_files;
pub mod packet_socket;
pub mod pidfd;
pub mod procfs;
pub mod tun;
pub mod veth;
pub mod wall_clock;
