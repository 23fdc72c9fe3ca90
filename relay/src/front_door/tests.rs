use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, ServerConnection, StreamOwned, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::{JoinHandle, spawn_blocking},
};
use turnpike_relay_api::proxy::{Ends, PREFIX_LEN, rest_len};

use super::{FrontDoor, Limits, Outcome, Visitor};
use crate::tls::{Tls, files::Files};

/// Longer than any wait that is meant, also where time is virtual.
const PATIENCE: Duration = Duration::from_secs(120);
const ROOMY: Limits = Limits { visitors: 1000, visitors_per_source: 1000 };

type Browser = StreamOwned<ClientConnection, TcpStream>;

/// A front door with the TLS and the listener of its node, and the folder of signaling's socket.
struct House {
    files: Files,
    tls: Tls,
    listener: TcpListener,
    door: FrontDoor,
    serving: JoinHandle<()>,
}

impl House {
    fn open(limits: Limits) -> Self {
        let files = Files::new();
        let tls = files.load();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (door, reception) = FrontDoor::new(files.path("signaling.sock"), limits);
        let serving = tokio::spawn(reception.serve());
        Self { files, tls, listener, door, serving }
    }

    fn socket(&self) -> PathBuf {
        self.files.path("signaling.sock")
    }

    fn signaling(&self) -> UnixListener {
        UnixListener::bind(self.socket()).unwrap()
    }

    /// A visitor as a shard has it right after its handshake, and its other end.
    async fn visitor(&self) -> (Visitor, Browser) {
        let (address, client) = (self.listener.local_addr().unwrap(), self.files.client(&[b"http/1.1"]));
        let browser = spawn_blocking(move || connect(address, client));
        let (mut socket, client) = self.listener.accept().unwrap();
        let mut tls = ServerConnection::new(self.tls.current()).unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut socket).unwrap();
        }
        let server = socket.local_addr().unwrap();
        socket.set_nonblocking(true).unwrap();
        (Visitor { socket, tls, early: Vec::new(), client, server }, browser.await.unwrap())
    }

    /// A visitor inside.
    async fn visit(&self) -> Browser {
        let (visitor, browser) = self.visitor().await;
        assert!(self.door.try_admit(visitor).is_ok());
        browser
    }

    /// Waits until nobody is inside, and tells how the one visit ended.
    async fn outcome(&self) -> Outcome {
        tokio::time::timeout(PATIENCE, self.door.until_empty()).await.expect("somebody is still inside");
        let ended: Vec<Outcome> =
            Outcome::ALL.into_iter().filter(|outcome| self.door.ledger().count(*outcome) > 0).collect();
        let [outcome] = ended[..] else { panic!("{ended:?}") };
        outcome
    }
}

fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Browser {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("turn.example.org").unwrap();
    let mut browser = StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket);
    while browser.conn.is_handshaking() {
        browser.conn.complete_io(&mut browser.sock).unwrap();
    }
    browser
}

/// Takes one connection as signaling does; whose it is, and the rest.
async fn accept(listener: &UnixListener) -> (Ends, UnixStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut header = vec![0; PREFIX_LEN];
    stream.read_exact(&mut header).await.unwrap();
    let rest = rest_len(header.first_chunk().unwrap()).unwrap();
    header.resize(PREFIX_LEN + rest, 0);
    stream.read_exact(&mut header[PREFIX_LEN..]).await.unwrap();
    (Ends::decode(&header).unwrap(), stream)
}

/// Bytes in which each place differs from its neighbours.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

#[tokio::test]
async fn a_visitor_s_bytes_reach_signaling_behind_its_address_and_answers_come_back() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let (visitor, mut browser) = house.visitor().await;
    let (client, server) = (visitor.client, visitor.server);
    assert_eq!(client, browser.sock.local_addr().unwrap());
    assert!(house.door.try_admit(visitor).is_ok());

    let browser = spawn_blocking(move || {
        browser.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let mut answer = [0; 8];
        browser.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1");
        browser.write_all(b"bye").unwrap();
        browser.conn.send_close_notify();
        browser.conn.complete_io(&mut browser.sock).unwrap();
        let mut rest = Vec::new();
        browser.read_to_end(&mut rest).unwrap();
        rest
    });
    let (ends, mut stream) = accept(&listener).await;
    assert_eq!(ends, Ends { client, server });
    let mut request = [0; 16];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(&request, b"GET / HTTP/1.1\r\n");
    assert_eq!(house.door.visitors(), 1);
    stream.write_all(b"HTTP/1.1").await.unwrap();
    let mut last = Vec::new();
    stream.read_to_end(&mut last).await.unwrap();
    assert_eq!(last, b"bye", "the visitor's end arrives as an end");
    stream.write_all(b" after its end").await.unwrap();
    drop(stream);
    assert_eq!(browser.await.unwrap(), b" after its end", "and it hears the rest, and a clean end");
    assert_eq!(house.outcome().await, Outcome::Closed);
    let (received, sent) = house.door.ledger().bytes();
    // Some bytes of HTTP, of TLS records around them, and of the headers of a few segments.
    assert!((150..2_000).contains(&received) && (150..2_000).contains(&sent), "{received} {sent}");
}

#[tokio::test]
async fn what_a_shard_has_read_already_goes_first() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let (mut visitor, mut browser) = house.visitor().await;
    visitor.early = b"GET".to_vec();
    browser.write_all(b" /").unwrap();
    assert!(house.door.try_admit(visitor).is_ok());
    let (_, mut stream) = accept(&listener).await;
    let mut request = [0; 5];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(&request, b"GET /");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_visitors_send_and_receive_much_at_once() {
    const VISITORS: usize = 32;
    const LEN: usize = 512 * 1024;
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let echo = tokio::spawn(async move {
        loop {
            let (_, stream) = accept(&listener).await;
            tokio::spawn(async move {
                let (mut from, mut to) = stream.into_split();
                tokio::io::copy(&mut from, &mut to).await.unwrap();
            });
        }
    });
    let mut browsers = Vec::new();
    for _ in 0..VISITORS {
        let mut browser = house.visit().await;
        browsers.push(spawn_blocking(move || {
            let sent = pattern(LEN);
            let mut received = Vec::new();
            // Ahead of the reading by as much as the buffers between hold at most.
            for piece in sent.chunks(64 * 1024) {
                browser.write_all(piece).unwrap();
                let start = received.len();
                received.resize(start + piece.len(), 0);
                browser.read_exact(&mut received[start..]).unwrap();
            }
            browser.conn.send_close_notify();
            browser.conn.complete_io(&mut browser.sock).unwrap();
            assert_eq!(browser.read(&mut [0]).unwrap(), 0, "a clean end");
            assert!(received == sent);
        }));
    }
    for browser in browsers {
        browser.await.unwrap();
    }
    assert_eq!(house.outcome().await, Outcome::Closed);
    assert_eq!(house.door.ledger().count(Outcome::Closed), VISITORS as u64);
    echo.abort();
}

#[tokio::test]
async fn without_signaling_a_visitor_reads_503_and_the_next_one_is_served() {
    let house = House::open(ROOMY);
    for left_behind in [false, true] {
        if left_behind {
            drop(house.signaling());
        }
        let mut browser = house.visit().await;
        let answer = spawn_blocking(move || {
            browser.write_all(b"GET / HTTP/1.1\r\nHost: turn.example.org\r\n\r\n").unwrap();
            let mut answer = String::new();
            browser.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(head.contains("\r\nRetry-After: 5\r\n") && head.contains("\r\nConnection: close\r\n"));
        assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())), "{answer}");
        assert_eq!(house.outcome().await, Outcome::Unavailable);
    }
    std::fs::remove_file(house.socket()).unwrap();
    let listener = house.signaling();
    let mut browser = house.visit().await;
    browser.write_all(b"x").unwrap();
    let (_, mut stream) = accept(&listener).await;
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_visitor_that_breaks_off_is_lost_and_signaling_hears_the_end() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let mut browser = house.visit().await;
    browser.write_all(b"half a requ").unwrap();
    let (_, mut stream) = accept(&listener).await;
    browser.sock.shutdown(Shutdown::Both).unwrap();
    let mut request = Vec::new();
    stream.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"half a requ");
    assert_eq!(house.outcome().await, Outcome::Lost);
}

#[tokio::test]
async fn what_is_no_tls_is_lost() {
    let house = House::open(ROOMY);
    let _listener = house.signaling();
    let (visitor, browser) = house.visitor().await;
    let mut socket = browser.sock;
    assert!(house.door.try_admit(visitor).is_ok());
    socket.write_all(&[0x17, 3, 3, 0, 32]).and_then(|()| socket.write_all(&[0; 32])).unwrap();
    assert_eq!(house.outcome().await, Outcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_visitor_without_a_word_is_sent_off_and_signaling_is_not_troubled() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let mut browser = house.visit().await;
    assert_eq!(house.outcome().await, Outcome::Silent);
    assert!(browser.read(&mut [0]).is_err(), "an end without a word");
    let connected = tokio::time::timeout(Duration::from_secs(1), listener.accept()).await;
    assert!(connected.is_err(), "nobody has connected to signaling");
}

#[tokio::test(start_paused = true)]
async fn a_visit_lives_as_long_as_something_goes_either_way() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let (mut visitor, mut browser) = house.visitor().await;
    visitor.early = b"x".to_vec();
    assert!(house.door.try_admit(visitor).is_ok());
    let (_, mut stream) = accept(&listener).await;
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        stream.write_all(b"ping").await.unwrap();
        let mut ping = [0; 4];
        browser = spawn_blocking(move || {
            browser.read_exact(&mut ping).unwrap();
            browser
        })
        .await
        .unwrap();
    }
    assert_eq!(house.outcome().await, Outcome::Idle);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_held_little_and_then_cut_off() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let (mut visitor, browser) = house.visitor().await;
    visitor.early = b"x".to_vec();
    assert!(house.door.try_admit(visitor).is_ok());
    let (_, mut stream) = accept(&listener).await;
    let started = tokio::time::Instant::now();
    let mut taken = 0;
    let piece = vec![0; 64 * 1024];
    while let Ok(written) = stream.write(&piece).await {
        taken += written;
        assert!(taken < 32 << 20, "the kernel's buffers end somewhere");
    }
    assert_eq!(house.outcome().await, Outcome::Stalled);
    assert!(started.elapsed() >= Duration::from_secs(30));
    drop(browser);
}

#[tokio::test(start_paused = true)]
async fn signaling_that_does_not_read_holds_its_visitor_up() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let (mut visitor, mut browser) = house.visitor().await;
    visitor.early = b"x".to_vec();
    assert!(house.door.try_admit(visitor).is_ok());
    let (_, stream) = accept(&listener).await;
    let fill = move || {
        browser.sock.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut sent = 0;
        loop {
            browser.conn.writer().write_all(&[0; 16 * 1024]).unwrap();
            while browser.conn.wants_write() {
                match browser.conn.write_tls(&mut browser.sock) {
                    Ok(written) => sent += written,
                    Err(_) => return browser,
                }
            }
            assert!(sent < 32 << 20, "the kernel's buffers end somewhere");
        }
    };
    let _browser = spawn_blocking(fill).await.unwrap();
    assert_eq!(house.door.visitors(), 1);
    assert_eq!(house.outcome().await, Outcome::Idle);
    drop(stream);
}

#[tokio::test]
async fn who_finds_no_place_is_given_back_and_counted() {
    let house = House::open(Limits { visitors: 2, visitors_per_source: 1 });
    let _inside = house.visit().await;
    let (second, _browser) = house.visitor().await;
    let (client, refused) = (second.client, house.door.try_admit(second).err().unwrap());
    assert_eq!(refused.client, client);
    assert_eq!(house.door.ledger().count(Outcome::AddressFull), 1);

    let (mut elsewhere, _browser) = house.visitor().await;
    elsewhere.client = "198.51.100.1:1".parse().unwrap();
    assert!(house.door.try_admit(elsewhere).is_ok());
    let (mut third, _browser) = house.visitor().await;
    third.client = "198.51.100.2:1".parse().unwrap();
    assert!(house.door.try_admit(third).is_err());
    assert_eq!(house.door.ledger().count(Outcome::Full), 1);
    assert_eq!(house.door.visitors(), 2);
}

#[tokio::test]
async fn visitors_leave_with_their_reception() {
    let house = House::open(ROOMY);
    let listener = house.signaling();
    let mut browser = house.visit().await;
    browser.write_all(b"x").unwrap();
    let (_, mut stream) = accept(&listener).await;
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    house.serving.abort();
    let ended: io::Result<usize> = stream.read(&mut [0]).await;
    assert_eq!(ended.unwrap(), 0);
    tokio::time::timeout(PATIENCE, house.door.until_empty()).await.unwrap();
    let (late, _browser) = house.visitor().await;
    assert!(house.door.try_admit(late).is_err());
    assert_eq!(house.door.ledger().count(Outcome::QueueFull), 1);
}
