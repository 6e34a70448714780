//! Registers: a few keys are written in turn, so that each is overwritten.

use async_trait::async_trait;
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use duress_targets::{Client, Outcome};

use super::data::Data;
use super::trial::Finding;

/// The number of keys.
const KEYS: u64 = 7;

/// A client of registers.
pub(super) struct Registers {
    client: Box<dyn Client<Register>>,
}

impl Registers {
    pub(super) fn new(client: Box<dyn Client<Register>>) -> Self {
        Self { client }
    }

    async fn request(&mut self, key: Scalar, op: RegisterOp) -> Result<RegisterOp, String> {
        match self.client.invoke(&Register { key, op }).await {
            Outcome::Ok(answer) => Ok(answer.op),
            Outcome::Fail(cause) | Outcome::Info(cause) => Err(cause.to_string()),
        }
    }
}

#[async_trait]
impl Data for Registers {
    async fn write(&mut self, number: u64) -> Result<(), String> {
        self.request(key_of(number), RegisterOp::Write(value_of(number))).await.map(drop)
    }

    async fn compare(&mut self, acknowledged: u64, begun: u64) -> Result<Option<Finding>, String> {
        for (key, last) in last_writes(acknowledged) {
            let RegisterOp::Read(read) = self.request(key.clone(), RegisterOp::Read(None)).await? else {
                return Err("a read was answered as a write".to_owned());
            };
            if let Some(finding) = judge(key, last, begun, read) {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }
}

/// Returns the key of write `number`.
fn key_of(number: u64) -> Scalar {
    Scalar::from(format!("k{}", number % KEYS).as_str())
}

/// Returns the value of write `number`.
fn value_of(number: u64) -> Scalar {
    Scalar::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Returns every key, with the last write to it among the first `count`, if there is one.
fn last_writes(count: u64) -> impl Iterator<Item = (Scalar, Option<u64>)> {
    (1..=KEYS).map(move |first| {
        let last = (first..=count).step_by(usize::try_from(KEYS).unwrap_or(1)).last();
        (key_of(first), last)
    })
}

/// Returns the error of `read`, if there is one: `acknowledged` is the last write to `key` that was acknowledged, and
/// `begun` the last write to any key that was begun.
fn judge(key: Scalar, acknowledged: Option<u64>, begun: u64, read: Option<Scalar>) -> Option<Finding> {
    let from = acknowledged.unwrap_or(1);
    let is_allowed = match &read {
        None => acknowledged.is_none(),
        Some(read) => (from..=begun).any(|number| key_of(number) == key && value_of(number) == *read),
    };
    if is_allowed {
        return None;
    }
    let was_written =
        |read: &Scalar| (1..from).any(|number| key_of(number) == key && value_of(number) == *read);
    Some(match (acknowledged, read) {
        (_, Some(read)) if !was_written(&read) => Finding::NeverWritten { key, read },
        (Some(acknowledged), read) => Finding::Lost { key, acknowledged, read },
        (None, Some(read)) => Finding::NeverWritten { key, read },
        (None, None) => unreachable!("nothing was acknowledged, and nothing was read"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_its_last_acknowledged_write_or_one_under_way() {
        let key = || key_of(2);
        let judged =
            |acknowledged, begun, read: Option<i64>| judge(key(), acknowledged, begun, read.map(Scalar::Int));
        assert_eq!(judged(Some(2), 9, Some(2)), None);
        assert_eq!(judged(Some(2), 9, Some(9)), None);
        assert_eq!(judged(None, 2, None), None);
        assert_eq!(judged(None, 2, Some(2)), None);
        assert_eq!(judged(Some(2), 2, None), Some(Finding::Lost { key: key(), acknowledged: 2, read: None }));
        let read = Some(Scalar::Int(2));
        assert_eq!(judged(Some(9), 9, Some(2)), Some(Finding::Lost { key: key(), acknowledged: 9, read }));
        for (acknowledged, begun, read) in [(Some(2), 8, 9), (None, 1, 2), (Some(2), 9, 3)] {
            let finding = judged(acknowledged, begun, Some(read));
            assert_eq!(finding, Some(Finding::NeverWritten { key: key(), read: Scalar::Int(read) }));
        }
    }

    #[test]
    fn the_last_write_to_each_key() {
        let last: Vec<Option<u64>> = last_writes(9).map(|(_, last)| last).collect();
        assert_eq!(last, [Some(8), Some(9), Some(3), Some(4), Some(5), Some(6), Some(7)]);
        assert_eq!(last_writes(0).filter(|(_, last)| last.is_some()).count(), 0);
        for (key, last) in last_writes(20) {
            assert_eq!(key, key_of(last.unwrap()));
        }
    }
}
