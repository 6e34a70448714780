//! A path between a client and a server, and the traffic along it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use duress_arena::{Arena, ArenaSpec, Host, HostSpec, LinkCounters, PortKind, Switch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bridge::Bridge;

/// Bytes of one message, either way.
const MESSAGE: usize = 64;
/// Bytes of one bulk transfer.
pub const BULK: usize = 64 << 20;
/// Bytes of one write of it.
const WRITE: usize = 256 << 10;

/// The placement of the two ends of a connection.
pub enum Path {
    /// On hosts of an arena, which may be the same one.
    Hosts { client: Arc<Host>, server: Arc<Host>, server_address: Ipv4Addr, arena: Arena },
    /// On either side of a bridge of the kernel's own.
    Bridge(Bridge),
}

impl Path {
    /// Within one host.
    pub fn loopback() -> Self {
        match Self::between_hosts(PortKind::Packet) {
            Self::Hosts { server, arena, .. } => Self::Hosts {
                client: Arc::clone(&server),
                server,
                server_address: Ipv4Addr::LOCALHOST,
                arena,
            },
            bridge @ Self::Bridge(_) => bridge,
        }
    }

    /// Through the switch.
    pub fn between_hosts(port: PortKind) -> Self {
        let names = ["client", "server"];
        let hosts = names
            .iter()
            .zip(1..)
            .map(|(name, last)| HostSpec { name: (*name).into(), address: Ipv4Addr::new(10, 77, 0, last) })
            .collect();
        let arena = Arena::build(&ArenaSpec { hosts, port, tcp_rto_max: None }).expect("the arena is built");
        let [client, server] = names.map(|name| Arc::clone(arena.host(name).expect("a host of this arena")));
        let server_address = server.address();
        Self::Hosts { client, server, server_address, arena }
    }

    /// Through a bridge.
    pub fn over(bridge: Bridge) -> Self {
        Self::Bridge(bridge)
    }

    /// Returns the switch that it leads through.
    pub fn switch(&self) -> Option<&Switch> {
        match self {
            Self::Hosts { arena, .. } => Some(arena.switch()),
            Self::Bridge(_) => None,
        }
    }

    /// Returns the counters of the link from the client to the server.
    pub fn counters(&self) -> Option<LinkCounters> {
        let counters = self.switch()?.counters("client", "server");
        Some(counters.expect("both are hosts"))
    }

    /// How many packets the switch has forwarded, both ways.
    pub fn packets(&self) -> u64 {
        let count = |switch: &Switch, from, to| switch.counters(from, to).expect("both are hosts");
        self.switch().map_or(0, |switch| {
            count(switch, "client", "server").forwarded_packets
                + count(switch, "server", "client").forwarded_packets
        })
    }

    fn listen(&self) -> TcpListener {
        let listener = match self {
            Self::Hosts { server, server_address, .. } => {
                server.enter(|| TcpListener::bind((*server_address, 0))).and_then(|bound| bound)
            }
            Self::Bridge(bridge) => bridge.on_server(|| TcpListener::bind((Bridge::SERVER, 0))),
        };
        listener.expect("the address is the server's")
    }

    fn connect(&self, to: SocketAddr) -> TcpStream {
        let connect = || TcpStream::connect(to);
        let stream: io::Result<TcpStream> = match self {
            Self::Hosts { client, .. } => client.enter(connect).and_then(|connected| connected),
            Self::Bridge(bridge) => bridge.on_client(connect),
        };
        let stream = stream.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP connection");
        stream
    }

    /// Returns a server that answers every `read` bytes with `answer` bytes, on as many connections as are
    /// made.
    fn serve(&self, read: usize, answer: usize) -> (SocketAddr, JoinHandle<()>) {
        let listener = self.listen();
        let address = listener.local_addr().expect("a bound listener");
        listener.set_nonblocking(true).expect("a listener");
        let server = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let mut connections = tokio::task::JoinSet::new();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (stream, _) = accepted.expect("a connection");
                            connections.spawn(answer_all(stream, read, answer));
                        }
                        // When the last client has gone the measurement is over.
                        Some(_) = connections.join_next() => if connections.is_empty() { return },
                    }
                }
            });
        });
        (address, server)
    }
}

async fn answer_all(mut stream: tokio::net::TcpStream, read: usize, answer: usize) {
    stream.set_nodelay(true).expect("a TCP connection");
    let mut buffer = vec![0; read.min(WRITE)];
    let reply = vec![1; answer];
    let mut received = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        received += length;
        if received >= read {
            received -= read;
            if stream.write_all(&reply).await.is_err() {
                return;
            }
        }
    }
}

/// Connections that make round trips side by side.
pub struct Echo {
    streams: Vec<TcpStream>,
    server: JoinHandle<()>,
}

impl Echo {
    pub fn open(path: &Path, connections: usize) -> Self {
        let (address, server) = path.serve(MESSAGE, MESSAGE);
        Self { streams: (0..connections).map(|_| path.connect(address)).collect(), server }
    }

    /// A round trip on each of them.
    pub fn round(&mut self) {
        let mut buffer = [0; MESSAGE];
        for stream in &mut self.streams {
            stream.write_all(&[7; MESSAGE]).expect("room in the send buffer");
        }
        for stream in &mut self.streams {
            stream.read_exact(&mut buffer).expect("an answer");
        }
    }

    pub fn close(self) {
        drop(self.streams);
        self.server.join().expect("the server met no error");
    }
}

/// A connection for bulk transfers.
pub struct Bulk {
    stream: TcpStream,
    data: Vec<u8>,
    server: JoinHandle<()>,
}

impl Bulk {
    pub fn open(path: &Path) -> Self {
        let (address, server) = path.serve(BULK, 1);
        Self { stream: path.connect(address), data: vec![7; WRITE], server }
    }

    /// [`BULK`] bytes one way, and a byte back.
    pub fn transfer(&mut self) {
        for _ in 0..BULK / WRITE {
            self.stream.write_all(&self.data).expect("a connection");
        }
        self.stream.read_exact(&mut [0]).expect("an answer");
    }

    pub fn close(self) {
        drop(self.stream);
        self.server.join().expect("the server met no error");
    }
}
