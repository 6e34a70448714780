//! The record of messages at one end of them: at a node, or of all clients.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use duress_arena::machine_wall_ns;
use duress_history::Process;
use duress_history::traffic::recorder::{Buffering, TrafficRecorder};
use duress_history::traffic::{BODY_MAX, Content, End, Seen};

use super::message::Message;

/// The recorder that all who see messages at one end share.
#[derive(Clone, Debug)]
pub(super) struct Record(Arc<Mutex<TrafficRecorder>>);

impl Record {
    /// Returns that into the file at `path`.
    pub(super) fn new(path: PathBuf, buffering: Buffering) -> Self {
        Self(Arc::new(Mutex::new(TrafficRecorder::new(path, buffering))))
    }

    /// Records that `from` sends `message`, of so many `bytes`, as the one with this number.
    pub(super) fn sent(&self, from: &str, number: u64, message: &Message, bytes: usize) {
        let content = Some(content(message, bytes));
        self.see(End::Sent, number, (from, &message.dest), content, None);
    }

    /// Records that the message of this number arrived.
    pub(super) fn arrived(&self, number: u64, from: &str, to: &str) {
        self.see(End::Arrived, number, (from, to), None, None);
    }

    /// Records the answer of a service, which keeps no record of its own.
    pub(super) fn answered(&self, to: &str, answer: &Message, bytes: usize) {
        let number = answer.body.in_reply_to.unwrap_or_default();
        self.see(End::Arrived, number, (&answer.src, to), Some(content(answer, bytes)), None);
    }

    fn see(
        &self,
        end: End,
        number: u64,
        (from, to): (&str, &str),
        content: Option<Content>,
        process: Option<Process>,
    ) {
        let (from, to) = (Cow::Borrowed(from), Cow::Borrowed(to));
        let mut recorder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.record(&Seen { time: machine_wall_ns(), end, number, from, to, content, process });
    }
}

/// The record of one client's messages, which belong to one process.
#[derive(Debug)]
pub(super) struct ClientRecord {
    pub(super) record: Record,
    pub(super) process: Process,
}

impl ClientRecord {
    /// Records that the client sends `request`.
    pub(super) fn sent(&self, request: &Message, bytes: usize) {
        let number = request.body.msg_id.unwrap_or_default();
        let (ends, content) = ((&*request.src, &*request.dest), content(request, bytes));
        self.record.see(End::Sent, number, ends, Some(content), Some(self.process));
    }

    /// Records that the client got the answer to the request of this number.
    pub(super) fn arrived(&self, number: u64, from: &str, to: &str) {
        self.record.see(End::Arrived, number, (from, to), None, Some(self.process));
    }
}

impl Drop for ClientRecord {
    fn drop(&mut self) {
        self.record.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

/// The first bytes of what is written.
struct Beginning(Vec<u8>);

impl Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BODY_MAX - self.0.len();
        self.0.extend(&bytes[..bytes.len().min(room)]);
        // An error ends the writing of a long body early.
        if bytes.len() > room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn content(message: &Message, bytes: usize) -> Content {
    let body = &message.body;
    let mut beginning = Beginning(Vec::with_capacity(BODY_MAX.min(bytes)));
    let text = match serde_json::to_writer(&mut beginning, &body.fields) {
        Ok(()) => String::from_utf8_lossy(&beginning.0).into_owned(),
        // The last character may be cut.
        Err(_) => String::from_utf8_lossy(&beginning.0).trim_end_matches('\u{fffd}').to_owned(),
    };
    Content {
        kind: body.kind.clone(),
        msg_id: body.msg_id,
        in_reply_to: body.in_reply_to,
        body: text,
        bytes: bytes as u64,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::message::Body;
    use super::*;

    #[test]
    fn the_beginning_of_a_long_body_is_kept() {
        let message = |elements: usize| {
            let body = Body::new("merge", [("elements", json!(vec!["é"; elements]))]);
            Message { src: "n1".to_owned(), dest: "n2".to_owned(), body }
        };
        assert_eq!(content(&message(1), 60).body, "{\"elements\":[\"é\"]}");
        let long = content(&message(10_000), 50_000);
        assert!((BODY_MAX - 1..=BODY_MAX).contains(&long.body.len()), "{}", long.body.len());
        assert!(long.body.starts_with("{\"elements\":[\"é\",") && !long.body.contains('\u{fffd}'));
        assert_eq!((long.bytes, long.kind.as_str()), (50_000, "merge"));
    }
}
