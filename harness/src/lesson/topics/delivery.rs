//! Delivery: at most once, at least once, exactly once.

use duress_checkers::delivery::DeliveryReport;
use duress_history::{Allowed, Delivery};

use crate::judge::verdict::RunVerdict;
use crate::lesson::experiment::{Experiment, Measured};
use crate::lesson::section::{Section, Statement, Table};
use crate::lesson::topic::{Setting, Topic};

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "delivery",
    claim: "Messages are delivered at most once, at least once or exactly once, by how they are acknowledged and when they are \
            committed.",
    runs,
    section,
};

/// How messages are sent, weakest first: the broker's options `acks` and `idempotent`. Unacknowledged messages are sent
/// again, except where no broker acknowledges them: the client would not know which.
const SENT: [(&str, &str); 4] = [
    ("0", "-o acks=0 -o idempotent=off"),
    ("1", "-o acks=1 -o idempotent=off -o retries=3"),
    ("all", "-o acks=all -o idempotent=off -o retries=3"),
    ("all, idempotent", "-o acks=all -o idempotent=on -o retries=3"),
];

/// When a consumer commits its messages, relative to when it got them.
const COMMITTED: [&str; 2] = ["before", "after"];

fn runs(setting: &Setting) -> Vec<Experiment> {
    let Setting { faults, nodes, interval } = setting;
    let mut runs = Vec::new();
    for (acks, options) in SENT {
        for commit in COMMITTED {
            for faults in faults {
                let words = format!(
                    "broker --workload queue --nodes {nodes} --faults {faults} --interval {}ms {options} -o commit={commit}",
                    interval.as_millis()
                );
                runs.push(Experiment::new(format!("acks={acks} | {commit} | {faults}"), &words));
            }
        }
    }
    runs
}

/// The delivery counts of a run.
struct Counted<'a> {
    verdict: &'a RunVerdict,
    promise: &'a str,
    delivery: &'a DeliveryReport,
}

impl<'a> Counted<'a> {
    fn of(run: &'a Measured) -> Option<Self> {
        let record = run.figures()?;
        let delivery = record.check.details.as_ref()?.delivery()?;
        Some(Self { verdict: &record.verdict, promise: &record.promise, delivery })
    }

    /// Returns the number of messages that were acknowledged or read, and are gone.
    ///
    /// An acknowledgement without an offset does not give the message's place, so that a checker cannot prove
    /// that it is gone; but where everything was read to its end, as in a valid run, a message that was not found is gone.
    fn gone(&self) -> u64 {
        let counts = self.delivery.counts;
        if *self.verdict == RunVerdict::Valid { counts.lost + counts.unseen } else { counts.lost }
    }

    /// Returns the promise of delivery that was kept, where that can be said.
    fn reached(&self) -> Option<Delivery> {
        let counts = self.delivery.counts;
        let repetition = Allowed::from(counts.duplicated + counts.redelivered > 0);
        let lost = || (self.gone() > 0).then(|| Delivery::of(Allowed::Yes, repetition));
        self.delivery.reached.or_else(lost)
    }
}

fn section(runs: &[Measured]) -> Section {
    Section { statements: statements(runs), charts: Vec::new(), tables: vec![table(runs)] }
}

/// A statement for each way to send and to commit, over all faults.
fn statements(runs: &[Measured]) -> Vec<Statement> {
    let each = runs.len() / (SENT.len() * COMMITTED.len());
    let ways = SENT.into_iter().flat_map(|(acks, _)| COMMITTED.map(|commit| (acks, commit)));
    let of = |((acks, commit), runs): ((&str, &str), &[Measured])| {
        let counted: Vec<Counted<'_>> = runs.iter().filter_map(Counted::of).collect();
        let way = format!("acks={acks}, committed {commit} a consumer gets them");
        if let ([], Some(run)) = (&counted[..], runs.first()) {
            return Statement::of(format!("{way}: not measured ({}).", run.kept()), runs);
        }
        let sum = |count: fn(&Counted<'_>) -> u64| counted.iter().map(count).sum::<u64>();
        let text = format!(
            "{way}: in {} of {} runs {} messages were lost and {} stored twice; consumers skipped {} and got {} again.",
            counted.len(),
            runs.len(),
            sum(|run| run.gone()),
            sum(|run| run.delivery.counts.duplicated),
            sum(|run| run.delivery.counts.undelivered),
            sum(|run| run.delivery.counts.redelivered)
        );
        Statement::of(text, runs)
    };
    ways.zip(runs.chunks(each.max(1))).map(of).collect()
}

fn table(runs: &[Measured]) -> Table {
    let row = |run: &Measured| {
        let name = run.experiment.name.trim_start_matches("acks=");
        let mut cells: Vec<String> = name.split(" | ").map(str::to_owned).collect();
        match Counted::of(run) {
            Some(counted) => {
                let counts = counted.delivery.counts;
                let numbers = [
                    counts.acknowledged,
                    counted.gone(),
                    counts.duplicated,
                    counts.reordered,
                    counts.undelivered,
                    counts.redelivered,
                ];
                cells.extend(numbers.map(|number| number.to_string()));
                cells.push(
                    counted.reached().map_or_else(|| "not known".to_owned(), |reached| reached.to_string()),
                );
                cells.push(format!("{}: {}", counted.promise, run.kept()));
            }
            None => {
                cells.extend(["–"; 7].map(str::to_owned));
                cells.push(run.kept());
            }
        }
        cells
    };
    Table {
        caption: "Half of the processes send; the others are one group that consumes, and whose members die now and then. Lost: \
                  acknowledged or read, and in no partition at the end. Skipped: in its partition and below the group's committed \
                  offset, although no member received it. Repeated: delivered to the group more than once"
            .to_owned(),
        head: [
            "acks",
            "commit",
            "faults",
            "acknowledged",
            "lost",
            "duplicated",
            "reordered",
            "skipped",
            "repeated",
            "reached",
            "promised, and kept?",
        ]
        .map(str::to_owned)
        .into(),
        rows: runs.iter().map(row).collect(),
    }
}
