//! A client of the `table` workload.
//!
//! | operation | requests |
//! |---|---|
//! | `put`, `delete` | Produce to the leader of the key's partition: a record with a value, or without one |
//! | `read-log` | ListOffsets, then Fetch from the beginning until that end was reached, of every partition |
//! | `end-offsets` | ListOffsets |

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use duress_history::Scalar;
use duress_history::log::Offset;
use duress_history::table::{PartitionRead, Place, Table, TableRecord};
use tokio::time::Instant;

use crate::client::Client;
use crate::kafka::ClientOptions;
use crate::kafka::cluster::Cluster;
use crate::kafka::connection::as_definite;
use crate::kafka::fetch::{self, Isolation};
use crate::kafka::log_client::named;
use crate::kafka::murmur2::murmur2;
use crate::kafka::partition::Partition;
use crate::kafka::producer::{Body, Producer};
use crate::outcome::{CauseKind, Outcome, RequestError};
use crate::place;
use crate::setup::TABLE_TOPIC;
use crate::text;

/// A client that begins with one broker.
pub struct TableClient {
    cluster: Cluster,
    producer: Producer,
    timeout: Duration,
}

impl TableClient {
    /// Returns a client that will connect from `from`, first to the broker at `bootstrap`, when it has to.
    #[must_use]
    pub fn new(
        from: Arc<dyn place::Place>,
        bootstrap: SocketAddr,
        options: ClientOptions,
        timeout: Duration,
    ) -> Self {
        let producer = Producer::new(options.acks, options.idempotence, options.retries);
        Self { cluster: Cluster::new(from, bootstrap), producer, timeout }
    }

    async fn request(&mut self, action: &Table) -> Result<Table, RequestError> {
        let deadline = Instant::now() + self.timeout;
        Ok(match action {
            Table::Put { key, value, .. } => {
                let text = text::encode(value)?;
                let place = self.append(key, Some(text.into()), deadline).await?;
                Table::Put { key: key.clone(), value: value.clone(), place }
            }
            Table::Delete { key, .. } => {
                let place = self.append(key, None, deadline).await?;
                Table::Delete { key: key.clone(), place }
            }
            Table::ReadLog(_) => Table::ReadLog(Some(self.read(deadline).await?)),
            Table::EndOffsets(_) => {
                let partitions = self.partitions(deadline).await?;
                let ends = fetch::ends(&mut self.cluster, &partitions, deadline).await?;
                Table::EndOffsets(Some(named(ends)))
            }
        })
    }

    async fn append(
        &mut self,
        key: &Scalar,
        value: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Option<Place>, RequestError> {
        let key = text::encode(key)?;
        let partitions = self.partitions(deadline).await.map_err(as_definite)?;
        let partition = &partitions[partition_of(key.as_bytes(), partitions.len())];
        let body = Body { key: Some(key.into()), value };
        let offset = self.producer.append(&mut self.cluster, partition, &[body], deadline).await?;
        Ok(offset.map(|offset| Place { partition: partition.key(), offset }))
    }

    /// Returns the table's partitions, in order and at least one.
    async fn partitions(&mut self, deadline: Instant) -> Result<Vec<Partition>, RequestError> {
        let known = |cluster: &Cluster| -> Vec<Partition> {
            cluster.partitions().filter(|partition| &*partition.topic == TABLE_TOPIC).cloned().collect()
        };
        let partitions = known(&self.cluster);
        if !partitions.is_empty() {
            return Ok(partitions);
        }
        self.cluster.refresh(Some(&BTreeSet::from([TABLE_TOPIC])), deadline).await?;
        let partitions = known(&self.cluster);
        match partitions.is_empty() {
            false => Ok(partitions),
            true => {
                let text = format!("no topic {TABLE_TOPIC}");
                Err(RequestError::definite(CauseKind::Rejected, text))
            }
        }
    }

    /// Everything that remains, up to the ends as they are when this begins.
    async fn read(&mut self, deadline: Instant) -> Result<BTreeMap<Scalar, PartitionRead>, RequestError> {
        let partitions = self.partitions(deadline).await?;
        let ends = fetch::ends(&mut self.cluster, &partitions, deadline).await?;
        let mut read: BTreeMap<Partition, PartitionRead> = partitions
            .into_iter()
            .map(|partition| (partition, PartitionRead { next: Offset(0), records: Vec::new() }))
            .collect();
        loop {
            let positions: BTreeMap<Partition, u64> = read
                .iter()
                .filter(|(partition, read)| ends.get(partition).is_some_and(|end| read.next.0 < *end))
                .map(|(partition, read)| (partition.clone(), read.next.0))
                .collect();
            if positions.is_empty() {
                return Ok(read.into_iter().map(|(partition, read)| (partition.key(), read)).collect());
            }
            if Instant::now() >= deadline {
                let text = "the end of the table was not reached in time";
                return Err(RequestError::definite(CauseKind::Timeout, text));
            }
            let portions =
                fetch::fetch(&mut self.cluster, &positions, Isolation::Uncommitted, deadline).await?;
            for (partition, portion) in portions {
                let Some(read) = read.get_mut(&partition) else { continue };
                read.next = Offset(portion.next);
                read.records.extend(portion.records.into_iter().map(|record| TableRecord {
                    offset: record.offset,
                    key: scalar(record.key.as_deref().unwrap_or_default()),
                    value: record.value.as_deref().map(scalar),
                }));
            }
        }
    }
}

#[async_trait]
impl Client<Table> for TableClient {
    async fn invoke(&mut self, action: &Table) -> Outcome<Table> {
        match self.request(action).await {
            Ok(answer) => Outcome::Ok(answer),
            Err(failure) => Outcome::failed(action, failure),
        }
    }
}

/// Returns the partition of `key` among `count`, as Kafka's own partitioner does.
fn partition_of(key: &[u8], count: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % count
}

/// Decodes `bytes`. A value that no client here ever stores is a string, so that the history shows it as
/// never put.
fn scalar(bytes: &[u8]) -> Scalar {
    text::decode(bytes).unwrap_or_else(|_| Scalar::from(&*String::from_utf8_lossy(bytes)))
}
