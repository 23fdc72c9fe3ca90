//! Floods from the open internet: they leave nothing behind, and calls go on meanwhile.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use turnpike_turn_client::{Allocation, MAGIC_COOKIE, Writer, attribute, method};

use crate::{http, node::Node, turn_server::TurnServer};

const MEBIBYTE: i64 = 1 << 20;
/// Datagrams between two looks at the clock: few enough for the smallest of socket buffers.
const AT_ONCE: u64 = 50;
/// As fast as they can be sent, so that a server's receive buffers, which are its own from the start, have been used
/// before its memory is looked at.
const UNPACED: u64 = u64::MAX;
const WARM_UP: u64 = 20_000;
/// 401s a second to one source, as configured by default; twice as many at once.
const ANSWERS_PER_SECOND: f64 = 100.0;
const LOG_LINES_PER_SECOND: f64 = 10.0;

#[test]
fn forged_sources_leave_no_memory_behind_and_one_source_is_answered_at_its_rate() {
    let node = Node::relay("");
    let figures = flood_from_forged_sources(node.site.turn, node.id(), 50_000, 50_000);
    assert_nothing_is_left(&node, &figures);
}

#[test]
#[ignore = "of `make soak`"]
fn soak_1000000_forged_sources_leave_no_memory_behind_and_one_source_is_answered_at_its_rate() {
    let node = Node::relay("");
    let figures = flood_from_forged_sources(node.site.turn, node.id(), 1_000_000, 50_000);
    print(&format!("Turnpike: {figures}"));
    assert_nothing_is_left(&node, &figures);
    drop(node);
    let theirs = TurnServer::start();
    let figures = flood_from_forged_sources(theirs.address, theirs.id(), 1_000_000, 50_000);
    print(&format!("the server of the `turn` crate: {figures}"));
}

#[test]
fn a_call_goes_on_under_malformed_datagrams() {
    call_under_malformed_datagrams(60_000, 10_000);
}

#[test]
#[ignore = "of `make soak`"]
fn soak_a_call_goes_on_under_5000000_malformed_datagrams() {
    call_under_malformed_datagrams(5_000_000, 20_000);
}

/// What a flood of forged sources did.
struct Figures {
    sources: u64,
    took: Duration,
    /// Bytes of resident memory that the server has more than before.
    grown: i64,
    /// What one source asked for all the while, and was answered.
    asked: u64,
    answered: u64,
    /// Until the last of the answers could be there.
    listened: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sources, took, grown, asked, answered, .. } = self;
        let seconds = took.as_secs_f64();
        write!(
            f,
            "{sources} sources in {seconds:.1} s, resident memory {:+.1} KiB, {answered} answers to {asked} requests of \
             one source ({:.0} a second)",
            *grown as f64 / 1024.0,
            *answered as f64 / seconds
        )
    }
}

fn assert_nothing_is_left(node: &Node, figures: &Figures) {
    let seconds = figures.took.as_secs_f64();
    assert!(figures.grown <= MEBIBYTE, "{figures}");
    let most = ANSWERS_PER_SECOND * (figures.listened.as_secs_f64() + 2.0) + 1.0;
    assert!(figures.answered as f64 <= most, "{figures}");
    assert!(figures.answered as f64 >= ANSWERS_PER_SECOND * seconds * 0.9, "{figures}");
    let requests = bare_allocate().len() as f64 + 28.0;
    let seen = metric(node, "turnpike_unallocated_bytes_total{kind=\"stun\",direction=\"in\"}") / requests;
    assert!(
        seen >= 0.95 * (WARM_UP / 4 + figures.sources + figures.asked) as f64,
        "the flood was there: {seen} of {figures}"
    );
    node.allocate("afterwards");
    assert!(node.log.count() as f64 <= LOG_LINES_PER_SECOND * seconds.max(1.0), "{} lines", node.log.count());
}

/// One Allocate without credentials from each of so many sources, all of them different, while another source never
/// stops to ask.
fn flood_from_forged_sources(server: SocketAddr, process: u32, sources: u64, per_second: u64) -> Figures {
    let request = bare_allocate();
    let send = |address: u32| {
        // A port that another program holds is not one that anybody needs here.
        for port in (1_024..=u16::MAX).step_by(977).skip(address as usize % 60) {
            if let Ok(socket) = UdpSocket::bind((Ipv4Addr::from(address), port)) {
                return drop(socket.send_to(&request, server));
            }
        }
    };
    paced(WARM_UP, UNPACED, |nth| send(u32::from(Ipv4Addr::new(127, 99, 0, 0)) + nth as u32));
    thread::sleep(Duration::from_millis(500));
    let before = resident(process);
    let stop = Arc::new(AtomicBool::new(false));
    let asking = thread::spawn({
        let (stop, request) = (Arc::clone(&stop), request.clone());
        move || ask_until(&stop, server, &request)
    });
    let took = paced(sources, per_second, |nth| send(u32::from(Ipv4Addr::new(127, 100, 0, 0)) + nth as u32));
    stop.store(true, Ordering::Relaxed);
    let (asked, answered, listened) = asking.join().unwrap();
    let grown = resident(process) - before;
    Figures { sources, took, grown, asked, answered, listened }
}

/// Asks from many ports of one address, 2,000 times a second; gives how often, the answers, and how long it listened.
fn ask_until(stop: &AtomicBool, server: SocketAddr, request: &[u8]) -> (u64, u64, Duration) {
    let open = |_| {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 98, 0, 1), 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let sockets: Vec<UdpSocket> = (0..20).map(open).collect();
    let start = Instant::now();
    let (mut asked, mut answered) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        asked += sockets.iter().filter(|socket| socket.send(request).is_ok()).count() as u64;
        answered += answers(&sockets);
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(300));
    (asked, answered + answers(&sockets), start.elapsed())
}

fn answers(sockets: &[UdpSocket]) -> u64 {
    let mut buffer = [0; 512];
    let mut of = |socket: &UdpSocket| std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count() as u64;
    sockets.iter().map(&mut of).sum()
}

fn call_under_malformed_datagrams(count: u64, per_second: u64) {
    let node = Node::relay("");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut call = Call::new(node.allocate("caller"), peer);
    call.run_under_malformed(node.site.turn, WARM_UP, UNPACED);
    call.lost();
    call.run_until(Instant::now() + Duration::from_secs(1));
    assert_eq!(call.lost(), 0, "without a flood");
    let dropped_before = dropped(&node);
    let (before, lines) = (resident(node.id()), node.log.count());
    let took = call.run_under_malformed(node.site.turn, count, per_second).as_secs_f64();
    let sent = call.sent;
    let lost = call.lost();
    let grown = resident(node.id()) - before;
    let lines = node.log.count() - lines;
    print(&format!(
        "{count} malformed datagrams at {:.0} a second: {lost} of {sent} datagrams of a call lost, resident memory \
         {:+.1} KiB, {lines} log lines",
        count as f64 / took,
        grown as f64 / 1024.0
    ));
    assert!(lost * 1_000 <= sent, "{lost} of {sent} lost");
    assert!(grown <= MEBIBYTE, "{grown} bytes more");
    assert!(lines as f64 <= LOG_LINES_PER_SECOND * took, "{lines} log lines");
    // Shards publish once a second.
    let deadline = Instant::now() + Duration::from_secs(5);
    while dropped(&node) - dropped_before < 0.95 * count as f64 {
        assert!(
            Instant::now() < deadline,
            "the flood was there: {} of {count}",
            dropped(&node) - dropped_before
        );
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(http::get(node.site.relay_metrics, "/healthz"), "ok\n");
    node.allocate("afterwards");
}

fn dropped(node: &Node) -> f64 {
    let page = http::get(node.site.relay_metrics, "/metrics");
    let lines = page.lines().filter(|line| line.starts_with("turnpike_relay_dropped_packets_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Datagrams of a picture of a video.
const AT_A_TIME: u64 = 4;

/// A call of some 400 datagrams a second through a channel to a peer that sends everything back.
struct Call {
    allocation: Allocation,
    peer: SocketAddr,
    sent: u64,
    back: HashSet<u64>,
}

impl Call {
    fn new(mut allocation: Allocation, peer: UdpSocket) -> Self {
        let address = peer.local_addr().unwrap();
        allocation.bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while let Ok((len, from)) = peer.recv_from(&mut buffer) {
                let _ = peer.send_to(&buffer[..len], from);
            }
        });
        Self { allocation, peer: address, sent: 0, back: HashSet::new() }
    }

    /// Goes on while a flood lasts, and tells how long that was.
    fn run_under_malformed(&mut self, server: SocketAddr, count: u64, per_second: u64) -> Duration {
        let flood = thread::spawn(move || flood_with_malformed(server, count, per_second));
        while !flood.is_finished() {
            self.run_until(Instant::now() + Duration::from_millis(200));
        }
        flood.join().unwrap()
    }

    fn run_until(&mut self, end: Instant) {
        while Instant::now() < end {
            for _ in 0..AT_A_TIME {
                let mut payload = [0; 500];
                payload[..8].copy_from_slice(&self.sent.to_be_bytes());
                self.allocation.send(self.peer, &payload).unwrap();
                self.sent += 1;
            }
            self.receive_until(Instant::now() + Duration::from_millis(10));
        }
    }

    fn receive_until(&mut self, end: Instant) {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if let Some(datagram) = self.allocation.receive(left).unwrap() {
                self.back.insert(u64::from_be_bytes(datagram.payload[..8].try_into().unwrap()));
            }
        }
    }

    /// How much has not come back, however long that took. The next to be sent is the first of a new count.
    fn lost(&mut self) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(1);
        while (self.back.len() as u64) < self.sent && Instant::now() < deadline {
            self.receive_until(Instant::now() + Duration::from_millis(10));
        }
        let lost = self.sent - self.back.len() as u64;
        self.sent = 0;
        self.back.clear();
        lost
    }
}

fn flood_with_malformed(server: SocketAddr, count: u64, per_second: u64) -> Duration {
    let open = |host| UdpSocket::bind((Ipv4Addr::new(127, 97, 0, host), 0)).unwrap();
    let sockets: Vec<UdpSocket> = (1..=64).map(open).collect();
    let kinds = malformed();
    paced(count, per_second, |nth| {
        let datagram = &kinds[nth as usize % kinds.len()];
        // A full buffer of its own is the sender's matter.
        let _ = sockets[nth as usize % sockets.len()].send_to(datagram, server);
    })
}

/// Datagrams that are dropped, each for another reason or at another place.
fn malformed() -> Vec<Vec<u8>> {
    let whole = bare_allocate();
    let mut kinds: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
    let mut with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut datagram = whole.clone();
        change(&mut datagram);
        kinds.push(datagram);
    };
    for first in [2, 4, 63, 64, 79, 80, 128, 255] {
        with(&|datagram| datagram[0] = first);
    }
    with(&|datagram| datagram[4] ^= 1);
    with(&|datagram| datagram[3] = 7);
    with(&|datagram| datagram[3] = 252);
    with(&|datagram| datagram[23] = 200);
    with(&|datagram| datagram.extend([0; 5]));
    with(&|datagram| {
        datagram[3] += 8;
        datagram.extend([0x80, 0x28, 0, 4, 1, 2, 3, 4]);
    });
    let mut noise = 0x2545_F491_4F6C_DD1D_u64;
    for len in (1..1_400).step_by(37) {
        let mut byte = || {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        };
        // Neither STUN nor a channel, then channels that nobody has bound.
        kinds.push((0..len).map(|at| if at == 0 { byte() | 0x80 } else { byte() }).collect());
        kinds.push((0..len).map(|at| if at == 0 { 0x40 | byte() & 0x0F } else { byte() }).collect());
    }
    kinds
}

fn bare_allocate() -> Vec<u8> {
    let request = Writer::request(method::ALLOCATE);
    let bytes = request.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]).finish();
    assert_eq!(bytes[4..8], MAGIC_COOKIE);
    bytes
}

/// Sends so many at a steady rate, and tells how long it took.
fn paced(count: u64, per_second: u64, mut send: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    for nth in 0..count {
        if nth % AT_ONCE == 0 {
            let due = Duration::from_secs_f64(nth as f64 / per_second as f64);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        send(nth);
    }
    start.elapsed()
}

/// Bytes of a process that are in memory.
fn resident(process: u32) -> i64 {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1024
}

fn metric(node: &Node, name: &str) -> f64 {
    // Shards publish once a second.
    thread::sleep(Duration::from_millis(1_500));
    let page = http::get(node.site.relay_metrics, "/metrics");
    let value = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.trim().parse().unwrap()
}

#[allow(clippy::print_stdout, reason = "the figures are for whoever reads the run")]
fn print(line: &str) {
    println!("{line}");
}
