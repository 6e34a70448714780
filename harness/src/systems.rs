//! The systems that this program can put under test: our own subjects, which it carries, and those of others.

use std::path::PathBuf;
use std::sync::LazyLock;

use duress_targets::{Broker, Etcd, Store, Systems};

static SYSTEMS: LazyLock<Systems> = LazyLock::new(|| {
    // Our subjects are subcommands of this program.
    let executable = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    Systems::new(vec![
        Box::new(Store::new(executable.clone(), duress_store::offer().clone())),
        Box::new(Broker::new(executable, duress_broker::offer().clone())),
        Box::new(Etcd::default()),
    ])
});

/// Returns every system, by name.
pub fn systems() -> &'static Systems {
    &SYSTEMS
}
