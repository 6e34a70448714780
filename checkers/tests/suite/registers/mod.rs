//! Operations on registers as words.

use duress_history::Operation;
use duress_history::register::Register;

use crate::words;

/// `0!wx1` writes 1 to x, `0!rx1` reads 1 from x, `0!rx_` finds nothing; `0!cx12` replaces 1 by 2, `0!dx`
/// deletes x.
pub fn operations(text: &str) -> Vec<Operation<Register>> {
    words::operations(text, |operation, answered| {
        let (f, rest) = operation.split_at(1);
        let (key, values) = rest.split_at(1);
        let value = |at: usize| match &values[at..=at] {
            "_" => "null".to_owned(),
            value => value.to_owned(),
        };
        let (f, value) = match f {
            "r" if answered => ("read", value(0)),
            "r" => ("read", "null".to_owned()),
            "w" => ("write", value(0)),
            "d" => ("delete", "null".to_owned()),
            _ => ("cas", format!("[{}, {}]", value(0), value(1))),
        };
        (f, format!("[\"{key}\", {value}]"))
    })
}
