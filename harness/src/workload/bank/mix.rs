//! The creation of the accounts, then transfers and reads.

use duress_history::bank::{Balances, Bank, Reading, Transfer};
use duress_history::{Event, OpType, Process, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::BankOptions;
use crate::workload::generator::{Context, Generator, Next, WORKLOAD_STREAM};

/// Creates the accounts, and then is an endless mix of transfers and reads, which depends on the seed and the options alone.
#[derive(Debug)]
pub struct BankMix {
    options: BankOptions,
    rng: ChaCha8Rng,
    accounts: Vec<Scalar>,
    creation: Creation,
}

/// How far the accounts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creation {
    /// No client is at it.
    Due,
    /// This process is.
    By(Process),
    /// It was acknowledged.
    Done,
}

impl BankMix {
    /// Returns a mix drawn from `seed`; `options` are within their ranges.
    #[must_use]
    pub fn new(options: BankOptions, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(WORKLOAD_STREAM);
        let accounts = (0..options.accounts).map(|number| Scalar::from(format!("a{number}").as_str()));
        Self { options, rng, accounts: accounts.collect(), creation: Creation::Due }
    }

    /// Has the names of its accounts begin with `prefix`.
    pub fn rename(&mut self, prefix: &str) {
        for account in &mut self.accounts {
            *account = Scalar::from(format!("{prefix}{account}").as_str());
        }
    }

    /// Returns the accounts.
    #[must_use]
    pub fn accounts(&self) -> &[Scalar] {
        &self.accounts
    }

    /// Whether their creation was acknowledged.
    #[must_use]
    pub fn created(&self) -> bool {
        self.creation == Creation::Done
    }

    fn create(&self) -> Bank {
        let balance = Some(i64::from(self.options.balance));
        Bank::Create(Balances(self.accounts.iter().map(|account| (account.clone(), balance)).collect()))
    }

    fn draw(&mut self) -> Bank {
        let BankOptions { amount_max, transfers, reads, .. } = self.options;
        if self.rng.random_range(0..transfers + reads) < reads {
            return Bank::Read(Reading::Asked(self.accounts.clone()));
        }
        let from = self.rng.random_range(0..self.accounts.len());
        let others = self.rng.random_range(1..self.accounts.len());
        let to = (from + others) % self.accounts.len();
        Bank::Transfer(Transfer {
            from: self.accounts[from].clone(),
            to: self.accounts[to].clone(),
            amount: self.rng.random_range(1..=i64::from(amount_max)),
        })
    }
}

impl Generator<Bank> for BankMix {
    fn next(&mut self, context: &Context) -> Next<Bank> {
        match self.creation {
            Creation::Due => {
                self.creation = Creation::By(context.process);
                Next::Op(self.create())
            }
            Creation::By(_) => Next::Pending,
            Creation::Done => Next::Op(self.draw()),
        }
    }

    fn update(&mut self, event: &Event<Bank>) {
        if self.creation == Creation::By(event.process) {
            self.creation = match event.op_type {
                OpType::Invoke => self.creation,
                OpType::Ok => Creation::Done,
                // Trying again leaves accounts as they are that are there.
                OpType::Fail | OpType::Info => Creation::Due,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn context(process: u64) -> Context {
        Context { now: Duration::ZERO, slot: 0, slots: 2, process: Process(process) }
    }

    fn ended(mix: &mut BankMix, process: u64, op_type: OpType) {
        let (process, action) = (Process(process), mix.create());
        mix.update(&Event { index: 0, time: 0, process, op_type, action, node: None, error: None });
    }

    #[test]
    fn nothing_is_transferred_before_the_accounts_are_there() {
        let mut mix = BankMix::new(BankOptions { accounts: 2, ..BankOptions::default() }, 1);
        mix.rename("p-");
        let Next::Op(Bank::Create(Balances(balances))) = mix.next(&context(0)) else { panic!("{mix:?}") };
        assert_eq!(balances, [(Scalar::from("p-a0"), Some(10)), (Scalar::from("p-a1"), Some(10))]);
        for ending in [OpType::Fail, OpType::Info] {
            ended(&mut mix, 0, OpType::Invoke);
            assert_eq!(mix.next(&context(1)), Next::Pending);
            ended(&mut mix, 0, ending);
            assert!(matches!(mix.next(&context(0)), Next::Op(Bank::Create(_))), "{ending:?}");
        }
        assert!(!mix.created());
        ended(&mut mix, 0, OpType::Ok);
        assert!(mix.created());
        let Next::Op(Bank::Transfer(_) | Bank::Read(_)) = mix.next(&context(1)) else { panic!("{mix:?}") };
    }

    #[test]
    fn the_seed_decides_every_operation_and_transfers_are_between_two_accounts() {
        let drawn = |seed| {
            let mut mix = BankMix::new(BankOptions::default(), seed);
            (0..3000).map(|_| mix.draw()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let mut pairs = std::collections::HashSet::new();
        for operation in drawn(1) {
            if let Bank::Transfer(Transfer { from, to, amount }) = operation {
                assert!((1..=5).contains(&amount), "{amount}");
                pairs.insert((from, to));
            }
        }
        assert!(pairs.iter().all(|(from, to)| from != to) && pairs.len() == 8 * 7, "{pairs:?}");
    }
}
