//! A client of a system under test, for duress: one file, the standard library alone, Rust 1.70 or later (edition 2021).
//!
//! Put it beside your own file, which has a type with the methods of the vocabularies that the manifest says the client
//! speaks, and calls `run`; `rustc --edition 2021 client.rs` compiles both:
//!
//! ```text
//! mod duress_client;
//! use duress_client::{run, Client, Failure, Json, Seat};
//!
//! struct Mine { connection: TcpStream }
//!
//! impl Client for Mine {
//!     fn open(seat: &Seat) -> Result<Self, Failure> { … }                   // connect to seat.address, within seat.timeout
//!     fn read(&mut self, key: &str) -> Result<Json, Failure> { … }          // Json::Null if there is no value
//!     fn write(&mut self, key: &str, value: &Json) -> Result<(), Failure> { … }
//!     fn cas(&mut self, key: &str, before: &Json, after: &Json) -> Result<(), Failure> { … }  // Err(Failure::Mismatch)
//! }
//!
//! fn main() { run::<Mine>() }
//! ```
//!
//! `register` has read, write and cas; `set` and `counter` have read and add; `list-append` and `rw-register` have txn, which
//! returns the operations with the answers of reads filled in; `unique-ids` has generate; `fenced-mutex` has acquire,
//! which returns the fencing token, and release; every operation of `bank`, `log`, `table`, `stream` and `job` comes to `other`. A method that
//! returns `Ok` has done it. Else:
//!
//! - `Failure::Fail`: it certainly was not done and never will be: nothing was sent, or the system refused it;
//! - `Failure::Mismatch`: a comparison failed, which is a Fail;
//! - `Failure::Info`: it may have been done: no answer in time, a connection that broke. An `io::Error` becomes one.
//!
//! In `open` each of them is a Fail. A panic is an Info. After an Info the client is dropped, and opened again for the next
//! operation. Standard output belongs to the kit: print with `eprintln!`.
//!
//! With `processes = "per-host"` in the manifest one process serves several clients, each on a thread of its own.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The client's node, and the time it has.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    /// The vocabulary of its operations, as the manifest's `speaks` names it.
    pub vocabulary: String,
    /// The name of its node.
    pub node: String,
    /// The address of its node, as host:port.
    pub address: String,
    /// The addresses of all nodes, by name.
    pub nodes: BTreeMap<String, String>,
    /// How long an operation may take.
    pub timeout: Duration,
}

/// Why an operation was not done, or may not have been.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It certainly was not done, and never will be.
    Fail(String),
    /// The comparison of a compare-and-set failed.
    Mismatch,
    /// It may have been done.
    Info(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Info(error.to_string())
    }
}

fn lacks<T>(f: &str) -> Result<T, Failure> {
    Err(Failure::Fail(format!("the client has no method {f}")))
}

/// A client of one node, with a method for each operation. It is dropped to close its connection.
pub trait Client: Sized {
    /// Connects to the node.
    fn open(seat: &Seat) -> Result<Self, Failure>;

    fn read(&mut self, _key: &str) -> Result<Json, Failure> {
        lacks("read")
    }

    fn write(&mut self, _key: &str, _value: &Json) -> Result<(), Failure> {
        lacks("write")
    }

    fn cas(&mut self, _key: &str, _before: &Json, _after: &Json) -> Result<(), Failure> {
        lacks("cas")
    }

    fn add(&mut self, _key: &str, _value: &Json) -> Result<(), Failure> {
        lacks("add")
    }

    fn txn(&mut self, _operations: &[Json]) -> Result<Vec<Json>, Failure> {
        lacks("txn")
    }

    fn generate(&mut self) -> Result<Json, Failure> {
        lacks("generate")
    }

    /// Returns the fencing token.
    fn acquire(&mut self, _key: &str, _lease: &Json) -> Result<Json, Failure> {
        lacks("acquire")
    }

    fn release(&mut self, _key: &str, _token: &Json) -> Result<(), Failure> {
        lacks("release")
    }

    /// Every other operation, with its `value` as in a run's `history.jsonl`.
    fn other(&mut self, f: &str, _value: &Json) -> Result<Json, Failure> {
        lacks(f)
    }
}

/// Serves the harness with clients of the type `C`, until it closes the standard input.
pub fn run<C: Client>() {
    say([("type", "hello".into()), ("version", 1.into())]);
    thread::scope(|scope| {
        // One client, or several with a number each. When this goes, so do their threads.
        let mut clients = BTreeMap::new();
        for line in io::stdin().lines() {
            let request = line.map_err(|error| error.to_string()).and_then(|line| Json::parse(&line));
            let request = request.unwrap_or_else(|error| end(&error));
            let number = request.get("client").number();
            let closes = request.get("type").text() == "close";
            let requests = clients.entry(number).or_insert_with(|| {
                let (requests, taken) = channel();
                scope.spawn(move || Session::<C> { seat: Seat::default(), client: None }.serve(&taken));
                requests
            });
            if requests.send(request).is_err() {
                end("the thread of a client has ended");
            }
            if closes && number.is_some() {
                clients.remove(&number);
            }
        }
    });
}

/// Writes a line.
fn say<'a>(fields: impl IntoIterator<Item = (&'a str, Json)>) {
    let mut out = io::stdout().lock();
    let said = writeln!(out, "{}", Json::map(fields)).and_then(|()| out.flush());
    said.unwrap_or_else(|error| end(&error.to_string()));
}

/// Ends the program.
fn end(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}

/// One client after the other, as the harness opens and closes them.
struct Session<C> {
    seat: Seat,
    client: Option<C>,
}

impl<C: Client> Session<C> {
    fn serve(&mut self, requests: &Receiver<Json>) {
        for request in requests {
            if request.get("type").text() == "close" {
                self.client = None;
                continue;
            }
            let number = |name| (name, request.get(name).clone());
            let mut answer = vec![number("id")];
            answer.extend(Some(number("client")).filter(|(_, client)| *client != Json::Null));
            // After a panic the client is dropped.
            let done = catch_unwind(AssertUnwindSafe(|| self.carry_out(&request)));
            match done.unwrap_or_else(|_| Err(Failure::Info("the client panicked".to_owned()))) {
                Ok(value) => {
                    answer.push(("type", "ok".into()));
                    answer.extend(value.map(|value| ("value", value)));
                }
                Err(Failure::Fail(error)) => {
                    answer.extend([("type", "fail".into()), ("error", error.as_str().into())]);
                }
                Err(Failure::Mismatch) => {
                    let error = ("error", "the comparison failed".into());
                    answer.extend([("type", "fail".into()), error, ("mismatch", Json::Bool(true))]);
                }
                Err(Failure::Info(error)) => {
                    self.client = None;
                    answer.extend([("type", "info".into()), ("error", error.as_str().into())]);
                }
            }
            say(answer);
        }
    }

    /// Returns the value of the answer, if it has one.
    fn carry_out(&mut self, request: &Json) -> Result<Option<Json>, Failure> {
        let opens = request.get("type").text() == "open";
        if opens {
            self.client = None;
            let Json::Map(nodes) = request.get("nodes") else {
                return Err(Failure::Fail("a client is opened without nodes".to_owned()));
            };
            self.seat = Seat {
                vocabulary: request.get("vocabulary").text(),
                node: request.get("node").text(),
                address: request.get("address").text(),
                nodes: nodes.iter().map(|(name, address)| (name.clone(), address.text())).collect(),
                timeout: Duration::from_millis(
                    request.get("timeout_ms").number().unwrap_or(1000).unsigned_abs(),
                ),
            };
        }
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                let failed = |failure| match failure {
                    Failure::Fail(error) | Failure::Info(error) => {
                        Failure::Fail(format!("cannot open the connection: {error}"))
                    }
                    Failure::Mismatch => Failure::Mismatch,
                };
                self.client.insert(C::open(&self.seat).map_err(failed)?)
            }
        };
        if opens {
            return Ok(None);
        }
        let (key, value) = (request.get("key").text(), request.get("value"));
        match (request.get("f").text().as_str(), value) {
            ("read", Json::Null) => client.read(&key).map(Some),
            ("write", value) => client.write(&key, value).map(|()| None),
            ("cas", Json::List(pair)) if pair.len() == 2 => {
                client.cas(&key, &pair[0], &pair[1]).map(|()| None)
            }
            ("add", value) => client.add(&key, value).map(|()| None),
            ("txn", Json::List(operations)) => {
                client.txn(operations).map(|answers| Some(Json::List(answers)))
            }
            ("generate", _) => client.generate().map(Some),
            ("acquire", lease) => client.acquire(&key, lease).map(Some),
            ("release", token) => client.release(&key, token).map(|()| None),
            (f, value) => client.other(f, value).map(Some),
        }
    }
}

/// The deepest nesting of a JSON value that is read.
const DEPTH_MAX: usize = 100;

/// A JSON value. `to_string` writes it, on one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// Names and values, in their order.
    Map(Vec<(String, Json)>),
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Json::Number(number.to_string())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Json::Text(text.to_owned())
    }
}

impl Json {
    /// Returns a map with these names and values.
    pub fn map<'a>(fields: impl IntoIterator<Item = (&'a str, Json)>) -> Self {
        Json::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Returns the value under `name`: null if it is not a map that has one.
    pub fn get(&self, name: &str) -> &Json {
        let Json::Map(fields) = self else { return &Json::Null };
        fields.iter().find(|(known, _)| known == name).map_or(&Json::Null, |(_, value)| value)
    }

    /// Returns a text without its quotes, and any other value as it is written; nothing for null.
    pub fn text(&self) -> String {
        match self {
            Json::Null => String::new(),
            Json::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Returns a whole number that fits.
    pub fn number(&self) -> Option<i64> {
        match self {
            Json::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    /// Reads a JSON value.
    ///
    /// # Errors
    /// In words, if `text` is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(DEPTH_MAX)?;
        match reader.next() {
            None => Ok(value),
            Some(_) => reader.expected("the end"),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(number) => f.write_str(number),
            Json::Text(text) => quote(f, text),
            Json::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "[" } else { "," })?;
                }
                f.write_str(if values.is_empty() { "[]" } else { "]" })
            }
            Json::Map(fields) => {
                for (at, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if at == 0 { "{" } else { "," })?;
                    quote(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str(if fields.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            '\0'..='\x1f' => write!(f, "\\u{:04x}", letter as u32)?,
            _ => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}

struct Reader<'a> {
    text: &'a str,
    /// The position, in bytes.
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn expected<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("expected {what} at byte {} of {}", self.at, self.text.trim_end()))
    }

    /// Returns the next letter that is not a space, without taking it.
    fn next(&mut self) -> Option<char> {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        self.at += spaces;
        self.rest().chars().next()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.next().is_some() && self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth == 0 {
            return self.expected("less nesting");
        }
        match self.next() {
            Some('"') => self.string().map(Json::Text),
            Some('[') => self.sequence('[', ']', |reader| reader.value(depth - 1)).map(Json::List),
            Some('{') => {
                let field = |reader: &mut Self| {
                    let name = if reader.next() == Some('"') {
                        reader.string()?
                    } else {
                        reader.expected("a name")?
                    };
                    if !reader.take(":") {
                        return reader.expected(":");
                    }
                    Ok((name, reader.value(depth - 1)?))
                };
                self.sequence('{', '}', field).map(Json::Map)
            }
            Some('-' | '0'..='9') => {
                let rest = self.rest();
                let end =
                    rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(rest.len());
                let number = rest[..end].to_owned();
                if number.parse::<f64>().is_err() {
                    return self.expected("a number");
                }
                self.at += end;
                Ok(Json::Number(number))
            }
            _ if self.take("null") => Ok(Json::Null),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            _ => self.expected("a value"),
        }
    }

    fn sequence<T>(
        &mut self,
        open: char,
        close: char,
        item: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        self.at += open.len_utf8();
        let mut items = Vec::new();
        while self.next() != Some(close) {
            if !items.is_empty() && !self.take(",") {
                return self.expected(", or the end");
            }
            items.push(item(self)?);
        }
        self.at += close.len_utf8();
        Ok(items)
    }

    fn string(&mut self) -> Result<String, String> {
        let mut units = Vec::new();
        self.at += 1;
        loop {
            let Some(letter) = self.rest().chars().next() else { return self.expected("\"") };
            self.at += letter.len_utf8();
            match letter {
                '"' => return String::from_utf16(&units).or_else(|_| self.expected("letters before")),
                '\\' => units.push(self.escaped()?),
                '\0'..='\x1f' => return self.expected("no control character before"),
                _ => units.extend(letter.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    /// Reads what follows a backslash. Two of them may be one letter.
    fn escaped(&mut self) -> Result<u16, String> {
        let Some(letter) = self.rest().chars().next() else { return self.expected("an escape") };
        let known = [
            ('n', '\n'),
            ('t', '\t'),
            ('r', '\r'),
            ('b', '\x08'),
            ('f', '\x0c'),
            ('"', '"'),
            ('\\', '\\'),
            ('/', '/'),
        ];
        if let Some((_, meant)) = known.iter().find(|(known, _)| *known == letter) {
            self.at += 1;
            return Ok(*meant as u16);
        }
        let digits = self
            .rest()
            .get(1..5)
            .filter(|digits| letter == 'u' && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
            Some(unit) => {
                self.at += 5;
                Ok(unit)
            }
            None => self.expected("an escape"),
        }
    }
}
