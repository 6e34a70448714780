//! Manifests: every key, what a deployment makes of it, and that every key is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use duress_history::{ConsistencyModel, NodeId, Promise};
use duress_settings::Request;
use duress_targets::{
    Deployment, ExternalNode, Maelstrom, Manifest, ManifestText, Node, NodeFiles, OwnNetwork, Setup, System,
    Topology,
};
use serde_json::Value;
use tempfile::TempDir;

/// A manifest with every key that there is.
const EVERYTHING: &str = r#"
name = "everything"
summary = "all keys"
install = "nothing to install"
programs = ["sh"]
nodes = 4
port = 80
tolerates = "minority"
durable = false
recovery = "20s"
time-outs = { election = "{option:election_ms}ms", session = "2s", lease = "1s", client = "3s" }
clock-bound = { lease = "1s", slack = "100ms" }
[[role]]
name = "boss"
nodes = 1
start = 1
clients = false
command = "sh -c {node}"
env = { NAME = "{node}" }
files = { "a.conf" = "node {node}\n{peers:peer {node}}" }
stop-signal = "SIGINT"
port = 81
ready = { port = 82, http = { path = "/ready", port = 83 }, contains = "yes", log = "up", deadline = "70s" }
status = { log = { leader = "leads", follower = "follows" } }
[[role]]
name = "worker"
user = "root"
files = { "a.conf" = "" }
command = ["sh", "{file:a.conf}", "{data}", "{home}", "{folder}", "{nodes/worker:{address}}", "--all={nodes:{node}}", "{mode}"]
[ready]
command = "true"
[status]
http = { path = "/status" }
role = "/role"
leads = ["boss"]
leader = "/leader"
term = "/term"
[[prepare]]
command = ["true", "{address:boss}"]
[client]
protocol = "http"
speaks = ["register", "set", "counter"]
[client.register]
read = { method = "GET", path = "/{key}", body = "", headers = { A = "b" }, value = "/v", ok = [200], absent = [404], fail = [503] }
write = { path = "/{key}", body = "{value}" }
delete = { method = "DELETE", path = "/{key}", absent = [404] }
cas = { path = "/{key}", body = "{\"old\": {old}, \"new\": {new}}", mismatch = [409] }
[client.set]
read = { path = "/s/{key}" }
add = { path = "/s/{key}", body = "{value}" }
[client.counter]
read = { path = "/c/{key}" }
add = { path = "/c/{key}", body = "{value}" }
[client.bank]
create = { path = "/b", body = "{value}" }
transfer = { path = "/b/{from}/{to}", body = "{amount}" }
read = { path = "/b" }
[client.fenced-mutex]
acquire = { path = "/l/{key}", body = "{lease}" }
release = { path = "/l/{key}/{value}" }
[client.unique-ids]
generate = { path = "/id" }
[client.list-append]
txn = { path = "/t", body = "{value}" }
[client.rw-register]
txn = { path = "/t", body = "{value}" }
[promise]
register = "linearizable"
set = "stale-reads"
counter = "linearizable"
job = "linearizable"
lock = "stale-reads"
log = "exactly-once"
queue = "at-least-once"
table = "exactly-once"
stream = "at-least-once"
list-append = "snapshot-isolation"
rw-register = "serializable"
bank = "consistent-view"
[modes.strict]
default = true
summary = "slow"
[modes.loose]
promise = { register = "stale-reads" }
tolerates = 0
clock-bound = { lease = "5s", slack = "1s" }
[options.election_ms]
summary = "how long"
default = "500"
min = 100
max = 9000
[options.reads]
default = "leader"
values = ["leader", "any"]
drawn = ["leader"]
modes = ["strict", "loose"]
promise.any = { counter = "stale-reads" }
"#;

/// Keys of client programs, which a manifest of HTTP does not have.
const OF_EXEC: &str = "[client]\nprotocol = \"exec\"\ncommand = \"true\"\nprocesses = \"per-host\"\nenv = { A = \"{node:n1}\" }\nlacks = [\"cas\"]\n";

/// Keys of clients that speak SQL.
const OF_POSTGRES: &str = r#"
name = "sql"
port = 5432
[[role]]
name = "primary"
nodes = 1
command = "true"
[[role]]
name = "standby"
command = "true"
clients = "{option:standby}"
[client]
protocol = "postgres"
user = "duress"
database = "{option:level}"
password = "secret"
isolation = "{option:level}"
[client.statements]
tables = ["create table t ()"]
register-read = "select v from t where k = $1"
register-write = "update t set v = $2 where k = $1"
register-delete = "delete from t where k = $1"
register-cas = "update t set v = $3 where k = $1 and v = $2"
register-create = "insert into t values ($1, $2) on conflict do nothing"
set-read = "select v from t where k = $1"
set-add = "insert into t values ($1, $2)"
counter-read = "select v::text from t where k = $1"
counter-add = "update t set v = v + $2 where k = $1"
list-read = "select unnest(v) from t where k = $1"
list-append = "update t set v = v || $2 where k = $1"
account-create = "insert into t values ($1, $2)"
account-read = "select n::text from t where k = $1"
account-take = "update t set n = n - $2 where k = $1 and n >= $2"
account-give = "update t set n = n + $2 where k = $1"
[options.level]
values = ["serializable", "read committed"]
default = "serializable"
[options.standby]
values = ["true", "false", "maybe"]
default = "false"
"#;

/// A manifest of a cluster that already runs.
const OF_RUNNING: &str = r#"
name = "running"
[cluster]
external = [
    { name = "n1", role = "boss", address = "127.0.0.1:81" },
    { name = "n2", address = "127.0.0.1:82" },
    { name = "n3", address = "127.0.0.2:81" },
]
[[role]]
name = "boss"
clients = false
[[fault]]
name = "pause"
inject = "sh pause {node} {address} {role}"
heal = ["sh", "resume", "{ip}", "{port}"]
evidence = "sh ask {address:boss}"
deadline = "3s"
disables = false
[client]
protocol = "resp"
"#;

/// A manifest of a server with transactions.
const OF_TRANSACTIONS: &str = r#"
name = "transactions"
port = 1
[[role]]
name = "server"
command = "true"
[client]
protocol = "resp"
speaks = ["list-append", "rw-register"]
[promise]
list-append = "snapshot-isolation"
"#;

fn parsed(text: &str) -> Manifest {
    let text = ManifestText { path: PathBuf::from("/folder/duress.toml"), text: text.to_owned() };
    Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn deployed(system: &Manifest, nodes: usize, request: Request) -> std::sync::Arc<dyn Deployment> {
    let settings = system.resolve(&Request { nodes, ..request }).unwrap();
    let node = |number: usize| Node {
        name: NodeId::new(format!("n{number}")),
        address: [10, 77, 0, u8::try_from(number).unwrap()].into(),
    };
    system.deploy(&settings, &Topology { nodes: (1..=nodes).map(node).collect() }).unwrap()
}

/// Adds the names of all properties below `schema` that are keys of the manifest's own.
fn keys<'s>(schema: &'s Value, found: &mut BTreeSet<&'s str>) {
    match schema {
        Value::Object(map) => {
            for (name, below) in map {
                if let ("properties", Value::Object(properties)) = (name.as_str(), below) {
                    found.extend(properties.keys().map(String::as_str));
                }
                keys(below, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

/// A manifest of a program that speaks Maelstrom's protocol.
const OF_MAELSTROM: &str = "maelstrom = \"echo\"\ncommand = \"./node\"\nnodes = 3\n";

#[test]
fn every_key_of_the_schema_is_read_and_documented() {
    for workload in Maelstrom::workloads() {
        let text = OF_MAELSTROM.replace("echo", workload);
        let manifest = ManifestText { path: "/m/duress.toml".into(), text };
        assert!(Maelstrom::parse(&manifest, "/duress".into()).is_ok(), "the schema has {workload}");
    }
    let schema: Value = serde_json::from_str(Manifest::schema()).unwrap();
    let mut found = BTreeSet::new();
    keys(&schema, &mut found);
    assert!(found.len() > 60, "{found:?}");
    assert!(!parsed(EVERYTHING).description().durable);
    let docs = include_str!("../../../../docs/manifest.md");
    for key in found {
        let given = |text: &str| {
            text.lines().any(|line| {
                let words = line
                    .split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')));
                words.clone().any(|word| word == key)
            })
        };
        assert!(
            [EVERYTHING, OF_EXEC, OF_POSTGRES, OF_RUNNING, OF_MAELSTROM].into_iter().any(given),
            "no manifest of this test has the key {key}"
        );
        assert!(given(docs), "docs/manifest.md does not mention the key {key}");
    }
    let (before, rest) = EVERYTHING.split_once("[client]").unwrap();
    let (_, after) = rest.split_once("[promise]").unwrap();
    let lacking = parsed(&format!("{before}{OF_EXEC}[promise]{after}"));
    assert_eq!(lacking.description().lacks, ["cas", "deletes"]);
}

#[test]
fn nodes_get_roles_addresses_and_files() {
    let folder = TempDir::new().unwrap();
    let cluster = deployed(&parsed(EVERYTHING), 4, Request::default());
    let names = |nodes: Vec<NodeId>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(cluster.serving()), ["n2", "n3", "n4"], "clients do not speak to the boss");
    let order: Vec<_> = cluster.start_order().into_iter().map(names).collect();
    assert_eq!(order, [vec!["n2", "n3", "n4"], vec!["n1"]], "the boss is started last");
    assert_eq!(cluster.roles(&Setup::default()), ["boss"]);
    assert_eq!(
        (cluster.ready_bound(), cluster.recovery_bound()),
        (Duration::from_secs(70), Duration::from_secs(20))
    );
    let files = |node: &str| {
        let home = folder.path().join(node);
        std::fs::create_dir_all(home.join("data")).unwrap();
        NodeFiles { data: home.join("data"), stdout: home.join("stdout"), stderr: home.join("stderr") }
    };
    let boss = cluster.process(&NodeId::new("n1"), &files("n1")).unwrap();
    assert_eq!(boss.args, ["-c", "n1"]);
    assert_eq!(boss.env, [("NAME".into(), "n1".into())]);
    assert_eq!(boss.stop.as_str(), "SIGINT");
    let written = std::fs::read_to_string(folder.path().join("n1/a.conf")).unwrap();
    assert_eq!(written, "node n1\npeer n2\npeer n3\npeer n4\n");
    let worker = cluster.process(&NodeId::new("n2"), &files("n2"));
    // Only root may give a folder to a user.
    if let Ok(worker) = worker {
        let args: Vec<_> = worker.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert_eq!(
            args[4..],
            ["10.77.0.2:80", "10.77.0.3:80", "10.77.0.4:80", "--all=n1,n2,n3,n4", "strict"]
        );
    }
}

#[test]
fn a_cluster_that_already_runs_has_its_own_nodes_and_faults() {
    let system = parsed(OF_RUNNING);
    let nodes = system.description().external.clone().unwrap();
    let topology = Topology { nodes: nodes.iter().map(ExternalNode::node).collect() };
    let settings = system.resolve(&Request { nodes: 3, ..Request::default() }).unwrap();
    let cluster = system.deploy(&settings, &topology).unwrap();
    assert_eq!(cluster.serving(), ["n2", "n3"].map(NodeId::new));
    assert_eq!(cluster.ready_bound(), Duration::from_secs(5));
    let [pause] = cluster.external().unwrap() else { panic!("one fault") };
    assert_eq!(
        (pause.name.as_str(), pause.disables, pause.deadline),
        ("pause", false, Duration::from_secs(3))
    );
    let of_n3 = &pause.nodes[&NodeId::new("n3")];
    assert_eq!(of_n3.inject.args, ["pause", "n3", "127.0.0.2:81", "node"]);
    assert_eq!(of_n3.heal.args, ["resume", "127.0.0.2", "81"]);
    assert_eq!(of_n3.evidence.args, ["ask", "127.0.0.1:81"]);
    assert_eq!(of_n3.evidence.cwd, Some(PathBuf::from("/folder")));
}

#[test]
fn nodes_that_already_run_have_addresses_of_either_kind_or_names() {
    let parse = |address: &str| {
        let text = OF_RUNNING.replacen("127.0.0.2:81", address, 1);
        Manifest::parse(&ManifestText { path: PathBuf::from("/folder/duress.toml"), text })
    };
    for (address, ip) in [("[::1]:81", "::1"), ("127.0.0.9:81", "127.0.0.9"), ("localhost:81", "localhost")] {
        let system = parse(address).unwrap();
        let node = system.description().external.as_ref().unwrap()[2].resolved().unwrap();
        assert!(node.address.is_loopback(), "{address}: {node:?}");
        let topology = Topology {
            nodes: ["n1", "n2", "n3"].map(|name| Node { name: NodeId::new(name), ..node.clone() }).to_vec(),
        };
        let settings = system.resolve(&Request { nodes: 3, ..Request::default() }).unwrap();
        let cluster = system.deploy(&settings, &topology).unwrap();
        let heal = &cluster.external().unwrap()[0].nodes[&NodeId::new("n3")].heal;
        let looked_up = node.address.to_string();
        assert_eq!(heal.args, ["resume", if ip == "localhost" { &looked_up } else { ip }, "81"]);
    }
    for address in [
        "::1:81",
        "fd00::1",
        "[fe80::1%2]:81",
        "10.0.0.300:81",
        "db1",
        "db1:0",
        "db1:+5",
        ":81",
        "http://db1:81",
    ] {
        let error = parse(address).unwrap_err().to_string();
        assert!(
            error.contains(":7: \"") && error.contains("write 10.0.0.1:7000, [fd00::1]:7000"),
            "{address}: {error}"
        );
    }
}

#[test]
fn clients_of_sql_log_in_at_a_level_and_speak_to_a_role_by_an_option() {
    let system = parsed(OF_POSTGRES);
    let all = ["register", "set", "counter", "list-append", "rw-register", "bank"];
    assert_eq!(system.description().vocabularies, all);
    let serving = |standby: &str| {
        let request = Request::default().with_option("standby", standby);
        let names = deployed(&system, 3, request).serving();
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(serving("false"), ["n1"]);
    assert_eq!(serving("true"), ["n1", "n2", "n3"]);
    let refused = |text: &str| {
        let manifest = ManifestText { path: PathBuf::from("/folder/duress.toml"), text: text.to_owned() };
        Manifest::parse(&manifest).unwrap_err().to_string()
    };
    for (from, to, says) in [
        (
            "default = \"false\"",
            "default = \"maybe\"",
            "clients of the role standby is \"maybe\": true or false",
        ),
        (
            "command = \"true\"",
            "command = \"true\"\nclients = false",
            "clients speak to the nodes of at least one role",
        ),
        (
            "isolation = \"{option:level}\"",
            "isolation = \"snapshot\"",
            "there is no isolation level \"snapshot\"",
        ),
        ("default = \"serializable\"", "default = \"read-only\"", "none of its values"),
        ("\"postgres\"", "\"resp\"", "only clients of protocol postgres have user"),
        ("set-add", "set-ad", "unknown key \"set-ad\" (did you mean \"set-add\"?)"),
        ("{option:level}", "{option:levle}", "no option \"levle\" (did you mean \"level\"?)"),
    ] {
        let error = refused(&OF_POSTGRES.replacen(from, to, 1));
        assert!(error.contains(says), "{from} -> {to}: {error}");
    }
}

#[test]
fn a_program_beside_the_commands_is_missed() {
    let beside = |program: &str| {
        parsed(&EVERYTHING.replacen("[\"sh\"]", &format!("[\"sh\", \"{program}\"]"), 1))
            .available(&BTreeMap::new())
    };
    assert_eq!(beside("true"), Ok(()));
    let error = beside("/nowhere/initdb").unwrap_err();
    assert!(error.reason.contains("duress.toml:5: the program /nowhere/initdb: No such file"), "{error}");
    assert_eq!(error.remedy, "install it: nothing to install");
}

#[test]
fn the_weakest_promise_counts() {
    let system = parsed(EVERYTHING);
    let promise = |mode: &str, reads: &str, workload: &str| {
        let request = Request { mode: Some(mode.to_owned()), ..Request::default() };
        deployed(&system, 4, request.with_option("reads", reads)).promise(workload)
    };
    assert_eq!(promise("strict", "leader", "register"), Promise::LINEARIZABLE);
    assert_eq!(promise("loose", "leader", "register"), Promise::STALE_READS);
    assert_eq!(promise("strict", "leader", "set"), Promise::STALE_READS);
    assert_eq!(promise("strict", "leader", "counter"), Promise::LINEARIZABLE);
    assert_eq!(promise("strict", "any", "counter"), Promise::STALE_READS);
    let of_register =
        |promise: &str| EVERYTHING.replacen("\"stale-reads\" }", &format!("\"{promise}\" }}"), 1);
    for name in [
        "bounded-staleness=500ms",
        "bounded-staleness=3",
        "regular",
        "safe",
        "sequential",
        "causal",
        "pram",
        "monotonic-reads",
    ] {
        let request = Request { mode: Some("loose".to_owned()), ..Request::default() };
        let weaker = deployed(&parsed(&of_register(name)), 4, request).promise("register");
        assert_eq!(weaker, Promise::named(name).unwrap());
    }
    for (name, words) in [
        ("regluar", "did you mean \"regular\"?"),
        ("bounded-staleness=fast", "write one of linearizable, "),
        ("bounded", "such as \"bounded-staleness=3\" or"),
    ] {
        let manifest = ManifestText { path: PathBuf::from("/folder/duress.toml"), text: of_register(name) };
        let error = Manifest::parse(&manifest).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{error}");
    }
    // Neither of snapshot isolation and repeatable read implies the other.
    let system = parsed(&format!(
        "{OF_TRANSACTIONS}\n[modes.loose]\npromise = {{ list-append = \"repeatable-read\" }}\n[modes.usual]\ndefault = true\n"
    ));
    assert_eq!(system.description().vocabularies, ["list-append", "rw-register"]);
    let promise = |mode: &str, workload: &str| {
        deployed(&system, 1, Request { mode: Some(mode.to_owned()), ..Request::default() }).promise(workload)
    };
    assert_eq!(promise("usual", "rw-register"), Promise::STRICT_SERIALIZABLE);
    assert_eq!(promise("usual", "list-append"), Promise::Transactions(ConsistencyModel::SnapshotIsolation));
    assert_eq!(promise("loose", "list-append"), Promise::Transactions(ConsistencyModel::CursorStability));
    // SQL's levels promise no more than their names say.
    let system = parsed(OF_POSTGRES);
    let promise = |level: &str| {
        deployed(&system, 3, Request::default().with_option("level", level)).promise("rw-register")
    };
    assert_eq!(promise("serializable"), Promise::Transactions(ConsistencyModel::Serializable));
    assert_eq!(promise("read committed"), Promise::Transactions(ConsistencyModel::ReadCommitted));
}

#[test]
fn a_mode_changes_what_a_cluster_bears() {
    let system = parsed(EVERYTHING);
    let of = |mode: &str| deployed(&system, 5, Request { mode: Some(mode.to_owned()), ..Request::default() });
    assert_eq!((of("strict").tolerates(), of("loose").tolerates()), (2, 0));
    assert_eq!(of("loose").clock_bound().unwrap().lease, Duration::from_secs(5));
    let slow = deployed(&system, 4, Request::default().with_option("election_ms", "9000"));
    assert_eq!(slow.time_outs().election, Duration::from_secs(9), "a time-out follows an option");
}

#[test]
fn a_program_is_replaced_by_its_role() {
    let folder = TempDir::new().unwrap();
    let programs = BTreeMap::from([("boss".to_owned(), PathBuf::from("/opt/other"))]);
    let cluster = deployed(&parsed(EVERYTHING), 4, Request { programs, ..Request::default() });
    let home = folder.path().to_owned();
    let files = NodeFiles { data: home.clone(), stdout: home.join("stdout"), stderr: home.join("stderr") };
    let boss = cluster.process(&NodeId::new("n1"), &files).unwrap();
    assert_eq!((boss.program, boss.args), (PathBuf::from("/opt/other"), vec!["-c".into(), "n1".into()]));
}

#[test]
fn roles_must_fit_the_nodes() {
    let system = parsed(EVERYTHING);
    let settings = system.resolve(&Request { nodes: 1, ..Request::default() }).unwrap();
    let node = Node { name: NodeId::new("n1"), address: [10, 77, 0, 1].into() };
    let error = system.deploy(&settings, &Topology { nodes: vec![node] }).err().unwrap();
    assert_eq!(
        error.to_string(),
        "everything cannot be deployed: /folder/duress.toml:6: its roles need at least 2 nodes, not 1"
    );
}

/// Returns a cluster of one node at 127.0.0.1, whose manifest has `rest` after its role.
fn local(folder: &TempDir, port: u16, rest: &str) -> std::sync::Arc<dyn Deployment> {
    let text = format!(
        "name = \"local\"\nport = {port}\n[[role]]\nname = \"node\"\ncommand = \"true\"\n{rest}\n[client]\nprotocol = \"resp\"\n"
    );
    // Commands run in the manifest's folder.
    let system = Manifest::parse(&ManifestText { path: folder.path().join("duress.toml"), text }).unwrap();
    let settings = system.resolve(&Request { nodes: 1, ..Request::default() }).unwrap();
    let node = Node { name: NodeId::new("n1"), address: [127, 0, 0, 1].into() };
    system.deploy(&settings, &Topology { nodes: vec![node] }).unwrap()
}

#[tokio::test]
async fn a_node_that_writes_much_stays_ready() {
    let folder = TempDir::new().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = local(&folder, listener.local_addr().unwrap().port(), "[ready]\nlog = \"listens\"");
    let node = NodeId::new("n1");
    let home = folder.path().to_owned();
    let files = NodeFiles { data: home.clone(), stdout: home.join("stdout"), stderr: home.join("stderr") };
    cluster.process(&node, &files).unwrap();
    let deadline = Duration::from_secs(10);
    std::fs::write(&files.stdout, "begins\n").unwrap();
    assert!(cluster.ready(&node, &OwnNetwork, deadline).await.is_err(), "the line is not there yet");
    std::fs::write(&files.stdout, format!("it listens\n{}", "and goes on\n".repeat(300_000))).unwrap();
    cluster.ready(&node, &OwnNetwork, deadline).await.unwrap();
}

#[tokio::test]
async fn a_command_that_gives_no_answer_leaves_no_process() {
    let folder = TempDir::new().unwrap();
    let child = folder.path().join("child");
    let command = format!("sleep 1000 & echo $! > {}; wait", child.display());
    let status = format!("[status]\ncommand = [\"sh\", \"-c\", \"{command}\"]\nrole = \"role:\"");
    let cluster = local(&folder, 1, &status);
    let asked = cluster.status(&NodeId::new("n1"), &OwnNetwork, Duration::from_secs(3)).await;
    let error = asked.unwrap_err().cause.text;
    assert!(error.contains("did not end in time"), "{error}");
    let number = std::fs::read_to_string(&child).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    // Its state comes after the name in parentheses; a zombie has ended.
    let runs = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", number.trim()));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z')))
    };
    while runs() {
        assert!(std::time::Instant::now() < end, "the shell's child is killed with the shell");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_command_that_prepares_is_run_once_it_ended_well() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().display();
    // The second command succeeds the second time.
    let prepares = format!(
        "[[prepare]]\ncommand = [\"sh\", \"-c\", \"echo once >> {path}/first\"]\n[[prepare]]\n\
         command = [\"sh\", \"-c\", \"test -e {path}/second || {{ touch {path}/second; exit 1; }}\"]"
    );
    let cluster = local(&folder, 1, &prepares);
    cluster.prepare(&Setup::default(), &OwnNetwork, Duration::from_secs(30)).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("first")).unwrap(), "once\n");
}

#[test]
fn a_long_fork_is_promised_what_its_transactions_are() {
    let on = |promise: &str| {
        let text = OF_POSTGRES.replacen("[client]", &format!("[promise]\n{promise}\n[client]"), 1);
        let text = text.replace("isolation = \"{option:level}\"\n", "");
        deployed(&parsed(&text), 2, Request::default()).promise("long-fork").to_string()
    };
    let serializable = Promise::named("serializable").unwrap().to_string();
    let committed = Promise::named("read-committed").unwrap().to_string();
    assert_eq!(on("rw-register = \"serializable\""), serializable);
    assert_eq!(on("rw-register = \"read-committed\""), committed);
}

#[test]
fn a_value_that_changes_the_promise_is_not_drawn() {
    let text = EVERYTHING.replacen("drawn = [\"leader\"]", "drawn = [\"leader\", \"any\"]", 1);
    let manifest = ManifestText { path: PathBuf::from("/folder/duress.toml"), text };
    let error = Manifest::parse(&manifest).unwrap_err().to_string();
    assert!(error.contains("\"any\" changes the promise"), "{error}");
}
