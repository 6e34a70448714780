//! Strips in time: the state of a node, slot by slot, as one row of coloured stretches that need no script.

use maud::{Markup, html};

/// Width of a strip, in its own units.
const WIDTH: f64 = 1000.0;

/// A stretch of a strip.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// From when, in nanoseconds.
    pub from: u64,
    /// Until when, in nanoseconds.
    pub to: u64,
    /// The class that colours it.
    pub class: &'static str,
    /// The meaning, in words.
    pub title: String,
}

/// Draws `stretches` over a run of `lasted` nanoseconds; `label` names the strip.
#[must_use]
pub fn strip(label: &str, stretches: &[Stretch], lasted: u64) -> Markup {
    let x = |time: u64| time as f64 / lasted.max(1) as f64 * WIDTH;
    html! {
        svg.strip viewBox={ "0 0 " (WIDTH) " 16" } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for stretch in stretches {
                rect class=(stretch.class) x={ (format!("{:.2}", x(stretch.from))) } y="0" height="16"
                    width={ (format!("{:.2}", (x(stretch.to) - x(stretch.from)).max(1.0))) } {
                    title { (stretch.title) }
                }
            }
        }
    }
}

/// Joins neighbours of the same class and title.
#[must_use]
pub fn joined(stretches: impl IntoIterator<Item = Stretch>) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = Vec::new();
    for stretch in stretches {
        match all.last_mut() {
            Some(last) if last.class == stretch.class && last.title == stretch.title => last.to = stretch.to,
            _ => all.push(stretch),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_say_the_same_are_one() {
        let of = |from, class| Stretch { from, to: from + 10, class, title: class.to_owned() };
        let all = joined([of(0, "full"), of(10, "full"), of(20, "none"), of(30, "full")]);
        assert_eq!(
            all.iter().map(|stretch| (stretch.from, stretch.to)).collect::<Vec<_>>(),
            [(0, 20), (20, 30), (30, 40)]
        );
    }
}
