//! A server in virtual time with a driver that binds ports at once.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use md5::{Digest as _, Md5};
use turnpike_proto::{
    AllocationKey, ByFamily, ClientVerdict, Closed, Config, Family, FiveTuple, Icmp, Now, OpenedRelay,
    Output, OwnAddresses, PeerVerdict, PortRequest, RelayRefused, RelayRequest, Server, Shares, Transport,
};
use turnpike_relay_api::credential;
use zeroize::Zeroizing;

use crate::message::{
    ALLOCATE, Builder, CHANNEL_BIND, CREATE_PERMISSION, NONCE, Parsed, REALM, SECOND_FAMILY, USERNAME,
};

pub const REALM_NAME: &str = "turnpike.test";
pub const SECRET: &[u8] = b"a secret of thirty-two bytes or so";
pub const RELAY_IP: [u8; 4] = [198, 51, 100, 1];
pub const RELAY_IPV6: [u16; 8] = [0x2a01, 0x4f8, 0, 0, 0, 0, 0, 1];
pub const UNIX: u64 = 1_800_000_000;

pub fn peer(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([93, 184, 216, last], port))
}

pub fn peer6(last: u16, port: u16) -> SocketAddr {
    SocketAddr::from(([0x2606, 0x4700, 0, 0, 0, 0, 0, last], port))
}

pub fn relay_ip(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => RELAY_IP.into(),
        Family::Ipv6 => RELAY_IPV6.into(),
    }
}

pub fn config() -> Config {
    Config {
        realm: REALM_NAME.into(),
        secrets: vec![Zeroizing::new(SECRET.to_vec())],
        static_users: vec![("alice".into(), Zeroizing::new("wonderland".into()))],
        self_test: None,
        strict_expiry: false,
        families: ByFamily::from_fn(|_| true),
        own: OwnAddresses {
            relayed: vec![RELAY_IP.into(), RELAY_IPV6.into()],
            others: vec![[203, 0, 114, 9].into()],
            listeners: vec![3478],
        },
        allow_peers: vec![],
        deny_peers: vec![],
        min_peer_port: 1024,
        max_permissions: 128,
        max_channels: 128,
        default_lifetime: Duration::from_secs(600),
        max_lifetime: Duration::from_secs(3600),
        strict_permissions: true,
        rfc5766_channel_numbers: false,
        drain_alternate: None,
        software: None,
        max_bitrate_per_allocation: 0,
        total_bitrate: None,
        sources: Default::default(),
    }
}

pub struct World {
    pub server: Server,
    pub now: Now,
    /// The driver's answer to the next OpenRelay; none binds the next port.
    pub refuse: Option<RelayRefused>,
    /// A family that the driver has no port of.
    pub out_of_ports: Option<Family>,
    pub opened: Vec<RelayRequest>,
    /// What the next allocations share.
    pub shares: Shares,
    pub closed: Vec<Closed>,
    pub closed_addresses: Vec<(AllocationKey, Family)>,
    next_port: u16,
    reply: Vec<u8>,
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        Self {
            server: Server::new(config, [1; 32], [2; 32]),
            now: Now { mono: Duration::from_secs(10), unix: UNIX },
            refuse: None,
            out_of_ports: None,
            opened: Vec::new(),
            shares: Shares::default(),
            closed: Vec::new(),
            closed_addresses: Vec::new(),
            next_port: 50_000,
            reply: Vec::new(),
        }
    }

    pub fn pass(&mut self, seconds: f64) {
        self.now.mono += Duration::from_secs_f64(seconds);
        self.now.unix += seconds as u64;
    }

    /// Lets the server sweep, as a driver does once a second.
    pub fn tick(&mut self) {
        self.server.handle_timeout(self.now);
        self.drain();
    }

    /// Gives a datagram and returns the verdict and what was sent back.
    pub fn give(&mut self, client: &FiveTuple, datagram: &[u8]) -> (ClientVerdict, Vec<Vec<u8>>) {
        let mut reply = std::mem::take(&mut self.reply);
        let verdict = self.server.handle_client(self.now, client, datagram, &mut reply);
        let mut sent = Vec::new();
        if let ClientVerdict::Reply { allocation } = &verdict {
            match allocation {
                Some(key) => self.server.sent_to_client(*key, reply.len()),
                None => self.server.unallocated_sent(client.client, reply.len()),
            }
            sent.push(reply.clone());
        }
        self.reply = reply;
        sent.extend(self.drain());
        (verdict, sent)
    }

    /// Leaves other bytes in the buffer of answers than an answer would.
    pub fn soil_the_reply(&mut self) {
        self.reply = vec![0xA5; 2_000];
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let mut closing = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Transmit { message, allocation, to } => {
                    match allocation {
                        Some(key) => self.server.sent_to_client(key, message.len()),
                        None => self.server.unallocated_sent(to.client, message.len()),
                    }
                    sent.push(message);
                }
                Output::OpenRelay { allocation, request } => {
                    match self.refuse {
                        Some(why) => self.server.handle_relay_failed(self.now, allocation, why),
                        None => {
                            let opened = self.bind(&request);
                            self.server.handle_relay_opened(self.now, allocation, opened);
                        }
                    }
                    self.opened.push(request);
                }
                Output::CloseAddress { allocation, family } => {
                    self.closed_addresses.push((allocation, family));
                }
                Output::CloseRelay { allocation } => closing.push(allocation),
            }
        }
        let released = closing.into_iter().filter_map(|key| self.server.release(key));
        self.closed.extend(released);
        sent
    }

    /// What is held under a token is an IPv6 port.
    fn bind(&mut self, request: &RelayRequest) -> OpenedRelay {
        let held = matches!(request.port, PortRequest::Reserved(_));
        let advertised = ByFamily::from_fn(|family| {
            let asked = request.families[family] || held && family == Family::Ipv6;
            self.next_port += 1;
            let address = SocketAddr::new(relay_ip(family), self.next_port);
            (asked && self.out_of_ports != Some(family)).then_some(address)
        });
        OpenedRelay { advertised, reservation: None, shares: self.shares.clone() }
    }

    /// Gives a datagram that must be answered by exactly one message to the same transaction.
    pub fn ask(&mut self, client: &FiveTuple, datagram: &[u8]) -> Parsed {
        let (verdict, mut sent) = self.give(client, datagram);
        assert_eq!(sent.len(), 1, "{verdict:?}");
        let answer = Parsed::read(&sent.remove(0));
        assert_eq!(answer.transaction, datagram[8..20], "rule 15: the transaction id comes back");
        assert_eq!(
            answer.kind & !0x0110,
            u16::from_be_bytes([datagram[0], datagram[1]]),
            "rule 15: same method"
        );
        answer
    }

    /// Gives a datagram that must not be answered, and returns the verdict.
    pub fn silent(&mut self, client: &FiveTuple, datagram: &[u8]) -> ClientVerdict {
        let (verdict, sent) = self.give(client, datagram);
        assert!(sent.is_empty(), "{sent:?}");
        verdict
    }

    pub fn key(&self, user: &User) -> AllocationKey {
        let mut all = self.server.allocations();
        all.find(|(_, a)| *a.five_tuple() == user.tuple).expect("the user has an allocation").0
    }

    /// The relayed address, of IPv4 where there are two.
    pub fn relayed(&self, user: &User) -> SocketAddr {
        let relayed = self.server.allocation(self.key(user)).unwrap().relayed();
        relayed.iter().find_map(|(_, address)| *address).unwrap()
    }

    /// An ICMP error about a peer; the bytes that the client gets, if any.
    pub fn icmp(&mut self, user: &User, about: SocketAddr, kind: u8, code: u8, mtu: u32) -> Option<Vec<u8>> {
        let key = self.key(user);
        match self.server.handle_icmp(self.now, key, about, Icmp { kind, code, mtu }) {
            PeerVerdict::Relay { five_tuple, header, pad } => {
                assert_eq!((five_tuple, pad), (user.tuple, 0));
                Some(header.as_ref().to_vec())
            }
            PeerVerdict::Drop(_) => None,
        }
    }

    /// A datagram from a peer; the bytes that the client gets, if any.
    pub fn peer_sends(&mut self, user: &User, from: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let key = self.key(user);
        match self.server.handle_peer(self.now, key, from, payload.len()) {
            PeerVerdict::Relay { five_tuple, header, pad } => {
                assert_eq!(five_tuple, user.tuple);
                let mut bytes = header.as_ref().to_vec();
                bytes.extend(payload);
                bytes.extend(vec![0; pad.into()]);
                self.server.sent_to_client(key, bytes.len());
                Some(bytes)
            }
            PeerVerdict::Drop(_) => None,
        }
    }
}

/// A client with a credential, and the nonce that it was last given.
#[derive(Clone)]
pub struct User {
    pub tuple: FiveTuple,
    pub name: String,
    password: String,
    pub key: [u8; 16],
    pub nonce: Vec<u8>,
    transaction: u8,
}

impl User {
    /// `host` tells clients apart.
    pub fn new(host: u8, subject: &str) -> Self {
        Self::expiring(host, subject, UNIX + 600)
    }

    pub fn expiring(host: u8, subject: &str, expires: u64) -> Self {
        let name = format!("{expires}:{subject}");
        let password = credential::password(SECRET, &name);
        Self::named(host, &name, &password)
    }

    pub fn named(host: u8, name: &str, password: &str) -> Self {
        let tuple = FiveTuple {
            transport: Transport::Udp,
            client: SocketAddr::from(([203, 0, 114, host], 40_000)),
            server: SocketAddr::from((RELAY_IP, 3478)),
        };
        let password = password.to_owned();
        let mut user =
            Self { tuple, name: name.into(), password, key: [0; 16], nonce: Vec::new(), transaction: 0 };
        user.key = Md5::digest(user.key_text(REALM_NAME)).into();
        user
    }

    /// What a key is the hash of (RFC 8489 §9.2.2).
    pub fn key_text(&self, realm: &str) -> String {
        format!("{}:{realm}:{}", self.name, self.password)
    }

    /// A request without credentials, with a transaction id of its own.
    pub fn request(&mut self, kind: u16) -> Builder {
        self.transaction = self.transaction.wrapping_add(1);
        Builder::new(kind, self.transaction)
    }

    pub fn sign(&self, builder: Builder) -> Vec<u8> {
        let builder = builder
            .attr(USERNAME, self.name.as_bytes())
            .attr(REALM, REALM_NAME.as_bytes())
            .attr(NONCE, &self.nonce);
        builder.integrity(&self.key).bytes
    }

    /// Fetches a nonce by a request without credentials.
    pub fn challenge(&mut self, world: &mut World) -> Parsed {
        let request = self.request(ALLOCATE).udp();
        let answer = world.ask(&self.tuple, &request.bytes);
        self.nonce = answer.get(NONCE).unwrap().to_vec();
        answer
    }

    /// Signs and asks; the answer must be signed, errors too (rule 38).
    pub fn ask(&mut self, world: &mut World, builder: Builder) -> Parsed {
        let answer = world.ask(&self.tuple, &self.sign(builder));
        assert!(answer.is_signed_by(&self.key), "rule 38: {answer:?}");
        answer
    }

    pub fn allocate(&mut self, world: &mut World) -> Parsed {
        self.allocate_with(world, &[])
    }

    /// Allocates with these attributes.
    pub fn allocate_with(&mut self, world: &mut World, attributes: &[(u16, &[u8])]) -> Parsed {
        self.challenge(world);
        let start = self.request(ALLOCATE).udp();
        let request = attributes.iter().fold(start, |request, (kind, value)| request.attr(*kind, value));
        self.ask(world, request)
    }

    /// A user with relayed addresses of both families.
    pub fn ready_for_both(world: &mut World, host: u8, subject: &str) -> Self {
        let mut user = Self::new(host, subject);
        let answer = user.allocate_with(world, &[(SECOND_FAMILY, &[2, 0, 0, 0])]);
        assert!(answer.is_success());
        user
    }

    /// A user with an allocation.
    pub fn ready(world: &mut World, host: u8, subject: &str) -> Self {
        let mut user = Self::new(host, subject);
        assert!(user.allocate(world).is_success());
        user
    }

    pub fn permit(&mut self, world: &mut World, ip: impl Into<IpAddr>) -> Parsed {
        let request = self.request(CREATE_PERMISSION).peer(SocketAddr::new(ip.into(), 0));
        self.ask(world, request)
    }

    pub fn bind(&mut self, world: &mut World, number: u16, peer: SocketAddr) -> Parsed {
        let request = self.request(CHANNEL_BIND).channel(number).peer(peer);
        self.ask(world, request)
    }
}
