//! Consistent hashing with copies: R+W>N.

use duress_checkers::verdict::AnomalyKind;

use crate::lesson::experiment::{Experiment, Measured, Share};
use crate::lesson::section::{Chart, Section, Series, Statement, Table};
use crate::lesson::topic::{ENOUGH, QUICK, Setting, Topic};
use crate::record::verdict::VerdictRecord;

/// The topic.
pub const TOPIC: Topic = Topic {
    name: "quorum",
    claim: "Each key has N copies; a write waits for W of them and a read asks R. If R+W>N, a read meets the last write.",
    runs,
    section,
};

/// The number of copies, and of nodes.
const N: u64 = 3;
/// R and W of each run of the grid.
fn grid() -> impl Iterator<Item = (u64, u64)> {
    (1..=N).flat_map(|r| (1..=N).map(move |w| (r, w)))
}

fn runs(_: &Setting) -> Vec<Experiment> {
    let grid = grid().map(|(r, w)| {
        let words = format!(
            "store --mode ring -o n={N} -o r={r} -o w={w} -o read_repair=off --nodes {N} --faults partition:one,packet \
             --interval 3s {QUICK}"
        );
        Experiment::new(format!("R={r}, W={w}"), &words)
    });
    // For a tenth of a second a write is at one owner only: a read that meets it sees it, and the next may not.
    let back = "store --mode ring -o n=3 -o r=2 -o w=2 -o read_repair=off --nodes 3 --promise linearizable \
                --faults disk:slow-fsync=100ms@n2+n3";
    let back = Experiment::new("R=2, W=2, held to linearizability", back)
        .meant_to_break(&[AnomalyKind::StaleRead, AnomalyKind::Nonlinearizable]);
    grid.chain([back]).collect()
}

/// The probability that `r` copies drawn at random miss all of `w` others (Bailis and others, "Probabilistically bounded
/// staleness for practical partial quorums", VLDB 2012), in percent.
fn missed(r: u64, w: u64) -> f64 {
    let choose =
        |n: u64, k: u64| (0..k).map(|at| (n.saturating_sub(at)) as f64 / (at + 1) as f64).product::<f64>();
    choose(N - w, r) / choose(N, r) * 100.0
}

fn section(runs: &[Measured]) -> Section {
    let Some((back, grid_runs)) = runs.split_last() else { return Section::default() };
    let cells: Vec<((u64, u64), &Measured)> = grid().zip(grid_runs).collect();
    let old = |met: bool| {
        let of = cells.iter().filter(|((r, w), _)| (r + w > N) == met).filter_map(|(_, run)| run.ages());
        of.fold(Share::default(), |sum, ages| sum.and(Share { part: ages.old, of: ages.reads }))
    };
    let these = |met: bool| cells.iter().filter(move |((r, w), _)| (r + w > N) == met).map(|(_, run)| *run);
    let worst = |met: bool| {
        let ages = these(met).filter_map(Measured::ages);
        let each = ages.filter_map(|ages| Some((ages.versions?.max, ages.age_ns?.max)));
        each.fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)))
    };
    let sentence = |met: bool| {
        let (old, all) = (old(met), these(met).count());
        let measured = these(met).filter(|run| run.ages().is_some()).count();
        let sign = if met { ">" } else { "≤" };
        let how_old = match old.part {
            0 => String::new(),
            _ => {
                let (versions, age) = worst(met);
                format!(", by up to {versions} versions and {:.1} s", age as f64 / 1e9)
            }
        };
        let text = match old.of {
            0 => format!("Where R+W{sign}{N}, no read was measured."),
            _ => format!(
                "Where R+W{sign}{N}, {} returned a value that had been replaced{how_old} ({measured} of {all} runs).",
                old.words("reads")
            ),
        };
        Statement::of(text, these(met))
    };
    let mut statements = vec![sentence(true), sentence(false)];
    let cut_off = |at: (u64, u64)| {
        let run = cells.iter().find(|(cell, _)| *cell == at).map(|(_, run)| *run)?;
        Some((run, run.sides().filter(|[away, _]| away.of >= ENOUGH)?))
    };
    if let (Some((one, few)), Some((all, many))) = (cut_off((1, 1)), cut_off((N, N))) {
        statements.push(Statement::of(
            format!(
                "The price of freshness: while one node was cut off, R=W=1 answered {} there and {} elsewhere; R=W={N} answered {} and \
                 {}.",
                few[0].words("operations"),
                few[1],
                many[0],
                many[1]
            ),
            [one, all],
        ));
    }
    statements.push(Statement::of(beyond_freshness(back), [back]));
    Section { statements, charts: vec![chart(&cells)], tables: vec![table(&cells)] }
}

/// Says whether quorums that meet were linearizable.
fn beyond_freshness(run: &Measured) -> String {
    match (run.shown(), run.figures()) {
        (Some(anomaly), _) => format!(
            "R+W>N is not linearizability: with R=W=2, without read repair and with two slow disks, no order of the operations \
             explains the reads ({}: {}).",
            anomaly.kind, anomaly.summary
        ),
        (None, Some(_)) => format!(
            "R+W>N does not promise linearizability; this run with R=W=2 does not show the difference ({}).",
            run.kept()
        ),
        (None, None) => format!("Whether R=W=2 is linearizable was not measured ({}).", run.kept()),
    }
}

fn chart(cells: &[((u64, u64), &Measured)]) -> Chart {
    let old = |run: &Measured| run.ages().and_then(|ages| Share { part: ages.old, of: ages.reads }.percent());
    let series = |name: &str, predicted, values| Series { name: name.to_owned(), predicted, values };
    Chart {
        caption: "Old reads, and what is predicted if the nodes asked were drawn at random and a write stayed where it was \
                  acknowledged"
            .to_owned(),
        across: "R, W".to_owned(),
        up: "share of reads, %".to_owned(),
        categories: cells.iter().map(|((r, w), _)| format!("{r}, {w}")).collect(),
        series: vec![
            series("old reads", false, cells.iter().map(|(_, run)| old(run)).collect()),
            series("a read misses the write", true, cells.iter().map(|((r, w), _)| Some(missed(*r, *w))).collect()),
        ],
    }
}

fn table(cells: &[((u64, u64), &Measured)]) -> Table {
    let row = |((r, w), run): &((u64, u64), &Measured)| {
        let dash = || "–".to_owned();
        let old = run.ages().map_or_else(dash, |ages| Share { part: ages.old, of: ages.reads }.to_string());
        let side = |at: usize| run.sides().map_or_else(dash, |sides| sides[at].to_string());
        let promise = |record: &VerdictRecord| record.promise.clone();
        vec![
            format!("{r}"),
            format!("{w}"),
            if r + w > N { "yes" } else { "no" }.to_owned(),
            old,
            side(0),
            side(1),
            run.figures().map_or_else(dash, promise),
            run.kept(),
        ]
    };
    Table {
        caption: format!(
            "{N} nodes, {N} copies of each key, no read repair; one node after the other was cut off, and links were slow"
        ),
        head: [
            "R",
            "W",
            "R+W>N",
            "old reads",
            "answered at the node cut off",
            "answered elsewhere",
            "promised",
            "kept?",
        ]
        .map(str::to_owned)
        .into(),
        rows: cells.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_that_must_meet_are_never_missed() {
        for (r, w) in grid() {
            assert_eq!(missed(r, w) == 0.0, r + w > N, "{r}, {w}");
        }
        assert!((missed(1, 1) - 200.0 / 3.0).abs() < 1e-9);
        assert!((missed(1, 2) - 100.0 / 3.0).abs() < 1e-9);
        assert!((missed(2, 1) - 100.0 / 3.0).abs() < 1e-9);
    }
}
