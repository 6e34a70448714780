//! PostgreSQL, and what speaks its protocol: its clients, through SQL that a manifest can replace.
//!
//! In reading order:
//! - [`options`]: the user, the database, and the isolation level of all transactions;
//! - [`statements`]: the SQL of each operation, and of the tables;
//! - [`refusal`]: what an error says about the request, by its SQLSTATE and by what had been sent;
//! - [`session`]: one connection, its statements and transactions;
//! - [`object_client`], [`txn_client`], [`bank_client`]: the clients;
//! - [`tables`]: the tables are made before clients begin.

mod bank_client;
mod object_client;
mod options;
mod refusal;
mod session;
mod statements;
mod tables;
mod txn_client;

use std::sync::Arc;

use duress_history::bank::Bank;
use duress_history::counter::Counter;
use duress_history::register::Register;
use duress_history::set::Set;
use duress_history::txn::{ListAppend, RwRegister};

use self::bank_client::BankClient;
use self::object_client::ObjectClient;
use self::session::Session;
use self::txn_client::TxnClient;
use crate::client::{Addresses, Clients};

pub(crate) use self::options::{Isolation, Options};
pub(crate) use self::statements::Statements;
pub(crate) use self::tables::make_tables;

/// Returns the clients of a cluster whose nodes are found at `address`.
pub(crate) fn clients(address: &Addresses, options: &Arc<Options>) -> Clients {
    let session = || {
        let (address, options) = (Arc::clone(address), Arc::clone(options));
        move |seat: crate::client::Seat| Ok(Session::new(address(&seat.node)?, seat, Arc::clone(&options)))
    };
    let [registers, sets, counters] = [session(), session(), session()];
    let [lists, pairs, banks] = [session(), session(), session()];
    Clients::default()
        .with::<Register>(move |seat| Ok(Box::new(ObjectClient(registers(seat)?))))
        .with::<Set>(move |seat| Ok(Box::new(ObjectClient(sets(seat)?))))
        .with::<Counter>(move |seat| Ok(Box::new(ObjectClient(counters(seat)?))))
        .with::<ListAppend>(move |seat| Ok(Box::new(TxnClient(lists(seat)?))))
        .with::<RwRegister>(move |seat| Ok(Box::new(TxnClient(pairs(seat)?))))
        .with::<Bank>(move |seat| Ok(Box::new(BankClient(banks(seat)?))))
}
