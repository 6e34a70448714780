//! The programs that take the place of the nodes' first ones during a run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use duress_history::NodeId;
use duress_settings::SettingsError;
use duress_targets::{Deployment, LaunchError, NodeFiles};

use crate::plan::Plan;
use crate::systems::{self, TargetError};

/// A node cannot be started with a second program, or it could not be seen that it runs it.
#[derive(Debug, thiserror::Error)]
pub enum SecondProgramError {
    /// The plan's system is not known.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The system cannot be had with the second programs.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The command of a node could not be made.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The file cannot be read.
    #[error("cannot read the program {} of --upgrade-to", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// /proc shows the interpreter of a script in its place.
    #[error(
        "the program {} of --upgrade-to is a script, and nothing shows from outside which script a node runs: give the program that it \
         starts",
        path.display()
    )]
    Script {
        /// The file.
        path: PathBuf,
    },
    /// Nothing would show a change.
    #[error(
        "the program {} of --upgrade-to is the file that the nodes run already: give another build, or a copy",
        path.display()
    )]
    Same {
        /// The file.
        path: PathBuf,
    },
}

/// Returns the second program of each node that has one, without links, as /proc will show it.
///
/// # Errors
/// [`SecondProgramError`].
pub(super) fn second_programs(
    plan: &Plan,
    deployment: &dyn Deployment,
    files: &BTreeMap<NodeId, NodeFiles>,
) -> Result<BTreeMap<NodeId, PathBuf>, SecondProgramError> {
    let Some(settings) = plan.settings.upgraded() else { return Ok(BTreeMap::new()) };
    let upgraded = systems::of(plan)?.deploy(&settings, &plan.topology())?;
    let mut programs = BTreeMap::new();
    for (node, files) in files {
        let first = deployment.process(node, files)?.program;
        let second = upgraded.process(node, files)?.program;
        // A system may have several programs, not all of which are replaced.
        if !plan.settings.upgrades.values().any(|program| *program == second) {
            continue;
        }
        let second = resolved(&second)?;
        if fs::canonicalize(first).is_ok_and(|first| first == second) {
            return Err(SecondProgramError::Same { path: second });
        }
        programs.insert(node.clone(), second);
    }
    Ok(programs)
}

/// Returns the file that `program` leads to, which is not a script.
fn resolved(program: &Path) -> Result<PathBuf, SecondProgramError> {
    let failed = |source| SecondProgramError::File { path: program.to_owned(), source };
    let path = fs::canonicalize(program).map_err(failed)?;
    let mut start = Vec::new();
    File::open(&path).and_then(|file| file.take(2).read_to_end(&mut start)).map_err(failed)?;
    if start == b"#!" { Err(SecondProgramError::Script { path }) } else { Ok(path) }
}
