//! The SQL of each operation.
//!
//! | operation | statement | parameters | what counts |
//! |---|---|---|---|
//! | read of a register | `register-read` | key | the first row; none, or null, if it was never written |
//! | write | `register-write` | key, value | |
//! | cas from `old` | `register-cas` | key, old, new | the number of rows: none if it held another value |
//! | cas from nil | `register-create` | key, new | the same |
//! | read of a set | `set-read` | key | an element in each row |
//! | add to a set | `set-add` | key, element | |
//! | read of a counter | `counter-read` | key | the first row; no row is 0 |
//! | add to a counter | `counter-add` | key, number | |
//! | read of a list | `list-read` | key | an element in each row, in their order |
//! | append to a list | `list-append` | key, element | |
//! | creation of an account | `account-create` | key, number | |
//! | read of an account | `account-read` | key | the first row; no row is an account that is not there |
//! | a transfer: out of one account | `account-take` | key, number | the number of rows: none if the account has less |
//! | and into another | `account-give` | key, number | |
//!
//! Transactions on registers are made of `register-read` and `register-write`. A parameter is sent as text, and has the type
//! that the statement gives it; a read answers one column of text.

use serde::Deserialize;

/// The statements of a system.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Statements {
    /// Executed once, in this order, before clients begin.
    pub(crate) tables: Vec<String>,
    pub(crate) register_read: String,
    pub(crate) register_write: String,
    pub(crate) register_delete: String,
    pub(crate) register_cas: String,
    pub(crate) register_create: String,
    pub(crate) set_read: String,
    pub(crate) set_add: String,
    pub(crate) counter_read: String,
    pub(crate) counter_add: String,
    pub(crate) list_read: String,
    pub(crate) list_append: String,
    pub(crate) account_create: String,
    pub(crate) account_read: String,
    pub(crate) account_take: String,
    pub(crate) account_give: String,
}

impl Default for Statements {
    /// Returns statements for PostgreSQL 9.5 or later.
    fn default() -> Self {
        Self {
            tables: [
                "create table if not exists duress_register (k text primary key, v text)",
                "create table if not exists duress_set (k text, v text, primary key (k, v))",
                "create table if not exists duress_counter (k text primary key, n bigint not null)",
                "create table if not exists duress_list (k text primary key, v text[] not null)",
                "create table if not exists duress_account (k text primary key, n bigint not null)",
            ]
            .map(str::to_owned)
            .to_vec(),
            register_read: "select v from duress_register where k = $1".to_owned(),
            register_write:
                "insert into duress_register values ($1, $2) on conflict (k) do update set v = excluded.v"
                    .to_owned(),
            register_delete: "delete from duress_register where k = $1".to_owned(),
            register_cas: "update duress_register set v = $3 where k = $1 and v = $2".to_owned(),
            register_create: "insert into duress_register values ($1, $2) on conflict (k) do nothing"
                .to_owned(),
            set_read: "select v from duress_set where k = $1".to_owned(),
            set_add: "insert into duress_set values ($1, $2)".to_owned(),
            counter_read: "select n::text from duress_counter where k = $1".to_owned(),
            counter_add: "insert into duress_counter values ($1, $2) \
                on conflict (k) do update set n = duress_counter.n + excluded.n"
                .to_owned(),
            list_read: "select unnest(v) from duress_list where k = $1".to_owned(),
            list_append: "insert into duress_list values ($1, array[$2]) \
                on conflict (k) do update set v = duress_list.v || excluded.v"
                .to_owned(),
            account_create: "insert into duress_account values ($1, $2) on conflict (k) do nothing"
                .to_owned(),
            account_read: "select n::text from duress_account where k = $1".to_owned(),
            account_take: "update duress_account set n = n - $2 where k = $1 and n >= $2".to_owned(),
            account_give: "update duress_account set n = n + $2 where k = $1".to_owned(),
        }
    }
}

/// A statement as the clients use it: its name in a manifest, its text, and the parameters that an operation has for it.
pub(super) struct Used<'s> {
    pub(super) name: &'static str,
    pub(super) text: &'s str,
    pub(super) params: usize,
    pub(super) reads: bool,
}

impl Statements {
    /// Whether registers are written by a statement of the manifest's own, and deleted by none.
    pub(crate) fn lack_deletes(&self) -> bool {
        let usual = Self::default();
        self.register_write != usual.register_write && self.register_delete == usual.register_delete
    }

    /// Returns the statements of the operations of `vocabulary`.
    pub(super) fn of(&self, vocabulary: &str) -> Vec<Used<'_>> {
        let read = |name, text| Used { name, text, params: 1, reads: true };
        let change = |name, text, params| Used { name, text, params, reads: false };
        match vocabulary {
            "register" => vec![
                read("register-read", &self.register_read),
                change("register-write", &self.register_write, 2),
                change("register-delete", &self.register_delete, 1),
                change("register-cas", &self.register_cas, 3),
                change("register-create", &self.register_create, 2),
            ],
            "rw-register" => vec![
                read("register-read", &self.register_read),
                change("register-write", &self.register_write, 2),
            ],
            "set" => vec![read("set-read", &self.set_read), change("set-add", &self.set_add, 2)],
            "counter" => {
                vec![read("counter-read", &self.counter_read), change("counter-add", &self.counter_add, 2)]
            }
            "list-append" => {
                vec![read("list-read", &self.list_read), change("list-append", &self.list_append, 2)]
            }
            "bank" => vec![
                change("account-create", &self.account_create, 2),
                read("account-read", &self.account_read),
                change("account-take", &self.account_take, 2),
                change("account-give", &self.account_give, 2),
            ],
            _ => Vec::new(),
        }
    }
}
