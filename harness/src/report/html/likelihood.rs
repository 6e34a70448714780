//! From when on the anomaly was likely: the curve that `duress shrink --curve` measured.

use maud::{Markup, html};

use crate::record::curve::{Curve, Point};

/// Width of the picture, in its own units.
const WIDTH: f64 = 1000.0;
/// Height of the picture: 100 for rates, and a margin above and below.
const HEIGHT: f64 = 120.0;

/// Draws the rate at each moment, with its interval, over the time of the run.
#[must_use]
pub fn likelihood(curve: &Curve) -> Markup {
    let x = |at_ms: u64| at_ms as f64 / curve.time_limit_ms.max(1) as f64 * (WIDTH - 20.0) + 10.0;
    let y = |rate: f64| HEIGHT - 10.0 - rate * 100.0;
    let number = |value: f64| format!("{value:.1}");
    let tried: Vec<&Point> = curve.points.iter().filter(|point| point.rate.of > 0).collect();
    let places: Vec<String> =
        tried.iter().map(|point| format!("{:.1},{:.1}", x(point.at_ms), y(point.rate.rate()))).collect();
    html! {
        section id="likelihood" {
            h2 { "When it became likely" }
            p { "Runs that keep the faults up to a moment, and draw the later ones anew: how many of them found an anomaly." }
            svg.likelihood viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label="Share of runs that found an anomaly, by the moment up to which faults are kept" {
                @for rate in [0.0, 0.5, 1.0] { line.grid x1="0" x2=(WIDTH) y1=(number(y(rate))) y2=(number(y(rate))) {} }
                polyline points=(places.join(" ")) {}
                @for point in &tried {
                    @let [low, high] = point.rate.wilson();
                    line.bar x1=(number(x(point.at_ms))) x2=(number(x(point.at_ms))) y1=(number(y(low))) y2=(number(y(high))) {}
                    circle cx=(number(x(point.at_ms))) cy=(number(y(point.rate.rate()))) r="4" { title { (point.rate.words()) } }
                }
            }
            div.scroll tabindex="0" role="region" aria-label="Rate by moment" { table {
                thead { tr { th { "kept until" } th { "faults kept" } th { "the last of them" } th { "found an anomaly (95 % interval)" } } }
                tbody { @for point in &curve.points { tr {
                    td { (format!("{:.1} s", point.at_ms as f64 / 1000.0)) } td { (point.kept) }
                    td { (point.last.as_deref().unwrap_or("–")) } td { (point.rate.words()) }
                } } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Proportion;

    #[test]
    fn every_point_that_was_tried_is_drawn_with_its_interval() {
        let point = |at_ms, found, of| Point { at_ms, kept: 1, last: None, rate: Proportion { found, of } };
        let curve =
            Curve { time_limit_ms: 1000, points: vec![point(0, 0, 4), point(500, 4, 4), point(1000, 0, 0)] };
        let drawn = likelihood(&curve).into_string();
        assert_eq!(drawn.matches("<circle").count(), 2, "{drawn}");
        assert!(drawn.contains("points=\"10.0,110.0 500.0,10.0\""), "{drawn}");
        assert!(drawn.contains("4/4 (100 %") && drawn.contains("not tried"), "{drawn}");
    }
}
