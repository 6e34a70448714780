//! The systems that this program can put under test: our own subjects, which it carries, those of others that it knows, and
//! those that a manifest describes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use duress_targets::{
    Broker, Etcd, Maelstrom, Manifest, ManifestError, ManifestText, Store, System, Systems, UnknownSystem,
};

use crate::plan::Plan;

static SYSTEMS: LazyLock<Systems> = LazyLock::new(|| {
    // Our subjects are subcommands of this program.
    let executable = executable();
    Systems::new(vec![
        Box::new(Store::new(executable.clone(), duress_store::offer().clone())),
        Box::new(Broker::new(executable, duress_broker::offer().clone())),
        Box::new(Etcd::default()),
    ])
});

/// The systems of manifests live as long as the program, as built-in ones do; each is kept once.
static MANIFESTS: Mutex<BTreeMap<(PathBuf, String), &'static dyn System>> = Mutex::new(BTreeMap::new());

/// The words before the command of a program that speaks Maelstrom's protocol.
const MAELSTROM: &str = "maelstrom:";

/// Returns the path of this program.
fn executable() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"))
}

/// Returns every built-in system, by name.
pub fn systems() -> &'static Systems {
    &SYSTEMS
}

/// Returns the system that the command line calls `target`: the name of a built-in one, or the path of a manifest or of
/// the folder that holds it as `duress.toml`.
///
/// # Errors
/// [`TargetError`].
pub fn find(target: &str) -> Result<&'static dyn System, TargetError> {
    if !is_path(target) {
        let unknown = |error| TargetError::Unknown {
            error,
            hint: if Path::new(target).exists() {
                format!(" (for the manifest write ./{target})")
            } else {
                String::new()
            },
        };
        return systems().find(target).map_err(unknown);
    }
    kept(&Manifest::read(Path::new(target))?)
}

/// Returns the command of a `target` that is a program which speaks Maelstrom's protocol: `maelstrom:./node`.
pub fn maelstrom_command(target: &str) -> Option<&str> {
    target.strip_prefix(MAELSTROM)
}

/// Returns the system of `command`, a program that speaks Maelstrom's protocol, under a workload of Maelstrom.
///
/// # Errors
/// [`TargetError`].
pub fn maelstrom(command: &str, workload: &str) -> Result<&'static dyn System, TargetError> {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    kept(&Maelstrom::manifest_of(command, workload, &folder))
}

/// Returns the system of `plan`: that of the manifest that it keeps, or a built-in one.
///
/// # Errors
/// [`TargetError`].
pub fn of(plan: &Plan) -> Result<&'static dyn System, TargetError> {
    match &plan.manifest {
        Some(manifest) => kept(manifest),
        None => find(&plan.target),
    }
}

/// Whether a word of the command line is a path, and not a name.
fn is_path(target: &str) -> bool {
    target.contains('/') || target.ends_with(".toml") || matches!(target, "." | "..")
}

fn kept(manifest: &ManifestText) -> Result<&'static dyn System, TargetError> {
    let mut manifests = MANIFESTS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (manifest.path.clone(), manifest.text.clone());
    if let Some(known) = manifests.get(&key) {
        return Ok(*known);
    }
    let parsed: &'static dyn System = if Maelstrom::is_described_by(manifest) {
        Box::leak(Box::new(Maelstrom::parse(manifest, executable())?))
    } else {
        Box::leak(Box::new(Manifest::parse(manifest)?))
    };
    manifests.insert(key, parsed);
    Ok(parsed)
}

/// A target that is neither a built-in system nor a manifest.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The name is not a system's.
    #[error("{error}, or the path of a manifest{hint}")]
    Unknown {
        /// The name, with those that are known.
        error: UnknownSystem,
        /// The path that may have been meant.
        hint: String,
    },
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
