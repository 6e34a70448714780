//! A clock that jumps there and back again.

use std::sync::Arc;
use std::time::Duration;

use duress_arena::clock::Strobe;

use crate::programs::until;
use crate::{GRAIN, HOUR, World, new_page};

const STEPS_EVERY: Duration = Duration::from_millis(2);

pub fn flips_the_clock_until_stopped(world: &World) {
    let page = Arc::new(new_page());
    let mut program = world.start(&page, "c");
    let strobe = Strobe::start(Arc::clone(&page), HOUR, STEPS_EVERY).expect("strobes");
    let mut seen = [false; 2];
    until("both sides of the strobe are seen", || {
        let answer = program.ask("now");
        let ahead = answer.value("wall") - answer.wall.0;
        assert!(ahead.abs() < HOUR / 2 || (ahead - HOUR).abs() < HOUR / 2, "{ahead}");
        seen[usize::from(ahead > HOUR / 2)] = true;
        seen == [true; 2]
    });
    let (account, setting) = strobe.stop().expect("stops");
    assert!(account.steps >= 2 && account.failure.is_none(), "{account:?}");
    assert_eq!(setting.offset_ns, 0);
    program.ask("now").assert_ahead("wall", (0, 0), 0);
}

pub fn proves_itself_at_any_moment(world: &World) {
    let page = Arc::new(new_page());
    let program = world.start(&page, "c");
    let strobe = Strobe::start(Arc::clone(&page), HOUR, STEPS_EVERY).expect("strobes");
    // Often enough that some looks meet a step.
    for _ in 0..500 {
        let evidence = world.evidence(&page, &[program.pid()]);
        assert!(evidence.proves(GRAIN), "{evidence:?}");
    }
    strobe.stop().expect("stops");
}
