//! Limits of unproven sources over real sockets.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use serde_json::Value;
use turnpike_relay_api::credential::Limits;

use crate::{
    client::{Ask, Client},
    harness::{Server, credential},
    log, metrics,
};

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

#[tokio::test]
async fn who_is_not_let_in_is_told_by_source_in_a_few_lines_and_without_his_password() {
    let server = Server::start(|config| config.relay.shards = 2);
    let mut stranger = credential("stranger", &Limits::default());
    *stranger.password = "not the password".into();
    let mut client = Client::new(server.address(), stranger).await;
    for _ in 0..7 {
        assert_eq!(client.allocate(Ask::default()).await, Err(401));
    }
    // An Allocate with a MAC and no name to it, from 300 sources.
    let mut nameless = bare_allocate();
    nameless[3] += 24;
    nameless.extend([0, 8, 0, 20]);
    nameless.extend([0; 20]);
    for host in 0..300_u16 {
        let [high, low] = host.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 3, high, low), 0)).unwrap();
        socket.connect(server.address()).unwrap();
        for _ in 0..2 {
            socket.send(&nameless).unwrap();
        }
        // So that none of them is lost on the way.
        socket.recv(&mut [0; 64]).unwrap();
    }
    server.stop().await;
    let lines = log::all("requests of one source were not let in");
    // Other tests are turned away from there too.
    let mine = |line: &&Value| line["source"] == "127.0.0.1" && line["integrity"] == 7;
    let told = lines.iter().find(mine).expect("the worst of all has a line");
    assert_eq!(
        (&told["code"], &told["level"], &told["failures"]),
        (&"auth_failures".into(), &"WARN".into(), &7.into())
    );
    assert!(told.get("expired").is_none() && !told.to_string().contains("not the password"), "{told}");
    assert_eq!(lines.iter().filter(|line| line["source"].as_str().unwrap().starts_with("127.3.")).count(), 9);
    let others =
        log::all("requests of many other sources were not let in; turnpike_auth_failures_total tells why");
    let others: u64 = others.iter().map(|line| line["failures"].as_u64().unwrap()).max().unwrap();
    assert_eq!(others, 600 - 18);
}
