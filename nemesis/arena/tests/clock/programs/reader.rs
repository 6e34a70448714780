// For every line on standard input: the wall clock in nanoseconds, and that the monotonic clock went forwards.
use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let start = Instant::now();
    for line in std::io::stdin().lines() {
        line.unwrap();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        println!("wall={wall} elapsed={}", start.elapsed().as_nanos());
        std::io::stdout().flush().unwrap();
    }
}
