//! The data path takes no memory from the heap: no allocation per packet, whichever way it goes.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../it/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../it/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../it/log.rs"]
mod log;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
};

use client::{Client, channel_data, send_indication};
use turnpike_relay_api::credential::Limits;

use harness::{PATIENCE, SECRET, Server};
use turnpike_turn_client::{AllocateOptions, Allocation, Connection, Credentials};

/// The system's allocator, with a count of what is asked of it.
struct Counting;

static ASKED: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SHARDS: usize = 4;
const PACKETS: u64 = 20_000;
/// What the shards ask for to publish their counters, however slow this machine is.
const PUBLISHING: u64 = PACKETS / 20;

/// Runs `round`, which moves `packets` packets, until enough have moved, and gives what was asked of the allocator.
fn allocations_of(packets: u64, mut round: impl FnMut()) -> u64 {
    round();
    let before = ASKED.load(Ordering::Relaxed);
    (0..PACKETS / packets).for_each(|_| round());
    ASKED.load(Ordering::Relaxed) - before
}

/// A client's or a peer's socket, used without the heap.
struct Plain {
    socket: UdpSocket,
    buffer: [u8; 2_048],
}

impl Plain {
    fn new(socket: UdpSocket) -> Self {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, buffer: [0; 2_048] }
    }

    fn receive(&mut self) -> (usize, SocketAddr) {
        self.socket.recv_from(&mut self.buffer).unwrap()
    }
}

/// A client over TCP with a channel.
fn allocated_over(stream: &TcpStream, peer: SocketAddr) -> Allocation {
    let in_an_hour = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 3_600;
    let connection = Connection::from_tcp(stream.try_clone().unwrap());
    let credentials = Credentials::mint(SECRET, in_an_hour, "heap");
    let mut allocation =
        Allocation::open(connection, credentials, None, &AllocateOptions::default()).unwrap();
    assert_eq!(allocation.bind(peer).unwrap(), 0x4000);
    allocation
}

#[test]
fn no_packet_of_the_data_path_asks_for_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut peer = Plain::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let peer_address = peer.socket.local_addr().unwrap();
    let payload = [7; 1_000];

    let (server, mut clients) = runtime.block_on(async {
        let server = Server::start(|config| {
            config.relay.shards = SHARDS;
            // High enough for none of the packets, so that every limit is asked.
            config.relay.max_bitrate_per_allocation = 100_000_000_000;
            config.relay.max_bitrate_per_subject = 100_000_000_000;
            config.relay.max_bitrate_total = 100_000_000_000;
        });
        let limits =
            Limits { bytes: Some(u64::MAX), bits_per_second: Some(100_000_000_000), allocations: None };
        let mut clients = Vec::new();
        for _ in 0..3 * SHARDS {
            let mut client = Client::limited(&server, "heap", &limits).await;
            client.permit(&[client.relayed.ip()]).await.unwrap();
            clients.push(client);
        }
        clients[0].bind(0x4000, peer_address).await.unwrap();
        (server, clients)
    });
    let relayed: Vec<SocketAddr> = clients.iter().map(|client| client.relayed).collect();
    let mut plain: Vec<Plain> = clients.drain(..).map(|client| Plain::new(client.into_std())).collect();

    let by_channel = channel_data(0x4000, &payload);
    let asked = allocations_of(2, || {
        plain[0].socket.send(&by_channel).unwrap();
        assert_eq!(peer.receive(), (payload.len(), relayed[0]));
        peer.socket.send_to(&payload, relayed[0]).unwrap();
        assert_eq!(plain[0].receive().0, by_channel.len());
    });
    assert!(asked < PUBLISHING, "ChannelData: {asked} allocations for {PACKETS} packets");

    let by_indication = send_indication(peer_address, &payload);
    let asked = allocations_of(2, || {
        plain[1].socket.send(&by_indication).unwrap();
        assert_eq!(peer.receive(), (payload.len(), relayed[1]));
        peer.socket.send_to(&payload, relayed[1]).unwrap();
        assert_eq!(plain[1].receive().0, by_indication.len());
    });
    assert!(asked < PUBLISHING, "indications: {asked} allocations for {PACKETS} packets");

    // All pairs of 12 clients on 4 shards: within a shard and across.
    let to_each: Vec<Vec<u8>> = relayed.iter().map(|to| send_indication(*to, &payload)).collect();
    let asked = allocations_of((plain.len() * plain.len()) as u64, || {
        for sender in 0..plain.len() {
            for receiver in 0..plain.len() {
                plain[sender].socket.send(&to_each[receiver]).unwrap();
                assert_eq!(plain[receiver].receive().0, by_indication.len());
            }
        }
    });
    assert!(asked < PUBLISHING, "relay to relay: {asked} allocations for {PACKETS} packets");

    let mut stream = TcpStream::connect(server.tcp_address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let tcp = allocated_over(&stream, peer_address);
    let by_stream = channel_data(0x4000, &payload);
    let mut back = vec![0; by_stream.len()];
    let asked = allocations_of(2, || {
        // Cut, so that the rest of a message is kept for a turn.
        stream.write_all(&by_stream[..10]).unwrap();
        std::thread::yield_now();
        stream.write_all(&by_stream[10..]).unwrap();
        assert_eq!(peer.receive(), (payload.len(), tcp.relayed()));
        peer.socket.send_to(&payload, tcp.relayed()).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, by_stream);
    });
    assert!(asked < PUBLISHING, "ChannelData over TCP: {asked} allocations for {PACKETS} packets");

    let summary = runtime.block_on(server.stop());
    assert!(summary.traffic.hairpin.packets > PACKETS - 144);
    assert!(summary.traffic.peer_out.packets - summary.traffic.hairpin.packets > PACKETS - 4);
}
