//! Any datagrams from several clients at a server that is in the middle of its work.

use std::net::{IpAddr, SocketAddr};

use turnpike_proto::{ClientVerdict, FiveTuple, Transport};

use super::input::Input;
use crate::{
    message::*,
    world::{REALM_NAME, RELAY_IP, RELAY_IPV6, User, World, peer},
};

const CLIENTS: u8 = 4;
const HEADER_LEN: usize = 20;

/// One record a datagram: a byte that says who sends it and what is mended, then its length and bytes.
///
/// Bits 0 and 1 are the client, of whom one has no allocation. What is mended: bit 2 padding, length and cookie; bit 3
/// credentials and MESSAGE-INTEGRITY, bit 4 MESSAGE-INTEGRITY-SHA256, bit 5 FINGERPRINT. Bit 6 lets seconds pass.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new();
    let clients: Vec<User> = (0..CLIENTS).map(|host| client(&mut world, host)).collect();
    while !input.is_empty() {
        let how = input.byte();
        if how & 0x40 != 0 {
            world.pass(f64::from(input.byte()) * 7.0);
            world.tick();
        }
        let user = &clients[usize::from(how % CLIENTS)];
        let datagram = mended(user, input.chunk(), how);
        give(&mut world, user, &datagram, how & 0x18 != 0);
        let live = world.server.allocations().count();
        assert!(live <= clients.len(), "at most one for each five-tuple: {live}");
    }
}

/// Three with an allocation, a channel and a permission: over UDP, over IPv6, over TCP; the last is a stranger.
fn client(world: &mut World, host: u8) -> User {
    let mut user = User::new(host, "a");
    match host {
        1 => user.tuple.client = "[2606:4700::1]:40000".parse().unwrap(),
        2 => user.tuple.transport = Transport::Tcp,
        _ => {}
    }
    user.challenge(world);
    if host + 1 < CLIENTS {
        let allocate = user.request(ALLOCATE).udp();
        assert!(user.ask(world, allocate).is_success());
        assert!(user.bind(world, 0x4000, peer(1, 5000)).is_success());
        assert!(user.permit(world, peer(2, 0).ip()).is_success());
    }
    user
}

fn mended(user: &User, bytes: &[u8], how: u8) -> Vec<u8> {
    let mut builder = Builder { bytes: bytes.to_vec() };
    if how & 0x3C == 0 || bytes.len() < HEADER_LEN {
        return builder.bytes;
    }
    builder.bytes.resize(bytes.len().next_multiple_of(4), 0);
    let length = builder.bytes.len() - HEADER_LEN;
    builder.bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    builder.bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
    if how & 0x18 != 0 {
        builder = builder
            .attr(USERNAME, user.name.as_bytes())
            .attr(REALM, REALM_NAME.as_bytes())
            .attr(NONCE, &user.nonce);
    }
    if how & 0x08 != 0 {
        builder = builder.integrity(&user.key);
    }
    if how & 0x10 != 0 {
        builder = builder.integrity_sha256(&user.key);
    }
    if how & 0x20 != 0 {
        builder = builder.fingerprint();
    }
    builder.bytes
}

fn give(world: &mut World, user: &User, datagram: &[u8], signed: bool) {
    let dropped = world.server.counters().dropped.total();
    let (verdict, answers) = world.give(&user.tuple, datagram);
    let dropped = world.server.counters().dropped.total() - dropped;
    match verdict {
        ClientVerdict::Drop(_) => assert_eq!((dropped, answers.len()), (1, 0), "counted once, not answered"),
        ClientVerdict::Relay { allocation, peer, payload, .. } => {
            assert_eq!((dropped, answers.len()), (0, 0));
            let tuple = world.server.allocation(allocation).unwrap().five_tuple();
            assert_eq!(*tuple, user.tuple, "nobody sends by another's allocation");
            assert!(may_be_reached(peer), "{peer}");
            assert!(payload.start <= payload.end && payload.end <= datagram.len());
        }
        ClientVerdict::Reply { .. } | ClientVerdict::Handled => {
            assert_eq!(dropped, 0);
            answers.iter().for_each(|answer| check_answer(datagram, answer, &user.tuple, signed));
        }
    }
}

fn check_answer(datagram: &[u8], answer: &[u8], client: &FiveTuple, signed: bool) {
    let kind = u16::from_be_bytes([datagram[0], datagram[1]]);
    let parsed = Parsed::read(answer);
    assert_eq!(parsed.transaction, datagram[8..20]);
    assert_eq!(parsed.kind & !0x0110, kind, "an answer goes with a request of its method");
    assert!(parsed.is_success() || parsed.is_error());
    if parsed.is_success() && kind != BINDING {
        assert!(signed, "nobody is let in without a MAC: {parsed:?}");
    }
    if let Some(mapped) = parsed.get(XOR_MAPPED) {
        assert_eq!(mapped.len(), if client.client.is_ipv4() { 8 } else { 20 });
        assert_eq!(parsed.address(XOR_MAPPED), client.client);
    }
    if !signed {
        let challenge = 56 + REALM_NAME.len().next_multiple_of(4) + 32;
        assert!(answer.len() <= challenge.max(datagram.len() + 32), "{} bytes amplify", answer.len());
    }
}

/// The public internet and this node's relayed addresses, roughly; `peer_policy` has it to the letter.
fn may_be_reached(peer: SocketAddr) -> bool {
    let ip = match peer.ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => {
            let tunnel = ip.segments()[0] == 0x2002 || ip.segments()[..2] == [0x2001, 0];
            let relayed = ip.segments() == RELAY_IPV6 && peer.port() != 3478;
            return peer.port() >= 1024 && (relayed || ip.segments()[0] >> 13 == 1 && !tunnel);
        }
    };
    let inside = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified();
    let special = ip.is_multicast() || ip.is_broadcast() || ip.is_documentation();
    let relayed = ip.octets() == RELAY_IP && peer.port() != 3478;
    peer.port() >= 1024 && (relayed || !inside && !special)
}
