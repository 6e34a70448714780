//! Messages read from captured packets, of systems whose messages are not recorded.
//!
//! Each packet with data is a message: its type is the request that begins in it where the protocol is known (RESP, HTTP,
//! Kafka's), else its size. That one carries an operation is a guess: it went to the operation's node meanwhile, and of such
//! packets it has the most of the operation's values; its answer is the next packet back along its connection.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use duress_checkers::verdict::{Anomaly, WitnessOperation};
use duress_history::traffic::Content;
use duress_history::traffic::reader::{Fate, Message};
use serde_json::{Value, json};

use super::super::packets::{Packet, Segment};

/// The shortest string that is looked for in data of an unknown protocol.
const STRING_MIN: usize = 2;
/// As many strings of such data are shown.
const STRINGS_MAX: usize = 12;
/// The clocks of history and packets agree to this.
const SLACK_NS: i64 = 20_000;

/// Returns the messages in `packets` that are between `nodes`, or are taken to carry operations of `anomalies`, by time.
#[must_use]
pub fn messages<'a>(
    packets: &[Packet],
    nodes: &[String],
    anomalies: impl Iterator<Item = &'a Anomaly>,
) -> Vec<Message> {
    let is_node = |name: &String| nodes.contains(name);
    let with_data: Vec<(&Packet, &Segment)> = packets
        .iter()
        .filter_map(|packet| Some((packet, packet.segment.as_ref().filter(|of| !of.data.is_empty())?)))
        .collect();
    let between = with_data.iter().filter(|(packet, _)| is_node(&packet.from) && is_node(&packet.to));
    let mut messages: Vec<Message> =
        between.map(|(packet, segment)| message(packet, content(segment))).collect();
    let mut taken = BTreeSet::new();
    for anomaly in anomalies {
        for operation in &anomaly.operations {
            let wanted = values(operation, anomaly);
            let requests = with_data.iter().enumerate().filter(|(at, (packet, segment))| {
                let may_be = is_for(packet, operation) && fits(segment, operation);
                !taken.contains(at) && !is_node(&packet.from) && may_be
            });
            let likely = requests.map(|(at, (packet, segment))| {
                let has = strings(&segment.data).filter(|word| wanted.contains(word)).count();
                (has, Reverse(packet.time), at)
            });
            let Some((.., at)) = likely.filter(|(has, ..)| *has > 0).max() else { continue };
            taken.insert(at);
            let (packet, segment) = with_data[at];
            let process = Some(operation.process);
            let number = Some(at as u64);
            let asks = Content { msg_id: number, ..content(segment) };
            messages.push(Message { process, ..message(packet, asks) });
            let answer = with_data[at + 1..].iter().find(|(other, back)| {
                (&other.from, &other.to) == (&packet.to, &packet.from)
                    && back.ports == (segment.ports.1, segment.ports.0)
            });
            if let Some((packet, segment)) = answer.filter(|(packet, _)| packet.time <= end(operation)) {
                let answers = Content { in_reply_to: number, ..content(segment) };
                messages.push(Message { process, ..message(packet, answers) });
            }
        }
    }
    messages.sort_by_key(Message::time);
    messages
}

fn message(packet: &Packet, content: Content) -> Message {
    Message {
        from: packet.from.clone(),
        to: packet.to.clone(),
        content,
        process: None,
        sent: Some(packet.time),
        arrived: Vec::new(),
        fate: if packet.is_lost() { Fate::Lost } else { Fate::Unrecorded },
    }
}

/// Whether `packet` may be a request of `operation`.
fn is_for(packet: &Packet, operation: &WitnessOperation) -> bool {
    let begin = operation.time.cast_signed().saturating_sub(SLACK_NS);
    operation.node.as_ref().is_some_and(|node| node.as_str() == packet.to)
        && (begin..=end(operation)).contains(&packet.time)
}

/// Whether a request of Kafka's protocol is one that the operation makes. Of other protocols the values tell.
fn fits(segment: &Segment, operation: &WitnessOperation) -> bool {
    let wanted = match operation.action.split(' ').next() {
        Some("send") => "Produce",
        Some("poll") => "Fetch",
        _ => return true,
    };
    kafka(segment).is_none_or(|request| request == wanted)
}

fn end(operation: &WitnessOperation) -> i64 {
    operation.completion_time.map_or(i64::MAX, |end| end.cast_signed().saturating_add(SLACK_NS))
}

/// Returns the words of an operation, and the names of what it is about; of the partition `t0-2` also `t0`.
fn values(operation: &WitnessOperation, anomaly: &Anomaly) -> BTreeSet<String> {
    let objects = anomaly.objects.iter().map(|object| object.name.to_string());
    let text: String = objects.chain([operation.action.clone()]).collect::<Vec<_>>().join(" ");
    let words = strings_of(text.as_bytes(), 1);
    words
        .flat_map(|word| [word.rsplit_once('-').map(|(topic, _)| topic.to_owned()), Some(word)])
        .flatten()
        .collect()
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Returns the strings in `data` of at least `least` characters.
fn strings_of(data: &[u8], least: usize) -> impl Iterator<Item = String> {
    let words = data.split(|byte| !is_of_word(*byte)).filter(move |word| word.len() >= least);
    words.map(|word| String::from_utf8_lossy(word).into_owned())
}

/// Returns the words of a request in a known protocol, or the strings in other data.
fn strings(data: &[u8]) -> Box<dyn Iterator<Item = String> + '_> {
    match words(data) {
        Some(words) => Box::new(words.into_iter()),
        None => Box::new(strings_of(data, STRING_MIN)),
    }
}

fn content(segment: &Segment) -> Content {
    let data = &*segment.data;
    let (kind, body) = if let Some(words) = words(data) {
        let (command, arguments) =
            words.split_first().map(|(first, rest)| (first.clone(), json!(rest))).unwrap_or_default();
        (command, arguments)
    } else if let Some(value) = reply(data) {
        ("reply".to_owned(), json!([value]))
    } else {
        let kind =
            http(data).or_else(|| kafka(segment)).unwrap_or_else(|| format!("{} bytes", segment.length));
        let told: Vec<String> = strings_of(data, STRING_MIN).take(STRINGS_MAX).collect();
        (kind, json!(told))
    };
    let body = if body == json!([]) { String::new() } else { body.to_string() };
    Content { kind, body, bytes: segment.length.into(), ..Content::default() }
}

/// Returns the line that begins `data`, and the rest.
fn line(data: &[u8]) -> Option<(&str, &[u8])> {
    let end = data.windows(2).position(|pair| pair == b"\r\n")?;
    Some((std::str::from_utf8(&data[..end]).ok()?, &data[end + 2..]))
}

/// Returns the words of a RESP command, as many as were captured.
fn words(data: &[u8]) -> Option<Vec<String>> {
    let (first, mut rest) = line(data)?;
    let count: usize = first.strip_prefix('*')?.parse().ok()?;
    let mut words = Vec::new();
    while words.len() < count {
        let Some((length, after)) = line(rest) else { break };
        let length: usize = length.strip_prefix('$')?.parse().ok()?;
        let Some(word) = after.get(..length) else { break };
        words.push(String::from_utf8_lossy(word).into_owned());
        rest = after.get(length + 2..).unwrap_or_default();
    }
    (!words.is_empty()).then_some(words)
}

/// Returns the value of a RESP reply.
fn reply(data: &[u8]) -> Option<Value> {
    let (first, rest) = line(data)?;
    let (kind, text) = first.split_at_checked(1)?;
    match kind {
        "+" | "-" => Some(json!(text)),
        ":" => Some(json!(text.parse::<i64>().ok()?)),
        "$" if text == "-1" => Some(Value::Null),
        "$" => {
            let length: usize = text.parse().ok()?;
            Some(json!(String::from_utf8_lossy(&rest[..length.min(rest.len())])))
        }
        _ => None,
    }
}

/// Returns the method and path of an HTTP request, or the status of an answer.
fn http(data: &[u8]) -> Option<String> {
    let (first, _) = line(data)?;
    if let Some(status) = first.strip_prefix("HTTP/1.1 ") {
        return Some(status.to_owned());
    }
    first.strip_suffix(" HTTP/1.1").map(str::to_owned)
}

/// Returns the name of a request of Kafka's protocol that begins with `segment`.
fn kafka(segment: &Segment) -> Option<String> {
    const REQUESTS: [(u16, &str); 18] = [
        (0, "Produce"),
        (1, "Fetch"),
        (2, "ListOffsets"),
        (3, "Metadata"),
        (8, "OffsetCommit"),
        (9, "OffsetFetch"),
        (10, "FindCoordinator"),
        (11, "JoinGroup"),
        (12, "Heartbeat"),
        (13, "LeaveGroup"),
        (14, "SyncGroup"),
        (18, "ApiVersions"),
        (19, "CreateTopics"),
        (22, "InitProducerId"),
        (24, "AddPartitionsToTxn"),
        (25, "AddOffsetsToTxn"),
        (26, "EndTxn"),
        (28, "TxnOffsetCommit"),
    ];
    /// The newest version of any of them; the longest name of a client.
    const VERSION_MAX: u16 = 20;
    const CLIENT_MAX: u16 = 100;
    let pair = |at: usize| Some(u16::from_be_bytes(segment.data.get(at..at + 2)?.try_into().ok()?));
    let length = u32::from_be_bytes(segment.data.get(..4)?.try_into().ok()?);
    // A corrupted packet may say any length.
    let is_request =
        length.checked_add(4) == Some(segment.length) && pair(6)? <= VERSION_MAX && pair(12)? <= CLIENT_MAX;
    let request = pair(4)?;
    let known = REQUESTS.iter().find(|(key, _)| *key == request).filter(|_| is_request);
    known.map(|(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use duress_checkers::verdict::{AnomalyKind, Object, ObjectKind, Role};
    use duress_history::{NodeId, OpType, Process};

    use super::super::choice::choose;
    use super::*;

    fn packet((from, to): (&str, &str), time: i64, ports: (u16, u16), data: &[u8], fate: &str) -> Packet {
        let segment = Segment { ports, data: data.into(), length: data.len() as u32 };
        Packet {
            time,
            from: from.to_owned(),
            to: to.to_owned(),
            what: String::new(),
            length: 0,
            fate: fate.to_owned(),
            segment: Some(segment),
        }
    }

    fn anomaly(time: u64, action: &str) -> Anomaly {
        let operation = WitnessOperation {
            label: "A".into(),
            index: 0,
            completion_index: None,
            process: Process(5),
            node: Some(NodeId::new("n1")),
            time,
            completion_time: Some(time + 1_000_000),
            action: action.to_owned(),
            role: Role::Write,
            error: None,
            ended: OpType::Ok,
        };
        Anomaly {
            kind: AnomalyKind::StaleRead,
            objects: vec![Object::new(ObjectKind::Key, &"r7".into())],
            start: None,
            summary: String::new(),
            operations: vec![operation],
            relations: Vec::new(),
            contradicts: None,
            steps: Vec::new(),
        }
    }

    #[test]
    fn the_packets_of_an_operation_are_those_with_its_values_at_its_node_meanwhile() {
        let set = |value: &str| {
            format!("*3\r\n$3\r\nSET\r\n$2\r\nr7\r\n${}\r\n{value}\r\n", value.len()).into_bytes()
        };
        let at = |us: i64| 1_000_000 + us * 1000;
        let packets = [
            // Another value, another node, another time.
            packet(("c1", "n1"), at(10), (4000, 6379), &set("52"), ""),
            packet(("c1", "n2"), at(11), (4001, 6379), &set("53"), ""),
            packet(("c2", "n1"), at(20), (4000, 6379), &set("53"), ""),
            packet(("n1", "n2"), at(30), (7379, 9000), b"\0\0\0\x08append:r7=53", "dropped by a cut"),
            packet(("n1", "c1"), at(40), (6379, 4000), b"+OK\r\n", ""),
            packet(("n1", "c2"), at(50), (6379, 4000), b"+OK\r\n", ""),
            packet(("c2", "n1"), at(5000), (4000, 6379), &set("53"), ""),
        ];
        let nodes = ["n1", "n2"].map(str::to_owned);
        let anomaly = anomaly(1_000_000, "write 53");
        let messages = messages(&packets, &nodes, [&anomaly].into_iter());
        let told: Vec<String> = choose(&messages, &anomaly)
            .iter()
            .map(|chosen| {
                let Message { from, to, content, fate, .. } = &messages[chosen.at];
                let label = chosen.carries.map_or("-", |of| of.label.as_str());
                format!("{label} {from} {to} {} {} {fate:?}", content.kind, content.body)
            })
            .collect();
        assert_eq!(
            told,
            [
                "A c2 n1 SET [\"r7\",\"53\"] Unrecorded",
                "- n1 n2 16 bytes [\"append\",\"r7\",\"53\"] Lost",
                "A n1 c2 reply [\"OK\"] Unrecorded",
            ]
        );
    }

    #[test]
    fn requests_of_known_protocols_have_names() {
        let kind = |data: &[u8]| {
            content(&Segment { ports: (1, 2), data: data.into(), length: data.len() as u32 }).kind
        };
        assert_eq!(kind(b"PUT /keys/r7 HTTP/1.1\r\nhost: n1\r\n\r\n"), "PUT /keys/r7");
        assert_eq!(kind(b"HTTP/1.1 409 Conflict\r\n\r\n"), "409 Conflict");
        assert_eq!(kind(b"\0\0\0\x0c\0\0\0\x09\0\0\0\x01\0\x02me"), "Produce");
        assert_eq!(kind(b"\0\0\0\x0d\0\0\0\x09\0\0\0\x01\0\x02me"), "16 bytes");
        assert_eq!(kind(b"$2\r\n53\r\n"), "reply");
        // The capture cut these off, or a fault corrupted them.
        assert_eq!(kind(b"*3\r\n$3\r\nSET\r\n$90\r\nr7"), "SET");
        assert_eq!(kind(b"*99999999999999999999\r\n"), "23 bytes");
        assert_eq!(kind(b"$99\r\n"), "reply");
        assert_eq!(kind(b"\xff"), "1 bytes");
        assert_eq!(kind(&[0xff; 14]), "14 bytes");
        assert_eq!(kind(b"*1\r\n$18446744073709551615\r\nSET\r\n"), "32 bytes");
    }
}
