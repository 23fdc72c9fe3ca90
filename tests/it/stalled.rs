//! Connections that stall: nobody waits for them, they are gone soon, and what they held is free again.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use turnpike_turn_client::{Connection, Endpoint, TlsClient, Transport, Writer, method};

use crate::{
    http,
    node::{Node, SECRET, Site, in_an_hour},
};

const PATIENCE: Duration = Duration::from_secs(20);
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// Of one source; a relay takes 256.
const OF_ONE_SOURCE: usize = 100;

#[test]
fn stalled_connections_delay_nobody_and_are_gone_within_15_seconds() {
    stall(300);
}

#[test]
#[ignore = "of `make soak`"]
fn soak_5000_stalled_connections_delay_nobody_and_are_gone_within_15_seconds() {
    stall(5_000);
}

/// Where a connection stalls.
#[derive(Clone, Copy)]
enum Point {
    Connected,
    InAMessage,
    TlsConnected,
    InAHandshake,
    BehindAHandshake,
}

/// One in twenty costs a handshake.
fn point(nth: usize) -> Point {
    match nth % 20 {
        0..=4 => Point::Connected,
        5..=9 => Point::InAMessage,
        10..=14 => Point::TlsConnected,
        15..=18 => Point::InAHandshake,
        _ => Point::BehindAHandshake,
    }
}

enum Stalled {
    Socket(TcpStream),
    Secure(Connection),
}

impl Stalled {
    fn open(node: &Node, nth: usize) -> Self {
        let group = (nth / OF_ONE_SOURCE) as u8;
        let bind = SocketAddr::from(([127, 66, group, 1], 0));
        let (turn, tls) = (node.site.turn, node.site.tls.unwrap());
        match point(nth) {
            Point::Connected => Self::Socket(connect(bind, turn)),
            Point::InAMessage => Self::Socket(begin(connect(bind, turn), &[0, 3, 0, 8, 0x21, 0x12])),
            Point::TlsConnected => Self::Socket(connect(bind, tls)),
            Point::InAHandshake => Self::Socket(begin(connect(bind, tls), &[22, 3, 1, 2, 0, 1, 0])),
            Point::BehindAHandshake => {
                let trust = Some(TlsClient::unverified("localhost").unwrap());
                let endpoint =
                    Endpoint { server: tls, transport: Transport::Tls, tls: trust, bind: Some(bind) };
                Self::Secure(Connection::open(&endpoint).unwrap())
            }
        }
    }

    /// Waits for its end.
    fn ends(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match self {
            Self::Socket(mut socket) => {
                socket.set_read_timeout(Some(left)).unwrap();
                match socket.read(&mut [0; 64]) {
                    Ok(0) => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                    other => panic!("a stalled connection lives: {other:?}"),
                }
            }
            Self::Secure(mut connection) => {
                assert!(connection.receive(left).is_err(), "a stalled TLS connection lives");
            }
        }
    }
}

fn connect(bind: SocketAddr, server: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&bind.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.into()
}

fn begin(mut stream: TcpStream, bytes: &[u8]) -> TcpStream {
    stream.write_all(bytes).unwrap();
    stream
}

#[allow(clippy::print_stdout, reason = "the figures are for whoever reads the run")]
fn stall(count: usize) {
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let keys = "allow_peers = [\"127.0.0.1/32\"]";
    let node = Site::new(Ipv4Addr::LOCALHOST, keys).with_tls().start("relay");
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        allocate(&node, transport);
    }
    until(|| connections(&node) == 0, "the first clients are gone");
    let files = settled_files(&node);

    let stalled: Vec<Stalled> = thread::scope(|scope| {
        let openers = (0..4).map(|first| {
            let node = &node;
            scope.spawn(move || -> Vec<Stalled> {
                (first..count).step_by(4).map(|nth| Stalled::open(node, nth)).collect()
            })
        });
        let openers: Vec<_> = openers.collect();
        openers.into_iter().flat_map(|opener| opener.join().unwrap()).collect()
    });
    let opened = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..14 {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            waits.push(allocate(&node, transport));
        }
    }
    let while_stalled = opened.elapsed();
    waits.sort_unstable();
    let p95 = waits[waits.len() * 95 / 100];
    println!("{count} stalled: p95 {p95:?}, longest {:?} of {}", waits[waits.len() - 1], waits.len());
    assert!(while_stalled < Duration::from_secs(5), "measured while they stall: {while_stalled:?}");
    assert!(p95 <= Duration::from_millis(250), "{p95:?}");

    let deadline = opened + GONE_WITHIN;
    stalled.into_iter().for_each(|stalled| stalled.ends(deadline));
    println!("all gone {:?} after the last came", opened.elapsed());
    until(|| open_files(&node) <= files, "the files of stalled connections are closed");
    assert!(opened.elapsed() < GONE_WITHIN, "{:?}", opened.elapsed());
}

/// How long a client takes from nothing to its allocation.
fn allocate(node: &Node, transport: Transport) -> Duration {
    let start = Instant::now();
    let credentials = turnpike_turn_client::Credentials::mint(SECRET.as_bytes(), in_an_hour(), "good");
    let connection = node.connect_over(transport);
    let allocation = turnpike_turn_client::Allocation::open(
        connection,
        credentials,
        None,
        &turnpike_turn_client::AllocateOptions::default(),
    );
    let elapsed = start.elapsed();
    allocation.unwrap().close().unwrap();
    elapsed
}

fn until(is_so: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn open_files(node: &Node) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.id())).unwrap().count()
}

/// The same, once nothing that was served before is open any more.
fn settled_files(node: &Node) -> usize {
    let (mut files, mut since) = (open_files(node), Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        let now = open_files(node);
        if now != files {
            (files, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(10));
    }
    files
}

/// Open connections of clients.
fn connections(node: &Node) -> u64 {
    let metrics = http::get(node.site.relay_metrics, "/metrics");
    let samples = metrics.lines().filter(|line| line.starts_with("turnpike_client_connections{"));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Clock ticks, of which there are 100 a second, that the process has used.
fn processor_time(node: &Node) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_files_connections_wait_the_operator_is_told_once_and_nothing_spins() {
    const FILES: usize = 64;
    const TOLD: &str = "connections have to wait, for the system gives no more files; raise LimitNOFILE= of the unit \
                        or `ulimit -n`";
    let site = Site::new(Ipv4Addr::LOCALHOST, "max_allocations = 10");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_turnpike")]);
    command.args(["relay", "--config"]).arg(site.config());
    let node = site.start_by(command);
    let turn = node.site.turn;
    let clients: Vec<_> = (0..FILES).map(|_| TcpStream::connect(turn).unwrap()).collect();
    node.log.wait_for(TOLD);
    let (before, start) = (processor_time(&node), Instant::now());
    while start.elapsed() < Duration::from_secs(2) {
        node.connect().ask(Writer::request(method::BINDING).bytes()).expect("UDP is served meanwhile");
        thread::sleep(Duration::from_millis(100));
    }
    let used = processor_time(&node) - before;
    assert!(used < 60, "{used} ticks in two seconds");

    let start = Instant::now();
    drop(clients);
    let mut late = node.connect_over(Transport::Tcp);
    late.ask(Writer::request(method::BINDING).bytes()).expect("there are files again");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    drop(late);
    node.terminate();
    assert_eq!(node.log.at_end(TOLD).len(), 1);
}
