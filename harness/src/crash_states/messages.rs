//! Messages: they are sent to one partition, one after the other.

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::log::{Log, LogMicro, Start};
use duress_targets::{Client, Keeps, Outcome, Setup, Topic};

use super::data::Data;
use super::trial::Finding;

const TOPIC: &str = "messages";
/// The number of polls in a row that may return nothing before the end of the partition.
const EMPTY_POLLS_MAX: u32 = 20;

/// Returns the topic, of one partition.
pub(super) fn setup() -> Setup {
    let topic = Topic { name: TOPIC.to_owned(), partitions: 1, keeps: Keeps::Everything };
    Setup { topics: vec![topic] }
}

/// A client of the partition.
pub(super) struct Messages {
    client: Box<dyn Client<Log>>,
    partition: Scalar,
}

impl Messages {
    pub(super) fn new(client: Box<dyn Client<Log>>) -> Self {
        Self { client, partition: Scalar::from(format!("{TOPIC}-0").as_str()) }
    }

    async fn request(&mut self, op: Log) -> Result<Log, String> {
        match self.client.invoke(&op).await {
            Outcome::Ok(answer) => Ok(answer),
            Outcome::Fail(cause) | Outcome::Info(cause) => Err(cause.to_string()),
        }
    }

    /// Reads the partition from its beginning to its end.
    async fn read(&mut self) -> Result<Vec<Scalar>, String> {
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
                messages.push(value.clone());
            }
        }
        Ok(messages)
    }
}

#[async_trait]
impl Data for Messages {
    async fn write(&mut self, number: u64) -> Result<(), String> {
        let value = Scalar::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let send = LogMicro::Send { key: self.partition.clone(), value, offset: None };
        self.request(Log::Send(vec![send])).await.map(drop)
    }

    async fn compare(&mut self, acknowledged: u64, begun: u64) -> Result<Option<Finding>, String> {
        let messages = self.read().await?;
        Ok(judge(&self.partition, &messages, acknowledged, begun))
    }
}

/// Returns the first error of `messages`: the messages up to `acknowledged` must be there, those up to `begun` may be, in
/// order and once.
fn judge(partition: &Scalar, messages: &[Scalar], acknowledged: u64, begun: u64) -> Option<Finding> {
    let mut before = 0;
    for message in messages {
        let number = match message {
            Scalar::Int(number) => u64::try_from(*number).ok().filter(|number| (1..=begun).contains(number)),
            _ => None,
        };
        let Some(number) = number else {
            return Some(Finding::NeverWritten { key: partition.clone(), read: message.clone() });
        };
        if number <= before {
            return Some(Finding::Misplaced { partition: partition.clone(), message: number, after: before });
        }
        // A gap that ends behind the last acknowledged message is found below.
        if number > before + 1 && before < acknowledged {
            return Some(Finding::Missing { partition: partition.clone(), acknowledged: before + 1 });
        }
        before = number;
    }
    (before < acknowledged)
        .then(|| Finding::Missing { partition: partition.clone(), acknowledged: before + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_every_acknowledged_message_in_order_and_once() {
        let partition = Scalar::from("messages-0");
        let judged = |messages: &[i64], acknowledged, begun| {
            let messages: Vec<Scalar> = messages.iter().map(|number| Scalar::Int(*number)).collect();
            judge(&partition, &messages, acknowledged, begun)
        };
        let missing = |acknowledged| Some(Finding::Missing { partition: partition.clone(), acknowledged });
        assert_eq!(judged(&[1, 2, 3], 3, 3), None);
        assert_eq!(judged(&[1, 2, 3], 2, 3), None);
        assert_eq!(judged(&[], 0, 1), None);
        assert_eq!(judged(&[1], 2, 3), missing(2));
        assert_eq!(judged(&[1, 3], 2, 3), missing(2));
        assert_eq!(judged(&[2], 2, 2), missing(1));
        let misplaced =
            |message, after| Some(Finding::Misplaced { partition: partition.clone(), message, after });
        assert_eq!(judged(&[1, 2, 2], 2, 2), misplaced(2, 2));
        assert_eq!(judged(&[1, 2, 1], 2, 2), misplaced(1, 2));
        let never = Finding::NeverWritten { key: partition.clone(), read: Scalar::Int(3) };
        assert_eq!(judged(&[1, 2, 3], 2, 2), Some(never));
    }
}
