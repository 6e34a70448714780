//! A client's side of PostgreSQL: one connection, one statement or transaction at a time.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Connection, Error, NoTls, Row, Statement};

use super::options::Options;
use super::refusal::Stage;
use crate::client::Seat;
use crate::outcome::{CauseKind, RequestError};
use crate::place::{self, Place};

/// A statement of an operation, with its parameters.
pub(super) struct Call<'s> {
    pub(super) statement: &'s str,
    pub(super) params: Vec<String>,
    /// The kind of its failure if it changes no row; `None` if it need not change one.
    vain: Option<CauseKind>,
}

impl<'s> Call<'s> {
    /// Returns a call that changes a row, or else was in vain.
    pub(super) fn change(statement: &'s str, params: Vec<String>) -> Self {
        Self { statement, params, vain: Some(CauseKind::Rejected) }
    }

    /// Returns a call that changes a row if its condition holds.
    pub(super) fn change_if(statement: &'s str, params: Vec<String>) -> Self {
        Self { statement, params, vain: Some(CauseKind::Precondition) }
    }

    /// Returns a call that may change nothing: a read, or one that compares.
    pub(super) fn ask(statement: &'s str, params: Vec<String>) -> Self {
        Self { statement, params, vain: None }
    }

    /// Says that it did nothing, if it had to change something and changed `rows` rows. Other statements than these, such as
    /// `CALL`, do not count their rows.
    fn took_effect(&self, rows: u64) -> Result<(), RequestError> {
        let verb = self.statement.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if let Some(kind) = self.vain
            && rows == 0
            && ["insert", "update", "merge"].contains(&verb.as_str())
        {
            return Err(RequestError::definite(kind, format!("it changed no row: {}", self.statement)));
        }
        Ok(())
    }
}

/// The answer to a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// The first column of each row; `None` for null.
    pub(super) values: Vec<Option<String>>,
    /// The number of rows that it changed, or read.
    pub(super) rows: u64,
}

/// The part that all clients of PostgreSQL share.
pub(super) struct Session {
    to: SocketAddr,
    seat: Seat,
    options: Arc<Options>,
    connection: Option<SqlConnection>,
}

impl Session {
    /// Returns one that will connect from its seat to `to` when it has to.
    pub(super) fn new(to: SocketAddr, seat: Seat, options: Arc<Options>) -> Self {
        Self { to, seat, options, connection: None }
    }

    /// Returns what it shares with the other clients.
    pub(super) fn options(&self) -> Arc<Options> {
        Arc::clone(&self.options)
    }

    /// Executes one statement, which is a transaction of its own.
    ///
    /// # Errors
    /// A [`RequestError`], by the rules of [`super::refusal`].
    pub(super) async fn execute(&mut self, call: Call<'_>) -> Result<Answered, RequestError> {
        let deadline = Instant::now() + self.seat.timeout;
        let mut connection = self.take(deadline).await?;
        connection.prepare(call.statement, deadline).await?;
        let answer = connection.call(&call, Stage::Committing, deadline).await;
        self.connection = connection.clean(&answer);
        answer
    }

    /// Executes statements as one transaction, and returns the answer to each.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub(super) async fn transact(&mut self, calls: &[Call<'_>]) -> Result<Vec<Answered>, RequestError> {
        let deadline = Instant::now() + self.seat.timeout;
        let mut connection = self.take(deadline).await?;
        for call in calls {
            connection.prepare(call.statement, deadline).await?;
        }
        let begun = async {
            connection.run("BEGIN", Stage::Undecided, deadline).await?;
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                answers.push(connection.call(call, Stage::Undecided, deadline).await?);
            }
            Ok(answers)
        };
        let answers = match begun.await {
            Ok(answers) => answers,
            Err(failure) => {
                // If it cannot be rolled back, the connection goes, and the transaction with it.
                if connection.run("ROLLBACK", Stage::Undecided, deadline).await.is_ok() {
                    self.connection = Some(connection);
                }
                return Err(failure);
            }
        };
        // A COMMIT after an error would roll back, and be acknowledged: none is sent after one.
        let committed = connection.run("COMMIT", Stage::Committing, deadline).await;
        self.connection = connection.clean(&committed);
        committed.map(|()| answers)
    }

    /// Takes the connection out, so that a request that ends early, however it ends, leaves none behind.
    async fn take(&mut self, deadline: Instant) -> Result<SqlConnection, RequestError> {
        if let Some(mut kept) = self.connection.take()
            && kept.is_idle().await
        {
            return Ok(kept);
        }
        SqlConnection::open(&*self.seat.place, self.to, &self.options, deadline).await
    }
}

type Wire = Pin<Box<Connection<TcpStream, NoTlsStream>>>;

/// An open connection to one server.
pub(super) struct SqlConnection {
    client: Client,
    /// The part that moves the bytes; `None` when the connection has ended.
    wire: Option<Wire>,
    prepared: BTreeMap<String, Statement>,
}

impl SqlConnection {
    /// Connects to `to` and logs in.
    ///
    /// # Errors
    /// A definite [`RequestError`]: no request has been sent.
    pub(super) async fn open(
        from: &dyn Place,
        to: SocketAddr,
        options: &Options,
        deadline: Instant,
    ) -> Result<Self, RequestError> {
        let stream = place::open(from, to, deadline).await?;
        let mut config = Config::new();
        config.user(&options.user).dbname(&options.database).application_name("duress");
        if let Some(password) = &options.password {
            config.password(password);
        }
        let opened = timeout_at(deadline, config.connect_raw(stream, NoTls)).await;
        let (client, wire) = opened.map_err(|_| late(Stage::Undecided))?.map_err(|error| {
            let failure = Stage::Undecided.failure(&error);
            let text = format!("logging in: {}", failure.cause.text);
            RequestError::definite(failure.cause.kind, text)
        })?;
        let mut connection = Self { client, wire: Some(Box::pin(wire)), prepared: BTreeMap::new() };
        let level = options.isolation.sql();
        let set = format!("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}");
        connection.run(&set, Stage::Undecided, deadline).await?;
        Ok(connection)
    }

    /// Executes a statement without parameters and without an answer.
    ///
    /// # Errors
    /// A [`RequestError`], by the rules of [`super::refusal`].
    pub(super) async fn run(
        &mut self,
        sql: &str,
        stage: Stage,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let Self { client, wire, .. } = self;
        exchange(wire, client.batch_execute(sql), stage, deadline).await
    }

    /// Prepares a statement, unless it has been, and returns it.
    ///
    /// # Errors
    /// A definite [`RequestError`]: a statement that is prepared has no effect.
    pub(super) async fn prepare(
        &mut self,
        statement: &str,
        deadline: Instant,
    ) -> Result<Statement, RequestError> {
        if let Some(prepared) = self.prepared.get(statement) {
            return Ok(prepared.clone());
        }
        let Self { client, wire, .. } = self;
        let prepared = exchange(wire, client.prepare(statement), Stage::Undecided, deadline).await?;
        self.prepared.insert(statement.to_owned(), prepared.clone());
        Ok(prepared)
    }

    async fn call(
        &mut self,
        call: &Call<'_>,
        stage: Stage,
        deadline: Instant,
    ) -> Result<Answered, RequestError> {
        let statement = self.prepare(call.statement, deadline).await?;
        let fits = fits(&statement, call.params.len());
        fits.map_err(|text| RequestError::definite(CauseKind::Rejected, text))?;
        let params: Vec<Text<'_>> =
            call.params.iter().take(statement.params().len()).map(|param| Text(param)).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let Self { client, wire, .. } = self;
        if statement.columns().is_empty() {
            let rows = exchange(wire, client.execute(&statement, &params), stage, deadline).await?;
            call.took_effect(rows)?;
            return Ok(Answered { values: Vec::new(), rows });
        }
        let rows = exchange(wire, client.query(&statement, &params), stage, deadline).await?;
        let value = |row: &Row| {
            let value = row.try_get::<_, Option<String>>(0);
            value.map_err(|error| stage.unanswered(CauseKind::Unreadable, error.to_string()))
        };
        let values = rows.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        call.took_effect(values.len() as u64)?;
        Ok(Answered { rows: values.len() as u64, values })
    }

    /// Whether it can take another request. Notices a server that ended it in the meantime.
    async fn is_idle(&mut self) -> bool {
        poll_fn(|cx| {
            progress(&mut self.wire, cx);
            Poll::Ready(self.wire.is_some() && !self.client.is_closed())
        })
        .await
    }

    /// Returns the connection if it can be used after `answer`: after a success, and after an error of the server.
    fn clean<T>(self, answer: &Result<T, RequestError>) -> Option<Self> {
        let broken = |failure: &RequestError| {
            let kind = failure.cause.kind;
            matches!(kind, CauseKind::Timeout | CauseKind::ConnectionLost | CauseKind::Unreadable)
        };
        (!answer.as_ref().is_err_and(broken)).then_some(self)
    }
}

/// Says why an operation with `given` parameters cannot use `statement`.
pub(super) fn fits(statement: &Statement, given: usize) -> Result<(), String> {
    match statement.params().len() {
        needed if needed > given => Err(format!("it has ${needed}, and the operation has {given} values")),
        _ => Ok(()),
    }
}

/// Says why `statement` cannot answer a read.
pub(super) fn answers_text(statement: &Statement) -> Result<(), String> {
    match statement.columns() {
        [column] if <String as tokio_postgres::types::FromSql<'_>>::accepts(column.type_()) => Ok(()),
        [column] => Err(format!("it answers {}: cast it, ::text", column.type_())),
        columns => Err(format!("it answers {} columns: a read answers one, of text", columns.len())),
    }
}

fn late(stage: Stage) -> RequestError {
    stage.unanswered(CauseKind::Timeout, "no answer in time")
}

/// Lets the connection move its bytes, and notices its end.
fn progress(wire: &mut Option<Wire>, cx: &mut Context<'_>) -> Option<Error> {
    let Poll::Ready(ended) = wire.as_mut()?.as_mut().poll(cx) else { return None };
    *wire = None;
    ended.err()
}

/// Waits for the answer to `request`, while the connection moves its bytes.
async fn exchange<T>(
    wire: &mut Option<Wire>,
    request: impl Future<Output = Result<T, Error>>,
    stage: Stage,
    deadline: Instant,
) -> Result<T, RequestError> {
    let (mut request, mut broken) = (pin!(request), None);
    let answered = poll_fn(|cx| {
        // The request is put into a queue when it is polled first, which wakes the connection.
        broken = progress(wire, cx).or(broken.take());
        request.as_mut().poll(cx)
    });
    match timeout_at(deadline, answered).await {
        Ok(Ok(answer)) => Ok(answer),
        // The connection knows better than the request why there is no answer.
        Ok(Err(error)) if error.is_closed() => Err(stage.failure(broken.as_ref().unwrap_or(&error))),
        Ok(Err(error)) => Err(stage.failure(&error)),
        Err(_) => Err(late(stage)),
    }
}

/// A parameter as text, which the server reads as whatever type the statement gives it.
#[derive(Debug)]
struct Text<'p>(&'p str);

impl ToSql for Text<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
