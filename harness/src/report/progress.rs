//! Live progress: one line that is redrawn on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use duress_history::nemesis::{Agreement, ComparedObject, Return};
use duress_history::{NemesisAct, OpType};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use crate::cli::output::tell;
use crate::record::live::LiveRecord;

/// How often a plain line is printed.
const PLAIN_PERIOD: Duration = Duration::from_secs(5);

/// Shows on standard error how a run goes.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    limit: Duration,
    counts: [u64; 3],
    last: (Duration, u64),
    rate: f64,
    /// The faults in force, by number.
    faults: BTreeMap<u32, String>,
    /// What was checked, if the history is checked while it grows.
    live: Option<watch::Receiver<LiveRecord>>,
}

#[derive(Debug)]
enum Style {
    Terminal(ProgressBar),
    Plain { next: Duration },
    Quiet,
}

impl Progress {
    /// Progress towards `limit`, drawn as standard error allows, with what `live` says was checked.
    #[must_use]
    pub fn new(limit: Duration, live: watch::Receiver<LiveRecord>) -> Self {
        let style = if std::io::stderr().is_terminal() {
            let bar =
                ProgressBar::with_draw_target(Some(limit.as_secs()), ProgressDrawTarget::stderr_with_hz(4));
            let style = ProgressStyle::with_template("{bar:24} {pos:>3}/{len} s  {wide_msg}")
                .expect("the template is well formed");
            bar.set_style(style);
            Style::Terminal(bar)
        } else {
            Style::Plain { next: PLAIN_PERIOD }
        };
        Self { live: Some(live), ..Self::with(style, limit) }
    }

    /// No progress at all: for measurements.
    #[must_use]
    pub fn quiet() -> Self {
        Self::with(Style::Quiet, Duration::ZERO)
    }

    fn with(style: Style, limit: Duration) -> Self {
        Self {
            style,
            limit,
            counts: [0; 3],
            last: (Duration::ZERO, 0),
            rate: 0.0,
            faults: BTreeMap::new(),
            live: None,
        }
    }

    /// Counts a completion.
    pub fn count(&mut self, op_type: OpType) {
        match op_type {
            OpType::Ok => self.counts[0] += 1,
            OpType::Fail => self.counts[1] += 1,
            OpType::Info => self.counts[2] += 1,
            OpType::Invoke => {}
        }
    }

    /// Records an event of the nemesis.
    pub fn nemesis(&mut self, act: &NemesisAct) {
        match act {
            NemesisAct::Starting { fault, .. } => _ = self.faults.insert(fault.id, fault.what.clone()),
            NemesisAct::Stopping { fault } => _ = self.faults.remove(&fault.id),
            NemesisAct::StartFailed { .. } | NemesisAct::StopFailed { .. } | NemesisAct::NodeEnded { .. } => {
                self.say(&act.to_string());
            }
            NemesisAct::Recovered(recovery) => {
                let silent = |(_, came): &(String, &Return)| matches!(came, Return::Silent { .. });
                if recovery.returns().any(|one| silent(&one)) {
                    self.say(&act.to_string());
                }
            }
            NemesisAct::Compared(comparison) => {
                let diverged =
                    |object: &ComparedObject| matches!(object.agreement(), Agreement::Diverged(..));
                if comparison.objects.iter().any(diverged) {
                    self.say(&act.to_string());
                }
            }
            NemesisAct::Started { .. }
            | NemesisAct::Skipped { .. }
            | NemesisAct::Led { .. }
            | NemesisAct::Stopped { .. }
            | NemesisAct::Settled { .. }
            | NemesisAct::Foreign { .. } => {}
        }
    }

    /// Shows the state at `now`, if it is time to.
    pub fn tick(&mut self, now: Duration) {
        let total: u64 = self.counts.iter().sum();
        let (since, before) = self.last;
        if now >= since + Duration::from_secs(1) {
            self.rate = (total - before) as f64 / (now - since).as_secs_f64();
            self.last = (now, total);
        }
        let line = || {
            let line = line(self.rate, self.counts, &self.faults);
            match self.live.as_ref().map(|live| live.borrow().clone()) {
                Some(live) if live != LiveRecord::default() => format!("{line}  {live}"),
                _ => line,
            }
        };
        match &mut self.style {
            Style::Quiet => {}
            Style::Terminal(bar) => {
                bar.set_position(now.min(self.limit).as_secs());
                bar.set_message(line());
            }
            Style::Plain { next } if now >= *next => {
                *next += PLAIN_PERIOD;
                let line = line();
                tell(format_args!("{:>5.0} s  {line}", now.as_secs_f64()));
            }
            Style::Plain { .. } => {}
        }
    }

    /// Takes the line away.
    pub fn finish(&mut self) {
        if let Style::Terminal(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.style {
            Style::Terminal(bar) => bar.println(text),
            Style::Plain { .. } => tell(text),
            Style::Quiet => {}
        }
    }
}

fn line(rate: f64, [ok, fail, info]: [u64; 3], faults: &BTreeMap<u32, String>) -> String {
    let faults: Vec<&str> = faults.values().map(String::as_str).collect();
    let faults = if faults.is_empty() { "no fault".to_owned() } else { faults.join(" + ") };
    format!("{rate:>6.0} op/s  {ok} ok {fail} fail {info} info  {faults}")
}
