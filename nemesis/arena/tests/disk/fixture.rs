//! A disk in a folder of its own, unmounted and removed whatever the test's outcome.

use std::fs;
use std::path::{Path, PathBuf};

use duress_arena::disk::{DiskError, DiskOptions, FaultDisk, MountError, Semantics};
use tempfile::TempDir;

/// A mounted disk and its folders. Fields are dropped in order: the disk is unmounted before its folders go.
pub struct Stage {
    disk: FaultDisk,
    home: TempDir,
}

impl Stage {
    /// Returns a disk with journal semantics.
    pub fn new() -> Self {
        Self::with(DiskOptions::new(7))
    }

    /// Returns a disk with exactly the guarantees of POSIX.
    pub fn strict() -> Self {
        Self::with(DiskOptions { semantics: Semantics::Strict, ..DiskOptions::new(7) })
    }

    pub fn with(options: DiskOptions) -> Self {
        Self::try_with(options).expect("a machine where the first disk was mounted")
    }

    pub fn try_with(options: DiskOptions) -> Result<Self, DiskError> {
        let home = tempfile::tempdir().expect("a folder");
        let mount_point = home.path().join("mount");
        fs::create_dir(&mount_point).expect("an empty folder");
        let disk = FaultDisk::mount(&mount_point, &home.path().join("backing"), options)?;
        Ok(Self { disk, home })
    }

    pub fn disk(&self) -> &FaultDisk {
        &self.disk
    }

    /// Returns a path on the disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.disk.mount_point().join(name)
    }

    /// Returns a path beside it, on the machine's own.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Unmounts, requiring success; the home is still there to look at its contents.
    pub fn close(self) -> TempDir {
        self.disk.close().expect("an orderly end");
        self.home
    }
}

/// Returns why a disk cannot be mounted here, if so, as the error reports it.
pub fn mountable() -> Result<(), String> {
    match Stage::try_with(DiskOptions::new(0)) {
        Ok(_) => Ok(()),
        Err(error @ DiskError::Mount(MountError::Device { .. } | MountError::Mount { .. })) => {
            Err(chain(&error))
        }
        Err(error) => panic!("the disk could be mounted, but: {error:?}"),
    }
}

/// Returns an error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// The user who runs this, read before a user namespace makes every user root.
pub struct Outside {
    pub is_root: bool,
}

pub fn world_before_isolation() -> Outside {
    Outside { is_root: nix::unistd::geteuid().is_root() }
}

/// Everything below `folder`: directories with a slash at the end, files with their content; sorted.
pub fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("a type").is_dir() {
                found.push((format!("{name}/"), Vec::new()));
                folders.push((entry.path(), format!("{name}/")));
            } else {
                let content = fs::read(entry.path()).expect("a file");
                found.push((name, content));
            }
        }
    }
    found.sort();
    found
}

/// Returns a number from the environment.
pub fn number(variable: &str, otherwise: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => otherwise,
    }
}

/// Returns the content of a file as runs of the same byte, so that it can be read when a test fails.
pub fn runs(content: &[u8]) -> Vec<(usize, u8)> {
    content.chunk_by(|a, b| a == b).map(|run| (run.len(), run[0])).collect()
}
