//! The process at a node: it runs the node's program, and carries its messages between the program's standard streams and the
//! network of the arena.
//!
//! Messages to other nodes are datagrams, those of clients come over connections, those of services over a socket in the file
//! system. The process initializes the program, and listens for clients once that is done. It ends with the program.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use duress_history::traffic::recorder::Buffering;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use serde_json::{Value, json};

use super::datagrams::{Assembly, datagrams};
use super::message::{Body, Message};
use super::record::Record;
use super::services;

/// The client that initializes a node.
const INITIALIZER: &str = "c0";
/// The number of the request that initializes a node, and of the one that tells it the topology.
const INIT: u64 = 1;
const TOPOLOGY: u64 = 2;
/// How many of the program's lines may wait to be carried; then the program waits, as it would for a full pipe.
const LINES_MAX: usize = 1024;
/// The most bytes of a line; a longer one is no message.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// The most bytes that may wait for the program to read them; then messages of other nodes are lost, as in a full buffer of the
/// network.
const INPUT_BYTES_MAX: usize = 64 << 20;
/// The bytes of datagrams that may wait for this process: messages of some megabytes come all at once.
const DATAGRAM_BYTES_MAX: usize = 16 << 20;
/// The time between the datagrams of a long message.
const BETWEEN_PARTS: Duration = Duration::from_millis(1);
/// The time without a line after which the relay looks whether the program has ended: a process that the program started may
/// keep its output open.
const QUIET: Duration = Duration::from_millis(100);
/// How long a program that has closed its output may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// A node of Maelstrom's protocol, and how it is reached.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The node's name.
    pub node: String,
    /// All nodes and their addresses, in order: for datagrams and for clients.
    pub nodes: Vec<(String, SocketAddr)>,
    /// The socket of the services.
    pub services: PathBuf,
    /// The file of the messages that the node sends and receives.
    pub messages: PathBuf,
    /// Whether the node is told a topology.
    pub topology: bool,
    /// The node's program and its arguments.
    pub command: Vec<OsString>,
}

/// Why a node has ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The node is not among the nodes.
    #[error("--node {0} is none of the --nodes")]
    UnknownNode(String),
    /// A program, a socket or a thread could not be had.
    #[error("cannot {action}")]
    Start {
        /// The action, as an infinitive.
        action: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The program wrote a line that is not a message.
    #[error("the node wrote a line that is not a message: {line}")]
    NotAMessage {
        /// The line without control characters, its beginning if it is long.
        line: String,
        /// The error of the parser.
        #[source]
        source: serde_json::Error,
    },
    /// The program sent a message to a name that is none of a node, a client or a service.
    #[error("the node sent a message to \"{0}\", which is not a node, a client or a service")]
    NoReceiver(String),
    /// Messages cannot come in any more.
    #[error("cannot receive {what} any more")]
    Deaf {
        /// Whose messages.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The program refused to be initialized.
    #[error("the node answered {request} with {answer}")]
    Refused {
        /// The request.
        request: &'static str,
        /// The answer.
        answer: String,
    },
    /// The program ended.
    #[error("the node's program ended: {0}")]
    Ended(ExitStatus),
    /// The program can never answer.
    #[error("the node's program closed its standard output, and did not end")]
    Mute,
}

fn cannot(action: impl Into<String>) -> impl FnOnce(io::Error) -> RelayError {
    let action = action.into();
    move |source| RelayError::Start { action, source }
}

/// The program's standard input.
#[derive(Clone)]
struct Input {
    lines: Sender<Vec<u8>>,
    /// The number of bytes that wait for the program to read them.
    waiting: Arc<AtomicUsize>,
}

impl Input {
    /// Writes a line, once the program has read those before. Returns whether that is still possible.
    fn send(&self, line: Vec<u8>) -> bool {
        self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        self.lines.send(line).is_ok()
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > INPUT_BYTES_MAX
    }
}

/// The connections of clients that have not left, by the client's name.
type Clients = Arc<Mutex<HashMap<String, Arc<Sender<Vec<u8>>>>>>;

/// A running program with what its messages need.
struct Running {
    relay: Relay,
    address: SocketAddr,
    peers: BTreeMap<String, SocketAddr>,
    to_node: Input,
    record: Record,
    clients: Clients,
    socket: UdpSocket,
    services: UnixStream,
    /// The number of the next message to another node.
    number: u64,
    /// The initializer's request that the program has to answer next.
    awaited: Option<u64>,
}

/// Something that a thread saw.
enum Event {
    /// A line of the program.
    Line(Vec<u8>),
    /// The end of its output.
    Closed,
    /// The end of messages of this kind.
    Deaf(&'static str, io::Error),
}

/// The program, which ends when this is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // A program that has ended already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Relay {
    /// Runs the node until its program ends.
    ///
    /// # Errors
    /// [`RelayError`], always: a node has no reason to end by itself.
    pub fn run(self) -> Result<(), RelayError> {
        let peers: BTreeMap<String, SocketAddr> = self.nodes.iter().cloned().collect();
        let address = *peers.get(&self.node).ok_or_else(|| RelayError::UnknownNode(self.node.clone()))?;
        let socket =
            UdpSocket::bind(address).map_err(cannot(format!("listen for datagrams on {address}")))?;
        // The kernel's limit holds for those who may not exceed it; then long messages may be lost.
        if setsockopt(&socket, RcvBufForce, &DATAGRAM_BYTES_MAX).is_err() {
            let _ = setsockopt(&socket, RcvBuf, &DATAGRAM_BYTES_MAX);
        }
        let services = services::at(&self.services, UnixStream::connect)
            .map_err(cannot(format!("reach the services at {}", self.services.display())))?;
        let [program, args @ ..] = &self.command[..] else {
            return Err(cannot("start a node without a program")(io::ErrorKind::InvalidInput.into()));
        };
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot(format!("start {}", program.display())))?;
        let mut program = Program(child);
        let (stdin, stdout) = (program.0.stdin.take(), program.0.stdout.take());
        let (lines, written) = channel::<Vec<u8>>();
        let to_node = Input { lines, waiting: Arc::default() };
        // At once, since this process may be killed.
        let record = Record::new(self.messages.clone(), Buffering::None);
        if let Some(stdin) = stdin {
            let waiting = Arc::clone(&to_node.waiting);
            let read = move |line: &Vec<u8>| {
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
            };
            spawn("input", move || write_all(written.into_iter().inspect(read), stdin))?;
        }
        let (saw, events) = sync_channel::<Event>(LINES_MAX);
        let received = socket.try_clone().map_err(cannot("receive datagrams"))?;
        let (into, deaf, arrived, node) = (to_node.clone(), saw.clone(), record.clone(), self.node.clone());
        let senders =
            self.nodes.iter().map(|(name, at)| (*at, (name.clone(), Assembly::default()))).collect();
        spawn("datagrams", move || {
            let arrived = |number: u64, from: &str| arrived.arrived(number, from, &node);
            if let Err(error) = receive(&received, &into, senders, arrived) {
                let _ = deaf.send(Event::Deaf("messages of other nodes", error));
            }
        })?;
        let answers = services.try_clone().map_err(cannot("use the services"))?;
        let (into, deaf, answered, node) = (to_node.clone(), saw.clone(), record.clone(), self.node.clone());
        spawn("services", move || {
            let error = each_line(answers, |line| {
                if let Ok(answer) = Message::parse(&line) {
                    answered.answered(&node, &answer, line.len());
                }
                into.send(line)
            });
            let _ = deaf.send(Event::Deaf("answers of services", error));
        })?;
        if let Some(stdout) = stdout {
            spawn("output", move || {
                each_line(stdout, |line| saw.send(Event::Line(line)).is_ok());
                let _ = saw.send(Event::Closed);
            })?;
        }
        // Messages of an earlier start must not be completed by those of this one.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = u64::try_from(now.as_nanos()).unwrap_or_default();
        let clients = Clients::default();
        let mut running = Running {
            relay: self,
            address,
            peers,
            to_node,
            record,
            clients,
            socket,
            services,
            number,
            awaited: None,
        };
        running.request(INIT, running.init());
        let mut closed = None;
        loop {
            match events.recv_timeout(QUIET) {
                Ok(Event::Line(line)) => running.carry(&line)?,
                Ok(Event::Deaf(what, source)) => return Err(RelayError::Deaf { what, source }),
                Ok(Event::Closed) => closed = Some(Instant::now()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let status = program.0.try_wait().map_err(cannot("look at the node's program"))?;
                    if let Some(status) = status {
                        return Err(RelayError::Ended(status));
                    }
                    if closed.is_some_and(|closed| closed.elapsed() > ENDING) {
                        return Err(RelayError::Mute);
                    }
                }
            }
        }
    }
}

impl Running {
    fn init(&self) -> Body {
        let nodes: Vec<&String> = self.relay.nodes.iter().map(|(name, _)| name).collect();
        Body::new("init", [("node_id", json!(self.relay.node)), ("node_ids", json!(nodes))])
    }

    /// Sends a request of the initializer.
    fn request(&mut self, number: u64, body: Body) {
        self.awaited = Some(number);
        let body = Body { msg_id: Some(number), ..body };
        let message = Message { src: INITIALIZER.to_owned(), dest: self.relay.node.clone(), body };
        // Without a program that reads, the end of its output says so.
        let _ = self.to_node.send(message.line());
    }

    /// Carries a line of the program to its receiver.
    fn carry(&mut self, line: &[u8]) -> Result<(), RelayError> {
        let message = Message::parse(line).map_err(|source| RelayError::NotAMessage {
            line: printable(&line[..line.len().min(400)]),
            source,
        })?;
        let dest = message.dest.as_str();
        if dest == self.relay.node {
            let _ = self.to_node.send(message.line());
        } else if let Some(to) = self.peers.get(dest) {
            self.number += 1;
            let line = message.line();
            self.record.sent(&self.relay.node, self.number, &message, line.len());
            for (place, datagram) in datagrams(self.number, &line).into_iter().flatten().enumerate() {
                // Sent at once, a long message would overflow the network's queues.
                if place > 0 {
                    thread::sleep(BETWEEN_PARTS);
                }
                // A datagram that the network does not take is lost, as one within the network is.
                let _ = self.socket.send_to(&datagram, to);
            }
        } else if dest == INITIALIZER {
            self.initialized(&message.body)?;
        } else if services::NAMES.contains(&dest) {
            let line = message.line();
            let number = message.body.msg_id.unwrap_or_default();
            self.record.sent(&self.relay.node, number, &message, line.len());
            (&self.services).write_all(&line).map_err(cannot("use the services"))?;
        } else if dest.starts_with('c') {
            let line = message.line();
            let number = message.body.in_reply_to.unwrap_or_default();
            self.record.sent(&self.relay.node, number, &message, line.len());
            // A client that has left learns nothing any more.
            if let Some(client) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(dest) {
                let _ = client.send(line);
            }
        } else {
            return Err(RelayError::NoReceiver(dest.to_owned()));
        }
        Ok(())
    }

    /// Goes on when the program has answered a request of the initializer: it is told its topology, then clients may come.
    fn initialized(&mut self, answer: &Body) -> Result<(), RelayError> {
        // As for clients, a second answer changes nothing.
        let Some(awaited) = self.awaited.filter(|awaited| answer.in_reply_to.is_none_or(|to| to >= *awaited))
        else {
            return Ok(());
        };
        let request = if awaited == INIT { "init" } else { "topology" };
        if answer.in_reply_to != Some(awaited) || answer.kind.strip_suffix("_ok") != Some(request) {
            let answer = serde_json::to_string(answer).unwrap_or_default();
            return Err(RelayError::Refused { request, answer });
        }
        if self.relay.topology && request == "init" {
            let names: Vec<&str> = self.relay.nodes.iter().map(|(name, _)| name.as_str()).collect();
            self.request(TOPOLOGY, Body::new("topology", [("topology", grid(&names))]));
            return Ok(());
        }
        self.awaited = None;
        let address = self.address;
        let listener =
            TcpListener::bind(address).map_err(cannot(format!("listen for clients on {address}")))?;
        let (to_node, clients, record) =
            (self.to_node.clone(), Arc::clone(&self.clients), self.record.clone());
        let node: Arc<str> = self.relay.node.as_str().into();
        spawn("clients", move || accept(&listener, &node, &to_node, &clients, &record))
    }
}

/// Returns a grid of the nodes: each one's neighbours by name.
fn grid(nodes: &[&str]) -> Value {
    let columns = (1..).find(|columns| columns * columns >= nodes.len()).unwrap_or(1);
    let neighbours = |at: usize| {
        let column = at % columns;
        let left = (column > 0).then(|| at - 1);
        let right = (column + 1 < columns).then_some(at + 1);
        [at.checked_sub(columns), left, right, Some(at + columns)]
            .into_iter()
            .flatten()
            .filter_map(|other| nodes.get(other).copied())
            .collect::<Vec<_>>()
    };
    nodes.iter().enumerate().map(|(at, name)| ((*name).to_owned(), json!(neighbours(at)))).collect()
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), RelayError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(cannot("start a thread"))
}

/// Writes lines until there is no reader.
fn write_all(lines: impl IntoIterator<Item = Vec<u8>>, mut into: impl Write) {
    for line in lines {
        if into.write_all(&line).and_then(|()| into.flush()).is_err() {
            return;
        }
    }
}

/// Returns what a program wrote, in one line for a terminal.
fn printable(written: &[u8]) -> String {
    let text = String::from_utf8_lossy(written);
    text.trim_end().chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Hands each line of `from`, with its end, to `to`, until that refuses one; a line that is too long is cut. Returns why there
/// are no more lines.
fn each_line(from: impl Read, to: impl Fn(Vec<u8>) -> bool) -> io::Error {
    let mut lines = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) if to(line) => {}
            Ok(_) => return io::ErrorKind::BrokenPipe.into(),
            Err(error) => return error,
        }
    }
}

/// Hands messages of other nodes to the program, until it has ended. It does little else, so that the socket's buffer does not
/// fill.
fn receive(
    socket: &UdpSocket,
    to_node: &Input,
    mut senders: HashMap<SocketAddr, (String, Assembly)>,
    arrived: impl Fn(u64, &str),
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                // Only nodes are known to send any.
                let Some((from, parts)) = senders.get_mut(&from) else { continue };
                let message = parts.take(&buffer[..length]).filter(|_| !to_node.is_full());
                if let Some((number, message)) = message {
                    arrived(number, from);
                    if !to_node.send(message) {
                        return Ok(());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serves each client that connects.
fn accept(listener: &TcpListener, node: &Arc<str>, to_node: &Input, clients: &Clients, record: &Record) {
    for connection in listener.incoming() {
        // A connection that broke before it was accepted says nothing about others.
        let Ok(connection) = connection else {
            thread::sleep(QUIET);
            continue;
        };
        let (to_node, clients, record) = (to_node.clone(), Arc::clone(clients), record.clone());
        let node = Arc::clone(node);
        // Without threads the client finds its connection closed.
        let _ = spawn("client", move || {
            let arrived = |number: u64, from: &str| record.arrived(number, from, &node);
            let _ = serve(&connection, &to_node, &clients, arrived);
        });
    }
}

/// Hands a client's messages to the program, and the answers to the client.
fn serve(
    connection: &TcpStream,
    to_node: &Input,
    clients: &Clients,
    arrived: impl Fn(u64, &str),
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let (answer, answers) = channel::<Vec<u8>>();
    let answer = Arc::new(answer);
    let into = connection.try_clone()?;
    let writer = thread::Builder::new().name("answers".to_owned());
    writer.spawn(move || write_all(answers, into))?;
    let clients = || clients.lock().unwrap_or_else(PoisonError::into_inner);
    each_line(connection, |line| {
        let Ok(message) = Message::parse(&line) else { return false };
        arrived(message.body.msg_id.unwrap_or_default(), &message.src);
        clients().insert(message.src, Arc::clone(&answer));
        to_node.send(line)
    });
    // With the last sender the thread that writes ends; the client may have a newer connection.
    clients().retain(|_, held| !Arc::ptr_eq(held, &answer));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_left_is_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = listener.accept().unwrap().0;
        let (lines, written) = channel();
        let (to_node, clients) = (Input { lines, waiting: Arc::default() }, Clients::default());
        let kept = Arc::clone(&clients);
        let serving = thread::spawn(move || serve(&connection, &to_node, &kept, |_, _| {}));
        let line = br#"{"src":"c1","dest":"n1","body":{"type":"read","msg_id":1}}"#;
        client.write_all(&[&line[..], b"\n"].concat()).unwrap();
        assert_eq!(written.recv().unwrap().trim_ascii_end(), line);
        assert!(clients.lock().unwrap().contains_key("c1"));
        drop(client);
        serving.join().unwrap().unwrap();
        assert!(clients.lock().unwrap().is_empty());
    }

    #[test]
    fn what_is_quoted_has_no_control_characters() {
        assert_eq!(printable(b"ready \x1b[2J\xff\n"), "ready \u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn nodes_form_a_grid() {
        assert_eq!(grid(&["n1"]), json!({"n1": []}));
        assert_eq!(
            grid(&["n1", "n2", "n3", "n4", "n5"]),
            json!({
                "n1": ["n2", "n4"],
                "n2": ["n1", "n3", "n5"],
                "n3": ["n2"],
                "n4": ["n1", "n5"],
                "n5": ["n2", "n4"],
            })
        );
    }
}
