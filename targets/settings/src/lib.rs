//! The settings that a program offers, and those that a user requests.
//!
//! In reading order:
//! - [`offer`]: modes, options and seeded bugs, as data;
//! - [`values`]: the values that an option accepts; [`duration`](mod@duration): durations as words;
//! - [`request`]: the user's request;
//! - [`resolve`](mod@resolve): checks a request against an offer, and fills in every default;
//! - [`settings`]: the result, and how a program reads it into types of its own;
//! - [`error`]: the reasons for refusing a request, with the nearest accepted word
//!   ([`nearest`](mod@nearest)).
//!
//! ```
//! use duress_settings::{Mode, Offer, OptionSpec, Request, Values};
//!
//! let offer = Offer {
//!     modes: vec![Mode { name: "raft".into(), summary: "consensus".into(), promises: "linearizable".into() }],
//!     options: vec![OptionSpec {
//!         name: "lease_ms".into(),
//!         values: Values::Whole { min: 1, max: 1_000 },
//!         default: "400".into(),
//!         summary: "how long a lease lasts".into(),
//!         modes: vec!["raft".into()],
//!         drawn: Vec::new(),
//!     }],
//!     ..Offer::default()
//! };
//! let settings = offer.resolve("store", &Request { nodes: 3, ..Request::default() }, None)?;
//! assert_eq!(settings.mode, "raft");
//! assert_eq!(settings.millis("lease_ms")?.as_millis(), 400);
//!
//! let slip = Request { nodes: 3, ..Request::default() }.with_option("lease_msec", "5");
//! assert_eq!(
//!     offer.resolve("store", &slip, None).unwrap_err().to_string(),
//!     "store has no option \"lease_msec\" (did you mean \"lease_ms\"?); accepted: lease_ms"
//! );
//! # Ok::<(), duress_settings::SettingsError>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod duration;
pub mod error;
pub mod nearest;
pub mod offer;
pub mod request;
pub mod resolve;
pub mod settings;
pub mod values;

pub use duration::{DurationError, duration};
pub use error::{Setting, SettingsError};
pub use nearest::{hint, nearest};
pub use offer::{BugSpec, Mode, Offer, OptionSpec};
pub use request::Request;
pub use resolve::Preset;
pub use settings::Settings;
pub use values::Values;
