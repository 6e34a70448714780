//! A client of the workloads on logs.
//!
//! | operation | requests |
//! |---|---|
//! | `send` | Produce to each partition's leader, one after the other; messages to the same partition in a row share a batch |
//! | `poll` by assignment | Fetch from each partition's leader |
//! | `poll` by subscription | the group's requests as far as they are due, then Fetch; OffsetCommit by the target's option `commit` |
//! | `assign`, `subscribe` | LeaveGroup, if the client was a member of the group; otherwise none |
//! | `seek` | none |
//! | `commit` | OffsetCommit |
//! | `committed` | OffsetFetch |
//! | `end-offsets` | Metadata, then ListOffsets from each partition's leader |
//! | `crash` | none: the connections are closed |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::log::{Log, LogMicro, Offset, Offsets};
use tokio::time::Instant;

use crate::client::Client;
use crate::kafka::ClientOptions;
use crate::kafka::cluster::Cluster;
use crate::kafka::consumer::{Consumer, Polled};
use crate::kafka::fetch::Fetched;
use crate::kafka::offsets::{Coordinates, Stability};
use crate::kafka::partition::Partition;
use crate::kafka::producer::{Body, Producer};
use crate::kafka::{fetch, offsets};
use crate::outcome::{CauseKind, Outcome, Reach, RequestError};
use crate::place::Place;
use crate::text;

/// The one consumer group of a run.
pub(super) const GROUP: &str = "duress";

/// A client that begins with one broker.
pub struct LogClient {
    from: Arc<dyn Place>,
    bootstrap: SocketAddr,
    options: ClientOptions,
    timeout: Duration,
    parts: Parts,
}

/// The parts of a client that it loses in a crash.
struct Parts {
    cluster: Cluster,
    producer: Producer,
    consumer: Consumer,
}

impl Parts {
    fn new(from: Arc<dyn Place>, bootstrap: SocketAddr, options: ClientOptions) -> Self {
        Self {
            cluster: Cluster::new(from, bootstrap),
            producer: Producer::new(options.acks, options.idempotence, options.retries),
            consumer: Consumer::new(GROUP, options.committing, options.session),
        }
    }
}

impl LogClient {
    /// Returns a client that will connect from `from`, first to the broker at `bootstrap`, when it has to.
    #[must_use]
    pub fn new(
        from: Arc<dyn Place>,
        bootstrap: SocketAddr,
        options: ClientOptions,
        timeout: Duration,
    ) -> Self {
        let parts = Parts::new(Arc::clone(&from), bootstrap, options);
        Self { from, bootstrap, options, timeout, parts }
    }

    async fn request(&mut self, action: &Log) -> Result<Log, RequestError> {
        let deadline = Instant::now() + self.timeout;
        let Parts { cluster, producer, consumer } = &mut self.parts;
        if !matches!(action, Log::Poll(_)) {
            consumer.tend(cluster, deadline).await;
        }
        Ok(match action {
            Log::Send(micros) => Log::Send(send(cluster, producer, micros, deadline).await?),
            Log::Poll(micros) => {
                let mut answers: Vec<LogMicro> = Vec::new();
                for _ in micros {
                    let polled = match consumer.poll(cluster, deadline).await {
                        Ok(polled) => answered(polled),
                        // The messages of earlier polls of the same operation must be returned.
                        Err(_) if !answers.is_empty() => Default::default(),
                        Err(failure) => return Err(failure),
                    };
                    answers.push(LogMicro::Poll(Some(polled)));
                }
                Log::Poll(answers)
            }
            Log::Txn(_) => {
                let text = "this client has no transactions: not sent";
                return Err(RequestError::definite(CauseKind::Rejected, text));
            }
            Log::Assign { keys, from } => {
                let partitions = keys.iter().map(Partition::of_key).collect::<Result<_, _>>()?;
                consumer.assign(cluster, partitions, *from, deadline).await;
                action.clone()
            }
            Log::Subscribe(topics) => {
                let topics = topics.iter().map(ToString::to_string).collect();
                consumer.subscribe(cluster, topics, deadline).await;
                action.clone()
            }
            Log::Seek(offsets) => {
                let offsets = offsets.iter().map(|(key, offset)| Ok((Partition::of_key(key)?, offset.0)));
                consumer.seek(offsets.collect::<Result<_, RequestError>>()?)?;
                action.clone()
            }
            Log::Commit(_) => Log::Commit(Some(named(consumer.commit(cluster, deadline).await?))),
            Log::Committed(_) => {
                let coordinator =
                    offsets::find_coordinator(cluster, Coordinates::Group, GROUP, deadline).await?;
                let committed =
                    offsets::committed(cluster, coordinator, GROUP, None, Stability::Any, deadline).await;
                Log::Committed(Some(named(committed.map_err(|refused| refused.error)?)))
            }
            Log::EndOffsets(_) => {
                cluster.refresh(None, deadline).await?;
                let partitions: Vec<Partition> = cluster.partitions().cloned().collect();
                let ends = fetch::ends(cluster, &partitions, deadline).await?;
                Log::EndOffsets(Some(named(ends)))
            }
            Log::Crash => {
                self.parts = Parts::new(Arc::clone(&self.from), self.bootstrap, self.options);
                return Err(RequestError::open(CauseKind::Unknown, "the client crashed, as requested"));
            }
        })
    }
}

#[async_trait]
impl Client<Log> for LogClient {
    async fn invoke(&mut self, action: &Log) -> Outcome<Log> {
        match self.request(action).await {
            Ok(answer) => Outcome::Ok(answer),
            Err(failure) => Outcome::failed(action, failure),
        }
    }
}

/// Sends each message; a sent one is answered with its offset if the broker returned it.
async fn send(
    cluster: &mut Cluster,
    producer: &mut Producer,
    micros: &[LogMicro],
    deadline: Instant,
) -> Result<Vec<LogMicro>, RequestError> {
    let mut messages = Vec::new();
    for micro in micros {
        let LogMicro::Send { key, value, .. } = micro else {
            return Err(RequestError::definite(CauseKind::Rejected, "a poll among sends: not sent"));
        };
        let value_text = text::encode(value)?;
        let body = Body { key: None, value: Some(value_text.into()) };
        messages.push((Partition::of_key(key)?, key, value, body));
    }
    let mut answers = Vec::new();
    for run in messages.chunk_by(|(one, ..), (other, ..)| one == other) {
        let bodies: Vec<Body> = run.iter().map(|(.., body)| body.clone()).collect();
        let sent = producer.append(cluster, &run[0].0, &bodies, deadline).await;
        let first = sent.map_err(|failure| match answers.is_empty() {
            true => failure,
            // Others of the same operation were sent already.
            false => RequestError { reach: Reach::Unknown, ..failure },
        })?;
        answers.extend((0..).zip(run).map(|(place, (_, key, value, _))| LogMicro::Send {
            key: (*key).clone(),
            value: (*value).clone(),
            offset: first.map(|first| Offset(first.0 + place)),
        }));
    }
    Ok(answers)
}

/// Converts the polled messages to the vocabulary.
fn answered(polled: Polled) -> duress_history::log::Polled {
    let records = |records: Vec<Fetched>| {
        records.into_iter().map(|record| (record.offset, value_of(record.value.as_deref()))).collect()
    };
    polled.into_iter().map(|(partition, of_it)| (partition.key(), records(of_it))).collect()
}

/// Returns the value of a message. A value that no client here ever sends is a string, so that the history
/// shows it as never sent.
fn value_of(value: Option<&[u8]>) -> Scalar {
    match value {
        None => Scalar::from("a message without a value"),
        Some(bytes) => text::decode(bytes).unwrap_or_else(|_| Scalar::from(&*String::from_utf8_lossy(bytes))),
    }
}

/// Offsets by the keys of the vocabulary.
pub(super) fn named(offsets: BTreeMap<Partition, u64>) -> Offsets {
    offsets.into_iter().map(|(partition, offset)| (partition.key(), Offset(offset))).collect()
}
