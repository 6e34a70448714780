//! The broker of the simulation: its partitions, and its consumer group with the committed offsets.

use duress_history::Scalar;
use duress_history::log::{LogMicro, Offset, Offsets, Polled};
use rand::RngExt;

use super::{Commit, Consumers, Defect, World, key, partition};

impl World {
    pub(super) fn append(&mut self, partition: usize, value: i64) -> usize {
        // Now and then an offset that holds no message.
        if self.chance(20) {
            self.logs[partition].push(None);
        }
        if self.strikes(Defect::AppendTwice, None) {
            self.logs[partition].push(Some(value));
        }
        if self.due && !self.spent && self.shape.defect == Defect::Overtake {
            let log = &self.logs[partition];
            if let Some(gap) = log.iter().position(Option::is_none).filter(|gap| gap + 1 < log.len())
                && self.strikes(Defect::Overtake, None)
            {
                self.logs[partition][gap] = Some(value);
                return gap;
            }
        }
        self.logs[partition].push(Some(value));
        self.logs[partition].len() - 1
    }

    pub(super) fn send(&mut self, micros: &[LogMicro], acknowledged: Option<usize>) -> Vec<LogMicro> {
        let mut answers = Vec::with_capacity(micros.len());
        for micro in micros {
            let LogMicro::Send { key, value: Scalar::Int(value), .. } = micro else {
                unreachable!("sends only")
            };
            let at = partition(key);
            let mut offset = if acknowledged.is_some() && self.strikes(Defect::LoseAcknowledged, acknowledged)
            {
                self.logs[at].len()
            } else {
                self.append(at, *value)
            };
            if acknowledged.is_some()
                && offset > 0
                && self.logs[at].get(offset - 1).copied().flatten().is_some()
                && self.strikes(Defect::WrongOffset, acknowledged)
            {
                offset -= 1;
            }
            let offset = self.shape.offsets.then_some(Offset(offset as u64));
            answers.push(LogMicro::Send { key: key.clone(), value: Scalar::Int(*value), offset });
        }
        answers
    }

    /// Returns the next messages of a partition from `position`, and the position after them.
    pub(super) fn fetch(
        &mut self,
        client: usize,
        at: usize,
        position: usize,
    ) -> (Vec<(Offset, Scalar)>, usize) {
        let mut messages = Vec::new();
        let mut next = position;
        let count = self.random.random_range(0..5_usize);
        while messages.len() < count && next < self.logs[at].len() {
            if let Some(value) = self.logs[at][next] {
                messages.push((Offset(next as u64), Scalar::Int(value)));
            }
            next += 1;
        }
        if messages.len() > 2 && self.strikes(Defect::SkipWithin, Some(client)) {
            messages.remove(1);
        }
        if !messages.is_empty() && self.strikes(Defect::Phantom, Some(client)) {
            messages.push((Offset(next as u64), Scalar::Int(-1)));
        }
        (messages, next)
    }

    pub(super) fn poll(&mut self, client: usize) -> Polled {
        let mut polled = Polled::new();
        if let Some(assigned) = self.clients[client].assigned.clone() {
            for at in assigned {
                let position = self.clients[client].positions.get(&at).copied().unwrap_or_default();
                let (mut messages, next) = self.fetch(client, at, position);
                let place = (self.clients[client].number, at);
                if let Some(before) = self.given.get(&place).copied() {
                    if !messages.is_empty() && self.strikes(Defect::PollBack, Some(client)) {
                        let value = self.logs[at][before].expect("what was given is there");
                        messages.insert(0, (Offset(before as u64), Scalar::Int(value)));
                    }
                    if messages.len() > 1 && self.strikes(Defect::SkipBetween, Some(client)) {
                        messages.remove(0);
                    }
                }
                if let Some((Offset(last), _)) = messages.last() {
                    self.given.insert(place, *last as usize);
                }
                self.clients[client].positions.insert(at, next);
                if !messages.is_empty() {
                    polled.insert(key(at), messages);
                }
            }
        } else if self.clients[client].member.is_some() {
            return self.poll_as_member(client);
        }
        polled
    }

    pub(super) fn poll_as_member(&mut self, client: usize) -> Polled {
        let number = self.clients[client].number;
        if self.clients[client].member != Some(self.generation) {
            // It joins again, with nothing to commit.
            self.join(client);
        }
        let mut polled = Polled::new();
        self.commit(client);
        for at in 0..self.shape.partitions {
            if self.owners[at] != Some(number) {
                continue;
            }
            let committed = self.committed[at].unwrap_or_default();
            let mut position = self.clients[client].positions.get(&at).copied().unwrap_or(committed);
            if self.logs[at].get(position).copied().flatten().is_some()
                && !self.delivered.contains(&(at, position))
                && self.strikes(Defect::CommitAhead, None)
            {
                self.passed = Some((at, position));
                position += 1;
                self.committed[at] = Some(position);
            }
            let (messages, next) = self.fetch(client, at, position);
            self.clients[client].positions.insert(at, next);
            if self.shape.consumers == Consumers::Queue(Commit::Before) && next > committed {
                self.committed[at] = Some(next);
            }
            if !messages.is_empty() {
                polled.insert(key(at), messages);
            }
        }
        polled
    }

    /// Commits the messages that the client consumed, if it is still a member.
    pub(super) fn commit(&mut self, client: usize) -> Offsets {
        let consumed = std::mem::take(&mut self.clients[client].consumed);
        if self.clients[client].member != Some(self.generation) {
            return Offsets::new();
        }
        let mut offsets = Offsets::new();
        for (at, position) in consumed {
            if self.owners[at] == Some(self.clients[client].number)
                && self.committed[at].is_none_or(|committed| committed < position)
            {
                self.committed[at] = Some(position);
                offsets.insert(key(at), Offset(position as u64));
            }
        }
        offsets
    }

    pub(super) fn join(&mut self, client: usize) {
        let number = self.clients[client].number;
        if self.members.insert(number) {
            self.rebalance();
        }
        self.given.retain(|(process, _), _| *process != number);
        let client = &mut self.clients[client];
        client.member = Some(self.generation);
        client.assigned = None;
        client.positions.clear();
        client.consumed.clear();
    }

    pub(super) fn leave(&mut self, number: u64) {
        if self.members.remove(&number) {
            self.rebalance();
        }
    }

    pub(super) fn rebalance(&mut self) {
        self.generation += 1;
        let members: Vec<u64> = self.members.iter().copied().collect();
        for (at, owner) in self.owners.iter_mut().enumerate() {
            *owner = (!members.is_empty()).then(|| members[at % members.len()]);
        }
    }
}
