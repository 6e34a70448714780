//! The Kafka client's reaction to answers, errors and silences, against a server that plays a script.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use duress_history::Scalar;
use duress_history::log::{Log, LogMicro, Offset, Offsets, Start};
use duress_targets::kafka::{Acks, ClientOptions, Committing, Idempotence, LogClient, Processing};
use duress_targets::{CauseKind, Client, Outcome};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, ConsumerProtocolAssignment, FetchResponse, FindCoordinatorResponse,
    JoinGroupResponse, ListOffsetsResponse, MetadataResponse, OffsetCommitResponse, OffsetFetchResponse,
    ProduceResponse, SyncGroupResponse, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use scripted::{Reply, Scripted};

use crate::scripted;

const PRODUCE: i16 = 9;
const FETCH: i16 = 11;
const LIST_OFFSETS: i16 = 5;
const METADATA: i16 = 9;
const FIND_COORDINATOR: i16 = 2;
const JOIN_GROUP: i16 = 5;
const SYNC_GROUP: i16 = 3;
const OFFSET_FETCH: i16 = 5;
const OFFSET_COMMIT: i16 = 7;

const ONCE: ClientOptions = ClientOptions {
    acks: Acks::All,
    idempotence: Idempotence::Off,
    retries: 0,
    committing: Committing::Manual,
    processing: Processing::ExactlyOnce,
    session: Duration::from_secs(6),
};

fn whole(request: &[u8]) -> bool {
    request.len() >= 4 && request.len() - 4 >= u32::from_be_bytes(request[..4].try_into().unwrap()) as usize
}

/// Returns a response to the request number `correlation_id` of its connection.
fn frame<R: Encodable + HeaderVersion>(correlation_id: i32, version: i16, response: &R) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_i32(correlation_id);
    if R::header_version(version) == 1 {
        body.put_u8(0);
    }
    response.encode(&mut body, version).unwrap();
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// Returns the versions of the script's broker: one of everything.
fn versions() -> Reply {
    let spoken = [
        (ApiKey::Produce, PRODUCE),
        (ApiKey::Fetch, FETCH),
        (ApiKey::ListOffsets, LIST_OFFSETS),
        (ApiKey::Metadata, METADATA),
        (ApiKey::FindCoordinator, FIND_COORDINATOR),
        (ApiKey::JoinGroup, JOIN_GROUP),
        (ApiKey::SyncGroup, SYNC_GROUP),
        (ApiKey::OffsetFetch, OFFSET_FETCH),
        (ApiKey::OffsetCommit, OFFSET_COMMIT),
    ];
    let ranges = spoken.map(|(key, version)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(version).with_max_version(version)
    });
    Reply::Send(frame(0, 0, &ApiVersionsResponse::default().with_api_keys(ranges.to_vec())))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Returns metadata in which the broker of the script leads partition 0 of topic `t` in this epoch, or no
/// broker does.
fn metadata(correlation_id: i32, leader: i32, epoch: i32) -> Reply {
    let broker =
        MetadataResponseBroker::default().with_node_id(1.into()).with_host(text("10.0.0.1")).with_port(9092);
    let partition =
        MetadataResponsePartition::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text("t"))))
        .with_partitions(vec![partition]);
    let answer = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
    Reply::Send(frame(correlation_id, METADATA, &answer))
}

fn produced(correlation_id: i32, error_code: i16, offset: i64) -> Vec<u8> {
    let partition = PartitionProduceResponse::default().with_error_code(error_code).with_base_offset(offset);
    let topic = TopicProduceResponse::default()
        .with_name(TopicName(text("t")))
        .with_partition_responses(vec![partition]);
    frame(correlation_id, PRODUCE, &ProduceResponse::default().with_responses(vec![topic]))
}

fn fetched(correlation_id: i32, error_code: i16) -> Vec<u8> {
    fetched_records(correlation_id, error_code, Bytes::new())
}

/// Returns a fetch answered with the message 7 at `offset`.
fn fetched_one(correlation_id: i32, offset: i64) -> Reply {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: NO_SEQUENCE,
        timestamp: 0,
        key: None,
        value: Some(Bytes::from_static(b"7")),
        headers: Default::default(),
    };
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut batch = BytesMut::new();
    RecordBatchEncoder::encode(&mut batch, &[record], &options).unwrap();
    Reply::Send(fetched_records(correlation_id, 0, batch.freeze()))
}

fn fetched_records(correlation_id: i32, error_code: i16, records: Bytes) -> Vec<u8> {
    let data = PartitionData::default().with_error_code(error_code).with_records(Some(records));
    let topic =
        FetchableTopicResponse::default().with_topic(TopicName(text("t"))).with_partitions(vec![data]);
    frame(correlation_id, FETCH, &FetchResponse::default().with_responses(vec![topic]))
}

fn beginning(correlation_id: i32, offset: i64) -> Vec<u8> {
    let told = ListOffsetsPartitionResponse::default().with_offset(offset);
    let topic =
        ListOffsetsTopicResponse::default().with_name(TopicName(text("t"))).with_partitions(vec![told]);
    frame(correlation_id, LIST_OFFSETS, &ListOffsetsResponse::default().with_topics(vec![topic]))
}

fn client(server: &Scripted, options: ClientOptions, timeout: Duration) -> LogClient {
    LogClient::new(server.place(), "10.0.0.1:9092".parse().unwrap(), options, timeout)
}

fn send(values: &[i64]) -> Log {
    let micro = |value: &i64| LogMicro::Send { key: "t-0".into(), value: (*value).into(), offset: None };
    Log::Send(values.iter().map(micro).collect())
}

/// Returns the outcome of one send by a script's first connection, which says who leads before it plays
/// `replies`.
async fn sent(options: ClientOptions, mut connections: Vec<Vec<Reply>>) -> (Outcome<Log>, Vec<Vec<u8>>) {
    connections[0].splice(0..0, [versions(), metadata(1, 1, 0)]);
    let server = Scripted::play(whole, connections).await;
    let mut client = client(&server, options, Duration::from_secs(2));
    let outcome = client.invoke(&send(&[7])).await;
    drop(client);
    (outcome, server.requests().await)
}

fn is(outcome: &Outcome<Log>) -> String {
    match outcome {
        Outcome::Ok(answer) => match answer.micros() {
            [LogMicro::Send { offset: Some(Offset(offset)), .. }] => format!("ok at {offset}"),
            [LogMicro::Send { offset: None, .. }] => "ok".to_owned(),
            other => format!("ok {other:?}"),
        },
        Outcome::Fail(cause) => format!("fail ({})", cause.kind),
        Outcome::Info(cause) => format!("info ({})", cause.kind),
    }
}

#[tokio::test]
async fn an_acknowledged_send_has_its_offset() {
    let (outcome, _) = sent(ONCE, vec![vec![Reply::Send(produced(2, 0, 41))]]).await;
    assert_eq!(is(&outcome), "ok at 41");
    let half = produced(2, 0, 41);
    let (one, other) = half.split_at(9);
    let (outcome, _) = sent(ONCE, vec![vec![Reply::Halves(one.to_vec(), other.to_vec())]]).await;
    assert_eq!(is(&outcome), "ok at 41");
}

#[tokio::test]
async fn errors_that_a_leader_finds_before_it_appends_are_failures_and_no_others() {
    for (code, expected) in [
        (3, "fail (rejected)"),   // UNKNOWN_TOPIC_OR_PARTITION
        (10, "fail (rejected)"),  // MESSAGE_TOO_LARGE
        (19, "fail (rejected)"),  // NOT_ENOUGH_REPLICAS
        (29, "fail (rejected)"),  // TOPIC_AUTHORIZATION_FAILED
        (45, "fail (rejected)"),  // OUT_OF_ORDER_SEQUENCE_NUMBER
        (47, "fail (rejected)"),  // INVALID_PRODUCER_EPOCH
        (90, "fail (rejected)"),  // PRODUCER_FENCED
        (6, "info (unknown)"),    // NOT_LEADER_OR_FOLLOWER
        (7, "info (unknown)"),    // REQUEST_TIMED_OUT
        (13, "info (unknown)"),   // NETWORK_EXCEPTION
        (20, "info (unknown)"),   // NOT_ENOUGH_REPLICAS_AFTER_APPEND
        (56, "info (unknown)"),   // KAFKA_STORAGE_ERROR
        (-1, "info (unknown)"),   // UNKNOWN_SERVER_ERROR
        (9999, "info (unknown)"), // no code of the protocol
        (46, "ok"),               // DUPLICATE_SEQUENCE_NUMBER
    ] {
        let (outcome, _) = sent(ONCE, vec![vec![Reply::Send(produced(2, code, -1))]]).await;
        assert_eq!(is(&outcome), expected, "error {code}");
    }
}

#[tokio::test]
async fn what_breaks_after_a_send_has_left_leaves_it_open() {
    let frame = produced(2, 0, 41);
    let cut = frame[..frame.len() - 1].to_vec();
    let of_another = produced(3, 0, 41);
    let mut longer = frame.clone();
    longer[..4].copy_from_slice(&u32::try_from(frame.len() - 4 + 1).unwrap().to_be_bytes());
    longer.push(0);
    for (reply, expected) in [
        (Reply::Close(Vec::new()), "info (connection-lost)"),
        (Reply::Reset(Vec::new()), "info (connection-lost)"),
        (Reply::Close(cut.clone()), "info (connection-lost)"),
        (Reply::Silence(cut), "info (timeout)"),
        (Reply::Send(of_another), "info (unreadable)"),
        (Reply::Send(longer), "info (unreadable)"),
        (Reply::Send(vec![0x7f, 0xff, 0xff, 0xff]), "info (unreadable)"),
    ] {
        let (outcome, _) = sent(ONCE, vec![vec![reply]]).await;
        assert_eq!(is(&outcome), expected);
    }
}

#[tokio::test]
async fn what_breaks_before_a_send_leaves_is_a_failure() {
    for replies in [
        vec![Reply::Close(Vec::new())],
        vec![Reply::Silence(Vec::new())],
        vec![versions(), metadata(1, -1, 0), Reply::Silence(Vec::new())],
    ] {
        let server = Scripted::play(whole, vec![replies]).await;
        let mut client = client(&server, ONCE, Duration::from_millis(500));
        let outcome = client.invoke(&send(&[7])).await;
        assert!(matches!(&outcome, Outcome::Fail(_)), "{outcome:?}");
        assert_eq!(is(&client.invoke(&send(&[8])).await), "fail (refused)", "the server is closed");
    }
}

#[tokio::test]
async fn without_acks_a_send_is_over_when_it_is_written() {
    let options = ClientOptions { acks: Acks::None, ..ONCE };
    let (outcome, requests) = sent(options, vec![vec![Reply::Silence(Vec::new())]]).await;
    assert_eq!(is(&outcome), "ok");
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn a_retry_is_the_same_batch_and_one_operation() {
    let options = ClientOptions { retries: 1, ..ONCE };
    let again = |reply| vec![vec![Reply::Close(Vec::new())], vec![versions(), metadata(1, 1, 0), reply]];
    let (outcome, requests) = sent(options, again(Reply::Send(produced(2, 0, 5)))).await;
    assert_eq!(is(&outcome), "ok at 5");
    // A batch is the last thing in its request, before the empty tagged fields of partition, topic and request.
    let batch = |request: &[u8]| request[request.len() - 80..].to_vec();
    assert_eq!(batch(&requests[2]), batch(&requests[5]));

    // The second attempt failed for certain, the first may still have arrived.
    let (outcome, _) = sent(options, again(Reply::Send(produced(2, 45, -1)))).await;
    assert_eq!(is(&outcome), "info (rejected)");
    // Without retries no request is sent twice.
    let (outcome, requests) = sent(ONCE, vec![vec![Reply::Close(Vec::new())]]).await;
    assert_eq!((is(&outcome).as_str(), requests.len()), ("info (connection-lost)", 3));
}

#[tokio::test]
async fn messages_to_one_partition_share_a_batch() {
    let replies = vec![versions(), metadata(1, 1, 0), Reply::Send(produced(2, 0, 10))];
    let server = Scripted::play(whole, vec![replies]).await;
    let mut client = client(&server, ONCE, Duration::from_secs(2));
    let Outcome::Ok(answer) = client.invoke(&send(&[7, 8, 9])).await else { panic!("acknowledged") };
    let offsets = answer.micros().iter().map(|micro| match micro {
        LogMicro::Send { offset, .. } => offset.map(|offset| offset.0),
        LogMicro::Poll(_) => None,
    });
    assert_eq!(offsets.collect::<Vec<_>>(), [Some(10), Some(11), Some(12)]);
    drop(client);
    assert_eq!(server.requests().await.len(), 3);
}

/// Polls of partition 0 from offset 7 on, after `replies`.
async fn polled(replies: Vec<Reply>, polls: usize) -> (Vec<Outcome<Log>>, Vec<Vec<u8>>) {
    let server = Scripted::play(whole, vec![replies]).await;
    let mut client = client(&server, ONCE, Duration::from_secs(2));
    let key = || Scalar::from("t-0");
    let assign = Log::Assign { keys: vec![key()], from: Start::Beginning };
    assert!(matches!(client.invoke(&assign).await, Outcome::Ok(_)));
    let seek = Log::Seek(Offsets::from([(key(), Offset(7))]));
    assert!(matches!(client.invoke(&seek).await, Outcome::Ok(_)));
    let mut outcomes = Vec::new();
    for _ in 0..polls {
        outcomes.push(client.invoke(&Log::Poll(vec![LogMicro::Poll(None)])).await);
    }
    drop(client);
    (outcomes, server.requests().await)
}

/// Returns the offset that a fetch of one partition of topic `t` asks for.
fn asked_for(request: &[u8]) -> i64 {
    // Version 11, after the header: replica, max wait, min bytes, max bytes, isolation, session id and epoch, the number
    // of topics, the topic, the number of partitions, the partition and the leader's epoch it is believed to have.
    let header = 4 + 2 + 2 + 4 + 2 + "duress".len();
    let mut rest = &request[header + 4 * 4 + 1 + 4 * 2 + 4 + (2 + 1) + 4 + 4 + 4..];
    rest.get_i64()
}

#[tokio::test]
async fn a_poll_that_is_refused_has_failed_and_moved_nothing() {
    let replies = vec![
        versions(),
        metadata(1, 1, 0),
        Reply::Send(fetched(2, 6)), // NOT_LEADER_OR_FOLLOWER
        metadata(3, 1, 1),
        Reply::Send(fetched(4, 0)),
    ];
    let (outcomes, requests) = polled(replies, 2).await;
    assert!(matches!(&outcomes[0], Outcome::Fail(cause) if cause.kind == CauseKind::Rejected));
    assert!(matches!(&outcomes[1], Outcome::Ok(_)), "{:?}", outcomes[1]);
    assert_eq!((asked_for(&requests[2]), asked_for(&requests[4])), (7, 7));
}

#[tokio::test]
async fn a_position_past_the_end_stays_and_one_before_the_beginning_moves_there() {
    let past = vec![
        versions(),
        metadata(1, 1, 0),
        Reply::Send(fetched(2, 1)), // OFFSET_OUT_OF_RANGE
        Reply::Send(beginning(3, 0)),
        metadata(4, 1, 0),
        Reply::Send(fetched(5, 0)),
    ];
    let (outcomes, requests) = polled(past, 2).await;
    assert!(matches!(&outcomes[0], Outcome::Fail(cause) if cause.text.contains("OffsetOutOfRange")));
    assert_eq!(asked_for(&requests[5]), 7);

    let before = vec![
        versions(),
        metadata(1, 1, 0),
        Reply::Send(fetched(2, 1)),
        Reply::Send(beginning(3, 20)),
        Reply::Send(fetched(4, 0)),
    ];
    let (outcomes, requests) = polled(before, 2).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Ok(_))), "{outcomes:?}");
    assert_eq!(asked_for(&requests[4]), 20);
}

#[tokio::test]
async fn what_an_older_leader_says_is_not_believed() {
    let replies = vec![
        versions(),
        metadata(1, 1, 5),
        Reply::Send(fetched(2, 75)), // UNKNOWN_LEADER_EPOCH: it has not heard of what it was told
        metadata(3, -1, 4),
        Reply::Send(fetched(4, 0)),
    ];
    let (outcomes, requests) = polled(replies, 2).await;
    assert!(matches!(&outcomes[0], Outcome::Fail(_)));
    assert!(matches!(&outcomes[1], Outcome::Ok(_)), "{:?}", outcomes[1]);
    assert_eq!(requests.len(), 5);
}

fn coordinator(correlation_id: i32) -> Reply {
    let answer =
        FindCoordinatorResponse::default().with_node_id(1.into()).with_host(text("10.0.0.1")).with_port(9092);
    Reply::Send(frame(correlation_id, FIND_COORDINATOR, &answer))
}

/// Returns a joined answer: the client is a member of this generation, and another member leads the group.
fn joined(correlation_id: i32, generation: i32) -> Reply {
    let answer = JoinGroupResponse::default()
        .with_generation_id(generation)
        .with_protocol_name(Some(text("range")))
        .with_leader(text("another"))
        .with_member_id(text("this"));
    Reply::Send(frame(correlation_id, JOIN_GROUP, &answer))
}

/// It reads partition 0 of topic `t`.
fn assigned(correlation_id: i32, error_code: i16) -> Reply {
    let partitions = TopicPartition::default().with_topic(TopicName(text("t"))).with_partitions(vec![0]);
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![partitions]);
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    assignment.encode(&mut bytes, 0).unwrap();
    let answer = SyncGroupResponse::default().with_error_code(error_code).with_assignment(bytes.freeze());
    Reply::Send(frame(correlation_id, SYNC_GROUP, &answer))
}

fn known(correlation_id: i32, offset: i64) -> Reply {
    let partition = OffsetFetchResponsePartition::default().with_committed_offset(offset);
    let topic =
        OffsetFetchResponseTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    Reply::Send(frame(correlation_id, OFFSET_FETCH, &OffsetFetchResponse::default().with_topics(vec![topic])))
}

fn commit_refused(correlation_id: i32, error_code: i16) -> Reply {
    let partition = OffsetCommitResponsePartition::default().with_error_code(error_code);
    let topic =
        OffsetCommitResponseTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    let answer = OffsetCommitResponse::default().with_topics(vec![topic]);
    Reply::Send(frame(correlation_id, OFFSET_COMMIT, &answer))
}

/// Returns the generation that a commit of version 7 names.
fn generation_of(mut commit: &[u8]) -> i32 {
    commit.advance(4);
    assert_eq!((commit.get_i16(), commit.get_i16()), (ApiKey::OffsetCommit as i16, OFFSET_COMMIT));
    commit.advance(4 + 2 + "duress".len());
    let group = commit.get_u16();
    commit.advance(group.into());
    commit.get_i32()
}

#[tokio::test]
async fn what_was_consumed_in_one_generation_is_not_committed_in_the_next() {
    const REBALANCE_IN_PROGRESS: i16 = 27;
    const ILLEGAL_GENERATION: i16 = 22;
    let replies = vec![
        versions(),
        coordinator(1),
        joined(2, 1),
        assigned(3, 0),
        known(4, 5),
        metadata(5, 1, 0),
        fetched_one(6, 5),
        // The group rebalances, and once more before this member receives its assignment.
        commit_refused(7, REBALANCE_IN_PROGRESS),
        joined(8, 2),
        assigned(9, REBALANCE_IN_PROGRESS),
        commit_refused(10, ILLEGAL_GENERATION),
        joined(11, 3),
        assigned(12, 0),
        known(13, 7),
        fetched_one(14, 7),
    ];
    let server = Scripted::play(whole, vec![replies]).await;
    let options = ClientOptions { committing: Committing::After, ..ONCE };
    let mut client = client(&server, options, Duration::from_secs(2));
    assert!(matches!(client.invoke(&Log::Subscribe(vec!["t".into()])).await, Outcome::Ok(_)));
    for succeeds in [true, false, true] {
        let outcome = client.invoke(&Log::Poll(vec![LogMicro::Poll(None)])).await;
        assert_eq!(matches!(outcome, Outcome::Ok(_)), succeeds, "{outcome:?}");
    }
    drop(client);
    let requests = server.requests().await;
    assert_eq!((generation_of(&requests[7]), generation_of(&requests[10])), (1, 1));
    assert_eq!(asked_for(&requests[14]), 7);
}
