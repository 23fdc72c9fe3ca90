use std::net::SocketAddr;

use turnpike_proto::{
    ByFamily, ClientVerdict, Config, DropReason, ErrorCode, Family, OpenedRelay, Output, PortRequest,
    RelayRefused, Shares, Transport,
};

use crate::{
    message::*,
    world::{RELAY_IP, User, World, config},
};

#[test]
fn rule_63_success_tells_the_relayed_and_the_mapped_address_and_the_lifetime() {
    let mut world = World::new();
    let mut user = User::new(1, "a");
    let answer = user.allocate(&mut world);
    assert!(answer.is_success());
    assert_eq!(answer.addresses(XOR_RELAYED).len(), 1);
    assert_eq!(answer.address(XOR_RELAYED).ip(), std::net::IpAddr::from(RELAY_IP));
    assert_eq!(answer.address(XOR_MAPPED), user.tuple.client);
    assert_eq!(answer.u32(LIFETIME), 600);
    assert_eq!(world.relayed(&user), answer.address(XOR_RELAYED));
}

#[test]
fn rule_45_and_46_the_same_transaction_gets_the_same_answer_another_a_437() {
    let mut world = World::new();
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    let request = user.request(ALLOCATE).udp();
    let signed = user.sign(request);
    let first = world.ask(&user.tuple, &signed);
    assert_eq!(world.ask(&user.tuple, &signed), first, "rule 22");
    assert_eq!(world.opened.len(), 1, "no second effect");
    let request = user.request(ALLOCATE).udp();
    assert_eq!(user.ask(&mut world, request).code(), 437);
}

#[test]
fn rule_47_and_48_requested_transport_is_udp() {
    let mut world = World::new();
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    for (value, code) in
        [(None, 400), (Some(&[17][..]), 400), (Some(&[6, 0, 0, 0]), 442), (Some(&[0, 0, 0, 17]), 442)]
    {
        let mut request = user.request(ALLOCATE);
        if let Some(value) = value {
            request = request.attr(TRANSPORT, value);
        }
        assert_eq!(user.ask(&mut world, request).code(), code, "{value:?}");
    }
    assert_eq!(world.server.counters().allocation_failures.get(ErrorCode::UnsupportedTransport), 2);
}

#[test]
fn rule_49_dont_fragment_is_served() {
    let mut world = World::new();
    assert!(User::new(1, "a").allocate_with(&mut world, &[(DONT_FRAGMENT, b"")]).is_success());
}

#[test]
fn rule_50_52_and_55_what_excludes_each_other_is_a_400() {
    let mut world = World::new();
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    let (token, even, v4, second) = (
        (TOKEN, &[1; 8][..]),
        (EVEN_PORT, &[0x80][..]),
        (FAMILY, &[1, 0, 0, 0][..]),
        (SECOND_FAMILY, &[2, 0, 0, 0][..]),
    );
    let cases = [
        vec![token, even],
        vec![token, v4],
        vec![token, second],
        vec![v4, second],
        vec![even, second],
        vec![(TOKEN, &[1; 7][..])],
        vec![(EVEN_PORT, &[0, 0][..])],
        vec![(LIFETIME, &[1][..])],
        vec![(FAMILY, &[1][..])],
        vec![(SECOND_FAMILY, &[2][..])],
    ];
    for attributes in cases {
        let start = user.request(ALLOCATE).udp();
        let request = attributes.iter().fold(start, |request, (kind, value)| request.attr(*kind, value));
        assert_eq!(user.ask(&mut world, request).code(), 400, "{attributes:?}");
    }
    assert!(world.opened.is_empty());
}

#[test]
fn rule_56_and_57_the_driver_is_told_which_port_is_asked_for() {
    let mut world = World::new();
    let cases = [
        (None, PortRequest::Any),
        (Some((EVEN_PORT, &[0x00][..])), PortRequest::Even),
        (Some((EVEN_PORT, &[0x7F][..])), PortRequest::Even),
        (Some((EVEN_PORT, &[0x80][..])), PortRequest::EvenAndReserveNext),
        (Some((TOKEN, &[9; 8][..])), PortRequest::Reserved([9; 8])),
    ];
    for (host, (attribute, port)) in cases.into_iter().enumerate() {
        let mut user = User::new(host as u8, "a");
        user.challenge(&mut world);
        let mut request = user.request(ALLOCATE).udp();
        if let Some((kind, value)) = attribute {
            request = request.attr(kind, value);
        }
        assert!(user.ask(&mut world, request).is_success());
        assert_eq!(world.opened[host].port, port);
    }
}

#[test]
fn rule_51_59_and_60_a_refusal_of_the_driver_is_a_signed_error_and_leaves_nothing() {
    let mut world = World::new();
    let refusals = [
        (RelayRefused::SubjectQuota, 486),
        (RelayRefused::ClientQuota, 486),
        (RelayRefused::NodeFull, 508),
        (RelayRefused::NoPort, 508),
        (RelayRefused::UnknownReservation, 508),
        (RelayRefused::Socket, 508),
    ];
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    for (why, code) in refusals {
        world.refuse = Some(why);
        let request = user.request(ALLOCATE).udp();
        assert_eq!(user.ask(&mut world, request).code(), code);
        assert_eq!(world.server.allocations().count(), 0);
    }
    assert_eq!(world.server.counters().allocation_failures.get(ErrorCode::InsufficientCapacity), 4);
    world.refuse = None;
    let request = user.request(ALLOCATE).udp();
    assert!(user.ask(&mut world, request).is_success());
}

#[test]
fn rule_62_and_67_the_lifetime_is_at_least_600_and_at_most_the_maximum() {
    let mut world = World::new();
    for (host, (asked, given)) in
        [(0, 600), (1, 600), (600, 600), (1200, 1200), (u32::MAX, 3600)].into_iter().enumerate()
    {
        let mut user = User::new(host as u8, "a");
        user.challenge(&mut world);
        let request = user.request(ALLOCATE).udp().u32(LIFETIME, asked);
        assert_eq!(user.ask(&mut world, request).u32(LIFETIME), given, "{asked}");
        if asked > 0 {
            let request = user.request(REFRESH).u32(LIFETIME, asked);
            assert_eq!(user.ask(&mut world, request).u32(LIFETIME), given, "{asked}");
        }
    }
}

#[test]
fn the_subject_and_its_signed_limit_reach_the_driver() {
    let mut world = World::new();
    User::ready(&mut world, 1, "alice.cred:a4");
    User::ready(&mut world, 2, "@alice:example.org");
    let asked: Vec<_> = world.opened.iter().map(|r| (&*r.subject, r.limit)).collect();
    assert_eq!(asked, [("alice.cred", Some(4)), ("@alice:example.org", None)]);
}

#[test]
fn rule_65_a_draining_server_sends_who_is_let_in_to_another_of_his_family_and_transport() {
    let v4: SocketAddr = "198.51.100.7:3479".parse().unwrap();
    let v6: SocketAddr = "[2001:4860::7]:3479".parse().unwrap();
    let cases = [
        (v4, Transport::Udp, Some(vec![0, 1, 0x0D, 0x97, 198, 51, 100, 7])),
        (v4, Transport::Tcp, Some(vec![0, 1, 0x0D, 0x97, 198, 51, 100, 7])),
        (v4, Transport::Tls, None),
        (v6, Transport::Udp, None),
    ];
    for (alternate, transport, value) in cases {
        let mut world = World::with(Config { drain_alternate: Some(alternate), ..config() });
        let mut user = User::ready(&mut world, 1, "a");
        world.server.set_draining(true);
        let request = user.request(REFRESH);
        assert!(user.ask(&mut world, request).is_success(), "live ones are served");
        let mut late = User::new(2, "b");
        late.tuple.transport = transport;
        assert_eq!(late.challenge(&mut world).code(), 401);
        let mut stranger = late.clone();
        stranger.key[0] ^= 1;
        let request = stranger.request(ALLOCATE).udp();
        assert_eq!(world.ask(&late.tuple, &stranger.sign(request)).code(), 401);
        let request = late.request(ALLOCATE).udp();
        let answer = late.ask(&mut world, request);
        assert_eq!(answer.code(), if value.is_some() { 300 } else { 508 }, "{alternate} {transport:?}");
        assert_eq!(answer.get(ALTERNATE_SERVER), value.as_deref());
        assert_eq!(world.server.counters().allocation_failures.total(), 1);
        world.server.set_draining(false);
        let request = late.request(ALLOCATE).udp();
        assert!(late.ask(&mut world, request).is_success());
    }
}

#[test]
fn rule_22_a_retransmission_while_the_relay_socket_is_being_bound_waits_for_the_one_answer() {
    let mut world = World::new();
    let mut user = User::new(1, "a");
    user.challenge(&mut world);
    let request = user.request(ALLOCATE).udp();
    let signed = user.sign(request);
    let mut reply = Vec::new();
    let mut give = |world: &mut World, datagram: &[u8]| {
        world.server.handle_client(world.now, &user.tuple, datagram, &mut reply)
    };
    assert_eq!(give(&mut world, &signed), ClientVerdict::Handled);
    let Some(Output::OpenRelay { allocation, .. }) = world.server.poll_output() else {
        panic!("no OpenRelay")
    };
    for _ in 0..3 {
        assert_eq!(give(&mut world, &signed), ClientVerdict::Drop(DropReason::InProgress));
        assert!(world.server.poll_output().is_none(), "no second effect");
    }
    let relayed = SocketAddr::from((RELAY_IP, 50_000));
    let advertised = ByFamily::from_fn(|family| (family == Family::Ipv4).then_some(relayed));
    let opened = OpenedRelay { advertised, reservation: None, shares: Shares::default() };
    world.server.handle_relay_opened(world.now, allocation, opened);
    let Some(Output::Transmit { message, .. }) = world.server.poll_output() else { panic!("no answer") };
    assert_eq!(give(&mut world, &signed), ClientVerdict::Reply { allocation: Some(allocation) });
    assert_eq!(reply, message, "from then on the same answer again");
    assert_eq!(world.server.counters().allocations_created.total(), 1);
}

#[test]
fn a_draining_server_refuses_new_allocations_and_serves_live_ones() {
    let mut world = World::new();
    let mut user = User::ready(&mut world, 1, "a");
    world.server.set_draining(true);
    let mut late = User::new(2, "b");
    assert_eq!(late.allocate(&mut world).code(), 508);
    let request = user.request(REFRESH);
    assert!(user.ask(&mut world, request).is_success());
}
