//! The peer policy of a real relay in a network namespace where every address of IPv4 and IPv6 is this machine's: what
//! is not refused reaches a canary that listens on all of them.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
    thread,
};

use tokio::net::UdpSocket;

use crate::{
    harness::{PATIENCE, Server, relay_address},
    metrics,
    oracle::{Address, Oracle, denied},
    turn::{IPV6_BESIDES, Turn},
};

/// The node's own public addresses, and those of a peer far away.
const NODE: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 1);
const NODE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2A01, 0x4F8, 0, 0, 0, 0, 0, 1);
const CONTROL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 101, 1)), IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 1))];
/// How many addresses one allocation is asked about; each takes a permission and a channel where it is public.
const ADDRESSES: usize = 100;

/// Runs a test on a thread of its own, in a new network namespace whose loopback interface has every address.
fn on_a_machine_with_every_address<T: Future>(test: impl FnOnce() -> T + Send + 'static) {
    let inside = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("network namespaces need root");
        let node = format!("{NODE_IPV6}/128");
        let setup: [&[&str]; 4] = [
            &["link", "set", "lo", "up"],
            &["route", "add", "local", "default", "dev", "lo"],
            &["-6", "route", "add", "local", "default", "dev", "lo"],
            // A socket of IPv6 binds on an address of an interface only.
            &["-6", "address", "add", &node, "dev", "lo", "nodad"],
        ];
        for arguments in setup {
            assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
        }
        // Its workers begin here, and so in this namespace.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(test());
    };
    thread::spawn(inside).join().unwrap();
}

/// Listens on every address, on one port of both families.
struct Canary {
    v4: UdpSocket,
    v6: UdpSocket,
    port: u16,
}

impl Canary {
    async fn open() -> Self {
        let v4 = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).unwrap();
        v6.set_only_v6(true).unwrap();
        v6.set_nonblocking(true).unwrap();
        v6.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).unwrap();
        Self { v4, v6: UdpSocket::from_std(v6.into()).unwrap(), port }
    }

    /// The next payload that came, to whatever address.
    async fn hears(&self) -> String {
        let (mut four, mut six) = ([0; 200], [0; 200]);
        let received = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                len = self.v4.recv(&mut four) => len.unwrap(),
                len = self.v6.recv(&mut six) => len.unwrap(),
            }
        });
        let len = received.await.expect("the canary hears nothing");
        let buffer = if four[0] == 0 { six } else { four };
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    fn hears_no_more(&self) {
        for socket in [&self.v4, &self.v6] {
            let mut buffer = [0; 200];
            let more = socket.try_recv(&mut buffer);
            assert!(more.is_err(), "it hears {:?}", String::from_utf8_lossy(&buffer));
        }
    }
}

/// Tries an address by all methods. What the canary should hear of it.
fn attempt(client: &mut Turn, channel: u16, target: SocketAddr, is_open: bool) -> Vec<String> {
    let code = if is_open { 0 } else { 403 };
    assert_eq!(client.permit(&[target]), code, "CreatePermission for {target}");
    assert_eq!(client.bind(channel, target), code, "ChannelBind to {target}");
    let payloads = ["Send", "ChannelData"].map(|method| format!("{method} to {target}"));
    client.send(target, payloads[0].as_bytes());
    client.send_on(channel, payloads[1].as_bytes());
    if is_open { payloads.into() } else { Vec::new() }
}

/// Tries all of these addresses by clients with both families, and compares what the canary hears and what the relay
/// counts.
async fn attempt_all(server: &Server, canary: &Canary, addresses: &[(SocketAddr, bool)]) {
    for (nth, addresses) in addresses.chunks(ADDRESSES).enumerate() {
        let mut client = Turn::new(server.address(), &format!("peers{nth}"));
        let [relayed, _] = client.allocated(&[IPV6_BESIDES]);
        let controls = CONTROL.map(|ip| (SocketAddr::new(ip, canary.port), true));
        let mut expected = Vec::new();
        for (channel, (target, is_open)) in (0x4000..).zip(addresses.iter().chain(&controls)) {
            expected.extend(attempt(&mut client, channel, *target, *is_open));
        }
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            heard.push(canary.hears().await);
        }
        expected.sort_unstable();
        heard.sort_unstable();
        assert_eq!(heard, expected);
        canary.hears_no_more();
        let sent = server.session(relayed).await.traffic.peer_out;
        assert_eq!(sent.packets, expected.len() as u64, "nothing else left the relay");
        assert_eq!(client.refresh(None, 0), 0);
    }
}

fn start() -> Server {
    Server::start(|config| {
        config.relay.relay_ipv4 = relay_address(NODE, NODE);
        config.relay.relay_ipv6 = relay_address(NODE_IPV6, NODE_IPV6);
        config.relay.allow_peers.clear();
    })
}

/// Addresses that services of a cloud or a home answer at.
fn known() -> Vec<Address> {
    let v4 = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.0.2.1", "192.168.1.1", "100.100.100.200"];
    let v6 = ["::1", "fd00:ec2::254", "fd00::1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"];
    let known = v4.iter().chain(&v6).map(|ip| ip.parse::<IpAddr>().unwrap());
    known.map(Address::from).collect()
}

#[test]
fn the_canary_would_hear() {
    on_a_machine_with_every_address(|| async {
        let canary = Canary::open().await;
        let plain =
            [UdpSocket::bind((NODE, 0)).await.unwrap(), UdpSocket::bind((NODE_IPV6, 0)).await.unwrap()];
        for address in known() {
            let socket = &plain[usize::from(!address.is_ipv4)];
            let text = address.ip().to_string();
            socket.send_to(text.as_bytes(), (address.ip(), canary.port)).await.unwrap();
            assert_eq!(canary.hears().await, text, "were it not for the relay");
        }
        canary.hears_no_more();
    });
}

#[test]
fn no_denied_address_hears_anything_in_any_dress_and_their_public_neighbours_do() {
    on_a_machine_with_every_address(|| async {
        let (server, canary) = (start(), Canary::open().await);
        let ends = denied().flat_map(|(first, last)| [first, last]);
        let bare: Vec<Address> = ends.flat_map(|end| end.neighbours().chain([end])).chain(known()).collect();
        let dressed = bare.iter().filter(|address| address.is_ipv4).flat_map(|address| address.dressed());
        let mut addresses: Vec<Address> =
            dressed.map(|(_, outer)| outer).chain(bare.iter().copied()).collect();
        addresses.sort_unstable_by_key(|address| (address.is_ipv4, address.bits));
        addresses.dedup();
        let oracle = Oracle::default();
        let judged = |address: &Address| ((address.ip(), canary.port).into(), oracle.judge(*address).is_ok());
        let targets: Vec<(SocketAddr, bool)> = addresses.iter().map(judged).collect();
        for is_ipv4 in [true, false] {
            let open = targets.iter().filter(|(target, is_open)| *is_open && target.is_ipv4() == is_ipv4);
            assert!(open.count() > 25);
        }
        attempt_all(&server, &canary, &targets).await;
        server.stop().await;
    });
}

#[test]
fn an_own_address_is_reached_at_live_relayed_addresses_only() {
    on_a_machine_with_every_address(|| async {
        let (server, canary) = (start(), Canary::open().await);
        let [mut client, mut other] = ["one", "other"].map(|subject| Turn::new(server.address(), subject));
        let _: [SocketAddr; 2] = client.allocated(&[IPV6_BESIDES]);
        let relayed: [SocketAddr; 2] = other.allocated(&[IPV6_BESIDES]);
        for node in [client.permit(&relayed), other.permit(&relayed)] {
            assert_eq!(node, 0);
        }
        for (nth, relayed) in relayed.into_iter().enumerate() {
            let own = relayed.ip();
            client.send(relayed, b"between users");
            other.hear();

            // The canary listens on the node's address as well, and so would any service of the host.
            let service = SocketAddr::new(own, canary.port);
            client.send(service, b"to a service");
            assert_eq!(client.bind(0x4000 + nth as u16, service), 0);
            client.send_on(0x4000 + nth as u16, b"to a service");
            let listener = SocketAddr::new(own, server.address().port());
            assert_eq!(client.bind(0x4100, listener), 403);
            client.send(listener, b"to the listener");
        }
        for other in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
            assert_eq!(client.permit(&[SocketAddr::new(other.parse().unwrap(), 5000)]), 403, "{other}");
        }
        let metric = "turnpike_relay_dropped_packets_total{reason=\"own_address\"}";
        metrics::until(&server, metric, 6.0).await;
        canary.hears_no_more();
        server.stop().await;
    });
}
