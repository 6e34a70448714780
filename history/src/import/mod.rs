//! Reads a history in any supported format, from any source.
//!
//! | history | recognised by |
//! |---|---|
//! | [JSON lines](crate::jsonl); JSON arrays; [EDN](crate::edn), as maps, in a vector, or in a field `history` of a map | it begins with a bracket or a tag |
//! | vectors `[process type f value]`, of EDN or JSON | likewise |
//! | objects that are whole operations, with the times of call and return: Porcupine's, etcd's and others' | likewise |
//! | lines of `process type f value`: Jepsen's `history.txt`, and `jepsen.log` | it begins with anything else |
//!
//! Any of them may be compressed with gzip or Zstandard. The history may be a folder, of one of our runs or
//! of Jepsen's, and `-` is standard input. Several files are the logs of several clients, and are merged by
//! time; so are such logs joined into one file. [`Options`] override what is recognised.
//!
//! Data irrelevant to every verdict never makes the import fail, however it is written: fields that no
//! checker reads, messages in the place of missing answers, an end that was cut short. Relevant data that is
//! unclear is an error that names the line and the remedy.

mod assemble;
mod etcd;
mod forms;
mod object;
mod order;
mod quick;
mod source;
mod text;
mod time;

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

pub use object::{FieldMap, FieldMapError};
pub use order::Order;

pub(crate) use assemble::{Actor, Raw};
pub(crate) use time::Time;

use crate::error::ReadError;
use crate::event::{History, Payload};
use assemble::{Assembler, Sink};
use source::Window;

/// How a history is to be read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The mapping of foreign fields to ours.
    pub fields: FieldMap,
    /// The source of the order of events.
    pub order: Order,
}

/// Reads the history at `paths`: one file or folder, or the logs of several clients.
///
/// # Errors
/// [`ReadError`], which names the file where there are several.
pub fn read<A: Payload>(paths: &[PathBuf], options: &Options) -> Result<History<A>, ReadError> {
    let mut assembler = Assembler::new();
    for path in paths {
        let read = source::open(path).and_then(|input| stream(input, &mut assembler, options));
        read.map_err(|error| if paths.len() > 1 { error.of(path) } else { error })?;
    }
    assembler.finish(options.order)
}

/// Reads the history at `path`.
///
/// # Errors
/// [`ReadError`].
pub fn read_any<A: Payload>(path: &Path) -> Result<History<A>, ReadError> {
    read(&[path.to_owned()], &Options::default())
}

/// Reads the history in `input`, which is not packed.
///
/// # Errors
/// [`ReadError`].
pub fn read_from<A: Payload>(input: impl Read, options: &Options) -> Result<History<A>, ReadError> {
    let mut assembler = Assembler::new();
    stream(Box::new(input), &mut assembler, options)?;
    assembler.finish(options.order)
}

fn stream(input: Box<dyn Read + '_>, sink: &mut dyn Sink, options: &Options) -> Result<(), ReadError> {
    sink.begin_file();
    let mut window = Window::new(input);
    window.more()?;
    match (window.text().is_empty() && window.is_last(), window.is_cut()) {
        (true, true) => return Err(ReadError::Io { line: 0, source: ErrorKind::UnexpectedEof.into() }),
        (true, false) => return Err(ReadError::Empty),
        (false, _) => {}
    }
    let read = if text::is_lines(window.text()) {
        text::read(&mut window, sink)
    } else {
        forms::read(&mut window, sink, &options.fields)
    };
    read.map_err(|error| window.explained(error))
}
