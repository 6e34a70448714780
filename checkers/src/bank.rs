//! Bank: does every read see the same amount of money?
//!
//! Transfers move money between accounts, and neither make nor destroy any: if no transaction misses a part of what another did
//! that it saw, and none overwrites what it did not see, the balances of each read add up to the same total. That is so under PL-2+
//! (consistent view), which snapshot isolation implies, and under PL-2.99 (repeatable read): a read with another total is a cycle
//! of dependencies with one anti-dependency (G-single). Less promises nothing about totals.
//!
//! The checks and their names are those of Jepsen's bank test:
//!
//! - *Wrong total*: the balances do not add up to the total. Where that is not known, it is the one that most reads agree on (of
//!   several, the first one read): two reads that disagree cannot both be right.
//! - *Negative value*: an account has less than nothing, unless that is allowed.
//! - *Nil balance*: an account was not found.
//!
//! Where a history has a `create`, that gives the total. It makes all accounts at once, so that a read finds all of them or none:
//! one that finds none saw a state before it, which is an anomaly only if it was acknowledged before the read began, and real time
//! is promised.

use duress_history::bank::{Balances, Bank, Reading};
use duress_history::pairs::Completion;
use duress_history::{Allowed, ConsistencyModel, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::delivery::happened;
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Reason, Role};
use crate::witness::{Describe, Op, Witness, say};

/// The promise of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankOptions {
    /// The sum of all balances; `None` if the history tells.
    pub total: Option<i64>,
    /// Whether a balance may be negative.
    pub negative: Allowed,
    /// The consistency model that the system promises for transactions.
    pub model: ConsistencyModel,
}

impl Default for BankOptions {
    /// The history tells the total, balances are not negative, and everything is promised.
    fn default() -> Self {
        Self { total: None, negative: Allowed::No, model: ConsistencyModel::StrictSerializable }
    }
}

/// Whether totals are constant under `model`.
fn keeps_totals(model: ConsistencyModel) -> bool {
    model.implies(ConsistencyModel::ConsistentView) || model.implies(ConsistencyModel::RepeatableRead)
}

/// An answered read: its number, its balances and their sum, which is `None` if one is nil.
struct Read<'a> {
    op: Op,
    balances: &'a Balances,
    sum: Option<i128>,
}

fn sum(balances: &Balances) -> Option<i128> {
    balances.0.iter().map(|(_, balance)| balance.map(i128::from)).sum()
}

/// The operation that makes the accounts, perhaps tried several times.
struct Created {
    /// The first try that was acknowledged, else the first.
    op: Op,
    /// The event that acknowledged it.
    acknowledged: Option<u64>,
    accounts: Vec<Scalar>,
    sum: Option<i128>,
}

impl Created {
    /// Returns how accounts are made; `None` if they were there from the beginning.
    ///
    /// # Errors
    /// [`Reason`], if they are made in different ways.
    fn of(operations: &[Operation<Bank>]) -> Result<Option<Self>, Reason> {
        let creates = operations.iter().enumerate().filter_map(|(op, operation)| match &operation.action {
            Bank::Create(balances) => Some((op as Op, balances, &operation.completion)),
            _ => None,
        });
        let mut created: Option<(Self, &Balances)> = None;
        for (op, balances, completion) in creates {
            let acknowledged = match completion {
                Completion::Ok { index, .. } => Some(*index),
                _ => None,
            };
            match &mut created {
                None => {
                    let accounts = balances.accounts().cloned().collect();
                    created = Some((Self { op, acknowledged, accounts, sum: sum(balances) }, balances));
                }
                Some((_, first)) if *first != balances => {
                    let what = "accounts are created in different ways: the total is not known".to_owned();
                    return Err(Reason::NotExamined { what });
                }
                Some((first, _)) if first.acknowledged.is_none() && acknowledged.is_some() => {
                    (first.op, first.acknowledged) = (op, acknowledged);
                }
                Some(_) => {}
            }
        }
        Ok(created.map(|(created, _)| created))
    }
}

/// Checks the reads among `operations`, which are in order of invocation. Time O(balances).
#[must_use]
pub fn check_bank(operations: &[Operation<Bank>], options: BankOptions) -> CheckReport {
    let (model, promised) = (options.model, keeps_totals(options.model));
    let mut findings = Findings::new(move |_| Allowed::from(!promised));
    let mut reasons = Vec::new();
    if !promised {
        let what =
            format!("{model} promises nothing about the total of accounts: consistent-view does, and more");
        reasons.push(Reason::NotExamined { what });
    }
    let mut reads: Vec<Read<'_>> = operations
        .iter()
        .enumerate()
        .filter_map(|(op, operation)| match &operation.completion {
            Completion::Ok { answer: Bank::Read(Reading::Answered(balances)), .. } => {
                Some(Read { op: op as Op, balances, sum: sum(balances) })
            }
            _ => None,
        })
        .collect();
    let created = Created::of(operations).unwrap_or_else(|reason| {
        reasons.push(reason);
        reads.clear();
        None
    });
    if let Some(created) = &created {
        let answered = reads.len();
        reads.retain(|read| read.balances.are_of(&created.accounts));
        if reads.len() < answered {
            let what =
                "reads are about other accounts than were created: their total is not known".to_owned();
            reasons.push(Reason::NotExamined { what });
        }
    }
    // The total, and an operation that has it where the history tells.
    let total = match (options.total, &created) {
        (Some(total), _) => Some((i128::from(total), None)),
        (None, Some(Created { op, sum: Some(sum), .. })) => Some((*sum, Some(*op))),
        (None, _) => usual(&reads).map(|(sum, op)| (sum, Some(op))),
    };
    for read in &reads {
        let balance = |wrong: fn(Option<i64>) -> bool| {
            read.balances.0.iter().find(|(_, balance)| wrong(*balance)).map(|(account, _)| account)
        };
        match (balance(|balance| balance.is_none()), &created) {
            (None, _) => {}
            (Some(_), Some(created)) if balance(|balance| balance.is_some()).is_none() => {
                let began = operations[read.op as usize].index;
                if model.implies(ConsistencyModel::StrongReadUncommitted)
                    && created.acknowledged.is_some_and(|index| index < began)
                {
                    findings.add(AnomalyKind::NilBalance, || gone(operations, read.op, created.op));
                }
            }
            (Some(account), created) => findings.add(AnomalyKind::NilBalance, || {
                let because = match created {
                    Some(_) => "others have one, and all were created at once",
                    None => "no operation removes an account",
                };
                let why = format!("account {account} has no balance in it, and {because}");
                alone(operations, read.op, AnomalyKind::NilBalance, &why)
            }),
        }
        if let (Some((total, holder)), Some(sum)) = (total, read.sum)
            && sum != total
        {
            findings.add(AnomalyKind::WrongTotal, || match holder {
                None => {
                    let why = format!("its balances add up to {sum}, and the total is {total}");
                    alone(operations, read.op, AnomalyKind::WrongTotal, &why)
                }
                Some(holder) => disagreeing(operations, (read.op, sum), (holder, total)),
            });
        }
        if options.negative == Allowed::No
            && let Some(account) = balance(|balance| balance.is_some_and(|balance| balance < 0))
        {
            findings.add(AnomalyKind::NegativeValue, || {
                let why = format!("account {account} has a negative balance, and no account may have one");
                alone(operations, read.op, AnomalyKind::NegativeValue, &why)
            });
        }
    }
    let observed = reads.iter().filter(|read| created.is_none() || read.sum.is_some()).count();
    findings.report(1, operations.len(), (happened(operations), observed as u64), reasons)
}

/// Returns the sum that most reads have, the first of these if several have it equally often, and the first read with it.
fn usual(reads: &[Read<'_>]) -> Option<(i128, Op)> {
    let mut sums: FxHashMap<i128, (usize, Op)> = FxHashMap::default();
    for read in reads {
        if let Some(sum) = read.sum {
            sums.entry(sum).or_insert((0, read.op)).0 += 1;
        }
    }
    sums.into_iter()
        .max_by_key(|(_, (count, first))| (*count, std::cmp::Reverse(*first)))
        .map(|(sum, (_, first))| (sum, first))
}

/// Returns the witness of a read that is wrong by itself.
fn alone(operations: &[Operation<Bank>], read: Op, kind: AnomalyKind, why: &str) -> Anomaly {
    let witness = Witness::of(Vec::new(), operations, &(), [(read, Role::Read)]);
    let summary = format!("{}: {why}", witness.named(read));
    let steps = vec![say(format!("{} is wrong: {why}.", witness.named(read)), &[read])];
    witness.anomaly(kind, read, summary, steps)
}

/// Returns the witness of a read that found no account, although all had been created.
fn gone(operations: &[Operation<Bank>], read: Op, created: Op) -> Anomaly {
    let roles = [(read, Role::Read), (created, Role::Evidence)];
    let witness = Witness::of(Vec::new(), operations, &(), roles);
    let steps = vec![
        witness.before(created, read),
        say(format!("No operation removes an account, and {} found none.", witness.named(read)), &[read]),
    ];
    let summary = format!(
        "{} found no account, although {} had been acknowledged",
        witness.named(read),
        witness.named(created)
    );
    witness.anomaly(AnomalyKind::NilBalance, read, summary, steps)
}

/// Returns the witness of a read, with its sum, that does not have the total that `holder` has: another read, or the creation
/// of the accounts.
fn disagreeing(
    operations: &[Operation<Bank>],
    (read, sum): (Op, i128),
    (holder, total): (Op, i128),
) -> Anomaly {
    let roles = [(read, Role::Read), (holder, Role::Evidence)];
    let witness = Witness::of(Vec::new(), operations, &(), roles);
    let step =
        |op: Op, sum: i128| say(format!("The balances of {} add up to {sum}.", witness.named(op)), &[op]);
    let steps = vec![
        step(holder, total),
        step(read, sum),
        say(
            "Transfers only move money, so the balances of every read add up to the same total.",
            &[read, holder],
        ),
    ];
    let like = match operations[holder as usize].action {
        Bank::Read(_) => ", like most reads,",
        _ => "",
    };
    let summary =
        format!("{} adds up to {sum}, and {}{like} to {total}", witness.named(read), witness.named(holder));
    witness.anomaly(AnomalyKind::WrongTotal, read, summary, steps)
}

/// The number of balances that a witness shows.
const BALANCES_SHOWN: usize = 12;

/// Describes the first few balances.
fn shown(Balances(balances): &Balances) -> String {
    let shown = balances.iter().take(BALANCES_SHOWN).map(|(account, balance)| match balance {
        Some(balance) => format!("{account}: {balance}"),
        None => format!("{account}: nil"),
    });
    let more = if balances.len() > BALANCES_SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}

impl Describe for Bank {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        match self {
            Self::Create(balances) => format!("create {}", shown(balances)),
            Self::Transfer(transfer) => {
                format!("transfer {} from {} to {}", transfer.amount, transfer.from, transfer.to)
            }
            Self::Read(Reading::Asked(_)) => "read".to_owned(),
            Self::Read(Reading::Answered(balances)) => format!("read -> {}", shown(balances)),
        }
    }
}
