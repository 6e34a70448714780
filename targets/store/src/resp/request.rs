//! The requests of clients, and refusals in Redis's words.

use bytes::Bytes;

use crate::command::{Command, Condition, Query, parse_integer};
use crate::raft::message::MemberRequest;
use crate::ring::copies::Write;
use crate::ring::message::SiblingsRequest;
use crate::ring::vector::VersionVector;
use crate::sharded::slots::{SLOTS, SlotSet};

const VALUE_BYTES_MAX: usize = 1 << 20;
/// About how many keys a `SCAN` returns that does not say it, as in Redis.
const SCAN_COUNT: i64 = 10;

/// A well-formed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Changes the state.
    Write(Command),
    /// Changes the state under a condition, and returns the key's old value: `SET key value NX | IFEQ old
    /// GET`.
    WriteAndTell(Command),
    /// Reads the state.
    Read(Query),
    /// Concerns the connection's transaction.
    Transaction(Control),
    /// Concerns the connection or the node alone.
    Session(Session),
    /// Concerns the shards.
    Cluster(ClusterRequest),
    /// Concerns the members.
    Members(MemberRequest),
    /// Concerns values that were written without knowledge of each other.
    Siblings(SiblingsRequest),
    /// Ends the connection.
    End(End),
}

/// A request that concerns the connection's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// `MULTI`: the requests from now on are queued.
    Multi,
    /// `EXEC`: executes the queued requests as one.
    Exec,
    /// `DISCARD`: drops the queued requests.
    Discard,
    /// `WATCH key …`: the next `EXEC` executes nothing if one of the keys has changed by then.
    Watch(Vec<Bytes>),
    /// `UNWATCH`.
    Unwatch,
}

/// A request that concerns the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterRequest {
    /// `CLUSTER SLOTS`: the slots, and the nodes that have them.
    Slots,
    /// `CLUSTER SHARDS`: the same by shard.
    Shards,
    /// `CLUSTER NODES`: the same by node.
    Nodes,
    /// `CLUSTER INFO`.
    Info,
    /// `CLUSTER MYID`: the identifier of this node.
    MyId,
    /// `CLUSTER MOVESLOTS first last shard`.
    Move {
        /// The first slot.
        first: u16,
        /// The last one.
        last: u16,
        /// The shard that gets them.
        to: u8,
    },
}

/// A request that concerns the connection or the node alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// `PING [message]`.
    Ping(Option<Bytes>),
    /// `ECHO message`.
    Echo(Bytes),
    /// `HELLO [version]`; without one the version stays.
    Hello(Option<Version>),
    /// `INFO`.
    Info,
    /// `DEBUG CONTENTS [shard]`: what this node holds of a shard, of the first one if none is named: its position, then each key
    /// and its value.
    Contents(usize),
    /// `DEBUG COPIES`: the same for each set of owners: their names first.
    Copies,
    /// `CLUSTER KEYSLOT key`: the slot of a key.
    KeySlot(Bytes),
    /// `CONFIG GET pattern`.
    ConfigGet(Bytes),
    /// `COMMAND`: where commands have their keys.
    Commands,
    /// `COMMAND` with a subcommand: answered without descriptions.
    CommandDetails,
    /// A request that has no effect and is answered `OK`: `SELECT 0`, `CLIENT SETNAME`…
    Accepted,
    /// `CLIENT ID`.
    ClientId,
    /// `CLIENT GETNAME`.
    ClientName,
}

/// A request that ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `QUIT`.
    Quit,
    /// `SHUTDOWN`: ends the node too.
    Shutdown,
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RESP2.
    Two,
    /// RESP3.
    Three,
}

/// A request that was not executed because it is malformed; its message is the error reply, Redis's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No command of this name.
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    Unknown {
        /// The name.
        name: String,
        /// The first arguments, quoted.
        args: String,
    },
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    /// Options that do not exist or contradict each other.
    #[error("ERR syntax error")]
    Syntax,
    /// An argument that should be an integer.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// An unsupported version.
    #[error("NOPROTO unsupported protocol version")]
    Version,
    /// There is only one database.
    #[error("ERR DB index is out of range")]
    Database,
    /// There are no users.
    #[error("ERR AUTH is not supported: there are no users and no passwords")]
    Auth,
    /// A slot that does not exist.
    #[error("ERR Invalid or out of range slot")]
    Slot,
    /// A key or value above the limit.
    #[error("ERR a key or value is longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
    /// The context of a write is none.
    #[error("ERR the context is not one that RING.GET returned; \"\" says that no value was seen")]
    Context,
    /// No such subcommand.
    #[error("ERR unknown subcommand '{given}' of {command}")]
    Subcommand {
        /// The requested subcommand.
        given: String,
        /// The command.
        command: &'static str,
    },
}

impl Request {
    /// Parses a request from its words, the first of which is the command.
    ///
    /// # Errors
    /// The words are not a request; nothing is executed.
    pub fn parse(mut words: Vec<Bytes>) -> Result<Self, RequestError> {
        if words.iter().any(|word| word.len() > VALUE_BYTES_MAX) {
            return Err(RequestError::TooLong);
        }
        if words.is_empty() {
            return Err(RequestError::Unknown { name: String::new(), args: String::new() });
        }
        let given = words.remove(0);
        let name = given.to_ascii_lowercase();
        let args = words;
        let arity = |fits: bool| {
            if fits { Ok(()) } else { Err(RequestError::Arity(String::from_utf8_lossy(&name).into_owned())) }
        };
        match &name[..] {
            b"get" => {
                arity(args.len() == 1)?;
                Ok(Self::Read(Query::Get(args[0].clone())))
            }
            b"mget" => {
                arity(!args.is_empty())?;
                Ok(Self::Read(Query::GetMany(args)))
            }
            b"exists" => {
                arity(!args.is_empty())?;
                Ok(Self::Read(Query::CountPresent(args)))
            }
            b"set" => {
                arity(args.len() >= 2)?;
                // With four words, what follows IFEQ is a value.
                let tells = |last: &Bytes, rest: &[Bytes]| {
                    last.eq_ignore_ascii_case(b"get")
                        && (rest.len() > 3 || rest.len() == 3 && !rest[2].eq_ignore_ascii_case(b"ifeq"))
                };
                match args.split_last() {
                    Some((last, rest)) if tells(last, rest) => {
                        match set(rest)? {
                            // Only under these conditions does the reply to the write itself give the old
                            // value.
                            command @ Command::Set {
                                condition: Condition::IfEqual(_) | Condition::IfAbsent,
                                ..
                            } => Ok(Self::WriteAndTell(command)),
                            _ => Err(RequestError::Syntax),
                        }
                    }
                    _ => set(&args).map(Self::Write),
                }
            }
            b"del" | b"unlink" => {
                arity(!args.is_empty())?;
                Ok(Self::Write(Command::Delete { keys: args }))
            }
            b"incr" => {
                arity(args.len() == 1)?;
                Ok(Self::Write(Command::Increment { key: args[0].clone(), by: 1 }))
            }
            b"decr" => {
                arity(args.len() == 1)?;
                Ok(Self::Write(Command::Increment { key: args[0].clone(), by: -1 }))
            }
            b"incrby" => {
                arity(args.len() == 2)?;
                let by = parse_integer(&args[1]).ok_or(RequestError::NotAnInteger)?;
                Ok(Self::Write(Command::Increment { key: args[0].clone(), by }))
            }
            b"rpush" => {
                arity(args.len() >= 2)?;
                let elements = args[1..].to_vec();
                Ok(Self::Write(Command::Append { key: args[0].clone(), elements }))
            }
            b"lrange" => {
                arity(args.len() == 3)?;
                let place = |index: usize| parse_integer(&args[index]).ok_or(RequestError::NotAnInteger);
                Ok(Self::Read(Query::Range { key: args[0].clone(), start: place(1)?, stop: place(2)? }))
            }
            b"llen" => {
                arity(args.len() == 1)?;
                Ok(Self::Read(Query::Length(args[0].clone())))
            }
            b"multi" => {
                arity(args.is_empty())?;
                Ok(Self::Transaction(Control::Multi))
            }
            b"exec" => {
                arity(args.is_empty())?;
                Ok(Self::Transaction(Control::Exec))
            }
            b"discard" => {
                arity(args.is_empty())?;
                Ok(Self::Transaction(Control::Discard))
            }
            b"watch" => {
                arity(!args.is_empty())?;
                Ok(Self::Transaction(Control::Watch(args)))
            }
            b"unwatch" => {
                arity(args.is_empty())?;
                Ok(Self::Transaction(Control::Unwatch))
            }
            b"ping" => {
                arity(args.len() <= 1)?;
                Ok(Self::Session(Session::Ping(args.first().cloned())))
            }
            b"echo" => {
                arity(args.len() == 1)?;
                Ok(Self::Session(Session::Echo(args[0].clone())))
            }
            b"hello" => hello(&args).map(Self::Session),
            b"info" => Ok(Self::Session(Session::Info)),
            b"debug" => {
                arity(!args.is_empty())?;
                let shard = args.get(1).map_or(Some(0), |shard| parse_integer(shard));
                let shard =
                    shard.and_then(|shard| usize::try_from(shard).ok()).ok_or(RequestError::NotAnInteger)?;
                subcommand(
                    &args[0],
                    "DEBUG",
                    &[("contents", Session::Contents(shard)), ("copies", Session::Copies)],
                )
            }
            b"config" => {
                arity(!args.is_empty())?;
                let pattern = args.get(1).cloned().unwrap_or_default();
                subcommand(&args[0], "CONFIG", &[("get", Session::ConfigGet(pattern))])
            }
            b"command" if args.is_empty() => Ok(Self::Session(Session::Commands)),
            b"command" => Ok(Self::Session(Session::CommandDetails)),
            b"dbsize" => {
                arity(args.is_empty())?;
                Ok(Self::Read(Query::CountInSlots(SlotSet::all())))
            }
            b"scan" => {
                arity(matches!(args.len(), 1 | 3))?;
                let first = slot(&args[0])?;
                let count = match args.get(1..3) {
                    Some([word, count]) if word.eq_ignore_ascii_case(b"count") => {
                        parse_integer(count).ok_or(RequestError::NotAnInteger)?
                    }
                    Some(_) => return Err(RequestError::Syntax),
                    None => SCAN_COUNT,
                };
                let count =
                    u64::try_from(count).ok().filter(|count| *count > 0).ok_or(RequestError::Syntax)?;
                Ok(Self::Read(Query::Scan { first, last: SLOTS - 1, count }))
            }
            b"cluster" => {
                arity(!args.is_empty())?;
                cluster(&args)
            }
            b"raft.node" => {
                arity(!args.is_empty())?;
                members(&args).map(Self::Members)
            }
            b"ring.get" => {
                arity(args.len() == 1)?;
                Ok(Self::Siblings(SiblingsRequest::Get(args[0].clone())))
            }
            b"ring.set" | b"ring.del" => {
                let value = (name == b"ring.set").then(|| args.get(2).cloned());
                arity(args.len() == if value.is_some() { 3 } else { 2 })?;
                let write = Write { value: value.flatten(), context: context(&args[1])? };
                Ok(Self::Siblings(SiblingsRequest::Write(args[0].clone(), write)))
            }
            b"client" => {
                arity(!args.is_empty())?;
                let known = [
                    ("setname", Session::Accepted),
                    ("setinfo", Session::Accepted),
                    ("no-evict", Session::Accepted),
                    ("no-touch", Session::Accepted),
                    ("id", Session::ClientId),
                    ("getname", Session::ClientName),
                ];
                subcommand(&args[0], "CLIENT", &known)
            }
            b"select" => {
                arity(args.len() == 1)?;
                match parse_integer(&args[0]).ok_or(RequestError::NotAnInteger)? {
                    0 => Ok(Self::Session(Session::Accepted)),
                    _ => Err(RequestError::Database),
                }
            }
            b"auth" => Err(RequestError::Auth),
            b"quit" => Ok(Self::End(End::Quit)),
            b"shutdown" => Ok(Self::End(End::Shutdown)),
            _ => {
                let quoted = args.iter().take(4).map(|arg| format!("'{}' ", String::from_utf8_lossy(arg)));
                Err(RequestError::Unknown {
                    name: String::from_utf8_lossy(&given).into_owned(),
                    args: quoted.collect(),
                })
            }
        }
    }
}

fn subcommand(
    given: &Bytes,
    command: &'static str,
    known: &[(&'static str, Session)],
) -> Result<Request, RequestError> {
    let found = known.iter().find(|(name, _)| given.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, session)| Request::Session(session.clone())).ok_or_else(|| RequestError::Subcommand {
        given: String::from_utf8_lossy(given).into_owned(),
        command,
    })
}

fn context(text: &[u8]) -> Result<VersionVector, RequestError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(RequestError::Context)
}

fn slot(text: &[u8]) -> Result<u16, RequestError> {
    let slot = parse_integer(text).ok_or(RequestError::NotAnInteger)?;
    u16::try_from(slot).ok().filter(|slot| *slot < SLOTS).ok_or(RequestError::Slot)
}

/// `CLUSTER SLOTS | SHARDS | NODES | INFO | MYID | KEYSLOT key | COUNTKEYSINSLOT slot | MOVESLOTS first last shard`.
fn cluster(args: &[Bytes]) -> Result<Request, RequestError> {
    let given = args[0].to_ascii_lowercase();
    let about = |request| Ok(Request::Cluster(request));
    match (&given[..], &args[1..]) {
        (b"slots", []) => about(ClusterRequest::Slots),
        (b"shards", []) => about(ClusterRequest::Shards),
        (b"nodes", []) => about(ClusterRequest::Nodes),
        (b"info", []) => about(ClusterRequest::Info),
        (b"myid", []) => about(ClusterRequest::MyId),
        (b"keyslot", [key]) => Ok(Request::Session(Session::KeySlot(key.clone()))),
        (b"countkeysinslot", [given]) => {
            Ok(Request::Read(Query::CountInSlots([slot(given)?].into_iter().collect())))
        }
        (b"moveslots", [first, last, to]) => {
            let (first, last) = (slot(first)?, slot(last)?);
            let to =
                parse_integer(to).and_then(|to| u8::try_from(to).ok()).ok_or(RequestError::NotAnInteger)?;
            if first > last {
                Err(RequestError::Slot)
            } else {
                about(ClusterRequest::Move { first, last, to })
            }
        }
        (
            b"slots" | b"shards" | b"nodes" | b"info" | b"myid" | b"keyslot" | b"countkeysinslot"
            | b"moveslots",
            _,
        ) => Err(RequestError::Arity(format!("cluster|{}", String::from_utf8_lossy(&given)))),
        _ => Err(RequestError::Subcommand {
            given: String::from_utf8_lossy(&args[0]).into_owned(),
            command: "CLUSTER",
        }),
    }
}

/// `RAFT.NODE ADD node | REMOVE node | LIST`: a node by its name.
fn members(args: &[Bytes]) -> Result<MemberRequest, RequestError> {
    let given = args[0].to_ascii_lowercase();
    let node = |name: &Bytes| {
        let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        name.ok_or(RequestError::Syntax)
    };
    match (&given[..], &args[1..]) {
        (b"add", [name]) => Ok(MemberRequest::Add(node(name)?)),
        (b"remove", [name]) => Ok(MemberRequest::Remove(node(name)?)),
        (b"list", []) => Ok(MemberRequest::List),
        (b"add" | b"remove" | b"list", _) => {
            Err(RequestError::Arity(format!("raft.node|{}", String::from_utf8_lossy(&given))))
        }
        _ => Err(RequestError::Subcommand {
            given: String::from_utf8_lossy(&args[0]).into_owned(),
            command: "RAFT.NODE",
        }),
    }
}

/// `SET key value [NX | XX | IFEQ old]`, without the `GET` that may follow.
fn set(args: &[Bytes]) -> Result<Command, RequestError> {
    let condition = match &args[2..] {
        [] => Condition::Always,
        [only] if only.eq_ignore_ascii_case(b"nx") => Condition::IfAbsent,
        [only] if only.eq_ignore_ascii_case(b"xx") => Condition::IfPresent,
        [word, old] if word.eq_ignore_ascii_case(b"ifeq") => Condition::IfEqual(old.clone()),
        _ => return Err(RequestError::Syntax),
    };
    Ok(Command::Set { key: args[0].clone(), value: args[1].clone(), condition })
}

/// `HELLO [2 | 3 [SETNAME name]]`.
fn hello(args: &[Bytes]) -> Result<Session, RequestError> {
    let Some(version) = args.first() else { return Ok(Session::Hello(None)) };
    let version = match &version[..] {
        b"2" => Version::Two,
        b"3" => Version::Three,
        _ => return Err(RequestError::Version),
    };
    match &args[1..] {
        [] => Ok(Session::Hello(Some(version))),
        [word, _] if word.eq_ignore_ascii_case(b"setname") => Ok(Session::Hello(Some(version))),
        [word, ..] if word.eq_ignore_ascii_case(b"auth") => Err(RequestError::Auth),
        _ => Err(RequestError::Syntax),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        Request::parse(text.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect())
    }

    #[test]
    fn refusals_are_worded_as_redis_words_them() {
        for (text, refusal) in [
            ("GET", "ERR wrong number of arguments for 'get' command"),
            ("set k", "ERR wrong number of arguments for 'set' command"),
            ("SET k v IFEQ", "ERR syntax error"),
            ("SET k v NX XX", "ERR syntax error"),
            ("INCRBY k ten", "ERR value is not an integer or out of range"),
            ("RPUSH l", "ERR wrong number of arguments for 'rpush' command"),
            ("LRANGE l 0 end", "ERR value is not an integer or out of range"),
            ("EXEC now", "ERR wrong number of arguments for 'exec' command"),
            ("LPUSH l a b", "ERR unknown command 'LPUSH', with args beginning with: 'l' 'a' 'b' "),
            ("RING.GET", "ERR wrong number of arguments for 'ring.get' command"),
            ("RING.DEL k 0.1.1=1 v", "ERR wrong number of arguments for 'ring.del' command"),
            (
                "RING.SET k seen v",
                "ERR the context is not one that RING.GET returned; \"\" says that no value was seen",
            ),
            ("SELECT 1", "ERR DB index is out of range"),
            ("HELLO 4", "NOPROTO unsupported protocol version"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), refusal, "{text}");
        }
    }

    #[test]
    fn conditions_of_set() {
        let set =
            |condition| Ok(Request::Write(Command::Set { key: "k".into(), value: "v".into(), condition }));
        assert_eq!(parse("SET k v"), set(Condition::Always));
        assert_eq!(parse("set k v nx"), set(Condition::IfAbsent));
        assert_eq!(parse("set k v Xx"), set(Condition::IfPresent));
        assert_eq!(parse("SET k v IFEQ o"), set(Condition::IfEqual("o".into())));
        let Ok(Request::WriteAndTell(told)) = parse("SET k v IFEQ o GET") else {
            panic!("a comparison that tells")
        };
        assert_eq!(Ok(Request::Write(told)), set(Condition::IfEqual("o".into())));
        assert!(matches!(parse("SET k v NX get"), Ok(Request::WriteAndTell(_))));
        assert_eq!(parse("SET k v IFEQ get"), set(Condition::IfEqual("get".into())));
        for refused in ["SET k v GET", "SET k v XX GET"] {
            assert_eq!(parse(refused), Err(RequestError::Syntax), "{refused}");
        }
    }
}
