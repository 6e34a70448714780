//! How the check grows with the length and the shape of a history.
fn main() {}
