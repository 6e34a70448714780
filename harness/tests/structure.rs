//! The shape of the workspace, held by reading its files: the direction of dependencies, the size of files, front doors
//! without logic, and the absences that ARCHITECTURE.md lists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The crates of the workspace, and the crates of ours that each may depend on, in any kind of dependency.
const MAY_DEPEND_ON: [(&str, &[&str]); 11] = [
    ("duress-testing", &[]),
    ("duress-history", &[]),
    ("duress-checkers", &["duress-history", "duress-testing"]),
    ("duress-arena", &["duress-testing"]),
    ("duress-nemesis", &["duress-arena", "duress-history", "duress-testing"]),
    ("duress-settings", &[]),
    ("duress-consensus", &[]),
    ("duress-store", &["duress-consensus", "duress-settings", "duress-testing"]),
    ("duress-broker", &["duress-consensus", "duress-settings", "duress-testing"]),
    ("duress-targets", &["duress-arena", "duress-history", "duress-settings", "duress-testing"]),
    (
        "duress",
        &[
            "duress-arena",
            "duress-broker",
            "duress-checkers",
            "duress-history",
            "duress-nemesis",
            "duress-settings",
            "duress-store",
            "duress-targets",
            "duress-testing",
        ],
    ),
];

/// Lines of the longest source file, and of the longest `lib.rs`.
const FILE_LINES_MAX: usize = 600;
const FRONT_DOOR_LINES_MAX: usize = 100;

/// The lints that keep printing and exiting out of libraries: `lib.rs` of every crate denies them.
const DENIED: &str = "#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness is a folder of the workspace").into()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest(folder: &Path) -> toml::Table {
    read(&folder.join("Cargo.toml")).parse().unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// Returns the folder of each crate of the workspace, from the root.
fn members() -> Vec<String> {
    let members = manifest(&root())["workspace"]["members"].clone();
    members.try_into().expect("members are paths")
}

/// Returns all `.rs` files under a folder of the workspace, by path from the root.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let (root, mut found, mut folders) = (root(), BTreeMap::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder)).expect("a folder of the workspace can be listed");
        for entry in entries {
            let entry = entry.expect("a folder of the workspace can be listed");
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type().expect("its type is known").is_dir();
            if is_folder && !root.join(&path).join("Cargo.toml").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.display().to_string(), read(&root.join(&path)));
            }
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    let allowed = BTreeMap::from(MAY_DEPEND_ON);
    for member in members() {
        let manifest = manifest(&root().join(&member));
        let name = manifest["package"]["name"].as_str().expect("a package has a name").to_owned();
        let allowed = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is not in the list of crates: add what it may depend on"));
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(dependencies) = manifest.get(kind).and_then(toml::Value::as_table) else { continue };
            for dependency in dependencies.keys().filter(|dependency| dependency.starts_with("duress")) {
                assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
            }
        }
    }
}

#[test]
fn what_is_recorded_is_judged_without_a_machine() {
    for member in ["history", "checkers"] {
        let manifest = manifest(&root().join(member));
        let dependencies = manifest["dependencies"].as_table().expect("dependencies are a table");
        for machine in ["tokio", "nix", "libc", "rand", "hyper"] {
            assert!(!dependencies.contains_key(machine), "{member} must not depend on {machine}");
        }
        for (path, text) in sources(&format!("{member}/src")) {
            for machine in ["std::net", "std::process", "SystemTime", "Instant::now"] {
                assert!(!text.contains(machine), "{path} must not use {machine}");
            }
            assert!(member == "history" || !text.contains("std::fs"), "{path} must not read files");
        }
    }
}

#[test]
fn files_are_short() {
    for member in members() {
        for (path, text) in sources(&member) {
            let lines = text.lines().count();
            assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines: split it");
        }
    }
}

#[test]
fn a_front_door_is_a_table_of_contents() {
    for member in members() {
        let path = format!("{member}/src/lib.rs");
        let text = read(&root().join(&path));
        assert!(text.lines().count() <= FRONT_DOOR_LINES_MAX, "{path} is too long");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let first = words.next().unwrap_or_default();
            let logic = ["fn", "const", "static", "struct", "enum", "trait", "impl", "type", "macro_rules!"];
            assert!(!logic.contains(&first), "{path} is a table of contents, and has: {line}");
        }
    }
}

#[test]
fn libraries_neither_print_nor_exit() {
    for member in members() {
        let lib = format!("{member}/src/lib.rs");
        assert!(read(&root().join(&lib)).lines().any(|line| line == DENIED), "{lib} lacks {DENIED}");
        for (path, text) in sources(&format!("{member}/src")) {
            let owns_output = path == "harness/src/cli/output.rs";
            for stream in ["stdout().lock()", "stderr().lock()", "io::stdout().write", "io::stderr().write"] {
                assert!(owns_output || !text.contains(stream), "{path} must print through cli/output.rs");
            }
            assert!(!text.contains("process::exit("), "{path} must return an exit code");
        }
    }
}

#[test]
fn no_file_lies_outside_the_tree_of_modules() {
    for member in members() {
        let files = sources(&format!("{member}/src"));
        for path in files.keys() {
            let path = Path::new(path);
            let name =
                |path: &Path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            let (folder, name) = match name(path).as_str() {
                "lib" | "main" => continue,
                "mod" => {
                    let folder = path.parent().expect("it is in src");
                    (folder.parent().expect("it is below src"), name(folder))
                }
                module => (path.parent().expect("it is in src"), module.to_owned()),
            };
            // Its parent is beside it, or is the file that is named like the folder.
            let parents = files.iter().filter(|(other, _)| {
                let other = Path::new(other.as_str());
                other.parent() == Some(folder) || other == folder.with_extension("rs")
            });
            let declared = format!("mod {name};");
            let mut lines = parents.flat_map(|(_, text)| text.lines());
            assert!(
                lines.any(|line| line.trim_end().ends_with(&declared)),
                "{} is in no module",
                path.display()
            );
        }
    }
}
