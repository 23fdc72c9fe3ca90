//! The address that a STUN server sees (RFC 8489 §14.2).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use turnpike_turn_client::{Connection, Endpoint, Retransmission, Transport, Writer, attribute, method};

/// Sent at 0, 0.3 and 0.9 s, given up after 2.1 s.
const PATIENCE: Retransmission =
    Retransmission { first: Duration::from_millis(300), transmissions: 3, last: 4 };

pub(super) fn ask(host: &str, port: u16) -> Option<Ipv4Addr> {
    let server = (host.trim_matches(['[', ']']), port).to_socket_addrs().ok()?.find(SocketAddr::is_ipv4)?;
    let endpoint = Endpoint { server, transport: Transport::Udp, tls: None, bind: None };
    let mut connection = Connection::open(&endpoint).ok()?;
    connection.set_retransmission(PATIENCE);
    let answer = connection.ask(Writer::request(method::BINDING).bytes()).ok()?;
    match answer.xor_address(attribute::XOR_MAPPED_ADDRESS)?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
