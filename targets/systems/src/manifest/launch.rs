//! How a node is started: its command, environment and files.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{self, Path, PathBuf};
use std::str::FromStr;

use duress_arena::{ProcessSpec, Signal, User};

use super::document::{RoleTable, Serves};
use super::problem::Problem;
use super::template::{Scene, TemplateError, render_values};
use crate::deployment::LaunchError;
use crate::system::MissingSystem;
use crate::topology::NodeFiles;

/// Looked into after `PATH`, which a service manager or CI may have cut short; servers are often in the last two.
const FALLBACK_FOLDERS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"];

/// Returns the program that a manifest in `folder` calls `program`: a path with a slash is relative to the folder.
///
/// # Errors
/// The path that was tried, and why it is not a program, in words.
pub(crate) fn find(folder: &Path, program: &str) -> Result<PathBuf, String> {
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let file = folder.join(program);
        return match file.metadata() {
            Ok(_) if is_program(&file) => Ok(file),
            Ok(_) => Err(format!("{} is not an executable file", file.display())),
            Err(error) => Err(format!("{}: {error}", file.display())),
        };
    }
    let searched = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&searched).chain(FALLBACK_FOLDERS.iter().map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(is_program);
    // A folder of PATH may be relative, and nodes and clients start elsewhere.
    let found = found.map(|file| path::absolute(&file).unwrap_or(file));
    found.ok_or_else(|| format!("\"{program}\" is not in PATH"))
}

/// A completed command.
pub(super) struct Command {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
}

/// Completes a command line. A program that is not found is left as it is, for the system to refuse.
pub(super) fn command(scene: &Scene<'_>, words: &[String]) -> Result<Command, TemplateError> {
    let mut words = scene.render_each(words.iter().map(String::as_str))?.into_iter();
    let program = words.next().unwrap_or_default();
    let found = find(scene.folder, &program).unwrap_or_else(|_| PathBuf::from(&program));
    Ok(Command { program: found, args: words.map(OsString::from).collect() })
}

/// Returns the texts of a node's files, by name.
pub(super) fn files(scene: &Scene<'_>, role: &RoleTable) -> Result<Vec<(String, String)>, TemplateError> {
    let complete = |(name, text): (&String, &String)| {
        let mut lines = scene.render_each(text.split('\n'))?.join("\n");
        if !lines.ends_with('\n') {
            lines.push('\n');
        }
        Ok((name.clone(), lines))
    };
    role.files.iter().map(complete).collect()
}

/// Returns the process of the node of `scene`, whose files are written.
pub(super) fn process(
    scene: &Scene<'_>,
    role: &RoleTable,
    replaced: Option<&PathBuf>,
    node: &NodeFiles,
    complete: impl Fn(TemplateError) -> LaunchError + Copy,
) -> Result<ProcessSpec, LaunchError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| LaunchError::File { path, reason: error.to_string() }
    };
    let user = role.user.as_deref().map(|name| user(name).ok_or_else(|| no_user(name))).transpose();
    let user = user.map_err(|reason| {
        let (system, remedy) = ("the node".to_owned(), NO_USER_REMEDY.to_owned());
        LaunchError::Missing(MissingSystem { system, reason, remedy })
    })?;
    let home = home(node);
    for (name, text) in files(scene, role).map_err(complete)? {
        let path = home.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
        if let Some(User { uid, gid }) = user {
            chown(&path, Some(uid), Some(gid)).map_err(failed(&path))?;
        }
    }
    if let Some(User { uid, gid }) = user {
        // Programs that refuse to run as root also want a folder that only they may enter.
        chown(&node.data, Some(uid), Some(gid))
            .and_then(|()| fs::set_permissions(&node.data, fs::Permissions::from_mode(0o700)))
            .map_err(failed(&node.data))?;
    }
    let Command { program, args } = command(scene, &role.command.list()).map_err(complete)?;
    let env = render_values(scene, &role.env).map_err(complete)?;
    Ok(ProcessSpec {
        program: replaced.cloned().unwrap_or(program),
        args,
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: Some(scene.folder.to_owned()),
        stdout: node.stdout.clone(),
        stderr: node.stderr.clone(),
        stop: signal(role),
        user,
    })
}

/// Returns whether clients speak to the nodes of each role.
///
/// # Errors
/// A template that does not become true or false, or roles without clients.
pub(super) fn serves(scene: &Scene<'_>, roles: &[RoleTable]) -> Result<Vec<bool>, Problem> {
    let serves = |(at, role): (usize, &RoleTable)| match &role.clients {
        Serves::Known(serves) => Ok(*serves),
        Serves::Template(text) => {
            let at = at.to_string();
            let wrong = |text: String| Problem::at(["role", &at, "clients"], text);
            let complete = scene.render(text).map_err(|error| wrong(error.to_string()))?;
            let name = &role.name;
            let is_neither =
                |_| wrong(format!("clients of the role {name} is \"{complete}\": true or false"));
            complete.parse().map_err(is_neither)
        }
    };
    let serves = roles.iter().enumerate().map(serves).collect::<Result<Vec<bool>, Problem>>()?;
    match serves.contains(&true) {
        true => Ok(serves),
        false => Err(Problem::at(["role"], "clients speak to the nodes of at least one role")),
    }
}

/// Returns the folder of a node's files other than its data.
pub(super) fn home(node: &NodeFiles) -> &Path {
    node.stdout.parent().unwrap_or(&node.data)
}

/// Returns the signal that ends a node of this role.
fn signal(role: &RoleTable) -> Signal {
    role.stop_signal.as_deref().and_then(|name| Signal::from_str(name).ok()).unwrap_or(Signal::SIGTERM)
}

/// Whether `name` is that of a signal.
pub(super) fn is_signal(name: &str) -> bool {
    Signal::from_str(name).is_ok()
}

/// Says that this machine has no user called `name`.
pub(super) fn no_user(name: &str) -> String {
    format!("/etc/passwd has no user \"{name}\"")
}

/// What to do about that.
pub(super) const NO_USER_REMEDY: &str = "name another `user` in the manifest, or none";

/// Returns the user called `name`, if this machine has it.
pub(super) fn user(name: &str) -> Option<User> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [known, _, uid, gid, ..] = fields[..] else { return None };
        (known == name).then_some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}
