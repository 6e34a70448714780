//! Two runs compared.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::record::verdict::VerdictRecord;
use crate::report::html::{HistoryRecord, HtmlError, RunRecord};

/// One side of a comparison.
#[derive(Clone, Debug)]
pub struct Side {
    /// The run's folder, as requests call it.
    pub name: String,
    /// The result.
    pub verdict: Option<VerdictRecord>,
    /// The plan's values, by their path in it.
    pub plan: BTreeMap<String, String>,
    /// Rate and latencies in slots, for the chart.
    pub series: Value,
}

/// Reads the run in `folder`.
///
/// # Errors
/// [`HtmlError`], as for the run's own report.
pub fn side(name: String, folder: &Path) -> Result<Side, HtmlError> {
    let RunRecord { plan, record: HistoryRecord { verdict, series, .. }, .. } = RunRecord::load(folder)?;
    let mut flat = BTreeMap::new();
    flatten("", &json!(plan), &mut flat);
    let all = series.functions.last();
    Ok(Side {
        name,
        verdict,
        plan: flat,
        series: json!({
            "slot": series.slot_ms,
            "ok": all.map(|all| &all.ok),
            "median": all.map(|all| &all.latency[0]),
            "slow": all.map(|all| &all.latency[2]),
        }),
    })
}

/// Returns the differences of the plans: the value in each; `None` if one has no such value.
#[must_use]
pub fn differences<'a>(a: &'a Side, b: &'a Side) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
    let mut keys: Vec<&String> = a.plan.keys().chain(b.plan.keys()).collect();
    keys.sort_by_key(|key| place(key));
    keys.dedup();
    let of = |side: &'a Side, key: &str| side.plan.get(key).map(String::as_str);
    keys.into_iter().map(|key| (key.as_str(), of(a, key), of(b, key))).filter(|(_, a, b)| a != b).collect()
}

/// Returns the place of a key: the tenth of several after the ninth.
fn place(key: &str) -> (&str, Option<usize>) {
    match key.strip_suffix(']').and_then(|key| key.rsplit_once('[')) {
        Some((list, at)) => (list, at.parse().ok()),
        None => (key, None),
    }
}

fn flatten(place: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(&below(name), value, into)),
        // A fault of a schedule differs as a whole.
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| {
            into.insert(format!("{place}[{at}]"), item.to_string());
        }),
        Value::String(text) => drop(into.insert(place.to_owned(), text.clone())),
        other => drop(into.insert(place.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let of = |plan: Value| {
            let mut flat = BTreeMap::new();
            flatten("", &plan, &mut flat);
            Side { name: String::new(), verdict: None, plan: flat, series: Value::Null }
        };
        let list = of(json!({"list": (0..11).collect::<Vec<_>>()}));
        let none = of(json!({}));
        assert_eq!(differences(&list, &none).last(), Some(&("list[10]", Some("10"), None)));
        let a = of(json!({"seed": 1, "settings": {"mode": "raft"}, "schedule": [{"id": 1}]}));
        let b = of(json!({"seed": 2, "settings": {"mode": "raft", "bug": "x"}, "schedule": []}));
        assert_eq!(
            differences(&a, &b),
            [
                ("schedule[0]", Some("{\"id\":1}"), None),
                ("seed", Some("1"), Some("2")),
                ("settings.bug", None, Some("x")),
            ]
        );
    }
}
