//! The task that carries out moves, at the leader of shard 0.
//!
//! It holds nothing that is not in the logs: what is to be done next follows from the directory and from the shards' answers, so
//! that any leader resumes what another one left. Several nodes that believe they lead disturb each other no more than one node
//! that repeats itself: see [`super::moves`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::directory::Moving;
use super::moves::{Chunk, Move, MoveStep, Progress};
use super::router::Router;
use super::slots::{SLOTS, SlotSet};
use crate::bug::Bug;
use crate::command::{Answer, Command, Query, Reply};

const LOOK_EVERY: Duration = Duration::from_millis(10);
const RETRY_AFTER: Duration = Duration::from_millis(50);
const ANNOUNCE_AFTER: Duration = Duration::from_millis(500);
/// The most slots that the rebalancing moves at once.
const SPAN_MAX: u64 = SLOTS as u64 / 2;

/// Carries out moves.
pub struct Mover {
    /// The router of this node.
    pub router: Arc<Router>,
    /// The number of this node, and where it listens for clients.
    pub node: (u64, SocketAddr),
    /// The time between moves that rebalance; `None`: never.
    pub rebalance_every: Option<Duration>,
    /// The seeded bug.
    pub bug: Option<Bug>,
}

/// A step that is not known to have been carried out: what to do next is found out anew.
#[derive(Debug)]
pub struct Halted;

impl Mover {
    /// Runs until the future is dropped.
    pub async fn run(self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved = Instant::now();
        let mut announced: Option<Instant> = None;
        loop {
            look.tick().await;
            let (node, address) = self.node;
            if self.router.directory(|directory| directory.addresses().get(&node) != Some(&address))
                && announced.is_none_or(|at| at.elapsed() > ANNOUNCE_AFTER)
            {
                announced = Some(Instant::now());
                // Whether it succeeded will be seen in the directory.
                self.router.step(0, MoveStep::Announce { node, address }).await.ok();
            }
            if !self.router.groups()[0].leads() {
                moved = Instant::now();
                continue;
            }
            match self.router.directory(|directory| directory.moving().cloned()) {
                Some(moving) => {
                    if carry_out(&*self.router, &moving, self.bug).await.is_err() {
                        sleep(RETRY_AFTER).await;
                    }
                    moved = Instant::now();
                }
                None if self.rebalance_every.is_some_and(|every| moved.elapsed() >= every) => {
                    if let Some(plan) = self.rebalancing() {
                        self.router.step(0, MoveStep::Begin(plan)).await.ok();
                    }
                    moved = Instant::now();
                }
                None => {}
            }
        }
    }

    /// Returns a move of pseudo-random slots to the shard after theirs; `None` if there is only one shard.
    fn rebalancing(&self) -> Option<Move> {
        self.router.directory(|directory| {
            let random = mixed(directory.begun());
            let first = random % u64::from(SLOTS);
            let last = (first + random / u64::from(SLOTS) % SPAN_MAX).min(u64::from(SLOTS) - 1);
            let slots: SlotSet = (first as u16..=last as u16).collect();
            let to = (usize::from(directory.owner(first as u16)) + 1) % directory.shards().len();
            directory.plan(&slots, to as u8)
        })
    }
}

/// The logs of the shards, as a move needs them.
pub trait Logs: Sync {
    /// Has a shard execute a step.
    ///
    /// # Errors
    /// It is not known to have been executed.
    fn step(&self, shard: u8, step: MoveStep) -> impl Future<Output = Result<Progress, Halted>> + Send;

    /// Reads the next keys of a move from its source, as of a moment after the call.
    ///
    /// # Errors
    /// The source does not answer, or has no part in the move any more.
    fn chunk(&self, plan: &Move, after: Option<Bytes>) -> impl Future<Output = Result<Chunk, Halted>> + Send;
}

/// Carries out what is left of a move, from the freeze on or, if the directory has flipped, from the drop on.
async fn carry_out(
    logs: &impl Logs,
    Moving { plan, flipped }: &Moving,
    bug: Option<Bug>,
) -> Result<(), Halted> {
    let number = plan.number;
    let flip = || done(logs, 0, MoveStep::Flip { number });
    if !flipped {
        done(logs, plan.from, MoveStep::Freeze(plan.clone())).await?;
        if bug == Some(Bug::ServedBeforeArrival) {
            // The new owner is named first, and then sent the keys.
            hand_over(logs, plan, Until::Welcomed).await?;
            flip().await?;
        }
        hand_over(logs, plan, Until::Complete).await?;
        flip().await?;
    }
    done(logs, plan.from, MoveStep::Drop { number }).await?;
    done(logs, 0, MoveStep::End { number }).await?;
    tracing::info!(number, from = plan.from, to = plan.to, slots = plan.slots.len(), "slots moved");
    Ok(())
}

/// Hands over the keys, chunk by chunk. The destination says which one it expects.
async fn hand_over(logs: &impl Logs, plan: &Move, until: Until) -> Result<(), Halted> {
    let mut after = None;
    loop {
        let mut chunk = logs.chunk(plan, after).await?;
        if until == Until::Welcomed {
            (chunk.entries, chunk.last) = (Vec::new(), false);
        }
        match logs.step(plan.to, MoveStep::Receive(Box::new(chunk))).await? {
            Progress::Expects(_) if until == Until::Welcomed => return Ok(()),
            Progress::Expects(key) => after = key,
            Progress::Done => return Ok(()),
            Progress::Over => return Err(Halted),
        }
    }
}

async fn done(logs: &impl Logs, shard: u8, step: MoveStep) -> Result<(), Halted> {
    match logs.step(shard, step).await? {
        Progress::Done => Ok(()),
        Progress::Expects(_) | Progress::Over => Err(Halted),
    }
}

impl Logs for Router {
    async fn step(&self, shard: u8, step: MoveStep) -> Result<Progress, Halted> {
        let group = &self.groups()[usize::from(shard)];
        match group.write(vec![Command::Move(step)]).await.map_err(|_| Halted)?.pop() {
            Some(Reply::Moved(progress)) => Ok(progress),
            _ => Err(Halted),
        }
    }

    async fn chunk(&self, plan: &Move, after: Option<Bytes>) -> Result<Chunk, Halted> {
        let query = Query::HandOver { number: plan.number, after, keys: self.chunk_keys() };
        match self.groups()[usize::from(plan.from)].read(vec![query]).await.map_err(|_| Halted)?.pop() {
            Some(Answer::HandedOver(chunk)) => Ok(*chunk),
            _ => Err(Halted),
        }
    }
}

/// How far keys are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The destination knows of the move.
    Welcomed,
    /// It has all keys.
    Complete,
}

/// Returns a number that looks random: SplitMix64's output for the `count`th step from 0.
fn mixed(count: u64) -> u64 {
    let mut z = (count + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use duress_consensus::State;

    use super::super::shard::Shard;
    use super::super::slots::slot_of;
    use super::*;
    use crate::command::Condition;
    use crate::outcome::NotExecuted;

    const CHUNK_KEYS: usize = 128;
    /// More keys than two chunks hold.
    const KEYS: u64 = 1_200;

    /// The moment at which the node that carries out a move ends.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Crash {
        /// Before its step is in a log.
        Before,
        /// After it, without the answer.
        After,
    }

    /// Two shards in memory, and clients that write to every key between any two steps.
    struct World(Mutex<Inner>);

    struct Inner {
        shards: Vec<Shard>,
        index: u64,
        round: u64,
        /// What was acknowledged.
        known: BTreeMap<Bytes, u64>,
        steps: Vec<(u8, MoveStep)>,
        /// The step of the move, counted from 0, at which its node ends.
        crash: Option<(usize, Crash)>,
    }

    fn key(number: u64) -> Bytes {
        format!("key {number}").into()
    }

    impl Inner {
        fn apply(&mut self, shard: u8, command: Command) -> Reply {
            self.index += 1;
            // The logs of two shards count for themselves.
            let index = self.index + if shard == 0 { 1_000_000 } else { 0 };
            self.shards[usize::from(shard)].apply(index, command)
        }

        fn step(&mut self, shard: u8, step: MoveStep) -> Progress {
            match self.apply(shard, Command::Move(step)) {
                Reply::Moved(progress) => progress,
                other => panic!("{other:?}"),
            }
        }

        /// Reads and writes some of the keys, each at every shard: at most one serves it, and that one has the last value.
        fn clients(&mut self) {
            self.round += 1;
            for number in (self.round % 7..KEYS).step_by(7) {
                let key = key(number);
                let mut served = 0;
                for shard in 0..2 {
                    let read = self.shards[usize::from(shard)].answer(&Query::Get(key.clone()));
                    let value = (self.index + number).to_string();
                    let set = Command::Set {
                        key: key.clone(),
                        value: value.clone().into(),
                        condition: Condition::Always,
                    };
                    match self.apply(shard, set) {
                        Reply::Failed(failure) => {
                            assert_eq!(failure, NotExecuted::SlotElsewhere.into());
                            assert_eq!(read, Answer::Failed(failure), "a shard refuses both or neither");
                        }
                        reply => {
                            assert_eq!(reply, Reply::Done);
                            let known = self.known.insert(key.clone(), value.parse().unwrap());
                            assert_eq!(
                                read,
                                Answer::Value(known.map(|known| known.to_string().into())),
                                "{key:?}"
                            );
                            served += 1;
                        }
                    }
                }
                assert!(served <= 1, "two shards serve {key:?}");
            }
        }
    }

    impl World {
        fn new(bug: Option<Bug>) -> Self {
            let shards = (0..2).map(|shard| Shard::of(shard, 2, bug)).collect();
            let inner =
                Inner { shards, index: 0, round: 0, known: BTreeMap::new(), steps: Vec::new(), crash: None };
            let world = Self(Mutex::new(inner));
            (0..7).for_each(|_| world.locked(Inner::clients));
            world
        }

        fn locked<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
            act(&mut self.0.lock().unwrap())
        }

        /// Begins a move of half of shard 0's slots, and carries it out until it ends or its node does.
        async fn begin(&self, slots: SlotSet, to: u8, bug: Option<Bug>) -> bool {
            let plan = self.locked(|world| world.shards[0].directory().unwrap().plan(&slots, to).unwrap());
            assert_eq!(self.locked(|world| world.step(0, MoveStep::Begin(plan))), Progress::Done);
            self.resume(bug).await
        }

        /// Carries out the rest of the move.
        async fn resume(&self, bug: Option<Bug>) -> bool {
            let moving = self.locked(|world| world.shards[0].directory().unwrap().moving().cloned());
            match moving {
                Some(moving) => carry_out(self, &moving, bug).await.is_ok(),
                None => true,
            }
        }

        /// Checks that the move is over and everything acknowledged is at its new owner only.
        fn check_end(&self) {
            self.locked(|world| {
                let directory = world.shards[0].directory().unwrap().clone();
                assert_eq!(directory.moving(), None);
                for (key, value) in &world.known {
                    for shard in 0..2 {
                        let held = world.shards[usize::from(shard)].values.get(key);
                        let expected = crate::key_values::Value::String(value.to_string().into());
                        let expected = (directory.owner(slot_of(key)) == shard).then_some(&expected);
                        assert_eq!(held, expected, "{key:?} at shard {shard}");
                    }
                }
            });
        }
    }

    impl Logs for World {
        async fn step(&self, shard: u8, step: MoveStep) -> Result<Progress, Halted> {
            self.locked(|world| {
                let number = world.steps.len();
                if world.crash == Some((number, Crash::Before)) {
                    world.crash = None;
                    return Err(Halted);
                }
                world.steps.push((shard, step.clone()));
                let progress = world.step(shard, step);
                world.clients();
                if world.crash == Some((number, Crash::After)) {
                    world.crash = None;
                    return Err(Halted);
                }
                Ok(progress)
            })
        }

        async fn chunk(&self, plan: &Move, after: Option<Bytes>) -> Result<Chunk, Halted> {
            self.locked(|world| {
                match world.shards[usize::from(plan.from)].answer(&Query::HandOver {
                    number: plan.number,
                    after,
                    keys: CHUNK_KEYS,
                }) {
                    Answer::HandedOver(chunk) => Ok(*chunk),
                    _ => Err(Halted),
                }
            })
        }
    }

    fn half() -> SlotSet {
        (0..SLOTS / 4).chain(3 * (SLOTS / 4)..SLOTS).collect()
    }

    #[tokio::test]
    async fn a_move_is_resumed_after_a_crash_at_every_step() {
        let world = World::new(None);
        assert!(world.begin(half(), 1, None).await);
        world.check_end();
        let count = world.locked(|world| world.steps.len());
        assert!(count >= 7, "three chunks at least: {count}");
        for crash in (0..count).flat_map(|step| [(step, Crash::Before), (step, Crash::After)]) {
            let world = World::new(None);
            world.locked(|world| world.crash = Some(crash));
            let ended = world.begin(half(), 1, None).await;
            assert!(!ended, "{crash:?}");
            world.locked(Inner::clients);
            assert!(world.resume(None).await, "{crash:?}");
            world.check_end();
        }
    }

    #[tokio::test]
    async fn steps_that_come_late_do_nothing() {
        let again = |world: &World| {
            world.locked(|world| {
                for (shard, step) in world.steps.clone() {
                    let before = world.shards.clone();
                    world.step(shard, step.clone());
                    assert_eq!(before, world.shards, "{step:?}");
                }
            });
        };
        // There, back, and others from the shard that the first ones came from.
        let moves = [(half(), 1), (half(), 0), ((SLOTS / 4..SLOTS / 2).collect(), 1)];
        for crash in 0..7 {
            let world = World::new(None);
            for (slots, to) in &moves {
                world.locked(|world| world.crash = Some((world.steps.len() + crash, Crash::Before)));
                world.begin(slots.clone(), *to, None).await;
                again(&world);
                assert!(world.resume(None).await);
                again(&world);
            }
            world.check_end();
        }
    }

    #[tokio::test]
    async fn a_watched_key_never_gets_a_version_again() {
        let world = World::new(None);
        let key =
            (0..).map(key).find(|key| half().contains(slot_of(key)) && slot_of(key) < SLOTS / 2).unwrap();
        let version = |world: &Inner, shard: usize| match world.shards[shard]
            .answer(&Query::Versions(vec![key.clone()]))
        {
            Answer::Versions(versions) => versions[0],
            other => panic!("{other:?}"),
        };
        let before = world.locked(|world| version(world, 0));
        assert!(world.begin(half(), 1, None).await);
        let mut last = before;
        for _ in 0..300 {
            world.locked(|world| {
                let now = version(world, 1);
                assert!(now >= last, "{now} after {last}");
                last = now;
                let set = Command::Set { key: key.clone(), value: "v".into(), condition: Condition::Always };
                assert_eq!(world.apply(1, set), Reply::Done);
                assert!(version(world, 1) > last);
            });
        }
    }

    #[tokio::test]
    async fn each_bug_breaks_a_move() {
        for bug in [Bug::ServedBeforeArrival, Bug::OldOwnerServes, Bug::DroppedKeysStay] {
            let run = tokio::spawn(async move {
                for step in 0..7 {
                    let world = World::new(Some(bug));
                    world.locked(|world| world.crash = Some((step, Crash::Before)));
                    let ended = world.begin(half(), 1, Some(bug)).await;
                    assert!(ended || world.resume(Some(bug)).await, "{step}");
                    world.check_end();
                }
            });
            assert!(run.await.is_err_and(|error| error.is_panic()), "{bug:?} changes nothing");
        }
    }
}
