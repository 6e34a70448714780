//! Partitions: which hosts can connect to which, by connections and datagrams of the test's own.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use duress_history::NodeId;

use super::Probe;
use crate::stage::{PATIENCE, Stage, name, wait_until};

pub const PROBES: &[(&str, Probe)] = &[
    ("one", |stage, item| cut_is(stage, item, one)),
    ("majority", |stage, item| cut_is(stage, item, majority)),
    ("halves", |stage, item| cut_is(stage, item, halves)),
    ("majorities-ring", |stage, item| cut_is(stage, item, majorities_ring)),
    ("bridge", |stage, item| cut_is(stage, item, bridge)),
    ("one-way", |stage, item| cut_is(stage, item, one_way)),
    ("isolate-leader", |stage, item| cut_is(stage, item, |reach| reach.isolates(&["n1"]))),
    ("leader-in-minority", |stage, item| cut_is(stage, item, |reach| reach.isolates_minority_with("n1"))),
    ("flapping", flapping),
    ("clients", |stage, item| cut_is(stage, item, clients)),
    ("n1+n2", |stage, item| cut_is(stage, item, |reach| reach.isolates(&["n1", "n2"]))),
];

/// How long a connection or a datagram between hosts may take that are not cut from each other.
const ANSWER: Duration = Duration::from_millis(500);

/// The hosts that can send to each other.
struct Reach {
    nodes: Vec<NodeId>,
    clients: Vec<NodeId>,
    /// Directed: datagrams from the first arrive at the second.
    arrive: BTreeSet<(NodeId, NodeId)>,
}

impl Reach {
    /// Measures it.
    fn of(stage: &Stage) -> Self {
        let hosts: Vec<NodeId> = stage.nodes.iter().chain(&stage.clients).cloned().collect();
        let pairs = pairs(&hosts);
        let mut arrive = BTreeSet::new();
        // A connection takes both ways: it must agree with what datagrams say of each. A busy machine may be late once.
        wait_until("connections and datagrams say the same", || {
            arrive = datagrams(stage, &pairs);
            let connected = connections(stage, &pairs);
            let both = |(from, to): &&(NodeId, NodeId)| {
                arrive.contains(&(from.clone(), to.clone())) && arrive.contains(&(to.clone(), from.clone()))
            };
            pairs.iter().filter(both).cloned().collect::<BTreeSet<_>>() == connected
        });
        Self { nodes: stage.nodes.clone(), clients: stage.clients.clone(), arrive }
    }

    fn arrives(&self, from: &NodeId, to: &NodeId) -> bool {
        from == to || self.arrive.contains(&(from.clone(), to.clone()))
    }

    /// Returns the nodes that `node` can exchange packets with, itself included.
    fn sees(&self, node: &NodeId) -> BTreeSet<NodeId> {
        let both = |other: &&NodeId| self.arrives(node, other) && self.arrives(other, node);
        self.nodes.iter().filter(both).cloned().collect()
    }

    /// Returns the groups of nodes that see each other, the smallest first; `None` if they do not fall
    /// into groups.
    fn groups(&self) -> Option<Vec<BTreeSet<NodeId>>> {
        let seen: BTreeSet<BTreeSet<NodeId>> = self.nodes.iter().map(|node| self.sees(node)).collect();
        let mut groups: Vec<BTreeSet<NodeId>> = seen.into_iter().collect();
        groups.sort_by_key(BTreeSet::len);
        let total: usize = groups.iter().map(BTreeSet::len).sum();
        (total == self.nodes.len()).then_some(groups)
    }

    /// Whether exactly these nodes are cut from the others, and see each other.
    pub(crate) fn isolates(&self, names: &[&str]) -> bool {
        let set: BTreeSet<NodeId> = names.iter().map(|text| name(text)).collect();
        self.groups().is_some_and(|groups| groups.len() == 2 && groups.contains(&set))
    }

    /// Whether this node and one other are cut from the others, and see each other.
    pub(crate) fn isolates_minority_with(&self, leader: &str) -> bool {
        let minority = |group: &BTreeSet<NodeId>| group.len() == 2 && group.contains(&name(leader));
        self.groups().is_some_and(|groups| groups.len() == 2 && groups.iter().any(minority))
    }

    /// Whether no client's link is cut.
    fn spares_clients(&self) -> bool {
        let mut pairs =
            self.clients.iter().flat_map(|client| self.nodes.iter().map(move |node| (client, node)));
        pairs.all(|(client, node)| self.arrives(client, node) && self.arrives(node, client))
    }

    fn is_whole(&self) -> bool {
        self.groups().is_some_and(|groups| groups.len() == 1) && self.spares_clients()
    }
}

/// Returns every host with every other.
fn pairs(hosts: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    let with_others = |from: &NodeId| {
        let others = hosts.iter().filter(|to| *to != from);
        others.map(|to| (from.clone(), to.clone())).collect::<Vec<_>>()
    };
    hosts.iter().flat_map(with_others).collect()
}

/// Returns the pairs between which a datagram arrives.
fn datagrams(stage: &Stage, pairs: &[(NodeId, NodeId)]) -> BTreeSet<(NodeId, NodeId)> {
    let hosts: Vec<&NodeId> = stage.nodes.iter().chain(&stage.clients).collect();
    let sockets: Vec<UdpSocket> = hosts
        .iter()
        .map(|name| {
            let host = stage.host(name);
            let socket = host.enter(|| UdpSocket::bind((host.address(), 0))).expect("a host can be entered");
            let socket = socket.expect("the address is the host's");
            socket.set_nonblocking(true).expect("a socket");
            socket
        })
        .collect();
    let at = |name: &NodeId| hosts.iter().position(|host| *host == name).expect("one of the hosts");
    for (from, to) in pairs {
        let address = sockets[at(to)].local_addr().expect("a bound socket");
        sockets[at(from)].send_to(b"here", address).expect("room for a datagram");
    }
    let began = Instant::now();
    let mut arrived = BTreeSet::new();
    while began.elapsed() < ANSWER && arrived.len() < pairs.len() {
        for (socket, to) in sockets.iter().zip(&hosts) {
            while let Ok((_, sender)) = socket.recv_from(&mut [0; 8]) {
                let from = hosts.iter().find(|from| stage.host(from).address() == sender.ip());
                arrived.insert((NodeId::new(from.expect("one of the hosts")), NodeId::new(to)));
            }
        }
        thread::yield_now();
    }
    arrived
}

/// Returns the pairs of which the first can connect to the second.
fn connections(stage: &Stage, pairs: &[(NodeId, NodeId)]) -> BTreeSet<(NodeId, NodeId)> {
    // The kernel completes a connection by itself; no process has to accept it.
    let listen = |name: &NodeId| {
        let host = stage.host(name);
        let listener = host.enter(|| TcpListener::bind((host.address(), 0))).expect("a host can be entered");
        listener.expect("the address is the host's")
    };
    let hosts = stage.nodes.iter().chain(&stage.clients);
    let listeners: Vec<(&NodeId, TcpListener)> = hosts.map(|name| (name, listen(name))).collect();
    let address = |name: &NodeId| -> SocketAddr {
        let (_, listener) = listeners.iter().find(|(host, _)| *host == name).expect("one of the hosts");
        listener.local_addr().expect("a bound listener")
    };
    thread::scope(|scope| {
        let attempts: Vec<_> = pairs
            .iter()
            .map(|(from, to)| {
                let (host, to_address) = (stage.host(from), address(to));
                let attempt = scope.spawn(move || {
                    let connected = host.enter(|| TcpStream::connect_timeout(&to_address, ANSWER));
                    connected.expect("a host can be entered").is_ok()
                });
                ((from.clone(), to.clone()), attempt)
            })
            .collect();
        let done =
            attempts.into_iter().map(|(pair, attempt)| (pair, attempt.join().expect("it does not panic")));
        done.filter(|(_, connected)| *connected).map(|(pair, _)| pair).collect()
    })
}

/// Injects `item` and demands that the hosts reach each other as `wanted` says, and all of them afterwards.
fn cut_is(stage: &mut Stage, item: &str, wanted: fn(&Reach) -> bool) {
    let spares_clients = item != "partition:clients";
    wait_until("everything can be reached", || Reach::of(stage).is_whole());
    stage.inject(1, item).expect("it takes hold");
    wait_until("the hosts reach each other as the cut has it", || {
        let reach = Reach::of(stage);
        wanted(&reach) && (reach.spares_clients() || !spares_clients)
    });
    stage.heal(1);
    wait_until("everything can be reached again", || Reach::of(stage).is_whole());
}

fn one(reach: &Reach) -> bool {
    reach.groups().is_some_and(|groups| groups.len() == 2 && groups[0].len() == 1)
}

fn majority(reach: &Reach) -> bool {
    reach.groups().is_some_and(|groups| groups.len() == 2 && groups[1].len() > reach.nodes.len() / 2)
}

fn halves(reach: &Reach) -> bool {
    reach.groups().is_some_and(|groups| groups.len() == 2 && groups[0].len() == reach.nodes.len() / 2)
}

fn majorities_ring(reach: &Reach) -> bool {
    let seen: BTreeSet<BTreeSet<NodeId>> = reach.nodes.iter().map(|node| reach.sees(node)).collect();
    let majority =
        |seen: &BTreeSet<NodeId>| seen.len() > reach.nodes.len() / 2 && seen.len() < reach.nodes.len();
    seen.len() == reach.nodes.len() && seen.iter().all(majority)
}

fn bridge(reach: &Reach) -> bool {
    let everything = |node: &&NodeId| reach.sees(node).len() == reach.nodes.len();
    let bridges: Vec<&NodeId> = reach.nodes.iter().filter(everything).collect();
    let [bridge] = bridges[..] else { return false };
    let halves: BTreeSet<BTreeSet<NodeId>> =
        reach.nodes.iter().filter(|node| *node != bridge).map(|node| reach.sees(node)).collect();
    let members: usize = halves.iter().map(|half| half.len() - 1).sum();
    halves.len() == 2 && members == reach.nodes.len() - 1
}

fn one_way(reach: &Reach) -> bool {
    let pairs = || reach.nodes.iter().flat_map(|from| reach.nodes.iter().map(move |to| (from, to)));
    let cut: Vec<_> = pairs().filter(|(from, to)| !reach.arrives(from, to)).collect();
    let sources: BTreeSet<_> = cut.iter().map(|(from, _)| *from).collect();
    let targets: BTreeSet<_> = cut.iter().map(|(_, to)| *to).collect();
    // From a group to all others, and never back.
    sources.is_disjoint(&targets)
        && sources.len() + targets.len() == reach.nodes.len()
        && cut.len() == sources.len() * targets.len()
        && sources.len().min(targets.len()) <= reach.nodes.len() / 2
        && cut.iter().all(|(from, to)| reach.arrives(to, from))
}

fn clients(reach: &Reach) -> bool {
    let cut_from = |client: &NodeId| -> BTreeSet<NodeId> {
        let cut = |node: &&NodeId| !reach.arrives(client, node) && !reach.arrives(node, client);
        reach.nodes.iter().filter(cut).cloned().collect()
    };
    // All clients that are cut are cut from the same nodes; nodes are not cut from each other.
    let sets: BTreeSet<_> = reach.clients.iter().map(cut_from).filter(|set| !set.is_empty()).collect();
    sets.len() == 1 && reach.groups().is_some_and(|groups| groups.len() == 1)
}

fn flapping(stage: &mut Stage, item: &str) {
    stage.inject(1, item).expect("it takes hold");
    let pairs = pairs(&stage.nodes);
    let (mut seen_open, mut seen_cut) = (BTreeSet::new(), BTreeSet::new());
    let began = Instant::now();
    // Until links were seen both ways, after which the cuts go on.
    while began.elapsed() < PATIENCE && (seen_open.len() < pairs.len() || seen_cut.is_empty()) {
        let arrived = datagrams(stage, &pairs);
        seen_cut.extend(pairs.iter().filter(|pair| !arrived.contains(*pair)).cloned());
        seen_open.extend(arrived);
    }
    assert_eq!(seen_open.len(), pairs.len(), "every link is open by turns");
    assert!(
        !seen_cut.is_empty() && seen_cut.len() < pairs.len(),
        "some links are cut by turns: {seen_cut:?}"
    );
    stage.heal(1);
    // For longer than a period, half of which it was cut; a busy machine may be late once.
    let looks = (0..16).map(|_| {
        thread::park_timeout(Duration::from_millis(100));
        datagrams(stage, &pairs).len()
    });
    let lacking = looks.filter(|arrived| *arrived < pairs.len()).count();
    assert!(lacking <= 3, "{lacking} of 16 times, some links were cut");
}
