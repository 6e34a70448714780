//! A generation of a group as a record, from which another coordinator can restore it.

use std::time::Instant;

use super::member::Member;
use super::membership::Group;
use super::record::{Generation, KeptMember};
use super::state::GroupState;

impl Group {
    /// Returns the present generation.
    pub(super) fn kept(&self) -> Generation {
        let keep = |(member_id, member): (&String, &Member)| KeptMember {
            member_id: member_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: member.protocols.clone(),
            assignment: member.assignment.clone(),
        };
        Generation {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(keep).collect(),
        }
    }

    /// Restores a generation that was kept. Session time-outs are restarted.
    pub(super) fn restore(&mut self, kept: Generation, now: Instant) {
        self.generation = kept.generation;
        self.protocol_type = kept.protocol_type;
        self.protocol = kept.protocol;
        self.leader = kept.leader;
        self.state = if kept.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        self.members.clear();
        for member in kept.members {
            self.arrivals += 1;
            let restored = Member {
                client_id: member.client_id,
                client_host: member.client_host,
                session_timeout: member.session_timeout,
                rebalance_timeout: member.rebalance_timeout,
                protocols: member.protocols,
                assignment: member.assignment,
                joining: None,
                syncing: None,
                session_ends: now + member.session_timeout,
                arrival: self.arrivals,
            };
            self.members.insert(member.member_id, restored);
        }
    }

    /// Restarts every session time-out.
    pub(super) fn renew_sessions(&mut self, now: Instant) {
        self.members.values_mut().for_each(|member| member.heard_of(now));
    }
}
