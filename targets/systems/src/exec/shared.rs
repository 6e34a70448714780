//! One client program that serves all clients of a host, whose requests are on their way side by side.
//!
//! There is no task of its own: of the clients that wait for an answer, one carries lines both ways for all of them, and
//! another takes over when it has its own answer. So a program lives as long as something refers to it, and is read only while
//! an operation waits.
//!
//! # What ends with what
//!
//! - An operation that is not answered in time ends its client, which is closed, and nothing else. Its answer may still come:
//!   that is noted in the program's log, and discarded.
//! - A program that has answered nothing at all for as long hangs, and is killed.
//! - A line that breaks the protocol proves that what the program says proves nothing: it is killed.
//!
//! When a program is killed, or ends, every operation that waits for it ends at once, with the reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answer::{Answer, Clients, quoted};
use super::client::{Unanswered, greet, may_still_greet, unfit, violation};
use super::program::{LINE_BYTES_MAX, Launch, Program, append_to, same};
use crate::client::Seat;
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;

/// Why a program serves no client here.
const SERVES_ONE: &str = "the client program serves one client only, as its hello says: take processes = \"per-host\" out of the manifest";

/// An answer, with the line that it is in.
type Answered = Result<(Answer, Vec<u8>), Unanswered>;

/// A program that serves several clients.
struct SharedProgram {
    desk: Mutex<Desk>,
    /// Told when there are lines to send.
    put: Notify,
    /// Whoever holds it carries lines for all.
    program: tokio::sync::Mutex<Program>,
    /// Its process group, to kill it while another carries lines.
    group: Option<u32>,
    log: Option<PathBuf>,
}

/// The lines on their way, and what waits for them.
#[derive(Default)]
struct Desk {
    /// Lines to send.
    out: BytesMut,
    /// How many bytes were ever put there, and how many of them the program's pipe may have accepted.
    put: u64,
    offered: u64,
    /// The numbers of the latest request and of the latest client.
    id: u64,
    client: u64,
    /// Requests that wait for their answer, by number.
    waiting: BTreeMap<u64, Waiting>,
    /// Requests whose answer nothing waits for any more, with their client.
    given_up: BTreeMap<u64, u64>,
    /// How many requests were answered, in time or late, and how many of them late.
    answered: u64,
    late: u64,
    greeted: bool,
    ended: bool,
}

/// A request that waits.
struct Waiting {
    client: u64,
    /// How many bytes were put before it.
    put: u64,
    /// How many requests had been answered before it.
    answered: u64,
    answer: oneshot::Sender<Answered>,
}

fn gone() -> Unanswered {
    let text = "the client program ended, or closed its pipes";
    Unanswered::Silent(RequestError::open(CauseKind::ConnectionLost, text))
}

fn in_time(text: &'static str) -> Unanswered {
    Unanswered::Silent(RequestError::open(CauseKind::Timeout, text))
}

impl SharedProgram {
    fn start(launch: &Launch, seat: &Seat) -> Result<Self, RequestError> {
        let mut program = Program::start(&launch.program, &*seat.place, seat.scratch.as_deref())?;
        program.log_to(seat.stderr.clone());
        Ok(Self {
            desk: Mutex::default(),
            put: Notify::new(),
            group: program.group(),
            program: tokio::sync::Mutex::new(program),
            log: seat.stderr.clone(),
        })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits its hello, if nothing has yet.
    async fn greet(&self, deadline: Instant) -> Result<(), Unanswered> {
        if self.desk().greeted {
            return Ok(());
        }
        let late = |_| {
            let text = "the client program has not said hello yet";
            Unanswered::Silent(RequestError::definite(CauseKind::Timeout, text))
        };
        let mut program = timeout_at(deadline, self.program.lock()).await.map_err(late)?;
        if !program.greeted {
            let greeted = match greet(&mut program, deadline).await {
                Ok(Clients::One) => Err(unfit(SERVES_ONE.to_owned())),
                greeted => greeted,
            };
            if let Err(failure) = &greeted
                && !may_still_greet(&program, failure)
            {
                self.end(failure);
            }
            greeted?;
        }
        self.desk().greeted = true;
        Ok(())
    }

    /// Puts a line where the next client that carries lines finds it.
    fn send(&self, desk: &mut Desk, line: &Value) {
        let line = format!("{line}\n");
        desk.put += line.len() as u64;
        desk.out.extend_from_slice(line.as_bytes());
        self.put.notify_one();
    }

    /// Sends a request of `client` under the next number, and returns its answer.
    async fn ask(&self, client: u64, mut request: Value, deadline: Instant) -> Answered {
        let (tell, mut answer) = oneshot::channel();
        let id = {
            let mut desk = self.desk();
            if desk.ended {
                let text = "the client program has ended";
                return Err(Unanswered::Silent(RequestError::definite(CauseKind::ConnectionLost, text)));
            }
            desk.id += 1;
            let (id, put, answered) = (desk.id, desk.put, desk.answered);
            desk.waiting.insert(id, Waiting { client, put, answered, answer: tell });
            request["id"] = json!(id);
            request["client"] = json!(client);
            self.send(&mut desk, &request);
            id
        };
        let asked = Asked { program: self, id };
        let carried = pin!(async {
            let why = self.carry(&mut *self.program.lock().await).await;
            self.end(&why);
        });
        tokio::select! {
            biased;
            answered = &mut answer => return answered.unwrap_or_else(|_| Err(gone())),
            () = carried => {}
            () = sleep_until(deadline) => {
                let hangs = asked.give_up().is_some_and(|waiting| waiting.answered == self.desk().answered);
                if hangs {
                    self.end(&in_time("the client program answered nobody in that time, and was killed"));
                }
            }
        }
        // It may have come in the same moment.
        answer.try_recv().unwrap_or_else(|_| Err(in_time("the client program gave no answer in time")))
    }

    /// Ends it: every operation that waits ends as `why` says.
    fn end(&self, why: &Unanswered) {
        let mut desk = self.desk();
        if std::mem::replace(&mut desk.ended, true) {
            return;
        }
        let offered = desk.offered;
        for waiting in std::mem::take(&mut desk.waiting).into_values() {
            let why = match why {
                // Not one byte of it was sent, and none will be.
                Unanswered::Silent(error) if offered <= waiting.put => {
                    Unanswered::Silent(RequestError::definite(error.cause.kind, error.cause.text.clone()))
                }
                why => why.clone(),
            };
            // It may be given up in this moment.
            let _: Result<(), Answered> = waiting.answer.send(Err(why));
        }
        if let Some(group) = self.group {
            duress_arena::kill_group(group);
        }
    }

    /// Carries lines both ways; returns why that has ended.
    async fn carry(&self, program: &mut Program) -> Unanswered {
        let Program { input, output, read, errors, .. } = program;
        let send = async {
            loop {
                let lines = {
                    let mut desk = self.desk();
                    desk.offered = desk.put;
                    desk.out.clone()
                };
                if lines.is_empty() {
                    self.put.notified().await;
                    continue;
                }
                let Ok(accepted) = input.write(&lines).await else { return gone() };
                self.desk().out.advance(accepted);
            }
        };
        let receive = async {
            loop {
                while let Some(at) = read.iter().position(|byte| *byte == b'\n') {
                    let line = read.split_to(at);
                    read.advance(1);
                    if let Err(violation) = self.take(&line) {
                        return violation;
                    }
                }
                if read.len() > LINE_BYTES_MAX {
                    return violation("wrote what is not one line", read);
                }
                match output.read_buf(read).await {
                    Ok(1..) => {}
                    _ if read.is_empty() => return gone(),
                    _ => return violation("wrote what is not one line", read),
                }
            }
        };
        tokio::select! {
            why = send => why,
            why = receive => why,
            () = errors.keep() => unreachable!("it keeps on until it is dropped"),
        }
    }

    /// Gives the answer in `line` to the client that waits for it.
    fn take(&self, line: &[u8]) -> Result<(), Unanswered> {
        let answer: Answer = serde_json::from_slice(line)
            .map_err(|error| violation(&format!("wrote a line that is not an answer ({error})"), line))?;
        let mut desk = self.desk();
        let waiting = desk.waiting.get(&answer.id).map(|waiting| waiting.client);
        let Some(asked) = waiting.or_else(|| desk.given_up.get(&answer.id).copied()) else {
            return Err(violation(&format!("answered request {}, which does not wait", answer.id), line));
        };
        match answer.client {
            Some(client) if client == asked => {}
            Some(client) => {
                let what = format!("answered client {client} when client {asked} had asked");
                return Err(violation(&what, line));
            }
            None => {
                return Err(violation(
                    "answered without `client`: processes = \"per-client\" suits it, and its answer was",
                    line,
                ));
            }
        }
        desk.answered += 1;
        desk.given_up.remove(&answer.id);
        match desk.waiting.remove(&answer.id) {
            // It may be given up in this moment.
            Some(waiting) => drop(waiting.answer.send(Ok((answer, line.to_vec())))),
            None => {
                desk.late += 1;
                let note = format!("duress: late answer {}, discarded: {}\n", desk.late, quoted(line));
                append_to(self.log.as_deref(), note.as_bytes());
            }
        }
        Ok(())
    }
}

/// A request that is given up when this goes out of scope, unless it was answered.
struct Asked<'p> {
    program: &'p SharedProgram,
    id: u64,
}

impl Asked<'_> {
    /// Gives it up; returns it if it still waited.
    fn give_up(&self) -> Option<Waiting> {
        let mut desk = self.program.desk();
        let waiting = desk.waiting.remove(&self.id)?;
        desk.given_up.insert(self.id, waiting.client);
        Some(waiting)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A client's part of a program. Dropping it closes the client there.
pub(super) struct Session {
    program: Arc<SharedProgram>,
    client: u64,
    /// Whether it was asked for anything.
    asked: bool,
    /// Whether the program has opened this client's connection.
    pub(super) opened: bool,
}

impl Session {
    /// Whether its program can be asked nothing any more.
    pub(super) fn ended(&self) -> bool {
        self.program.desk().ended
    }

    /// Awaits the hello of its program, if nothing has yet.
    pub(super) async fn greet(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.program.greet(deadline).await
    }

    /// Sends a request, and returns its answer.
    pub(super) async fn ask(&mut self, request: Value, deadline: Instant) -> Answered {
        self.asked = true;
        self.program.ask(self.client, request, deadline).await
    }

    /// Ends its program, since `why` shows that it cannot be believed.
    pub(super) fn refute(&self, why: &Unanswered) {
        self.program.end(why);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut desk = self.program.desk();
        if self.asked && !desk.ended {
            self.program.send(&mut desk, &json!({"type": "close", "client": self.client}));
        }
    }
}

/// A program that runs, and its place.
type Running = (Arc<dyn Place>, Arc<SharedProgram>);

/// The programs that run, one in each host of clients.
#[derive(Clone, Default)]
pub(crate) struct SharedPrograms {
    running: Arc<Mutex<Vec<Running>>>,
}

impl SharedPrograms {
    /// Returns a new client of the program in the host of `seat`, which is started if none runs there.
    pub(super) fn session(&self, launch: &Launch, seat: &Seat) -> Result<Session, RequestError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, program)| !program.desk().ended);
        let found = running.iter().find(|(place, _)| same(place, &seat.place));
        let program = match found {
            Some((_, program)) => Arc::clone(program),
            None => {
                let program = Arc::new(SharedProgram::start(launch, seat)?);
                running.push((Arc::clone(&seat.place), Arc::clone(&program)));
                program
            }
        };
        let client = {
            let mut desk = program.desk();
            desk.client += 1;
            desk.client
        };
        Ok(Session { program, client, asked: false, opened: false })
    }
}
