//! Jepsen's `history.edn`.
