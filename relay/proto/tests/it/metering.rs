use turnpike_proto::Family;
use turnpike_relay_api::admin::{Flow, Traffic};

use crate::{
    message::*,
    world::{User, World, peer},
};

#[test]
fn both_legs_are_counted_at_the_ip_layer_control_included() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let start = world.server.allocation(world.key(&user)).unwrap().traffic().total();
    assert_eq!(start.client_in, Flow::default(), "the Allocate came before the allocation");
    assert_eq!(start.client_out.packets, 1, "its answer belongs to it");

    let bind = user.request(CHANNEL_BIND).channel(0x4000).peer(peer(1, 5000));
    let bind = user.sign(bind);
    let answer = world.ask(&user.tuple, &bind);
    world.silent(&user.tuple, &channel_data(0x4000, &[0; 100]));
    let key = world.key(&user);
    world.server.sent_to_peer(key, Family::Ipv4, 100);
    world.peer_sends(&user, peer(1, 5000), &[0; 50]).unwrap();
    assert!(world.peer_sends(&user, peer(2, 5000), &[0; 7]).is_none());
    world.silent(&user.tuple, &channel_data(0x4001, &[0; 3]));

    let expected = Traffic {
        client_in: Flow { bytes: (bind.len() + 104 + 7 + 3 * 28) as u64, packets: 3 },
        client_out: Flow {
            bytes: start.client_out.bytes + (answer.bytes.len() + 54 + 2 * 28) as u64,
            packets: 3,
        },
        peer_out: Flow { bytes: 128, packets: 1 },
        peer_in: Flow { bytes: 78 + 35, packets: 2 },
        hairpin: Flow::default(),
    };
    assert_eq!(world.server.allocation(key).unwrap().traffic().total(), expected);
    assert_eq!(world.server.traffic(), expected);
}

#[test]
fn what_is_sent_while_an_allocation_closes_is_in_its_final_record() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    let before = world.server.traffic();
    let request = user.request(REFRESH).u32(LIFETIME, 0);
    let signed = user.sign(request);
    let mut reply = Vec::new();
    let key = world.key(&user);
    world.server.handle_client(world.now, &user.tuple, &signed, &mut reply);
    world.server.sent_to_peer(key, Family::Ipv4, 10);
    world.server.hairpinned(key, Family::Ipv4, 20);
    assert!(world.server.allocations().next().is_none());
    let traffic = world.server.release(key).unwrap().traffic.total();
    assert_eq!(traffic.client_in.bytes, before.client_in.bytes + signed.len() as u64 + 28);
    assert_eq!(traffic.peer_out, Flow { bytes: 38 + 48, packets: 2 });
    assert_eq!(traffic.hairpin, Flow { bytes: 48, packets: 1 });
    assert_eq!(world.server.traffic(), traffic, "totals do not fall when an allocation ends");
    assert!(world.server.release(key).is_none(), "closed exactly once");
    world.server.sent_to_peer(key, Family::Ipv4, 10);
    assert_eq!(world.server.traffic(), traffic, "a stale key counts nowhere");
}

#[test]
fn traffic_without_an_allocation_is_counted_apart() {
    let (mut world, mut user) = (World::new(), User::new(1, "a"));
    let request = user.request(BINDING).bytes;
    world.ask(&user.tuple, &request);
    let counters = world.server.counters();
    assert_eq!(counters.unallocated_in, Flow { bytes: 48, packets: 1 });
    assert_eq!(counters.unallocated_out, Flow { bytes: 60, packets: 1 });
    assert_eq!(world.server.traffic(), Traffic::default());
}
