//! Every byte is counted once: the log, the admin socket and /metrics agree.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use turnpike_relay_api::admin::{Flow, SESSIONS, STATUS, Session, Sessions, Status, Traffic};

use crate::{http, node::Node};

const MESSAGES: u64 = 40;
const PAYLOAD: usize = 500;
const IP_UDP: u64 = 28;
const CHANNEL_DATA: u64 = 4;

#[test]
fn log_admin_socket_and_metrics_agree_on_what_was_relayed() {
    let mut node = Node::relay("drain_timeout = \"0s\"");
    let mut allocation = node.allocate("alice");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    allocation.bind(address).unwrap();
    let mut buffer = [0; 1000];
    for _ in 0..MESSAGES {
        allocation.send(address, &[7; PAYLOAD]).unwrap();
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        peer.send_to(&buffer[..length], from).unwrap();
        allocation.receive(Duration::from_secs(5)).unwrap().expect("the answer comes back");
    }

    let session = settled_session(&node);
    let payload = PAYLOAD as u64 + IP_UDP;
    let relayed = Flow { bytes: MESSAGES * payload, packets: MESSAGES };
    assert_eq!((session.traffic.peer_out, session.traffic.peer_in), (relayed, relayed));
    // The client's leg carries requests and answers as well.
    for flow in [session.traffic.client_in, session.traffic.client_out] {
        assert!(flow.packets > MESSAGES && flow.packets <= MESSAGES + 4, "{flow:?}");
        assert!(flow.bytes > MESSAGES * (payload + CHANNEL_DATA), "{flow:?}");
    }
    assert_eq!((session.subject.as_str(), session.transport.as_str()), ("alice", "udp"));
    assert_eq!((session.relayed, session.permissions, session.channels), (allocation.relayed(), 1, 1));

    let status: Status = node.admin(STATUS);
    assert_eq!((status.node.as_str(), status.allocations, status.allocations_created), ("node-1", 1, 1));
    assert_eq!(status.listen_udp, [node.site.turn]);
    assert_eq!(status.traffic, session.traffic);

    let metrics = http::get(node.site.relay_metrics, "/metrics");
    for (leg, direction, flow) in [
        ("client", "in", session.traffic.client_in),
        ("client", "out", session.traffic.client_out),
        ("peer", "in", session.traffic.peer_in),
        ("peer", "out", session.traffic.peer_out),
    ] {
        let labels = [format!("leg=\"{leg}\""), format!("direction=\"{direction}\"")];
        assert_eq!(sum(&metrics, "turnpike_relay_bytes_total", &labels), flow.bytes, "{leg} {direction}");
        assert_eq!(sum(&metrics, "turnpike_relay_packets_total", &labels), flow.packets, "{leg} {direction}");
    }

    node.terminate();
    assert!(node.exit(Duration::from_secs(10)).success());
    let [closed] = &node.log.at_end("allocation closed")[..] else { panic!("one allocation") };
    let count = |name: &str| closed[name].as_u64().unwrap();
    let flow = |name: &str| Flow {
        bytes: count(&format!("{name}_bytes")),
        packets: count(&format!("{name}_packets")),
    };
    let logged = Traffic {
        client_in: flow("client_in"),
        client_out: flow("client_out"),
        peer_out: flow("peer_out"),
        peer_in: flow("peer_in"),
        hairpin: flow("hairpin"),
    };
    assert_eq!(logged, session.traffic);
    assert_eq!(closed["id"], session.id);
    assert_eq!(closed["client"], session.client.to_string());
}

/// The one session, once a snapshot holds all that was relayed.
fn settled_session(node: &Node) -> Session {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let sessions: Sessions = node.admin(SESSIONS);
        let status: Status = node.admin(STATUS);
        if let [session] = &sessions.sessions[..]
            && session.traffic.client_out.packets > MESSAGES
            && status.traffic == session.traffic
        {
            return session.clone();
        }
        assert!(Instant::now() < deadline, "{sessions:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The sum of a metric's samples that have all these labels.
fn sum(metrics: &str, name: &str, labels: &[String]) -> u64 {
    let samples = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let chosen: Vec<f64> = samples
        .filter(|line| labels.iter().all(|label| line.contains(label.as_str())))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!chosen.is_empty(), "{name} {labels:?} is not in {metrics}");
    chosen.iter().sum::<f64>() as u64
}
