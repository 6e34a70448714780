//! A chart, drawn as SVG: measured values are bars, or lines where there are many categories; predicted ones are dashes.

use maud::{Markup, html};

use super::section::{Chart, Series};

/// The size of the picture, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 280.0;
/// The edges of the plot in it.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 52.0;
/// How many parts the upright axis has.
const STEPS: u32 = 4;

/// Returns the picture with its caption, its legend, and its values as a table.
#[must_use]
pub fn chart(chart: &Chart) -> Markup {
    let values = || chart.series.iter().flat_map(|series| series.values.iter().flatten().copied());
    if !values().any(f64::is_finite) {
        return html! { p { (chart.caption) ": nothing was measured." } };
    }
    let top = nice(values().filter(|value| value.is_finite()).fold(0.0, f64::max));
    let slot = (WIDTH - LEFT - RIGHT) / chart.categories.len().max(1) as f64;
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let bars = chart.series.iter().filter(|series| !series.predicted).count().max(1) as f64;
    let (wide, table) = (slot * 0.8 / bars, chart.table());
    html! {
        figure.chart {
            figcaption { (chart.caption) }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{}: {}; the values are in the table", chart.caption, chart.up)) {
                @for step in 0..=STEPS {
                    @let value = top * f64::from(step) / f64::from(STEPS);
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(value)) y2=(y(value)) {}
                    text.tick x=(LEFT - 6.0) y=(y(value) + 4.0) text-anchor="end" { (number(value)) }
                }
                @for (at, category) in chart.categories.iter().enumerate() {
                    @for (line, part) in words(category, slot).iter().enumerate() {
                        text.tick x=(LEFT + slot * (at as f64 + 0.5)) y=(HEIGHT - BOTTOM + 14.0 + 11.0 * line as f64) text-anchor="middle" { (part) }
                    }
                }
                text.axis x=(LEFT + (WIDTH - LEFT - RIGHT) / 2.0) y=(HEIGHT - 4.0) text-anchor="middle" { (chart.across) }
                text.axis transform=(format!("translate(11 {}) rotate(-90)", TOP + (HEIGHT - TOP - BOTTOM) / 2.0)) text-anchor="middle" { (chart.up) }
                @let measured = chart.series.iter().filter(|series| !series.predicted);
                @for (place, series) in measured.enumerate() {
                    @for (at, value) in present(series) {
                        @let x = LEFT + slot * (at as f64 + 0.1) + wide * place as f64;
                        // A value of nothing is seen too.
                        rect class={ "bar s" (place % 5) } x=(x) width=(wide) y=(y(value).min(HEIGHT - BOTTOM - 1.5)) height=((HEIGHT - BOTTOM - y(value)).max(1.5)) {
                            title { (series.name) ", " (chart.categories[at]) ": " (number(value)) }
                        }
                    }
                }
                @let predicted = chart.series.iter().filter(|series| series.predicted);
                @for (place, series) in predicted.enumerate() {
                    @for (at, value) in present(series) {
                        line class={ "predicted p" (place % 2) } x1=(LEFT + slot * (at as f64 + 0.05)) x2=(LEFT + slot * (at as f64 + 0.95)) y1=(y(value)) y2=(y(value)) {
                            title { (series.name) " (predicted), " (chart.categories[at]) ": " (number(value)) }
                        }
                    }
                }
            }
            ul.legend {
                @let (predicted, measured): (Vec<&Series>, Vec<&Series>) = chart.series.iter().partition(|series| series.predicted);
                @for (place, series) in measured.iter().enumerate() { li { span class={ "key s" (place % 5) } {} (series.name) } }
                @for (place, series) in predicted.iter().enumerate() { li { span class={ "key dash p" (place % 2) } {} (series.name) " (predicted)" } }
            }
            details { summary { "the values" } (super::html::table(&table)) }
        }
    }
}

fn present(series: &Series) -> impl Iterator<Item = (usize, f64)> {
    let finite = |(at, value): (usize, &Option<f64>)| Some((at, value.filter(|value| value.is_finite())?));
    series.values.iter().enumerate().filter_map(finite)
}

/// Returns the least of 1, 2 and 5 times a power of ten that is not below `value`.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|times| times * power)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(10.0 * power)
}

fn number(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Breaks a label into lines that fit `width`, at spaces.
fn words(label: &str, width: f64) -> Vec<String> {
    let most = ((width / 5.6) as usize).max(6);
    let mut lines: Vec<String> = Vec::new();
    for word in label.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_value() {
        let series = |name: &str, predicted, values: [Option<f64>; 2]| Series {
            name: name.to_owned(),
            predicted,
            values: values.into(),
        };
        let drawn = chart(&Chart {
            caption: "shares".to_owned(),
            across: "nodes".to_owned(),
            up: "%".to_owned(),
            categories: ["one", "two"].map(str::to_owned).into(),
            series: vec![
                series("seen", false, [Some(50.0), None]),
                series("due", true, [Some(25.0), Some(50.0)]),
            ],
        })
        .into_string();
        let plot = HEIGHT - TOP - BOTTOM;
        assert_eq!(drawn.matches("<rect").count(), 1, "{drawn}");
        assert!(drawn.contains(&format!("height=\"{plot}\"")), "the whole plot: {drawn}");
        assert_eq!(drawn.matches("class=\"predicted").count(), 2, "{drawn}");
        assert!(drawn.contains(&format!("y1=\"{}\"", TOP + plot / 2.0)), "{drawn}");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([0.0, 0.7, 3.0, 66.7, 100.0, 101.0].map(nice), [0.001, 1.0, 5.0, 100.0, 100.0, 200.0]);
    }
}
