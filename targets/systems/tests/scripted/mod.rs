//! A server that plays a script over loopback, and a place to connect from that always leads to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duress_history::NodeId;
use duress_history::register::{Register, RegisterOp};
use duress_targets::{Connect, Node, Outcome, OwnNetwork, Request, System, Topology, find};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server does with one request, once it has arrived whole.
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

    /// The place whose connections all lead here.
    pub fn place(&self) -> Arc<dyn Connect> {
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
                // Gives the client a chance to see the first half alone; nothing depends on whether it does.
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
                assert!(rest.is_empty(), "a client that gets no answer sends nothing more");
                return Ok(());
            }
        }
    }
    Ok(())
}

struct LeadsTo(SocketAddr);

#[async_trait]
impl Connect for LeadsTo {
    async fn connect(&self, _: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        OwnNetwork.connect(self.0, deadline).await
    }
}

/// A system with one node, `n1`, at an address that only a [`Scripted::place`] leads to.
pub fn single(system: &str) -> (&'static dyn System, Topology) {
    let node = Node {
        name: NodeId::new("n1"),
        address: [192, 0, 2, 1].into(),
        data: "data".into(),
        stdout: "stdout".into(),
        stderr: "stderr".into(),
    };
    (find(system).unwrap(), Topology { nodes: vec![node], executable: "duress".into() })
}

/// The default settings of `system`, with `options`.
pub fn request(options: &[(&str, &str)]) -> Request {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request { nodes: 1, options, ..Request::default() }
}

/// Read the key `x`.
pub fn read() -> Register {
    Register { key: "x".into(), op: RegisterOp::Read(None) }
}

/// Write 1 to the key `x`.
pub fn write() -> Register {
    Register { key: "x".into(), op: RegisterOp::Write(1.into()) }
}

/// Compare-and-set the key `x` from 1 to 2.
pub fn cas() -> Register {
    Register { key: "x".into(), op: RegisterOp::Cas { old: Some(1.into()), new: 2.into() } }
}

/// An outcome in short: `ok`, `ok 5`, `ok nil`, `fail precondition`, `info timeout`.
pub fn short(asked: &Register, outcome: &Outcome<Register>) -> String {
    match outcome {
        Outcome::Ok(answered) => {
            assert_eq!(answered.key, asked.key);
            match &answered.op {
                RegisterOp::Read(Some(value)) => format!("ok {value}"),
                RegisterOp::Read(None) => "ok nil".to_owned(),
                op => {
                    assert_eq!(op, &asked.op, "what was asked is answered unchanged");
                    "ok".to_owned()
                }
            }
        }
        Outcome::Fail(cause) => format!("fail {}", cause.kind),
        Outcome::Info(cause) => format!("info {}", cause.kind),
    }
}
