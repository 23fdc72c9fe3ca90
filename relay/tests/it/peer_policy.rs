//! The peer policy of a real relay in a network namespace where every address of IPv4 and IPv6 is this machine's: what
//! is not refused reaches a canary that listens on all of them.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    thread,
    time::Duration,
};

use tokio::net::UdpSocket;

use crate::{
    client::Client,
    harness::{PATIENCE, Server, relay_address},
    oracle::{Address, Oracle, denied},
};

/// The node's own public address, and one of a peer far away.
const NODE: [u8; 4] = [203, 0, 114, 1];
const CONTROL: [u8; 4] = [198, 51, 101, 1];
/// How many addresses one allocation is asked about; each takes a permission and a channel where it is public.
const ADDRESSES: usize = 64;

/// Runs a test on a thread of its own, in a new network namespace whose loopback interface has every address.
fn on_a_machine_with_every_address<T: Future>(test: impl FnOnce() -> T + Send + 'static) {
    let inside = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("network namespaces need root");
        let setup: [&[&str]; 3] = [
            &["link", "set", "lo", "up"],
            &["route", "add", "local", "default", "dev", "lo"],
            &["-6", "route", "add", "local", "default", "dev", "lo"],
        ];
        for arguments in setup {
            assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    };
    thread::spawn(inside).join().unwrap();
}

/// Listens on every address.
struct Canary {
    socket: UdpSocket,
    port: u16,
}

impl Canary {
    async fn open() -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        Self { socket, port }
    }

    /// The next payload that came, to whatever address.
    async fn hears(&self) -> String {
        let mut buffer = [0; 200];
        let received = tokio::time::timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        let len = received.expect("the canary hears nothing").unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    fn hears_no_more(&self) {
        let mut buffer = [0; 200];
        let more = self.socket.try_recv(&mut buffer);
        assert!(more.is_err(), "it hears {:?}", String::from_utf8_lossy(&buffer));
    }
}

/// Tries an address by all three methods and data on the channel. What the canary should hear of it.
async fn attempt(client: &mut Client, channel: u16, target: SocketAddr, is_open: bool) -> Vec<String> {
    let refused = if is_open { Ok(()) } else { Err(403) };
    assert_eq!(client.permit(&[target.ip()]).await, refused, "CreatePermission for {target}");
    assert_eq!(client.bind(channel, target).await, refused, "ChannelBind to {target}");
    let payloads = ["Send", "ChannelData"].map(|method| format!("{method} to {target}"));
    client.send_indication(target, payloads[0].as_bytes()).await;
    client.send_channel(channel, payloads[1].as_bytes()).await;
    if is_open { payloads.into() } else { Vec::new() }
}

/// Tries all of these addresses by clients of their own, and compares what the canary hears and what the relay counts.
async fn attempt_all(server: &Server, canary: &Canary, addresses: &[(SocketAddr, bool)]) {
    for (nth, addresses) in addresses.chunks(ADDRESSES).enumerate() {
        let mut client = Client::allocated(server, &format!("peers{nth}")).await;
        let mut expected = Vec::new();
        for (channel, (target, is_open)) in (0x4000..).zip(addresses) {
            expected.extend(attempt(&mut client, channel, *target, *is_open).await);
        }
        let control = SocketAddr::from((CONTROL, canary.port));
        expected.extend(attempt(&mut client, 0x4FFF, control, true).await);
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            heard.push(canary.hears().await);
        }
        expected.sort_unstable();
        heard.sort_unstable();
        assert_eq!(heard, expected);
        canary.hears_no_more();
        let sent = server.session(client.relayed).await.traffic.peer_out;
        assert_eq!(sent.packets, expected.len() as u64, "nothing else left the relay");
        client.refresh(0).await.unwrap();
    }
}

fn start() -> Server {
    Server::start(|config| {
        config.relay.relay_ipv4 = relay_address(NODE, NODE);
        config.relay.allow_peers.clear();
    })
}

#[test]
fn no_denied_address_hears_anything_and_their_public_neighbours_do() {
    on_a_machine_with_every_address(|| async {
        let (server, canary) = (start(), Canary::open().await);
        let ends = denied().flat_map(|(first, last)| [first, last]).filter(|end| end.is_ipv4);
        let edges = ends.flat_map(|end| end.neighbours().chain([end]));
        let known =
            ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.0.2.1", "198.18.0.1", "100.100.100.200"];
        let plain = UdpSocket::bind((Ipv4Addr::from(NODE), 0)).await.unwrap();
        for ip in known {
            plain.send_to(ip.as_bytes(), (ip, canary.port)).await.unwrap();
            assert_eq!(canary.hears().await, ip, "were it not for the relay");
        }
        let known = known.map(|ip| Address::v4(ip.parse::<Ipv4Addr>().unwrap().into()));
        let mut addresses: Vec<Address> = edges.chain(known).collect();
        addresses.sort_unstable_by_key(|address| address.bits);
        addresses.dedup();
        let oracle = Oracle::default();
        let judged = |address: &Address| ((address.ip(), canary.port).into(), oracle.judge(*address).is_ok());
        let targets: Vec<(SocketAddr, bool)> = addresses.iter().map(judged).collect();
        assert!(targets.iter().filter(|(_, is_open)| *is_open).count() > 25);
        attempt_all(&server, &canary, &targets).await;
        server.stop().await;
    });
}

#[test]
fn an_own_address_is_reached_at_live_relayed_addresses_only() {
    on_a_machine_with_every_address(|| async {
        let (server, canary) = (start(), Canary::open().await);
        let mut client = Client::allocated(&server, "own").await;
        let mut other = Client::allocated(&server, "own").await;
        client.permit(&[NODE.into()]).await.unwrap();
        other.permit(&[NODE.into()]).await.unwrap();
        client.send_indication(other.relayed, b"between users").await;
        other.arrival().await;

        // The canary listens on the node's address as well, and so would any service of the host.
        client.send_indication((NODE, canary.port).into(), b"to a service").await;
        client.bind(0x4000, (NODE, canary.port).into()).await.unwrap();
        client.send_channel(0x4000, b"to a service").await;
        let listener = SocketAddr::from((NODE, server.address().port()));
        assert_eq!(client.bind(0x4001, listener).await, Err(403));
        client.send_indication(listener, b"to the listener").await;
        for other in ["127.0.0.1", "0.0.0.0"] {
            assert_eq!(client.permit(&[other.parse().unwrap()]).await, Err(403), "{other}");
        }
        let metric = "turnpike_relay_dropped_packets_total{reason=\"own_address\"}";
        crate::metrics::until(&server, metric, 3.0).await;
        assert_eq!(other.arrival_within(Duration::ZERO).await, None);
        canary.hears_no_more();
        server.stop().await;
    });
}
