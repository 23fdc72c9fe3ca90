use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

use crate::{
    message::*,
    world::{User, World, peer},
};

const ROUNDS: usize = 100_000;

/// Valid datagrams of every kind, as they are when they reach a server in the middle of its work.
fn seeds(world: &mut World, user: &mut User) -> Vec<Vec<u8>> {
    let all = [
        user.request(BINDING),
        user.request(BINDING).fingerprint(),
        user.request(ALLOCATE).udp(),
        user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"some payload"),
        user.request(SEND).peer("[2606:4700::1]:5000".parse().unwrap()).attr(DATA, b"x").fingerprint(),
    ];
    let mut seeds: Vec<Vec<u8>> = all.into_iter().map(|builder| builder.bytes).collect();
    let signed = [
        user.request(ALLOCATE).udp().u32(LIFETIME, 700).attr(EVEN_PORT, &[0x80]).attr(FAMILY, &[1, 0, 0, 0]),
        user.request(ALLOCATE).udp().attr(TOKEN, &[7; 8]),
        user.request(REFRESH).u32(LIFETIME, 0),
        user.request(REFRESH),
        user.request(CREATE_PERMISSION).peer(peer(1, 1)).peer(peer(2, 2)),
        user.request(CHANNEL_BIND).channel(0x4001).peer(peer(1, 5000)),
    ];
    seeds.extend(signed.into_iter().map(|builder| user.sign(builder)));
    seeds.push(channel_data(0x4000, b"some payload"));
    assert!(user.bind(world, 0x4000, peer(1, 5000)).is_success());
    seeds
}

fn mutate(random: &mut SmallRng, datagram: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=datagram.len());
        match random.random_range(0..7) {
            0 if at < datagram.len() => datagram[at] ^= 1 << random.random_range(0..8),
            1 if at < datagram.len() => datagram[at] = *[0, 1, 0x7F, 0x80, 0xFF].choose(random).unwrap(),
            2 => datagram.truncate(at),
            3 => datagram.extend((0..random.random_range(0..40)).map(|_| random.random::<u8>())),
            4 => {
                let from = random.random_range(0..=other.len());
                datagram.splice(at.., other[from..].iter().copied());
            }
            5 if datagram.len() >= 4 => {
                let length = random.random_range(0..=datagram.len() as u16 + 8);
                datagram[2..4].copy_from_slice(&length.to_be_bytes());
            }
            // A length that fits lets the mutation through the first gate.
            _ if datagram.len() >= 20 => {
                datagram.resize(datagram.len().next_multiple_of(4), 0);
                let length = datagram.len() as u16 - 20;
                datagram[2..4].copy_from_slice(&length.to_be_bytes());
            }
            _ => {}
        }
    }
}

#[test]
fn a_hundred_thousand_mutated_datagrams_do_not_panic_and_get_well_formed_answers() {
    let mut random = SmallRng::seed_from_u64(0x7552_4E50);
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let seeds = seeds(&mut world, &mut user);
    let mut answers = 0;
    for round in 0..ROUNDS {
        let mut datagram = seeds.choose(&mut random).unwrap().clone();
        let other = seeds.choose(&mut random).unwrap();
        mutate(&mut random, &mut datagram, other);
        let mut from = user.tuple;
        if round % 3 == 0 {
            from.client.set_port(random.random());
        }
        for sent in world.give(&from, &datagram).1 {
            Parsed::read(&sent);
            answers += 1;
        }
        let live = world.server.allocations().next().map(|(key, _)| key);
        if let Some(key) = live {
            world.server.handle_peer(world.now, key, peer(1, random.random()), random.random_range(0..2000));
        }
        if round % 1000 == 0 {
            world.pass(0.5);
            world.tick();
        }
    }
    assert!(answers > ROUNDS / 50, "the mutations reach beyond the first gate: {answers}");
    assert!(world.server.allocations().count() <= 1, "no mutation makes an allocation");
    let counters = world.server.counters();
    assert!(counters.dropped.total() > 0 && counters.auth_failures.total() > 0);
}
