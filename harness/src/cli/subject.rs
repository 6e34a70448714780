//! The end of the help of `duress store` and `duress broker`.

use std::fmt::Write as _;

use duress_settings::Offer;

/// Returns the modes, options and bugs of `offer`.
pub fn help(offer: &Offer) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (at, mode) in offer.modes.iter().enumerate() {
        let default = if at == 0 { " (default)" } else { "" };
        let _ = writeln!(text, "Mode {}{default}: {}", mode.name, mode.summary);
        for option in offer.options_of(&mode.name) {
            let _ = writeln!(text, "  {option}");
        }
    }
    let _ = writeln!(text, "Bugs:");
    for bug in &offer.bugs {
        let _ = writeln!(text, "  {}: {}", bug.name, bug.defect);
    }
    text
}
