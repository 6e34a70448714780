//! The messages that matter to an anomaly: those that carry its operations, and those behind them.
//!
//! A client's message is known to carry an operation: the client's record names its process, which has one operation at a time.
//! For a message between nodes, or of a service, that is a guess: it was on its way meanwhile, and its body has values that the
//! operations' messages have. Messages that did not arrive come first, then those with more such values, those between nodes
//! that the operations were sent to, and those that the node dealt with while it worked on an operation.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use duress_checkers::verdict::{Anomaly, ObjectKind, WitnessOperation};
use duress_history::traffic::reader::{Fate, Message};

/// How many messages a diagram has at most.
pub const CHOSEN_MAX: usize = 12;
/// As many of these are kept for messages between nodes, if there are so many.
const BETWEEN_NODES: usize = 4;
/// Of so many messages or more, a value that is in a third of them, such as a client's name, says nothing either, unless
/// there is no other.
const MANY: usize = 60;
/// A body with more values is about everything, and says nothing about what an operation is about.
const VALUES_MAX: usize = 8;
/// The clocks of history and messages are compared through a third, so exactly.
const SLACK_NS: i64 = 20_000;

/// A message of a diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// Its place among all messages.
    pub at: usize,
    /// The operation that it carries.
    pub carries: Option<&'a WitnessOperation>,
}

/// Returns, for each of `messages`, which are in the order of time, the operation of `anomaly` that it carries.
#[must_use]
pub fn carried<'a>(messages: &[Message], anomaly: &'a Anomaly) -> Vec<Option<&'a WitnessOperation>> {
    let mut requests: HashMap<(&str, u64), &WitnessOperation> = HashMap::new();
    let mut carried = Vec::with_capacity(messages.len());
    for message in messages {
        let found = match (message.content.in_reply_to, message.content.msg_id) {
            (Some(asked), _) => requests.get(&(message.to.as_str(), asked)).copied(),
            (None, number) => {
                let asks = asks(message, anomaly);
                if let Some((number, operation)) = number.zip(asks) {
                    requests.insert((message.from.as_str(), number), operation);
                }
                asks
            }
        };
        carried.push(found);
    }
    carried
}

/// Returns the operation that a client asks for with `message`: the one that its process was in as it was sent.
fn asks<'a>(message: &Message, anomaly: &'a Anomaly) -> Option<&'a WitnessOperation> {
    let (process, sent) = (message.process?, message.sent?);
    let begun = anomaly.operations.iter().filter(|of| {
        let end = of.completion_time.map_or(i64::MAX, |end| end.cast_signed().saturating_add(SLACK_NS));
        of.process == process && (of.time.cast_signed().saturating_sub(SLACK_NS)..=end).contains(&sent)
    });
    begun.max_by_key(|of| of.time)
}

/// Returns the messages that matter to `anomaly`, at most [`CHOSEN_MAX`], in the order of `messages`, which is that of time.
#[must_use]
pub fn choose<'a>(messages: &[Message], anomaly: &'a Anomaly) -> Vec<Chosen<'a>> {
    let carried = carried(messages, anomaly);
    let mut of_operations: Vec<Chosen<'a>> = (0..messages.len())
        .filter_map(|at| carried[at].map(|operation| Chosen { at, carries: Some(operation) }))
        .collect();
    if of_operations.is_empty() {
        return Vec::new();
    }
    let mut behind = Behind::new(messages, anomaly, &of_operations).ranked(messages);
    let room = CHOSEN_MAX - behind.len().min(BETWEEN_NODES);
    if of_operations.len() > room {
        let contradicts =
            |of: &Chosen<'_>| of.carries.map(|operation| &operation.label) == anomaly.contradicts.as_ref();
        of_operations.sort_by_key(|of| !contradicts(of));
        of_operations.truncate(room);
    }
    behind.truncate(CHOSEN_MAX - of_operations.len());
    let mut chosen = of_operations;
    chosen.extend(behind.into_iter().map(|at| Chosen { at, carries: None }));
    chosen.sort_by_key(|chosen| chosen.at);
    chosen
}

/// The measures of messages behind the operations.
struct Behind<'a> {
    /// The values in the operations' messages.
    values: BTreeSet<String>,
    /// The nodes that the operations were sent to.
    nodes: BTreeSet<&'a str>,
    /// From the first invocation to the last end.
    from: i64,
    to: i64,
    /// How long each node worked on an operation.
    at_work: Vec<(&'a str, i64, i64)>,
}

impl<'a> Behind<'a> {
    fn new(messages: &'a [Message], anomaly: &Anomaly, of_operations: &[Chosen<'_>]) -> Self {
        let mut values: BTreeSet<String> = BTreeSet::new();
        let mut nodes = BTreeSet::new();
        let mut at_work = Vec::new();
        for chosen in of_operations {
            let message = &messages[chosen.at];
            let of_message = scalars(&message.content.body);
            // The words of an error are those of any other.
            if of_message.len() <= VALUES_MAX && message.content.kind != "error" {
                values.extend(of_message.into_iter().map(str::to_owned));
            }
            if message.content.in_reply_to.is_some() {
                nodes.insert(message.from.as_str());
                continue;
            }
            nodes.insert(message.to.as_str());
            let answered = of_operations.iter().map(|other| &messages[other.at]).find(|other| {
                other.to == message.from && other.content.in_reply_to == message.content.msg_id
            });
            let (from, to) = (message.time(), answered.map_or(i64::MAX, Message::time));
            at_work.push((message.to.as_str(), from, to));
        }
        let narrow = [ObjectKind::Element, ObjectKind::Message];
        let objects = anomaly.objects.iter().filter(|object| narrow.contains(&object.kind));
        values.extend(objects.map(|object| object.name.to_string()));
        let between: Vec<_> =
            messages.iter().filter(|of| of.process.is_none()).map(|of| scalars(&of.content.body)).collect();
        let found = |value: &String| between.iter().filter(|found| found.contains(value.as_str())).count();
        let is_common = |value: &String| 3 * found(value) >= between.len();
        if between.len() >= MANY && values.iter().any(|value| found(value) > 0 && !is_common(value)) {
            values.retain(|value| !is_common(value));
        }
        let ends = anomaly.operations.iter().map(|of| of.completion_time.unwrap_or(of.time).cast_signed());
        let begins = anomaly.operations.iter().map(|of| of.time.cast_signed());
        let (from, to) = (begins.min().unwrap_or_default(), ends.max().unwrap_or_default());
        Self { values, nodes, from, to, at_work }
    }

    /// Returns the places of the messages that no client sent or gets, those that matter most first.
    fn ranked(&self, messages: &[Message]) -> Vec<usize> {
        // By sender, receiver and number: how many of the values each request has.
        let mut requests: HashMap<(&str, &str, u64), usize> = HashMap::new();
        let mut ranked: Vec<(u32, usize, usize)> = Vec::new();
        for (at, message) in messages.iter().enumerate().filter(|(_, message)| message.process.is_none()) {
            let mut shared = self.shared(message);
            let (from, to) = (message.from.as_str(), message.to.as_str());
            if let Some(number) = message.content.msg_id {
                requests.insert((from, to, number), shared);
            }
            // An answer is about what its request is about.
            if let Some(asked) =
                message.content.in_reply_to.and_then(|number| requests.get(&(to, from, number)))
            {
                shared = if *asked == 0 { 0 } else { shared + asked };
            }
            let is_meanwhile = (self.from..=self.to).contains(&message.time());
            if is_meanwhile && let Some(weight) = self.weight(message, shared) {
                ranked.push((weight, at, shared));
            }
        }
        // Those that were lost for another reason are told only where there is nothing better.
        if ranked.iter().any(|(.., shared)| *shared > 0) {
            ranked.retain(|(.., shared)| *shared > 0);
        }
        ranked.sort_by_key(|(weight, at, _)| (Reverse(*weight), *at));
        ranked.into_iter().map(|(_, at, _)| at).collect()
    }

    /// Returns how many of the operations' values are in a message.
    fn shared(&self, message: &Message) -> usize {
        scalars(&message.content.body).iter().filter(|value| self.values.contains(**value)).count()
    }

    /// Returns how much a message with so many of the values matters; none at all if it has nothing to do with the operations.
    fn weight(&self, message: &Message, shared: usize) -> Option<u32> {
        let is_lost = message.fate == Fate::Lost;
        let ends = [&message.from, &message.to].map(|end| self.nodes.contains(end.as_str()));
        let in_question = ends.iter().filter(|is| **is).count();
        if shared == 0 && !(is_lost && in_question == 2) {
            return None;
        }
        let time = message.time();
        let during = self.at_work.iter().any(|(node, from, to)| {
            (message.from == *node || message.to == *node) && (*from..=*to).contains(&time)
        });
        Some(4 * shared.min(2) as u32 + 3 * u32::from(is_lost) + in_question as u32 + 2 * u32::from(during))
    }
}

/// Returns the numbers and strings in a JSON text, which may be cut, apart from the names of its own fields.
fn scalars(body: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let (mut depth, mut at) = (0_u32, 0);
    let bytes = body.as_bytes();
    while at < bytes.len() {
        let begin = at;
        at += 1;
        match bytes[begin] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let end = at.min(bytes.len());
                at = end + 1;
                let names_a_field = depth == 1 && bytes.get(at) == Some(&b':');
                if !names_a_field {
                    found.extend(body.get(begin + 1..end));
                }
            }
            b'-' | b'0'..=b'9' => {
                while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
                {
                    at += 1;
                }
                found.insert(&body[begin..at]);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use duress_checkers::verdict::{AnomalyKind, Role};
    use duress_history::traffic::Content;
    use duress_history::{NodeId, OpType, Process};

    use super::*;

    fn message((from, to): (&str, &str), time: i64, kind: &str, body: &str) -> Message {
        let content = Content { kind: kind.to_owned(), body: body.to_owned(), ..Content::default() };
        Message {
            from: from.to_owned(),
            to: to.to_owned(),
            content,
            process: None,
            sent: Some(time),
            arrived: vec![time + 50_000],
            fate: Fate::Arrived,
        }
    }

    /// A client's request and its answer.
    fn asked(process: u64, node: &str, time: i64, kind: &str, [body, answer]: [&str; 2]) -> [Message; 2] {
        let client = format!("c{process}");
        let mut request = message((&client, node), time, kind, body);
        request.content.msg_id = Some(time.cast_unsigned());
        let mut reply = message((node, &client), time + 400_000, &format!("{kind}_ok"), answer);
        reply.content.in_reply_to = Some(time.cast_unsigned());
        [request, reply].map(|message| Message { process: Some(Process(process)), ..message })
    }

    fn operation(label: &str, process: u64, node: &str, time: u64) -> WitnessOperation {
        WitnessOperation {
            label: label.into(),
            index: 0,
            completion_index: None,
            process: Process(process),
            node: Some(NodeId::new(node)),
            time,
            completion_time: Some(time + 500_000),
            action: String::new(),
            role: Role::Part,
            error: None,
            ended: OpType::Ok,
        }
    }

    fn anomaly(operations: Vec<WitnessOperation>) -> Anomaly {
        Anomaly {
            kind: AnomalyKind::StaleRead,
            objects: Vec::new(),
            start: None,
            summary: String::new(),
            contradicts: operations.last().map(|operation| operation.label.clone()),
            operations,
            relations: Vec::new(),
            steps: Vec::new(),
        }
    }

    const MS: i64 = 1_000_000;

    /// A write through n1 of which n2 did not hear, and a read through n2; and what else was sent.
    fn scene() -> (Vec<Message>, Anomaly) {
        let mut messages = Vec::new();
        messages.extend(asked(3, "n1", 10 * MS + 1000, "write", ["{\"key\":12,\"value\":53}", "{}"]));
        messages.extend(asked(4, "n2", 20 * MS + 1000, "read", ["{\"key\":12}", "{\"value\":50}"]));
        // The same client and key, but another operation.
        messages.extend(asked(3, "n1", 12 * MS, "read", ["{\"key\":12}", "{\"value\":53}"]));
        messages.push(Message {
            arrived: Vec::new(),
            fate: Fate::Lost,
            ..message(("n1", "n2"), 10 * MS + 100_000, "replicate", "{\"entry\":[12,53]}")
        });
        messages.push(message(("n1", "n3"), 10 * MS + 110_000, "replicate", "{\"entry\":[12,53]}"));
        for at in 0..20 {
            messages.push(message(("n3", "n2"), 11 * MS + at, "heartbeat", "{\"term\":5}"));
            let beat = message(("n1", "n2"), 11 * MS + at, "heartbeat", "{\"term\":5}");
            messages.push(Message { fate: Fate::Lost, ..beat });
        }
        // An answer that happens to have the value of another key, and its request.
        let number = |message: Message, msg_id, in_reply_to| {
            let content = Content { msg_id, in_reply_to, ..message.content.clone() };
            Message { content, ..message }
        };
        messages.push(number(message(("n1", "n3"), 10 * MS + 120_000, "ask", "{\"key\":1}"), Some(4), None));
        messages.push(number(
            message(("n3", "n1"), 10 * MS + 130_000, "tell", "{\"value\":53}"),
            None,
            Some(4),
        ));
        // The same value, after everything.
        messages.push(message(("n1", "n2"), 30 * MS, "replicate", "{\"entry\":[12,53]}"));
        messages.sort_by_key(Message::time);
        let operations = vec![operation("A", 3, "n1", 10_000_000), operation("B", 4, "n2", 20_000_000)];
        (messages, anomaly(operations))
    }

    fn told(messages: &[Message], chosen: &[Chosen<'_>]) -> Vec<String> {
        let one = |of: &Chosen<'_>| {
            let Message { from, to, content, .. } = &messages[of.at];
            let label = of.carries.map(|operation| operation.label.as_str()).unwrap_or("-");
            format!("{label} {from} {to} {}", content.kind)
        };
        chosen.iter().map(one).collect()
    }

    #[test]
    fn operations_are_carried_and_values_are_followed() {
        let (messages, anomaly) = scene();
        let chosen = choose(&messages, &anomaly);
        assert_eq!(
            told(&messages, &chosen),
            [
                "A c3 n1 write",
                "- n1 n2 replicate",
                "- n1 n3 replicate",
                "A n1 c3 write_ok",
                "B c4 n2 read",
                "B n2 c4 read_ok",
            ]
        );
    }

    #[test]
    fn a_value_that_every_message_has_says_nothing() {
        let (mut messages, anomaly) = scene();
        for at in 0..100 {
            messages.push(message(("n1", "n2"), 10 * MS + 50_000 + at, "ask", "{\"key\":12}"));
        }
        messages.sort_by_key(Message::time);
        let told = told(&messages, &choose(&messages, &anomaly));
        assert_eq!(told.iter().filter(|told| told.ends_with("replicate")).count(), 2, "{told:?}");
        assert!(!told.iter().any(|told| told.ends_with("ask")), "{told:?}");
    }

    #[test]
    fn what_was_lost_between_the_nodes_is_told_where_nothing_has_the_values() {
        let (mut messages, anomaly) = scene();
        messages.retain(|message| message.content.kind != "replicate");
        let told = told(&messages, &choose(&messages, &anomaly));
        assert_eq!(told.iter().filter(|told| *told == "- n1 n2 heartbeat").count(), 8, "{told:?}");
        assert_eq!(told.len(), CHOSEN_MAX);
    }

    #[test]
    fn what_was_lost_comes_first_where_there_is_not_room_for_all() {
        let (mut messages, anomaly) = scene();
        for at in 0..50 {
            let time = 10 * MS + 50_000 + at;
            messages.push(message(("n1", "n2"), time, "gossip", "{\"entry\":[12,53]}"));
        }
        messages.sort_by_key(Message::time);
        let chosen = choose(&messages, &anomaly);
        assert_eq!(chosen.len(), CHOSEN_MAX);
        let told = told(&messages, &chosen);
        assert!(told.contains(&"- n1 n2 replicate".to_owned()), "{told:?}");
        assert_eq!(told.iter().filter(|message| message.contains("gossip")).count(), 7, "{told:?}");
    }

    #[test]
    fn many_operations_leave_room_and_keep_the_contradicting_one() {
        let (mut messages, _) = scene();
        let mut operations = Vec::new();
        for process in 10..30 {
            let time = 10 * MS + i64::try_from(process).unwrap() * 1_000;
            messages.extend(asked(process, "n1", time, "write", ["{\"key\":12,\"value\":53}", "{}"]));
            operations.push(operation(&format!("A{process}"), process, "n1", time.cast_unsigned()));
        }
        messages.sort_by_key(Message::time);
        let anomaly = anomaly(operations);
        let chosen = choose(&messages, &anomaly);
        let told = told(&messages, &chosen);
        assert_eq!(chosen.len(), CHOSEN_MAX);
        assert_eq!(told.iter().filter(|message| message.starts_with("- ")).count(), 2, "{told:?}");
        assert_eq!(told.iter().filter(|message| message.starts_with("A29 ")).count(), 2, "{told:?}");
    }

    #[test]
    fn a_message_that_no_operation_sent_is_not_its() {
        let (messages, anomaly) = scene();
        let later = Anomaly { operations: vec![operation("A", 3, "n1", 40_000_000)], ..anomaly };
        assert!(choose(&messages, &later).is_empty());
    }

    #[test]
    fn values_are_found_in_bodies_that_may_be_cut() {
        let of = |body| scalars(body).into_iter().collect::<Vec<_>>();
        assert_eq!(of(r#"{"key":12,"value":"a\"b","of":{"k1":-5}}"#), ["-5", "12", "a\\\"b", "k1"]);
        assert_eq!(of(r#"{"elements":[1,2,"x"#), ["1", "2", "x"]);
        assert_eq!(of(r#"{"elements":["x\"#), ["x\\"]);
    }
}
