//! ICMP errors from the way to a peer.

use turnpike_proto::{DropReason, Icmp, PeerVerdict};

use crate::{
    message::*,
    world::{User, World, peer, peer6},
};

/// Type, code and error data of the ICMP attribute (RFC 8656 §18.13).
fn told(bytes: &[u8]) -> (u32, u32, u32) {
    let message = Parsed::read(bytes);
    assert_eq!(message.kind, 0x0017, "a Data indication");
    assert!(message.get(DATA).is_none());
    let value = message.get(ICMP).unwrap();
    assert_eq!((value.len(), &value[..2]), (8, &[0, 0][..]));
    let head = u32::from_be_bytes(value[..4].try_into().unwrap());
    (head >> 9, head & 0x1FF, u32::from_be_bytes(value[4..].try_into().unwrap()))
}

fn ready() -> (World, User) {
    let mut world = World::new();
    let mut user = User::ready_for_both(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 0).ip());
    user.permit(&mut world, peer6(1, 0).ip());
    (world, user)
}

#[test]
fn rule_83_the_error_data_is_the_mtu_where_the_error_names_one_and_else_zero() {
    let (mut world, user) = ready();
    let v4 = peer(1, 5000);
    let v6 = peer6(1, 5000);
    let cases = [
        (v4, 3, 0, 0),
        (v4, 3, 1, 0),
        (v4, 3, 3, 0),
        (v4, 3, 4, 1280),
        (v4, 11, 0, 0),
        (v4, 11, 1, 0),
        (v6, 1, 4, 0),
        (v6, 2, 0, 1280),
        (v6, 3, 0, 0),
    ];
    for (about, kind, code, data) in cases {
        let bytes = world.icmp(&user, about, kind, code, 1280).unwrap();
        assert_eq!(told(&bytes), (kind.into(), code.into(), data), "{about} {kind}/{code}");
        assert_eq!(Parsed::read(&bytes).address(XOR_PEER), about);
        world.pass(1.0);
    }
}

#[test]
fn rule_83_other_types_are_not_told() {
    let (mut world, user) = ready();
    let key = world.key(&user);
    for (about, kinds) in
        [(peer(1, 5000), &[0_u8, 1, 2, 4, 5, 8, 12, 255][..]), (peer6(1, 5000), &[0, 4, 11, 128, 137, 255])]
    {
        for kind in kinds {
            let icmp = Icmp { kind: *kind, code: 0, mtu: 0 };
            let verdict = world.server.handle_icmp(world.now, key, about, icmp);
            assert_eq!(verdict, PeerVerdict::Drop(DropReason::IcmpType), "{about} {kind}");
        }
    }
}

#[test]
fn rule_84_an_error_about_a_peer_without_a_permission_is_not_told() {
    let (mut world, mut user) = ready();
    let key = world.key(&user);
    let icmp = Icmp { kind: 3, code: 3, mtu: 0 };
    let verdict = world.server.handle_icmp(world.now, key, peer(2, 5000), icmp);
    assert_eq!(verdict, PeerVerdict::Drop(DropReason::NoPermission));
    assert!(world.icmp(&user, peer(1, 9), 3, 3, 0).is_some(), "any port of a permitted peer");
    world.pass(300.0);
    assert!(world.icmp(&user, peer(1, 5000), 3, 3, 0).is_none(), "the permission is over");
    user.bind(&mut world, 0x4000, peer(1, 5000));
    let bytes = world.icmp(&user, peer(1, 5000), 3, 3, 0).unwrap();
    assert_eq!(told(&bytes), (3, 3, 0), "no ChannelData, even where the peer has a channel");
    world.pass(600.0);
    let verdict = world.server.handle_icmp(world.now, key, peer(1, 5000), icmp);
    assert_eq!(verdict, PeerVerdict::Drop(DropReason::StaleAllocation));
}

#[test]
fn an_allocation_is_told_of_ten_errors_in_a_second() {
    let (mut world, user) = ready();
    let mut other = User::ready(&mut world, 2, "b");
    other.permit(&mut world, peer(1, 0).ip());
    for _ in 0..3 {
        let told = (0..1_000).filter(|_| world.icmp(&user, peer(1, 5000), 3, 3, 0).is_some()).count();
        assert_eq!(told, 10);
        assert!(world.icmp(&user, peer6(1, 5000), 1, 0, 0).is_none(), "both families together");
        assert!(world.icmp(&other, peer(1, 5000), 3, 3, 0).is_some(), "others are told");
        world.pass(1.0);
    }
    assert_eq!(world.server.counters().dropped.get(DropReason::IcmpRate), 3 * 991);
}
