//! Broken session guarantees in sentences.

use super::session::Sessions;
use super::shorten::cut;
use super::walk::{Missed, Walk, Why};
use super::{Cycle, Dependency, Part};
use crate::transactions::cycle::Step;
use crate::verdict::{Anomaly, Object, ObjectKind, RelationKind, Role};
use crate::witness::{Op, Statement, Witness, say};

/// Why one write comes before another.
struct Demand {
    step: Step,
    /// The read to which the first was visible: it returned the second, or its session wrote the second after it.
    read: Option<Op>,
    /// Why the first was visible to it, if it returned the second.
    reasons: Vec<(Op, Why)>,
}

impl Demand {
    fn new(sessions: &Sessions<'_, '_>, step: Step) -> Self {
        let (read, reasons) = match step.dependency {
            Dependency::Order => (None, Vec::new()),
            Dependency::WriteRead => (Some(step.key), Vec::new()),
            _ => (Some(step.key), reasons(sessions, step.key, step.from)),
        };
        Self { step, read, reasons }
    }

    fn statement(&self, sessions: &Sessions<'_, '_>, witness: &Witness) -> Statement {
        let Step { from, to, dependency, .. } = self.step;
        let [first, second] = [from, to].map(|op| witness.named(op));
        match self.read {
            None => {
                let process = sessions.facts.operations[from as usize].process;
                say(format!("Process {process} did {first} before {second}."), &[from, to]).relates(
                    RelationKind::Process,
                    from,
                    to,
                )
            }
            Some(read) if dependency == Dependency::WriteRead => {
                let why = vec![(from, Why::Followed { write: to, read })];
                visible(sessions, witness, &why, None).and(&format!("So {second} comes after {first}."))
            }
            Some(read) => visible(sessions, witness, &self.reasons, Some(read))
                .and(&format!("It returned what {second} wrote: so {second} comes after {first}.",))
                .relates(RelationKind::WriteRead, to, read)
                .relates(RelationKind::WriteWrite, from, to),
        }
    }

    /// Returns the operations that it is about, besides the two writes.
    fn others(&self) -> impl Iterator<Item = (Op, Role)> + '_ {
        self.read.map(|read| (read, Role::Read)).into_iter().chain(parts(&self.reasons))
    }
}

/// Returns why `write` was visible to `read`.
fn reasons(sessions: &Sessions<'_, '_>, read: Op, write: Op) -> Vec<(Op, Why)> {
    let mut walk = Walk::new(sessions);
    let session = sessions.place(read).0;
    walk.begin(session);
    for place in sessions.range(session).take_while(|place| sessions.acts[*place].op != read) {
        walk.act(place, &mut Part::default());
    }
    walk.reasons(write)
}

/// Returns the operations of `reasons`.
fn parts(reasons: &[(Op, Why)]) -> impl Iterator<Item = (Op, Role)> + '_ {
    reasons.iter().flat_map(|(write, why)| {
        let read = match why {
            Why::Own | Why::Before(_) => None,
            Why::Read(read) | Why::Followed { read, .. } => Some((*read, Role::Evidence)),
        };
        [(*write, Role::Write)].into_iter().chain(read)
    })
}

/// Says why the first write of `reasons` is visible to `read`, from the last of them on; one sentence.
fn visible(
    sessions: &Sessions<'_, '_>,
    witness: &Witness,
    reasons: &[(Op, Why)],
    read: Option<Op>,
) -> Statement {
    let (mut clauses, mut relations, mut about) = (Vec::new(), Vec::new(), Vec::from_iter(read));
    let named = |op: Op| witness.named(op);
    let process = |op: Op| sessions.facts.operations[op as usize].process;
    for (write, why) in reasons.iter().rev() {
        about.push(*write);
        clauses.push(match *why {
            Why::Own => {
                relations.extend(read.map(|read| (RelationKind::Process, *write, read)));
                format!("process {} had done {} itself", process(*write), named(*write))
            }
            Why::Read(saw) => {
                about.push(saw);
                relations.push((RelationKind::WriteRead, *write, saw));
                relations.extend(read.map(|read| (RelationKind::Process, saw, read)));
                format!("process {} had seen what {} wrote, in {}", process(saw), named(*write), named(saw))
            }
            Why::Before(next) => {
                about.push(next);
                relations.push((RelationKind::Process, *write, next));
                format!("process {} did {} before {}", process(next), named(*write), named(next))
            }
            Why::Followed { write: next, read: saw } => {
                about.extend([next, saw]);
                let (kind, how) = if sessions.returned(saw, *write) {
                    (RelationKind::WriteRead, "saw what")
                } else {
                    (RelationKind::Process, "had to see what")
                };
                relations.extend([(kind, *write, saw), (RelationKind::Process, saw, next)]);
                let then = match saw == next {
                    true => String::new(),
                    false => format!(", before process {} did {}", process(next), named(next)),
                };
                format!("{} {how} {} wrote{then}", named(saw), named(*write))
            }
        });
    }
    let mut sentence = clauses.join("; ");
    if let Some(first) = sentence.get(..1) {
        sentence = first.to_uppercase() + &sentence[1..];
    }
    if let (Some(read), Some((write, _))) = (read, reasons.first()) {
        sentence.push_str(&format!(": so {} had to see {}", named(read), named(*write)));
    }
    let statement = say(sentence + ".", &about);
    let relations = relations.into_iter().filter(|(_, from, to)| from != to);
    relations.fold(statement, |statement, (kind, from, to)| statement.relates(kind, from, to))
}

/// Returns a witness of `roles`, about the registers of `keys`.
fn witness(
    sessions: &Sessions<'_, '_>,
    keys: impl IntoIterator<Item = Op>,
    roles: Vec<(Op, Role)>,
) -> Witness {
    let key = |op: Op| sessions.acts[sessions.place(op).1].key;
    let mut numbers: Vec<u32> = keys.into_iter().map(key).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let name = |number: &u32| sessions.facts.keys[*number as usize].clone();
    let objects = numbers.iter().map(|number| Object::new(ObjectKind::Key, &name(number))).collect();
    Witness::of(objects, sessions.facts.operations, &Vec::new(), roles)
}

/// Describes a cycle of writes.
pub(super) fn cycle(sessions: &Sessions<'_, '_>, cycle: &Cycle) -> Anomaly {
    let steps = cut(sessions, cycle);
    let demands: Vec<Demand> = steps.iter().map(|step| Demand::new(sessions, *step)).collect();
    let writes: Vec<Op> = steps.iter().map(|step| step.from).collect();
    let roles = writes.iter().map(|write| (*write, Role::Write));
    let witness = witness(
        sessions,
        writes.iter().copied(),
        roles.chain(demands.iter().flat_map(Demand::others)).collect(),
    );
    let mut argument: Vec<Statement> =
        demands.iter().map(|demand| demand.statement(sessions, &witness)).collect();
    let around: Vec<&str> = writes.iter().map(|write| witness.label(*write)).collect();
    argument.push(say(
        format!(
            "So each of {} had to come before the next, and the last before the first.",
            around.join(", ")
        ),
        &writes,
    ));
    let summary = format!(
        "{}: {} writes had to come before each other, in a cycle: {} and {} again",
        cycle.kind,
        writes.len(),
        around.join(", "),
        around[0]
    );
    witness.anomaly(cycle.kind, None, summary, argument)
}

/// Describes a read of an initial value that a visible write had replaced.
pub(super) fn missed(sessions: &Sessions<'_, '_>, missed: &Missed) -> Anomaly {
    let Missed { kind, read, write } = *missed;
    let reasons = reasons(sessions, read, write);
    let roles = [(read, Role::Read), (write, Role::Write)].into_iter().chain(parts(&reasons));
    let witness = witness(sessions, [read, write], roles.collect());
    let key = &sessions.acts[sessions.place(read).1].key;
    let key = sessions.facts.keys[*key as usize];
    let summary = format!(
        "{} saw {key} as it was at first, and had to see what {} wrote",
        witness.named(read),
        witness.named(write)
    );
    let argument = vec![
        visible(sessions, &witness, &reasons, Some(read)),
        say(format!("{} saw {key} as it was before every write.", witness.named(read)), &[read]).relates(
            RelationKind::ReadWrite,
            read,
            write,
        ),
    ];
    witness.anomaly(kind, read, summary, argument)
}
