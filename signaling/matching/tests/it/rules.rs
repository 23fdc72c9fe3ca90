use turnpike_matching::{Ended, Left, Mode, Refused, Role, Wishes};

use crate::world::{Told, World, id, video};

#[test]
fn two_who_wait_meet_and_the_longer_waiter_is_the_initiator() {
    let mut world = World::new();
    world.join(1, video(&[]));
    assert!(world.is_waiting(1));
    world.pass(1.0);
    world.join(2, video(&[]));
    let role = |n: u8| match &world.told[&id(n)] {
        Told::Found { role, .. } => *role,
        told => panic!("{told:?}"),
    };
    assert_eq!((role(1), role(2)), (Role::Initiator, Role::Responder));
    let member = world.matching.membership(id(1)).unwrap();
    assert_eq!((member.partner, member.started), (id(2), false));
    world.accept(1);
    assert!(matches!(world.told[&id(1)], Told::Found { .. }), "one alone starts nothing");
    world.accept(2);
    assert!(matches!(world.told[&id(1)], Told::Started { .. }));
    assert!(matches!(world.told[&id(2)], Told::Started { .. }));
    world.pass(10.0);
    assert!(world.matching.membership(id(1)).unwrap().started, "a started pair has no deadline");
}

#[test]
fn nobody_meets_oneself_however_often_one_joins() {
    let mut world = World::new();
    for _ in 0..5 {
        world.join(1, video(&["a"]));
        world.pass(9.0);
    }
    assert!(world.is_waiting(1));
    assert_eq!(world.matching.waiting(), 1);
}

#[test]
fn modes_do_not_mix() {
    let mut world = World::new();
    world.join(1, video(&["a"]));
    world.join(2, Wishes::new(Mode::Text, ["a"]));
    world.pass(60.0);
    assert!(world.is_waiting(1) && world.is_waiting(2));
}

#[test]
fn a_shared_interest_goes_before_a_longer_wait() {
    let mut world = World::new();
    world.join(1, video(&["chess"]));
    world.pass(8.0);
    world.join(2, video(&["tea"]));
    assert!(world.is_waiting(1) && world.is_waiting(2), "2 is not widened yet");
    world.join(3, video(&["TEA ", "go"]));
    assert_eq!(world.pair_of(3), world.pair_of(2));
    let Told::Found { common, .. } = &world.told[&id(3)] else { panic!() };
    assert_eq!(common, &["tea"]);
}

#[test]
fn interests_no_longer_matter_after_eight_seconds() {
    let mut world = World::new();
    world.join(1, video(&["chess"]));
    world.join(2, video(&["tea"]));
    world.pass(7.9);
    assert_eq!(world.told[&id(1)], Told::Waiting { widened: false });
    world.pass(0.1);
    assert!(world.pair_of(1).is_some() && world.pair_of(1) == world.pair_of(2));
}

#[test]
fn the_oldest_is_met_first() {
    let mut world = World::new();
    for n in 1..=3 {
        world.join(n, video(&[&format!("only {n}")]));
        world.pass(0.5);
    }
    world.join(9, video(&["only 3", "only 2"]));
    assert_eq!(world.pair_of(9), world.pair_of(2));
}

#[test]
fn joining_again_changes_the_wishes_and_keeps_the_place() {
    let mut world = World::new();
    world.join(1, video(&["a"]));
    world.pass(1.0);
    world.join(2, video(&["b"]));
    world.join(1, video(&["c"]));
    world.join(3, video(&["b", "c"]));
    assert_eq!(world.pair_of(3), world.pair_of(1), "1 came first");
    assert!(world.is_waiting(2));
}

#[test]
fn who_does_not_accept_is_put_out_and_the_other_keeps_its_place() {
    let mut world = World::new();
    world.join(1, video(&[]));
    world.pass(1.0);
    world.join(2, video(&[]));
    world.accept(1);
    world.join(3, video(&["x"]));
    world.pass(3.0);
    assert_eq!((world.ended(1), world.ended(2)), (Some(Ended::Expired), Some(Ended::Expired)));
    assert!(world.is_waiting(1));
    assert_eq!(world.told[&id(2)], Told::Idle);
    world.join(4, video(&["x"]));
    assert_eq!(world.pair_of(4), world.pair_of(3));
    world.join(5, video(&[]));
    assert_eq!(world.pair_of(5), world.pair_of(1));
    assert!(matches!(world.told[&id(1)], Told::Found { role: Role::Initiator, .. }));
}

#[test]
fn a_leaver_takes_nobody_out_of_the_queue_but_itself() {
    let mut world = World::new();
    for n in 1..=3 {
        world.join(n, video(&[&format!("only {n}")]));
    }
    assert_eq!(world.step(|m, now, mut next| m.leave(now, id(2), &mut next)), Left::Queue);
    assert_eq!(world.step(|m, now, mut next| m.leave(now, id(2), &mut next)), Left::Nothing);
    assert_eq!(world.matching.waiting(), 2);
    world.join(4, video(&["only 3"]));
    assert_eq!(world.pair_of(4), world.pair_of(3));
}

#[test]
fn a_partner_who_goes_before_the_start_costs_nobody_a_place() {
    let mut world = World::new();
    world.join(1, video(&[]));
    world.join(2, video(&[]));
    world.step(|m, now, mut next| m.exit(now, id(2), &mut next));
    assert_eq!(world.ended(1), Some(Ended::Lost));
    assert!(world.is_waiting(1));
}

#[test]
fn next_tells_both_and_pairs_both_with_someone_new() {
    let mut world = World::new();
    let pair = world.meet(1, 2);
    world.join(3, video(&[]));
    world.step(|m, now, mut next| m.next(now, id(1), pair, None, &mut next)).unwrap();
    assert_eq!((world.ended(1), world.ended(2)), (Some(Ended::Next), Some(Ended::Next)));
    assert_eq!(world.pair_of(1), world.pair_of(3));
    assert_eq!(world.told[&id(2)], Told::Idle, "who was left joins again itself");
    world.join(4, video(&[]));
    world.join(2, video(&[]));
    assert_eq!(world.pair_of(2), world.pair_of(4));
}

#[test]
fn the_same_two_do_not_meet_again_for_a_while() {
    let mut world = World::new();
    let pair = world.meet(1, 2);
    world.step(|m, now, mut next| m.next(now, id(1), pair, None, &mut next)).unwrap();
    world.join(2, video(&[]));
    world.pass(299.0);
    assert!(world.is_waiting(1) && world.is_waiting(2));
    world.pass(1.0);
    assert!(world.pair_of(1).is_some() && world.pair_of(1) == world.pair_of(2));
}

#[test]
fn only_a_member_acts_on_a_pair() {
    let mut world = World::new();
    let pair = world.meet(1, 2);
    world.join(3, video(&[]));
    for stranger in [3, 4] {
        let refused = Err(Refused::NotInPair);
        assert_eq!(world.step(|m, _, _| m.accept(id(stranger), pair)), refused);
        assert_eq!(world.step(|m, now, mut next| m.next(now, id(stranger), pair, None, &mut next)), refused);
        assert_eq!(world.step(|m, now, mut next| m.leave_pair(now, id(stranger), pair, &mut next)), refused);
    }
    let again = world.step(|m, now, mut next| m.join(now, id(1), video(&[]), &mut next));
    assert_eq!(again, Err(Refused::WrongState));
    world.step(|m, now, mut next| m.leave_pair(now, id(1), pair, &mut next)).unwrap();
    assert_eq!(
        world.step(|m, now, mut next| m.leave_pair(now, id(2), pair, &mut next)),
        Err(Refused::NotInPair)
    );
}

#[test]
fn draining_ends_the_queue_and_leaves_pairs_alone() {
    let mut world = World::new();
    let pair = world.meet(1, 2);
    world.join(3, video(&[]));
    world.step(|m, _, _| m.drain());
    assert_eq!(world.matching.waiting(), 0);
    assert!(world.matching.membership(id(1)).is_some());
    assert_eq!(
        world.step(|m, now, mut next| m.join(now, id(3), video(&[]), &mut next)),
        Err(Refused::Draining)
    );
    world.step(|m, now, mut next| m.leave_pair(now, id(1), pair, &mut next)).unwrap();
    assert_eq!(world.told[&id(2)], Told::Idle);
}

#[test]
fn someone_new_behind_many_who_were_met_lately_is_seen() {
    let mut world = World::new();
    for partner in 10..26 {
        let pair = world.meet(1, partner);
        world.step(|m, now, mut next| m.leave_pair(now, id(1), pair, &mut next)).unwrap();
    }
    for partner in 10..26 {
        world.join(partner, video(&[&format!("only {partner}")]));
    }
    world.join(200, video(&["only 200"]));
    let met: Vec<u8> = (10..26).collect();
    world.join(1, video(&[]));
    world.pass(8.0);
    let partner = world.matching.membership(id(1)).map(|member| member.partner);
    assert!(partner == Some(id(200)) || met.iter().all(|n| !world.is_waiting(*n)), "{partner:?}");
    assert!(!met.iter().any(|n| partner == Some(id(*n))));
}

#[test]
fn who_cannot_be_reached_is_found_by_nobody_and_keeps_its_place() {
    let mut world = World::new();
    world.join(1, video(&[]));
    world.away(1);
    world.join(2, video(&[]));
    assert!(world.is_waiting(2), "1 is not there");
    world.join(3, video(&["only 3"]));
    world.step(|m, now, mut next| m.leave(now, id(2), &mut next));
    world.told.insert(id(2), Told::Idle);
    world.pass(4.0);
    world.back(1);
    world.pass(4.0);
    let Some(Told::Found { role, .. }) = world.told.get(&id(1)) else { panic!("{:?}", world.told) };
    assert_eq!(*role, Role::Initiator, "its first join counts");
    assert_eq!(world.pair_of(1), world.pair_of(3));
}

#[test]
fn an_offer_ends_with_a_socket_and_a_started_pair_does_not() {
    let mut world = World::new();
    world.join(1, video(&[]));
    world.join(2, video(&[]));
    world.accept(1);
    world.away(1);
    assert_eq!((world.ended(1), world.ended(2)), (Some(Ended::Lost), Some(Ended::Lost)));
    assert!(world.is_waiting(2), "the live one waits at its place");
    world.back(1);
    assert_eq!(world.told[&id(1)], Told::Idle);

    let mut world = World::new();
    let pair = world.meet(3, 4);
    world.away(3);
    world.away(4);
    assert!(world.matching.membership(id(3)).is_some_and(|member| member.pair == pair && member.started));
    world.back(3);
    world.step(|m, now, mut next| m.lose(now, id(4), &mut next));
    assert_eq!((world.ended(3), world.ended(4)), (Some(Ended::Lost), Some(Ended::Lost)));
    assert_eq!((&world.told[&id(3)], &world.told[&id(4)]), (&Told::Idle, &Told::Idle));
}

#[test]
fn another_process_goes_on_with_sessions_pairs_and_places() {
    let mut world = World::new();
    let pair = world.meet(1, 2);
    world.join(3, video(&["tea"]));
    world.pass(1.0);
    world.join(4, video(&["go"]));
    world.join(5, video(&["chess"]));
    world.join(6, video(&["chess"]));
    world.step(|m, now, mut next| m.halt(now, &mut next));
    assert_eq!((world.ended(5), &world.told[&id(5)]), (Some(Ended::Expired), &Told::Idle));
    let (sessions, pairs) = world.matching.kept();

    let mut next = World::new();
    next.now = world.now;
    next.pairs = 100;
    next.told = world.told.clone();
    for kept in sessions.clone() {
        next.away.insert(kept.session);
        next.matching.take_back(kept);
    }
    assert!(pairs.iter().all(|kept| next.matching.take_back_pair(*kept)));
    assert!(!next.matching.take_back_pair(pairs[0]), "not twice");
    let (mut again, pairs_again) = next.matching.kept();
    let mut before = sessions;
    for list in [&mut before, &mut again] {
        list.sort_by_key(|kept| kept.session);
    }
    assert_eq!((again, pairs_again), (before, pairs));
    assert_eq!((next.matching.waiting(), next.matching.pairs()), (0, (1, 0)));
    assert_eq!(
        next.matching.membership(id(2)).map(|member| (member.pair, member.role)),
        Some((pair, Role::Responder))
    );

    next.back(4);
    next.back(3);
    next.pass(8.0);
    let Told::Found { role, .. } = next.told[&id(3)] else { panic!("{:?}", next.told) };
    assert_eq!(role, Role::Initiator, "the places are those of before");
    next.step(|m, now, mut new| m.next(now, id(1), pair, None, &mut new)).unwrap();
    assert!(next.is_waiting(1));
    next.join(2, video(&[]));
    assert!(next.is_waiting(2), "whom one has met is remembered");
}
