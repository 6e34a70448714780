//! Being written.
use libtest_mimic::Trial;
pub fn register(_trials: &mut Vec<Trial>) {}
