//! Correctness under speed: random bursts of many flows at once, both ways, put together and cut by the kernel wherever
//! it can. Every byte that arrives is right, in order, and metered.

use std::{
    collections::{HashMap, VecDeque},
    net::{SocketAddr, UdpSocket},
};

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use turnpike_relay_api::admin::{Flow, Traffic};
use turnpike_turn_client::{Message, attribute};

use crate::{
    client::{Client, channel_data, send_indication},
    harness::{PATIENCE, Server},
    metrics::until_above,
};

/// Datagrams under way at a time: no socket with a buffer of the default size loses any of them.
const WINDOW: usize = 64;
/// Most datagrams of one burst.
const BURST: usize = 40;
/// What fits in ChannelData at an MTU of 1500.
const LONGEST: usize = 1_468;
const PEERS: usize = 8;
const CHANNEL: u16 = 0x4000;

/// Whom a client talks to.
#[derive(Clone, Copy)]
enum Other {
    Peer(usize),
    /// The client of this number, by its relayed address.
    Client(usize),
}

/// A client, and what it has to have sent and heard.
struct Talker {
    socket: UdpSocket,
    relayed: SocketAddr,
    other: Other,
    to: SocketAddr,
    has_channel: bool,
    expected: VecDeque<Vec<u8>>,
    traffic: Traffic,
}

/// A peer of many clients.
struct Peer {
    socket: UdpSocket,
    address: SocketAddr,
    /// By relayed address.
    expected: HashMap<SocketAddr, VecDeque<Vec<u8>>>,
    due: usize,
}

struct World {
    talkers: Vec<Talker>,
    peers: Vec<Peer>,
    random: StdRng,
    buffer: Vec<u8>,
}

/// Sends messages, as one buffer where `together` and the kernel takes them so.
fn send(socket: &UdpSocket, to: SocketAddr, messages: &[Vec<u8>], together: bool) {
    let segment = messages[0].len();
    let (last, others) = messages.split_last().unwrap();
    let is_even =
        others.iter().all(|message| message.len() == segment) && (1..=segment).contains(&last.len());
    if together && is_even && segment * messages.len() <= 65_507 {
        setsockopt(socket, UdpGsoSegment, &(segment as i32)).unwrap();
        socket.send_to(&messages.concat(), to).unwrap();
        setsockopt(socket, UdpGsoSegment, &0).unwrap();
    } else {
        messages.iter().for_each(|message| assert_eq!(socket.send_to(message, to).unwrap(), message.len()));
    }
}

fn count(flow: &mut Flow, len: usize) {
    flow.packets += 1;
    flow.bytes += len as u64 + 28;
}

impl Talker {
    fn framed(&self, payload: &[u8]) -> Vec<u8> {
        match self.has_channel {
            true => channel_data(CHANNEL, payload),
            false => send_indication(self.to, payload),
        }
    }

    /// Takes the next datagram and compares it with what is due.
    fn hear(&mut self, buffer: &mut [u8]) {
        let len = self.socket.recv(buffer).expect("something of a burst was lost");
        count(&mut self.traffic.client_out, len);
        let expected = self.expected.pop_front().unwrap();
        if self.has_channel {
            assert_eq!(&buffer[..len], channel_data(CHANNEL, &expected));
            return;
        }
        let message = Message::read(&buffer[..len]).unwrap();
        assert_eq!(message.xor_address(attribute::XOR_PEER_ADDRESS), Some(self.to));
        assert_eq!(message.value(attribute::DATA), Some(&expected[..]));
    }
}

impl Peer {
    fn hear(&mut self, buffer: &mut [u8]) {
        let (len, from) = self.socket.recv_from(buffer).expect("something of a burst was lost");
        assert_eq!(&buffer[..len], self.expected.get_mut(&from).unwrap().pop_front().unwrap());
        self.due -= 1;
    }
}

impl World {
    async fn new(server: &Server, clients: usize, seed: u64) -> Self {
        let peers = (0..PEERS).map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            Peer { address: socket.local_addr().unwrap(), socket, expected: HashMap::new(), due: 0 }
        });
        let mut world = Self {
            talkers: Vec::new(),
            peers: peers.collect(),
            random: StdRng::seed_from_u64(seed),
            buffer: vec![0; 65_536],
        };
        let mut waiting = Vec::new();
        for nth in 0..clients {
            waiting.push(Client::allocated(server, &format!("speed-{nth}")).await);
        }
        let relayed: Vec<SocketAddr> = waiting.iter().map(|client| client.relayed).collect();
        for (nth, mut client) in waiting.into_iter().enumerate() {
            // Half talk to peers, half in pairs; half of either by a channel.
            let other = match nth % 4 {
                0 | 1 => Other::Peer(nth / 4 % PEERS),
                2 => Other::Client(nth + 1),
                _ => Other::Client(nth - 1),
            };
            let to = match other {
                Other::Peer(peer) => world.peers[peer].address,
                Other::Client(client) => relayed[client],
            };
            let has_channel = nth % 2 == 0;
            match has_channel {
                true => client.bind(CHANNEL, to).await.unwrap(),
                false => client.permit(&[to.ip()]).await.unwrap(),
            }
            let traffic =
                Traffic { client_in: client.sent, client_out: client.received, ..Traffic::default() };
            let (relayed, expected) = (client.relayed, VecDeque::new());
            let socket = client.into_std();
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            world.talkers.push(Talker { socket, relayed, other, to, has_channel, expected, traffic });
        }
        world
    }

    /// Payloads of one length, of one length but for the last, or of any.
    fn burst(&mut self, most: usize) -> Vec<Vec<u8>> {
        let random = &mut self.random;
        let (burst, len) = (random.random_range(1..=most.min(BURST)), random.random_range(1..=LONGEST));
        let kind = random.random_range(0..3);
        let mut payload = |nth| {
            let len = match kind {
                0 => len,
                1 if nth + 1 < burst => len,
                1 => random.random_range(1..=len),
                _ => random.random_range(1..=LONGEST),
            };
            let mut payload = vec![0; len];
            random.fill(&mut payload[..]);
            payload
        };
        (0..burst).map(&mut payload).collect()
    }

    /// Some bursts of some flows, all of them under way before any is heard.
    fn round(&mut self) {
        let mut left = WINDOW;
        while left > 0 {
            let talker = self.random.random_range(0..self.talkers.len());
            let (together, back) = (self.random.random(), self.random.random());
            let payloads = self.burst(left);
            left -= payloads.len();
            match self.talkers[talker].other {
                Other::Peer(peer) if back => self.send_back(talker, peer, payloads, together),
                _ => self.send_there(talker, payloads, together),
            }
        }
        for talker in &mut self.talkers {
            (0..talker.expected.len()).for_each(|_| talker.hear(&mut self.buffer));
        }
        for peer in &mut self.peers {
            (0..peer.due).for_each(|_| peer.hear(&mut self.buffer));
        }
    }

    fn send_there(&mut self, talker: usize, payloads: Vec<Vec<u8>>, together: bool) {
        let Talker { relayed, other, .. } = self.talkers[talker];
        let framed: Vec<Vec<u8>> =
            payloads.iter().map(|payload| self.talkers[talker].framed(payload)).collect();
        let client = &mut self.talkers[talker];
        send(&client.socket, client.socket.peer_addr().unwrap(), &framed, together);
        framed.iter().for_each(|message| count(&mut client.traffic.client_in, message.len()));
        payloads.iter().for_each(|payload| count(&mut client.traffic.peer_out, payload.len()));
        match other {
            Other::Peer(peer) => {
                self.peers[peer].due += payloads.len();
                self.peers[peer].expected.entry(relayed).or_default().extend(payloads);
            }
            Other::Client(other) => {
                payloads.iter().for_each(|payload| count(&mut client.traffic.hairpin, payload.len()));
                let other = &mut self.talkers[other];
                payloads.iter().for_each(|payload| count(&mut other.traffic.peer_in, payload.len()));
                other.expected.extend(payloads);
            }
        }
    }

    fn send_back(&mut self, talker: usize, peer: usize, payloads: Vec<Vec<u8>>, together: bool) {
        let client = &mut self.talkers[talker];
        send(&self.peers[peer].socket, client.relayed, &payloads, together);
        payloads.iter().for_each(|payload| count(&mut client.traffic.peer_in, payload.len()));
        client.expected.extend(payloads);
    }
}

async fn bursts_arrive_and_are_metered(clients: usize, rounds: usize, seed: u64) {
    let server = Server::start(|config| {
        config.relay.shards = 2;
        // All of them come from one address.
        config.relay.unauthenticated_per_second = 10_000;
    });
    let mut world = World::new(&server, clients, seed).await;
    (0..rounds).for_each(|_| world.round());

    let metered: HashMap<SocketAddr, Traffic> =
        server.sessions().await.into_iter().map(|session| (session.relayed, session.traffic)).collect();
    assert_eq!(metered.len(), clients);
    for (nth, talker) in world.talkers.iter().enumerate() {
        assert_eq!(metered[&talker.relayed], talker.traffic, "client {nth}");
    }
    for direction in ["in", "out"] {
        for name in ["segments", "segmented_buffers"] {
            let name = format!("turnpike_relay_{name}_total{{direction=\"{direction}\"}}");
            until_above(&server, &name, rounds as f64).await;
        }
    }
    let text = server.page("/metrics").await.ok();
    let lost = |line: &&str| {
        let counts = ["turnpike_relay_dropped_packets_total{", "turnpike_relay_segmentation_refused_total "];
        counts.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0")
    };
    assert_eq!(text.lines().filter(lost).collect::<Vec<_>>(), Vec::<&str>::new());
    server.stop().await;
}

#[tokio::test]
async fn bursts_of_any_sizes_arrive_whole_in_order_and_metered_to_the_byte() {
    bursts_arrive_and_are_metered(64, 400, 1).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn soak_bursts_of_a_thousand_flows_arrive_whole_in_order_and_metered_to_the_byte() {
    bursts_arrive_and_are_metered(1_000, 40_000, 2).await;
}
