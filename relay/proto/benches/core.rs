//! The core alone, without sockets: what a datagram is read as, where it goes, and what an allocation costs.

#![allow(missing_docs, reason = "criterion's macros write functions without docs")]
#![allow(clippy::disallowed_methods, reason = "time is what is measured")]

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use turnpike_proto::{
    AllocationKey, ByFamily, Cause, ClientVerdict, Config, Family, FiveTuple, Now, OpenedRelay, Output,
    OwnAddresses, PeerVerdict, Server, Shares, Transport,
};
use turnpike_turn_client::{
    AllocateOptions, Credentials, Message, Progress, Session, Writer, channel_data, method,
};
use zeroize::Zeroizing;

const SECRET: &[u8] = b"a secret of thirty-two bytes or so";
const UNIX: u64 = 1_800_000_000;
const NOW: Now = Now { mono: Duration::from_secs(10), unix: UNIX };
const RELAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const CHANNEL: u16 = 0x4000;
const PAYLOAD: usize = 1000;

fn peer() -> SocketAddr {
    SocketAddr::from(([93, 184, 216, 34], 5000))
}

fn server() -> Server {
    let config = Config {
        realm: "turnpike.test".into(),
        secrets: vec![Zeroizing::new(SECRET.to_vec())],
        static_users: vec![],
        self_test: None,
        strict_expiry: false,
        families: ByFamily::from_fn(|family| family == Family::Ipv4),
        own: OwnAddresses { relayed: vec![RELAY.into()], others: vec![], listeners: vec![3478] },
        allow_peers: vec![],
        deny_peers: vec![],
        min_peer_port: 1024,
        max_permissions: 128,
        max_channels: 128,
        default_lifetime: Duration::from_secs(600),
        max_lifetime: Duration::from_secs(600),
        strict_permissions: false,
        rfc5766_channel_numbers: false,
        drain_alternate: None,
        software: None,
        max_bitrate_per_allocation: 0,
        total_bitrate: None,
        sources: Default::default(),
    };
    Server::new(config, [1; 32], [2; 32])
}

/// A client of its own address and port.
fn client(number: u32) -> FiveTuple {
    let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 0, 0, 1)) + number);
    FiveTuple {
        transport: Transport::Udp,
        client: SocketAddr::from((ip, 40_000)),
        server: SocketAddr::from((RELAY, 3478)),
    }
}

fn session(number: u32) -> Session {
    Session::new(Credentials::mint(SECRET, UNIX + 600, &format!("user{number}")), None)
}

/// Gives a request and takes its answer, as a driver that binds ports at once.
fn give(
    server: &mut Server,
    five_tuple: &FiveTuple,
    request: &[u8],
    reply: &mut Vec<u8>,
) -> Option<AllocationKey> {
    let verdict = server.handle_client(NOW, five_tuple, request, reply);
    let mut opened = None;
    while let Some(output) = server.poll_output() {
        match output {
            Output::OpenRelay { allocation, .. } => {
                opened = Some(allocation);
                let address = SocketAddr::from((RELAY, 50_000 + (allocation.index % 10_000) as u16));
                let advertised = ByFamily::from_fn(|family| (family == Family::Ipv4).then_some(address));
                let relay = OpenedRelay { advertised, reservation: None, shares: Shares::default() };
                server.handle_relay_opened(NOW, allocation, relay);
            }
            Output::Transmit { message, .. } => *reply = message,
            Output::CloseAddress { .. } => {}
            Output::CloseRelay { allocation } => {
                server.release(allocation);
            }
        }
    }
    assert!(!matches!(verdict, ClientVerdict::Drop(_)), "{verdict:?}");
    opened
}

/// Carries a request of a session out.
fn ask(
    server: &mut Server,
    five_tuple: &FiveTuple,
    session: &mut Session,
    build: impl Fn(&Session) -> Writer,
) -> Option<AllocationKey> {
    let mut reply = Vec::new();
    loop {
        let opened = give(server, five_tuple, build(session).bytes(), &mut reply);
        let answer = Message::read(&reply[..]).expect("the server answers by STUN");
        if session.answer(&answer).expect("the server grants it") == Progress::Done {
            return opened;
        }
    }
}

/// A server with one client that has a channel to its peer, among 1,000 others.
fn bound() -> (Server, FiveTuple, AllocationKey) {
    let mut server = server();
    let mut key = None;
    for number in 0..1000 {
        let mut session = session(number);
        let allocate = |session: &Session| session.allocate(&AllocateOptions::default());
        key = ask(&mut server, &client(number), &mut session, allocate);
        ask(&mut server, &client(number), &mut session, |session| session.channel_bind(CHANNEL, peer()));
    }
    (server, client(999), key.expect("an Allocate opens a relay socket"))
}

fn decode(criterion: &mut Criterion) {
    let mut server = server();
    let mut reply = Vec::new();
    let mut group = criterion.benchmark_group("decode");
    let binding = Writer::request(method::BINDING).fingerprint().finish();
    let unsigned = Session::new(Credentials::new("u", "p"), None).allocate(&AllocateOptions::default());
    let rtp = [0x80; 200];
    for (name, bytes) in [
        ("Binding, answered", &binding[..]),
        ("Allocate, answered with 401", unsigned.bytes()),
        ("RTP, dropped", &rtp),
    ] {
        let mut number = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // Sources of their own, for answers to one are limited.
                number = (number + 1) % 1_000_000;
                black_box(server.handle_client(NOW, &client(number), black_box(bytes), &mut reply))
            });
        });
    }
    group.finish();
}

fn verdict(criterion: &mut Criterion) {
    let (mut server, five_tuple, key) = bound();
    let mut reply = Vec::new();
    let data = channel_data::encode(CHANNEL, &[0xA5; PAYLOAD]);
    let indication = Writer::indication(method::SEND).peer(peer()).data(&[0xA5; PAYLOAD]).finish();
    let mut group = criterion.benchmark_group("verdict");
    group.throughput(Throughput::Elements(1));
    for (name, bytes) in [("ChannelData to peer", &data), ("Send to peer", &indication)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = server.handle_client(NOW, &five_tuple, black_box(bytes), &mut reply);
                assert!(matches!(verdict, ClientVerdict::Relay { .. }), "{verdict:?}");
            });
        });
    }
    group.bench_function("peer to ChannelData", |bencher| {
        bencher.iter(|| {
            let verdict = server.handle_peer(NOW, key, black_box(peer()), PAYLOAD);
            assert!(matches!(verdict, PeerVerdict::Relay { .. }), "{verdict:?}");
        });
    });
    group.finish();
}

/// The server's part of both requests of an Allocate: 401, then the signed one, with a relay socket that is there at once.
fn allocate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allocate");
    group.bench_function("with the 401 exchange", |bencher| {
        bencher.iter_custom(|times| {
            let mut server = server();
            let mut reply = Vec::new();
            let mut took = Duration::ZERO;
            for number in 0..times {
                // What is live at once does not depend on how often criterion runs it.
                if number % 1000 == 0 {
                    server.close_all(NOW, Cause::Shutdown);
                    while let Some(output) = server.poll_output() {
                        if let Output::CloseRelay { allocation } = output {
                            server.release(allocation);
                        }
                    }
                }
                let five_tuple = client((number % 1_000_000) as u32);
                let mut session = session(number as u32);
                for expected in [Progress::Again, Progress::Done] {
                    let request = session.allocate(&AllocateOptions::default());
                    let began = Instant::now();
                    give(&mut server, &five_tuple, request.bytes(), &mut reply);
                    took += began.elapsed();
                    let answer = Message::read(&reply[..]).expect("the server answers by STUN");
                    assert_eq!(session.answer(&answer).expect("the server grants it"), expected);
                }
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, decode, verdict, allocate);
criterion_main!(benches);
