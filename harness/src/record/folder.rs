//! A run's folder: `runs/<name>/<time>/`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use duress_history::NodeId;
use serde::de::DeserializeOwned;

/// The folder that a run leaves behind.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

/// A run's folder that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct FolderError {
    /// The file or folder.
    path: PathBuf,
    /// The system's error.
    #[source]
    source: io::Error,
}

impl RunFolder {
    /// Makes `<runs>/<name>/<stamp>`, or `<stamp>-2`, … where that exists, and points the `latest` links at it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn create(runs: &Path, name: &str, stamp: &str) -> Result<Self, FolderError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError { path, source }
        };
        // Absolute, since nodes are started in folders of their own.
        let runs = std::path::absolute(runs).map_err(at(runs))?;
        let parent = runs.join(name);
        fs::create_dir_all(&parent).map_err(at(&parent))?;
        let mut suffix = 1;
        let leaf = loop {
            let leaf = if suffix == 1 { stamp.to_owned() } else { format!("{stamp}-{suffix}") };
            match fs::create_dir(parent.join(&leaf)) {
                Ok(()) => break leaf,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && suffix < 1000 => suffix += 1,
                Err(error) => return Err(at(&parent.join(&leaf))(error)),
            }
        };
        let path = parent.join(&leaf);
        // Process ids tell runs apart badly: each may be the second process of a namespace of its own.
        let fresh = format!("latest.{leaf}.{name}").replace('/', "-");
        let relink = |folder: &Path, target: &Path| {
            let link = folder.join("latest");
            relink(&link, &folder.join(&fresh), target).map_err(at(&link))
        };
        relink(&parent, Path::new(&leaf))?;
        relink(&runs, &Path::new(name).join(&leaf))?;
        Ok(Self { path })
    }

    /// Returns the folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a file of the run.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns a node's own folder; made when the node is.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> PathBuf {
        self.path.join("nodes").join(node.as_str())
    }

    /// Returns the folder at which a node sees its data.
    #[must_use]
    pub fn data(&self, node: &NodeId) -> PathBuf {
        self.node(node).join("data")
    }

    /// Returns the folder under a node's data, if its disk can be broken.
    #[must_use]
    pub fn backing(&self, node: &NodeId) -> PathBuf {
        self.node(node).join("backing")
    }

    /// Makes a folder of the run.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn make(&self, path: &Path) -> Result<(), FolderError> {
        fs::create_dir_all(path).map_err(|source| FolderError { path: path.to_owned(), source })
    }

    /// Writes a file of the run, whole or not at all.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn write(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let path = self.file(name);
        let part = self.file(&format!("{name}.part"));
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|source| FolderError { path, source })
    }
}

/// Points `link` at `target`, replacing its old target by renaming `fresh`, a path that no other run uses; atomically,
/// since runs may be made side by side.
fn relink(link: &Path, fresh: &Path, target: &Path) -> io::Result<()> {
    symlink(target, fresh)?;
    fs::rename(fresh, link).inspect_err(|_| {
        // Best effort: the rename's error is what matters.
        let _ = fs::remove_file(fresh);
    })
}

/// Reads the JSON file `name` of `folder`; `None` if it is missing or not JSON of this shape.
#[must_use]
pub fn load<T: DeserializeOwned>(folder: &Path, name: &str) -> Option<T> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    serde_json::from_str(&text)
        .inspect_err(|error| tracing::warn!(name, %error, "left out of the report"))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn runs_that_begin_at_once_all_get_a_folder() {
        let runs = tempfile::tempdir().expect("a folder");
        let create = || {
            (0..200)
                .try_for_each(|_| RunFolder::create(runs.path(), "a", "stamp").map(drop))
                .map_err(|error| error.source)
        };
        let made: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        let latest = fs::canonicalize(runs.path().join("latest")).expect("a run");
        assert_eq!(latest.parent(), fs::canonicalize(runs.path().join("a")).ok().as_deref());
        let links = fs::read_dir(runs.path()).expect("the runs").count();
        assert_eq!(links, 2, "a and latest");
    }
}
