//! Operations on the register `x` as words.

use duress_history::Operation;
use duress_history::register::Register;

use crate::words;

/// `w7` writes 7, `r7` reads 7, `r_` finds nothing, `c3:4` replaces 3 by 4, `d` deletes; see `words`.
pub fn history(text: &str) -> Vec<Operation<Register>> {
    let value = |text: &str| if text == "_" { "null".to_owned() } else { text.to_owned() };
    words::operations(text, |operation, _| {
        let (f, rest) = operation.split_at(1);
        match f {
            "w" => ("write", format!("[\"x\",{rest}]")),
            "r" => ("read", format!("[\"x\",{}]", value(rest))),
            "d" => ("delete", "[\"x\",null]".to_owned()),
            "c" => {
                let (old, new) = rest.split_once(':').expect("old:new");
                ("cas", format!("[\"x\",[{},{new}]]", value(old)))
            }
            other => panic!("no operation {other}"),
        }
    })
}
