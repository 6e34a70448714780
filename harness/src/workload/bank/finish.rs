//! The last reads of a run: all balances, through every node.

use duress_history::Scalar;
use duress_history::bank::{Balances, Bank, Reading};

use crate::workload::objects::Object;

impl Object for Bank {
    type Key = Vec<Scalar>;
    type Held = Balances;

    fn reading(accounts: Vec<Scalar>) -> Self {
        Self::Read(Reading::Asked(accounts))
    }

    fn object(&self) -> Option<Vec<Scalar>> {
        match self {
            Self::Read(Reading::Asked(accounts)) => Some(accounts.clone()),
            Self::Read(Reading::Answered(balances)) => Some(balances.accounts().cloned().collect()),
            Self::Create(_) | Self::Transfer(_) => None,
        }
    }

    fn held(&self) -> Option<Balances> {
        match self {
            Self::Read(Reading::Answered(balances)) => Some(balances.clone()),
            Self::Read(Reading::Asked(_)) | Self::Create(_) | Self::Transfer(_) => None,
        }
    }
}
