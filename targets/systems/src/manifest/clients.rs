//! The clients of a manifest, by protocol and vocabulary.

use std::collections::BTreeSet;
use std::sync::Arc;

use duress_history::Payload;
use duress_history::bank::Bank;
use duress_history::counter::Counter;
use duress_history::fenced_mutex::FencedMutex;
use duress_history::job::Job;
use duress_history::log::Log;
use duress_history::register::Register;
use duress_history::set::Set;
use duress_history::stream::Stream;
use duress_history::table::Table;
use duress_history::txn::{ListAppend, RwRegister};
use duress_history::unique_ids::UniqueIds;
use duress_settings::{Settings, SettingsError};

use super::document::{ClientTable, Processes, Protocol, Words};
use super::http_client::{HttpClient, Requests};
use super::http_operations::HttpOperations;
use super::launch::{Command, command};
use super::problem::Problem;
use super::template::{Scene, TemplateError, render_values};
use crate::client::{Addresses, Client, Clients};
use crate::deployment::TRANSACTIONS;
use crate::exec::{ExecClient, Launch, Pool, SharedClient, SharedPrograms, Spoken};
use crate::kafka::{Acks, ClientOptions, Committing, Idempotence, Processing};
use crate::place::ClientProgram;
use crate::postgres::{Isolation, Options};
use crate::{etcd, kafka, postgres, store};

/// Returns the vocabularies that clients of a protocol can speak.
pub(super) fn known(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Exec => &[
            "register",
            "set",
            "counter",
            "log",
            "table",
            "list-append",
            "rw-register",
            "bank",
            "fenced-mutex",
            "unique-ids",
            "job",
            "stream",
        ],
        Protocol::Http => &[
            "register",
            "set",
            "counter",
            "list-append",
            "rw-register",
            "bank",
            "fenced-mutex",
            "unique-ids",
        ],
        Protocol::Resp => {
            &["register", "set", "counter", "list-append", "rw-register", "bank", "job", "fenced-mutex"]
        }
        Protocol::Etcd => {
            &["register", "set", "counter", "list-append", "rw-register", "bank", "fenced-mutex"]
        }
        Protocol::Postgres => &["register", "set", "counter", "list-append", "rw-register", "bank"],
        Protocol::Kafka => &["log", "table"],
    }
}

/// Returns the protocols of manifests whose clients can speak a vocabulary, by name.
#[must_use]
pub fn protocols_of(vocabulary: &str) -> Vec<&'static str> {
    let all = [
        ("exec", Protocol::Exec),
        ("http", Protocol::Http),
        ("resp", Protocol::Resp),
        ("etcd", Protocol::Etcd),
        ("postgres", Protocol::Postgres),
        ("kafka", Protocol::Kafka),
    ];
    let speaking = all.into_iter().filter(|(_, protocol)| known(*protocol).contains(&vocabulary));
    speaking.map(|(name, _)| name).collect()
}

/// Whether the clients can speak a vocabulary.
pub(super) fn supports(client: &ClientTable, vocabulary: &str) -> bool {
    let requests = client.protocol != Protocol::Http || client.has_requests(vocabulary);
    known(client.protocol).contains(&vocabulary) && requests
}

/// Returns the vocabularies that the clients speak.
pub(super) fn vocabularies(client: &ClientTable) -> Vec<String> {
    match (&client.speaks, client.protocol) {
        (Some(speaks), _) => speaks.clone(),
        (None, Protocol::Exec) => vec!["register".to_owned()],
        (None, protocol) => {
            // Not every server that speaks the protocol has transactions, which locks are made of too: a manifest names them.
            let transactions = matches!(protocol, Protocol::Postgres | Protocol::Http);
            let of_transactions = |name: &str| TRANSACTIONS.contains(&name) || name == FencedMutex::NAME;
            let spoken = |name: &&&str| supports(client, name) && (transactions || !of_transactions(name));
            known(protocol).iter().filter(spoken).map(|name| (*name).to_owned()).collect()
        }
    }
}

/// Returns the operations that the clients do not have.
pub(super) fn lacks(client: &ClientTable) -> Vec<String> {
    // A set and a counter have every request of theirs.
    let register = client.register.as_ref();
    let cas = register.is_some_and(|requests| requests.cas.is_none());
    let deletes = match client.protocol {
        Protocol::Exec => true,
        Protocol::Postgres => client.statements.as_ref().is_some_and(|own| own.lack_deletes()),
        _ => register.is_some_and(|requests| requests.delete.is_none()),
    };
    let missing = [(cas, "cas"), (deletes, "deletes")].into_iter().filter(|(missing, _)| *missing);
    let missing: BTreeSet<&str> =
        missing.map(|(_, name)| name).chain(client.lacks.iter().map(String::as_str)).collect();
    missing.into_iter().map(str::to_owned).collect()
}

/// Returns the clients of a cluster.
///
/// # Errors
/// A template of a key that cannot be completed, or a level or an option that is none.
pub(super) fn clients(
    client: &ClientTable,
    scene: &Scene<'_>,
    address: Addresses,
    settings: &Settings,
) -> Result<Clients, Problem> {
    let clients = match client.protocol {
        Protocol::Exec => {
            let words = client.command.as_ref().map(Words::list).unwrap_or_default();
            let of_client = |key| move |error: TemplateError| Problem::at(["client", key], error);
            let Command { program, args } = command(scene, &words).map_err(of_client("command"))?;
            let env = render_values(scene, &client.env).map_err(of_client("env"))?;
            let env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let nodes = scene.topology.nodes.iter().zip(scene.roles);
            let launch = Arc::new(Launch {
                program: ClientProgram { program, args, env, cwd: Some(scene.folder.to_owned()) },
                nodes: nodes
                    .map(|(node, (_, port))| (node.name.to_string(), node.at(*port).to_string()))
                    .collect(),
            });
            let programs = Programs { launch, processes: client.processes.unwrap_or_default() };
            let clients = exec::<Set>(exec::<Register>(Clients::default(), &programs), &programs);
            let clients = exec::<Log>(exec::<Counter>(clients, &programs), &programs);
            let clients = exec::<ListAppend>(exec::<Table>(clients, &programs), &programs);
            let clients = exec::<Bank>(exec::<RwRegister>(clients, &programs), &programs);
            let clients = exec::<UniqueIds>(exec::<FencedMutex>(clients, &programs), &programs);
            exec::<Stream>(exec::<Job>(clients, &programs), &programs)
        }
        Protocol::Http => {
            let requests = Arc::new(Requests::new(client));
            let clients = http::<Register>(Clients::default(), &address, &requests);
            let clients = http::<Counter>(http::<Set>(clients, &address, &requests), &address, &requests);
            let clients = operations::<ListAppend>(clients, &address, &requests, client);
            let clients = operations::<RwRegister>(clients, &address, &requests, client);
            let clients = operations::<Bank>(clients, &address, &requests, client);
            let clients = operations::<FencedMutex>(clients, &address, &requests, client);
            operations::<UniqueIds>(clients, &address, &requests, client)
        }
        Protocol::Resp => store::clients(address, ""),
        Protocol::Etcd => etcd::clients(address, etcd::ReadLevel::Linearizable),
        Protocol::Postgres => postgres::clients(&address, &Arc::new(sql_options(client, scene)?)),
        Protocol::Kafka => {
            let options = kafka_options(settings);
            kafka::clients(address, options.map_err(|error| Problem::at(["options"], error))?)
        }
    };
    let speaks = vocabularies(client);
    Ok(clients.only(|name| speaks.iter().any(|known| known == name)))
}

/// The client program, and how many processes of it there are.
struct Programs {
    launch: Arc<Launch>,
    processes: Processes,
}

fn exec<A: Spoken>(clients: Clients, programs: &Programs) -> Clients {
    let launch = Arc::clone(&programs.launch);
    match programs.processes {
        Processes::PerClient => {
            let pool = Pool::default();
            clients.with::<A>(move |seat| {
                Ok(Box::new(ExecClient::new::<A>(seat, Arc::clone(&launch), pool.clone())))
            })
        }
        Processes::PerHost => {
            let running = SharedPrograms::default();
            clients.with::<A>(move |seat| {
                Ok(Box::new(SharedClient::new(seat, Arc::clone(&launch), running.clone())))
            })
        }
    }
}

fn http<A: Payload + Sync + 'static>(
    clients: Clients,
    address: &Addresses,
    requests: &Arc<Requests>,
) -> Clients
where
    HttpClient: Client<A>,
{
    let (address, requests) = (Arc::clone(address), Arc::clone(requests));
    clients.with::<A>(move |seat| {
        Ok(Box::new(HttpClient::new(address(&seat.node)?, seat, Arc::clone(&requests))))
    })
}

fn operations<A: Spoken>(
    clients: Clients,
    address: &Addresses,
    requests: &Arc<Requests>,
    client: &ClientTable,
) -> Clients {
    let (address, requests) = (Arc::clone(address), Arc::clone(requests));
    let operations = Arc::new(client.operations(A::NAME).cloned().unwrap_or_default());
    clients.with::<A>(move |seat| {
        let client = HttpClient::new(address(&seat.node)?, seat, Arc::clone(&requests));
        Ok(Box::new(HttpOperations::new(client, Arc::clone(&operations))))
    })
}

/// Returns how clients of PostgreSQL log in, and what they send.
///
/// # Errors
/// A template of a key that cannot be completed, or a level that is none.
pub(super) fn sql_options(client: &ClientTable, scene: &Scene<'_>) -> Result<Options, Problem> {
    let complete = |key: &str, text: &Option<String>| {
        let text = text.as_deref().map(|text| scene.render(text)).transpose();
        text.map_err(|error| Problem::at(["client", key], error))
    };
    let usual = |text: Option<String>| text.unwrap_or_else(|| "postgres".to_owned());
    let isolation = complete("isolation", &client.isolation)?;
    let isolation = isolation.map_or(Ok(Isolation::default()), |level| Isolation::named(&level));
    Ok(Options {
        user: usual(complete("user", &client.user)?),
        database: usual(complete("database", &client.database)?),
        password: complete("password", &client.password)?,
        isolation: isolation.map_err(|text| Problem::at(["client", "isolation"], text))?,
        statements: client.statements.clone().unwrap_or_default(),
    })
}

/// Returns how Kafka's clients send and consume: by the options of these names, where the manifest has them.
fn kafka_options(settings: &Settings) -> Result<ClientOptions, SettingsError> {
    fn word<T: serde::de::DeserializeOwned>(
        settings: &Settings,
        name: &str,
        usual: T,
    ) -> Result<T, SettingsError> {
        settings.option(name).map_or(Ok(usual), |_| settings.word(name))
    }
    Ok(ClientOptions {
        acks: word(settings, "acks", Acks::All)?,
        idempotence: word(settings, "idempotent", Idempotence::Off)?,
        retries: settings.option("retries").map_or(Ok(0), |_| settings.whole("retries"))?,
        committing: word(settings, "commit", Committing::After)?,
        processing: Processing::ExactlyOnce,
        session: kafka::USUAL_SESSION,
    })
}
