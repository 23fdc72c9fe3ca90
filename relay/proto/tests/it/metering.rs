use turnpike_proto::{AllocationKey, Config, Family, Label as _};
use turnpike_relay_api::admin::{Flow, Traffic};

use crate::{
    message::*,
    world::{User, World, config, peer},
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

#[test]
fn requests_are_counted_by_method_transport_and_what_they_were_answered_with() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    user.permit(&mut world, peer(1, 5000).ip());
    user.bind(&mut world, 0x4000, peer(1, 5000));
    let forbidden = std::net::SocketAddr::from(([10, 0, 0, 1], 5000));
    user.bind(&mut world, 0x4001, forbidden);
    let binding = user.request(BINDING).bytes;
    world.ask(&user.tuple, &binding);
    let requests = &world.server.counters().requests;
    let counted: Vec<_> = requests
        .iter()
        .filter(|(.., count)| *count > 0)
        .map(|(method, transport, result, count)| (method.name(), transport.name(), result.name(), count))
        .collect();
    assert_eq!(
        counted,
        [
            ("binding", "udp", "success", 1),
            ("allocate", "udp", "success", 1),
            ("allocate", "udp", "challenge", 1),
            ("create_permission", "udp", "success", 1),
            ("channel_bind", "udp", "success", 1),
            ("channel_bind", "udp", "error", 1),
        ]
    );
    assert_eq!(requests.iter().count(), 33, "a challenge is of Allocate alone");
}

#[test]
fn what_the_node_tries_itself_with_is_in_no_list_and_no_count_of_allocations() {
    let settings = Config { self_test: Some("alice".into()), ..config() };
    let mut world = World::with(settings);
    let mut own = User::named(1, "alice", "wonderland");
    own.challenge(&mut world);
    own.allocate(&mut world);
    let first = AllocationKey { index: 0, generation: 0 };
    assert!(world.server.allocation(first).unwrap().is_self_test());
    own.bind(&mut world, 0x4000, peer(1, 5000));
    world.silent(&own.tuple, &channel_data(0x4000, &[0; 100]));
    assert_eq!(world.server.allocations().count(), 0);
    assert_eq!(world.server.traffic(), Traffic::default());
    let before = world.server.counters().clone();
    let refresh = own.request(REFRESH).u32(LIFETIME, 0);
    own.ask(&mut world, refresh);
    let counters = world.server.counters();
    assert_eq!((counters.allocations_created.total(), counters.allocations_closed.total()), (0, 0));
    assert!(
        counters.unallocated_in.bytes > before.unallocated_in.bytes + 104,
        "its bytes are of no allocation"
    );
    assert!(counters.unallocated_out.bytes > before.unallocated_out.bytes);
    assert_eq!(world.server.traffic(), Traffic::default());
}
