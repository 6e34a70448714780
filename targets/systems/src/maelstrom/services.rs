//! Maelstrom's services, which nodes may use like other nodes: three key-value stores and a source of timestamps.
//!
//! | service | requests | promise |
//! |---|---|---|
//! | `lin-kv` | `read`, `write`, `cas` | linearizable |
//! | `seq-kv` | the same | sequential: a node may read an old state, but none older than it has seen |
//! | `lww-kv` | the same | eventual: five replicas, of which the last write by their clocks wins |
//! | `lin-tso` | `ts` | each timestamp is larger than those given before |
//!
//! They live in this program, behind a socket in the file system, so that no fault strikes them, as in Maelstrom.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::message::{Body, DIFFERS, Message, NO_KEY, UNSUPPORTED};

/// The names of the services.
pub(super) const NAMES: [&str; 4] = ["lin-kv", "seq-kv", "lww-kv", "lin-tso"];
/// How many states a node that uses `seq-kv` may be behind.
const STATES: u64 = 32;
/// The number of replicas of `lww-kv`.
const REPLICAS: usize = 5;

/// A key-value store: values by key, each a JSON text.
type Store = BTreeMap<String, Value>;

/// The services of one cluster. Dropping them ends them.
#[derive(Debug)]
pub(super) struct Services {
    path: PathBuf,
    open: Arc<Mutex<Open>>,
}

/// The connections that are open, or that there will be no more.
#[derive(Debug, Default)]
struct Open {
    ended: bool,
    connections: Vec<UnixStream>,
}

impl Services {
    /// Starts them behind a socket at `path`, in place of an earlier one.
    ///
    /// # Errors
    /// The system's own error.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = at(path, UnixListener::bind)?;
        let open = Arc::new(Mutex::new(Open::default()));
        let (accepting, state) = (Arc::clone(&open), Arc::new(Mutex::new(State::new())));
        thread::Builder::new().name("services".to_owned()).spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                let Ok(kept) = connection.try_clone() else { continue };
                {
                    let mut open = lock(&accepting);
                    if open.ended {
                        return;
                    }
                    open.connections.push(kept);
                }
                let state = Arc::clone(&state);
                // A thread that cannot be started leaves a node without services, which it says.
                let _ = thread::Builder::new()
                    .name("service".to_owned())
                    .spawn(move || serve(&connection, &state));
            }
        })?;
        Ok(Self { path: path.to_owned(), open })
    }
}

impl Services {
    /// Returns their socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        {
            let mut open = lock(&self.open);
            open.ended = true;
            for connection in open.connections.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        // The listener wakes, and sees the end.
        let _ = at(&self.path, UnixStream::connect);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Calls `with` with a name of `path` that is short enough for a socket, whose name has at most 107 bytes.
pub(super) fn at<T>(path: &Path, with: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    let folder = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    with(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one node's requests until it leaves.
fn serve(connection: &UnixStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(connection).split(b'\n');
    while let Some(Ok(line)) = lines.next() {
        let Ok(request) = Message::parse(&line) else { return };
        let mut body = lock(state).answer(&request);
        body.in_reply_to = request.body.msg_id;
        let reply = Message { src: request.dest, dest: request.src, body };
        if (&mut &*connection).write_all(&reply.line()).is_err() {
            return;
        }
    }
}

/// The state of all services.
#[derive(Debug)]
struct State {
    linear: Store,
    sequential: Sequential,
    last_write_wins: LastWriteWins,
    timestamp: u64,
    random: ChaCha8Rng,
}

impl State {
    fn new() -> Self {
        Self {
            linear: Store::new(),
            sequential: Sequential::default(),
            last_write_wins: LastWriteWins::default(),
            timestamp: 0,
            random: ChaCha8Rng::seed_from_u64(0),
        }
    }

    /// Carries out a request; returns the body of the reply.
    fn answer(&mut self, request: &Message) -> Body {
        let body = &request.body;
        match request.dest.as_str() {
            "lin-tso" if body.kind == "ts" => {
                self.timestamp += 1;
                Body::new("ts_ok", [("ts", self.timestamp.into())])
            }
            "lin-kv" => execute(&mut self.linear, body),
            "seq-kv" => self.sequential.execute(&request.src, body, &mut self.random),
            "lww-kv" => self.last_write_wins.execute(body, &mut self.random),
            service => Body::error(UNSUPPORTED, &format!("{service} has no operation {}", body.kind)),
        }
    }
}

/// Carries out a request on a store.
fn execute(store: &mut Store, body: &Body) -> Body {
    let key = body.field("key").to_string();
    let held = store.get(&key);
    match body.kind.as_str() {
        "read" => match held {
            Some(value) => Body::new("read_ok", [("value", value.clone())]),
            None => Body::error(NO_KEY, "key does not exist"),
        },
        "write" => {
            store.insert(key, body.field("value").clone());
            Body::new("write_ok", [])
        }
        "cas" => {
            let create = body.field("create_if_not_exists").as_bool() == Some(true);
            match held {
                None if !create => return Body::error(NO_KEY, "key does not exist"),
                Some(value) if value != body.field("from") => {
                    return Body::error(DIFFERS, &format!("expected {}, had {value}", body.field("from")));
                }
                _ => {}
            }
            store.insert(key, body.field("to").clone());
            Body::new("cas_ok", [])
        }
        other => Body::error(UNSUPPORTED, &format!("a key-value store has no operation {other}")),
    }
}

/// A store whose states are in one order. Changes are made to the last state; a read sees any state from the last one that its
/// node has seen, among the latest.
#[derive(Debug, Default)]
struct Sequential {
    /// The latest states, the last one at the end.
    states: std::collections::VecDeque<Store>,
    /// The number of the first of them.
    first: u64,
    /// By node, the number of the last state that it has seen.
    seen: BTreeMap<String, u64>,
}

impl Sequential {
    fn execute(&mut self, node: &str, body: &Body, random: &mut ChaCha8Rng) -> Body {
        if self.states.is_empty() {
            self.states.push_back(Store::new());
        }
        let last = self.first + self.states.len() as u64 - 1;
        let seen = self.seen.entry(node.to_owned()).or_default();
        if body.kind == "read" {
            *seen = random.random_range((*seen).max(self.first)..=last);
            let at = usize::try_from(*seen - self.first).unwrap_or_default();
            return execute(&mut self.states[at], body);
        }
        let mut state = self.states.back().cloned().unwrap_or_default();
        let reply = execute(&mut state, body);
        // A refusal tells the last state, too.
        *seen = last;
        if reply.kind != "error" {
            *seen = last + 1;
            self.states.push_back(state);
        }
        if self.states.len() as u64 > STATES {
            self.states.pop_front();
            self.first += 1;
        }
        reply
    }
}

/// Replicas that each carry out requests by themselves. With each request, one of them tells another about its key.
#[derive(Debug)]
struct LastWriteWins {
    /// The replicas: the value of each key, with the time of its write.
    replicas: Vec<BTreeMap<String, (u64, Value)>>,
    time: u64,
}

impl Default for LastWriteWins {
    fn default() -> Self {
        Self { replicas: vec![BTreeMap::new(); REPLICAS], time: 0 }
    }
}

impl LastWriteWins {
    fn execute(&mut self, body: &Body, random: &mut ChaCha8Rng) -> Body {
        let at = random.random_range(0..REPLICAS);
        let key = body.field("key").to_string();
        let mut store: Store =
            self.replicas[at].get(&key).map(|(_, value)| (key.clone(), value.clone())).into_iter().collect();
        let reply = execute(&mut store, body);
        if reply.kind != "error" && body.kind != "read" {
            self.time += 1;
            // Clocks differ: a write may have an earlier time than one before it.
            let time = self.time + random.random_range(0..8);
            let value = store.remove(&key).unwrap_or_default();
            self.replicas[at].insert(key.clone(), (time, value));
        }
        let other = random.random_range(0..REPLICAS);
        if let Some((time, value)) = self.replicas[at].get(&key).cloned() {
            let held = self.replicas[other].entry(key).or_insert((time, value.clone()));
            if held.0 < time {
                *held = (time, value);
            }
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(state: &mut State, service: &str, node: &str, kind: &str, fields: Value) -> (String, Value) {
        let fields = fields.as_object().unwrap().clone();
        let body = Body { kind: kind.to_owned(), fields, ..Body::default() };
        let reply = state.answer(&Message { src: node.to_owned(), dest: service.to_owned(), body });
        let value = if reply.kind == "error" { reply.field("code") } else { reply.field("value") };
        (reply.kind.clone(), value.clone())
    }

    #[test]
    fn a_store_reads_writes_and_compares() {
        let mut state = State::new();
        let mut of = |kind: &str, fields: Value| ask(&mut state, "lin-kv", "n1", kind, fields);
        let error = |code: u64| ("error".to_owned(), Value::from(code));
        let ok = |kind: &str, value: Value| (kind.to_owned(), value);
        assert_eq!(of("read", serde_json::json!({"key": "x"})), error(NO_KEY));
        assert_eq!(of("cas", serde_json::json!({"key": "x", "from": 0, "to": 1})), error(NO_KEY));
        let create = serde_json::json!({"key": "x", "from": 0, "to": [1, "a"], "create_if_not_exists": true});
        assert_eq!(of("cas", create), ok("cas_ok", Value::Null));
        assert_eq!(of("read", serde_json::json!({"key": "x"})), ok("read_ok", serde_json::json!([1, "a"])));
        assert_eq!(of("cas", serde_json::json!({"key": "x", "from": 1, "to": 2})), error(DIFFERS));
        assert_eq!(of("write", serde_json::json!({"key": 1, "value": null})), ok("write_ok", Value::Null));
        assert_eq!(of("read", serde_json::json!({"key": 1})), ok("read_ok", Value::Null));
        assert_eq!(
            of("read", serde_json::json!({"key": "1"})),
            error(NO_KEY),
            "a text is another key than a number"
        );
        assert_eq!(of("append", serde_json::json!({"key": 1})), error(UNSUPPORTED));
    }

    #[test]
    fn a_node_reads_old_states_of_the_sequential_store_but_goes_never_back() {
        let mut state = State::new();
        let (mut old, mut seen) = (0, 0);
        for value in 0..200_i64 {
            let written =
                ask(&mut state, "seq-kv", "n1", "write", serde_json::json!({"key": "x", "value": value}));
            assert_eq!(written.0, "write_ok");
            let own = ask(&mut state, "seq-kv", "n1", "read", serde_json::json!({"key": "x"}));
            assert_eq!(own.1, value, "the writer reads its own write");
            let (kind, read) = ask(&mut state, "seq-kv", "n2", "read", serde_json::json!({"key": "x"}));
            // Before the first write there is no key.
            let read = if kind == "error" { 0 } else { read.as_i64().unwrap() };
            assert!(read >= seen, "{read} after {seen}");
            seen = read;
            old += i64::from(read < value);
        }
        assert!(old > 20, "{old} of 200 reads were old");
    }

    #[test]
    fn replicas_of_the_last_write_differ_and_come_to_agree() {
        let mut state = State::new();
        for value in 0..20 {
            ask(&mut state, "lww-kv", "n1", "write", serde_json::json!({"key": "x", "value": value}));
        }
        let mut reads = |count: usize| -> Vec<Value> {
            let one = |_| ask(&mut state, "lww-kv", "n2", "read", serde_json::json!({"key": "x"})).1;
            (0..count).map(one).collect()
        };
        let first = reads(10);
        assert!(first.iter().any(|value| *value != first[0]), "{first:?}");
        reads(200);
        let last = reads(20);
        assert!(last.iter().all(|value| *value == last[0]), "{last:?}");
    }

    #[test]
    fn timestamps_grow() {
        let mut state = State::new();
        let mut next = || {
            let body = Body::new("ts", []);
            let request = Message { src: "n1".to_owned(), dest: "lin-tso".to_owned(), body };
            state.answer(&request).field("ts").as_u64().unwrap()
        };
        assert!(next() < next());
    }

    #[test]
    fn services_answer_over_their_socket_and_end_with_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("services");
        let services = Services::start(&path).unwrap();
        let mut connection = at(&path, UnixStream::connect).unwrap();
        let body = Body { msg_id: Some(9), ..Body::new("read", [("key", "x".into())]) };
        let request = Message { src: "n1".to_owned(), dest: "lin-kv".to_owned(), body };
        connection.write_all(&request.line()).unwrap();
        let mut line = Vec::new();
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        reader.read_until(b'\n', &mut line).unwrap();
        let reply = Message::parse(&line).unwrap();
        assert_eq!((reply.dest.as_str(), reply.body.in_reply_to), ("n1", Some(9)));
        assert_eq!(reply.body.code(), Some(NO_KEY));
        drop(services);
        assert_eq!(reader.read_until(b'\n', &mut line).unwrap(), 0);
        assert!(!path.exists());
    }
}
