//! The `bank` vocabulary: transfers between accounts, and reads of all balances, as in Jepsen's bank test.
//!
//! | `f` | `value` invoked | `value` answered |
//! |---|---|---|
//! | `create` | `{a: n, b: n, …}`: all accounts, with their first balances | the same |
//! | `transfer` | `{"from": a, "to": b, "amount": n}` | the same |
//! | `read` | null, or `[a, b, …]`: all accounts | `{a: n, b: n, …}`, or `[n, …]`: the balances of accounts 0, 1, … |
//!
//! Amounts and balances are whole numbers; a balance that was read may be null, if the account was not found. A `create` leaves
//! accounts as they are that are there already, so that it may be tried again. Jepsen's histories have none: their accounts are
//! there from the beginning.

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError, parse_json};
use crate::scalar::Scalar;

/// An operation on a bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bank {
    /// Makes accounts with these balances, unless they are there.
    Create(Balances),
    /// Moves money from one account to another.
    Transfer(Transfer),
    /// Reads the balance of every account.
    Read(Reading),
}

/// A read of balances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Without an answer: of these accounts, in this order; none where a history does not say which.
    Asked(Vec<Scalar>),
    /// With its answer.
    Answered(Balances),
}

/// A movement of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The account that has less afterwards.
    pub from: Scalar,
    /// The account that has more.
    pub to: Scalar,
    /// How much.
    pub amount: i64,
}

/// Balances by account, in the order in which they were recorded; `None` for an account that was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balances(pub Vec<(Scalar, Option<i64>)>);

impl Balances {
    /// Returns the accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &Scalar> {
        self.0.iter().map(|(account, _)| account)
    }

    /// Whether these are the balances of `accounts`, in whatever order.
    #[must_use]
    pub fn are_of(&self, accounts: &[Scalar]) -> bool {
        // No account has two balances.
        let same = || self.accounts().all(|account| accounts.contains(account));
        self.accounts().eq(accounts) || self.0.len() == accounts.len() && same()
    }
}

impl Serialize for Balances {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (account, balance) in &self.0 {
            map.serialize_entry(&account.to_string(), balance)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Balances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BalancesVisitor;
        impl<'de> Visitor<'de> for BalancesVisitor {
            type Value = Balances;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("balances by account")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut access: M) -> Result<Balances, M::Error> {
                let mut balances: Vec<(Scalar, Option<i64>)> = Vec::new();
                while let Some((account, balance)) = access.next_entry::<String, _>()? {
                    // The keys of a map are strings wherever they are written.
                    let account = account.parse().map_or_else(|_| Scalar::from(&*account), Scalar::Int);
                    if balances.iter().any(|(other, _)| *other == account) {
                        return Err(M::Error::custom(format_args!("account {account} is there twice")));
                    }
                    balances.push((account, balance));
                }
                Ok(Balances(balances))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Balances, A::Error> {
                let mut balances = Vec::new();
                while let Some(balance) = access.next_element()? {
                    balances.push((Scalar::Int(balances.len() as i64), balance));
                }
                Ok(Balances(balances))
            }
        }
        deserializer.deserialize_any(BalancesVisitor)
    }
}

impl Payload for Bank {
    const NAME: &'static str = "bank";

    fn f(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Transfer(_) => "transfer",
            Self::Read(_) => "read",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Transfer(transfer) => transfer.serialize(serializer),
            Self::Read(Reading::Asked(accounts)) if accounts.is_empty() => serializer.serialize_unit(),
            Self::Read(Reading::Asked(accounts)) => accounts.serialize(serializer),
            Self::Create(balances) | Self::Read(Reading::Answered(balances)) => {
                balances.serialize(serializer)
            }
        }
    }

    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "create" => {
                let expected = "{account: balance, …} or [balance, …], in whole numbers";
                Ok(Self::Create(parse_json::<Bank, _>("create", value, expected)?))
            }
            "transfer" => {
                let expected = "{\"from\": account, \"to\": account, \"amount\": a whole number}";
                Ok(Self::Transfer(parse_json::<Bank, _>("transfer", value, expected)?))
            }
            "read" if op_type != OpType::Ok => {
                // Other programs write what they like there.
                let accounts = value.and_then(|value| serde_json::from_str(value.get()).ok());
                Ok(Self::Read(Reading::Asked(accounts.unwrap_or_default())))
            }
            "read" => {
                let expected = "{account: balance, …} or [balance, …], in whole numbers";
                Ok(Self::Read(Reading::Answered(parse_json::<Bank, _>("read", value, expected)?)))
            }
            _ => {
                let known = "create, transfer, read";
                Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known })
            }
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Read(Reading::Asked(accounts)), Self::Read(Reading::Answered(balances))) => {
                accounts.is_empty() || balances.are_of(accounts)
            }
            (Self::Read(_), Self::Read(_)) => true,
            (asked, answered) => asked == answered,
        }
    }

    fn read(
        op_type: OpType,
        f: &str,
        fields: crate::event::Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        match (invoked, f) {
            // The answer says no more than that it happened.
            (Some(change @ Self::Transfer(_)), "transfer") | (Some(change @ Self::Create(_)), "create") => {
                Ok(change.clone())
            }
            _ => Self::parse(op_type, f, fields.value),
        }
    }
}
