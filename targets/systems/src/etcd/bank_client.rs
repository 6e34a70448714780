//! A client of a bank on etcd: each account is a register.
//!
//! | operation | requests |
//! |---|---|
//! | create | one `/v3/kv/txn`: if none of the accounts exists, put them all |
//! | read | one `/v3/kv/txn` that ranges over each account; linearizable unless `read=serializable` |
//! | transfer | one `/v3/kv/txn` that ranges over both accounts, linearizable; then, if `from` has that much, one `/v3/kv/txn`: if the revisions of both are still those, put both |
//!
//! A comparison that fails changes nothing: accounts are there already, or another transfer was faster.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::bank::{Balances, Bank, Reading, Transfer};
use duress_history::txn::Held;
use tokio::time::Instant;

use super::session::{ReadLevel, encode};
use super::txn_client::{TxnClient, Version, Written};
use crate::bank;
use crate::client::{Client, Seat};
use crate::outcome::{CauseKind, Outcome, Reach, RequestError};

/// A client that speaks to one node.
pub(super) struct BankClient(TxnClient);

/// Accounts as they were read.
type Versions<'k> = BTreeMap<&'k Scalar, Version<Held>>;

impl BankClient {
    /// Returns a client that will connect from its seat to `to` when it has to.
    pub(super) fn new(seat: Seat, to: SocketAddr, read_level: ReadLevel) -> Self {
        Self(TxnClient::new(seat, to, read_level))
    }

    async fn request(&mut self, action: &Bank) -> Result<Outcome<Bank>, RequestError> {
        let deadline = self.0.session.deadline();
        match action {
            Bank::Create(Balances(balances)) => {
                let missing: Versions<'_> =
                    balances.iter().map(|(account, _)| (account, Version::missing())).collect();
                let made = |(account, balance): &'_ (Scalar, Option<i64>)| {
                    (account.clone(), balance.unwrap_or_default())
                };
                let made: Vec<(Scalar, i64)> = balances.iter().map(made).collect();
                // If they are there already, none of them was put.
                self.0.put_if_unchanged(&missing, &held(&made), deadline).await?;
                Ok(Outcome::Ok(action.clone()))
            }
            Bank::Transfer(transfer) => self.transfer(transfer, deadline).await,
            Bank::Read(reading) => {
                let accounts = bank::accounts(reading)?;
                let versions = self.versions(accounts, self.0.read_level, deadline).await?;
                Ok(Outcome::Ok(Bank::Read(Reading::Answered(balances(accounts, &versions)?))))
            }
        }
    }

    async fn transfer(
        &mut self,
        transfer: &Transfer,
        deadline: Instant,
    ) -> Result<Outcome<Bank>, RequestError> {
        let accounts = [transfer.from.clone(), transfer.to.clone()];
        let before_anything = |failure| RequestError { reach: Reach::Nothing, ..failure };
        let versions = self.versions(&accounts, ReadLevel::Linearizable, deadline).await;
        let versions = versions.map_err(before_anything)?;
        let found = balances(&accounts, &versions).map_err(before_anything)?;
        let left = match bank::after(&found, transfer) {
            Ok(left) => left,
            Err(cause) => return Ok(Outcome::Fail(cause)),
        };
        Ok(match self.0.put_if_unchanged(&versions, &held(&left), deadline).await? {
            true => Outcome::Ok(Bank::Transfer(transfer.clone())),
            false => Outcome::Fail(bank::overtaken()),
        })
    }

    async fn versions<'k>(
        &mut self,
        accounts: &'k [Scalar],
        read_level: ReadLevel,
        deadline: Instant,
    ) -> Result<Versions<'k>, RequestError> {
        let mut keys = BTreeMap::new();
        for account in accounts {
            keys.insert(account, encode(account)?);
        }
        self.0.versions(&keys, read_level, deadline).await
    }
}

/// Returns balances as they are stored.
fn held(balances: &[(Scalar, i64)]) -> Written<'_, Held> {
    balances.iter().map(|(account, balance)| (account, Held(Some(Scalar::Int(*balance))))).collect()
}

/// Returns the balances of `accounts`.
fn balances(accounts: &[Scalar], versions: &Versions<'_>) -> Result<Balances, RequestError> {
    let balance = |account: &Scalar| match versions.get(account).map(|version| &version.content) {
        Some(Held(Some(Scalar::Int(balance)))) => Ok((account.clone(), Some(*balance))),
        Some(Held(Some(other))) => {
            let text = format!("{other} where a balance was stored");
            Err(RequestError::open(CauseKind::Unreadable, text))
        }
        Some(Held(None)) | None => Ok((account.clone(), None)),
    };
    Ok(Balances(accounts.iter().map(balance).collect::<Result<_, _>>()?))
}

#[async_trait]
impl Client<Bank> for BankClient {
    async fn invoke(&mut self, action: &Bank) -> Outcome<Bank> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
