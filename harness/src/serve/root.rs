//! The folder that is served, and no files outside it.

use std::io;
use std::path::{Component, Path, PathBuf};

/// A folder whose contents may be shown.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
}

/// A folder that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve {}", path.display())]
pub struct RootError {
    /// The folder.
    path: PathBuf,
    /// The system's error.
    #[source]
    source: io::Error,
}

impl Root {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// [`RootError`] when it is not a folder.
    pub fn new(path: &Path) -> Result<Self, RootError> {
        let at = |source| RootError { path: path.to_owned(), source };
        let found = path.canonicalize().map_err(at)?;
        if !found.is_dir() {
            return Err(at(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { path: found })
    }

    /// Returns the folder itself, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file or folder of a request's path: within the folder after every link was followed, or
    /// `None`.
    #[must_use]
    pub fn resolve(&self, asked: &str) -> Option<PathBuf> {
        let asked = Path::new(asked);
        // `..` is refused as such: its meaning depends on links.
        if !asked.components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let found = self.path.join(asked).canonicalize().ok()?;
        found.starts_with(&self.path).then_some(found)
    }

    /// Returns the name in requests of `path`, which is within the folder.
    #[must_use]
    pub fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.path).unwrap_or(path).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_path_leads_out() {
        let outside = tempfile::tempdir().expect("a folder");
        let inside = outside.path().join("runs");
        fs::create_dir_all(inside.join("a")).expect("a folder");
        fs::create_dir_all(outside.path().join("runs-too")).expect("a folder");
        fs::write(outside.path().join("secret"), "s").expect("a file");
        fs::write(inside.join("a/plan.json"), "{}").expect("a file");
        symlink("../secret", inside.join("link")).expect("a link");
        symlink("..", inside.join("up")).expect("a link");
        symlink("../runs-too", inside.join("beside")).expect("a link");
        symlink("a", inside.join("latest")).expect("a link");
        let root = Root::new(&inside).expect("a folder");
        for asked in [
            "../secret",
            "a/../../secret",
            "/etc/passwd",
            "link",
            "up/secret",
            "up",
            "beside",
            "a/plan.json/..",
            "..",
            "missing",
            "a/\0",
            "a/plan.json/x",
        ] {
            assert_eq!(root.resolve(asked), None, "{asked}");
        }
        let plan = inside.canonicalize().expect("it exists").join("a/plan.json");
        assert_eq!(root.resolve("a/plan.json"), Some(plan.clone()));
        assert_eq!(root.resolve("latest/plan.json"), Some(plan.clone()));
        assert_eq!(root.name(&plan), "a/plan.json");
        assert!(Root::new(&plan).is_err());
    }
}
