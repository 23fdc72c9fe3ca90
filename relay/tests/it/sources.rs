//! Limits of unproven sources over real sockets.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::{harness::Server, metrics};

/// An Allocate without credentials.
fn bare_allocate() -> Vec<u8> {
    let mut bytes = vec![0, 3, 0, 8, 0x21, 0x12, 0xA4, 0x42];
    bytes.extend([7; 12]);
    bytes.extend([0, 0x19, 0, 4, 17, 0, 0, 0]);
    bytes
}

fn drain(sockets: &[UdpSocket]) -> usize {
    let mut buffer = [0; 512];
    sockets.iter().map(|socket| std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()).sum()
}

/// Asks from many ports of one address for a second; gives the answers, what was sent, and how long it took.
fn ask_for_a_second(server: SocketAddr, source: IpAddr, datagram: &[u8]) -> (usize, usize, Duration) {
    let open = |_| {
        let socket = UdpSocket::bind((source, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let sockets: Vec<UdpSocket> = (0..64).map(open).collect();
    let (mut answers, mut sent) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        for socket in &sockets {
            sent += usize::from(socket.send(datagram).is_ok());
        }
        answers += drain(&sockets);
        std::thread::sleep(Duration::from_millis(10));
    }
    let asked_for = start.elapsed();
    std::thread::sleep(Duration::from_millis(200));
    (answers + drain(&sockets), sent, asked_for)
}

#[tokio::test]
async fn the_rate_of_a_source_holds_for_the_node_whichever_ports_and_shards_it_meets() {
    let server = Server::start(|config| {
        config.relay.shards = 4;
        config.relay.unauthenticated_per_second = 50;
        config.relay.binding_per_second = 200;
    });
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
    for (kind, rate, datagram) in [("unauthenticated", 50, bare_allocate()), ("binding", 200, binding)] {
        let (address, source) = (server.address(), Ipv4Addr::new(127, 2, 0, rate as u8).into());
        let asked = tokio::task::spawn_blocking(move || ask_for_a_second(address, source, &datagram));
        let (answers, sent, took) = asked.await.unwrap();
        let most = rate as f64 * (2.0 + took.as_secs_f64()) + 1.0;
        assert!(answers as f64 <= most, "{kind}: {answers} answers of {most} at most");
        assert!(answers >= 3 * rate * 9 / 10, "{kind}: {answers} answers");
        let silent = (sent - answers) as f64;
        metrics::until(&server, &format!("turnpike_rate_limited_total{{kind=\"{kind}\"}}"), silent).await;
        let dropped = format!("turnpike_relay_dropped_packets_total{{reason=\"{kind}_rate\"}}");
        metrics::until(&server, &dropped, silent).await;
    }
    server.stop().await;
}
