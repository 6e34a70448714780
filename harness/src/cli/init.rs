//! `duress init`: a folder that runs as it is.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;

/// The manifest of a small store, whose client is the one in Python.
const MANIFEST: &str = include_str!("../../assets/toy/duress.toml");
/// The store.
const STORE: &str = include_str!("../../assets/toy/store.py");
/// The words of the manifest that start the client in Python.
const STARTS_PYTHON: &str = r#""python3", "client.py""#;

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder to make
    folder: PathBuf,
    /// The language of the client
    #[arg(long, value_enum, default_value = "python")]
    client: Language,
}

/// The languages that there are client kits for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    /// Python 3.8 or later
    Python,
    /// Node.js 16 or later
    Javascript,
    /// Go 1.21 or later
    Go,
    /// Rust 1.70 or later
    Rust,
    /// Java 11 or later
    Java,
    /// Bash; the kit is for any POSIX shell
    Shell,
}

/// A file's name, and its text.
type File = (&'static str, &'static str);

impl Language {
    /// Returns the words of a manifest that start a client, and its files: the client, the kit, and a script that compiles
    /// them where that takes more than a command.
    fn client(self) -> (&'static str, &'static [File]) {
        match self {
            Self::Python => (
                STARTS_PYTHON,
                &[
                    ("client.py", include_str!("../../assets/toy/client.py")),
                    ("duress_client.py", include_str!("../../assets/clients/python/duress_client.py")),
                ],
            ),
            Self::Javascript => (
                r#""node", "client.js""#,
                &[
                    ("client.js", include_str!("../../assets/toy/client.js")),
                    ("duress_client.js", include_str!("../../assets/clients/javascript/duress_client.js")),
                ],
            ),
            Self::Go => (
                r#""go", "run", "client.go", "duress_client.go""#,
                &[
                    ("client.go", include_str!("../../assets/toy/client.go")),
                    ("duress_client.go", include_str!("../../assets/clients/go/duress_client.go")),
                ],
            ),
            Self::Rust => (
                r#""sh", "start.sh""#,
                &[
                    ("client.rs", include_str!("../../assets/toy/client.rs")),
                    ("duress_client.rs", include_str!("../../assets/clients/rust/duress_client.rs")),
                    ("start.sh", include_str!("../../assets/toy/start-rust.sh")),
                ],
            ),
            Self::Java => (
                r#""sh", "start.sh""#,
                &[
                    ("Toy.java", include_str!("../../assets/toy/Toy.java")),
                    ("DuressClient.java", include_str!("../../assets/clients/java/DuressClient.java")),
                    ("start.sh", include_str!("../../assets/toy/start-java.sh")),
                ],
            ),
            Self::Shell => (
                r#""bash", "client.sh""#,
                &[
                    ("client.sh", include_str!("../../assets/toy/client.sh")),
                    ("duress_client.sh", include_str!("../../assets/clients/shell/duress_client.sh")),
                ],
            ),
        }
    }
}

/// `duress init`.
pub fn init(args: &InitArgs) -> Result<Exit, Failure> {
    let InitArgs { folder, client } = args;
    let failed = |error: std::io::Error| {
        Failure::usage(anyhow::Error::new(error).context(format!("cannot write into {}", folder.display())))
    };
    let (starts, own) = client.client();
    let manifest = MANIFEST.replace(STARTS_PYTHON, starts);
    let files = [&[("duress.toml", manifest.as_str()), ("store.py", STORE)][..], own].concat();
    fs::create_dir_all(folder).map_err(failed)?;
    // Nothing of the user's is overwritten.
    if let Some((name, _)) = files.iter().find(|(name, _)| folder.join(name).exists()) {
        let there = anyhow::anyhow!("{} has a file {name} already", folder.display());
        return Err(Failure::usage(there).hint("name a new folder"));
    }
    for (name, text) in &files {
        fs::write(folder.join(name), text).map_err(failed)?;
    }
    // A word with a slash is a path, and no name of a built-in system.
    let target = match folder.components().count() {
        1 => format!("./{}", folder.display()),
        _ => folder.display().to_string(),
    };
    print(format!(
        "wrote {}: a manifest (duress.toml), a small replicated store (store.py) and its client ({})\n\n\
         duress run {target}                       # break it, and find its stale reads\n\
         duress run {target} -o reads=primary      # the same store keeps its promise\n\
         duress try {target}                       # start it without faults, and see each step: for your own system\n",
        folder.display(),
        own[0].0
    ))?;
    Ok(Exit::Valid)
}
