//! A train of datagrams shows the effects of a link, and none on a link without effects.

use std::num::NonZeroU64;
use std::time::Duration;

use duress_arena::capabilities::Capabilities;
use duress_arena::{Arena, Corrupt, Damage, LinkPolicy, PortKind, Probability, Reorder, Train, TrainSeen};
use libtest_mimic::Trial;

use crate::fixture::{self, arena, node};

const TRAIN: Train = Train { datagrams: 200, bytes: 64, patience: Duration::from_millis(300) };

pub fn register(trials: &mut Vec<Trial>, allowed: &Capabilities) {
    let tests: [fixture::PortTest; 3] = [
        ("a_train_shows_chance", a_train_shows_chance),
        ("a_train_shows_lateness", a_train_shows_lateness),
        ("a_train_shows_a_rate", a_train_shows_a_rate),
    ];
    fixture::for_both_ports(trials, allowed, &tests);
}

/// Returns the results of trains on `n1` to `n2`, under `policy`, and on the way back, which is open.
fn ride(arena: &Arena, policy: LinkPolicy, train: Train) -> [TrainSeen; 2] {
    let switch = arena.switch();
    switch.apply(&[(node(1), node(2), policy)]).unwrap();
    let seen = switch.train(&[(node(1), node(2)), (node(2), node(1))], train).unwrap();
    let [there, back] = <[TrainSeen; 2]>::try_from(seen).unwrap();
    assert_eq!((there.sent, back.sent), (u64::from(train.datagrams), u64::from(train.datagrams)));
    assert_eq!(back.arrived, back.sent, "the way back is open");
    assert_eq!((back.repeated, back.overtaken, back.damaged, back.refused, back.dropped), (0, 0, 0, 0, 0));
    [there, back]
}

fn a_train_shows_chance(kind: PortKind) {
    let arena = arena(2, kind);
    let often = Probability::from_millionths(200_000).unwrap();
    // Each is expected forty times, with a deviation of less than six.
    let plausible = |count: u64| (10..=80).contains(&count);

    let [lossy, _] = ride(&arena, LinkPolicy { loss: often, seed: 1, ..LinkPolicy::OPEN }, TRAIN);
    assert!(plausible(lossy.dropped) && lossy.arrived + lossy.dropped == lossy.sent, "{lossy:?}");

    let [twice, _] = ride(&arena, LinkPolicy { duplicate: often, seed: 1, ..LinkPolicy::OPEN }, TRAIN);
    assert!(plausible(twice.repeated) && twice.arrived == twice.sent, "{twice:?}");

    let reorder = Some(Reorder { probability: often, hold: Duration::from_millis(20) });
    let [mixed, _] = ride(&arena, LinkPolicy { reorder, seed: 1, ..LinkPolicy::OPEN }, TRAIN);
    assert!(plausible(mixed.overtaken) && mixed.arrived == mixed.sent, "{mixed:?}");

    let corrupt = |damage| Some(Corrupt { probability: often, damage });
    let policy = LinkPolicy { corrupt: corrupt(Damage::BadChecksum), seed: 1, ..LinkPolicy::OPEN };
    let [noticed, _] = ride(&arena, policy, TRAIN);
    assert!(plausible(noticed.refused), "{noticed:?}");
    assert_eq!(noticed.arrived + noticed.refused, noticed.sent, "{noticed:?}");

    let policy = LinkPolicy { corrupt: corrupt(Damage::Undetected), seed: 1, ..LinkPolicy::OPEN };
    let [unnoticed, _] = ride(&arena, policy, TRAIN);
    assert!(plausible(unnoticed.damaged), "{unnoticed:?}");
    assert_eq!(unnoticed.arrived + unnoticed.damaged, unnoticed.sent, "{unnoticed:?}");

    let [gone, _] = ride(&arena, LinkPolicy::CUT, TRAIN);
    assert_eq!((gone.arrived, gone.dropped, gone.fastest), (0, gone.sent, None), "{gone:?}");
}

fn a_train_shows_lateness(kind: PortKind) {
    const LATE: Duration = Duration::from_millis(100);
    let arena = arena(2, kind);
    let train = Train { datagrams: 20, ..TRAIN };
    let [late, back] = ride(&arena, LinkPolicy { delay: LATE, ..LinkPolicy::OPEN }, train);
    assert!(late.fastest.unwrap() >= LATE, "{late:?}");
    assert!(back.fastest.unwrap() < LATE, "{back:?}");
    let [jittery, _] = ride(&arena, LinkPolicy { jitter: LATE, seed: 1, ..LinkPolicy::OPEN }, train);
    assert!(jittery.slowest.unwrap() >= LATE / 2, "{jittery:?}");
    assert!(jittery.arrived == jittery.sent && jittery.overtaken == 0, "{jittery:?}");
    // Datagrams later than the train's patience are not counted; nor are they counted in a later train.
    let [silent, _] = ride(&arena, LinkPolicy { delay: LATE * 5, ..LinkPolicy::OPEN }, train);
    assert_eq!((silent.arrived, silent.dropped), (0, 0), "{silent:?}");
    let [again, _] = ride(&arena, LinkPolicy::OPEN, Train { patience: LATE * 6, ..train });
    assert_eq!((again.arrived, again.repeated), (again.sent, 0), "{again:?}");
}

fn a_train_shows_a_rate(kind: PortKind) {
    const RATE: u64 = 1_000_000;
    let arena = arena(2, kind);
    let policy = LinkPolicy { bits_per_second: NonZeroU64::new(RATE), ..LinkPolicy::OPEN };
    let train = Train { datagrams: 6, bytes: 1000, ..TRAIN };
    let [slow, back] = ride(&arena, policy, train);
    let measured = slow.bits_per_second(train.bytes).unwrap();
    assert!((RATE / 2..=RATE).contains(&measured), "{measured} of {slow:?}");
    assert!(back.bits_per_second(train.bytes).unwrap() > RATE, "{back:?}");
}
