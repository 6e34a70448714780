//! Messages: clients send them to one partition.

use std::fmt;

use async_trait::async_trait;
use duress_arena::disk::crash::Requests;
use duress_history::Scalar;
use duress_history::log::{Log, LogMicro, Start};
use duress_targets::{Client, Keeps, Outcome, Setup, Topic};

use super::data::Data;
use super::trial::Finding;

const TOPIC: &str = "messages";
/// The length of every other message, in bytes: more than a block of the disk, so that one message can be torn, and a
/// later one whole.
const LONG: usize = 5000;
/// The number of polls in a row that may return nothing before the end of the partition.
const EMPTY_POLLS_MAX: u32 = 20;

/// Returns the topic, of one partition.
pub(super) fn setup() -> Setup {
    let topic = Topic { name: TOPIC.to_owned(), partitions: 1, keeps: Keeps::Everything };
    Setup { topics: vec![topic] }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The client that sent it, from 0.
    pub client: usize,
    /// Its number among the client's messages, from 1.
    pub number: u64,
}

impl Message {
    /// Returns its value, which begins with its client and its number.
    fn value(self) -> Scalar {
        let Self { client, number } = self;
        let length = if number % 2 == 0 { LONG } else { 0 };
        Scalar::from(format!("{:<length$}", format!("{client}-{number} ")).as_str())
    }

    /// Returns the message with `value`; `None` if no client sends such a message.
    fn of(value: &Scalar) -> Option<Self> {
        let text = value.to_string();
        let (client, number) = text.trim().split_once('-')?;
        let message = Self { client: client.parse().ok()?, number: number.parse().ok()? };
        (message.value() == *value).then_some(message)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of client {}", self.number, self.client + 1)
    }
}

/// A client of the partition.
pub(super) struct Messages {
    client: Box<dyn Client<Log>>,
    number: usize,
    partition: Scalar,
}

impl Messages {
    /// Returns client `number`, from 0.
    pub(super) fn new(client: Box<dyn Client<Log>>, number: usize) -> Self {
        Self { client, number, partition: Scalar::from(format!("{TOPIC}-0").as_str()) }
    }

    async fn request(&mut self, op: Log) -> Result<Log, String> {
        match self.client.invoke(&op).await {
            Outcome::Ok(answer) => Ok(answer),
            Outcome::Fail(cause) | Outcome::Info(cause) => Err(cause.to_string()),
        }
    }

    /// Reads the partition from its beginning to its end: offsets and values.
    async fn read(&mut self) -> Result<Vec<(u64, Scalar)>, String> {
        let Log::EndOffsets(Some(ends)) = self.request(Log::EndOffsets(None)).await? else {
            return Err("a request for the end of the partition was answered otherwise".to_owned());
        };
        let Some(end) = ends.get(&self.partition).copied() else {
            return Err(format!("{} is not known", self.partition));
        };
        let keys = vec![self.partition.clone()];
        self.request(Log::Assign { keys, from: Start::Beginning }).await?;
        let (mut messages, mut next, mut empty) = (Vec::new(), 0, 0);
        while next < end.0 {
            let answer = self.request(Log::Poll(vec![LogMicro::Poll(None)])).await?;
            let polled = answer.micros().iter().find_map(|micro| match micro {
                LogMicro::Poll(Some(polled)) => polled.get(&self.partition),
                _ => None,
            });
            let polled = polled.map_or(&[][..], Vec::as_slice);
            empty = if polled.is_empty() { empty + 1 } else { 0 };
            if empty > EMPTY_POLLS_MAX {
                return Err(format!(
                    "{} can be read up to offset {next}, and its end is {end}",
                    self.partition
                ));
            }
            for (offset, value) in polled {
                next = next.max(offset.0 + 1);
                messages.push((offset.0, value.clone()));
            }
        }
        Ok(messages)
    }
}

#[async_trait]
impl Data for Messages {
    async fn write(&mut self, number: u64) -> Result<(), String> {
        let value = Message { client: self.number, number }.value();
        let send = LogMicro::Send { key: self.partition.clone(), value, offset: None };
        self.request(Log::Send(vec![send])).await.map(drop)
    }

    async fn compare(&mut self, requests: &[Requests]) -> Result<Option<Finding>, String> {
        let messages = self.read().await?;
        Ok(judge(&self.partition, &messages, requests))
    }
}

/// Returns the first error of `messages`, which are offsets and values: of each client, the messages that were
/// acknowledged must be there, and those that were begun may be, in order and once; offsets have no gap.
fn judge(partition: &Scalar, messages: &[(u64, Scalar)], requests: &[Requests]) -> Option<Finding> {
    let partition = || partition.clone();
    let mut before = vec![0; requests.len()];
    let mut next = None;
    for (offset, value) in messages {
        let sent = Message::of(value).filter(|message| {
            requests.get(message.client).is_some_and(|client| (1..=client.begun).contains(&message.number))
        });
        let Some(message) = sent else {
            return Some(Finding::NeverWritten { key: partition(), read: value.clone() });
        };
        if let Some(next) = next.filter(|next| next != offset) {
            return Some(Finding::Gap { partition: partition(), from: next, to: *offset });
        }
        next = Some(offset + 1);
        let last = &mut before[message.client];
        if message.number <= *last {
            return Some(Finding::Misplaced { partition: partition(), message, after: *last });
        }
        // A gap that ends behind the last acknowledged message is found below.
        if message.number > *last + 1 && *last < requests[message.client].acknowledged {
            let message = Message { number: *last + 1, ..message };
            return Some(Finding::Missing { partition: partition(), message });
        }
        *last = message.number;
    }
    let missing = |(client, last): (usize, &u64)| {
        (*last < requests[client].acknowledged).then_some(Message { client, number: last + 1 })
    };
    let message = before.iter().enumerate().find_map(missing)?;
    Some(Finding::Missing { partition: partition(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_every_acknowledged_message_in_order_and_once() {
        let partition = Scalar::from("messages-0");
        let judged_of = |messages: &[(u64, usize, u64)], requests: &[Requests]| {
            let value = |(offset, client, number)| (offset, Message { client, number }.value());
            let messages: Vec<(u64, Scalar)> = messages.iter().copied().map(value).collect();
            judge(&partition, &messages, requests)
        };
        let judged = |numbers: &[u64], acknowledged, begun| {
            let messages: Vec<_> = (0..).zip(numbers).map(|(offset, number)| (offset, 0, *number)).collect();
            judged_of(&messages, &[Requests { begun, acknowledged }])
        };
        let missing = |client, number| {
            Some(Finding::Missing { partition: partition.clone(), message: Message { client, number } })
        };
        assert_eq!(judged(&[1, 2, 3], 3, 3), None);
        assert_eq!(judged(&[1, 2, 3], 2, 3), None);
        assert_eq!(judged(&[], 0, 1), None);
        assert_eq!(judged(&[1], 2, 3), missing(0, 2));
        assert_eq!(judged(&[1, 3], 2, 3), missing(0, 2));
        assert_eq!(judged(&[2], 2, 2), missing(0, 1));
        let misplaced = |number, after| {
            let message = Message { client: 0, number };
            Some(Finding::Misplaced { partition: partition.clone(), message, after })
        };
        assert_eq!(judged(&[1, 2, 2], 2, 2), misplaced(2, 2));
        assert_eq!(judged(&[1, 2, 1], 2, 2), misplaced(1, 2));
        let read = Message { client: 0, number: 3 }.value();
        assert_eq!(judged(&[1, 2, 3], 2, 2), Some(Finding::NeverWritten { key: partition.clone(), read }));
        let two = [Requests { begun: 2, acknowledged: 1 }; 2];
        assert_eq!(judged_of(&[(0, 1, 1), (1, 0, 1), (2, 1, 2)], &two), None);
        assert_eq!(judged_of(&[(0, 0, 1), (1, 0, 2)], &two), missing(1, 1));
        let gap = Finding::Gap { partition: partition.clone(), from: 2, to: 3 };
        assert_eq!(judged_of(&[(0, 1, 1), (1, 0, 1), (3, 1, 2)], &two), Some(gap));
    }

    #[test]
    fn a_value_tells_its_message() {
        for number in [1, 2, 30] {
            let message = Message { client: 2, number };
            assert_eq!(Message::of(&message.value()), Some(message));
        }
        assert!(Message { client: 0, number: 2 }.value().to_string().len() > 4096);
        for value in [Scalar::Int(1), Scalar::from("1-2"), Scalar::from("x")] {
            assert_eq!(Message::of(&value), None, "{value}");
        }
    }
}
