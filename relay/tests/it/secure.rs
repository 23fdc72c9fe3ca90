//! Clients over TLS: all that holds over TCP, and the handshake before it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixListener,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};
use turnpike_config::Config;
use turnpike_turn_client::{
    AllocateOptions, Allocation, Connection, Deframer, Endpoint, TlsClient, Transport, Writer, channel_data,
    method,
};

use crate::{
    harness::{PATIENCE, Server, with_tls},
    log, metrics,
    streams::{credentials, ends, everything, padded, peer, receive, relay_both_ways, session, until_gone},
};

fn connection(server: &Server) -> Connection {
    let endpoint = Endpoint {
        server: server.tls_address(),
        transport: Transport::Tls,
        tls: Some(TlsClient::unverified("localhost").unwrap()),
        bind: None,
    };
    Connection::open(&endpoint).unwrap()
}

fn allocated(server: &Server, subject: &str) -> Allocation {
    Allocation::open(connection(server), credentials(subject), None, &AllocateOptions::default()).unwrap()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.tls_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A TLS client whose bytes are in the test's hands; it trusts the server's certificate.
struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    fn connect(server: &Server, config: &Config, alpn: &[&[u8]]) -> Self {
        let pem = std::fs::read(&config.tls.as_ref().unwrap().cert_file).unwrap();
        let mut roots = RootCertStore::empty();
        let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        settings.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(settings), name).unwrap();
        let mut stream = StreamOwned::new(tls, connect(server));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Self(stream)
    }
}

/// A server with TLS, and its configuration.
fn start(change: impl FnOnce(&mut Config)) -> (Server, Config) {
    let mut kept = None;
    let server = Server::start(|config| {
        with_tls(config);
        change(config);
        kept = Some(config.clone());
    });
    (server, kept.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_tls_relays_both_ways_by_indications_and_by_a_channel() {
    let (server, _) = start(|config| config.relay.shards = 2);
    for round in 0..4 {
        let subject = format!("tls-{round}");
        let mut allocation = allocated(&server, &subject);
        let peer = peer();
        allocation.permit(&[Ipv4Addr::LOCALHOST.into()]).unwrap();
        relay_both_ways(&mut allocation, &peer, None);
        let number = allocation.bind(peer.local_addr().unwrap()).unwrap();
        relay_both_ways(&mut allocation, &peer, Some(number));
        assert_eq!(session(&server, &subject).await.unwrap().transport, "tls");
        allocation.close().unwrap();
    }
    assert_eq!(server.status().await.listen_tls, [server.tls_address()]);
    metrics::until(&server, "turnpike_tls_handshakes_total{result=\"ok\"}", 4.0).await;
    metrics::until(&server, "turnpike_allocations_created_total{transport=\"tls\"}", 4.0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_in_one_record_and_one_message_in_many_are_understood() {
    let (server, config) = start(|_| {});
    for alpn in [&[&b"stun.turn"[..]][..], &[]] {
        let mut stream = Tls::connect(&server, &config, alpn).0;
        let binding = Writer::request(method::BINDING);
        for piece in [1, 7, 20, 21, 4_000, 16_384] {
            let request = binding.bytes().repeat(50);
            for part in request.chunks(piece) {
                stream.write_all(part).unwrap();
            }
            stream.flush().unwrap();
            let mut answers = vec![0; 32 * 50];
            stream.read_exact(&mut answers).unwrap();
            assert!(answers.chunks(32).all(|answer| answer[..2] == [1, 1]), "in pieces of {piece}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_92_a_tls_stream_cut_at_every_byte_is_understood() {
    let (server, _) = start(|_| {});
    let peer = peer();
    let address = peer.local_addr().unwrap();
    let mut connection = connection(&server);
    let mut session = turnpike_turn_client::Session::new(credentials("cut-tls"), None);
    let answer = connection.ask(session.allocate(&AllocateOptions::default()).bytes()).unwrap();
    session.answer(&answer).unwrap();
    let answer = connection.ask(session.allocate(&AllocateOptions::default()).bytes()).unwrap();
    session.answer(&answer).unwrap();
    let number = session.channel_for(address).unwrap();
    let answer = connection.ask(session.channel_bind(number, address).bytes()).unwrap();
    session.answer(&answer).unwrap();
    let length = everything(number, address).bytes.len();
    for cut in 0..=length {
        let everything = everything(number, address);
        let (first, second) = everything.bytes.split_at(cut);
        connection.send_bytes(first).unwrap();
        connection.send_bytes(second).unwrap();
        everything.assert_relayed(&peer, &format!("cut at {cut}"));
        let answer = connection.receive(PATIENCE).unwrap().unwrap();
        everything.assert_answered(&answer, &format!("cut at {cut}"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_tls_connection_are_those_of_its_records() {
    let (server, config) = start(|_| {});
    let mut allocation = allocated(&server, "records");
    let peer = peer();
    allocation.permit(&[Ipv4Addr::LOCALHOST.into()]).unwrap();
    let wait = async {
        loop {
            let traffic = session(&server, "records").await.unwrap().traffic;
            if traffic.client_in.packets > 0 && traffic.client_out.packets > 0 {
                return traffic;
            }
        }
    };
    let start = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    let number = allocation.bind(peer.local_addr().unwrap()).unwrap();
    assert_eq!(number, 0x4000);
    for _ in 0..50 {
        allocation.send(peer.local_addr().unwrap(), &[7; 997]).unwrap();
        let (bytes, from) = receive(&peer);
        peer.send_to(&bytes, from).unwrap();
        allocation.receive(PATIENCE).unwrap().unwrap();
    }
    drop(allocation);
    let line = log::line("allocation closed", "records").await;
    assert_eq!((&line["cause"], &line["transport"]), (&"lost".into(), &"tls".into()));
    for (name, start, slack) in [("client_in", start.client_in, 300), ("client_out", start.client_out, 300)] {
        let count = |what: &str| line[format!("{name}_{what}")].as_u64().unwrap();
        let payload = count("bytes") - 40 * count("packets") - (start.bytes - 40 * start.packets);
        // A TLS 1.3 record is 22 bytes longer than what it carries; ChannelBind, its answer and the end are the slack.
        let expected = 50 * (1_004 + 22);
        assert!((expected..expected + slack).contains(&payload), "{name}: {payload}, not {expected}");
    }
    drop(config);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_reader_that_does_not_read_loses_its_oldest_messages_and_its_stream_stays_whole() {
    const MESSAGES: u32 = 8_000;
    let (server, _) = start(|_| {});
    let mut connection = connection(&server);
    let mut session = turnpike_turn_client::Session::new(credentials("mute-tls"), None);
    for _ in 0..2 {
        let answer = connection.ask(session.allocate(&AllocateOptions::default()).bytes()).unwrap();
        session.answer(&answer).unwrap();
    }
    let relayed = session.relayed()[0];
    let answer = connection.ask(session.create_permission(&[Ipv4Addr::LOCALHOST.into()]).bytes()).unwrap();
    session.answer(&answer).unwrap();
    let flood = peer();
    let mut other = allocated(&server, "reads-tls");
    let other_peer = peer();
    other.bind(other_peer.local_addr().unwrap()).unwrap();
    let mut bytes = vec![0; 1_000];
    for nth in 0..MESSAGES {
        bytes[..4].copy_from_slice(&nth.to_be_bytes());
        flood.send_to(&bytes, relayed).unwrap();
        if nth % 50 == 49 {
            other.send(other_peer.local_addr().unwrap(), b"there").unwrap();
            let (there, from) = receive(&other_peer);
            other_peer.send_to(&there, from).unwrap();
            other.receive(PATIENCE).unwrap().unwrap();
        }
    }
    let mut seen: Vec<u32> = Vec::new();
    while seen.last() != Some(&(MESSAGES - 1)) {
        let message = connection.receive(PATIENCE).unwrap().expect("the stream goes on");
        let Some(turnpike_turn_client::Received::Data { payload, .. }) = session.receive(&message) else {
            panic!("no message is torn");
        };
        assert_eq!(payload.len(), 1_000);
        seen.push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
    }
    assert!(seen.is_sorted());
    let lost = MESSAGES as usize - seen.len();
    assert!(lost > 0, "the kernel held all of it");
    metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"slow_reader\"}", lost as f64)
        .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_broken_handshakes_are_ended_and_counted() {
    let (server, config) = start(|_| {});
    let mut silent = connect(&server);
    let mut slow = connect(&server);
    slow.write_all(&[22, 3, 1, 0, 200, 1, 0, 0]).unwrap();
    let mut broken = connect(&server);
    broken.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drop(connect(&server));
    let start = Instant::now();
    assert!(ends(&mut broken) && start.elapsed() < Duration::from_secs(2));
    // The time of the first message begins when the handshake is over.
    let mut mute = Tls::connect(&server, &config, &[b"stun.turn"]).0;
    for (end, stream) in [(5.0, &mut silent), (5.0, &mut slow)] {
        assert!(ends(stream));
        let elapsed = start.elapsed().as_secs_f64();
        assert!((end - 0.5..end + 2.0).contains(&elapsed), "{elapsed} s");
    }
    assert!(matches!(mute.read(&mut [0; 8]), Ok(0)), "it is told that the end is meant");
    assert!(start.elapsed() < Duration::from_secs(8));
    metrics::until(&server, "turnpike_tls_handshakes_total{result=\"timeout\"}", 2.0).await;
    metrics::until(&server, "turnpike_tls_handshakes_total{result=\"failed\"}", 2.0).await;
    metrics::until(&server, "turnpike_tls_handshakes_total{result=\"ok\"}", 1.0).await;
    metrics::until(&server, "turnpike_client_connections{transport=\"tls\"}", 0.0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_tls_connection_ends_its_allocation_at_once() {
    let (server, _) = start(|_| {});
    let allocation = allocated(&server, "closed-tls");
    drop(allocation);
    let start = Instant::now();
    until_gone(&server, "closed-tls").await;
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(log::line("allocation closed", "closed-tls").await["cause"], "lost");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_longer_than_a_record_comes_whole_through_pieces_of_the_kernels_choice() {
    let (server, config) = start(|_| {});
    let mut stream = Tls::connect(&server, &config, &[b"stun.turn"]).0;
    let long = padded(channel_data::encode(0x4000, &[7; 16_000]));
    let binding = Writer::request(method::BINDING);
    stream.write_all(&[&long, binding.bytes()].concat()).unwrap();
    let mut deframer = Deframer::default();
    let mut answer = [0; 32];
    stream.read_exact(&mut answer).unwrap();
    deframer.push(&answer);
    assert!(
        deframer.next_message().unwrap().is_some(),
        "ChannelData without an allocation is dropped in silence"
    );
    metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"no_allocation\"}", 1.0).await;
    server.stop().await;
}

/// Stands in for signaling: answers one request and gives what came before it.
fn answer_one(listener: &UnixListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 4_096]);
    while !seen.ends_with(b"example.org\r\n\r\n") {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "the request comes whole");
        seen.extend(&buffer[..len]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").unwrap();
    let start = seen.windows(4).position(|window| window == b"GET ").unwrap();
    seen.truncate(start);
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn http_on_the_tls_listener_leaves_the_shard_with_everything_that_came() {
    let (server, config) = start(|_| {});
    let socket = config.signaling.internal_socket.as_ref().unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let mut stream = Tls::connect(&server, &config, alpn).0;
        let client = stream.sock.local_addr().unwrap();
        // Cut within the first word: whoever goes on gets what the shard has read.
        stream.write_all(b"G").unwrap();
        stream.flush().unwrap();
        let request = std::thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || answer_one(&listener)
        });
        stream.write_all(b"ET / HTTP/1.1\r\nHost: turn.example.org\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
        let header = request.join().unwrap();
        assert!(
            header.windows(2).any(|port| port == client.port().to_be_bytes()),
            "the client's address goes first"
        );
    }
    metrics::until(&server, "turnpike_client_connections{transport=\"tls\"}", 0.0).await;
    metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"framing\"}", 0.0).await;
    // Whoever has agreed to speak TURN is not handed on.
    let mut stream = Tls::connect(&server, &config, &[b"stun.turn"]).0;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(ends(&mut stream));
    metrics::until(&server, "turnpike_relay_dropped_packets_total{reason=\"framing\"}", 1.0).await;
    server.stop().await;
}
