//! A manifest as it is written: its tables and keys. `docs/manifest.md` explains each.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::http_operations::Operations;
use crate::postgres::Statements;

/// The whole manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) name: String,
    #[serde(default)]
    pub(super) summary: String,
    pub(super) install: Option<String>,
    /// Programs that must be there, beside those that commands begin with.
    #[serde(default)]
    pub(super) programs: Vec<String>,
    pub(super) nodes: Option<usize>,
    /// The port of every node; 0 for a cluster that already runs, each of whose nodes has its own.
    #[serde(default)]
    pub(super) port: u16,
    /// A cluster that already runs.
    pub(super) cluster: Option<ClusterTable>,
    /// Its faults.
    #[serde(default, rename = "fault")]
    pub(super) faults: Vec<FaultTable>,
    pub(super) tolerates: Option<Tolerates>,
    /// Whether nodes keep their data when they are killed.
    #[serde(default = "yes")]
    pub(super) durable: bool,
    pub(super) recovery: Option<String>,
    #[serde(default, rename = "role")]
    pub(super) roles: Vec<RoleTable>,
    #[serde(default)]
    pub(super) ready: Ready,
    pub(super) status: Option<Status>,
    #[serde(default, rename = "prepare")]
    pub(super) prepares: Vec<Prepare>,
    pub(super) client: ClientTable,
    #[serde(default)]
    pub(super) promise: Promises,
    #[serde(default)]
    pub(super) modes: BTreeMap<String, ModeTable>,
    #[serde(default)]
    pub(super) options: BTreeMap<String, OptionTable>,
    #[serde(default)]
    pub(super) time_outs: TimeOutTable,
    pub(super) clock_bound: Option<ClockBoundTable>,
}

/// Promises by workload, by their names on the command line.
pub(super) type Promises = BTreeMap<String, String>;

/// A cluster that already runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ClusterTable {
    pub(super) external: Vec<NodeTable>,
}

/// A node that already runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct NodeTable {
    pub(super) name: String,
    #[serde(default = "any_role")]
    pub(super) role: String,
    /// Its IP address or the name of its host, and the port of its clients: `10.0.0.1:7000`.
    pub(super) address: String,
}

fn any_role() -> String {
    "node".to_owned()
}

/// A fault of a cluster that already runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct FaultTable {
    pub(super) name: String,
    pub(super) inject: Option<Words>,
    pub(super) heal: Option<Words>,
    /// Ends with 0 if the fault is in force, and with 1 if it is not.
    pub(super) evidence: Option<Words>,
    /// How long each command may take.
    pub(super) deadline: Option<String>,
    /// Whether a node that it strikes cannot serve meanwhile.
    #[serde(default = "yes")]
    pub(super) disables: bool,
}

/// A kind of node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RoleTable {
    pub(super) name: String,
    /// The number of its nodes; the rest if absent.
    pub(super) nodes: Option<usize>,
    /// Its turn at the first start: roles of a lower number start before.
    #[serde(default)]
    pub(super) start: u32,
    /// Whether clients speak to its nodes.
    #[serde(default)]
    pub(super) clients: Serves,
    /// No words for a cluster that already runs.
    #[serde(default)]
    pub(super) command: Words,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    pub(super) user: Option<String>,
    pub(super) stop_signal: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) ready: Option<Ready>,
    pub(super) status: Option<Status>,
}

fn yes() -> bool {
    true
}

/// Whether clients speak to the nodes of a role: known, or by an option.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected true, false, or a template that becomes one of them")]
pub(super) enum Serves {
    Known(bool),
    Template(String),
}

impl Default for Serves {
    fn default() -> Self {
        Self::Known(true)
    }
}

/// A command line: a list of words, or a string of words between spaces.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string, or a list of strings")]
pub(crate) enum Words {
    Line(String),
    List(Vec<String>),
}

impl Default for Words {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// The number of nodes that may be lost.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number of nodes, \"minority\" or \"all-but-one\"")]
pub(super) enum Tolerates {
    Nodes(usize),
    Share(ToleratedShare),
}

/// A share of all nodes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToleratedShare {
    Minority,
    AllButOne,
}

/// The signs that a node takes part. All that is given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Ready {
    /// The port that must accept connections; the role's if absent.
    pub(super) port: Option<u16>,
    pub(super) http: Option<Page>,
    pub(super) command: Option<Words>,
    pub(super) log: Option<String>,
    /// A part that the answer of `http`, or the output of `command`, must contain.
    pub(super) contains: Option<String>,
    pub(super) deadline: Option<String>,
}

/// A page that is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Page {
    pub(super) path: String,
    /// The role's port if absent.
    pub(super) port: Option<u16>,
}

/// The way in which a node reports its role and its leader.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Status {
    pub(super) http: Option<Page>,
    pub(super) command: Option<Words>,
    /// The latest line of output that contains one of these says the role.
    pub(super) log: Option<RoleLines>,
    /// The place of the role in the answer.
    pub(super) role: Option<String>,
    /// The words for the role of a leader.
    pub(super) leads: Option<Vec<String>>,
    /// The place of the leader's name or address in the answer.
    pub(super) leader: Option<String>,
    /// The place of the term in the answer.
    pub(super) term: Option<String>,
}

/// Parts of log lines that say a role.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RoleLines {
    pub(super) leader: String,
    pub(super) follower: String,
}

/// A command that prepares the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Prepare {
    pub(super) command: Words,
}

/// The clients: their protocol, or the user's program.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ClientTable {
    pub(super) protocol: Protocol,
    /// The program, for `exec`.
    pub(super) command: Option<Words>,
    /// The number of its processes.
    pub(super) processes: Option<Processes>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// The vocabularies of operations; those of the protocol if absent.
    pub(super) speaks: Option<Vec<String>>,
    /// The operations of these that the clients do not have.
    #[serde(default)]
    pub(super) lacks: Vec<String>,
    /// The user, the database, the password and the isolation level, for `postgres`.
    pub(super) user: Option<String>,
    pub(super) database: Option<String>,
    pub(super) password: Option<String>,
    pub(super) isolation: Option<String>,
    pub(super) statements: Option<Statements>,
    pub(super) register: Option<RegisterRequests>,
    pub(super) set: Option<AddRequests>,
    pub(super) counter: Option<AddRequests>,
    pub(super) list_append: Option<Operations>,
    pub(super) rw_register: Option<Operations>,
    pub(super) bank: Option<Operations>,
    pub(super) fenced_mutex: Option<Operations>,
    pub(super) unique_ids: Option<Operations>,
}

impl ClientTable {
    /// Returns the requests of a vocabulary whose operations have arguments and answers of several values.
    pub(super) fn operations(&self, vocabulary: &str) -> Option<&Operations> {
        match vocabulary {
            "list-append" => self.list_append.as_ref(),
            "rw-register" => self.rw_register.as_ref(),
            "bank" => self.bank.as_ref(),
            "fenced-mutex" => self.fenced_mutex.as_ref(),
            "unique-ids" => self.unique_ids.as_ref(),
            _ => None,
        }
    }

    /// Whether it has the table of requests of a vocabulary.
    pub(super) fn has_requests(&self, vocabulary: &str) -> bool {
        match vocabulary {
            "register" => self.register.is_some(),
            "set" => self.set.is_some(),
            "counter" => self.counter.is_some(),
            other => self.operations(other).is_some(),
        }
    }
}

/// How many processes of a client program there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Processes {
    /// One for each client.
    #[default]
    PerClient,
    /// One for all clients of a host.
    PerHost,
}

/// A protocol that clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protocol {
    Exec,
    Http,
    Resp,
    Etcd,
    Kafka,
    Postgres,
}

/// The requests of a register, over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RegisterRequests {
    pub(super) read: HttpRequest,
    pub(super) write: HttpRequest,
    pub(super) delete: Option<HttpRequest>,
    pub(super) cas: Option<HttpRequest>,
}

/// The requests of a set or a counter, over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct AddRequests {
    pub(super) read: HttpRequest,
    pub(super) add: HttpRequest,
}

/// One request over HTTP, and the meaning of its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct HttpRequest {
    pub(super) method: Option<String>,
    pub(super) path: String,
    #[serde(default)]
    pub(super) body: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// The place of the value in the answer of a read; the whole body if absent.
    pub(super) value: Option<String>,
    /// The statuses that say that it happened.
    pub(super) ok: Option<Vec<u16>>,
    /// The statuses that say that there is no value.
    #[serde(default)]
    pub(super) absent: Vec<u16>,
    /// The statuses that say that the comparison failed.
    #[serde(default)]
    pub(super) mismatch: Vec<u16>,
    /// The statuses that say that it certainly did not happen.
    #[serde(default)]
    pub(super) fail: Vec<u16>,
}

impl HttpRequest {
    /// Whether it has a placeholder.
    pub(super) fn mentions(&self, placeholder: &str) -> bool {
        let placeholder = format!("{{{placeholder}}}");
        let texts = [&self.path, &self.body].into_iter().chain(self.headers.values());
        texts.into_iter().any(|text| text.contains(&placeholder))
    }
}

/// A mode of operation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ModeTable {
    #[serde(default)]
    pub(super) summary: String,
    /// The first in this order is the default.
    #[serde(default)]
    pub(super) default: bool,
    #[serde(default)]
    pub(super) promise: Promises,
    pub(super) tolerates: Option<Tolerates>,
    pub(super) clock_bound: Option<ClockBoundTable>,
}

/// An option of the system.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct OptionTable {
    #[serde(default)]
    pub(super) summary: String,
    pub(super) default: String,
    #[serde(default)]
    pub(super) values: Vec<String>,
    pub(super) min: Option<u64>,
    pub(super) max: Option<u64>,
    #[serde(default)]
    pub(super) drawn: Vec<String>,
    pub(super) modes: Option<Vec<String>>,
    /// By value, the promises that differ.
    #[serde(default)]
    pub(super) promise: BTreeMap<String, Promises>,
}

/// The system's own time-outs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TimeOutTable {
    pub(super) election: Option<String>,
    pub(super) session: Option<String>,
    pub(super) lease: Option<String>,
    pub(super) client: Option<String>,
}

/// The demands of the promise on clocks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ClockBoundTable {
    pub(super) lease: String,
    pub(super) slack: String,
}

impl Words {
    /// Returns the words. Spaces within braces or quotes do not separate, and quotes around a part are left out; a quote
    /// without another stands for itself.
    pub(crate) fn list(&self) -> Vec<String> {
        let line = match self {
            Self::List(words) => return words.clone(),
            Self::Line(line) => line,
        };
        let (mut words, mut word, mut depth) = (Vec::new(), None::<String>, 0_usize);
        let mut rest = line.as_str();
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            match letter {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                '\'' | '"' if depth == 0 => {
                    if let Some((quoted, after)) = rest.split_once(letter) {
                        word.get_or_insert_default().push_str(quoted);
                        rest = after;
                        continue;
                    }
                }
                letter if letter.is_whitespace() && depth == 0 => {
                    words.extend(word.take());
                    continue;
                }
                _ => {}
            }
            word.get_or_insert_default().push(letter);
        }
        words.extend(word);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_words_between_spaces() {
        for (line, words) in [
            ("", &[][..]),
            ("  a  b\n", &["a", "b"]),
            ("sh -c 'exec x {ip}; y'", &["sh", "-c", "exec x {ip}; y"]),
            ("a --b=\"c d\" ''", &["a", "--b=c d", ""]),
            ("x {peers:--peer={node} 'y'}z", &["x", "{peers:--peer={node} 'y'}z"]),
            ("echo don't stop", &["echo", "don't", "stop"]),
        ] {
            assert_eq!(Words::Line(line.to_owned()).list(), words, "{line}");
        }
    }
}
