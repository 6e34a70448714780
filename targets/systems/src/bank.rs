//! The shared part of clients of a bank: the accounts of a read, and what a transfer leaves.

use duress_history::Scalar;
use duress_history::bank::{Balances, Reading, Transfer};

use crate::outcome::{Cause, CauseKind, RequestError};
use crate::text;

/// Returns the accounts that a read is about.
///
/// # Errors
/// A definite [`RequestError`] if it does not say.
pub(crate) fn accounts(reading: &Reading) -> Result<&[Scalar], RequestError> {
    match reading {
        Reading::Asked(accounts) if !accounts.is_empty() => Ok(accounts),
        _ => Err(RequestError::definite(CauseKind::Rejected, "a read that names no account: not sent")),
    }
}

/// Returns the balances of `accounts` that are stored as `stored`, in the same order.
///
/// # Errors
/// An open [`RequestError`] for one that is not a number, and if there are more of one than of the other.
pub(crate) fn balances<B: AsRef<[u8]>>(
    accounts: &[Scalar],
    stored: &[Option<B>],
) -> Result<Balances, RequestError> {
    if stored.len() != accounts.len() {
        let text = format!("{} balances of {} accounts", stored.len(), accounts.len());
        return Err(RequestError::open(CauseKind::Unreadable, text));
    }
    let balance = |(account, stored): (&Scalar, &Option<B>)| {
        let balance = stored.as_ref().map(|stored| text::number(stored.as_ref())).transpose()?;
        Ok((account.clone(), balance))
    };
    Ok(Balances(accounts.iter().zip(stored).map(balance).collect::<Result<_, _>>()?))
}

/// Returns what `transfer` leaves of these balances of its two accounts, `from` first.
///
/// # Errors
/// The [`Cause`] of a failed transfer: an account has less, or is not there.
pub(crate) fn after(balances: &Balances, transfer: &Transfer) -> Result<[(Scalar, i64); 2], Cause> {
    let refused = |why| Cause::new(CauseKind::Precondition, why);
    let [(from, Some(has)), (to, Some(had))] = &balances.0[..] else {
        return Err(refused("an account is not there"));
    };
    if !(0..=*has).contains(&transfer.amount) {
        return Err(refused("the account has less than that"));
    }
    let sum = had.checked_add(transfer.amount).ok_or_else(|| refused("the sum does not fit 64 bits"))?;
    Ok([(from.clone(), has - transfer.amount), (to.clone(), sum)])
}

/// Returns the cause of a transfer that failed because another was faster.
pub(crate) fn overtaken() -> Cause {
    Cause::new(CauseKind::Precondition, "another transaction changed one of the accounts")
}
