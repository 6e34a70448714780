//! One copy of a partition: a thread that owns its log and serves it by its role.
//!
//! The thread handles messages in order. It takes all that have arrived, appends, makes everything durable at once, and
//! only then answers.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint::HighWatermarkFile;
use super::error::PartitionError;
use super::handle::{
    Acks, Isolation, Message, PartitionHandle, PartitionName, Records, ReplySender, Role, Status, Written,
};
use super::leading::{IsrChange, Leading, Waiting};
use super::rules::{AbortedList, Rules, Settled, Truncation, Visible};
use crate::cluster::message::{ReplicaPosition, ReplicaRecords};
use crate::cluster::state::PartitionState;
use crate::cluster::{BrokerEpoch, BrokerId};
use crate::log::{Appended, BatchHeader, LogConfig, LogError, PartitionLog, Recovery};

/// How often a thread checks the time when no message arrives.
const TICK: Duration = Duration::from_millis(100);
/// As Kafka's `replica.high.watermark.checkpoint.interval.ms`.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
const ASKS_AT_ONCE: usize = 512;

/// The failure of a copy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the log of partition {partition} has failed: {reason}")]
pub struct PartitionFailure {
    /// The partition.
    pub partition: PartitionName,
    /// The cause, as a string: it is reported to several receivers.
    pub reason: String,
}

/// A request of a leading copy to the controllers, for another in-sync set.
#[derive(Debug)]
pub struct IsrRequest {
    /// The partition.
    pub partition: PartitionName,
    /// The leader epoch.
    pub leader_epoch: i32,
    /// The request.
    pub change: IsrChange,
}

/// The senders of a copy's reports that are not answers.
#[derive(Debug, Clone)]
pub struct Reports {
    /// Failures, which end the broker.
    pub failures: mpsc::UnboundedSender<PartitionFailure>,
    /// Requests for another in-sync set.
    pub isr_requests: mpsc::UnboundedSender<IsrRequest>,
    /// Counts changes of role of any copy.
    pub roles: watch::Sender<u64>,
}

/// The state of a copy's thread.
struct Copy {
    me: BrokerId,
    name: PartitionName,
    rules: Rules,
    min_insync: usize,
    log: PartitionLog,
    leading: Option<Leading>,
    status: Status,
    published: watch::Sender<Status>,
    reports: Reports,
    checkpoint: HighWatermarkFile,
    /// Answers that wait until the appended records are durable.
    undurable: Vec<Undurable>,
    dirty: bool,
}

enum Undurable {
    Leader(ReplySender<Written>, Written),
    InSync(ReplySender<Written>, Written),
    Follower(oneshot::Sender<()>),
}

/// The parts of a new copy.
#[derive(Debug)]
pub struct Origin {
    /// This broker.
    pub me: BrokerId,
    /// The partition.
    pub name: PartitionName,
    /// Its folder.
    pub folder: PathBuf,
    /// The configuration of its log.
    pub log: LogConfig,
    /// Its rules.
    pub rules: Rules,
    /// How many must be in sync for a write with [`Acks::All`].
    pub min_insync: usize,
    /// The senders of its reports.
    pub reports: Reports,
}

/// Opens a copy and starts its thread; it has no leader until it receives the agreed state.
///
/// # Errors
/// The log cannot be opened, or the thread not started.
pub fn start(origin: Origin) -> Result<(PartitionHandle, JoinHandle<()>), LogError> {
    let Origin { me, name, folder, log, rules, min_insync, reports } = origin;
    let (log, recovery) = PartitionLog::open(&folder, log)?;
    report_recovery(&name, &recovery);
    let checkpoint = HighWatermarkFile::open(&folder);
    let high_watermark = checkpoint.written().clamp(log.log_start_offset(), log.log_end_offset());
    let status = Status {
        role: Role::Follower { leader: None, epoch: -1 },
        log_start: log.log_start_offset(),
        high_watermark,
        last_stable: log.last_stable_offset(high_watermark),
        log_end: log.log_end_offset(),
        last_epoch: log.latest_epoch(),
    };
    let (published, status_receiver) = watch::channel(status);
    let (asks, queue) = channel();
    let copy = Copy {
        me,
        name,
        rules,
        min_insync,
        log,
        leading: None,
        status,
        published,
        reports,
        checkpoint,
        undurable: Vec::new(),
        dirty: false,
    };
    let thread = std::thread::Builder::new().name("partition".into()).stack_size(512 << 10);
    let thread = thread.spawn(move || copy.run(&queue)).map_err(|cause| {
        LogError::File(crate::log::FileError { operation: "start the thread of", path: folder, cause })
    })?;
    Ok((PartitionHandle { asks, status: status_receiver }, thread))
}

fn report_recovery(name: &PartitionName, recovery: &Recovery) {
    for cut in &recovery.cuts {
        tracing::warn!(partition = %name, path = %cut.path.display(), bytes = cut.bytes, fault = %cut.fault, "cut off a torn tail");
    }
}

/// Returns the time of day, Unix milliseconds. Only timestamps of records and their age depend on it.
pub fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Copy {
    fn run(mut self, queue: &Receiver<Message>) {
        let mut checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
        let mut cleanup_at = Instant::now() + self.rules.cleanup_every;
        let mut looked_at = Instant::now();
        loop {
            let first = match queue.recv_timeout(TICK) {
                Ok(ask) => Some(ask),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            };
            let started = Instant::now();
            if started.duration_since(looked_at) > self.rules.lag_max / 2
                && let Some(leading) = &mut self.leading
            {
                leading.stood_still(started);
            }
            for ask in first.into_iter().chain(queue.try_iter().take(ASKS_AT_ONCE)) {
                match self.execute(ask) {
                    Ok(Going::On) => {}
                    Ok(Going::Ends) => return self.end(),
                    Err(error) => return self.fail(&error),
                }
            }
            if let Err(error) = self.settle() {
                return self.fail(&error);
            }
            let now = Instant::now();
            if now >= cleanup_at {
                cleanup_at = now + self.rules.cleanup_every;
                if let Err(error) = self.clean_up() {
                    return self.fail(&error);
                }
            }
            if now >= checkpoint_at {
                checkpoint_at = now + CHECKPOINT_EVERY;
                self.write_checkpoint();
            }
            looked_at = Instant::now();
        }
    }

    fn end(mut self) {
        if let Some(leading) = &mut self.leading {
            leading.abandon();
        }
        if let Err(error) = self.log.flush() {
            tracing::warn!(partition = %self.name, %error, "cannot sync the log at the end");
        }
        self.write_checkpoint();
    }

    fn fail(mut self, error: &LogError) {
        if let Some(leading) = &mut self.leading {
            leading.abandon();
        }
        let failure = PartitionFailure { partition: self.name, reason: chain(error) };
        // A broker that is about to end no longer receives reports.
        self.reports.failures.send(failure).ok();
    }

    fn write_checkpoint(&mut self) {
        if let Err(error) = self.checkpoint.write(self.status.high_watermark) {
            // It is only a lower bound.
            tracing::debug!(partition = %self.name, %error, "cannot write the high watermark");
        }
    }

    fn execute(&mut self, ask: Message) -> Result<Going, LogError> {
        match ask {
            Message::Agreed(partition) => self.take_role(&partition)?,
            Message::Append { batch, acks, reply } => self.append(&batch, acks, reply)?,
            Message::Mark { marker, reply } => {
                let Some(epoch) = self.leading.as_ref().map(|leading| leading.epoch) else {
                    return answer(reply, Err(PartitionError::NotLeader)).map(|()| Going::On);
                };
                match self.log.append_marker(&marker, epoch, wall_clock_ms()) {
                    Ok(appended) => self.appended(appended, epoch, Acks::All, reply),
                    Err(error) => answer(reply, Err(error.into()))?,
                }
            }
            Message::Read { from, bytes_max, isolation, leader_epoch, reply } => {
                let result = self.read(from, bytes_max, isolation, leader_epoch);
                answer(reply, result)?;
            }
            Message::FollowerRead { follower, position, reply } => {
                let result = self.read_for_follower(follower, position);
                answer(reply, result)?;
            }
            Message::Replicate { epoch, offset, records, reply } => {
                self.replicate(epoch, offset, records, reply)?
            }
            Message::WishCameTo { leader_epoch, partition_epoch, outcome } => {
                if let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == leader_epoch) {
                    tracing::debug!(partition = %self.name, partition_epoch, ?outcome, "in-sync set");
                    leading.wish_came_to(partition_epoch, outcome, Instant::now());
                }
            }
            Message::Inspect(look) => look(&self.log, &self.status),
            Message::Stop => return Ok(Going::Ends),
        }
        Ok(Going::On)
    }

    fn take_role(&mut self, agreed: &PartitionState) -> Result<(), LogError> {
        let epoch = agreed.leader_epoch;
        let known = match self.status.role {
            Role::Leader { epoch, .. } | Role::Follower { epoch, .. } => epoch,
        };
        if epoch < known {
            return Ok(());
        }
        if epoch == known {
            if let Some(leading) = &mut self.leading {
                leading.agreed(agreed);
            }
            return Ok(());
        }
        // Records appended under the old role are made durable before the new role is announced.
        self.settle()?;
        if let Some(mut leading) = self.leading.take() {
            leading.abandon();
        }
        if agreed.leader == Some(self.me) {
            self.log.begin_epoch(epoch)?;
            let began_at = self.log.log_end_offset();
            let defects = (self.rules.shrinking, self.rules.commit);
            self.leading = Some(Leading::new(self.me, agreed, began_at, Instant::now(), defects));
            self.status.role = Role::Leader { epoch, began_at };
        } else {
            if self.rules.truncation == Truncation::ToHighWatermark {
                self.log.truncate_to(self.status.high_watermark)?;
                self.status.last_epoch = None;
            }
            self.status.role = Role::Follower { leader: agreed.leader, epoch };
        }
        tracing::info!(partition = %self.name, role = ?self.status.role, isr = ?agreed.isr, log_end = self.log.log_end_offset(), high_watermark = self.status.high_watermark, "role");
        self.tell();
        self.reports.roles.send_modify(|count| *count += 1);
        Ok(())
    }

    fn append(&mut self, batch: &[u8], acks: Acks, reply: ReplySender<Written>) -> Result<(), LogError> {
        let Some(leading) = &self.leading else { return answer(reply, Err(PartitionError::NotLeader)) };
        if acks == Acks::All && leading.in_sync() < self.min_insync {
            return answer(reply, Err(PartitionError::NotEnoughReplicas));
        }
        let epoch = leading.epoch;
        match self.log.append_leader(batch, epoch, wall_clock_ms()) {
            Ok(appended) => self.appended(appended, epoch, acks, reply),
            Err(error) => return answer(reply, Err(error.into())),
        }
        Ok(())
    }

    /// Has an appended batch answered once the replicas of `acks` have it.
    fn appended(&mut self, appended: Appended, epoch: i32, acks: Acks, reply: ReplySender<Written>) {
        self.dirty = true;
        let written = Written {
            base_offset: appended.base_offset,
            last_offset: appended.last_offset,
            log_start: self.log.log_start_offset(),
        };
        self.status.last_epoch = Some(epoch);
        match acks {
            // A producer that wants no acknowledgement does not wait, and has no guarantee.
            Acks::None => drop(reply.send(Ok(written))),
            Acks::Leader => self.undurable.push(Undurable::Leader(reply, written)),
            Acks::All => self.undurable.push(Undurable::InSync(reply, written)),
        }
    }

    fn read(
        &self,
        from: i64,
        bytes_max: usize,
        isolation: Isolation,
        leader_epoch: Option<i32>,
    ) -> Result<Records, PartitionError> {
        let leading = self.leading.as_ref().ok_or(PartitionError::NotLeader)?;
        match leader_epoch {
            Some(epoch) if epoch < leading.epoch => return Err(PartitionError::FencedEpoch),
            Some(epoch) if epoch > leading.epoch => return Err(PartitionError::UnknownEpoch),
            Some(_) | None => {}
        }
        let high_watermark = match self.rules.visible {
            Visible::ToHighWatermark => self.status.high_watermark,
            Visible::ToLogEnd => self.log.log_end_offset(),
        };
        let last_stable = self.last_stable(high_watermark);
        let below = match isolation {
            Isolation::Uncommitted => high_watermark,
            Isolation::Committed => last_stable,
        };
        let batches = self.log.read(from, bytes_max, below)?;
        let aborted = match (isolation, self.rules.aborted) {
            (Isolation::Committed, AbortedList::Complete) => self.log.aborted(from, end_of(&batches, from)),
            _ => Vec::new(),
        };
        let log_start = self.log.log_start_offset();
        Ok(Records { batches, high_watermark, last_stable, log_start, aborted })
    }

    fn last_stable(&self, high_watermark: i64) -> i64 {
        match self.rules.settled {
            Settled::ToLastStable => self.log.last_stable_offset(high_watermark),
            Settled::AsOthers => high_watermark,
        }
    }

    fn read_for_follower(
        &mut self,
        follower: (BrokerId, BrokerEpoch),
        position: ReplicaPosition,
    ) -> Result<ReplicaRecords, PartitionError> {
        let log_end = self.log.log_end_offset();
        let high_watermark = self.status.high_watermark;
        let Some(leading) = self.leading.as_mut().filter(|l| l.epoch == position.leader_epoch) else {
            return Ok(ReplicaRecords::NotLeader);
        };
        if !leading.is_replica(follower.0) {
            return Ok(ReplicaRecords::NotLeader);
        }
        if let Some(last) = position.last_epoch
            && let Some(end) = self.log.end_offset_for_epoch(last)
            && (end.epoch < last || end.end_offset < position.offset)
        {
            return Ok(ReplicaRecords::Diverging { epoch: end.epoch, end_offset: end.end_offset });
        }
        if position.offset > log_end {
            return Ok(ReplicaRecords::Diverging { epoch: leading.epoch, end_offset: log_end });
        }
        if position.offset < self.log.log_start_offset() {
            return Ok(ReplicaRecords::OutOfRange { log_start: self.log.log_start_offset() });
        }
        leading.follower_asked(follower, position.offset, log_end, Instant::now());
        let batches = self.log.read(position.offset, position.bytes_max as usize, i64::MAX)?;
        Ok(ReplicaRecords::Records { batches, high_watermark })
    }

    fn replicate(
        &mut self,
        asked_in: i32,
        offset: i64,
        records: ReplicaRecords,
        reply: oneshot::Sender<()>,
    ) -> Result<(), LogError> {
        let follows = matches!(self.status.role, Role::Follower { epoch, .. } if epoch == asked_in);
        // An answer to a fetch in another role or from another offset is of no use; dropping `reply` reports that.
        if !follows || offset != self.log.log_end_offset() {
            return Ok(());
        }
        match records {
            ReplicaRecords::Records { batches, high_watermark } => {
                let appended = self.log.append_follower(&batches, wall_clock_ms());
                if let Some(error) = appended.as_ref().err() {
                    tracing::warn!(partition = %self.name, error = %chain(error), "cannot append the leader's records");
                }
                match appended {
                    Ok(0) => {}
                    Err(crate::log::AppendError::Log(error)) => return Err(error),
                    Ok(_) | Err(_) => {
                        self.dirty = true;
                        self.status.last_epoch = self.log.latest_epoch();
                    }
                }
                let known = high_watermark.min(self.log.log_end_offset());
                self.status.high_watermark = self.status.high_watermark.max(known);
            }
            ReplicaRecords::Diverging { epoch, end_offset } => self.converge(epoch, end_offset)?,
            ReplicaRecords::OutOfRange { log_start } => {
                tracing::warn!(partition = %self.name, log_start, "the leader's log begins after the end of this one; the log is restarted there");
                self.log.start_at(log_start)?;
                self.status.high_watermark = log_start;
                self.status.last_epoch = None;
            }
            ReplicaRecords::NotLeader | ReplicaRecords::Busy => {}
        }
        self.undurable.push(Undurable::Follower(reply));
        Ok(())
    }

    /// Cuts off the records that the leader does not have, after the leader's log and this one diverged
    /// behind an epoch that ended at `end_offset` there. The rest may still diverge; the next fetch will show
    /// that.
    fn converge(&mut self, epoch: i32, end_offset: i64) -> Result<(), LogError> {
        let own = self.log.end_offset_for_epoch(epoch);
        let to =
            own.map_or(end_offset, |own| own.end_offset.min(end_offset)).max(self.log.log_start_offset());
        let log_end = self.log.log_end_offset();
        if to < log_end {
            if to < self.status.high_watermark {
                tracing::warn!(partition = %self.name, to, log_end, high_watermark = self.status.high_watermark, "cutting off committed records");
            }
            tracing::info!(partition = %self.name, to, log_end, epoch, "cutting off records that the leader does not have");
            self.log.truncate_to(to)?;
        }
        self.status.high_watermark = self.status.high_watermark.min(self.log.log_end_offset());
        self.status.last_epoch = own.map(|own| own.epoch).filter(|_| self.log.log_end_offset() > 0);
        Ok(())
    }

    /// Makes the appended records durable, moves the high watermark, and answers the requests that waited for either.
    fn settle(&mut self) -> Result<(), LogError> {
        if self.dirty {
            self.log.persist(wall_clock_ms())?;
            self.dirty = false;
        }
        let own_end = self.log.log_end_offset();
        let now = Instant::now();
        for undurable in self.undurable.drain(..) {
            match (undurable, &mut self.leading) {
                // A requester that gave up has dropped its receiver.
                (Undurable::Leader(reply, written), _) => drop(reply.send(Ok(written))),
                (Undurable::Follower(reply), _) => drop(reply.send(())),
                (Undurable::InSync(reply, written), Some(leading)) => {
                    leading.waiting.push_back(Waiting { written, reply });
                }
                (Undurable::InSync(reply, _), None) => drop(reply.send(Err(PartitionError::NotLeader))),
            }
        }
        if let Some(leading) = &mut self.leading {
            let high_watermark = leading.high_watermark(own_end, self.status.high_watermark);
            self.status.high_watermark = high_watermark;
            leading.settle(high_watermark, self.min_insync);
            if let Some(change) = leading.propose_isr(high_watermark, self.rules.lag_max, now) {
                let partition = self.name.clone();
                let change = IsrRequest { partition, leader_epoch: leading.epoch, change };
                // A broker that is about to end no longer receives reports.
                self.reports.isr_requests.send(change).ok();
                let again = leading.high_watermark(own_end, high_watermark);
                self.status.high_watermark = again;
                leading.settle(again, self.min_insync);
            }
        }
        self.tell();
        Ok(())
    }

    fn clean_up(&mut self) -> Result<(), LogError> {
        let now_ms = wall_clock_ms();
        self.log.persist(now_ms)?;
        let removed = self.log.retain(now_ms, self.status.high_watermark)?;
        let compacted = self.log.compact(now_ms, self.status.high_watermark)?;
        tracing::debug!(partition = %self.name, ?removed, ?compacted, "cleaned of old records");
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        self.status.log_start = self.log.log_start_offset();
        self.status.log_end = self.log.log_end_offset();
        self.status.high_watermark = self.status.high_watermark.max(self.status.log_start);
        self.log.settle_transactions(self.status.high_watermark);
        self.status.last_stable = self.last_stable(self.status.high_watermark);
        let status = self.status;
        self.published.send_if_modified(|published| std::mem::replace(published, status) != status);
    }
}

enum Going {
    On,
    Ends,
}

/// Returns the offset after whole batches; `from` if there are none.
fn end_of(batches: &[u8], from: i64) -> i64 {
    let (mut at, mut end) = (0, from);
    while let Some(Ok(header)) = batches.get(at..).map(BatchHeader::parse) {
        end = header.next_offset();
        at += header.size;
    }
    end
}

/// Answers, and passes on what must end the copy.
fn answer<T>(reply: ReplySender<T>, result: Result<T, PartitionError>) -> Result<(), LogError> {
    match result {
        Err(fault) if fault.is_fatal() => match fault {
            PartitionError::Log(error) => {
                // A requester that gave up has dropped its receiver.
                reply.send(Err(PartitionError::Stopped)).ok();
                Err(error)
            }
            other => {
                reply.send(Err(other)).ok();
                Ok(())
            }
        },
        result => {
            reply.send(result).ok();
            Ok(())
        }
    }
}

/// Returns an error with its causes, as a string.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
