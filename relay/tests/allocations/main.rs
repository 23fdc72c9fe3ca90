//! Memory of the heap: none is asked for by a packet of the data path, whichever way it goes, and little by an allocation
//! that waits.
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
    cell::Cell,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use client::{Client, channel_data, send_indication};
use turnpike_relay_api::credential::Limits;

use harness::{PATIENCE, SECRET, Server};
use turnpike_turn_client::{AllocateOptions, Allocation, Connection, Credentials};

/// The system's allocator, with a count of what is asked of it.
struct Counting;

static ASKED: AtomicU64 = AtomicU64::new(0);
/// Bytes that threads other than the tests' hold.
static HELD: AtomicI64 = AtomicI64::new(0);
/// The tests count what the whole process asks for: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

thread_local! {
    static IS_TEST: Cell<bool> = const { Cell::new(false) };
}

fn count(asked: u64, held: i64) {
    ASKED.fetch_add(asked, Ordering::Relaxed);
    if !IS_TEST.get() {
        HELD.fetch_add(held, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SHARDS: usize = 4;
const PACKETS: u64 = 20_000;
/// What shards ask for in a second to publish their counters, at most, however many packets there are.
const PUBLISHING: f64 = 100.0 * SHARDS as f64;
/// What else may be asked for, once: buffers that grow to their size.
const ONCE: u64 = PACKETS / 100;

/// Runs `round`, which moves `packets` packets, until enough have moved, and sees that hardly anything was asked of the
/// allocator.
fn asks_for_nothing(what: &str, packets: u64, mut round: impl FnMut()) {
    round();
    let (before, start) = (ASKED.load(Ordering::Relaxed), Instant::now());
    (0..PACKETS / packets).for_each(|_| round());
    let asked = ASKED.load(Ordering::Relaxed) - before;
    let published = (PUBLISHING * (start.elapsed().as_secs_f64() + 1.0)) as u64;
    assert!(asked < ONCE + published, "{what}: {asked} allocations for {PACKETS} packets");
}

/// Datagrams that go and come in one buffer.
const RUN: usize = 16;
const IDLE: usize = 2_000;
/// Bytes of an allocation that waits, its line of the log included, which this test keeps.
const PER_ALLOCATION: i64 = 4_096;

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

    /// From now on a buffer of several datagrams of this length is cut by the kernel.
    fn cut(&self, len: usize) {
        setsockopt(&self.socket, UdpGsoSegment, &(len as i32)).unwrap();
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
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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
    asks_for_nothing("ChannelData", 2, || {
        plain[0].socket.send(&by_channel).unwrap();
        assert_eq!(peer.receive(), (payload.len(), relayed[0]));
        peer.socket.send_to(&payload, relayed[0]).unwrap();
        assert_eq!(plain[0].receive().0, by_channel.len());
    });

    let by_indication = send_indication(peer_address, &payload);
    asks_for_nothing("indications", 2, || {
        plain[1].socket.send(&by_indication).unwrap();
        assert_eq!(peer.receive(), (payload.len(), relayed[1]));
        peer.socket.send_to(&payload, relayed[1]).unwrap();
        assert_eq!(plain[1].receive().0, by_indication.len());
    });

    // All pairs of 12 clients on 4 shards: within a shard and across.
    let to_each: Vec<Vec<u8>> = relayed.iter().map(|to| send_indication(*to, &payload)).collect();
    asks_for_nothing("relay to relay", (plain.len() * plain.len()) as u64, || {
        for sender in 0..plain.len() {
            for receiver in 0..plain.len() {
                plain[sender].socket.send(&to_each[receiver]).unwrap();
                assert_eq!(plain[receiver].receive().0, by_indication.len());
            }
        }
    });

    let (run_of_messages, run_of_payloads) = (by_channel.repeat(RUN), payload.repeat(RUN));
    plain[0].cut(by_channel.len());
    peer.cut(payload.len());
    asks_for_nothing("runs on a channel", 2 * RUN as u64, || {
        plain[0].socket.send(&run_of_messages).unwrap();
        (0..RUN).for_each(|_| assert_eq!(peer.receive(), (payload.len(), relayed[0])));
        peer.socket.send_to(&run_of_payloads, relayed[0]).unwrap();
        (0..RUN).for_each(|_| assert_eq!(plain[0].receive().0, by_channel.len()));
    });

    // From one to the next, within a shard and across.
    let runs: Vec<Vec<u8>> = to_each.iter().map(|message| message.repeat(RUN)).collect();
    plain.iter().for_each(|client| client.cut(by_indication.len()));
    asks_for_nothing("runs from relay to relay", (plain.len() * RUN) as u64, || {
        for sender in 0..plain.len() {
            let receiver = (sender + 1) % plain.len();
            plain[sender].socket.send(&runs[receiver]).unwrap();
            (0..RUN).for_each(|_| assert_eq!(plain[receiver].receive().0, by_indication.len()));
        }
    });
    peer.cut(0);

    let mut stream = TcpStream::connect(server.tcp_address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let tcp = allocated_over(&stream, peer_address);
    let by_stream = channel_data(0x4000, &payload);
    let mut back = vec![0; by_stream.len()];
    asks_for_nothing("ChannelData over TCP", 2, || {
        // Cut, so that the rest of a message is kept for a turn.
        stream.write_all(&by_stream[..10]).unwrap();
        std::thread::yield_now();
        stream.write_all(&by_stream[10..]).unwrap();
        assert_eq!(peer.receive(), (payload.len(), tcp.relayed()));
        peer.socket.send_to(&payload, tcp.relayed()).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, by_stream);
    });

    let metrics = runtime.block_on(server.page("/metrics")).ok();
    for direction in ["in", "out"] {
        let name = format!("turnpike_relay_segments_total{{direction=\"{direction}\"}} ");
        let segments: u64 =
            metrics.lines().find_map(|line| line.strip_prefix(&*name)).unwrap().parse().unwrap();
        assert!(segments > PACKETS, "{segments} {direction}: the kernel puts nothing together");
    }
    let summary = runtime.block_on(server.stop());
    assert!(summary.traffic.hairpin.packets > PACKETS - 144);
    assert!(summary.traffic.peer_out.packets - summary.traffic.hairpin.packets > PACKETS - 4);
}

#[test]
fn an_allocation_that_waits_holds_little_memory() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    IS_TEST.set(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start(|config| config.relay.unauthenticated_per_second = 0);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9_000));
        let mut clients = Vec::with_capacity(IDLE + 1);
        let mut before = 0;
        for nth in 0..=IDLE {
            let mut client = Client::allocated(&server, &format!("idle-{nth}")).await;
            client.bind(0x4000, peer).await.unwrap();
            clients.push(client);
            if nth == 0 {
                before = HELD.load(Ordering::Relaxed);
            }
        }
        let held = (HELD.load(Ordering::Relaxed) - before) / IDLE as i64;
        assert!(held < PER_ALLOCATION, "{held} bytes");
        assert!(held > 500, "{held} bytes: what an allocation holds is counted");
        assert_eq!(server.status().await.allocations, clients.len() as u64);
        server.stop().await;
    });
}
