//! What a client may not do, over the wire.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
};

use turnpike_turn_client::{Credentials, Error};

use crate::node::{Node, SECRET, Site, in_an_hour, now};

fn code<T>(result: Result<T, Error>) -> u16 {
    match result {
        Err(Error::Refused { code }) => code,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("allowed"),
    }
}

#[test]
fn a_wrong_password_and_an_expired_username_are_unauthorized() {
    let node = Node::relay("");
    let secret = SECRET.as_bytes();
    let wrong = Credentials::mint(b"not the secret of this node, whoever says so", in_an_hour(), "alice");
    assert_eq!(code(node.allocate_as(wrong)), 401);
    assert_eq!(code(node.allocate_as(Credentials::mint(secret, now() - 1, "alice"))), 401);
    assert_eq!(code(node.allocate_as(Credentials::new("alice", "password"))), 401);
    node.allocate_as(Credentials::mint(secret, in_an_hour(), "alice")).unwrap();
}

#[test]
fn denied_peers_are_forbidden_and_nothing_is_sent_to_them() {
    // Relaying from another address than 127.0.0.1, which is then an own one and no relayed one.
    let node = Site::new(Ipv4Addr::new(127, 0, 0, 2), "").start("relay");
    let victim = UdpSocket::bind("127.0.0.1:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let port = victim.local_addr().unwrap().port();
    let mut allocation = node.allocate("alice");
    for (peer, expected) in [
        ("127.0.0.1", 403),
        ("169.254.169.254", 403),
        ("10.0.0.1", 403),
        ("0.0.0.0", 403),
        // The relayed address is IPv4 (RFC 8656 §10.2).
        ("::ffff:127.0.0.1", 443),
    ] {
        let ip: IpAddr = peer.parse().unwrap();
        let peer = SocketAddr::new(ip, port);
        assert_eq!(code(allocation.permit(&[ip])), expected, "CreatePermission for {peer}");
        assert_eq!(code(allocation.bind(peer)), expected, "ChannelBind to {peer}");
        allocation.send_indication(peer, b"by indication").unwrap();
    }
    // An answered request after the indications: they have been handled.
    allocation.refresh(None).unwrap();
    let nothing = victim.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn an_allowed_peer_is_reached_and_its_neighbour_is_not() {
    let node = Node::relay("");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    let mut allocation = node.allocate("alice");
    assert_eq!(code(allocation.permit(&["127.0.0.3".parse().unwrap()])), 403);
    allocation.permit(&[address.ip()]).unwrap();
    allocation.send_indication(address, b"hello").unwrap();
    let mut buffer = [0; 64];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"hello"[..], allocation.relayed()));
}
