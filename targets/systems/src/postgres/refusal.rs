//! What an error says about a request, by the rules of PostgreSQL's documentation ("PostgreSQL Error Codes", an appendix;
//! "Message Flow", of the chapter on the frontend/backend protocol; "Transaction Isolation").
//!
//! First counts what had been sent; the error's code counts only where that leaves the question open.
//!
//! | had been sent | what the client saw | a possible change |
//! |---|---|---|
//! | nothing but the start-up, `SET`, the preparation of a statement | anything: refused, 57P03 (cannot connect now), 53300 (too many connections), a broken connection, a time-out | `Fail` |
//! | `BEGIN` and statements of the transaction, but not `COMMIT` | anything, 57P01 (admin shutdown) and a broken connection too: a transaction without `COMMIT` is rolled back when its connection ends | `Fail` |
//! | `COMMIT`, or a statement that is a transaction of its own | an `ERROR` of class 40 (transaction rollback) but 40003: serialization failure, deadlock | `Fail` (precondition) |
//! | the same | `ERROR` 25006: read-only transaction, as on a standby | `Fail` (no-leader) |
//! | the same | an `ERROR` of class 0A, 22, 23, 25, 28, 3D, 42, 53 or 55, or 57014 (query canceled): the server refuses the statement and rolls back | `Fail` (rejected) |
//! | the same | `ERROR` 57P03: the server is starting up or shutting down, and may be asked again | `Fail` (refused) |
//! | the same | 40003 (statement completion unknown), class 08 (connection exception), any other `ERROR`, such as XX000 | `Info` |
//! | the same | `FATAL` or `PANIC`, whatever the code: 57P01 may come after the commit, while it waits for a standby | `Info` |
//! | the same | a broken connection, a time-out, an unreadable answer | `Info` |
//!
//! An `ERROR` aborts the transaction it is in, and a server that has written a commit record cannot report one any more: it would
//! panic. That is why classes that every server uses for refusals are definite. The others stay open, since a proxy, or another
//! system that speaks the protocol, may use them for a commit that it knows nothing about. Reads without an answer are `Fail`, as
//! in every protocol.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use crate::outcome::{CauseKind, Reach, RequestError};

/// How far a request had come when an error ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing that could be committed had been sent: no `COMMIT`, and no statement that commits by itself.
    Undecided,
    /// A `COMMIT`, or a statement that commits by itself, had been sent, perhaps.
    Committing,
}

impl Stage {
    /// Returns an error for this reason, without an answer of the server.
    pub(super) fn unanswered(self, kind: CauseKind, text: impl Into<String>) -> RequestError {
        match self {
            Self::Undecided => RequestError::definite(kind, text.into()),
            Self::Committing => RequestError::open(kind, text.into()),
        }
    }

    /// Returns what `error` says about a request.
    pub(super) fn failure(self, error: &Error) -> RequestError {
        match error.as_db_error() {
            Some(answer) => self.refusal(answer),
            None => {
                let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
                self.unanswered(CauseKind::ConnectionLost, format!("{error}{cause}"))
            }
        }
    }

    fn refusal(self, answer: &DbError) -> RequestError {
        let (kind, reach) = meaning(answer.code().code(), answer.parsed_severity());
        let text = format!("{} {}: {}", answer.severity(), answer.code().code(), answer.message());
        match (self, reach) {
            (Self::Undecided, _) | (_, Reach::Nothing) => RequestError::definite(kind, text),
            (Self::Committing, Reach::Unknown) => RequestError::open(kind, text),
        }
    }
}

/// Returns the kind of an error with this code, and whether a change that had been sent to be committed may have been.
fn meaning(code: &str, severity: Option<Severity>) -> (CauseKind, Reach) {
    let kind = match (code, code.get(..2)) {
        ("40003", _) => CauseKind::Unknown,
        (_, Some("40")) => CauseKind::Precondition,
        ("25006", _) => CauseKind::NoLeader,
        ("57P03", _) => CauseKind::Refused,
        ("57014", _) => CauseKind::Rejected,
        (_, Some("0A" | "22" | "23" | "25" | "28" | "3D" | "42" | "53" | "55")) => CauseKind::Rejected,
        (_, Some("08")) | ("57P01" | "57P02", _) => CauseKind::ConnectionLost,
        _ => CauseKind::Unknown,
    };
    let refuses = matches!(
        kind,
        CauseKind::Precondition | CauseKind::NoLeader | CauseKind::Rejected | CauseKind::Refused
    );
    let reach = match (severity, refuses) {
        (Some(Severity::Error), true) => Reach::Nothing,
        _ => Reach::Unknown,
    };
    (kind, reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_counts_by_its_code_once_a_commit_was_sent() {
        let fail = |code, kind| {
            assert_eq!(meaning(code, Some(Severity::Error)), (kind, Reach::Nothing), "{code}");
            // A server that ends the session says nothing about the transaction.
            for severity in [Some(Severity::Fatal), Some(Severity::Panic), None] {
                assert_eq!(meaning(code, severity), (kind, Reach::Unknown), "{code}");
            }
        };
        for code in ["40001", "40P01", "40000", "40002"] {
            fail(code, CauseKind::Precondition);
        }
        fail("25006", CauseKind::NoLeader);
        // The preparation of a cluster waits for a server that is starting up.
        fail("57P03", CauseKind::Refused);
        for code in ["23505", "42P01", "22P02", "0A000", "25P02", "53100", "55P03", "57014"] {
            fail(code, CauseKind::Rejected);
        }
        for (code, kind) in [
            ("40003", CauseKind::Unknown),
            ("08006", CauseKind::ConnectionLost),
            ("08007", CauseKind::ConnectionLost),
            ("57P01", CauseKind::ConnectionLost),
            ("57P02", CauseKind::ConnectionLost),
            ("XX000", CauseKind::Unknown),
            ("58030", CauseKind::Unknown),
            ("", CauseKind::Unknown),
            ("é", CauseKind::Unknown),
        ] {
            for severity in [Some(Severity::Error), Some(Severity::Fatal), None] {
                assert_eq!(meaning(code, severity), (kind, Reach::Unknown), "{code}");
            }
        }
    }

    #[test]
    fn silence_is_definite_until_a_commit_was_sent() {
        let text = "no answer in time";
        let reach = |stage: Stage| stage.unanswered(CauseKind::Timeout, text).reach;
        assert_eq!(reach(Stage::Undecided), Reach::Nothing);
        assert_eq!(reach(Stage::Committing), Reach::Unknown);
    }
}
