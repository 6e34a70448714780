//! The judgement of a bank, by what its transactions are promised.

use duress_checkers::bank::{BankOptions as CheckOptions, check_bank};
use duress_history::bank::Bank;
use duress_history::{ConsistencyModel, Operation};

use crate::judge::{Judgement, Question};
use crate::workload::models::found;

/// Judges the operations on a bank.
pub fn judge(operations: &[Operation<Bank>], question: &Question) -> Judgement {
    let promised = question.promise.transactions();
    let report = check_bank(operations, CheckOptions { model: promised, ..question.bank });
    let model = match promised {
        ConsistencyModel::StrictSerializable => "bank".to_owned(),
        weaker => format!("bank --promise {weaker}"),
    };
    found(report, &model, "of a constant total", "the balances of every read fit the promise")
}
