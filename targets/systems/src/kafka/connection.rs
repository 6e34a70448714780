//! One connection that speaks the Kafka protocol, one request at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes, VersionRange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::kafka::versions::SupportedRequest;
use crate::outcome::{CauseKind, Reach, RequestError};
use crate::place::{self, Place};

/// A response longer than this, in bytes, is taken for garbage: a fetch asks for less.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// An open connection to one broker, whose versions are known.
///
/// After an error of a request it must be dropped: the response could still arrive.
pub(super) struct Connection {
    stream: TcpStream,
    /// The versions that the broker speaks, by API key.
    versions: BTreeMap<i16, VersionRange>,
    next_correlation_id: i32,
}

impl Connection {
    /// Connects to `to` and asks for its versions.
    ///
    /// # Errors
    /// A definite [`RequestError`]: the caller's own request has not been sent.
    pub(super) async fn open(
        from: &dyn Place,
        to: SocketAddr,
        deadline: Instant,
    ) -> Result<Self, RequestError> {
        let stream = place::open(from, to, deadline).await?;
        let mut connection = Self { stream, versions: BTreeMap::new(), next_correlation_id: 0 };
        let answer =
            connection.exchange(&ApiVersionsRequest::default(), 0, deadline).await.map_err(as_definite)?;
        connection.versions = spoken_by(&answer)?;
        Ok(connection)
    }

    /// Whether it can take another request: still open, and silent as it must be between requests.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Returns the newest version of a request that both sides speak.
    ///
    /// # Errors
    /// A definite [`RequestError`] if there is none.
    pub(super) fn version_of<R: SupportedRequest>(&self) -> Result<i16, RequestError> {
        let theirs = self.versions.get(&R::KEY).copied().unwrap_or(VersionRange { min: 0, max: -1 });
        let both = theirs.intersect(&R::SUPPORTED);
        if both.is_empty() {
            let name = R::NAME;
            let text = format!("the broker speaks {name} {theirs}, this client {}: not sent", R::SUPPORTED);
            return Err(RequestError::definite(CauseKind::Rejected, text));
        }
        Ok(both.max)
    }

    /// Sends `request`, in the newest version that both sides speak, and returns its response.
    ///
    /// # Errors
    /// A [`RequestError`]: definite if not one byte of the request was accepted by the connection, open otherwise.
    pub(super) async fn call<R: SupportedRequest>(
        &mut self,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, RequestError> {
        let version = self.version_of::<R>()?;
        self.exchange(request, version, deadline).await
    }

    /// Sends `request`, which has no response.
    ///
    /// # Errors
    /// As for [`Connection::call`].
    pub(super) async fn send<R: SupportedRequest>(
        &mut self,
        request: &R,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let version = self.version_of::<R>()?;
        let (frame, _) = self.frame(request, version)?;
        let mut accepted_bytes = 0;
        let written = write(&mut self.stream, &frame, &mut accepted_bytes);
        bounded(written, deadline).await.map_err(|broken| of_exchange(broken, accepted_bytes))
    }

    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<R::Response, RequestError> {
        let (frame, correlation_id) = self.frame(request, version)?;
        let mut accepted_bytes = 0;
        let exchange = async {
            write(&mut self.stream, &frame, &mut accepted_bytes).await?;
            read(&mut self.stream).await
        };
        let mut response = match bounded(exchange, deadline).await {
            Ok(response) => response,
            Err(broken) => {
                // Undelivered data in the kernel is discarded: it must not arrive after this client's next
                // request, over another connection. A socket that refuses the option delivers nothing either.
                let _ = self.stream.set_zero_linger();
                return Err(of_exchange(broken, accepted_bytes));
            }
        };
        decode::<R>(&mut response, version, correlation_id)
            .map_err(|text| RequestError::open(CauseKind::Unreadable, text))
    }

    /// Returns the bytes of `request`, and the number that its response will bear.
    fn frame<R: Request>(&mut self, request: &R, version: i16) -> Result<(BytesMut, i32), RequestError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("duress")));
        let mut frame = BytesMut::new();
        frame.put_u32(0);
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|cause| {
                RequestError::definite(CauseKind::Rejected, format!("encoding the request: {cause}"))
            })?;
        let length = u32::try_from(frame.len() - 4).map_err(|_| {
            RequestError::definite(CauseKind::Rejected, "a request of more than 4 GiB: not sent")
        })?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Ok((frame, correlation_id))
    }
}

/// `failure`, of a request that only prepares the one that matters.
pub(super) fn as_definite(failure: RequestError) -> RequestError {
    RequestError { reach: Reach::Nothing, ..failure }
}

/// The cause of a failed exchange, before it is known how much of the request was sent.
type Broken = (CauseKind, String);

async fn bounded<T>(
    exchange: impl Future<Output = Result<T, Broken>>,
    deadline: Instant,
) -> Result<T, Broken> {
    timeout_at(deadline, exchange)
        .await
        .unwrap_or_else(|_| Err((CauseKind::Timeout, "no answer in time".to_owned())))
}

fn of_exchange((kind, text): Broken, accepted_bytes: usize) -> RequestError {
    match accepted_bytes {
        0 => RequestError::definite(kind, format!("{text}, before the request was sent")),
        _ => RequestError::open(kind, text),
    }
}

fn lost(cause: &io::Error) -> Broken {
    (CauseKind::ConnectionLost, cause.to_string())
}

async fn write(stream: &mut TcpStream, frame: &[u8], accepted_bytes: &mut usize) -> Result<(), Broken> {
    while *accepted_bytes < frame.len() {
        *accepted_bytes += stream.write(&frame[*accepted_bytes..]).await.map_err(|cause| lost(&cause))?;
    }
    Ok(())
}

async fn read(stream: &mut TcpStream) -> Result<Bytes, Broken> {
    let length = stream.read_u32().await.map_err(|cause| lost(&cause))? as usize;
    if length > RESPONSE_BYTES_MAX {
        return Err((CauseKind::Unreadable, format!("a response of {length} bytes")));
    }
    let mut response = vec![0; length];
    stream.read_exact(&mut response).await.map_err(|cause| lost(&cause))?;
    Ok(response.into())
}

fn decode<R: Request>(
    response: &mut Bytes,
    version: i16,
    correlation_id: i32,
) -> Result<R::Response, String> {
    let header = ResponseHeader::decode(response, R::Response::header_version(version))
        .map_err(|cause| format!("the header of a response: {cause}"))?;
    if header.correlation_id != correlation_id {
        return Err(format!("the response to request {}, not to {correlation_id}", header.correlation_id));
    }
    let body = R::Response::decode(response, version).map_err(|cause| format!("a response: {cause}"))?;
    match response.remaining() {
        0 => Ok(body),
        extra => Err(format!("{extra} bytes after the response")),
    }
}

fn spoken_by(answer: &ApiVersionsResponse) -> Result<BTreeMap<i16, VersionRange>, RequestError> {
    if answer.error_code != 0 {
        let text = format!("the broker does not report its versions: error {}", answer.error_code);
        return Err(RequestError::definite(CauseKind::Rejected, text));
    }
    let ranges = answer.api_keys.iter();
    Ok(ranges.map(|api| (api.api_key, VersionRange { min: api.min_version, max: api.max_version })).collect())
}
