use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use turnpike_matching::{Id, Left, Mode, Wishes};

use crate::world::{Told, World, id};

const PEOPLE: u8 = 40;

fn wishes(random: &mut SmallRng) -> Wishes {
    let mode = if random.random_ratio(1, 4) { Mode::Text } else { Mode::Video };
    let count = random.random_range(0..4);
    Wishes::new(mode, (0..count).map(|_| format!("i{}", random.random_range(0..6))))
}

/// Everybody's own view agrees with the other's and with the engine's.
fn check(world: &World) {
    let mut waiting = 0;
    for n in 0..PEOPLE {
        let Some(told) = world.told.get(&id(n)) else { continue };
        let member = world.matching.membership(id(n));
        match told {
            Told::Idle => assert_eq!(member, None),
            Told::Waiting { .. } => {
                assert_eq!(member, None);
                waiting += usize::from(!world.away.contains(&id(n)));
            }
            Told::Found { pair, .. } | Told::Started { pair, .. } => {
                let member = member.expect("who was told of a pair is in it");
                assert_eq!(member.pair, *pair);
                assert_eq!(member.started, matches!(told, Told::Started { .. }));
                assert_ne!(member.partner, id(n), "a self pair");
                let back = world.matching.membership(member.partner).expect("a half pair");
                assert_eq!((back.pair, back.partner), (*pair, id(n)), "a double pair");
                assert_ne!(back.role, member.role);
            }
        }
    }
    assert_eq!(world.matching.waiting(), waiting, "nobody is lost, nobody waits twice");
    let started = world.told.values().filter(|told| matches!(told, Told::Started { .. })).count();
    let found = world.told.values().filter(|told| matches!(told, Told::Found { .. })).count();
    assert_eq!(world.matching.pairs(), (started / 2, found / 2));
}

fn random_step(world: &mut World, random: &mut SmallRng) {
    let n = random.random_range(0..PEOPLE);
    let there = world.told.contains_key(&id(n));
    let pair = there.then(|| world.pair_of(n)).flatten();
    let any = Id::new([0xEE; 16]);
    if world.away.contains(&id(n)) {
        match random.random_range(0..4) {
            0 => {
                world.step(|m, now, mut next| m.lose(now, id(n), &mut next));
            }
            1 => {
                world.step(|m, now, mut next| m.exit(now, id(n), &mut next));
                world.told.remove(&id(n));
                world.away.remove(&id(n));
            }
            _ => world.back(n),
        }
        return;
    }
    match random.random_range(0..14) {
        0..=3 => {
            if !there {
                world.enter(n);
            }
            let wishes = wishes(random);
            let joined = world.step(|m, now, mut next| m.join(now, id(n), wishes, &mut next));
            assert_eq!(joined.is_ok(), pair.is_none());
        }
        4..=6 => {
            let accepted = world.step(|m, _, _| m.accept(id(n), pair.unwrap_or(any)));
            assert_eq!(accepted.is_ok(), pair.is_some());
        }
        7 => {
            let wishes = random.random::<bool>().then(|| wishes(random));
            let gone =
                world.step(|m, now, mut next| m.next(now, id(n), pair.unwrap_or(any), wishes, &mut next));
            assert_eq!(gone.is_ok(), pair.is_some());
        }
        8 => drop(world.step(|m, now, mut next| m.leave_pair(now, id(n), pair.unwrap_or(any), &mut next))),
        9 => {
            // Who leaves the queue is told by the answer.
            if world.step(|m, now, mut next| m.leave(now, id(n), &mut next)) == Left::Queue {
                world.told.insert(id(n), Told::Idle);
            }
        }
        10 => {
            world.step(|m, now, mut next| m.exit(now, id(n), &mut next));
            world.told.remove(&id(n));
        }
        11 | 12 if there => world.away(n),
        _ => world.pass(random.random_range(0.0..4.0)),
    }
}

#[test]
fn a_storm_of_steps_makes_no_double_half_or_self_pair_and_loses_nobody() {
    for seed in 0..20 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut world = World::new();
        for _ in 0..3_000 {
            random_step(&mut world, &mut random);
            check(&world);
        }
        settle(&mut world, seed);
    }
}

/// With everybody accepting and time passing, at most one of each mode is left waiting.
fn settle(world: &mut World, seed: u64) {
    for _ in 0..600 {
        for n in 0..PEOPLE {
            if world.told.get(&id(n)).is_some_and(|told| matches!(told, Told::Found { .. })) {
                world.accept(n);
            }
        }
        world.pass(1.0);
        check(world);
    }
    assert!(
        world.matching.waiting() <= 2,
        "seed {seed}: {} wait although they could meet",
        world.matching.waiting()
    );
    let next = world.matching.poll_timeout();
    assert!(next.is_none_or(|at| at > world.now + Duration::from_millis(1)));
}
