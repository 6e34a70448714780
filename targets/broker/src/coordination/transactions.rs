//! The transaction coordinator.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::markers::Markers;
use super::{Context, Coordination, Machine, Service, Step, Stopped};
use crate::config::Config;
use crate::internal::WriteId;
use crate::log::{BatchHeader, Marker, records};
use crate::replica::{PartitionError, Replicas};
use crate::transaction::{Action, Coordinator, Ending, Load, Reply, TRANSACTIONS_TOPIC, TransactionError};

/// How long to wait before markers that were not written are sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A handle on the transaction coordinator. Cheap to clone.
pub type Transactions = Service<Transacting>;

impl From<Stopped> for TransactionError {
    fn from(_: Stopped) -> Self {
        Self::NotCoordinator
    }
}

/// The transaction coordinator and the writer of its markers.
pub struct Transacting {
    /// The state machine.
    pub coordinator: Coordinator,
    markers: Markers,
}

/// Returns the task of the transaction coordinator, and its handle.
pub fn coordination(
    config: &Config,
    replicas: Replicas,
    markers: Markers,
) -> (Transactions, Coordination<Transacting>) {
    let coordinator = Coordinator::new(i32::from(config.options.offsets_partitions));
    Coordination::new(Transacting { coordinator, markers }, replicas)
}

impl Machine for Transacting {
    const TOPIC: &'static str = TRANSACTIONS_TOPIC;
    type Reply = Reply;
    type Action = Action;
    type Load = Load;

    fn begin_load(&mut self, partition: i32) -> Load {
        self.coordinator.begin_load(partition)
    }

    fn replay(
        load: &mut Load,
        header: &BatchHeader,
        batch: &[u8],
        _: Option<Marker>,
        _: Instant,
    ) -> Result<(), String> {
        let mut result = Ok(());
        for record in records(header, batch) {
            let replayed = match record {
                Ok(record) if load.replay(record.key.unwrap_or_default(), record.value) => Ok(()),
                Ok(_) => Err("not the state of a transactional id".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            result = result.and(replayed);
        }
        result
    }

    fn finish_load(&mut self, load: Load, now: Instant) -> Vec<Action> {
        self.coordinator.finish_load(load, now)
    }

    fn unload(&mut self, partition: i32) -> Vec<Action> {
        self.coordinator.unload(partition)
    }

    fn appended(&mut self, write: WriteId, result: Result<(), PartitionError>, now: Instant) -> Vec<Action> {
        match result {
            Ok(()) => self.coordinator.appended(write, now),
            Err(fault) => {
                let error = match fault {
                    PartitionError::NotLeader => TransactionError::NotCoordinator,
                    _ => TransactionError::NotReplicated,
                };
                self.coordinator.append_failed(write, error, now)
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        self.coordinator.tick(now)
    }

    fn due(&self) -> Option<Instant> {
        self.coordinator.due()
    }

    fn carry_out(&mut self, action: Action, context: &Context<'_, Self>) -> Step<Self> {
        match action {
            Action::Reply(token, reply) => Step::Reply(token, reply),
            Action::Append { write, partition, content } => Step::Append(write, partition, content),
            Action::Mark(mut ending) => {
                if let (Some((_, epoch)), Some(service)) =
                    (context.led.get(&ending.partition), context.service.clone())
                {
                    ending.marker.coordinator_epoch = *epoch;
                    tokio::spawn(write_all(self.markers.clone(), context.replicas.clone(), ending, service));
                }
                Step::Next(Vec::new())
            }
        }
    }
}

/// Writes markers until each is written, or another broker coordinates the transaction.
async fn write_all(markers: Markers, replicas: Replicas, ending: Ending, service: Transactions) {
    let Ending { id, partition, marker, mut partitions } = ending;
    loop {
        partitions = markers.write(partitions, marker).await;
        if partitions.is_empty() {
            service.tell(move |machine| machine.coordinator.marked(&id, marker.number)).await;
            return;
        }
        let led = replicas.led(TRANSACTIONS_TOPIC);
        if !led.iter().any(|(number, _, epoch, _)| (*number, *epoch) == (partition, marker.coordinator_epoch))
        {
            return;
        }
        sleep(AGAIN_AFTER).await;
    }
}
