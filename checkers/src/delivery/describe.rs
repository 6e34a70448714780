//! How the operations of a log are described in a witness.

use duress_history::log::{Log, LogMicro, Offset, Offsets, Start};
use duress_history::{Operation, Scalar};

use crate::verdict::{Object, ObjectKind, Role};
use crate::witness::{Describe, Op, Witness};

/// The places that a witness is about.
pub(crate) struct Places {
    /// The partition.
    pub(crate) key: Scalar,
    /// The offsets that matter: others of a poll are left out.
    pub(crate) offsets: Vec<u64>,
}

/// Returns a witness about one partition, in which `roles` take part, and `offsets` matter.
pub(crate) fn in_partition<A: Describe<Focus = Places>>(
    history: &[Operation<A>],
    key: &Scalar,
    roles: impl IntoIterator<Item = (Op, Role)>,
    offsets: impl IntoIterator<Item = u64>,
) -> Witness {
    let focus = Places { key: key.clone(), offsets: offsets.into_iter().collect() };
    Witness::of(vec![Object::new(ObjectKind::Partition, key)], history, &focus, roles)
}

impl Describe for Log {
    type Focus = Places;

    fn describe(&self, Places { key, offsets }: &Places) -> String {
        match self {
            Log::Send(micros) | Log::Poll(micros) | Log::Txn(micros) => describe_micros(micros, key, offsets),
            Log::Assign { from: Start::Beginning, .. } => format!("assign {key} from the beginning"),
            Log::Assign { from: Start::Position, .. } => format!("assign {key}"),
            Log::Subscribe(topics) => {
                let topics: Vec<String> = topics.iter().map(Scalar::to_string).collect();
                format!("subscribe {}", topics.join(" "))
            }
            Log::Seek(offsets) => match offsets.get(key) {
                Some(offset) => format!("seek {key} to {offset}"),
                None => "seek".to_owned(),
            },
            Log::Commit(offsets) => describe_offset("commit", key, offsets.as_ref()),
            Log::Committed(offsets) => describe_offset("committed", key, offsets.as_ref()),
            Log::EndOffsets(offsets) => describe_offset("end-offsets", key, offsets.as_ref()),
            Log::Crash => "crash".to_owned(),
        }
    }
}

/// Returns an operation that is answered with offsets.
pub(crate) fn describe_offset(f: &str, key: &Scalar, offsets: Option<&Offsets>) -> String {
    match offsets.map(|offsets| offsets.get(key)) {
        Some(Some(offset)) => format!("{f} {key} -> {offset}"),
        Some(None) => format!("{f} {key} -> none"),
        None => format!("{f} {key}"),
    }
}

/// Describes the sends and polls of this partition that matter.
fn describe_micros(micros: &[LogMicro], key: &Scalar, offsets: &[u64]) -> String {
    let mut parts: Vec<String> = Vec::new();
    // More sends than these in one operation would hide those that matter.
    let sends = micros.iter().filter(|micro| matches!(micro, LogMicro::Send { .. })).count();
    for micro in micros {
        match micro {
            LogMicro::Send { key: to, .. } if to != key => {}
            LogMicro::Send { value, offset: Some(offset), .. } => {
                if sends <= 4 || offsets.contains(&offset.0) {
                    parts.push(format!("send {value} to {key} -> {offset}"));
                }
            }
            LogMicro::Send { value, offset: None, .. } => parts.push(format!("send {value} to {key}")),
            LogMicro::Poll(None) => parts.push("poll".to_owned()),
            LogMicro::Poll(Some(polled)) => {
                let messages: &[(Offset, Scalar)] = polled.get(key).map_or(&[], Vec::as_slice);
                let shown: Vec<String> = messages
                    .iter()
                    .filter(|(Offset(offset), _)| offsets.contains(offset))
                    .map(|(offset, value)| format!("{value}@{offset}"))
                    .collect();
                let more = messages.len() - shown.len();
                parts.push(match (shown.is_empty(), more) {
                    (true, 0) => format!("poll {key} -> nothing"),
                    (true, 1) => format!("poll {key} -> 1 message"),
                    (true, more) => format!("poll {key} -> {more} messages"),
                    (false, 0) => format!("poll {key} -> {}", shown.join(" ")),
                    (false, more) => format!("poll {key} -> {} and {more} more", shown.join(" ")),
                });
            }
        }
    }
    if parts.is_empty() { "nothing here".to_owned() } else { parts.join(", ") }
}
