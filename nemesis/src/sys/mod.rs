//! System calls that no safe wrapper covers, each behind a safe function.
//!
//! Every `unsafe` block of this crate is in this folder.

pub mod child;
pub mod interface;
pub mod packet_socket;
pub mod pidfd;
pub mod procfs;
pub mod tun;
