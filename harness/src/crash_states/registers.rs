//! Registers: each client writes a few keys of its own in turn, so that each is overwritten.

use async_trait::async_trait;
use duress_arena::disk::crash::Requests;
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use duress_targets::{Client, Outcome};

use super::data::Data;
use super::trial::Finding;

/// The number of keys of each client.
const KEYS: u64 = 7;

/// A client of registers.
pub(super) struct Registers {
    client: Box<dyn Client<Register>>,
    number: usize,
}

impl Registers {
    /// Returns client `number`, from 0.
    pub(super) fn new(client: Box<dyn Client<Register>>, number: usize) -> Self {
        Self { client, number }
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
        self.request(key_of(self.number, number), RegisterOp::Write(value_of(number))).await.map(drop)
    }

    async fn compare(&mut self, requests: &[Requests]) -> Result<Option<Finding>, String> {
        for (client, Requests { begun, acknowledged }) in requests.iter().enumerate() {
            for (first, last) in last_writes(*acknowledged) {
                let key = key_of(client, first);
                let RegisterOp::Read(read) = self.request(key.clone(), RegisterOp::Read(None)).await? else {
                    return Err("a read was answered as a write".to_owned());
                };
                if let Some(finding) = judge(key, first, last, *begun, read) {
                    return Ok(Some(finding));
                }
            }
        }
        Ok(None)
    }
}

/// Returns the key of write `number` of a client.
fn key_of(client: usize, number: u64) -> Scalar {
    Scalar::from(format!("c{}k{}", client + 1, number % KEYS).as_str())
}

/// Returns the value of write `number`.
fn value_of(number: u64) -> Scalar {
    Scalar::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Returns, for each key of a client, the first write to it, and the last among the client's first `count`, if there is
/// one.
fn last_writes(count: u64) -> impl Iterator<Item = (u64, Option<u64>)> {
    let writes = move |first: u64| (first..=count).step_by(usize::try_from(KEYS).unwrap_or(1));
    (1..=KEYS).map(move |first| (first, writes(first).last()))
}

/// Returns the error of `read`, if there is one: `first` is the first write to `key`, `acknowledged` the last one that was
/// acknowledged, and `begun` the last write to any key of the client that was begun.
fn judge(
    key: Scalar,
    first: u64,
    acknowledged: Option<u64>,
    begun: u64,
    read: Option<Scalar>,
) -> Option<Finding> {
    let is_write = |read: &Scalar, until: u64| {
        (first..=until).step_by(usize::try_from(KEYS).unwrap_or(1)).any(|number| value_of(number) == *read)
    };
    match (acknowledged, read) {
        (None, None) => None,
        (_, Some(read)) if !is_write(&read, begun) => Some(Finding::NeverWritten { key, read }),
        (Some(acknowledged), Some(read)) if acknowledged > first && is_write(&read, acknowledged - 1) => {
            Some(Finding::Lost { key, acknowledged, read: Some(read) })
        }
        (Some(acknowledged), None) => Some(Finding::Lost { key, acknowledged, read: None }),
        (_, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_its_last_acknowledged_write_or_one_under_way() {
        let key = || key_of(0, 2);
        let judged = |acknowledged, begun, read: Option<i64>| {
            judge(key(), 2, acknowledged, begun, read.map(Scalar::Int))
        };
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
        for (first, last) in last_writes(20) {
            assert_eq!(key_of(1, first), key_of(1, last.unwrap()));
        }
        assert_ne!(key_of(0, 1), key_of(1, 1));
    }
}
