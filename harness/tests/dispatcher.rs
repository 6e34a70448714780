//! The clients' policies: pinned, roaming, and those that ask again as a fault is healed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use duress::report::progress::Progress;
use duress::run::clock::Clock;
use duress::run::dispatcher::{
    AtHeal, ClientPolicy, Dispatcher, DispatcherParts, MakeClient, NemesisRecord, NodeAffinity, Stop,
};
use duress::workload::generator::{Context, Generator, Next};
use duress_history::nemesis::FaultName;
use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, NemesisAct, NodeId, OpType, Process, Recorder, jsonl};
use duress_targets::{Client, Outcome};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

/// A client that is answered at once, or never.
enum Answers {
    AtOnce,
    Never,
}

#[async_trait::async_trait]
impl Client<Register> for Answers {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        match self {
            Self::AtOnce => Outcome::Ok(action.clone()),
            Self::Never => std::future::pending().await,
        }
    }
}

/// So many reads.
struct Reads(u32);

impl Generator<Register> for Reads {
    fn next(&mut self, _: &Context) -> Next<Register> {
        if self.0 == 0 {
            return Next::Done;
        }
        self.0 -= 1;
        Next::Op(Register { key: "x".into(), op: RegisterOp::Read(None) })
    }

    fn update(&mut self, _: &Event<Register>) {}
}

fn policy(node: &str, affinity: NodeAffinity, at_heal: AtHeal) -> ClientPolicy {
    ClientPolicy { home: NodeId::new(node), affinity, timeout: Duration::from_secs(30), at_heal }
}

/// Runs `play` with a dispatcher of these clients; answers the history.
fn history(
    policies: Vec<ClientPolicy>,
    make_client: MakeClient<Register>,
    play: impl AsyncFnOnce(&mut Dispatcher<Register>, mpsc::UnboundedSender<NemesisRecord>),
) -> Vec<Event<Register>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (records, nemesis) = mpsc::unbounded_channel();
        let (_stop, stop) = watch::channel(Stop::No);
        let mut dispatcher = Dispatcher::start(DispatcherParts {
            answered: watch::channel(0).0,
            recorder: Recorder::create(&file).unwrap(),
            clock: Clock::start(),
            policies,
            make_client,
            nemesis,
            stop,
            progress: Progress::quiet(),
        });
        play(&mut dispatcher, records).await;
        dispatcher.close().await.unwrap();
    });
    jsonl::read::<Register>(&file).unwrap().events
}

/// By process, the nodes that it spoke to.
fn nodes(events: &[Event<Register>]) -> BTreeMap<u64, BTreeSet<String>> {
    let mut nodes: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        nodes.entry(event.process.0).or_default().extend(event.node.as_ref().map(NodeId::to_string));
    }
    nodes
}

#[test]
fn a_client_that_roams_goes_everywhere_until_it_has_to_settle() {
    let names = ["n1", "n2", "n3"];
    let of = |affinity| names.iter().map(move |node| policy(node, affinity, AtHeal::Waits));
    let policies = of(NodeAffinity::Pinned).chain(of(NodeAffinity::Roaming)).collect();
    let make = |_: usize, _: &NodeId, _| -> Box<dyn Client<Register>> { Box::new(Answers::AtOnce) };
    let mut settled = 0;
    let events = history(policies, Box::new(make), async |dispatcher, _| {
        dispatcher.run(&mut Reads(600), Stop::Early, async {}).await.unwrap();
        dispatcher.settle();
        settled = 1200;
        dispatcher.run(&mut Reads(60), Stop::Early, async {}).await.unwrap();
    });
    let (before, after) = events.split_at(settled);
    for (process, nodes) in nodes(before) {
        let expected = if process < 3 { 1 } else { 3 };
        assert_eq!(nodes.len(), expected, "process {process}: {nodes:?}");
    }
    for (process, nodes) in nodes(after) {
        let home = names[process as usize % 3].to_owned();
        assert_eq!(nodes, BTreeSet::from([home]), "process {process}");
    }
    // A client's operation ends where it began.
    for pair in before.iter().filter(|event| event.op_type == OpType::Ok) {
        let begun = before.iter().rfind(|event| event.process == pair.process && event.index < pair.index);
        assert_eq!(begun.unwrap().node, pair.node);
    }
}

#[test]
fn a_client_that_has_waited_for_long_asks_anew_as_a_fault_is_healed() {
    let policies = vec![
        policy("n1", NodeAffinity::Pinned, AtHeal::AsksAnew),
        policy("n2", NodeAffinity::Pinned, AtHeal::Waits),
    ];
    let clients = Rc::new(RefCell::new(Vec::new()));
    let made = Rc::clone(&clients);
    let make = move |slot: usize, _: &NodeId, process: Process| -> Box<dyn Client<Register>> {
        made.borrow_mut().push((slot, process));
        Box::new(Answers::Never)
    };
    let events = history(policies, Box::new(make), async |dispatcher, records| {
        let heal = async {
            // Longer than the threshold for waiting; how much longer does not matter.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (kept, stands) = oneshot::channel();
            let fault = FaultName { id: 1, family: "pause".into(), what: "pause n1".into() };
            records.send(NemesisRecord { act: NemesisAct::Stopping { fault }, kept }).unwrap();
            stands.await.unwrap();
        };
        let mut reads = Reads(3);
        let run = dispatcher.run(&mut reads, Stop::Early, heal);
        // The last read and that of the other client are never answered.
        tokio::time::timeout(Duration::from_secs(2), run).await.unwrap_err();
    });
    let of_process = |process: u64| {
        let types = events.iter().filter(move |event| event.process.0 == process).map(|event| event.op_type);
        types.collect::<Vec<_>>()
    };
    // Its client is a new one, so it continues as another process.
    assert_eq!(of_process(0), [OpType::Invoke, OpType::Info]);
    assert_eq!(of_process(2), [OpType::Invoke]);
    assert_eq!(clients.borrow().last(), Some(&(0, Process(2))), "it is made for that process");
    assert_eq!(of_process(1), [OpType::Invoke]);
}
