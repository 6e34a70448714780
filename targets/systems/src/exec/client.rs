//! One client with a program of its own; and, for every client, an operation as a line, and its answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Clients, Hello, Kind, VERSION, quoted};
use super::program::{Launch, NoLine, Pool, Program};
use super::spoken::Spoken;
use crate::client::{Client, Seat};
use crate::outcome::{Cause, CauseKind, Outcome, RequestError};

/// How long a program may take from its start to its hello: a compiler may come first, on a busy machine.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(45);

/// How often the warm-up tries a program that cannot be started, ends before its hello, or begins with another line. The run ends
/// for the last failure.
pub(super) const WARM_UPS: usize = 2;

/// A client that is a program. The program is started by the first operation.
pub(crate) struct ExecClient {
    seat: Seat,
    launch: Arc<Launch>,
    pool: Pool,
    program: Option<Program>,
    /// Whether the program has opened this client's connection.
    opened: bool,
    stateless: bool,
}

/// Why an operation has no answer.
#[derive(Clone, Debug)]
pub(super) enum Unanswered {
    Silent(RequestError),
    /// The program broke the protocol, in these words.
    Violation(String),
}

impl From<NoLine> for Unanswered {
    fn from(none: NoLine) -> Self {
        match none {
            NoLine::Silent(error) => Self::Silent(error),
            NoLine::Garbage(line) => violation("wrote what is not one line", &line),
        }
    }
}

pub(super) fn violation(what: &str, line: &[u8]) -> Unanswered {
    Unanswered::Violation(format!("the client program {what}: {}", quoted(line)))
}

/// Returns the outcome of an operation without an answer.
pub(super) fn unanswered<A: Spoken>(action: &A, why: Unanswered) -> Outcome<A> {
    match why {
        Unanswered::Silent(failure) => Outcome::failed(action, failure),
        Unanswered::Violation(text) => Outcome::Info(Cause::new(CauseKind::Unreadable, text)),
    }
}

/// Returns why there is no answer, where no operation can have been carried out yet.
pub(super) fn before_anything(why: Unanswered) -> Unanswered {
    match why {
        Unanswered::Silent(error) => {
            Unanswered::Silent(RequestError::definite(error.cause.kind, error.cause.text))
        }
        violation @ Unanswered::Violation(_) => violation,
    }
}

/// Returns the request to open the connection of a client in `seat`.
pub(super) fn opening<A: Spoken>(seat: &Seat, launch: &Launch) -> Value {
    // The program should give up before it is killed, and say what it saw.
    let patience = seat.timeout * 9 / 10;
    let address = launch.nodes.iter().find(|(name, _)| *name == seat.node.as_str());
    json!({
        "type": "open",
        "version": VERSION,
        "vocabulary": A::NAME,
        "node": seat.node.as_str(),
        "address": address.map(|(_, address)| address),
        "nodes": launch.nodes.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "timeout_ms": u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Returns the outcome of an operation whose connection could not be opened, if `answer` says so.
pub(super) fn not_opened<A>(answer: &Answer) -> Option<Outcome<A>> {
    (answer.kind != Kind::Ok).then(|| Outcome::Fail(Cause { kind: CauseKind::Unreachable, ..answer.cause() }))
}

/// Returns the request to carry out `action`.
pub(super) fn invocation<A: Spoken>(action: &A) -> Value {
    let (key, value) = action.asked();
    let mut request = json!({"type": "invoke", "f": action.f(), "value": value});
    if let Some(key) = key {
        request["key"] = json!(key);
    }
    request
}

/// Returns the outcome of `action` by `answer`, which is in `line`.
///
/// # Errors
/// [`Unanswered::Violation`], if it is not an answer to that.
pub(super) fn outcome<A: Spoken>(action: &A, answer: &Answer, line: &[u8]) -> Result<Outcome<A>, Unanswered> {
    Ok(match answer.kind {
        Kind::Ok if answer.mismatch || answer.error.is_some() => {
            return Err(violation("answered `ok` with a reason why not", line));
        }
        Kind::Ok => match action.answered(answer.value.as_deref()) {
            Ok(answered) if action.completed_by(&answered) => Outcome::Ok(answered),
            Ok(_) => return Err(violation("answered another operation", line)),
            Err(error) => {
                return Err(violation(&format!("gave an answer that cannot be read ({error})"), line));
            }
        },
        Kind::Fail => Outcome::Fail(answer.cause()),
        Kind::Info => Outcome::Info(answer.cause()),
    })
}

impl ExecClient {
    /// Returns a client of the vocabulary `A`, which starts its program when it has to, or takes one of `pool`.
    pub(crate) fn new<A: Spoken>(seat: Seat, launch: Arc<Launch>, pool: Pool) -> Self {
        Self { seat, launch, pool, program: None, opened: false, stateless: A::STATELESS }
    }

    async fn request<A: Spoken>(&mut self, action: &A) -> Result<Outcome<A>, Unanswered> {
        let deadline = Instant::now() + self.seat.timeout;
        // Taken out, so that an operation that ends early, however it ends, leaves no program behind.
        let mut program = match self.program.take() {
            Some(program) => program,
            None => self.start()?,
        };
        if !program.greeted
            && let Err(failure) = greet(&mut program, deadline).await
        {
            if may_still_greet(&program, &failure) {
                self.program = Some(program);
            }
            return Err(failure);
        }
        if let Some(line) = program.unasked() {
            return Err(violation("wrote without having been asked", &line));
        }
        if !self.opened {
            let opened = ask(&mut program, opening::<A>(&self.seat, &self.launch), deadline).await;
            if let Some(failure) = not_opened(&opened.map_err(before_anything)?.0) {
                self.program = Some(program);
                return Ok(failure);
            }
            self.opened = true;
        }
        let (answer, line) = ask(&mut program, invocation(action), deadline).await?;
        let outcome = outcome(action, &answer, &line)?;
        self.program = Some(program);
        Ok(outcome)
    }

    /// Takes a program that has said hello.
    async fn begin(&mut self) -> Result<(), Unanswered> {
        let mut program = self.start()?;
        greet(&mut program, Instant::now() + HELLO_WITHIN).await?;
        self.program = Some(program);
        Ok(())
    }

    fn start(&mut self) -> Result<Program, Unanswered> {
        self.opened = false;
        let start = || Program::start(&self.launch.program, &*self.seat.place, self.seat.scratch.as_deref());
        let pooled = self.stateless.then(|| self.pool.take(&self.seat.place)).flatten();
        let mut program = match pooled {
            Some(program) => program,
            None => start().map_err(Unanswered::Silent)?,
        };
        // A spare, since a program is killed after each operation that it does not answer, and another takes long to start.
        if self.stateless && !self.pool.has(&self.seat.place) {
            self.pool.give(&self.seat.place, start().map_err(Unanswered::Silent)?);
        }
        program.log_to(self.seat.stderr.clone());
        Ok(program)
    }
}

/// Whether a program that has not said hello may still do so.
pub(super) fn may_still_greet(program: &Program, failure: &Unanswered) -> bool {
    let slow = matches!(failure, Unanswered::Silent(error) if error.cause.kind == CauseKind::Timeout);
    slow && program.started() + HELLO_WITHIN > Instant::now()
}

/// Reads the first line of a program; returns how many clients it can serve.
pub(super) async fn greet(program: &mut Program, deadline: Instant) -> Result<Clients, Unanswered> {
    let line = program.exchange(b"", deadline).await?;
    match serde_json::from_slice(&line) {
        Ok(Hello::Hello { version: VERSION, clients }) => {
            program.greeted = true;
            Ok(clients)
        }
        Ok(Hello::Hello { version, .. }) => {
            Err(unfit(format!("the client program speaks version {version}, and duress speaks {VERSION}")))
        }
        Err(_) => Err(violation("did not begin with {\"type\":\"hello\",\"version\":1}, but", &line)),
    }
}

/// Returns the failure of a program that can carry out nothing, however often it is started.
pub(super) fn unfit(text: String) -> Unanswered {
    Unanswered::Silent(RequestError::definite(CauseKind::Rejected, text))
}

/// Returns what a client's warm-up reports if it failed in this way: nothing if the program may only be slow.
pub(super) fn hopeless(failure: Unanswered) -> Result<(), Cause> {
    match failure {
        Unanswered::Silent(RequestError { cause, .. }) if cause.kind == CauseKind::Timeout => Ok(()),
        Unanswered::Silent(RequestError { cause, .. }) => Err(cause),
        Unanswered::Violation(text) => Err(Cause::new(CauseKind::Unreadable, text)),
    }
}

/// Sends a request under the next number, and returns its answer, with the line that it is in.
async fn ask(
    program: &mut Program,
    mut request: Value,
    deadline: Instant,
) -> Result<(Answer, Vec<u8>), Unanswered> {
    program.id += 1;
    request["id"] = json!(program.id);
    let line = program.exchange(format!("{request}\n").as_bytes(), deadline).await?;
    let answer: Answer = serde_json::from_slice(&line)
        .map_err(|error| violation(&format!("wrote a line that is not an answer ({error})"), &line))?;
    if answer.client.is_some() {
        return Err(violation("answered with a `client`, as one that serves several", &line));
    }
    if answer.id != program.id {
        let what = format!("answered request {} when it was asked {}", answer.id, program.id);
        return Err(violation(&what, &line));
    }
    Ok((answer, line.to_vec()))
}

#[async_trait]
impl<A: Spoken> Client<A> for ExecClient {
    async fn invoke(&mut self, action: &A) -> Outcome<A> {
        self.request(action).await.unwrap_or_else(|why| unanswered(action, why))
    }

    async fn warm_up(&mut self) -> Result<(), Cause> {
        // A client with a state of its own must not leave its program to another.
        if !self.stateless {
            return Ok(());
        }
        let mut attempts = WARM_UPS;
        loop {
            attempts -= 1;
            match self.begin().await.or_else(hopeless) {
                Err(_) if attempts > 0 => {}
                ended => return ended,
            }
        }
    }
}

impl Drop for ExecClient {
    fn drop(&mut self) {
        if let Some(program) = self.program.take()
            && self.stateless
        {
            self.pool.give(&self.seat.place, program);
        }
    }
}
