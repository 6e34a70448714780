//! What a run leaves behind: its folder, and what is kept in it.

pub mod folder;
pub mod machine;
