//! Rounds of documents that are loaded, counted and gathered.
//!
//! The documents of a round are loaded first, each until that is acknowledged. Then each is a task, for one worker at a time. When
//! every task of the round is done, or given up, its parts are gathered. While nothing is to do for a round, because all of it is
//! in progress, the next one begins, so that a worker that hangs keeps only its own round waiting.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use duress_history::job::{Dies, Job, Part};
use duress_history::{Event, OpType, Process, Scalar};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::JobOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};
use crate::workload::objects::Object;

/// The streams of chance of workers follow this one, a stream for each process slot.
const WORKERS_STREAM: u64 = 3000;

/// The words of documents. The first is drawn twice as often as the second, three times as often as the third, and so on: Zipf's
/// law.
const WORDS: [&str; 32] = [
    "the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "with", "as", "his",
    "they", "at", "be", "this", "have", "from", "or", "one", "had", "by", "word", "but", "not", "what",
    "all", "were", "we",
];

/// Documents, tasks and gathers without end, which depend on the seed, the options, and on which operations succeed.
#[derive(Debug)]
pub struct JobMix {
    options: JobOptions,
    seed: u64,
    rng: ChaCha8Rng,
    prefix: String,
    /// Every document so far; each [`JobOptions::documents`] of them are a round.
    documents: Vec<Document>,
    /// Documents that are to be loaded, tasks that are to be given to a worker, and rounds that are to be gathered.
    loads: VecDeque<usize>,
    tasks: VecDeque<usize>,
    gathers: VecDeque<usize>,
    doing: BTreeMap<Process, Doing>,
    /// By process slot.
    workers: BTreeMap<usize, Worker>,
    /// Once the last phase has begun: when it gives up.
    closing: Option<Duration>,
}

#[derive(Debug)]
struct Document {
    text: String,
    /// How often its task was given to a worker.
    attempts: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is not known to be there.
    Unloaded,
    /// Its task is to be done.
    Loaded,
    /// Its task is done; or not done, and not given to a worker again.
    Ended,
}

/// The operation that a process has in progress.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Load(usize),
    Count(usize),
    Gather(usize),
}

/// The worker of a process slot.
#[derive(Debug)]
struct Worker {
    rng: ChaCha8Rng,
    /// When it ends.
    dies: Duration,
}

impl Worker {
    /// Returns how the worker ends in the task that it is given now, if it does; another one takes its place.
    fn ends(&mut self, now: Duration, mean_ms: u64) -> Option<Dies> {
        if now < self.dies {
            return None;
        }
        self.dies = now + life(&mut self.rng, mean_ms);
        Some(if self.rng.random_bool(0.5) { Dies::Unwritten } else { Dies::Unreported })
    }
}

fn life(rng: &mut ChaCha8Rng, mean_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(mean_ms / 2..=mean_ms + mean_ms / 2).max(1))
}

impl JobMix {
    /// Returns a mix drawn from `seed`; `options` are within their ranges.
    #[must_use]
    pub fn new(options: JobOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        Self {
            options,
            seed,
            rng,
            prefix: String::new(),
            documents: Vec::new(),
            loads: VecDeque::new(),
            tasks: VecDeque::new(),
            gathers: VecDeque::new(),
            doing: BTreeMap::new(),
            workers: BTreeMap::new(),
            closing: None,
        }
    }

    /// Has the names of its documents begin with `prefix`.
    pub fn rename(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.prefix);
    }

    /// Begins the last phase: nothing is loaded any more, and every document that is there is a task, until `deadline` since clients
    /// began.
    pub fn close(&mut self, deadline: Duration) {
        self.closing = Some(deadline);
        self.loads.clear();
        self.gathers.clear();
        // Those of a round that was not loaded to its end were not among them.
        self.tasks =
            (0..self.documents.len()).filter(|at| self.documents[*at].state == State::Loaded).collect();
    }

    /// How many tasks are not done.
    #[must_use]
    pub fn left(&self) -> usize {
        self.documents.iter().filter(|document| document.state == State::Loaded).count()
    }

    /// Returns what is to be gathered of each round whose tasks have ended, or of as much of it as has.
    pub fn results(&self) -> impl Iterator<Item = Vec<(Scalar, u32)>> {
        let rounds = 0..self.documents.len().div_ceil(self.options.documents as usize);
        rounds.map(|round| self.result(round)).filter(|parts| !parts.is_empty())
    }

    fn round(&self, round: usize) -> std::ops::Range<usize> {
        let documents = self.options.documents as usize;
        round * documents..((round + 1) * documents).min(self.documents.len())
    }

    /// Returns the parts of a round's ended tasks.
    fn result(&self, round: usize) -> Vec<(Scalar, u32)> {
        let ended = self.round(round).filter(|at| self.documents[*at].state == State::Ended);
        let parts = ended.flat_map(|at| (1..=self.last_part(at)).map(move |number| (at, number)));
        parts.map(|(at, number)| (self.name(at), number)).collect()
    }

    /// Returns the number of the last part that a document may have.
    fn last_part(&self, at: usize) -> u32 {
        let attempts = self.documents[at].attempts;
        if self.options.dedupe { attempts.min(1) } else { attempts }
    }

    fn name(&self, at: usize) -> Scalar {
        Scalar::from(format!("{}d{at}", self.prefix).as_str())
    }

    /// Draws the documents of the next round.
    fn begin_round(&mut self) {
        let ranks: Vec<usize> = (1..=WORDS.len()).collect();
        for _ in 0..self.options.documents {
            let word = |_| {
                let rank = ranks.choose_weighted(&mut self.rng, |rank| 1.0 / *rank as f64);
                WORDS[rank.expect("weights are positive") - 1]
            };
            let text = (0..self.options.words).map(word).collect::<Vec<_>>().join(" ");
            self.loads.push_back(self.documents.len());
            self.documents.push(Document { text, attempts: 0, state: State::Unloaded });
        }
    }

    fn count(&mut self, at: usize, context: &Context) -> Job {
        self.documents[at].attempts += 1;
        let Self { seed, options: JobOptions { worker_ms, .. }, .. } = *self;
        let part = Part::asked(self.name(at), self.last_part(at));
        let worker = self.workers.entry(context.slot).or_insert_with(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(WORKERS_STREAM + context.slot as u64);
            let dies = context.now + life(&mut rng, worker_ms);
            Worker { rng, dies }
        });
        // In the last phase there is nothing left to disturb.
        let dies = if self.closing.is_some() { None } else { worker.ends(context.now, worker_ms) };
        Job::Count { part, dies }
    }

    /// Takes note of the end of what a process did; `done` if that was acknowledged and has the intended effect.
    fn ended(&mut self, doing: Doing, done: bool) {
        match (doing, done) {
            (Doing::Load(at), true) => {
                self.documents[at].state = State::Loaded;
                let round = self.round(at / self.options.documents as usize);
                if self.closing.is_none() && round.clone().all(|at| self.documents[at].state == State::Loaded)
                {
                    self.tasks.extend(round);
                }
            }
            (Doing::Load(at), false) if self.closing.is_none() => self.loads.push_back(at),
            (Doing::Count(at), false) if self.options.retry => self.tasks.push_back(at),
            (Doing::Count(at), _) => {
                self.documents[at].state = State::Ended;
                let round = at / self.options.documents as usize;
                if self.round(round).all(|at| self.documents[at].state == State::Ended) {
                    self.gathers.push_back(round);
                }
            }
            (Doing::Gather(round), false) => self.gathers.push_back(round),
            (Doing::Load(_) | Doing::Gather(_), _) => {}
        }
    }
}

impl Generator<Job> for JobMix {
    fn next(&mut self, context: &Context) -> Next<Job> {
        if let Some(deadline) = self.closing {
            // The last gathers are made elsewhere.
            self.gathers.clear();
            let idle = self.tasks.is_empty() && self.doing.is_empty();
            if context.now >= deadline || idle {
                return Next::Done;
            }
            if self.tasks.is_empty() {
                return Next::Pending;
            }
        }
        let (doing, action) = if let Some(round) = self.gathers.pop_front() {
            (Doing::Gather(round), Job::reading(self.result(round)))
        } else if let Some(at) = self.tasks.pop_front() {
            (Doing::Count(at), self.count(at, context))
        } else {
            if self.loads.is_empty() {
                self.begin_round();
            }
            let at = self.loads.pop_front().expect("a round has documents");
            let text = self.documents[at].text.clone();
            (Doing::Load(at), Job::Load { document: self.name(at), text })
        };
        self.doing.insert(context.process, doing);
        Next::Op(action)
    }

    fn update(&mut self, event: &Event<Job>) {
        if event.op_type == OpType::Invoke {
            return;
        }
        let Some(doing) = self.doing.remove(&event.process) else { return };
        let done = match &event.action {
            // A worker that finds no document has not done its task.
            Job::Count { part, .. } => part.counts.is_some(),
            Job::Load { .. } | Job::Gather(_) => true,
        };
        self.ended(doing, done && event.op_type == OpType::Ok);
    }
}

#[cfg(test)]
mod tests {
    use duress_history::job::Counts;

    use super::*;

    /// A mix, and workers that do what they are given at once.
    struct Round {
        mix: JobMix,
        now_ms: u64,
        process: u64,
    }

    impl Round {
        fn new(options: JobOptions) -> Self {
            Self { mix: JobMix::new(options, 7), now_ms: 0, process: 0 }
        }

        /// Has the mix asked for an operation for a process of its own.
        fn next(&mut self) -> Next<Job> {
            self.now_ms += 1;
            self.process += 1;
            let (now, process) = (Duration::from_millis(self.now_ms), Process(self.process));
            self.mix.next(&Context { now, slot: 0, slots: 1, process })
        }

        /// Ends the operation that was given to the last process.
        fn end(&mut self, op_type: OpType, action: Job) {
            let process = Process(self.process);
            self.mix.update(&Event { index: 0, time: 0, process, op_type, action, node: None, error: None });
        }

        /// Has the next operation end so, a count with the words of a document if it happened; returns it.
        fn ends(&mut self, op_type: OpType) -> Job {
            let Next::Op(action) = self.next() else { panic!("nothing to do: {:?}", self.mix) };
            let answer = match action.clone() {
                Job::Count { part, dies } if op_type == OpType::Ok => {
                    Job::Count { part: Part { counts: Some(Counts::of("the")), ..part }, dies }
                }
                other => other,
            };
            self.end(op_type, answer);
            action
        }
    }

    const TWO: JobOptions =
        JobOptions { documents: 2, words: 3, worker_ms: 86_400_000, retry: true, dedupe: true };

    /// Describes an operation: `load d0`, `count d0:1`, `gather d0:1 d1:1`.
    fn brief(action: &Job) -> String {
        let named = |part: &Part| format!("{}:{}", part.document, part.number);
        match action {
            Job::Load { document, .. } => format!("load {document}"),
            Job::Count { part, .. } => format!("count {}", named(part)),
            Job::Gather(parts) => format!("gather {}", parts.iter().map(named).collect::<Vec<_>>().join(" ")),
        }
    }

    fn briefs(round: &mut Round, endings: &[OpType]) -> Vec<String> {
        endings.iter().map(|ending| brief(&round.ends(*ending))).collect()
    }

    const OK: OpType = OpType::Ok;
    const FAIL: OpType = OpType::Fail;
    const INFO: OpType = OpType::Info;

    #[test]
    fn a_round_is_loaded_and_counted_and_gathered() {
        let mut round = Round::new(TWO);
        let done = briefs(&mut round, &[INFO, OK, OK, FAIL, OK, INFO, OK, FAIL, OK, OK]);
        let expected = [
            "load d0",
            "load d1",
            "load d0",
            "count d0:1",
            "count d1:1",
            "count d0:1",
            "count d0:1",
            "gather d0:1 d1:1",
            "gather d0:1 d1:1",
            "load d2",
        ];
        assert_eq!(done, expected);
    }

    #[test]
    fn without_retry_a_task_is_given_once_and_without_dedupe_each_execution_has_a_part_of_its_own() {
        let mut round = Round::new(JobOptions { retry: false, ..TWO });
        let done = briefs(&mut round, &[OK, OK, INFO, OK, OK]);
        assert_eq!(done[2..], ["count d0:1", "count d1:1", "gather d0:1 d1:1"]);
        let mut round = Round::new(JobOptions { dedupe: false, ..TWO });
        let done = briefs(&mut round, &[OK, OK, INFO, OK, OK, OK]);
        assert_eq!(done[2..], ["count d0:1", "count d1:1", "count d0:2", "gather d0:1 d0:2 d1:1"]);
    }

    #[test]
    fn a_worker_that_finds_no_document_has_not_done_its_task() {
        let mut round = Round::new(TWO);
        briefs(&mut round, &[OK, OK]);
        let Next::Op(action) = round.next() else { panic!("a task") };
        round.end(OK, action);
        assert_eq!(briefs(&mut round, &[OK, OK]), ["count d1:1", "count d0:1"]);
    }

    #[test]
    fn the_last_phase_does_what_is_left_and_loads_nothing() {
        let mut round = Round::new(TWO);
        briefs(&mut round, &[OK, OK, OK, INFO]);
        // The task of one is left; a document of the next round was loaded, and the other was not.
        let Next::Op(retried) = round.next() else { panic!("a task") };
        round.end(FAIL, retried);
        round.mix.tasks.clear();
        assert_eq!(briefs(&mut round, &[OK, INFO]), ["load d2", "load d3"]);
        round.mix.close(Duration::from_secs(9));
        assert_eq!(round.mix.left(), 2);
        assert_eq!(briefs(&mut round, &[OK, FAIL, OK]), ["count d1:1", "count d2:1", "count d2:1"]);
        assert_eq!((round.next(), round.mix.left()), (Next::Done, 0));
        let results: Vec<_> = round.mix.results().map(Job::reading).map(|gather| brief(&gather)).collect();
        assert_eq!(results, ["gather d0:1 d1:1", "gather d2:1"]);
        // A mix that is closed again hands out no task that is done.
        round.mix.close(Duration::from_secs(9));
        assert_eq!(round.next(), Next::Done);
    }

    #[test]
    fn the_seed_decides_every_document_and_workers_end_now_and_then() {
        let texts = |endings: &[OpType]| {
            let mut round = Round::new(TWO);
            briefs(&mut round, endings);
            round.mix.documents.into_iter().map(|document| document.text).collect::<Vec<_>>()
        };
        let (calm, troubled) =
            (texts(&[OK; 12]), texts(&[INFO, OK, OK, FAIL, INFO, OK, OK, OK, OK, OK, OK, OK]));
        let both = calm.len().min(troubled.len());
        assert!(both >= 4 && calm[..both] == troubled[..both], "{calm:?}\n{troubled:?}");
        let mut round = Round::new(JobOptions { worker_ms: 20, ..TWO });
        round.mix.rename("p-");
        let mut ends = BTreeMap::new();
        for _ in 0..2000 {
            let action = round.ends(OK);
            if let Job::Count { part, dies } = action {
                assert!(part.document.to_string().starts_with("p-d"), "{part:?}");
                *ends.entry(dies.map(|dies| format!("{dies:?}"))).or_insert(0) += 1;
            }
        }
        assert_eq!(ends.len(), 3, "{ends:?}");
        assert!(ends.iter().all(|(dies, times)| dies.is_none() || (20..=80).contains(times)), "{ends:?}");
    }
}
