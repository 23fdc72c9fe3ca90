use turnpike_proto::{ClientVerdict, DropReason, FiveTuple};

use crate::{
    message::*,
    world::{User, World, config, peer},
};

fn drops(world: &mut World, client: &FiveTuple, datagram: &[u8], reason: DropReason) {
    let before = world.server.counters().dropped.get(reason);
    assert_eq!(world.silent(client, datagram), ClientVerdict::Drop(reason), "{datagram:02x?}");
    assert_eq!(world.server.counters().dropped.get(reason), before + 1, "it is counted");
}

#[test]
fn rule_1_the_first_byte_decides() {
    let (mut world, user) = (World::new(), User::new(1, "a"));
    drops(&mut world, &user.tuple, &[], DropReason::Empty);
    for first in 0..=255_u8 {
        let expected = match first {
            0..=3 => DropReason::Malformed,
            64..=79 => DropReason::NoAllocation,
            _ => DropReason::NotStun,
        };
        drops(&mut world, &user.tuple, &[first, 0, 0, 0], expected);
    }
}

#[test]
fn rule_2_and_3_a_header_out_of_order_is_silence() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    let good = user.request(BINDING).bytes;
    assert!(world.ask(&user.tuple, &good).is_success());
    let mut cookie = good.clone();
    cookie[4] ^= 1;
    let mut odd = good.clone();
    odd[3] = 2;
    let mut long = good.clone();
    long[3] = 4;
    let mut trailing = good.clone();
    trailing.extend([0; 4]);
    for datagram in [cookie, odd, long, trailing, good[..19].to_vec()] {
        drops(&mut world, &user.tuple, &datagram, DropReason::Malformed);
    }
}

#[test]
fn rule_4_to_6_methods_and_classes_without_a_use_are_silence() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    let unknown = [0x0002, 0x0005, 0x000A, 0x000B, 0x02E0, 0x03EF];
    for kind in unknown {
        let request = user.request(kind).bytes;
        drops(&mut world, &user.tuple, &request, DropReason::UnknownMethod);
    }
    let classes = [
        0x0006, // Send request
        0x0007, // Data request
        0x0017, // Data indication to the server
        0x0011, // Binding indication (rule 18)
        0x0013, // Allocate indication
        0x0014, 0x0018, 0x0019, 0x0101, 0x0103, 0x0104, 0x0108, 0x0109, 0x0111, 0x0113, 0x0116, 0x0117,
    ];
    for kind in classes {
        let message = user.request(kind).bytes;
        drops(&mut world, &user.tuple, &message, DropReason::WrongClass);
    }
}

#[test]
fn rule_7_fingerprint_is_right_and_last_or_the_message_is_silence() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    let good = user.request(BINDING).fingerprint();
    assert!(world.ask(&user.tuple, &good.bytes).is_success());
    let not_last = good.clone().attr(SOFTWARE, b"x").bytes;
    drops(&mut world, &user.tuple, &not_last, DropReason::Fingerprint);
    for bit in 0..32 {
        let mut wrong = good.bytes.clone();
        let at = wrong.len() - 4 + bit / 8;
        wrong[at] ^= 1 << (bit % 8);
        drops(&mut world, &user.tuple, &wrong, DropReason::Fingerprint);
    }
    let short = user.request(BINDING).attr(FINGERPRINT, &[1, 2]).bytes;
    drops(&mut world, &user.tuple, &short, DropReason::Fingerprint);
}

#[test]
fn rule_8_unknown_required_attributes_are_listed_in_a_420() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(REFRESH).attr(0x7001, b"").attr(LIFETIME, &[0, 0, 2, 88]).attr(0x0002, b"xy");
    let answer = user.ask(&mut world, request);
    assert_eq!(answer.code(), 420);
    assert_eq!(answer.get(UNKNOWN_ATTRIBUTES).unwrap(), [0x70, 0x01, 0x00, 0x02]);
    let request = user.request(BINDING).attr(0x0003, b"....").bytes;
    let answer = world.ask(&user.tuple, &request);
    assert_eq!((answer.code(), answer.get(UNKNOWN_ATTRIBUTES).unwrap()), (420, [0, 3].as_slice()));
}

#[test]
fn rule_9_an_unknown_required_attribute_drops_an_indication() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    let good = user.request(SEND).peer(peer(1, 5000)).attr(DATA, b"hello");
    assert!(matches!(world.silent(&user.tuple, &good.bytes), ClientVerdict::Relay { .. }));
    let bad = good.attr(0x7001, b"").bytes;
    drops(&mut world, &user.tuple, &bad, DropReason::UnknownAttribute);
}

#[test]
fn rule_10_and_11_optional_attributes_and_any_padding_are_accepted() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    let request = user
        .request(BINDING)
        .attr(0x8030, b"ticket")
        .attr(0xFFFF, b"")
        .attr_padded_with(0xC001, b"abc", 0xFF);
    assert!(world.ask(&user.tuple, &request.bytes).is_success());
}

/// `Parsed` checks the padding of every answer; here each kind of text comes in every length, into a buffer that is not
/// clean.
#[test]
fn rule_11_answers_of_every_length_mod_4_are_padded_with_zeros() {
    let mut lengths = [0; 4];
    let mut see = |answer: &Parsed| {
        for (_, value) in &answer.attributes {
            lengths[value.len() % 4] += 1;
        }
    };
    for len in 1..=8 {
        let mut config = config();
        config.software = Some("s".repeat(len));
        let mut world = World::with(config);
        let mut user = User::new(1, "a");
        see(&user.challenge(&mut world));
        world.soil_the_reply();
        see(&user.allocate(&mut world));
        for unknown in [&[0x7001][..], &[0x7001, 0x7002], &[0x7001, 0x7002, 0x7003]] {
            let request =
                unknown.iter().fold(user.request(REFRESH), |request, kind| request.attr(*kind, b""));
            world.soil_the_reply();
            see(&user.ask(&mut world, request));
        }
        for request in [user.request(REFRESH), user.request(CREATE_PERMISSION), user.request(CHANNEL_BIND)] {
            world.soil_the_reply();
            see(&user.ask(&mut world, request));
        }
        let foreign = User::new(1, "b");
        let request = user.request(ALLOCATE).udp();
        world.soil_the_reply();
        see(&world.ask(&foreign.tuple, &user.sign(request)));
    }
    assert!(lengths.iter().all(|count| *count > 0), "{lengths:?}");
}

#[test]
fn rule_12_an_attribute_longer_than_the_message_is_silence() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    for length in [1, 4, 8, 0xFF, 0xFFFF_u16] {
        let mut request = user.request(BINDING).attr(SOFTWARE, b"").bytes;
        request[22..24].copy_from_slice(&length.to_be_bytes());
        drops(&mut world, &user.tuple, &request, DropReason::Malformed);
    }
}

#[test]
fn rule_13_the_first_of_two_attributes_counts() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(REFRESH).u32(LIFETIME, 1200).u32(LIFETIME, 0);
    assert_eq!(user.ask(&mut world, request).u32(LIFETIME), 1200);
    user.permit(&mut world, peer(1, 0).ip());
    let twice = user.request(SEND).peer(peer(1, 5000)).peer(peer(2, 5000)).attr(DATA, b"a").attr(DATA, b"bb");
    let ClientVerdict::Relay { peer: to, payload, .. } = world.silent(&user.tuple, &twice.bytes) else {
        panic!()
    };
    assert_eq!((to, &twice.bytes[payload]), (peer(1, 5000), b"a".as_slice()));
}

#[test]
fn rule_14_attributes_after_message_integrity_are_ignored() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let request = user.request(REFRESH);
    let signed = Builder { bytes: user.sign(request) };
    let appended = signed.u32(LIFETIME, 0).peer(peer(1, 1)).attr(0x7001, b"").fingerprint();
    let answer = world.ask(&user.tuple, &appended.bytes);
    assert!(answer.is_success(), "{answer:?}");
    assert_eq!(answer.u32(LIFETIME), 600);

    let request = user.request(CREATE_PERMISSION).peer(peer(1, 0));
    let signed = Builder { bytes: user.sign(request) }.peer(peer(9, 0));
    assert!(world.ask(&user.tuple, &signed.bytes).is_success());
    assert!(world.peer_sends(&user, peer(1, 7), b"x").is_some());
    assert!(world.peer_sends(&user, peer(9, 7), b"x").is_none());
}

#[test]
fn rule_16_to_18_binding_tells_the_source_without_credentials() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    let request = user.request(BINDING).bytes;
    let answer = world.ask(&user.tuple, &request);
    assert_eq!(answer.address(XOR_MAPPED), user.tuple.client);
    assert_eq!(answer.bytes.len(), 32, "no larger than it must be");
    user.tuple.client = "[2001:db8::7]:4321".parse().unwrap();
    let answer = world.ask(&user.tuple, &request);
    assert_eq!(answer.address(XOR_MAPPED), user.tuple.client);
    assert_eq!(answer.bytes.len(), 44);
}

#[test]
fn rule_21_software_is_sent_when_configured() {
    for software in [None, Some("Turnpike 0.1".to_owned())] {
        let mut config = config();
        config.software.clone_from(&software);
        let mut world = World::with(config);
        let mut user = User::new(1, "a");
        let allocate = user.allocate(&mut world);
        let request = user.request(REFRESH);
        let refresh = user.ask(&mut world, request);
        for answer in [allocate, refresh] {
            assert_eq!(answer.get(SOFTWARE), software.as_deref().map(str::as_bytes));
        }
    }
}

#[test]
fn a_channel_number_of_the_old_range_needs_the_option() {
    let mut config = config();
    config.rfc5766_channel_numbers = true;
    let mut world = World::with(config);
    let mut user = User::ready(&mut world, 1, "a");
    assert!(user.bind(&mut world, 0x7FFF, peer(1, 5000)).is_success());
    let data = channel_data(0x7FFF, b"x");
    assert!(matches!(world.silent(&user.tuple, &data), ClientVerdict::Relay { .. }));
}
