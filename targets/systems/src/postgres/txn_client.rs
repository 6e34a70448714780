//! A client of transactions: `BEGIN`, a statement for each operation, and `COMMIT`.
//!
//! A transaction that fails before its `COMMIT` was sent certainly did not happen.

use async_trait::async_trait;
use duress_history::txn::{Act, Answer, Elements, Held, Micro, Txn};

use super::object_client::{all, first};
use super::session::{Answered, Call, Session};
use super::statements::Statements;
use crate::client::Client;
use crate::outcome::{Outcome, RequestError};
use crate::text;

/// An object that statements read and write.
pub(super) trait Stored: Answer {
    /// Returns the statements that read it and write it.
    fn statements(all: &Statements) -> (&str, &str);

    /// Returns the object that is read as `answer`.
    ///
    /// # Errors
    /// An open [`RequestError`] when it cannot be read.
    fn load(answer: &Answered) -> Result<Self, RequestError>;
}

impl Stored for Elements {
    fn statements(all: &Statements) -> (&str, &str) {
        (&all.list_read, &all.list_append)
    }

    fn load(answer: &Answered) -> Result<Self, RequestError> {
        Ok(Self(all(&answer.values)?.into_boxed_slice()))
    }
}

impl Stored for Held {
    fn statements(all: &Statements) -> (&str, &str) {
        (&all.register_read, &all.register_write)
    }

    fn load(answer: &Answered) -> Result<Self, RequestError> {
        Ok(Self(first(&answer.values)?))
    }
}

/// A client that speaks to one node.
pub(super) struct TxnClient(pub(super) Session);

impl TxnClient {
    async fn request<R: Stored>(&mut self, action: &Txn<R>) -> Result<Outcome<Txn<R>>, RequestError> {
        let options = self.0.options();
        let (read, write) = R::statements(&options.statements);
        let call = |micro: &Micro<R>| {
            let key = text::encode(&micro.key)?;
            Ok(match &micro.act {
                Act::Read(_) => Call::ask(read, vec![key]),
                Act::Write(value) => Call::change(write, vec![key, text::encode(value)?]),
            })
        };
        let calls = action.micros.iter().map(call).collect::<Result<Vec<_>, RequestError>>()?;
        let answers = self.0.transact(&calls).await?;
        let answered = |(micro, answer): (&Micro<R>, &Answered)| {
            let act = match &micro.act {
                Act::Read(_) => Act::Read(Some(R::load(answer)?)),
                Act::Write(_) => micro.act.clone(),
            };
            Ok(Micro { key: micro.key.clone(), act })
        };
        let micros = action.micros.iter().zip(&answers).map(answered);
        Ok(Outcome::Ok(Txn { micros: micros.collect::<Result<_, RequestError>>()? }))
    }
}

#[async_trait]
impl<R: Stored> Client<Txn<R>> for TxnClient {
    async fn invoke(&mut self, action: &Txn<R>) -> Outcome<Txn<R>> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
