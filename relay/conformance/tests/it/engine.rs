//! The client engine over every transport.

use std::{net::UdpSocket, time::Duration};

use turnpike_conformance::Target;
use turnpike_turn_client::{
    AllocateOptions, Allocation, Connection, Credentials, Datagram, Endpoint, Error, TlsClient, Transport,
};

use crate::{
    coturn::{Coturn, SECRET},
    turnpike::Turnpike,
};

const WITHIN: Duration = Duration::from_secs(5);

fn allocate(target: &Target, transport: Transport, port: u16, secret: &str) -> Result<Allocation, Error> {
    let mut server = target.server;
    server.set_port(port);
    let tls = (transport == Transport::Tls).then(|| TlsClient::unverified("localhost").unwrap());
    let connection = Connection::open(&Endpoint { server, transport, tls, bind: None })?;
    let expires = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 600;
    let credentials = Credentials::mint(secret.as_bytes(), expires, "engine");
    Allocation::open(connection, credentials, None, &AllocateOptions { lifetime: Some(700), ipv6: false })
}

fn speaks(target: &Target, transport: Transport, port: u16) {
    let peer = UdpSocket::bind("127.0.0.2:0").unwrap();
    peer.set_read_timeout(Some(WITHIN)).unwrap();
    let address = peer.local_addr().unwrap();
    let mut allocation = allocate(target, transport, port, SECRET).unwrap();
    assert_eq!(allocation.session().lifetime(), Duration::from_secs(700));
    allocation.permit(&[address.ip()]).unwrap();
    let mut buffer = [0; 100];
    let mut echo = |allocation: &mut Allocation, payload: &[u8], channel: Option<u16>| {
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (payload, allocation.relayed()));
        peer.send_to(payload, from).unwrap();
        let heard = allocation.receive(WITHIN).unwrap();
        assert_eq!(heard, Some(Datagram { peer: address, payload: payload.to_vec(), channel }));
    };
    allocation.send(address, b"by indication").unwrap();
    echo(&mut allocation, b"by indication", None);
    let channel = allocation.bind(address).unwrap();
    for payload in [&b"by channel"[..], b"", b"1", b"12", b"123"] {
        allocation.send(address, payload).unwrap();
        echo(&mut allocation, payload, Some(channel));
    }
    allocation.send_indication(address, b"by indication again").unwrap();
    echo(&mut allocation, b"by indication again", Some(channel));
    assert_eq!(allocation.bind(address).unwrap(), channel);
    allocation.refresh(Some(900)).unwrap();
    assert_eq!(allocation.session().lifetime(), Duration::from_secs(900));
    allocation.close().unwrap();
    let refused = allocate(target, transport, port, "another secret of the conformance tests");
    assert!(matches!(refused, Err(Error::Refused { code: 401 })));
}

#[test]
fn it_speaks_to_coturn_over_udp_tcp_and_tls() {
    let coturn = Coturn::start(&[]);
    let target = coturn.target(&[]);
    speaks(&target, Transport::Udp, coturn.port);
    speaks(&target, Transport::Tcp, coturn.port);
    speaks(&target, Transport::Tls, coturn.tls_port);
}

#[test]
fn it_speaks_to_turnpike_over_udp_tcp_and_tls() {
    let turnpike = Turnpike::start("");
    for (name, transport) in [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)] {
        let target = turnpike.target(name, &[]);
        speaks(&target, transport, target.server.port());
    }
}
