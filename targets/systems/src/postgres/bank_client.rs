//! A client of a bank: `BEGIN`, a statement for each account, and `COMMIT`.
//!
//! A transfer has failed if its account has less: the statement that takes changes no row then.

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::bank::{Balances, Bank, Reading, Transfer};

use super::session::{Call, Session};
use super::statements::Statements;
use crate::client::Client;
use crate::outcome::{Outcome, RequestError};
use crate::{bank, text};

/// A client that speaks to one node.
pub(super) struct BankClient(pub(super) Session);

impl BankClient {
    async fn request(&mut self, action: &Bank) -> Result<Outcome<Bank>, RequestError> {
        let options = self.0.options();
        let sql = &options.statements;
        match action {
            Bank::Create(Balances(balances)) => {
                let create = |(account, balance): &(Scalar, Option<i64>)| {
                    let params = vec![text::encode(account)?, balance.unwrap_or_default().to_string()];
                    Ok(Call::ask(&sql.account_create, params))
                };
                let calls = balances.iter().map(create).collect::<Result<Vec<_>, RequestError>>()?;
                self.0.transact(&calls).await?;
                Ok(Outcome::Ok(action.clone()))
            }
            Bank::Transfer(transfer) => {
                self.0.transact(&moves(sql, transfer)?).await?;
                Ok(Outcome::Ok(action.clone()))
            }
            Bank::Read(reading) => {
                let accounts = bank::accounts(reading)?;
                let read = |account: &Scalar| Ok(Call::ask(&sql.account_read, vec![text::encode(account)?]));
                let calls = accounts.iter().map(read).collect::<Result<Vec<_>, RequestError>>()?;
                let answers = self.0.transact(&calls).await?;
                let stored: Vec<Option<String>> =
                    answers.into_iter().map(|answer| answer.values.into_iter().next().flatten()).collect();
                Ok(Outcome::Ok(Bank::Read(Reading::Answered(bank::balances(accounts, &stored)?))))
            }
        }
    }
}

/// Returns the two statements of a transfer in the order of the accounts' names, so that no two transfers wait for each other.
fn moves<'s>(sql: &'s Statements, transfer: &Transfer) -> Result<[Call<'s>; 2], RequestError> {
    let params = |account: &Scalar| Ok(vec![text::encode(account)?, transfer.amount.to_string()]);
    let take = Call::change_if(&sql.account_take, params(&transfer.from)?);
    let give = Call::change(&sql.account_give, params(&transfer.to)?);
    Ok(if transfer.from < transfer.to { [take, give] } else { [give, take] })
}

#[async_trait]
impl Client<Bank> for BankClient {
    async fn invoke(&mut self, action: &Bank) -> Outcome<Bank> {
        self.request(action).await.unwrap_or_else(|failure| Outcome::failed(action, failure))
    }
}
