//! Limits of bits a second and of bytes over real sockets, on more than one shard.

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use turnpike_relay_api::credential::{Credential, Limits};

use crate::{
    client::{Ask, Client, channel_data},
    harness::{Server, credential},
    log, metrics,
};

const PAYLOAD: [u8; 972] = [7; 972];
/// Bytes that one payload counts, with its IPv4 and UDP headers.
const COUNTED: u64 = 1_000;

/// A peer that only counts.
fn peer() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn drain(peer: &UdpSocket) -> u64 {
    let mut buffer = [0; 2_048];
    std::iter::from_fn(|| peer.recv(&mut buffer).ok()).count() as u64
}

async fn allocated(server: &Server, credential: &Credential) -> Result<Client, u16> {
    let mut client = Client::new(server.address(), credential.clone()).await;
    client.allocate(Ask::default()).await.map(|()| client)
}

/// Clients of one credential with a channel to the peer each, on whichever shards their ports lead to.
async fn callers(server: &Server, credential: &Credential, count: usize, peer: SocketAddr) -> Vec<UdpSocket> {
    let mut callers = Vec::new();
    for _ in 0..count {
        let mut client = allocated(server, credential).await.unwrap();
        client.bind(0x4000, peer).await.unwrap();
        callers.push(client.into_std());
    }
    callers
}

/// Each caller sends once a millisecond for a second; gives what its peer got, in bytes that count, and the time it took.
fn send_for_a_second(callers: &[UdpSocket], peer: &UdpSocket) -> (u64, f64) {
    let message = channel_data(0x4000, &PAYLOAD);
    let start = Instant::now();
    let mut heard = 0;
    while start.elapsed() < Duration::from_secs(1) {
        callers.iter().for_each(|caller| drop(caller.send(&message)));
        heard += drain(peer);
        thread::sleep(Duration::from_millis(1));
    }
    let took = start.elapsed().as_secs_f64();
    thread::sleep(Duration::from_millis(200));
    ((heard + drain(peer)) * COUNTED, took)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_bits_a_second_holds_over_all_shards_and_touches_nobody_else() {
    let limits = Limits { bits_per_second: Some(1_600_000), ..Limits::default() };
    let cases = [
        ("subject_bitrate", Limits::default(), 1_600_000, 0),
        ("credential_bitrate", limits, 0, 0),
        ("total_bitrate", Limits::default(), 0, 1_600_000),
    ];
    for (kind, limits, per_subject, total) in cases {
        let server = Server::start(|config| {
            config.relay.shards = 4;
            config.relay.max_bitrate_per_subject = per_subject;
            config.relay.max_bitrate_total = total;
        });
        let (loud_peer, loud_address) = peer();
        let (quiet_peer, quiet_address) = peer();
        let loud = callers(&server, &credential("loud", &limits), 8, loud_address).await;
        let quiet = callers(&server, &credential("quiet", &Limits::default()), 1, quiet_address).await;
        let message = channel_data(0x4000, &PAYLOAD);
        let ((bytes, took), quiet_heard) = thread::scope(|scope| {
            let quiet = scope.spawn(|| {
                for _ in 0..20 {
                    quiet[0].send(&message).unwrap();
                    thread::sleep(Duration::from_millis(20));
                }
                thread::sleep(Duration::from_millis(200));
                drain(&quiet_peer)
            });
            (send_for_a_second(&loud, &loud_peer), quiet.join().unwrap())
        });
        let fair = 200_000.0 * (took + 0.5);
        // Each allocation, or each shard, may hold a slice.
        assert!(bytes as f64 <= fair * 1.02 + 8.0 * 2_000.0, "{kind}: {bytes} of {fair}");
        if kind == "total_bitrate" {
            assert!(bytes as f64 >= fair * 0.7, "{kind}: {bytes} of {fair}");
        } else {
            assert!(bytes as f64 >= fair * 0.9, "{kind}: {bytes} of {fair}");
            assert_eq!(quiet_heard, 20, "{kind}");
        }
        let dropped = format!("turnpike_relay_dropped_packets_total{{reason=\"{kind}\"}}");
        metrics::until_above(&server, &dropped, 0.0).await;
        metrics::until_above(&server, "turnpike_rate_limited_total{kind=\"bitrate\"}", 0.0).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_credential_whose_bytes_are_spent_ends_everywhere_and_allocates_no_more() {
    let server = Server::start(|config| config.relay.shards = 4);
    let limits = Limits { bytes: Some(20_000), ..Limits::default() };
    let (peer, address) = peer();
    let spent = credential("spent", &limits);
    let callers = callers(&server, &spent, 8, address).await;
    let mut other = Client::allocated(&server, "rich").await;
    let message = channel_data(0x4000, &PAYLOAD);
    let mut heard = 0;
    for _ in 0..10 {
        for caller in &callers {
            caller.send(&message).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    }
    metrics::until(&server, "turnpike_allocations_closed_total{cause=\"quota\"}", 8.0).await;
    heard += drain(&peer);
    // Two shards may both take the last datagram at once.
    assert!((20..=24).contains(&heard), "{heard} of 20 datagrams of 1,000 bytes");
    assert_eq!(log::line("allocation closed", "spent").await["cause"], "quota");
    assert_eq!(allocated(&server, &spent).await.map(|_| ()), Err(486));
    let another = credential("spent", &Limits { bytes: Some(30_000), ..Limits::default() });
    assert!(allocated(&server, &another).await.is_ok(), "another credential of the subject has its own");
    other.refresh(600).await.unwrap();
    server.stop().await;
}
