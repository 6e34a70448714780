//! The section on what surrounds an anomaly: node logs, faults and packets, in one list by time.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::history::RunHistory;
use super::logs::{Logs, Stream};
use super::packets::Packets;
use super::words::{about, thousands};

/// Returns the section, filled by the page's script.
#[must_use]
pub fn section(logs: &Logs, packets: &Packets, nodes: &[String]) -> Markup {
    let fates = packets.fates.iter().map(|(fate, count)| format!("{} {fate}", thousands(*count)));
    html! {
        section id="surroundings" {
            h2 { "Logs and packets" }
            p {
                "The nodes' output, the nemesis's actions, and the packets around the anomalies (or, without any, around the faults), "
                "in one list on the run's clock. A time with ~ is known to a third of a second."
            }
            form.search id="search" role="search" {
                label { "Search " input type="search" name="text" placeholder="words, or a node" autocomplete="off"; }
                label { "from " input type="number" name="from" step="any" aria-label="from, in seconds"; " s" }
                label { "to " input type="number" name="to" step="any" aria-label="to, in seconds"; " s" }
                fieldset {
                    legend { "Show" }
                    label { input type="checkbox" name="kind" value="log" checked; " logs" }
                    label { input type="checkbox" name="kind" value="nemesis" checked; " faults" }
                    label { input type="checkbox" name="kind" value="packet" checked[packets.total > 0]; " packets" }
                }
                fieldset {
                    legend { "of" }
                    @for node in nodes { label { input type="checkbox" name="node" value=(node) checked; " " (node) } }
                }
                button type="button" id="search-reset" { "show all" }
            }
            p.small id="lines-found" role="status" {}
            div.scroll.lines id="lines-view" tabindex="0" role="region" aria-label="Lines found" {
                table { thead { tr { th scope="col" { "time" } th scope="col" { "who" } th scope="col" { "what" } } } tbody id="lines-list" {} }
            }
            p.small.muted {
                @if packets.total > 0 {
                    "network.pcapng has " (thousands(packets.total)) " packets"
                    @if let Some((first, last)) = packets.covered {
                        ", from " (about(first.max(0).cast_unsigned())) " to " (about(last.max(0).cast_unsigned()))
                    }
                    ": " (fates.collect::<Vec<_>>().join(", ")) ". Wireshark shows them all."
                } @else { "No packets were kept." }
                @if packets.left_out > 0 { " " (thousands(packets.left_out as u64)) " packets around the moments are only there." }
                @if logs.left_out > 0 { " " (thousands(logs.left_out as u64)) " lines of logs, far from everything, are only in the run's folder." }
            }
        }
    }
}

/// Returns the lines of the list: logs and the nemesis's events, each `[µs, exact, who, kind, text]`, by
/// time.
#[must_use]
pub fn lines(logs: &Logs, history: &RunHistory) -> Value {
    let mut all: Vec<(i64, Value)> = Vec::new();
    for line in &logs.lines {
        let kind = match line.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let time = line.time / 1000;
        all.push((time, json!([time, u8::from(line.exact), line.node, kind, line.text])));
    }
    for line in &history.nemesis {
        let time = line.time.cast_signed() / 1000;
        all.push((time, json!([time, 1, "nemesis", "nemesis", line.act.to_string()])));
    }
    all.sort_by_key(|(time, _)| *time);
    all.into_iter().map(|(_, line)| line).collect()
}

/// Returns the packets, each `[µs, from, to, text]`, by time.
#[must_use]
pub fn packet_lines(packets: &Packets) -> Value {
    let told = packets.packets.iter().map(|packet| {
        let fate = if packet.fate.is_empty() { String::new() } else { format!(" — {}", packet.fate) };
        json!([
            packet.time / 1000,
            packet.from,
            packet.to,
            format!("{}, {} bytes{fate}", packet.what, packet.length)
        ])
    });
    told.collect()
}
