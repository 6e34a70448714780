//! The process at a node: it runs the node's program, and carries its messages between the program's standard streams and the
//! network of the arena.
//!
//! Messages to other nodes are datagrams, those of clients come over connections, those of services over a socket in the file
//! system. The process initializes the program, and listens for clients once that is done. It ends with the program.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::datagrams::{Assembly, datagrams};
use super::message::{Body, Message};
use super::services;

/// The client that initializes a node.
const INITIALIZER: &str = "c0";
/// The number of the request that initializes a node, and of the one that tells it the topology.
const INIT: u64 = 1;
const TOPOLOGY: u64 = 2;

/// A node of Maelstrom's protocol, and how it is reached.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The node's name.
    pub node: String,
    /// All nodes and their addresses, in order: for datagrams and for clients.
    pub nodes: Vec<(String, SocketAddr)>,
    /// The socket of the services.
    pub services: PathBuf,
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
        /// What was to be done.
        action: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The program wrote a line that is not a message.
    #[error("the node wrote a line that is not a message ({source}): {line}")]
    NotAMessage {
        /// The line, its beginning if it is long.
        line: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The program sent a message to no one that exists.
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
}

fn cannot(action: impl Into<String>) -> impl FnOnce(io::Error) -> RelayError {
    let action = action.into();
    move |source| RelayError::Start { action, source }
}

/// The connections of clients, by the client's name.
type Clients = Arc<Mutex<HashMap<String, Sender<Vec<u8>>>>>;

/// A running program with what its messages need.
struct Running {
    relay: Relay,
    address: SocketAddr,
    peers: BTreeMap<String, SocketAddr>,
    to_node: Sender<Vec<u8>>,
    clients: Clients,
    socket: UdpSocket,
    services: UnixStream,
    /// The number of the next message to another node.
    number: u64,
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
        // One that has ended already cannot be killed.
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
        let (to_node, lines) = channel::<Vec<u8>>();
        if let Some(stdin) = stdin {
            spawn("input", move || write_all(&lines, stdin))?;
        }
        let (saw, events) = channel::<Event>();
        let (received, into, deaf) =
            (socket.try_clone().map_err(cannot("receive datagrams"))?, to_node.clone(), saw.clone());
        spawn("datagrams", move || {
            if let Err(error) = receive(&received, &into) {
                let _ = deaf.send(Event::Deaf("messages of other nodes", error));
            }
        })?;
        let (answers, into, deaf) =
            (services.try_clone().map_err(cannot("use the services"))?, to_node.clone(), saw.clone());
        spawn("services", move || {
            let error = each_line(answers, |line| into.send(line).is_ok());
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
        let mut running = Running { relay: self, address, peers, to_node, clients, socket, services, number };
        running.request(INIT, running.init());
        for event in events {
            match event {
                Event::Line(line) => running.carry(&line)?,
                Event::Closed => break,
                Event::Deaf(what, source) => return Err(RelayError::Deaf { what, source }),
            }
        }
        let status = program.0.wait().map_err(cannot("wait for the node's program"))?;
        Err(RelayError::Ended(status))
    }
}

impl Running {
    fn init(&self) -> Body {
        let nodes: Vec<&String> = self.relay.nodes.iter().map(|(name, _)| name).collect();
        Body::new("init", [("node_id", json!(self.relay.node)), ("node_ids", json!(nodes))])
    }

    /// Sends a request of the initializer.
    fn request(&self, number: u64, body: Body) {
        let body = Body { msg_id: Some(number), ..body };
        let message = Message { src: INITIALIZER.to_owned(), dest: self.relay.node.clone(), body };
        // Without a program that reads, the end of its output says so.
        let _ = self.to_node.send(message.line());
    }

    /// Carries a line of the program to its receiver.
    fn carry(&mut self, line: &[u8]) -> Result<(), RelayError> {
        let message = Message::parse(line).map_err(|source| RelayError::NotAMessage {
            line: String::from_utf8_lossy(&line[..line.len().min(400)]).trim_end().to_owned(),
            source,
        })?;
        let dest = message.dest.as_str();
        if dest == self.relay.node {
            let _ = self.to_node.send(message.line());
        } else if let Some(to) = self.peers.get(dest) {
            self.number += 1;
            for datagram in datagrams(self.number, &message.line()).into_iter().flatten() {
                // A datagram that the network does not take is lost, as one within the network is.
                let _ = self.socket.send_to(&datagram, to);
            }
        } else if dest == INITIALIZER {
            self.initialized(&message.body)?;
        } else if services::NAMES.contains(&dest) {
            (&self.services).write_all(&message.line()).map_err(cannot("use the services"))?;
        } else if dest.starts_with('c') {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            // A client that has left learns nothing any more.
            if clients.get(dest).is_some_and(|client| client.send(message.line()).is_err()) {
                clients.remove(dest);
            }
        } else {
            return Err(RelayError::NoReceiver(dest.to_owned()));
        }
        Ok(())
    }

    /// Goes on when the program has answered a request of the initializer: it is told its topology, then clients may come.
    fn initialized(&mut self, answer: &Body) -> Result<(), RelayError> {
        let refused = |request| {
            let answer = serde_json::to_string(answer).unwrap_or_default();
            Err(RelayError::Refused { request, answer })
        };
        match (answer.in_reply_to, answer.kind.as_str()) {
            (Some(INIT), "init_ok") if self.relay.topology => {
                let names: Vec<&str> = self.relay.nodes.iter().map(|(name, _)| name.as_str()).collect();
                self.request(TOPOLOGY, Body::new("topology", [("topology", grid(&names))]));
                Ok(())
            }
            (Some(INIT), "init_ok") | (Some(TOPOLOGY), "topology_ok") => {
                let address = self.address;
                let listener =
                    TcpListener::bind(address).map_err(cannot(format!("listen for clients on {address}")))?;
                let (to_node, clients) = (self.to_node.clone(), Arc::clone(&self.clients));
                spawn("clients", move || accept(&listener, &to_node, &clients))
            }
            (Some(TOPOLOGY), _) => refused("topology"),
            _ => refused("init"),
        }
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
fn write_all(lines: &Receiver<Vec<u8>>, mut into: impl Write) {
    for line in lines {
        if into.write_all(&line).and_then(|()| into.flush()).is_err() {
            return;
        }
    }
}

/// Hands each line of `from`, with its end, to `to`, until that refuses one. Returns why there are no more lines.
fn each_line(from: impl io::Read, to: impl Fn(Vec<u8>) -> bool) -> io::Error {
    let mut lines = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) if to(line) => {}
            Ok(_) => return io::ErrorKind::BrokenPipe.into(),
            Err(error) => return error,
        }
    }
}

/// Hands messages of other nodes to the program, until it has ended. It does nothing else, so that the socket's buffer does not
/// fill.
fn receive(socket: &UdpSocket, to_node: &Sender<Vec<u8>>) -> io::Result<()> {
    let mut senders: HashMap<SocketAddr, Assembly> = HashMap::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let message = senders.entry(from).or_default().take(&buffer[..length]);
                if message.is_some_and(|message| to_node.send(message).is_err()) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serves each client that connects.
fn accept(listener: &TcpListener, to_node: &Sender<Vec<u8>>, clients: &Clients) {
    for connection in listener.incoming().map_while(Result::ok) {
        let (to_node, clients) = (to_node.clone(), Arc::clone(clients));
        // Without threads the client finds its connection closed.
        let _ = spawn("client", move || {
            let _ = serve(&connection, &to_node, &clients);
        });
    }
}

/// Hands a client's messages to the program, and the answers to the client.
fn serve(connection: &TcpStream, to_node: &Sender<Vec<u8>>, clients: &Clients) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let (answer, answers) = channel::<Vec<u8>>();
    let into = connection.try_clone()?;
    let writer = thread::Builder::new().name("answers".to_owned());
    writer.spawn(move || write_all(&answers, into))?;
    for line in BufReader::new(connection).split(b'\n') {
        let mut line = line?;
        let Ok(message) = Message::parse(&line) else { return Ok(()) };
        clients.lock().unwrap_or_else(PoisonError::into_inner).insert(message.src, answer.clone());
        line.push(b'\n');
        if to_node.send(line).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
