//! The switch compared with the kernel's bridge, in turns, so that other load on the machine affects both.

use std::time::{Duration, Instant};

use crate::path::{Bulk, Echo, Path};
use crate::{CONNECTIONS, switch_nanoseconds};

/// How many rounds of round trips make a turn.
const ROUNDS: u32 = 300;

/// Prints how many times as long as through `bridged` things take through `switched`, and how long the switch is on a
/// processor for a packet.
pub fn compare(switched: &Path, bridged: &Path, turns: usize) {
    for connections in CONNECTIONS {
        let mut ends = [switched, bridged].map(|path| Echo::open(path, connections));
        let mut times = [Vec::new(), Vec::new()];
        let mut spent = Vec::new();
        for _ in 0..turns {
            for (at, (echo, times)) in ends.iter_mut().zip(&mut times).enumerate() {
                let (before, packets) = (switch_nanoseconds(), switched.packets());
                times.push(timed(|| (0..ROUNDS).for_each(|_| echo.round())) / ROUNDS);
                if at == 0 {
                    spent.push((switch_nanoseconds() - before) / (switched.packets() - packets).max(1));
                }
            }
        }
        ends.into_iter().for_each(Echo::close);
        tell(&format!("round trips, {connections} at a time"), &mut times);
        println!("  the switch is on a processor for {} ns a packet", median(&mut spent));
    }
    let mut ends = [switched, bridged].map(Bulk::open);
    let mut times = [Vec::new(), Vec::new()];
    let mut spent = Vec::new();
    for _ in 0..turns.div_ceil(3) {
        for (at, (bulk, times)) in ends.iter_mut().zip(&mut times).enumerate() {
            let (before, packets) = (switch_nanoseconds(), switched.packets());
            times.push(timed(|| bulk.transfer()));
            if at == 0 {
                spent.push((switch_nanoseconds() - before) / (switched.packets() - packets).max(1));
            }
        }
    }
    ends.into_iter().for_each(Bulk::close);
    tell("64 MiB one way", &mut times);
    println!("  the switch is on a processor for {} ns a packet", median(&mut spent));
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

fn tell(what: &str, times: &mut [Vec<Duration>; 2]) {
    let [switched, bridged] = times;
    let (switched, bridged) = (median(switched), median(bridged));
    let ratio = switched.as_secs_f64() / bridged.as_secs_f64();
    println!(
        "{what}: {switched:?} through the switch, {bridged:?} through the bridge: {ratio:.2} times as long"
    );
}
