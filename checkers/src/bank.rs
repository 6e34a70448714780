//! Bank: does every read see the same amount of money?
//!
//! Transfers move money between accounts, and neither make nor destroy any: under snapshot isolation and everything stronger,
//! the balances of each read add up to the same total. The checks and their names are those of Jepsen's bank test:
//!
//! - *Wrong total*: the balances do not add up to the total. Where that is not known, it is the one that most reads agree on (of
//!   several, the first one read): two reads that disagree cannot both be right.
//! - *Negative value*: an account has less than nothing, unless that is allowed.
//! - *Nil balance*: an account was not found.

use duress_history::bank::{Balances, Bank};
use duress_history::pairs::Completion;
use duress_history::{Allowed, Operation};
use rustc_hash::FxHashMap;

use crate::delivery::happened;
use crate::findings::Findings;
use crate::verdict::{Anomaly, AnomalyKind, CheckReport, Role};
use crate::witness::{Describe, Op, Witness, say};

/// The promise of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankOptions {
    /// The sum of all balances; `None` if only reads tell.
    pub total: Option<i64>,
    /// Whether a balance may be negative.
    pub negative: Allowed,
}

impl Default for BankOptions {
    /// The total is not known, and balances are not negative.
    fn default() -> Self {
        Self { total: None, negative: Allowed::No }
    }
}

/// An answered read: its number, its balances and their sum, which is `None` if one is nil.
struct Read<'a> {
    op: Op,
    balances: &'a Balances,
    sum: Option<i128>,
}

/// Checks the reads among `operations`, which are in order of invocation. Time O(balances).
#[must_use]
pub fn check_bank(operations: &[Operation<Bank>], options: BankOptions) -> CheckReport {
    let reads: Vec<Read<'_>> = operations
        .iter()
        .enumerate()
        .filter_map(|(op, operation)| match &operation.completion {
            Completion::Ok { answer: Bank::Read(Some(balances)), .. } => {
                let sum = balances.0.iter().map(|(_, balance)| balance.map(i128::from)).sum();
                Some(Read { op: op as Op, balances, sum })
            }
            _ => None,
        })
        .collect();
    // The total, and a read that has it where reads alone tell.
    let total = match options.total {
        Some(total) => Some((i128::from(total), None)),
        None => usual(&reads).map(|(sum, op)| (sum, Some(op))),
    };
    let mut findings = Findings::new(|_| Allowed::No);
    for read in &reads {
        let balance = |wrong: fn(Option<i64>) -> bool| {
            read.balances.0.iter().find(|(_, balance)| wrong(*balance)).map(|(account, _)| account)
        };
        if let Some(account) = balance(|balance| balance.is_none()) {
            findings.add(AnomalyKind::NilBalance, || {
                let why =
                    format!("account {account} has no balance in it, and no operation removes an account");
                alone(operations, read.op, AnomalyKind::NilBalance, &why)
            });
        }
        if let (Some((total, usual)), Some(sum)) = (total, read.sum)
            && sum != total
        {
            findings.add(AnomalyKind::WrongTotal, || match usual {
                None => {
                    let why = format!("its balances add up to {sum}, and the total is {total}");
                    alone(operations, read.op, AnomalyKind::WrongTotal, &why)
                }
                Some(usual) => disagreeing(operations, (read.op, sum), (usual, total)),
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
    findings.report(1, operations.len(), (happened(operations), reads.len() as u64), Vec::new())
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

/// Returns the witness of two reads, each with its sum, that cannot both be right.
fn disagreeing(
    operations: &[Operation<Bank>],
    (read, sum): (Op, i128),
    (usual, total): (Op, i128),
) -> Anomaly {
    let roles = [(read, Role::Read), (usual, Role::Evidence)];
    let witness = Witness::of(Vec::new(), operations, &(), roles);
    let step =
        |op: Op, sum: i128| say(format!("The balances of {} add up to {sum}.", witness.named(op)), &[op]);
    let steps = vec![
        step(usual, total),
        step(read, sum),
        say(
            "Transfers only move money, so the balances of all reads add up to the same total.",
            &[read, usual],
        ),
    ];
    let summary = format!(
        "{} adds up to {sum}, and {}, like most reads, to {total}",
        witness.named(read),
        witness.named(usual)
    );
    witness.anomaly(AnomalyKind::WrongTotal, read, summary, steps)
}

/// The number of balances of a read that a witness shows.
const BALANCES_SHOWN: usize = 12;

impl Describe for Bank {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        match self {
            Self::Transfer(transfer) => {
                format!("transfer {} from {} to {}", transfer.amount, transfer.from, transfer.to)
            }
            Self::Read(None) => "read".to_owned(),
            Self::Read(Some(Balances(balances))) => {
                let shown = balances.iter().take(BALANCES_SHOWN).map(|(account, balance)| match balance {
                    Some(balance) => format!("{account}: {balance}"),
                    None => format!("{account}: nil"),
                });
                let more = if balances.len() > BALANCES_SHOWN { ", …" } else { "" };
                format!("read -> {}{more}", shown.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
