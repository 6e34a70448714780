//! `duress targets`, `workloads`, `faults` and `bugs`.

use std::fmt::Write as _;

use duress_nemesis::{Family, Variant};
use duress_targets::{Findable, Values, systems};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;

/// Appends a line. Writing to a String cannot fail.
macro_rules! say {
    ($text:expr, $($line:tt)*) => { let _ = writeln!($text, $($line)*); };
}

pub fn targets() -> Result<Exit, Failure> {
    let mut text = String::new();
    for system in systems() {
        say!(text, "{}: {}", system.name(), system.summary());
        if let Err(missing) = system.available() {
            say!(text, "  not available: {missing}");
        }
        for (at, mode) in system.modes().iter().enumerate() {
            let default = if at == 0 { " (default)" } else { "" };
            say!(text, "  --mode {}{default}: {}", mode.name, mode.summary);
            say!(text, "      promises: {}", mode.promises);
            for option in system.options().iter().filter(|option| option.modes.contains(&mode.name)) {
                say!(
                    text,
                    "      -o {}={} ({}): {}",
                    option.name,
                    option.default,
                    values(&option.values),
                    option.summary
                );
            }
        }
        say!(text, "  workloads: {}\n", system.workloads().join(", "));
    }
    print(text)?;
    Ok(Exit::Valid)
}

fn values(values: &Values) -> String {
    values.to_string()
}

const WORKLOADS: &str = "\
register: reads, writes and compare-and-sets over many keys. Each value written to a key is unique; a key is left for
  a fresh one after --operations-per-key operations; at the end every key is read once more.
  Checked: is each key linearizable?
log: sends to the partitions of --topics topics, each value once, and polls by processes that consume now by assignment,
  from the beginning or where they were, now as members of a group; they seek, commit, and die without a word. At the
  end every partition is polled from its beginning to its end.
  Checked: is every acknowledged message in its partition, once, in its place, for everybody?
queue: half of the processes send, the others are one group; its members die and are replaced. At the end the group
  consumes until what it has committed is all there is, and every partition is polled from its beginning to its end.
  Checked: is every acknowledged message given to a member of the group, and how often?
table: puts and deletes over --keys keys of a compacted topic, and reads of what remains of its log. At the end the
  log is read to its end.
  Checked: is what remains the table that the whole log makes?
";

pub fn workloads() -> Result<Exit, Failure> {
    print(WORKLOADS)?;
    Ok(Exit::Valid)
}

pub fn faults() -> Result<Exit, Failure> {
    let mut text = String::new();
    for family in Family::ALL {
        let [does, proof, heals] = family.describe();
        say!(text, "{}: {does}", family.name());
        say!(text, "  evidence:  {proof}");
        say!(text, "  healing:   {heals}");
        if let Some(chooses) = family.chooses() {
            say!(text, "  nodes:     {chooses}");
        }
        for variant in family.variants() {
            let drawn = if variant.weight > 0 { "" } else { " (only by name)" };
            say!(text, "  {:<24} {}{drawn}{}", variant.example, variant.meaning, needed(variant));
        }
    }
    say!(
        text,
        "\nA mix is a list: --faults partition:majority,kill,pause:leader. A family without a variant draws one from the seed."
    );
    say!(
        text,
        "What is drawn, and one and minority, take away no more nodes at once than the target promises to survive losing \
         (at least one); --beyond-tolerance lifts that. What names its size, such as kill:all, is as large as it says, and \
         a power loss may strike all nodes at once."
    );
    say!(text, "A fault without evidence makes the run BROKEN (exit 3), never a pass.");
    print(text)?;
    Ok(Exit::Valid)
}

/// What a variant needs of the cluster beyond one node.
fn needed(variant: &Variant) -> String {
    match variant.nodes_min() {
        ..=2 => String::new(),
        nodes => format!("; at least {nodes} nodes"),
    }
}

pub fn bugs() -> Result<Exit, Failure> {
    let mut text = String::new();
    for system in systems() {
        for bug in system.bugs() {
            say!(text, "{} ({})", bug.name, system.name());
            say!(text, "  defect:   {}", bug.defect);
            say!(text, "  anomaly:  {}", bug.anomaly);
            match bug.findable {
                Findable::Now => {
                    say!(
                        text,
                        "  found by: duress run {} --bug {} {}",
                        system.name(),
                        bug.name,
                        bug.scenario.words().join(" ")
                    );
                }
                Findable::Needs(what) => {
                    say!(text, "  found by: nothing yet; it needs {what}");
                }
            }
        }
    }
    print(text)?;
    Ok(Exit::Valid)
}

#[cfg(test)]
mod tests {
    use duress_nemesis::FaultSpec;

    use super::*;

    #[test]
    fn every_scenario_names_faults_that_exist() {
        for system in systems() {
            for bug in system.bugs().iter().filter(|bug| bug.findable == Findable::Now) {
                let mix = FaultSpec::parse_mix(&bug.scenario.faults.join(","));
                assert!(mix.is_ok(), "{} {}: {mix:?}", system.name(), bug.name);
            }
        }
    }
}
