//! The needs of tests that a machine may not satisfy, and whether they are required.

use std::env;

/// The environment's variable that turns a test which would be ignored into one that fails: `all`, or names of
/// [`Need`]s with commas between them.
pub const REQUIRE: &str = "DURESS_REQUIRE";

/// A need of tests that a machine may not satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Namespaces of one's own: users, networks, mounts, processes.
    Namespaces,
    /// Packet devices: `/dev/net/tun`.
    Tun,
    /// File systems in user space: `/dev/fuse`.
    Fuse,
    /// Processes that look into others, which gives nodes clocks of their own.
    Ptrace,
    /// Being root, so that everything is run once more as an ordinary user.
    Root,
    /// etcd (`ci/install-etcd`).
    Etcd,
    /// Clients of Kafka that others wrote (`ci/install-kafka-clients`).
    KafkaClients,
    /// Brokers of Apache Kafka, named by `DURESS_TEST_KAFKA`.
    Kafka,
    /// redis-cli and redis-benchmark.
    RedisTools,
    /// redis-server.
    RedisServer,
    /// PostgreSQL 15.
    Postgres,
    /// Chromium (`ci/install-chromium`).
    Chromium,
    /// Compilers and interpreters of the languages whose clocks are moved: C, Rust, Go, Java, Python.
    Languages,
    /// Python 3.8 or later, as `python3`.
    Python,
    /// Node.js 16 or later, as `node`.
    Javascript,
    /// A Java development kit, 11 or later: `javac` and `java`.
    Java,
    /// A Rust compiler, as `rustc`.
    Rustc,
    /// Bash, as `bash`.
    Bash,
    /// Histories that others recorded, in the folder that `DURESS_CORPORA` names.
    Corpora,
    /// Small histories of every kind that is recorded, in the folder that `DURESS_CASES` names.
    Cases,
    /// The program `duress`, beside the tests.
    Program,
}

impl Need {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Namespaces,
        Self::Tun,
        Self::Fuse,
        Self::Ptrace,
        Self::Root,
        Self::Etcd,
        Self::KafkaClients,
        Self::Kafka,
        Self::RedisTools,
        Self::RedisServer,
        Self::Postgres,
        Self::Chromium,
        Self::Languages,
        Self::Python,
        Self::Javascript,
        Self::Java,
        Self::Rustc,
        Self::Bash,
        Self::Corpora,
        Self::Cases,
        Self::Program,
    ];

    /// Returns its name in `DURESS_REQUIRE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Tun => "tun",
            Self::Fuse => "fuse",
            Self::Ptrace => "ptrace",
            Self::Root => "root",
            Self::Etcd => "etcd",
            Self::KafkaClients => "kafka-clients",
            Self::Kafka => "kafka",
            Self::RedisTools => "redis-tools",
            Self::RedisServer => "redis-server",
            Self::Postgres => "postgres",
            Self::Chromium => "chromium",
            Self::Languages => "languages",
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::Java => "java",
            Self::Rustc => "rustc",
            Self::Bash => "bash",
            Self::Corpora => "corpora",
            Self::Cases => "cases",
            Self::Program => "program",
        }
    }

    /// Whether `DURESS_REQUIRE` names it.
    ///
    /// # Panics
    /// If the variable has a name that is not known: a typing error must not turn a requirement off.
    #[must_use]
    pub fn is_required(self) -> bool {
        required(&env::var(REQUIRE).unwrap_or_default()).contains(&self)
    }
}

/// Returns the needs that `list` names.
fn required(list: &str) -> Vec<Need> {
    let mut needs = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name == "all" {
            return Need::ALL.to_vec();
        }
        let need = Need::ALL.into_iter().find(|need| need.name() == name);
        let known = || Need::ALL.map(Need::name).join(", ");
        needs.push(need.unwrap_or_else(|| panic!("{REQUIRE}: {name} is not one of all, {}", known())));
    }
    needs
}

/// An unsatisfied need of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub need: Need,
    /// Why, in one sentence that names the next step where there is one.
    pub reason: String,
}

impl Missing {
    /// `need` is not there, for this reason.
    pub fn new(need: Need, reason: impl Into<String>) -> Self {
        Self { need, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_is_required() {
        assert_eq!(required(""), []);
        assert_eq!(required("tun, etcd,"), [Need::Tun, Need::Etcd]);
        assert_eq!(required("etcd,all"), Need::ALL);
    }

    #[test]
    #[should_panic(expected = "DURESS_REQUIRE: etc is not one of all, namespaces, tun")]
    fn a_name_that_is_not_known_is_refused() {
        let _ = required("etc");
    }
}
