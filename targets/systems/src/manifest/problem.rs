//! Problems of a manifest, and their lines.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use duress_settings::{hint, nearest};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// A manifest that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// Its file.
    pub path: PathBuf,
    /// The line, from 1, if the problem has one.
    pub line: Option<usize>,
    /// The problem, in words.
    pub problem: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.problem),
            None => write!(f, "{}: {}", self.path.display(), self.problem),
        }
    }
}

/// A problem at a key, whose path is given from the outermost table: `["role", "0", "command"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: Vec<String>,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn at<const N: usize>(at: [&str; N], text: impl fmt::Display) -> Self {
        Self { at: at.map(str::to_owned).to_vec(), text: text.to_string() }
    }
}

/// Returns the problem at the key whose path is `at`.
pub(super) fn problem(at: &[&str], text: impl fmt::Display) -> Problem {
    Problem { at: at.iter().map(|key| (*key).to_owned()).collect(), text: text.to_string() }
}

/// The JSON Schema of manifests: the table of all keys.
pub(super) const SCHEMA: &str = include_str!("schema.json");

/// Returns the first key of `table` that the definition `of` in the schema does not have, or whose value it does not allow, and
/// what to write instead.
pub(crate) fn unfit_key(table: &DeTable<'_>, of: &str) -> Option<(Range<usize>, String)> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON, which a test reads");
    in_table(table, &schema["$defs"][of], &schema)
}

fn in_table(table: &DeTable<'_>, schema: &Value, root: &Value) -> Option<(Range<usize>, String)> {
    let schema = resolved(schema, root, true)?;
    let known = schema["properties"].as_object();
    // In the order of the file, so that the first mistake is named first.
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name: &str = key.get_ref();
        let of_key =
            known.and_then(|known| known.get(name)).or_else(|| match &schema["additionalProperties"] {
                Value::Object(_) => Some(&schema["additionalProperties"]),
                _ => None,
            });
        let Some(of_key) = of_key else {
            let names: Vec<&String> = known.map(|known| known.keys().collect()).unwrap_or_default();
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            let hint = hint(nearest(name, &names));
            return Some((
                key.span(),
                format!("unknown key \"{name}\"{hint}; known here: {}", names.join(", ")),
            ));
        };
        if let Some(problem) = misfit(name, value.get_ref(), of_key, root) {
            return Some((value.span(), problem));
        }
        let found = match value.get_ref() {
            DeValue::Table(table) => in_table(table, of_key, root),
            DeValue::Array(items) => resolved(of_key, root, false).and_then(|of_array| {
                items.iter().find_map(|item| match item.get_ref() {
                    DeValue::Table(table) => in_table(table, &of_array["items"], root),
                    // Which words there may be is checked where it is known what they are about.
                    value if of_array["items"]["type"].is_string() => {
                        let problem = misfit(&format!("an item of {name}"), value, &of_array["items"], root)?;
                        Some((item.span(), problem))
                    }
                    _ => None,
                })
            }),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Says why the schema does not allow `value` for the key `name`; `None` if it does.
fn misfit(name: &str, value: &DeValue<'_>, schema: &Value, root: &Value) -> Option<String> {
    let ways = ways(schema, root);
    if ways.iter().any(|way| fits(value, way)) {
        return None;
    }
    let expected: Vec<String> = ways.iter().map(|way| expected(way)).collect();
    let expected = expected.join(", or ");
    Some(match value {
        DeValue::Table(_) if ways.iter().all(|way| way["type"] == "array") => {
            format!("write [[{name}]] in place of [{name}]: there may be several")
        }
        DeValue::String(text) => {
            let words: Vec<&str> = ways.iter().flat_map(|way| words(way)).collect();
            format!("{name} is \"{text}\"{}; expected {expected}", hint(nearest(text, &words)))
        }
        DeValue::Integer(number) => format!("{name} is {number}; expected {expected}"),
        _ => format!("{name} is {}; expected {expected}", value.type_str()),
    })
}

/// Returns the alternatives of a schema, without references.
fn ways<'s>(schema: &'s Value, root: &'s Value) -> Vec<&'s Value> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return ways(&root["$defs"][name], root);
    }
    match schema["anyOf"].as_array() {
        Some(each) => each.iter().flat_map(|way| ways(way, root)).collect(),
        None => vec![schema],
    }
}

/// Returns the words that an alternative lists.
fn words(way: &Value) -> impl Iterator<Item = &str> {
    way["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn fits(value: &DeValue<'_>, way: &Value) -> bool {
    match value {
        DeValue::String(text) => {
            // Only how a pattern begins: the rest is for editors, and the reader of such a value has words of its own.
            let begins = way["pattern"].as_str().and_then(|pattern| pattern.split(['^', '[']).nth(1));
            let is_string = way["type"] == "string" && begins.is_none_or(|begins| text.starts_with(begins));
            is_string || words(way).any(|word| word == text)
        }
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            let within = |number: i64| {
                way["minimum"].as_i64().is_none_or(|least| least <= number)
                    && way["maximum"].as_i64().is_none_or(|most| number <= most)
            };
            way["type"] == "integer" && number.is_ok_and(within)
        }
        DeValue::Boolean(_) => way["type"] == "boolean",
        DeValue::Array(_) => way["type"] == "array",
        DeValue::Table(_) => way["type"] == "object",
        DeValue::Float(_) | DeValue::Datetime(_) => false,
    }
}

fn expected(way: &Value) -> String {
    let listed: Vec<String> = words(way).map(|word| format!("\"{word}\"")).collect();
    match (way["type"].as_str(), way["minimum"].as_i64(), way["maximum"].as_i64()) {
        (Some("integer"), Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
        (Some("integer"), Some(least), None) => format!("a whole number, at least {least}"),
        (Some("integer"), ..) => "a whole number".to_owned(),
        (Some("array"), ..) => "a list".to_owned(),
        (Some("object"), ..) => "a table".to_owned(),
        (Some("boolean"), ..) => "true or false".to_owned(),
        (Some(_), ..) => match way["examples"].as_array() {
            Some(examples) => {
                let examples: Vec<String> = examples.iter().map(Value::to_string).collect();
                format!("a string such as {}", examples.join(" or "))
            }
            None => "a string".to_owned(),
        },
        (None, ..) => listed.join(" or "),
    }
}

/// Follows a reference, and chooses the alternative that is a table or an array; `None` if there is none, which is a
/// problem of the value's type.
fn resolved<'s>(schema: &'s Value, root: &'s Value, table: bool) -> Option<&'s Value> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return resolved(&root["$defs"][name], root, table);
    }
    if let Some(ways) = schema["anyOf"].as_array() {
        return ways.iter().find_map(|way| resolved(way, root, table));
    }
    (schema["type"] == if table { "object" } else { "array" }).then_some(schema)
}

/// Returns the line, from 1, of a place in `text`.
pub(crate) fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Returns where the key at `path` is, or the nearest table around it.
pub(super) fn locate(table: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| **key.get_ref() == **first)?;
    let at = key.span().start;
    let within = match value.get_ref() {
        DeValue::Table(table) => locate(table, rest),
        DeValue::Array(items) => rest.split_first().and_then(|(index, rest)| {
            let item = items.get(index.parse::<usize>().ok()?)?;
            let within = match item.get_ref() {
                DeValue::Table(table) => locate(table, rest),
                _ => None,
            };
            Some(within.unwrap_or(item.span().start))
        }),
        _ => None,
    };
    Some(within.unwrap_or(at))
}
