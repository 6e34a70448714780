//! How clients log in, and at which isolation level their transactions run.

use super::statements::Statements;

/// The settings that all clients of a cluster share.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The user that they log in as.
    pub(crate) user: String,
    /// The database that they use.
    pub(crate) database: String,
    /// The password, if the server asks for one.
    pub(crate) password: Option<String>,
    /// The level of every transaction, and of every statement outside one.
    pub(crate) isolation: Isolation,
    /// The SQL of each operation.
    pub(crate) statements: Statements,
}

/// An isolation level, by PostgreSQL's names. Its "read uncommitted" is "read committed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Serializable snapshot isolation.
    #[default]
    Serializable,
    /// Snapshot isolation.
    RepeatableRead,
    /// Each statement has a snapshot of its own.
    ReadCommitted,
}

impl Isolation {
    const ALL: [Self; 3] = [Self::Serializable, Self::RepeatableRead, Self::ReadCommitted];

    /// Returns the level called `name`: SQL's words, with spaces or hyphens between them.
    ///
    /// # Errors
    /// The names that there are, in words.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let name = name.replace('-', " ");
        let known = || Self::ALL.map(|level| format!("\"{}\"", level.sql())).join(", ");
        let found = Self::ALL.into_iter().find(|level| level.sql() == name);
        found.ok_or_else(|| format!("there is no isolation level \"{name}\"; write one of {}", known()))
    }

    /// Returns the name of the consistency model that it promises to transactions.
    pub(crate) fn promise(self) -> &'static str {
        match self {
            Self::Serializable => "serializable",
            Self::RepeatableRead => "snapshot-isolation",
            Self::ReadCommitted => "read-committed",
        }
    }

    /// Returns its name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Serializable => "serializable",
            Self::RepeatableRead => "repeatable read",
            Self::ReadCommitted => "read committed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_of_sql() {
        for (name, level) in [
            ("serializable", Isolation::Serializable),
            ("repeatable read", Isolation::RepeatableRead),
            ("read-committed", Isolation::ReadCommitted),
        ] {
            assert_eq!(Isolation::named(name), Ok(level));
        }
        let error = Isolation::named("snapshot").unwrap_err();
        assert!(
            error.contains("\"snapshot\"; write one of \"serializable\", \"repeatable read\""),
            "{error}"
        );
    }
}
