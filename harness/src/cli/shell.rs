//! `duress completions` and `duress man`: the command line for shells and for `man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::output::print;
use crate::cli::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder for one page for each command; it must exist [default: the page of `duress` goes to standard output]
    folder: Option<PathBuf>,
}

/// Prints the completions of `command` for a shell.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "duress", &mut script);
    print(String::from_utf8_lossy(&script))?;
    Ok(Exit::Valid)
}

/// Prints the manual page of `command`, or writes a page for each of its commands.
pub fn man(args: &ManArgs, command: Command) -> Result<Exit, Failure> {
    if let Some(folder) = &args.folder {
        pages(folder, command).map_err(|error| {
            let context = format!("cannot write the pages into {}", folder.display());
            Failure::usage(anyhow::Error::new(error).context(context))
        })?;
        return Ok(Exit::Valid);
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Failure::internal)?;
    print(String::from_utf8_lossy(&page))?;
    Ok(Exit::Valid)
}

/// Writes `duress.1`, `duress-run.1` and so on.
fn pages(folder: &Path, command: Command) -> io::Result<()> {
    // Otherwise a missing folder is reported by the name of the first page.
    fs::read_dir(folder)?;
    clap_mangen::generate_to(command, folder)
}
