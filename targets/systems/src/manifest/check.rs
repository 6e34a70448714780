//! Checks beyond the types of a manifest: names, and keys that depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use duress_settings::{Offer, duration, hint, nearest};

use super::clients::{known, supports};
use super::document::{Document, Promises, Protocol, Ready, Serves, Status, Tolerates};
use super::launch::is_signal;
use super::problem::{Problem, problem};
use super::{external, layout, promise, usual_nodes};
use crate::postgres::Isolation;
use crate::system::KEYS;

/// The names in a node's folder that `files` cannot have.
const OWN_FILES: [&str; 3] = ["data", "stdout.log", "stderr.log"];

/// Checks `document`, which offers `offer`.
pub(super) fn check(document: &Document, offer: &Offer) -> Result<(), Problem> {
    name(&["name"], &document.name)?;
    external::check(document)?;
    let starts = external::nodes(document).is_none();
    if starts && document.port == 0 {
        let text = "a manifest has the `port` where clients find a node, or [[cluster.external]], the nodes of a cluster that already runs";
        return Err(problem(&[], text));
    }
    if document.roles.is_empty() {
        return Err(Problem::at(["role"], "a system has at least one [[role]]"));
    }
    let mut seen = BTreeSet::new();
    for (at, role) in document.roles.iter().enumerate() {
        let at = at.to_string();
        let wrong = |key: &str, text: &str| Err(Problem::at(["role", &at, key], text));
        name(&["role", &at, "name"], &role.name)?;
        if !seen.insert(&role.name) {
            return wrong("name", "another role has this name");
        }
        if role.nodes == Some(0) {
            return wrong(
                "nodes",
                "a role has at least one node (without `nodes` it has those that are left)",
            );
        }
        if starts && role.command.list().is_empty() {
            return wrong("command", "a role has a `command`, the program that is its nodes");
        }
        if let Some(signal) = role.stop_signal.as_deref().filter(|signal| !is_signal(signal)) {
            return wrong(
                "stop-signal",
                &format!("there is no signal \"{signal}\": write SIGTERM or SIGINT"),
            );
        }
        let plain = |name: &&String| name.contains(['/', '\0']) || name.starts_with('.') || name.is_empty();
        if let Some(name) = role.files.keys().find(plain) {
            return wrong("files", &format!("\"{name}\" is not the plain name of a file"));
        }
        if let Some(name) = role.files.keys().find(|name| OWN_FILES.contains(&name.as_str())) {
            return wrong("files", &format!("\"{name}\" is a name of duress's own there: choose another"));
        }
        variables(&["role", &at, "env"], &role.env)?;
        ready(&["role", &at, "ready"], role.ready.as_ref())?;
        status(&["role", &at, "status"], role.status.as_ref())?;
    }
    if starts && document.roles.iter().filter(|role| role.nodes.is_none()).count() > 1 {
        return Err(Problem::at(
            ["role"],
            "only one role may be without `nodes`: it has those that are left",
        ));
    }
    if !document.roles.iter().any(|role| !matches!(role.clients, Serves::Known(false))) {
        return Err(Problem::at(["role"], "clients speak to the nodes of at least one role"));
    }
    ready(&["ready"], Some(&document.ready))?;
    status(&["status"], document.status.as_ref())?;
    for (at, prepare) in document.prepares.iter().enumerate() {
        if prepare.command.list().is_empty() {
            let at = at.to_string();
            return Err(Problem::at(
                ["prepare", &at, "command"],
                "a command has at least the name of a program",
            ));
        }
    }
    client(document)?;
    durations(document)?;
    let nodes = usual_nodes(document);
    layout::assign(document, nodes).map_err(|text| Problem::at(["nodes"], text))?;
    tolerates(&["tolerates"], document.tolerates.as_ref(), nodes)?;
    promises(&["promise"], &document.promise)?;
    for (mode, table) in &document.modes {
        name(&["modes", mode], mode)?;
        promises(&["modes", mode, "promise"], &table.promise)?;
        tolerates(&["modes", mode, "tolerates"], table.tolerates.as_ref(), nodes)?;
    }
    for option in &offer.options {
        name(&["options", &option.name], &option.name)?;
        let values = &document.options[&option.name].promise;
        for (value, of_value) in values {
            promises(&["options", &option.name, "promise", value], of_value)?;
            if !option.values.accept(value) {
                let text = format!("\"{value}\" is none of its values: {}", option.values);
                return Err(Problem::at(["options", &option.name, "promise", value], text));
            }
        }
        if let Some(value) = option.drawn.iter().find(|value| values.contains_key(*value)) {
            return Err(Problem::at(
                ["options", &option.name, "drawn"],
                format!("\"{value}\" changes the promise: it cannot be drawn"),
            ));
        }
        if let Some(mode) =
            option.modes.iter().find(|name| !offer.modes.iter().any(|mode| mode.name == **name))
        {
            return Err(Problem::at(
                ["options", &option.name, "modes"],
                format!("there is no mode \"{mode}\""),
            ));
        }
    }
    Ok(())
}

/// Checks that each of `named` is a promise to its workload.
fn promises(at: &[&str], named: &Promises) -> Result<(), Problem> {
    match promise::unknown(named) {
        Some((workload, text)) => Err(problem(&[at, &[workload]].concat(), text)),
        None => Ok(()),
    }
}

/// Checks that `name` can be part of a file's name, and of a word of the command line.
pub(super) fn name(at: &[&str], name: &str) -> Result<(), Problem> {
    let fits = name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.len() <= 40
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
    match fits {
        true => Ok(()),
        false => Err(problem(
            at,
            format!(
                "\"{name}\" is not a name: a lower-case letter, then lower-case letters, digits, - and _, at most 40"
            ),
        )),
    }
}

/// Checks that a process can have these variables of its environment.
fn variables(at: &[&str], env: &BTreeMap<String, String>) -> Result<(), Problem> {
    let unfit = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
    match env.keys().find(unfit) {
        Some(name) => Err(problem(at, format!("\"{name}\" is not the name of a variable"))),
        None => Ok(()),
    }
}

/// Checks the durations that have no template.
fn durations(document: &Document) -> Result<(), Problem> {
    let owned = |at: &[&str]| -> Vec<String> { at.iter().map(|key| (*key).to_owned()).collect() };
    let mut all = vec![
        (owned(&["recovery"]), &document.recovery),
        (owned(&["ready", "deadline"]), &document.ready.deadline),
        (owned(&["time-outs", "election"]), &document.time_outs.election),
        (owned(&["time-outs", "session"]), &document.time_outs.session),
        (owned(&["time-outs", "lease"]), &document.time_outs.lease),
        (owned(&["time-outs", "client"]), &document.time_outs.client),
    ];
    for (at, role) in document.roles.iter().enumerate() {
        let deadline = role.ready.as_ref().map(|ready| &ready.deadline);
        all.extend(
            deadline.map(|deadline| (owned(&["role", &at.to_string(), "ready", "deadline"]), deadline)),
        );
    }
    for (at, text) in all {
        // A template is completed with the settings of a run.
        let text = text.iter().find(|text| !text.contains('{'));
        if let Some(Err(error)) = text.map(|text| duration(text)) {
            return Err(Problem { at, text: error.to_string() });
        }
    }
    Ok(())
}

/// Checks that at least one node is left.
fn tolerates(at: &[&str], tolerates: Option<&Tolerates>, nodes: usize) -> Result<(), Problem> {
    match tolerates {
        Some(Tolerates::Nodes(lost)) if *lost >= nodes => Err(problem(
            at,
            format!(
                "a system of {nodes} nodes cannot make progress without {lost} of them: at most {}",
                nodes - 1
            ),
        )),
        _ => Ok(()),
    }
}

fn ready(at: &[&str], ready: Option<&Ready>) -> Result<(), Problem> {
    let Some(ready) = ready else { return Ok(()) };
    if ready.contains.is_some() && ready.http.is_none() && ready.command.is_none() {
        return Err(problem(
            at,
            "`contains` is about the answer of `http` or `command`, and there is neither",
        ));
    }
    if ready.command.as_ref().is_some_and(|command| command.list().is_empty()) {
        return Err(problem(at, "a command has at least the name of a program"));
    }
    Ok(())
}

fn status(at: &[&str], status: Option<&Status>) -> Result<(), Problem> {
    let Some(status) = status else { return Ok(()) };
    let ways = [status.http.is_some(), status.command.is_some(), status.log.is_some()];
    let asked = status.http.is_some() || status.command.is_some();
    if ways.into_iter().filter(|way| *way).count() != 1 {
        return Err(problem(at, "the status comes from one of `http`, `command` and `log`"));
    }
    if asked && status.role.is_none() && status.leader.is_none() {
        return Err(problem(
            at,
            "say where the `role`, or the `leader`, is in the answer: \"/leader\" or \"role:\"",
        ));
    }
    Ok(())
}

fn client(document: &Document) -> Result<(), Problem> {
    let client = &document.client;
    let wrong = |key: &str, text: &str| Err(Problem::at(["client", key], text));
    match (client.protocol, client.command.as_ref().map(|command| command.list().len())) {
        (Protocol::Exec, None) => return wrong("protocol", "exec needs the `command` of a client program"),
        (Protocol::Exec, Some(0)) => return wrong("command", "a command has at least the name of a program"),
        (Protocol::Exec, Some(_)) | (_, None) => {}
        (_, Some(_)) => return wrong("command", "only clients of protocol exec have a command"),
    }
    variables(&["client", "env"], &client.env)?;
    if client.protocol != Protocol::Exec && client.processes.is_some() {
        return wrong("processes", "only clients of protocol exec have processes");
    }
    let tables = known(Protocol::Http);
    let given = tables.iter().find(|name| client.has_requests(name));
    match (client.protocol, given) {
        (Protocol::Http, None) => {
            let tables: Vec<String> = tables.iter().map(|name| format!("[client.{name}]")).collect();
            return wrong(
                "protocol",
                &format!("http needs at least one of the tables {}", tables.join(", ")),
            );
        }
        (Protocol::Http, Some(_)) | (_, None) => {}
        (_, Some(table)) => return wrong(table, "only clients of protocol http have requests"),
    }
    let of_sql = [
        ("user", client.user.is_some()),
        ("database", client.database.is_some()),
        ("password", client.password.is_some()),
        ("isolation", client.isolation.is_some()),
        ("statements", client.statements.is_some()),
    ];
    if client.protocol != Protocol::Postgres
        && let Some((key, _)) = of_sql.iter().find(|(_, given)| *given)
    {
        return wrong(key, &format!("only clients of protocol postgres have {key}"));
    }
    // A template is completed with the settings of a run.
    let level = client.isolation.as_deref().filter(|level| !level.contains('{'));
    if let Some(Err(text)) = level.map(Isolation::named) {
        return wrong("isolation", &text);
    }
    for name in client.speaks.iter().flatten() {
        let known = known(client.protocol);
        if !supports(client, name) {
            let hint = hint(nearest(name, known));
            return wrong(
                "speaks",
                &format!("these clients do not speak \"{name}\"{hint}; they can: {}", known.join(", ")),
            );
        }
    }
    if let Some(name) = client.lacks.iter().find(|name| !["cas", "deletes", KEYS].contains(&name.as_str())) {
        return wrong(
            "lacks",
            &format!("clients cannot lack \"{name}\"; they can lack: cas, deletes, {KEYS}"),
        );
    }
    if client.speaks.as_ref().is_some_and(Vec::is_empty) {
        return wrong("speaks", "clients speak at least one vocabulary");
    }
    Ok(())
}
