//! The report printed at the end of a run.

use std::fmt::{self, Display, Formatter};

use duress_checkers::verdict::{Anomaly, WitnessStart};

use crate::judge::Judgement;
use crate::judge::verdict::RunVerdict;
use crate::record::faults::{FaultRecord, Takeover, lateness};
use crate::record::verdict::VerdictRecord;

/// The report counts further anomalies only; `verdict.json` has them all.
const ANOMALIES_SHOWN: usize = 3;

/// The content of a run's report.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The content of `verdict.json`.
    pub record: VerdictRecord,
    /// The checker's account.
    pub judgement: Judgement,
    /// The run's folder, as the user would type it.
    pub folder: String,
}

impl Display for RunReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        if let RunVerdict::Broken { reasons } | RunVerdict::Unknown { reasons } = &self.record.verdict {
            for reason in reasons {
                writeln!(f, "  - {reason}")?;
            }
        }
        if let RunVerdict::Invalid { anomalies } = &self.record.verdict {
            for (number, anomaly) in anomalies.iter().take(ANOMALIES_SHOWN).enumerate() {
                writeln!(f)?;
                write!(f, "{}", AnomalyText { number: number + 1, anomaly })?;
            }
            if anomalies.len() > ANOMALIES_SHOWN {
                writeln!(f, "\n… and {} more, in verdict.json.", anomalies.len() - ANOMALIES_SHOWN)?;
            }
        }
        writeln!(f)?;
        for finding in &self.judgement.findings {
            writeln!(f, "{finding}")?;
        }
        if self.record.statistics.counts.total() > 0 {
            self.operations(f)?;
            writeln!(f)?;
        }
        self.fault_table(f)?;
        for note in &self.record.notes {
            writeln!(f, "note: {note}")?;
        }
        writeln!(f, "\nrun folder  {}", self.folder)?;
        writeln!(f, "seed        {}", self.record.seed)?;
        writeln!(f, "run again   {}", self.record.replay)?;
        writeln!(f, "check again duress check {}", self.folder)?;
        writeln!(f, "\n{}: {}", self.record.verdict.word(), self.record.subject)
    }
}

impl RunReport {
    fn headline(&self) -> String {
        let (subject, promise) = (&self.record.subject, &self.record.promise);
        let Judgement { holds, broken, checked, .. } = &self.judgement;
        match &self.record.verdict {
            RunVerdict::Valid => format!("VALID: {subject}: {holds} ({promise}); {checked} were checked."),
            RunVerdict::Invalid { .. } => match self.record.findings.as_slice() {
                // The clients' answers are correct as far as they were decided.
                [first, more @ ..] if self.judgement.report.verdict.anomalies().is_empty() => {
                    let more =
                        if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
                    format!("INVALID: {subject}: {first}{more}.")
                }
                _ => format!("INVALID: {subject}: the record is {broken}."),
            },
            RunVerdict::Unknown { .. } => {
                format!("UNKNOWN: {subject}: no anomaly was found, but not everything was decided:")
            }
            RunVerdict::Broken { .. } => format!("BROKEN: {subject}: this run proves nothing:"),
        }
    }

    fn operations(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let statistics = &self.record.statistics;
        let counts = statistics.counts;
        let seconds = (statistics.lasted_ms as f64 / 1000.0).max(0.001);
        writeln!(
            f,
            "{} operations in {seconds:.1} s ({:.0}/s): {} ok, {} fail, {} info",
            counts.total(),
            counts.total() as f64 / seconds,
            counts.ok,
            counts.fail,
            counts.info
        )?;
        writeln!(
            f,
            "  {:<8} {:>9} {:>8} {:>7} {:>11} {:>11} {:>11}",
            "", "ok", "fail", "info", "p50", "p99", "max"
        )?;
        for (name, kind) in &statistics.by_f {
            let counts = kind.counts;
            writeln!(
                f,
                "  {name:<8} {:>9} {:>8} {:>7} {:>8.2} ms {:>8.2} ms {:>8.2} ms",
                counts.ok,
                counts.fail,
                counts.info,
                kind.p50_us as f64 / 1000.0,
                kind.p99_us as f64 / 1000.0,
                kind.max_us as f64 / 1000.0
            )?;
        }
        writeln!(f, "  node            ok     fail    info   available   longest gap")?;
        for (node, seen) in &statistics.by_node {
            let counts = seen.counts;
            writeln!(
                f,
                "  {node:<8} {:>9} {:>8} {:>7} {:>9.1} % {:>10.1} s",
                counts.ok,
                counts.fail,
                counts.info,
                seen.available_permille as f64 / 10.0,
                seen.longest_gap_ms as f64 / 1000.0
            )?;
        }
        if !statistics.reasons.is_empty() {
            writeln!(f, "  not ok because")?;
        }
        for (reason, count) in &statistics.reasons {
            match statistics.first_words.get(reason) {
                Some(words) => writeln!(f, "  {count:>9} {reason}, the first: {words}")?,
                None => writeln!(f, "  {count:>9} {reason}")?,
            }
        }
        Ok(())
    }

    fn fault_table(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.record.faults.is_empty() {
            return writeln!(f, "no faults were injected");
        }
        let injected = || self.record.faults.iter().filter(|fault| fault.skipped.is_none());
        let seen = |fault: &&FaultRecord| {
            fault.took_hold.is_some() && fault.healed.is_some() && fault.errors.is_empty()
        };
        let (hidden, proven): (Vec<_>, Vec<_>) = injected().filter(seen).partition(|fault| fault.hidden);
        writeln!(
            f,
            "{} faults, {} of them with evidence that they took hold and that they healed",
            injected().count(),
            proven.len()
        )?;
        if !hidden.is_empty() {
            writeln!(
                f,
                "hidden by others as they began or healed, so that one of the two is not proven: {}",
                hidden.len()
            )?;
        }
        let skipped = self.record.faults.len() - injected().count();
        if skipped > 0 {
            writeln!(f, "did not begin, and not exercised therefore: {skipped} more; each says why")?;
        }
        if let Some(sentence) = takeovers(&self.record.faults) {
            writeln!(f, "{sentence}")?;
        }
        for fault in &self.record.faults {
            let at = |ms: Option<u64>| match ms {
                Some(ms) => format!("{:.3}", ms as f64 / 1000.0),
                None => "-".to_owned(),
            };
            let led = fault.succession().map(|words| format!(" ({words})")).unwrap_or_default();
            writeln!(
                f,
                "  {:>3}. {:>7} s to {:>7} s  {}{led}",
                fault.id,
                at(fault.start_ms),
                at(fault.stop_ms),
                fault.what,
            )?;
            if let Some(event) = &fault.event {
                writeln!(f, "       begun at:  {event}")?;
            }
            if let Some(why) = &fault.skipped {
                writeln!(f, "       not begun: {why}")?;
            }
            if let Some(evidence) = &fault.took_hold {
                writeln!(f, "       took hold: {evidence}")?;
            }
            if let Some(evidence) = &fault.healed {
                writeln!(f, "       healed:    {evidence}")?;
            }
            if let Some(sides) = &fault.sides {
                writeln!(f, "       answered:  {sides}")?;
            }
            for recovery in &fault.recoveries {
                writeln!(f, "       came back: {recovery}")?;
            }
            if !fault.ended.is_empty() {
                let ended: Vec<String> =
                    fault.ended.iter().map(|(node, status)| format!("{node} ({status})")).collect();
                writeln!(f, "       ended by it, as it may: {}", ended.join(", "))?;
            }
            for error in &fault.errors {
                writeln!(f, "       ERROR:     {error}")?;
            }
        }
        if let Some(late) = lateness(&self.record.faults) {
            let [p50, p99, max] = late.map(|micros| micros as f64 / 1000.0);
            writeln!(
                f,
                "in force after their time by {p50:.1} ms (p50), {p99:.1} ms (p99), {max:.1} ms (max)"
            )?;
        }
        Ok(())
    }
}

/// Describes under how many of the faults that disabled a leader another node took over.
fn takeovers(faults: &[FaultRecord]) -> Option<String> {
    let on_leaders: Vec<&Takeover> = faults.iter().filter_map(|fault| fault.takeover.as_ref()).collect();
    let survived = on_leaders.iter().filter(|takeover| matches!(takeover, Takeover::By { .. })).count();
    match on_leaders.len() {
        0 => None,
        all => Some(format!(
            "{all} faults took a leader away: another node took over under {survived} of them, and under the other {} that \
             was not exercised",
            all - survived
        )),
    }
}

/// One anomaly, formatted for the report.
#[derive(Clone, Copy, Debug)]
pub struct AnomalyText<'a> {
    /// Its number in the list.
    pub number: usize,
    /// The anomaly.
    pub anomaly: &'a Anomaly,
}

impl Display for AnomalyText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { number, anomaly } = self;
        let objects: Vec<String> = anomaly.objects.iter().map(ToString::to_string).collect();
        let on = if objects.is_empty() { String::new() } else { format!(" on {}", objects.join(", ")) };
        writeln!(f, "anomaly {number}: {}{on}", anomaly.kind)?;
        writeln!(f, "  {}", anomaly.summary)?;
        let start = match &anomaly.start {
            Some(WitnessStart::Initial(None)) => " (the key was never written before)".to_owned(),
            Some(WitnessStart::Initial(Some(value))) => format!(" (the key held {value})"),
            Some(WitnessStart::Any) => " (whatever the earlier value)".to_owned(),
            None => String::new(),
        };
        if !anomaly.operations.is_empty() {
            writeln!(f, "  these operations alone are impossible{start}:")?;
        }
        for operation in &anomaly.operations {
            let node = operation.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            // Truncated, not rounded, as in the steps below.
            let seconds = |ns: u64| format!("{}.{:06} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
            let end = operation.completion_time.map_or_else(|| "never answered".to_owned(), seconds);
            let lines = match operation.completion_index {
                Some(completion) => format!("index {} and {completion}", operation.index),
                None => format!("index {}", operation.index),
            };
            writeln!(
                f,
                "    {:<2} {:<16} {:>4}  {} to {end}  process {}{node} ({lines})",
                operation.label,
                operation.action,
                operation.ended,
                seconds(operation.time),
                operation.process,
            )?;
        }
        writeln!(f, "  why:")?;
        for (number, step) in anomaly.steps.iter().enumerate() {
            writeln!(f, "    {}. {}", number + 1, step.sentence)?;
        }
        Ok(())
    }
}
