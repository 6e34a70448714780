//! One node of the mode `primary`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::acks::Acks;
use super::election::{Lead, View};
use super::elector::{self, Elector, Event, Timing};
use super::herald::{self, Confirm, Herald};
use super::ledger::{Following, Ledger, Position};
use super::message::{Pull, Pulled, Request, Response};
use super::replica::{Counts, FOLLOW_WAIT, Replica, WRITES_MAX};
use super::rules::Rules;
use super::writer::{Writer, Writes};
use crate::bug::Bug;
use crate::command::{Answer, Command, Query, Reply};
use crate::config::{Ack, Config, Failover, NodeName, PrimaryOptions, ReadFrom};
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
    me: NodeName,
    rules: Rules,
    read: ReadFrom,
    ledger: Ledger,
    acks: Acks,
    counts: Arc<Counts>,
    writes: Writes,
    // Held here too, so that tasks which wait for a change of it do so until the node ends.
    view: Arc<watch::Sender<View>>,
    events: mpsc::Sender<Event>,
    confirms: mpsc::Sender<Confirm>,
    links: BTreeMap<NodeName, Link>,
    bug: Option<Bug>,
    request_timeout: Duration,
    failure: watch::Receiver<Option<DiskError>>,
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
        let (me, bug) = (config.node.clone(), config.bug);
        let owner = format!("{me} of {}", hello.cluster);
        let (ledger, ballot) = Ledger::open(&config.data, &owner, options.log_keep, bug)?;
        let rules = Rules { nodes: members.len(), ack: options.ack, failover: options.failover, bug };
        let others: Vec<NodeName> = members.iter().filter(|name| **name != me).cloned().collect();
        let first = members.into_iter().next().expect("this node is a member");
        let mut links = BTreeMap::new();
        // Without failover replicas connect to the primary only, and the primary to no node: it answers.
        let is_needed = |name: &NodeName| rules.failover == Failover::Auto || *name == first;
        for peer in config.peers.iter().filter(|peer| is_needed(&peer.name)) {
            let (link, task) = Link::new(peer.name.clone(), peer.address, hello.clone());
            tasks.spawn(task.run());
            links.insert(peer.name.clone(), link);
        }
        let view = Arc::new(watch::Sender::new(match rules.failover {
            Failover::Off if me == first => View { epoch: 0, lead: Lead::Own },
            Failover::Off => View { epoch: 0, lead: Lead::Other(first) },
            Failover::Auto => View { epoch: ballot.epoch, lead: Lead::Unknown },
        }));
        let acks = Acks::new(rules, ledger.clone(), view.subscribe());
        let (failed, failure) = watch::channel(None);
        let report = move |result: Result<(), DiskError>| {
            if let Err(error) = result {
                failed.send_replace(Some(error));
            }
        };
        let (events, event_queue) = mpsc::channel(elector::QUEUE_MAX);
        let (confirms, confirm_queue) = mpsc::channel(herald::QUEUE_MAX);
        if rules.failover == Failover::Auto {
            let contact = Arc::new(watch::channel(None).0);
            let herald = Herald {
                me: me.clone(),
                peers: links.clone(),
                rules,
                acks: acks.clone(),
                view: view.subscribe(),
                confirms: confirm_queue,
                contact: Arc::clone(&contact),
                events: events.clone(),
                heartbeat: options.heartbeat,
                answer_max: options.election_max,
            };
            tasks.spawn(herald.run());
            let elector = Elector {
                me: me.clone(),
                peers: links.clone(),
                rules,
                timing: Timing { election_min: options.election_min, election_max: options.election_max },
                ledger: ledger.clone(),
                acks: acks.clone(),
                ballot,
                view: Arc::clone(&view),
                contact,
                events: event_queue,
            };
            let report = report.clone();
            tasks.spawn(async move { report(elector.run().await) });
        }
        let counts = Arc::<Counts>::default();
        let replica = Replica {
            me: me.clone(),
            ledger: ledger.clone(),
            acks: acks.clone(),
            view: view.subscribe(),
            counts: Arc::clone(&counts),
        };
        let (writes, writer) = Writer::new(ledger.clone(), acks.clone(), rules, view.subscribe(), others);
        let replicating = replicate(writer, replica, links.clone(), view.subscribe());
        tasks.spawn(async move { report(replicating.await) });
        let inner = Inner {
            me,
            rules,
            read: options.read,
            ledger,
            acks,
            counts,
            writes,
            view,
            events,
            confirms,
            links,
            bug,
            request_timeout: config.request_timeout,
            failure,
        };
        let node = Self { inner: Arc::new(inner) };
        tracing::info!(role = node.status().role, "role");
        Ok(node)
    }

    /// Executes writes, in order, as one, at the primary.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let View { epoch, lead } = self.view();
        match lead {
            Lead::Own => self.write_here(epoch, commands).await,
            Lead::Unknown => Err(NotExecuted::NoLeader.into()),
            Lead::Other(primary) => match self.forward(&primary, &Request::Write(commands)).await? {
                Response::Written(result) => result,
                Response::NotPrimary(_) => Err(NotExecuted::NotLeader.into()),
                _ => Err(Unknown::ConnectionLost.into()),
            },
        }
    }

    async fn write_here(&self, epoch: u64, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let early = self.inner.ledger.look(|values, _| EarlyReads::take(self.inner.bug, values, &commands));
        let written = timeout(self.inner.request_timeout, self.inner.writes.execute(commands)).await;
        let executed = written.unwrap_or(Err(Unknown::TimedOut.into()))?;
        if !executed.changed {
            // It is a read.
            self.confirm(epoch).await?;
        }
        let mut replies = executed.replies;
        if let Some(early) = early {
            early.replace(&mut replies);
        }
        Ok(replies)
    }

    /// Answers queries, all as of one moment: of the primary's copy, or of this node's with `read=any`.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, Failure> {
        let View { epoch, lead } = self.view();
        match (lead, self.inner.read) {
            (Lead::Own, _) => {
                let answers = self.answer(&queries).await?;
                self.confirm(epoch).await?;
                Ok(answers)
            }
            (_, ReadFrom::Any) => self.answer(&queries).await,
            (Lead::Unknown, ReadFrom::Primary) => Err(NotExecuted::NoLeader.into()),
            (Lead::Other(primary), ReadFrom::Primary) => {
                match self.forward(&primary, &Request::Read(queries)).await? {
                    Response::Read(result) => result,
                    Response::NotPrimary(_) => Err(NotExecuted::NotLeader.into()),
                    _ => Err(Unknown::ConnectionLost.into()),
                }
            }
        }
    }

    /// Answers queries from this node's copy; where that is of use, from a state that cannot be lost.
    async fn answer(&self, queries: &[Query]) -> Result<Vec<Answer>, Failure> {
        let Inner { ledger, acks, rules, request_timeout, .. } = &*self.inner;
        let look = || {
            ledger.look(|values, position| {
                (queries.iter().map(|query| values.answer(query)).collect::<Vec<_>>(), position)
            })
        };
        if !rules.survives_failover() {
            return Ok(look().0);
        }
        let mut settled = acks.changes();
        let settling = async {
            loop {
                let (answers, position) = look();
                if settled.wait_for(|settled| *settled >= position.offset).await.is_err() {
                    return Err(NotExecuted::ShuttingDown.into());
                }
                // A full copy may have taken the place of what was seen.
                if ledger.has(position) {
                    return Ok(answers);
                }
            }
        };
        timeout(*request_timeout, settling).await.unwrap_or(Err(Unknown::TimedOut.into()))
    }

    /// Makes sure, where that is of use, that no other primary had been elected when this was called.
    async fn confirm(&self, epoch: u64) -> Result<(), NotExecuted> {
        if !self.inner.rules.survives_failover() {
            return Ok(());
        }
        let (confirm, confirmed) = oneshot::channel();
        self.inner.confirms.send(confirm).await.map_err(|_| NotExecuted::ShuttingDown)?;
        let confirmed = timeout(self.inner.request_timeout, confirmed).await;
        if !matches!(confirmed, Ok(Ok(()))) {
            return Err(NotExecuted::NoQuorum);
        }
        // The round was of this epoch if the epoch is still the same.
        if self.view() == (View { epoch, lead: Lead::Own }) { Ok(()) } else { Err(NotExecuted::NotLeader) }
    }

    /// Returns the status of this node, as it knows it without asking another node.
    pub fn status(&self) -> Status {
        let Inner { ledger, acks, rules, counts, .. } = &*self.inner;
        let (keys, position) = ledger.look(|values, position| (values.len(), position));
        let View { epoch, lead } = self.view();
        let mut fields =
            vec![("offset", position.offset.to_string()), ("lineage", format!("{:016x}", position.lineage))];
        if rules.failover == Failover::Auto {
            fields.push(("epoch", epoch.to_string()));
        }
        if rules.ack != Ack::Async {
            fields.push(("settled", acks.settled().to_string()));
        }
        let (role, leader) = match lead {
            Lead::Own => {
                let progress = acks.progress();
                let each = |value: &dyn Fn(&super::acks::Progress) -> String| {
                    let shown = progress.iter().map(|one| format!("{}={}", one.replica, value(one)));
                    shown.collect::<Vec<_>>().join(",")
                };
                fields.push(("replicas_in_contact", acks.in_contact().to_string()));
                fields.push(("replica_offsets", each(&|one| one.offset.to_string())));
                let lag = |one: &super::acks::Progress| position.offset.saturating_sub(one.offset);
                fields.push(("replica_lags", each(&|one| lag(one).to_string())));
                fields.push(("replica_lags_ms", each(&|one| one.behind.as_millis().to_string())));
                ("primary", Some(self.inner.me.to_string()))
            }
            lead => {
                let primary = if let Lead::Other(name) = lead { Some(name) } else { None };
                let link = primary.as_ref().and_then(|name| self.inner.links.get(name));
                let state = if link.is_some_and(Link::is_connected) { "up" } else { "down" };
                fields.push(("primary_link_status", state.into()));
                let age = counts.age().map_or_else(String::new, |age| age.as_millis().to_string());
                fields.push(("age_ms", age));
                ("replica", primary.map(|name| name.to_string()))
            }
        };
        fields.push(("sync_partial", counts.partial.load(Ordering::Relaxed).to_string()));
        fields.push(("sync_full", counts.full.load(Ordering::Relaxed).to_string()));
        Status { mode: "primary", role, leader, keys, fields }
    }

    /// Returns the contents of this node.
    pub fn contents(&self) -> Contents {
        self.inner.ledger.look(|values, Position { lineage, epoch, offset }| {
            let position = match epoch {
                0 => format!("{offset} of {lineage:016x}"),
                _ => format!("{offset} in epoch {epoch} of {lineage:016x}"),
            };
            Contents::new(position, values)
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

    fn view(&self) -> View {
        self.inner.view.borrow().clone()
    }

    async fn forward(&self, primary: &NodeName, request: &Request) -> Result<Response, Failure> {
        let Some(primary) = self.inner.links.get(primary) else {
            return Err(NotExecuted::LeaderUnreachable.into());
        };
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

    /// Returns what a replica needs next, as soon as there is something; `None` if this node is not the primary of its epoch.
    async fn pulled(&self, pull: &Pull) -> Option<Pulled> {
        let Inner { ledger, acks, rules, .. } = &*self.inner;
        let lead = View { epoch: pull.epoch, lead: Lead::Own };
        if self.view() != lead {
            return None;
        }
        acks.note(pull);
        let next = || {
            let settled = acks.settled();
            Pulled {
                next: ledger.following(pull.position, WRITES_MAX),
                last: ledger.position().offset,
                settled,
            }
        };
        let mut pulled = next();
        let has_writes = !matches!(&pulled.next, Following::Writes { writes, .. } if writes.is_empty());
        if !has_writes {
            let mut settled = acks.changes();
            let more_settled = async {
                if !rules.survives_failover() || settled.wait_for(|now| *now > pull.settled).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let moved = async {
                tokio::select! {
                    () = ledger.moved_from(pull.position.offset) => {}
                    () = more_settled => {}
                }
            };
            if timeout(FOLLOW_WAIT, moved).await.is_ok() {
                pulled = next();
            }
        }
        // The contents are those of a replica if it is one by now.
        (self.view() == lead).then_some(pulled)
    }

    /// Has the elector answer; `None` if this node has no elections, or stops.
    async fn elected<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inner.events.send(event(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Handler for PrimaryNode {
    async fn handle(&self, payload: Bytes) -> Option<Bytes> {
        let View { epoch, lead } = self.view();
        let response = match decode(&payload)? {
            Request::Lead { epoch, primary } => {
                Response::Led(self.elected(|reply| Event::Led { epoch, primary, reply }).await?)
            }
            Request::Stand(candidacy) => {
                let (epoch, granted) = self.elected(|reply| Event::Asked { candidacy, reply }).await?;
                Response::Voted { epoch, granted }
            }
            _ if lead != Lead::Own => Response::NotPrimary(epoch),
            Request::Write(commands) => Response::Written(self.write_here(epoch, commands).await),
            Request::Read(queries) => Response::Read(self.read(queries).await),
            Request::Follow(pull) => match self.pulled(&pull).await {
                Some(pulled) => Response::Follow(pulled),
                None => Response::NotPrimary(self.view().epoch),
            },
        };
        Some(encode(&response))
    }

    fn introduced(&self, peer: &NodeName) {
        if let Some(link) = self.inner.links.get(peer) {
            link.peer_is_back();
        }
    }
}

/// Executes writes while this node is the primary, and follows another one while it is not. One task does both, since only one
/// may change the ledger.
async fn replicate(
    mut writer: Writer,
    replica: Replica,
    links: BTreeMap<NodeName, Link>,
    mut view: watch::Receiver<View>,
) -> Result<(), DiskError> {
    loop {
        let seen = view.borrow_and_update().clone();
        if seen.lead == Lead::Own {
            writer.lead(seen.epoch).await?;
            if *view.borrow() == seen {
                // It has no handles any more: the node stops.
                return Ok(());
            }
            continue;
        }
        let following = async {
            match &seen.lead {
                Lead::Other(primary) if links.contains_key(primary) => {
                    replica.follow(&seen, &links[primary]).await
                }
                _ => {
                    view.changed().await.ok();
                    Ok(())
                }
            }
        };
        tokio::select! {
            followed = following => followed?,
            () = writer.refuse() => {}
        }
    }
}
