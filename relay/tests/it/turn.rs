//! A blocking TURN client for what has two relayed addresses, ICMP errors or DONT-FRAGMENT in it.

use std::net::{SocketAddr, UdpSocket};

use turnpike_turn_client::{
    AlgorithmChoice, Challenge, Class, Connection, Credentials, Message, Signer, Writer, attribute,
    channel_data, method,
};

use crate::harness::{PATIENCE, SECRET};

pub(crate) const IPV4: (u16, &[u8]) = (attribute::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
pub(crate) const IPV6: (u16, &[u8]) = (attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
pub(crate) const IPV6_BESIDES: (u16, &[u8]) = (attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);

/// What comes besides answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Channel(u16, Vec<u8>),
    Data(SocketAddr, Vec<u8>),
    /// Type, code and error data of an ICMP error about a peer.
    Icmp(SocketAddr, u16, u16, u32),
}

/// A client of its own subject.
pub(crate) struct Turn {
    connection: Connection,
    credentials: Credentials,
    signer: Option<Signer>,
}

impl Turn {
    pub(crate) fn over_udp(socket: UdpSocket, server: SocketAddr, subject: &str) -> Self {
        socket.connect(server).unwrap();
        Self::over(Connection::from_udp(socket), subject)
    }

    pub(crate) fn over(connection: Connection, subject: &str) -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        Self { connection, credentials: Credentials::mint(SECRET, now + 3_600, subject), signer: None }
    }

    /// From a loopback address of the server's family.
    pub(crate) fn new(server: SocketAddr, subject: &str) -> Self {
        let any = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        Self::over_udp(UdpSocket::bind(any).unwrap(), server, subject)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.connection.local_addr().unwrap()
    }

    /// Its own address as the server sees it.
    pub(crate) fn binding(&mut self) -> SocketAddr {
        let answer = self.connection.ask(Writer::request(method::BINDING).bytes()).unwrap();
        answer.xor_address(attribute::XOR_MAPPED_ADDRESS).unwrap()
    }

    /// Signs and asks.
    pub(crate) fn ask(&mut self, request: Writer) -> Message {
        if self.signer.is_none() {
            let plain = Writer::request(method::ALLOCATE).requested_transport(17);
            let challenge = Challenge::of(&self.connection.ask(plain.bytes()).unwrap()).unwrap();
            self.signer = Some(Signer::new(&self.credentials, challenge, AlgorithmChoice::Legacy));
        }
        let signed = self.signer.as_ref().unwrap().sign(request);
        self.connection.ask(signed.bytes()).unwrap()
    }

    pub(crate) fn allocate(&mut self, attributes: &[(u16, &[u8])]) -> Message {
        let start = Writer::request(method::ALLOCATE).requested_transport(17);
        let request = attributes.iter().fold(start, |request, (kind, value)| request.attribute(*kind, value));
        self.ask(request)
    }

    /// Allocates and gives the relayed addresses.
    pub(crate) fn allocated<const N: usize>(&mut self, attributes: &[(u16, &[u8])]) -> [SocketAddr; N] {
        let answer = self.allocate(attributes);
        assert!(answer.is_success(), "{}", answer.code());
        answer.xor_addresses(attribute::XOR_RELAYED_ADDRESS).try_into().unwrap()
    }

    pub(crate) fn permit(&mut self, peers: &[SocketAddr]) -> u16 {
        let request = Writer::request(method::CREATE_PERMISSION);
        self.ask(peers.iter().fold(request, |request, peer| request.peer(*peer))).code()
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) -> u16 {
        self.ask(Writer::request(method::CHANNEL_BIND).channel_number(number).peer(peer)).code()
    }

    /// Refreshes one family, or all.
    pub(crate) fn refresh(&mut self, family: Option<(u16, &[u8])>, lifetime: u32) -> u16 {
        let request = Writer::request(method::REFRESH).lifetime(lifetime);
        self.ask(family.iter().fold(request, |request, (kind, value)| request.attribute(*kind, value))).code()
    }

    pub(crate) fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        self.connection.send(Writer::indication(method::SEND).peer(peer).data(payload).bytes()).unwrap();
    }

    pub(crate) fn send_whole(&mut self, peer: SocketAddr, payload: &[u8]) {
        let send = Writer::indication(method::SEND).peer(peer).data(payload);
        self.connection.send(send.attribute(attribute::DONT_FRAGMENT, b"").bytes()).unwrap();
    }

    pub(crate) fn send_on(&mut self, number: u16, payload: &[u8]) {
        self.connection.send(&channel_data::encode(number, payload)).unwrap();
    }

    pub(crate) fn hear(&mut self) -> Heard {
        let bytes = self.connection.receive(PATIENCE).unwrap().expect("nothing comes");
        if let Some((number, payload)) = channel_data::decode(&bytes) {
            return Heard::Channel(number, payload.to_vec());
        }
        let message = Message::read(bytes).unwrap();
        assert_eq!((message.kind().class(), message.kind().method()), (Class::Indication, method::DATA));
        let about = message.xor_address(attribute::XOR_PEER_ADDRESS).unwrap();
        match (message.value(attribute::DATA), message.value(attribute::ICMP)) {
            (Some(payload), None) => Heard::Data(about, payload.to_vec()),
            (None, Some(&[0, 0, high, low, a, b, c, d])) => {
                let head = u16::from_be_bytes([high, low]);
                Heard::Icmp(about, head >> 9, head & 0x1FF, u32::from_be_bytes([a, b, c, d]))
            }
            other => panic!("{other:?}"),
        }
    }
}
