//! One node of the mode `primary`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::ledger::{Following, Ledger, Position};
use super::message::{Request, Response};
use super::replica::{FOLLOW_WAIT, WRITES_MAX, follow};
use super::writer::{Writer, Writes};
use crate::bug::Bug;
use crate::command::{Answer, Command, Query, Reply};
use crate::config::{Config, NodeName, PrimaryOptions, ReadFrom};
use crate::early_reads::EarlyReads;
use crate::node::{self, Contents, Status};
use crate::outcome::{Failure, NotExecuted, Unknown};
use duress_consensus::disk::DiskError;
use duress_consensus::peer::frame::Hello;
use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{CallError, Handler, Link};

/// How long a request waits for a connection to the primary before it is refused.
const CONNECTION_WAIT: Duration = Duration::from_millis(300);

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct PrimaryNode {
    inner: Arc<Inner>,
}

struct Inner {
    role: Role,
    primary: NodeName,
    read: ReadFrom,
    ledger: Ledger,
    links: BTreeMap<NodeName, Link>,
    bug: Option<Bug>,
    request_timeout: Duration,
    failure: watch::Receiver<Option<DiskError>>,
}

enum Role {
    Primary(Writes),
    Replica(Link),
}

impl PrimaryNode {
    /// Opens the data folder and starts to execute writes, or to follow the primary. The node's tasks run in `tasks`.
    ///
    /// # Errors
    /// The data folder cannot be used.
    pub fn start(
        config: &Config,
        options: &PrimaryOptions,
        members: Vec<NodeName>,
        hello: &Hello,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, DiskError> {
        let owner = format!("{} of {}", config.node, hello.cluster);
        let ledger = Ledger::open(&config.data, &owner, options.log_keep, config.bug)?;
        let primary = members.into_iter().next().expect("this node is a member");
        let mut links = BTreeMap::new();
        // Replicas connect to the primary only, and the primary to no node: it answers.
        for peer in config.peers.iter().filter(|peer| peer.name == primary) {
            let (link, task) = Link::new(peer.name.clone(), peer.address, hello.clone());
            tasks.spawn(task.run());
            links.insert(peer.name.clone(), link);
        }
        let (failed, failure) = watch::channel(None);
        let report = move |result: Result<(), DiskError>| {
            if let Err(error) = result {
                failed.send_replace(Some(error));
            }
        };
        let role = match links.get(&primary) {
            Some(link) => {
                let following = follow(ledger.clone(), link.clone());
                tasks.spawn(async move { report(following.await) });
                Role::Replica(link.clone())
            }
            None => {
                let (writes, writer) = Writer::new(ledger.clone());
                tasks.spawn(async move { report(writer.run().await) });
                Role::Primary(writes)
            }
        };
        let inner = Inner {
            role,
            primary,
            read: options.read,
            ledger,
            links,
            bug: config.bug,
            request_timeout: config.request_timeout,
            failure,
        };
        let node = Self { inner: Arc::new(inner) };
        tracing::info!(role = node.status().role, primary = %node.inner.primary, "role");
        Ok(node)
    }

    /// Executes writes, in order, as one, at the primary.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        match &self.inner.role {
            Role::Primary(writes) => {
                let early =
                    self.inner.ledger.look(|values, _| EarlyReads::take(self.inner.bug, values, &commands));
                let written = timeout(self.inner.request_timeout, writes.execute(commands)).await;
                let mut replies = written.unwrap_or(Err(Unknown::TimedOut.into()))?;
                if let Some(early) = early {
                    early.replace(&mut replies);
                }
                Ok(replies)
            }
            Role::Replica(link) => match self.forward(link, &Request::Write(commands)).await? {
                Response::Written(result) => result,
                Response::NotPrimary => Err(NotExecuted::NotLeader.into()),
                _ => Err(Unknown::ConnectionLost.into()),
            },
        }
    }

    /// Answers queries, all as of one moment: of the primary's copy, or of this node's with `read=any`.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, Failure> {
        match (&self.inner.role, self.inner.read) {
            (Role::Primary(_), _) | (_, ReadFrom::Any) => Ok(self.answer(&queries)),
            (Role::Replica(link), ReadFrom::Primary) => {
                match self.forward(link, &Request::Read(queries)).await? {
                    Response::Read(result) => result,
                    Response::NotPrimary => Err(NotExecuted::NotLeader.into()),
                    _ => Err(Unknown::ConnectionLost.into()),
                }
            }
        }
    }

    /// Returns the status of this node, as it knows it without asking another node.
    pub fn status(&self) -> Status {
        let (keys, position) = self.inner.ledger.look(|values, position| (values.len(), position));
        let mut fields =
            vec![("offset", position.offset.to_string()), ("lineage", format!("{:016x}", position.lineage))];
        let role = match &self.inner.role {
            Role::Primary(_) => "primary",
            Role::Replica(link) => {
                let state = if link.is_connected() { "up" } else { "down" };
                fields.push(("primary_link_status", state.into()));
                "replica"
            }
        };
        Status { mode: "primary", role, leader: Some(self.inner.primary.to_string()), keys, fields }
    }

    /// Returns the contents of this node.
    pub fn contents(&self) -> Contents {
        self.inner.ledger.look(|values, Position { lineage, offset }| {
            Contents::new(format!("{offset} of {lineage:016x}"), values)
        })
    }

    /// Returns when the node's storage has failed.
    pub async fn failed(&self) -> DiskError {
        node::failed(self.inner.failure.clone()).await
    }

    /// Closes the data folder.
    pub async fn stop(&self) {
        self.inner.ledger.close().await;
    }

    fn answer(&self, queries: &[Query]) -> Vec<Answer> {
        self.inner.ledger.look(|values, _| queries.iter().map(|query| values.answer(query)).collect())
    }

    async fn forward(&self, primary: &Link, request: &Request) -> Result<Response, Failure> {
        let deadline = Instant::now() + self.inner.request_timeout;
        let give_up = deadline.min(Instant::now() + CONNECTION_WAIT);
        loop {
            if timeout_at(give_up, primary.connected()).await.is_err() {
                return Err(NotExecuted::LeaderUnreachable.into());
            }
            let payload = match primary.call(encode(request), deadline).await {
                Ok(payload) => payload,
                // The connection was lost before anything was sent, so the request may be tried again.
                Err(CallError::NotSent) if !primary.is_connected() => continue,
                Err(CallError::NotSent) => return Err(NotExecuted::LeaderUnreachable.into()),
                Err(CallError::Lost) => return Err(Unknown::ConnectionLost.into()),
                Err(CallError::TimedOut) => return Err(Unknown::TimedOut.into()),
            };
            return decode(&payload).ok_or_else(|| Unknown::ConnectionLost.into());
        }
    }
}

impl Handler for PrimaryNode {
    async fn handle(&self, payload: Bytes) -> Option<Bytes> {
        let request = decode(&payload)?;
        let Role::Primary(_) = &self.inner.role else { return Some(encode(&Response::NotPrimary)) };
        let response = match request {
            Request::Write(commands) => Response::Written(self.write(commands).await),
            Request::Read(queries) => Response::Read(Ok(self.answer(&queries))),
            Request::Follow(theirs) => {
                let ledger = &self.inner.ledger;
                let mut next = ledger.following(theirs, WRITES_MAX);
                if next == Following::Writes(Vec::new())
                    && timeout(FOLLOW_WAIT, ledger.moved_from(theirs.offset)).await.is_ok()
                {
                    next = ledger.following(theirs, WRITES_MAX);
                }
                Response::Follow(next)
            }
        };
        Some(encode(&response))
    }

    fn introduced(&self, peer: &NodeName) {
        if let Some(link) = self.inner.links.get(peer) {
            link.peer_is_back();
        }
    }
}
