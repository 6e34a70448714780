//! A RESP2 client that hides nothing.

use std::time::Duration;

use bytes::BytesMut;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const REPLY_MAX: Duration = Duration::from_secs(10);

/// One connection.
pub struct Client {
    stream: TcpStream,
    inbox: BytesMut,
}

impl Client {
    pub async fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        Ok(Self { stream, inbox: BytesMut::new() })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn receive(&mut self) -> std::io::Result<BytesFrame> {
        let receiving = async {
            loop {
                match decode_bytes_mut(&mut self.inbox).map_err(std::io::Error::other)? {
                    Some((frame, _, _)) => return Ok(frame),
                    None if self.stream.read_buf(&mut self.inbox).await? == 0 => {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                    None => {}
                }
            }
        };
        timeout(REPLY_MAX, receiving).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }

    /// Sends a command whose words have no spaces, and shows the reply as text: `OK`, `(nil)`, `(integer) 3`,
    /// `[a, b]`, or an error beginning with `-`.
    pub async fn ask(&mut self, command: &str) -> std::io::Result<String> {
        self.send(format!("{command}\r\n").as_bytes()).await?;
        Ok(show(&self.receive().await?))
    }

    /// Sends commands between `MULTI` and `EXEC`, all at once, and shows the reply to `EXEC`.
    pub async fn transact(&mut self, commands: &[&str]) -> std::io::Result<String> {
        self.send(format!("MULTI\r\n{}\r\nEXEC\r\n", commands.join("\r\n")).as_bytes()).await?;
        for _ in 0..=commands.len() {
            self.receive().await?;
        }
        Ok(show(&self.receive().await?))
    }
}

pub fn show(frame: &BytesFrame) -> String {
    match frame {
        BytesFrame::SimpleString(text) | BytesFrame::BulkString(text) => {
            String::from_utf8_lossy(text).into_owned()
        }
        BytesFrame::Error(text) => format!("-{text}"),
        BytesFrame::Integer(number) => format!("(integer) {number}"),
        BytesFrame::Null => "(nil)".into(),
        BytesFrame::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
    }
}

impl Client {
    /// Ends the connection, and waits until the node has ended its side.
    pub async fn leave(mut self) {
        self.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        timeout(REPLY_MAX, self.stream.read_to_end(&mut rest)).await.expect("the node ends it too").unwrap();
    }

    /// Everything that has come in by the time `end` has.
    pub async fn receive_raw(&mut self, end: &[u8]) -> String {
        while !self.inbox.windows(end.len()).any(|window| window == end) {
            let read = timeout(REPLY_MAX, self.stream.read_buf(&mut self.inbox)).await;
            assert!(matches!(read, Ok(Ok(1..))), "the connection ended after {:?}", self.inbox);
        }
        String::from_utf8_lossy(&self.inbox.split()).into_owned()
    }
}
