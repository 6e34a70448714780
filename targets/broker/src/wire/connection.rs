//! One client: frames, headers, dispatch.
//!
//! Requests of one connection are served one after the other, as in Kafka: that keeps a producer's batches in order.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::groups::{self, Client};
use super::versions::{self, PRODUCE_LEAST_KEPT};
use super::{describe, fetch, group_offsets, metadata, offsets, produce, topics, transactions};
use crate::broker::Broker;

/// As Kafka's `socket.request.max.bytes`.
const FRAME_BYTES_MAX: usize = 100 << 20;
const LENGTH_BYTES: usize = 4;

/// Why a connection was closed, by either side.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// A length that no client sends.
    #[error("a frame of {0} bytes is not a frame of this protocol")]
    FrameLength(usize),
    /// An unknown kind of request.
    #[error("unknown kind of request {0}")]
    Kind(i16),
    /// A request that was not advertised.
    #[error("version {version} of {key:?} is not served")]
    Version {
        /// The kind.
        key: ApiKey,
        /// The version.
        version: i16,
    },
    /// A request that cannot be decoded, or an answer that cannot be encoded.
    #[error("cannot {operation} version {version} of {key:?}: {reason}")]
    Codec {
        /// The operation.
        operation: &'static str,
        /// The kind.
        key: ApiKey,
        /// The version.
        version: i16,
        /// The cause, from the codec.
        reason: String,
    },
}

/// Serves one client until it disconnects.
///
/// # Errors
/// The connection broke or the client does not speak this protocol.
pub async fn serve_client(mut stream: TcpStream, broker: Broker) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let mut client = Client { id: String::new(), address: stream.peer_addr()? };
    let mut inbox = BytesMut::with_capacity(16 << 10);
    loop {
        let Some(frame) = read_frame(&mut stream, &mut inbox).await? else { return Ok(()) };
        if let Some(answer) = serve_request(frame, &mut client, &broker).await? {
            stream.write_all(&answer).await?;
        }
    }
}

async fn read_frame(stream: &mut TcpStream, inbox: &mut BytesMut) -> Result<Option<Bytes>, ConnectionError> {
    loop {
        if let Some(prefix) = inbox.first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(ConnectionError::FrameLength(length));
            }
            if inbox.len() >= LENGTH_BYTES + length {
                inbox.advance(LENGTH_BYTES);
                return Ok(Some(inbox.split_to(length).freeze()));
            }
            inbox.reserve(LENGTH_BYTES + length - inbox.len());
        }
        if stream.read_buf(inbox).await? == 0 {
            return Ok(None);
        }
    }
}

/// A request whose header has been read.
struct Incoming {
    key: ApiKey,
    version: i16,
    correlation: i32,
    body: Bytes,
}

impl Incoming {
    fn codec(&self, operation: &'static str, reason: &impl ToString) -> ConnectionError {
        ConnectionError::Codec { operation, key: self.key, version: self.version, reason: reason.to_string() }
    }

    fn decode<T: Decodable>(&self) -> Result<T, ConnectionError> {
        T::decode(&mut self.body.clone(), self.version).map_err(|error| self.codec("decode", &error))
    }

    fn encode<T: Encodable + HeaderVersion>(&self, answer: &T) -> Result<Option<BytesMut>, ConnectionError> {
        self.encode_as(answer, self.version).map(Some)
    }

    fn encode_as<T: Encodable + HeaderVersion>(
        &self,
        answer: &T,
        version: i16,
    ) -> Result<BytesMut, ConnectionError> {
        let mut out = BytesMut::new();
        out.put_u32(0);
        ResponseHeader::default()
            .with_correlation_id(self.correlation)
            .encode(&mut out, T::header_version(version))
            .and_then(|()| answer.encode(&mut out, version))
            .map_err(|error| self.codec("encode an answer to", &error))?;
        let length = u32::try_from(out.len() - LENGTH_BYTES).map_err(|error| self.codec("frame", &error))?;
        out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(out)
    }
}

async fn serve_request(
    mut frame: Bytes,
    client: &mut Client,
    broker: &Broker,
) -> Result<Option<BytesMut>, ConnectionError> {
    let Some(prefix) = frame.first_chunk::<4>() else {
        return Err(ConnectionError::FrameLength(frame.len()));
    };
    let kind = i16::from_be_bytes([prefix[0], prefix[1]]);
    let version = i16::from_be_bytes([prefix[2], prefix[3]]);
    let key = ApiKey::try_from(kind).map_err(|()| ConnectionError::Kind(kind))?;
    let is_served = versions::is_served(key, version);
    if !is_served && key != ApiKey::ApiVersions {
        return Err(ConnectionError::Version { key, version });
    }
    let header = RequestHeader::decode(&mut frame, key.request_header_version(version)).map_err(|error| {
        ConnectionError::Codec { operation: "read the header of", key, version, reason: error.to_string() }
    })?;
    client.id = header.client_id.map_or_else(String::new, |id| id.to_string());
    let request = Incoming { key, version, correlation: header.correlation_id, body: frame };
    if !is_served {
        // A client that asks in an unsupported version gets the list in version 0, which every client can read.
        let answer = versions::answer(Some(ResponseError::UnsupportedVersion));
        return request.encode_as(&answer, 0).map(Some);
    }
    match key {
        ApiKey::ApiVersions => request.encode(&versions::answer(None)),
        ApiKey::Produce if version < PRODUCE_LEAST_KEPT => Err(ConnectionError::Version { key, version }),
        ApiKey::Produce => match produce::produce(broker, request.decode()?).await {
            Some(answer) => request.encode(&answer),
            None => Ok(None),
        },
        ApiKey::Fetch => request.encode(&fetch::fetch(broker, request.decode()?).await),
        ApiKey::ListOffsets => request.encode(&offsets::list(broker, request.decode()?, version).await),
        ApiKey::OffsetForLeaderEpoch => request.encode(&offsets::epoch_ends(broker, request.decode()?).await),
        ApiKey::Metadata => request.encode(&metadata::metadata(broker, request.decode()?, version).await),
        ApiKey::CreateTopics => request.encode(&topics::create(broker, request.decode()?).await),
        ApiKey::DeleteTopics => request.encode(&topics::delete(broker, request.decode()?).await),
        ApiKey::InitProducerId => {
            request.encode(&transactions::init(broker, &request.decode()?, version).await)
        }
        ApiKey::AddPartitionsToTxn => {
            request.encode(&transactions::add_partitions(broker, request.decode()?, version).await)
        }
        ApiKey::AddOffsetsToTxn => {
            request.encode(&transactions::add_offsets(broker, request.decode()?, version).await)
        }
        ApiKey::TxnOffsetCommit => {
            request.encode(&group_offsets::commit_in_transaction(broker, request.decode()?).await)
        }
        ApiKey::EndTxn => request.encode(&transactions::end(broker, request.decode()?, version).await),
        ApiKey::FindCoordinator => {
            request.encode(&groups::find_coordinator(broker, &request.decode()?, version).await)
        }
        ApiKey::JoinGroup => request.encode(&groups::join(broker, client, request.decode()?, version).await),
        ApiKey::SyncGroup => request.encode(&groups::sync(broker, request.decode()?).await),
        ApiKey::Heartbeat => request.encode(&groups::heartbeat(broker, request.decode()?).await),
        ApiKey::LeaveGroup => request.encode(&groups::leave(broker, request.decode()?).await),
        ApiKey::ListGroups => request.encode(&groups::list(broker).await),
        ApiKey::DescribeGroups => request.encode(&groups::describe(broker, request.decode()?).await),
        ApiKey::OffsetCommit => request.encode(&group_offsets::commit(broker, request.decode()?).await),
        ApiKey::OffsetFetch => {
            request.encode(&group_offsets::fetch(broker, request.decode()?, version).await)
        }
        ApiKey::DescribeCluster => request.encode(&describe::cluster(broker)),
        ApiKey::DescribeConfigs => request.encode(&describe::configs(broker, request.decode()?)),
        _ => Err(ConnectionError::Version { key, version }),
    }
}
