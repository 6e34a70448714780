//! A server that plays a script over loopback, and a place to connect from that always leads to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_targets::{OwnNetwork, Place};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The server's reaction to one request, once it has arrived whole.
pub enum Reply {
    /// Sends these bytes and waits for the next request.
    Send(Vec<u8>),
    /// Sends these bytes, in two halves with a pause for the client to read between them.
    Halves(Vec<u8>, Vec<u8>),
    /// Sends these bytes and closes the connection.
    Close(Vec<u8>),
    /// Sends these bytes and resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes and then nothing more, until the client hangs up.
    Silence(Vec<u8>),
}

/// Whether the bytes received are a whole request.
pub type Whole = fn(&[u8]) -> bool;

/// A server that takes one connection for each list of replies, in order, and then listens no more.
pub struct Scripted {
    address: SocketAddr,
    played: JoinHandle<io::Result<Vec<Vec<u8>>>>,
}

impl Scripted {
    /// Starts playing.
    pub async fn play(whole: Whole, connections: Vec<Vec<Reply>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let played = tokio::spawn(async move {
            let mut requests = Vec::new();
            for replies in connections {
                let (stream, _) = listener.accept().await?;
                play_connection(stream, whole, replies, &mut requests).await?;
            }
            Ok(requests)
        });
        Self { address, played }
    }

    /// Returns the place whose connections all lead here.
    pub fn place(&self) -> Arc<dyn Place> {
        Arc::new(LeadsTo(self.address))
    }

    /// Waits until the script is at its end; returns the requests received, in order.
    pub async fn requests(self) -> Vec<Vec<u8>> {
        let played = tokio::time::timeout(Duration::from_secs(10), self.played);
        played.await.expect("the script has an end").expect("the server does not panic").unwrap()
    }
}

async fn play_connection(
    mut stream: TcpStream,
    whole: Whole,
    replies: Vec<Reply>,
    requests: &mut Vec<Vec<u8>>,
) -> io::Result<()> {
    for reply in replies {
        let mut request = Vec::new();
        while !whole(&request) {
            if stream.read_buf(&mut request).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        requests.push(request);
        match reply {
            Reply::Send(bytes) => stream.write_all(&bytes).await?,
            Reply::Halves(first, second) => {
                stream.write_all(&first).await?;
                stream.flush().await?;
                // Gives the client a chance to see the first half alone; the result does not depend on that.
                tokio::task::yield_now().await;
                stream.write_all(&second).await?;
            }
            Reply::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return Ok(());
            }
            Reply::Reset(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.set_zero_linger();
            }
            Reply::Silence(bytes) => {
                stream.write_all(&bytes).await?;
                let mut rest = Vec::new();
                // The client hangs up at its deadline, by closing or by resetting.
                let _: io::Result<usize> = stream.read_to_end(&mut rest).await;
                assert!(rest.is_empty(), "a client without an answer sends nothing more");
                return Ok(());
            }
        }
    }
    Ok(())
}

struct LeadsTo(SocketAddr);

#[async_trait]
impl Place for LeadsTo {
    async fn connect(&self, _: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        OwnNetwork.connect(self.0, deadline).await
    }
}
