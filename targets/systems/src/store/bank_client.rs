//! A client of a bank on the store, and on Redis.
//!
//! | operation | commands |
//! |---|---|
//! | create `a`, `b`, … with `n` each | `MULTI`, `SET a n NX` for each, `EXEC` |
//! | read `a`, `b`, … | `MGET a b …` |
//! | transfer `n` from `a` to `b` | `UNWATCH`, `WATCH a b`, `MGET a b`; then, if `a` has that much, `MULTI`, `INCRBY a -n`, `INCRBY b n`, `EXEC` |
//!
//! A transfer has failed if `a` has less, and if another changed `a` or `b` meanwhile: `EXEC` then answers nil. Both parts of it
//! go over one connection, without which nothing would be watched. The replies to a transaction are read as in
//! [`super::txn_client`].

use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::bank::{Balances, Bank, Reading, Transfer};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::Instant;

use super::session::{Session, unexpected};
use super::txn_client::{all_read, atomic, executed, stored, tagged, watched, words};
use crate::bank;
use crate::client::{Client, Seat};
use crate::outcome::{Outcome, Reach, RequestError};

/// A client that speaks to one node.
pub(super) struct BankClient {
    session: Session,
    tag: &'static str,
}

impl BankClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    /// `tag` comes before each key, as in [`super::txn_client`].
    pub(super) fn new(seat: Seat, to: SocketAddr, tag: &'static str) -> Self {
        Self { session: Session::new(seat, to), tag }
    }

    async fn request(&mut self, action: &Bank) -> Result<Outcome<Bank>, RequestError> {
        let deadline = self.session.deadline();
        match action {
            Bank::Create(balances) => {
                self.create(balances, deadline).await?;
                Ok(Outcome::Ok(action.clone()))
            }
            Bank::Transfer(transfer) => self.transfer(transfer, deadline).await,
            Bank::Read(reading) => {
                let accounts = bank::accounts(reading)?;
                let keys = accounts.iter().map(|account| tagged(self.tag, account));
                let command: Vec<String> =
                    std::iter::once(Ok("MGET".to_owned())).chain(keys).collect::<Result<_, _>>()?;
                let command = [command];
                let read = |replies: &[BytesFrame]| bank::balances(accounts, &stored(all_read(replies)?)?);
                let balances = self.session.ask_all(&words(&command), deadline, read).await?;
                Ok(Outcome::Ok(Bank::Read(Reading::Answered(balances))))
            }
        }
    }

    async fn create(&mut self, Balances(balances): &Balances, deadline: Instant) -> Result<(), RequestError> {
        let set = |(account, balance): &(Scalar, Option<i64>)| {
            let balance = balance.unwrap_or_default().to_string();
            Ok(vec!["SET".to_owned(), tagged(self.tag, account)?, balance, "NX".to_owned()])
        };
        let commands = atomic(balances.iter().map(set).collect::<Result<_, RequestError>>()?);
        let read = |replies: &[BytesFrame]| {
            let answers = executed(replies)?.ok_or_else(|| unexpected(&BytesFrame::Null))?;
            // Nil is the answer where the account was there already.
            let answer = |reply: &BytesFrame| matches!(reply, BytesFrame::SimpleString(_) | BytesFrame::Null);
            answers.iter().find(|reply| !answer(reply)).map_or(Ok(()), |other| Err(unexpected(other)))
        };
        self.session.ask_all(&words(&commands), deadline, read).await
    }

    async fn transfer(
        &mut self,
        transfer: &Transfer,
        deadline: Instant,
    ) -> Result<Outcome<Bank>, RequestError> {
        let accounts = [transfer.from.clone(), transfer.to.clone()];
        let keys = [tagged(self.tag, &transfer.from)?, tagged(self.tag, &transfer.to)?];
        let found =
            watched(&mut self.session, &keys, deadline, |found| bank::balances(&accounts, found)).await;
        let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
        let found = found.map_err(before_anything)?;
        if let Err(cause) = bank::after(&found, transfer) {
            return Ok(Outcome::Fail(cause));
        }
        let add = |account: &Scalar, amount: i64| {
            Ok(vec!["INCRBY".to_owned(), tagged(self.tag, account)?, amount.to_string()])
        };
        let commands = [add(&transfer.from, -transfer.amount), add(&transfer.to, transfer.amount)];
        let commands = atomic(commands.into_iter().collect::<Result<_, RequestError>>()?);
        let read = |replies: &[BytesFrame]| {
            let Some(answers) = executed(replies)? else { return Ok(Outcome::Fail(bank::overtaken())) };
            match answers.iter().find(|reply| !matches!(reply, BytesFrame::Integer(_))) {
                Some(other) => Err(unexpected(other)),
                None => Ok(Outcome::Ok(Bank::Transfer(transfer.clone()))),
            }
        };
        self.session.follow_up(&words(&commands), deadline, read).await
    }
}

#[async_trait]
impl Client<Bank> for BankClient {
    async fn invoke(&mut self, action: &Bank) -> Outcome<Bank> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
