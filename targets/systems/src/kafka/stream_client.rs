//! A client of the `stream` workload.
//!
//! | operation | requests |
//! |---|---|
//! | `send` | Produce to the leader of the input's partition |
//! | `process` | the group's requests as far as they are due; after joining OffsetFetch, and Fetch of the outputs so far; Fetch of inputs; then, exactly once: InitProducerId where it begins, AddPartitionsToTxn, Produce, AddOffsetsToTxn, TxnOffsetCommit and EndTxn; at least once: Produce and OffsetCommit |
//! | `read` | Fetch of committed outputs |
//! | `progress` | OffsetFetch, then ListOffsets |
//!
//! A worker keeps a table: the count of each key. After it has joined the group or an attempt has failed, it reads from the
//! outputs of its partitions what it has not read yet, up to their ends, so that it continues what its predecessor left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::log::Offset;
use duress_history::stream::{Output, PartRead, Progress, ReadFrom, Stream, StreamRecord, Then};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::kafka::ClientOptions;
use crate::kafka::cluster::{Cluster, share};
use crate::kafka::connection::as_definite;
use crate::kafka::fetch::{self, Fetched, Isolation};
use crate::kafka::group::{Joined, Membership};
use crate::kafka::log_client::{GROUP, named};
use crate::kafka::offsets::{self, Coordinates, Stability};
use crate::kafka::partition::Partition;
use crate::kafka::producer::{Body, Producer};
use crate::kafka::transaction::{Outcome as Ending, Transactional};
use crate::outcome::{CauseKind, Outcome, Reach, RequestError};
use crate::place::Place;
use crate::setup::{STREAM_INPUTS, STREAM_OUTPUTS};
use crate::text;

/// The most inputs of one partition that an attempt processes.
const INPUTS_MAX: usize = 50;
/// How long to wait before offsets that an open transaction may replace are asked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How long a worker without partitions waits.
const IDLE: Duration = Duration::from_millis(100);

/// How workers process inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Processing {
    /// Outputs and offsets are committed in one transaction.
    ExactlyOnce,
    /// Outputs are written, and then offsets are committed.
    AtLeastOnce,
}

/// A client that begins with one broker.
pub struct StreamClient {
    from: Arc<dyn Place>,
    bootstrap: SocketAddr,
    options: ClientOptions,
    timeout: Duration,
    parts: Parts,
}

/// The parts of a client that it loses when it dies.
struct Parts {
    cluster: Cluster,
    producer: Producer,
    worker: Option<Worker>,
    /// How far it has read the outputs.
    read: BTreeMap<Partition, u64>,
}

impl Parts {
    fn new(from: Arc<dyn Place>, bootstrap: SocketAddr, options: ClientOptions) -> Self {
        Self {
            cluster: Cluster::new(from, bootstrap),
            producer: Producer::new(options.acks, options.idempotence, options.retries),
            worker: None,
            read: BTreeMap::new(),
        }
    }
}

/// A worker's state.
struct Worker {
    membership: Membership,
    transactional: Transactional,
    /// The next inputs; unknown until the committed offsets were read.
    positions: Option<BTreeMap<Partition, u64>>,
    /// By number of the partition.
    tables: BTreeMap<i32, Table>,
}

/// The table of one partition.
#[derive(Clone, Debug, Default)]
struct Table {
    counts: BTreeMap<Scalar, u64>,
    /// How far the outputs have been folded into it.
    read_to: u64,
}

impl StreamClient {
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

    async fn request(&mut self, action: &Stream) -> Result<Stream, RequestError> {
        let deadline = Instant::now() + self.timeout;
        match action {
            Stream::Send { partition, key, value, .. } => {
                let body =
                    Body { key: Some(text::encode(key)?.into()), value: Some(text::encode(value)?.into()) };
                let Parts { cluster, producer, .. } = &mut self.parts;
                let offset =
                    producer.append(cluster, &Partition::of_key(partition)?, &[body], deadline).await?;
                let (partition, key, value) = (partition.clone(), key.clone(), value.clone());
                Ok(Stream::Send { partition, key, value, offset })
            }
            Stream::Process { worker, attempt, then, .. } => {
                let (worker, attempt, then) = (*worker, *attempt, *then);
                let outputs = self.process(worker, attempt, then, deadline).await;
                if then == Then::Die && !matches!(&outputs, Ok(None)) {
                    self.parts = Parts::new(Arc::clone(&self.from), self.bootstrap, self.options);
                }
                Ok(Stream::Process { worker, attempt, then, outputs: Some(outputs?.unwrap_or_default()) })
            }
            Stream::Read { from, .. } => {
                let read = self.parts.read(*from, deadline).await?;
                Ok(Stream::Read { from: *from, read: Some(read) })
            }
            Stream::Progress(_) => Ok(Stream::Progress(Some(self.parts.progress(deadline).await?))),
        }
    }

    /// Processes the next inputs; returns the outputs that are committed, or `None` if there was no input.
    async fn process(
        &mut self,
        number: u64,
        attempt: u64,
        then: Then,
        deadline: Instant,
    ) -> Result<Option<Vec<Output>>, RequestError> {
        let options = self.options;
        let Parts { cluster, producer, worker, .. } = &mut self.parts;
        let worker = worker.get_or_insert_with(|| Worker {
            membership: Membership::new(GROUP, vec![STREAM_INPUTS.to_owned()], options.session),
            transactional: Transactional::new(format!("worker-{number}")),
            positions: None,
            tables: BTreeMap::new(),
        });
        // Nothing is written before inputs are there.
        let inputs = worker.inputs(cluster, options.processing, deadline).await.map_err(as_definite)?;
        if inputs.is_empty() {
            return Ok(None);
        }
        let batch = worker.transform(&inputs, attempt).map_err(as_definite)?;
        let ended = match options.processing {
            Processing::ExactlyOnce => worker.transact(cluster, &batch, then, deadline).await,
            Processing::AtLeastOnce => worker.write(cluster, producer, &batch, then, deadline).await,
        };
        match ended {
            Ok(()) => {
                worker.advance(&batch);
                Ok(Some(batch.outputs))
            }
            Err(error) => {
                worker.positions = None;
                worker.transactional.reset();
                Err(error)
            }
        }
    }
}

/// The records that an attempt writes.
struct Batch {
    outputs: Vec<Output>,
    records: BTreeMap<Partition, Vec<Body>>,
    /// The positions after the inputs.
    next: BTreeMap<Partition, u64>,
    /// The table after them, as far as it changes.
    counts: BTreeMap<i32, BTreeMap<Scalar, u64>>,
}

/// The partition of the outputs that belongs to one of the inputs.
fn output_of(input: &Partition) -> Partition {
    Partition { topic: STREAM_OUTPUTS.into(), index: input.index }
}

impl Worker {
    /// Returns the next inputs by partition, each with the position after them.
    async fn inputs(
        &mut self,
        cluster: &mut Cluster,
        processing: Processing,
        deadline: Instant,
    ) -> Result<BTreeMap<Partition, (Vec<Fetched>, u64)>, RequestError> {
        // A member that cannot reach its coordinator remains a member until it learns otherwise.
        let _ = self.membership.keep_alive(cluster, share(deadline, 3)).await;
        if self.membership.join(cluster, deadline).await? == Joined::Now {
            self.positions = None;
        }
        if processing == Processing::ExactlyOnce {
            self.transactional.begin(cluster, deadline).await?;
        }
        let positions = match self.positions.take() {
            Some(positions) => positions,
            None => self.catch_up(cluster, deadline).await?,
        };
        if positions.is_empty() {
            // As long as a broker would wait for records: a worker without partitions does not ask all the time.
            sleep_until(deadline.min(Instant::now() + IDLE)).await;
        }
        let portions = fetch::fetch(cluster, &positions, Isolation::Committed, deadline).await;
        self.positions = Some(positions);
        let inputs = portions?.into_iter().filter(|(_, portion)| !portion.records.is_empty());
        let limited = inputs.map(|(partition, mut portion)| {
            if portion.records.len() > INPUTS_MAX {
                portion.records.truncate(INPUTS_MAX);
                portion.next = portion.records.last().map_or(0, |last| last.offset.0 + 1);
            }
            (partition, (portion.records, portion.next))
        });
        Ok(limited.collect())
    }

    /// Returns the group's positions, and brings the tables up to them.
    async fn catch_up(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<BTreeMap<Partition, u64>, RequestError> {
        let committed = loop {
            match self.membership.committed(cluster, Stability::Required, deadline).await {
                Ok(committed) => break committed,
                Err(error) => {
                    let again = Instant::now() + AGAIN_AFTER;
                    if error.cause.kind != CauseKind::Rejected || again >= deadline {
                        return Err(error);
                    }
                    sleep_until(again).await;
                }
            }
            if self.membership.assignment().is_none() {
                return Err(RequestError::definite(CauseKind::Rejected, "no member of the group any more"));
            }
        };
        let assigned: Vec<Partition> = self.membership.assignment().unwrap_or_default().to_vec();
        if !assigned.is_empty() {
            let outputs: Vec<Partition> = assigned.iter().map(output_of).collect();
            known(cluster, deadline).await?;
            // The ends of everything, open transactions included: what a predecessor wrote is settled up to there once it
            // has been read.
            let ends = fetch::ends(cluster, &outputs, deadline).await?;
            self.restore(cluster, &ends, deadline).await?;
        }
        let position = |partition: Partition| {
            let position = committed.get(&partition).copied().unwrap_or(0);
            (partition, position)
        };
        Ok(assigned.into_iter().map(position).collect())
    }

    /// Folds the outputs up to `ends` into the tables.
    async fn restore(
        &mut self,
        cluster: &mut Cluster,
        ends: &BTreeMap<Partition, u64>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        loop {
            let position = |partition: &Partition| self.tables.get(&partition.index).map_or(0, |t| t.read_to);
            let behind: BTreeMap<Partition, u64> = ends
                .iter()
                .map(|(partition, end)| (partition.clone(), position(partition), *end))
                .filter(|(_, position, end)| position < end)
                .map(|(partition, position, _)| (partition, position))
                .collect();
            if behind.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let text = "the outputs were not read to their ends in time";
                return Err(RequestError::definite(CauseKind::Timeout, text));
            }
            for (partition, portion) in fetch::fetch(cluster, &behind, Isolation::Committed, deadline).await?
            {
                let table = self.tables.entry(partition.index).or_default();
                for record in portion.records {
                    let StreamRecord { key, count, .. } = output_in(&record);
                    table.counts.insert(key, count);
                }
                table.read_to = portion.next;
            }
        }
    }

    /// Returns what is to be written for `inputs`.
    fn transform(
        &self,
        inputs: &BTreeMap<Partition, (Vec<Fetched>, u64)>,
        attempt: u64,
    ) -> Result<Batch, RequestError> {
        let (outputs, next) = (Vec::new(), BTreeMap::new());
        let mut batch = Batch { outputs, records: BTreeMap::new(), next, counts: BTreeMap::new() };
        for (input, (records, next)) in inputs {
            let partition = output_of(input);
            let table = self.tables.get(&input.index);
            let counts = batch.counts.entry(input.index).or_default();
            for record in records {
                let key = scalar(record.key.as_deref().unwrap_or_default());
                let value = scalar(record.value.as_deref().unwrap_or_default());
                let kept = || table.and_then(|table| table.counts.get(&key)).copied().unwrap_or(0);
                let count = counts.get(&key).copied().unwrap_or_else(kept) + 1;
                counts.insert(key.clone(), count);
                let body = Body {
                    key: record.key.clone(),
                    value: Some(format!("{count} {attempt} {}", text::encode(&value)?).into()),
                };
                batch.records.entry(partition.clone()).or_default().push(body);
                batch.outputs.push(Output { partition: partition.key(), key, count, value });
            }
            batch.next.insert(input.clone(), *next);
        }
        Ok(batch)
    }

    /// Writes outputs and offsets in one transaction. An error is definite if it is certainly not committed.
    async fn transact(
        &mut self,
        cluster: &mut Cluster,
        batch: &Batch,
        then: Then,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let Self { membership, transactional, .. } = self;
        // Without a request to commit it will be aborted, by the next instance of this worker or in time.
        transactional.append(cluster, &batch.records, deadline).await.map_err(as_definite)?;
        let committed = transactional.commit_offsets(cluster, membership, &batch.next, deadline).await;
        committed.map_err(as_definite)?;
        match then {
            Then::Commit => transactional.end(cluster, Ending::Commit, deadline).await,
            Then::Abort => {
                transactional.end(cluster, Ending::Abort, deadline).await.map_err(as_definite)?;
                Err(RequestError::definite(CauseKind::Rejected, "the worker aborted, as requested"))
            }
            Then::Die => Err(RequestError::definite(
                CauseKind::Rejected,
                "the worker died before it committed, as requested",
            )),
        }
    }

    /// Writes outputs, and then commits offsets. An error is definite if certainly nothing was written.
    async fn write(
        &mut self,
        cluster: &mut Cluster,
        producer: &mut Producer,
        batch: &Batch,
        then: Then,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let mut reach = Reach::Nothing;
        for (partition, bodies) in &batch.records {
            let written = producer.append(cluster, partition, bodies, deadline).await;
            written.map_err(|error| match reach {
                Reach::Unknown => RequestError { reach, ..error },
                _ => error,
            })?;
            reach = Reach::Unknown;
        }
        match then {
            Then::Commit => {
                let committed = self.membership.commit(cluster, &batch.next, deadline).await;
                committed.map_err(|error| RequestError { reach: Reach::Unknown, ..error })
            }
            Then::Abort | Then::Die => Err(RequestError::open(
                CauseKind::Unknown,
                "the worker gave up before it committed offsets, as requested",
            )),
        }
    }

    /// Continues after a batch that is committed.
    fn advance(&mut self, batch: &Batch) {
        if let Some(positions) = &mut self.positions {
            positions.extend(batch.next.clone());
        }
        for (index, counts) in &batch.counts {
            self.tables.entry(*index).or_default().counts.extend(counts.clone());
        }
    }
}

/// Learns the partitions of both topics, in order, unless they are known.
async fn known(cluster: &mut Cluster, deadline: Instant) -> Result<[Vec<Partition>; 2], RequestError> {
    let of = |cluster: &Cluster| {
        [STREAM_INPUTS, STREAM_OUTPUTS].map(|topic| {
            let of_topic = cluster.partitions().filter(|partition| &*partition.topic == topic);
            of_topic.cloned().collect::<Vec<Partition>>()
        })
    };
    let known = of(cluster);
    if known.iter().all(|partitions| !partitions.is_empty()) {
        return Ok(known);
    }
    cluster.refresh(Some(&BTreeSet::from([STREAM_INPUTS, STREAM_OUTPUTS])), deadline).await?;
    Ok(of(cluster))
}

impl Parts {
    /// Reads what comes next of the committed outputs.
    async fn read(
        &mut self,
        from: ReadFrom,
        deadline: Instant,
    ) -> Result<BTreeMap<Scalar, PartRead>, RequestError> {
        let [_, outputs] = known(&mut self.cluster, deadline).await?;
        if from == ReadFrom::Beginning {
            self.read.clear();
        }
        let position = |partition: Partition| {
            let position = self.read.get(&partition).copied().unwrap_or(0);
            (partition, position)
        };
        let positions: BTreeMap<Partition, u64> = outputs.into_iter().map(position).collect();
        let portions = fetch::fetch(&mut self.cluster, &positions, Isolation::Committed, deadline).await?;
        let mut read = BTreeMap::new();
        for (partition, portion) in portions {
            let from = Offset(positions.get(&partition).copied().unwrap_or(0));
            let records = portion.records.iter().map(output_in).collect();
            read.insert(partition.key(), PartRead { from, next: Offset(portion.next), records });
            self.read.insert(partition, portion.next);
        }
        Ok(read)
    }

    async fn progress(&mut self, deadline: Instant) -> Result<Progress, RequestError> {
        let cluster = &mut self.cluster;
        let [inputs, outputs] = known(cluster, deadline).await?;
        let coordinator = offsets::find_coordinator(cluster, Coordinates::Group, GROUP, deadline).await?;
        let committed =
            offsets::committed(cluster, coordinator, GROUP, Some(&inputs), Stability::Any, deadline).await;
        let committed = committed.map_err(|refused| refused.error)?;
        let inputs = fetch::ends(cluster, &inputs, deadline).await?;
        let outputs = fetch::ends(cluster, &outputs, deadline).await?;
        Ok(Progress { committed: named(committed), inputs: named(inputs), outputs: named(outputs) })
    }
}

#[async_trait]
impl Client<Stream> for StreamClient {
    async fn invoke(&mut self, action: &Stream) -> Outcome<Stream> {
        match self.request(action).await {
            Ok(answer) => Outcome::Ok(answer),
            Err(failure) => Outcome::failed(action, failure),
        }
    }
}

/// Returns the output in a record. One that no worker writes has the whole of it as its value, so that the history shows it
/// as the output of no input.
fn output_in(record: &Fetched) -> StreamRecord {
    let written = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
    let mut parts = written.splitn(3, ' ');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    let (count, attempt) = (number(), number());
    let value = parts.next().map(|value| scalar(value.as_bytes()));
    let (key, offset) = (scalar(record.key.as_deref().unwrap_or_default()), record.offset);
    match (count, attempt, value) {
        (Some(count), Some(attempt), Some(value)) => StreamRecord { offset, key, count, value, attempt },
        _ => StreamRecord { offset, key, count: 0, value: Scalar::from(&*written), attempt: u64::MAX },
    }
}

/// Decodes `bytes`. Bytes that no client here sends become a string, so that the history shows them as never sent.
fn scalar(bytes: &[u8]) -> Scalar {
    text::decode(bytes).unwrap_or_else(|_| Scalar::from(&*String::from_utf8_lossy(bytes)))
}
