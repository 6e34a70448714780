//! A client of one broker: one request at a time, no retries.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use duress_broker::log::{BatchHeader, OwnRecord, build_batch, records};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take: more than any test waits on purpose.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const CRC_AT: usize = 17;
const CRC_OVER: usize = 21;
const PRODUCER_AT: usize = 43;

pub struct Client {
    stream: TcpStream,
    correlation: i32,
}

/// A producer's number, its epoch, and the sequence number of the batch.
#[derive(Debug, Clone, Copy)]
pub struct Sequenced {
    pub producer: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// The outcome of a batch: its base offset, or an error code.
pub type Produced = Result<i64, i16>;

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}

/// Returns a batch of values without keys.
pub fn batch(values: &[&str], sequenced: Option<Sequenced>) -> Bytes {
    keyed_batch(&values.iter().map(|value| (None, Some(*value))).collect::<Vec<_>>(), sequenced)
}

/// Returns a batch of keys and values; no value is a tombstone.
pub fn keyed_batch(pairs: &[(Option<&str>, Option<&str>)], sequenced: Option<Sequenced>) -> Bytes {
    let bytes = |text: Option<&str>| text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let records: Vec<OwnRecord> =
        pairs.iter().map(|(key, value)| OwnRecord { key: bytes(*key), value: bytes(*value) }).collect();
    let batch = build_batch(&records, now_ms());
    let Some(Sequenced { producer, epoch, sequence }) = sequenced else { return batch };
    let mut batch = BytesMut::from(&batch[..]);
    let mut fields = &mut batch[PRODUCER_AT..];
    fields.put_i64(producer);
    fields.put_i16(epoch);
    fields.put_i32(sequence);
    let crc = crc32c::crc32c(&batch[CRC_OVER..]);
    batch[CRC_AT..CRC_OVER].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

impl Client {
    pub async fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0 })
    }

    /// Sends a request without waiting for its answer.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<()> {
        self.correlation += 1;
        let key = ApiKey::try_from(R::KEY).expect("a kind of request");
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut out = BytesMut::new();
        out.put_u32(0);
        header.encode(&mut out, key.request_header_version(version)).unwrap();
        request.encode(&mut out, version).unwrap();
        let length = u32::try_from(out.len() - 4).unwrap();
        out[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&out).await
    }

    async fn receive<T: Decodable + HeaderVersion>(&mut self, version: i16) -> io::Result<T> {
        let length = self.stream.read_u32().await?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await?;
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, T::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation);
        let answer = T::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "bytes are left of the answer");
        Ok(answer)
    }

    pub async fn ask<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response>
    where
        R::Response: Decodable + HeaderVersion,
    {
        let exchange = async {
            self.send(request, version).await?;
            self.receive::<R::Response>(version).await
        };
        timeout(ANSWER_MAX, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    pub async fn metadata(&mut self, topics: &[&str]) -> io::Result<MetadataResponse> {
        let topics =
            topics.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        self.ask(&request, 9).await
    }

    /// Makes a topic; the error code says whether.
    pub async fn create(
        &mut self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: &[(&str, &str)],
    ) -> io::Result<i16> {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).into()))
                .with_value(Some(StrBytes::from_string((*value).into())))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
        Ok(self.ask(&request, 5).await?.topics[0].error_code)
    }

    pub fn produce_request(
        topic: &str,
        partition: i32,
        acks: i16,
        batch: Bytes,
        wait_ms: i32,
    ) -> ProduceRequest {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
        ProduceRequest::default().with_acks(acks).with_timeout_ms(wait_ms).with_topic_data(vec![topic])
    }

    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        batch: Bytes,
    ) -> io::Result<Produced> {
        let request = Self::produce_request(topic, partition, acks, batch, 3_000);
        let answer = self.ask(&request, 8).await?;
        let answer = &answer.responses[0].partition_responses[0];
        Ok(if answer.error_code == 0 { Ok(answer.base_offset) } else { Err(answer.error_code) })
    }

    /// Fetches once: the values with their offsets, and the high watermark; or an error code.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        wait_ms: i32,
    ) -> io::Result<Result<(Vec<(i64, String)>, i64), i16>> {
        let request = fetch_request(topic, partition, from, wait_ms);
        let answer = self.ask(&request, 11).await?;
        let answer = &answer.responses[0].partitions[0];
        if answer.error_code != 0 {
            return Ok(Err(answer.error_code));
        }
        let batches = answer.records.clone().unwrap_or_default();
        let values = values(&batches).into_iter().filter(|(offset, _)| *offset >= from).collect();
        Ok(Ok((values, answer.high_watermark)))
    }

    /// Fetches once from the start, for a reader of committed records: the values that count, and the last stable offset.
    pub async fn fetch_committed(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> io::Result<Result<(Vec<String>, i64), i16>> {
        let request = fetch_request(topic, partition, 0, 0).with_isolation_level(1);
        let answer = self.ask(&request, 11).await?;
        let answer = &answer.responses[0].partitions[0];
        if answer.error_code != 0 {
            return Ok(Err(answer.error_code));
        }
        let mut aborted: Vec<(i64, i64)> = answer
            .aborted_transactions
            .iter()
            .flatten()
            .map(|aborted| (aborted.producer_id.0, aborted.first_offset))
            .collect();
        let mut rest = answer.records.clone().unwrap_or_default();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let header = BatchHeader::verify(&rest).unwrap();
            let batch = rest.split_to(header.size);
            let is_aborted = |(producer, first): &(i64, i64)| {
                *producer == header.producer_id && *first <= header.base_offset
            };
            if header.is_control() {
                aborted.retain(|aborted| !is_aborted(aborted));
            } else if !aborted.iter().any(is_aborted) {
                found.extend(values(&batch).into_iter().map(|(_, value)| value));
            }
        }
        Ok(Ok((found, answer.last_stable_offset)))
    }

    /// Everything there is from the start: values with their offsets.
    pub async fn read_all(&mut self, topic: &str, partition: i32) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            let (values, end) = self.fetch(topic, partition, from, 0).await.unwrap().unwrap();
            match values.last() {
                Some((last, _)) => from = last + 1,
                None if from >= end => return all,
                None => from = end,
            }
            all.extend(values);
        }
    }

    /// Returns the offset at a time: −1 the latest, −2 the earliest; or an error code.
    pub async fn offset(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> io::Result<Result<i64, i16>> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp)
            .with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = self.ask(&request, 5).await?;
        let answer = &answer.topics[0].partitions[0];
        Ok(if answer.error_code == 0 { Ok(answer.offset) } else { Err(answer.error_code) })
    }
}

fn fetch_request(topic: &str, partition: i32, from: i64, wait_ms: i32) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(from)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked]);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(4 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Returns the values in whole batches, with their offsets; a tombstone reads as "".
pub fn values(batches: &Bytes) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&batches[at..]) {
        let Some(batch) = batches.get(at..at + header.size) else { break };
        for record in records(&header, batch) {
            let record = record.unwrap();
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            found.push((header.base_offset + i64::from(record.offset_delta), value));
        }
        at += header.size;
    }
    found
}

/// The requests that only tests of the protocol itself need.
impl Client {
    /// Asks for versions in a version that no broker serves; the answer is in version 0.
    pub async fn ask_later_version(
        &mut self,
        request: &kafka_protocol::messages::ApiVersionsRequest,
    ) -> io::Result<kafka_protocol::messages::ApiVersionsResponse> {
        self.send(request, 4).await?;
        self.receive(0).await
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let read = timeout(ANSWER_MAX, self.stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the connection stays open");
        rest
    }
}

/// Now, milliseconds since 1970: records that look older would be removed.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
