//! duress
