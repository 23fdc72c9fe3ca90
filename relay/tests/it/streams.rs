//! Clients over TCP: framing, relaying, counting, readers that do not read, connections that end.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use turnpike_relay_api::admin::Session;
use turnpike_turn_client::{
    AllocateOptions, Allocation, Connection, Credentials, Datagram, Deframer, Message, Writer, channel_data,
    method,
};

use crate::{
    client::{Arrival, Client},
    harness::{PATIENCE, SECRET, Server},
    log, metrics,
};

const LENGTHS: [usize; 9] = [0, 1, 3, 4, 160, 1_200, 1_472, 9_000, 60_000];

pub(crate) fn credentials(subject: &str) -> Credentials {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    Credentials::mint(SECRET, now + 3_600, subject)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.tcp_address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn allocate_over(stream: &TcpStream, subject: &str) -> Allocation {
    let connection = Connection::from_tcp(stream.try_clone().unwrap());
    Allocation::open(connection, credentials(subject), None, &AllocateOptions::default()).unwrap()
}

fn allocated(server: &Server, subject: &str) -> Allocation {
    allocate_over(&connect(server), subject)
}

pub(crate) fn peer() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn receive(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (len, from) = peer.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, from)
}

pub(crate) fn payload(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|nth| (nth * 31 + seed) as u8).collect()
}

pub(crate) fn padded(mut message: Vec<u8>) -> Vec<u8> {
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

pub(crate) async fn session(server: &Server, subject: &str) -> Option<Session> {
    server.sessions().await.into_iter().find(|session| session.subject == subject)
}

pub(crate) async fn until_gone(server: &Server, subject: &str) {
    let wait = async { while session(server, subject).await.is_some() {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("the allocation stays");
}

pub(crate) fn relay_both_ways(allocation: &mut Allocation, peer: &UdpSocket, channel: Option<u16>) {
    let address = peer.local_addr().unwrap();
    for (nth, len) in LENGTHS.into_iter().enumerate() {
        let (there, back) = (payload(len, nth), payload(len, nth + 100));
        allocation.send(address, &there).unwrap();
        assert_eq!(receive(peer), (there, allocation.relayed()));
        peer.send_to(&back, allocation.relayed()).unwrap();
        let expected = Datagram { peer: address, payload: back, channel };
        assert_eq!(allocation.receive(PATIENCE).unwrap(), Some(expected), "{len} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_tcp_relays_both_ways_by_indications_and_by_a_channel() {
    let server = Server::start(|config| config.relay.shards = 2);
    for round in 0..6 {
        let mut allocation = allocated(&server, &format!("tcp-{round}"));
        let peer = peer();
        allocation.permit(&[Ipv4Addr::LOCALHOST.into()]).unwrap();
        relay_both_ways(&mut allocation, &peer, None);
        let number = allocation.bind(peer.local_addr().unwrap()).unwrap();
        relay_both_ways(&mut allocation, &peer, Some(number));
        let session = session(&server, &format!("tcp-{round}")).await.unwrap();
        assert_eq!((session.transport.as_str(), session.channels), ("tcp", 1));
        assert_eq!(session.relayed, allocation.relayed());
        allocation.close().unwrap();
    }
    assert_eq!(server.status().await.listen_tcp, [server.tcp_address()]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_transports_on_all_shards_reach_each_other_in_process() {
    let server = Server::start(|config| config.relay.shards = 4);
    let mut streams: Vec<Allocation> = (0..6).map(|_| allocated(&server, "hairpin")).collect();
    let mut datagrams = Vec::new();
    for _ in 0..4 {
        datagrams.push(Client::allocated(&server, "hairpin").await);
    }
    let ip = streams[0].relayed().ip();
    streams.iter_mut().for_each(|stream| stream.permit(&[ip]).unwrap());
    for client in &mut datagrams {
        client.permit(&[ip]).await.unwrap();
    }
    for sender in 0..streams.len() {
        let from = streams[sender].relayed();
        for receiver in 0..streams.len() {
            let (to, bytes) = (streams[receiver].relayed(), [sender as u8, receiver as u8, 1]);
            streams[sender].send(to, &bytes).unwrap();
            let got = streams[receiver].receive(PATIENCE).unwrap().unwrap();
            assert_eq!((got.peer, &got.payload[..]), (from, &bytes[..]));
        }
        for client in &mut datagrams {
            streams[sender].send(client.relayed, b"to udp").unwrap();
            assert_eq!(client.arrival().await, Arrival::Data(from, b"to udp".to_vec()));
            client.send_indication(from, b"to tcp").await;
            let got = streams[sender].receive(PATIENCE).unwrap().unwrap();
            assert_eq!((got.peer, &got.payload[..]), (client.relayed, &b"to tcp"[..]));
        }
    }
    assert!(server.stop().await.traffic.hairpin.packets >= 84);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_is_answered_over_tcp() {
    let server = Server::start(|_| {});
    let stream = connect(&server);
    let address = stream.local_addr().unwrap();
    let mut connection = Connection::from_tcp(stream);
    let answer = connection.ask(Writer::request(method::BINDING).bytes()).unwrap();
    assert_eq!(answer.xor_address(turnpike_turn_client::attribute::XOR_MAPPED_ADDRESS), Some(address));
    server.stop().await;
}

/// A bit of everything that a client sends, with what the peer and the client have to get from it.
pub(crate) struct Everything {
    pub(crate) bytes: Vec<u8>,
    to_peer: Vec<Vec<u8>>,
    binding: Writer,
}

pub(crate) fn everything(number: u16, peer: SocketAddr) -> Everything {
    let binding = Writer::request(method::BINDING);
    let indication = Writer::indication(method::SEND).peer(peer).data(b"by indication");
    let bytes = [
        padded(channel_data::encode(number, b"five!")),
        indication.bytes().to_vec(),
        padded(channel_data::encode(number, b"")),
        binding.bytes().to_vec(),
        padded(channel_data::encode(number, b"four")),
    ]
    .concat();
    let to_peer = [&b"five!"[..], b"by indication", b"", b"four"].map(<[u8]>::to_vec).into();
    Everything { bytes, to_peer, binding }
}

impl Everything {
    pub(crate) fn assert_arrived(&self, peer: &UdpSocket, stream: &mut impl std::io::Read, what: &str) {
        self.assert_relayed(peer, what);
        let mut answer = [0; 32];
        stream.read_exact(&mut answer).unwrap();
        self.assert_answered(&answer, what);
    }

    pub(crate) fn assert_relayed(&self, peer: &UdpSocket, what: &str) {
        for expected in &self.to_peer {
            assert_eq!(&receive(peer).0, expected, "{what}");
        }
    }

    pub(crate) fn assert_answered(&self, answer: &[u8], what: &str) {
        assert_eq!(Message::read(answer).unwrap().transaction(), self.binding.transaction(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_92_a_stream_cut_at_every_byte_is_understood() {
    let server = Server::start(|_| {});
    let (mut stream, peer) = (connect(&server), peer());
    let mut allocation = allocate_over(&stream, "cut");
    let number = allocation.bind(peer.local_addr().unwrap()).unwrap();
    let length = everything(number, peer.local_addr().unwrap()).bytes.len();
    for cut in 0..=length {
        let everything = everything(number, peer.local_addr().unwrap());
        let (first, second) = everything.bytes.split_at(cut);
        stream.write_all(first).unwrap();
        std::thread::yield_now();
        stream.write_all(second).unwrap();
        everything.assert_arrived(&peer, &mut stream, &format!("cut at {cut}"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_random_pieces_is_understood_and_one_in_single_bytes_too() {
    let server = Server::start(|_| {});
    let (mut stream, peer) = (connect(&server), peer());
    let mut allocation = allocate_over(&stream, "pieces");
    let address = peer.local_addr().unwrap();
    let number = allocation.bind(address).unwrap();
    let mut random = 0x7475_726E_u32;
    for most in [1, 2, 7, 40, 1_000] {
        let all: Vec<Everything> = (0..5).map(|_| everything(number, address)).collect();
        let bytes: Vec<u8> = all.iter().flat_map(|one| one.bytes.clone()).collect();
        let mut left = &bytes[..];
        while !left.is_empty() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (piece, rest) = left.split_at((1 + random as usize % most).min(left.len()));
            stream.write_all(piece).unwrap();
            left = rest;
        }
        all.iter().for_each(|one| one.assert_arrived(&peer, &mut stream, &format!("pieces up to {most}")));
    }
    server.stop().await;
}

/// Reads to the end; an orderly one or a reset.
pub(crate) fn ends(stream: &mut impl std::io::Read) -> bool {
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_closes_the_connection_and_is_counted() {
    let server = Server::start(|_| {});
    let http = b"GET / HTTP/1.1\r\nHost: turn.example.org\r\n\r\n".to_vec();
    let wrong_cookie = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43][..], &[0; 12]].concat();
    let odd_length = [&[0, 1, 0, 3, 0x21, 0x12, 0xA4, 0x42][..], &[0; 15]].concat();
    let too_long_for_a_stranger = [&[0, 3, 0x40, 0, 0x21, 0x12, 0xA4, 0x42][..], &[0; 12]].concat();
    let all = [http, wrong_cookie, odd_length, too_long_for_a_stranger];
    for bytes in &all {
        let mut stream = connect(&server);
        stream.write_all(bytes).unwrap();
        assert!(ends(&mut stream), "{bytes:?}");
    }
    let mut stream = connect(&server);
    let _allocation = allocate_over(&stream, "framing");
    stream.write_all(&[0xFF]).unwrap();
    assert!(ends(&mut stream));
    assert_eq!(log::line("allocation closed", "framing").await["cause"], "lost");
    let dropped = "turnpike_relay_dropped_packets_total{reason=\"framing\"}";
    metrics::until(&server, dropped, all.len() as f64 + 1.0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_ends_its_allocation_at_once() {
    let server = Server::start(|_| {});
    for (subject, reset) in [("closed", false), ("reset", true)] {
        let stream = connect(&server);
        let allocation = allocate_over(&stream, subject);
        let relayed = allocation.relayed();
        let bystander = allocated(&server, "bystander");
        if reset {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop((stream, allocation));
        let start = Instant::now();
        until_gone(&server, subject).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let line = log::line("allocation closed", subject).await;
        assert_eq!((&line["cause"], &line["transport"]), (&"lost".into(), &"tcp".into()));
        UdpSocket::bind(relayed).expect("its port is free");
        assert!(session(&server, "bystander").await.is_some());
        drop(bystander);
        until_gone(&server, "bystander").await;
    }
    metrics::until(&server, "turnpike_allocations_closed_total{cause=\"lost\"}", 4.0).await;
    metrics::until(&server, "turnpike_client_connections{transport=\"tcp\"}", 0.0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_its_allocation_and_may_get_another() {
    let server = Server::start(|_| {});
    let stream = connect(&server);
    let mut first = allocate_over(&stream, "outlived");
    first.refresh(Some(0)).unwrap();
    until_gone(&server, "outlived").await;
    assert_eq!(log::line("allocation closed", "outlived").await["cause"], "client");
    let peer = peer();
    let mut second = allocate_over(&stream, "outlives");
    second.permit(&[Ipv4Addr::LOCALHOST.into()]).unwrap();
    second.send(peer.local_addr().unwrap(), b"again").unwrap();
    assert_eq!(receive(&peer), (b"again".to_vec(), second.relayed()));
    server.stop().await;
    assert_eq!(log::line("allocation closed", "outlives").await["cause"], "shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_segments_of_a_connection_are_those_of_its_allocation() {
    let server = Server::start(|_| {});
    let (mut stream, peer) = (connect(&server), peer());
    let mut allocation = allocate_over(&stream, "counted");
    let number = allocation.bind(peer.local_addr().unwrap()).unwrap();
    let wait = async {
        // The Allocate belongs to nobody, its answer does; ChannelBind and its answer do.
        loop {
            let session = session(&server, "counted").await.unwrap();
            if session.traffic.client_in.packets > 0 && session.traffic.client_out.packets > 0 {
                return session.traffic;
            }
        }
    };
    let start = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    let payload_of = |flow: turnpike_relay_api::admin::Flow| flow.bytes - 40 * flow.packets;
    let message = padded(channel_data::encode(number, &[7; 997]));
    for _ in 0..100 {
        stream.write_all(&message).unwrap();
        let (bytes, from) = receive(&peer);
        peer.send_to(&bytes, from).unwrap();
        let mut back = vec![0; message.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, message);
    }
    drop((stream, allocation));
    let line = log::line("allocation closed", "counted").await;
    let count = |name: &str| line[name].as_u64().unwrap();
    for (name, start) in [("client_in", start.client_in), ("client_out", start.client_out)] {
        let (bytes, packets) = (count(&format!("{name}_bytes")), count(&format!("{name}_packets")));
        assert_eq!(bytes - 40 * packets - payload_of(start), 100 * 1_004, "{name}");
        // Each message is a segment at least, and acknowledged by one at most.
        assert!((100..=210).contains(&(packets - start.packets)), "{name}: {packets}");
    }
    assert_eq!(count("peer_out_bytes"), 100 * (997 + 28));
    assert_eq!(count("peer_in_packets"), 100);
    let summary = server.stop().await;
    assert_eq!(summary.traffic.client_in.bytes, count("client_in_bytes"));
    assert_eq!(summary.traffic.client_out.packets, count("client_out_packets"));
}

/// A connection whose client can take next to nothing without reading.
fn connect_with_little_room(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&server.tcp_address().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_loses_its_oldest_messages_and_stalls_nobody() {
    const MESSAGES: u32 = 3_000;
    let server = Server::start(|_| {});
    let mut mute = connect_with_little_room(&server);
    let mut allocation = allocate_over(&mute, "mute");
    let (flood, other_peer) = (peer(), peer());
    let number = allocation.bind(flood.local_addr().unwrap()).unwrap();
    let mut other = allocated(&server, "reads");
    other.bind(other_peer.local_addr().unwrap()).unwrap();
    let mut bytes = vec![0; 1_000];
    for nth in 0..MESSAGES {
        bytes[..4].copy_from_slice(&nth.to_be_bytes());
        flood.send_to(&bytes, allocation.relayed()).unwrap();
        if nth % 50 == 49 {
            // The other one's round trip also keeps the flood from overrunning the relay socket.
            other.send(other_peer.local_addr().unwrap(), &nth.to_be_bytes()).unwrap();
            let (there, from) = receive(&other_peer);
            other_peer.send_to(&there, from).unwrap();
            assert_eq!(other.receive(PATIENCE).unwrap().unwrap().payload, nth.to_be_bytes());
        }
    }
    let (mut deframer, mut seen) = (Deframer::default(), Vec::new());
    let mut buffer = vec![0; 65_536];
    while seen.last() != Some(&(MESSAGES - 1)) {
        let len = mute.read(&mut buffer).unwrap();
        assert!(len > 0, "the connection stays");
        deframer.push(&buffer[..len]);
        while let Some(message) = deframer.next_message().unwrap() {
            let (channel, payload) = channel_data::decode(message).expect("no message is torn");
            assert_eq!((channel, payload.len()), (number, 1_000));
            seen.push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
        }
    }
    assert!(seen.is_sorted(), "what is left is in order");
    let lost = MESSAGES as usize - seen.len();
    assert!(lost > 2_000, "{lost} lost");
    // What the kernel has of it and then the newest 256 KiB.
    let newest = seen.iter().rev().zip((0..MESSAGES).rev()).take_while(|(seen, nth)| *seen == nth).count();
    assert!((250..=262).contains(&newest), "{newest} newest");
    let dropped = "turnpike_relay_dropped_packets_total{reason=\"slow_reader\"}";
    metrics::until(&server, dropped, lost as f64).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_messages_or_without_an_allocation_are_closed_in_time() {
    let server = Server::start(|_| {});
    let (mut silent, mut slow, mut binding) = (connect(&server), connect(&server), connect(&server));
    let served = allocated(&server, "served");
    slow.write_all(&[0, 1, 0, 0, 0x21, 0x12]).unwrap();
    let request = Writer::request(method::BINDING);
    binding.write_all(request.bytes()).unwrap();
    let start = Instant::now();
    for (stream, seconds) in [(&mut silent, 5), (&mut slow, 5), (&mut binding, 15)] {
        assert!(ends(stream));
        let elapsed = start.elapsed().as_secs_f64();
        assert!((seconds as f64 - 0.5..seconds as f64 + 2.0).contains(&elapsed), "{seconds} s: {elapsed} s");
    }
    assert!(session(&server, "served").await.is_some());
    metrics::until(&server, "turnpike_client_connections{transport=\"tcp\"}", 1.0).await;
    drop(served);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_may_have_so_many_connections_without_an_allocation_and_no_more() {
    let server = Server::start(|config| config.relay.shards = 2);
    let allocated: Vec<_> = (0..4).map(|_| allocated(&server, "inside")).collect();
    let mut waiting: Vec<_> = (0..256).map(|_| connect(&server)).collect();
    metrics::until(&server, "turnpike_client_connections{transport=\"tcp\"}", 260.0).await;
    let mut one_more = connect(&server);
    assert!(ends(&mut one_more));
    metrics::until(&server, "turnpike_rate_limited_total{kind=\"connections\"}", 1.0).await;
    drop(waiting.pop());
    metrics::until(&server, "turnpike_client_connections{transport=\"tcp\"}", 259.0).await;
    drop(crate::streams::allocated(&server, "after-many"));
    drop(allocated);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_ipv6_is_served_and_its_segments_have_the_longer_header() {
    let server = Server::start(|config| config.relay.listen_tcp = vec!["[::1]:0".parse().unwrap()]);
    let (mut stream, peer) = (connect(&server), peer());
    let mut allocation = allocate_over(&stream, "ipv6-stream");
    let number = allocation.bind(peer.local_addr().unwrap()).unwrap();
    let message = padded(channel_data::encode(number, &[7; 996]));
    for _ in 0..10 {
        stream.write_all(&message).unwrap();
        receive(&peer);
    }
    stream.write_all(Writer::request(method::BINDING).bytes()).unwrap();
    stream.read_exact(&mut [0; 44]).unwrap();
    drop((stream, allocation));
    let line = log::line("allocation closed", "ipv6-stream").await;
    let count = |what: &str| line[format!("client_in_{what}")].as_u64().unwrap();
    let payload = count("bytes") - 60 * count("packets");
    // ChannelBind is the rest.
    assert!((10 * 1_000 + 20..10 * 1_000 + 300).contains(&payload), "{payload}");
    server.stop().await;
}
