//! What the switch costs: round trips and bulk transfer over both kinds of port, beside loopback.
//!
//! The same server and the same client on every path, in one run, so that the figures compare. The loopback is
//! that of one host: no switch, no namespaces to cross. What it costs the switch
//! to capture packets as well is measured at the end.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use duress_history::NodeId;
use duress_nemesis::arena::{
    Arena, ArenaSpec, CaptureSpec, Host, HostSpec, PortKind, Role, RunStart, isolate,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes of one message, either way.
const MESSAGE: usize = 64;
/// Bytes of one bulk transfer.
const BULK: usize = 64 << 20;

fn main() -> ExitCode {
    match isolate() {
        Ok(Role::Runner) => {}
        Ok(Role::Outer(status)) => {
            return ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255));
        }
        Err(error) => {
            println!("cannot be measured here: {error}");
            return ExitCode::SUCCESS;
        }
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let best = PortKind::best().expect("namespaces can be made");
    measure(&mut criterion, "loopback", &Path::loopback());
    if best == PortKind::Tun {
        measure(&mut criterion, "tun", &Path::between_hosts(PortKind::Tun));
    } else {
        println!("tun ports cannot be measured: /dev/net/tun cannot be used");
    }
    measure(&mut criterion, "packet", &Path::between_hosts(PortKind::Packet));
    measure_capture(best);
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// Where the two ends of a connection are.
struct Path {
    client: Arc<Host>,
    server: Arc<Host>,
    server_address: Ipv4Addr,
    arena: Arena,
}

impl Path {
    fn loopback() -> Self {
        let path = Self::between_hosts(PortKind::Packet);
        Self { client: Arc::clone(&path.server), server_address: Ipv4Addr::LOCALHOST, ..path }
    }

    fn between_hosts(port: PortKind) -> Self {
        let names = ["client", "server"].map(NodeId::new);
        let hosts = names
            .iter()
            .zip(1..)
            .map(|(name, last)| HostSpec { name: name.clone(), address: Ipv4Addr::new(10, 77, 0, last) })
            .collect();
        let arena = Arena::build(&ArenaSpec { hosts, port, tcp_rto_max: None }).expect("the arena stands");
        let [client, server] = names.map(|name| Arc::clone(arena.host(&name).expect("a host of this arena")));
        let server_address = server.address();
        Self { client, server, server_address, arena }
    }

    /// A server that answers every `read` bytes with `answer` bytes, on as many connections as are made.
    fn serve(&self, read: usize, answer: usize) -> (SocketAddr, JoinHandle<()>) {
        let listener = self
            .server
            .enter(|| TcpListener::bind((self.server_address, 0)))
            .and_then(|bound| bound)
            .expect("the address is the server's");
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

    fn connect(&self, to: SocketAddr) -> TcpStream {
        let stream = self.client.enter(|| TcpStream::connect(to)).and_then(|connected| connected);
        let stream = stream.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP connection");
        stream
    }
}

async fn answer_all(mut stream: tokio::net::TcpStream, read: usize, answer: usize) {
    stream.set_nodelay(true).expect("a TCP connection");
    let mut buffer = vec![0; read.min(256 << 10)];
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

fn measure(criterion: &mut Criterion, name: &str, path: &Path) {
    for connections in [1, 32] {
        let mut group = criterion.benchmark_group(format!("echo-64B-{connections}-connections"));
        group.throughput(Throughput::Elements(connections as u64));
        let (address, server) = path.serve(MESSAGE, MESSAGE);
        let mut streams: Vec<_> = (0..connections).map(|_| path.connect(address)).collect();
        let mut buffer = [0; MESSAGE];
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                for stream in &mut streams {
                    stream.write_all(&[7; MESSAGE]).expect("room in the send buffer");
                }
                for stream in &mut streams {
                    stream.read_exact(&mut buffer).expect("an answer");
                }
            });
        });
        drop(streams);
        server.join().expect("the server has seen nothing unexpected");
        group.finish();
    }

    let mut group = criterion.benchmark_group("bulk-64MiB");
    group.throughput(Throughput::Bytes(BULK as u64)).sample_size(10);
    let (address, server) = path.serve(BULK, 1);
    let mut stream = path.connect(address);
    let data = vec![7; 256 << 10];
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter(|| {
            for _ in 0..BULK / data.len() {
                stream.write_all(&data).expect("a connection");
            }
            stream.read_exact(&mut [0]).expect("an answer");
        });
    });
    drop(stream);
    server.join().expect("the server has seen nothing unexpected");
    group.finish();
    let counters = path.arena.switch().counters(&NodeId::new("client"), &NodeId::new("server"));
    let counters = counters.expect("both are hosts");
    println!(
        "{name}: {} packets forwarded, {} overflowed",
        counters.forwarded_packets, counters.overflowed_packets
    );
}

/// What the switch thread itself spends on a small packet while packets are captured, or not: in turns, between the
/// same hosts, since it is little beside what else happens on the machine.
fn measure_capture(port: PortKind) {
    const ROUNDS: u32 = 300;
    const CONNECTIONS: usize = 32;
    const TURNS: usize = 31;
    let path = Path::between_hosts(port);
    let switch = path.arena.switch();
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let (address, server) = path.serve(MESSAGE, MESSAGE);
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| path.connect(address)).collect();
    let mut buffer = [0; MESSAGE];
    let [client, server_name] = ["client", "server"].map(NodeId::new);
    let packets = || {
        let count = |from, to| switch.counters(from, to).expect("both are hosts").forwarded_packets;
        count(&client, &server_name) + count(&server_name, &client)
    };
    let kinds = [("off", CaptureSpec::OFF), ("ring", CaptureSpec::RING), ("whole", CaptureSpec::WHOLE)];
    let mut costs = kinds.map(|_| Vec::new());
    for _ in 0..TURNS {
        for ((_, spec), costs) in kinds.iter().zip(&mut costs) {
            let file = folder.path().join("network.pcapng");
            let capture = switch.capture(spec, RunStart::now(), &file).expect("the switch runs");
            let before = (switch_nanoseconds(), packets());
            for _ in 0..ROUNDS {
                for stream in &mut streams {
                    stream.write_all(&[7; MESSAGE]).expect("room in the send buffer");
                }
                for stream in &mut streams {
                    stream.read_exact(&mut buffer).expect("an answer");
                }
            }
            costs.push((switch_nanoseconds() - before.0) / (packets() - before.1));
            // A ring is forgotten, a file completed.
            drop(capture);
        }
    }
    for ((kind, _), costs) in kinds.iter().zip(&mut costs) {
        costs.sort();
        let [low, middle, high] = [TURNS / 4, TURNS / 2, TURNS * 3 / 4].map(|rank| costs[rank]);
        println!("capture {kind}: {middle} ns of the switch thread a packet (middle half {low} to {high})");
    }
    drop(streams);
    server.join().expect("the server has seen nothing unexpected");
}

/// How long the one switch thread of this process has been on a processor.
fn switch_nanoseconds() -> u64 {
    let threads = fs::read_dir("/proc/self/task").expect("proc is mounted");
    let switch = threads
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim_end() == "switch"));
    let spent = fs::read_to_string(switch.expect("the switch runs").join("schedstat"));
    spent.expect("a living thread").split(' ').next().and_then(|spent| spent.parse().ok()).expect("a number")
}
