//! HTTPS and TURN over TLS on one port: the whole product, by one process and by two.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};
use turnpike_turn_client::{
    AllocateOptions, Allocation, Connection, Credentials, Endpoint, TlsClient, Transport, Writer, method,
};

use crate::{
    authority::DOMAIN,
    http,
    node::{Node, SECRET, Site, in_an_hour},
};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A site with TLS and lines of TOML behind its configuration.
fn site(sections: &str) -> Site {
    let site =
        Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]\ndrain_timeout = \"0s\"").with_tls();
    let config = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), format!("{config}\n{sections}\n")).unwrap();
    site
}

fn node() -> Node {
    site("").start("run")
}

/// A TLS connection from an address of this machine, by a client that trusts the site's authority alone.
fn connect_from(site: &Site, from: IpAddr, alpn: &[&str]) -> Tls {
    let pem = fs::read(site.authority_file()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&site.tls.unwrap().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(DOMAIN).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tls = StreamOwned::new(connection, TcpStream::from(socket));
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).unwrap();
    }
    tls
}

pub(crate) fn connect(site: &Site, alpn: &[&str]) -> Tls {
    connect_from(site, Ipv4Addr::LOCALHOST.into(), alpn)
}

/// The whole answer to a request for a path.
fn get(mut tls: Tls, path: &str) -> String {
    write!(tls, "GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    // Without a close_notify this were an error.
    tls.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Whether a Binding request is answered.
fn binds(mut tls: Tls) -> bool {
    tls.write_all(Writer::request(method::BINDING).bytes()).unwrap();
    let mut answer = [0; 32];
    tls.read_exact(&mut answer).is_ok() && answer[..2] == [1, 1]
}

pub(crate) fn allocate(site: &Site, subject: &str) -> Allocation {
    let pem = fs::read(site.authority_file()).unwrap();
    let tls = TlsClient::trusting(&mut &pem[..], DOMAIN).unwrap();
    let endpoint =
        Endpoint { server: site.tls.unwrap(), transport: Transport::Tls, tls: Some(tls), bind: None };
    let credentials = Credentials::mint(SECRET.as_bytes(), in_an_hour(), subject);
    let connection = Connection::open(&endpoint).unwrap();
    Allocation::open(connection, credentials, None, &AllocateOptions::default()).unwrap()
}

/// A Socket.IO client that has been greeted.
fn socket(site: &Site) -> WebSocket<Tls> {
    let url = format!("wss://{DOMAIN}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = tungstenite::client(url, connect(site, &["http/1.1"])).unwrap();
    assert!(text(&mut socket).starts_with("0{"), "Engine.IO opens");
    socket.send(Message::text(r#"40{"v":1}"#)).unwrap();
    assert!(text(&mut socket).starts_with("40{"), "Socket.IO connects");
    assert!(text(&mut socket).starts_with(r#"42["hello",{"#), "signaling greets");
    socket
}

/// The next message that is no ping.
fn text(socket: &mut WebSocket<Tls>) -> String {
    loop {
        match socket.read().unwrap() {
            Message::Text(ping) if ping.as_str() == "2" => socket.send(Message::text("3")).unwrap(),
            Message::Text(text) => return text.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_page_and_turn_are_told_apart_by_protocol_or_by_first_bytes() {
    let node = node();
    let page = format!("https://{DOMAIN}:{}/", node.site.tls.unwrap().port());
    assert_eq!(node.ready["page"], page);
    assert_eq!(node.ready["tls"], node.site.tls.unwrap().to_string());

    for alpn in [&["http/1.1"][..], &["h2", "http/1.1"], &[]] {
        let answer = get(connect(&node.site, alpn), "/");
        assert_eq!(status(&answer), 200, "{alpn:?}");
        assert!(answer.contains("<html"), "{alpn:?}: {answer}");
    }
    for alpn in [&["stun.turn"][..], &["http/1.1", "stun.turn"], &[]] {
        assert!(binds(connect(&node.site, alpn)), "{alpn:?}");
    }

    let mut in_bytes = connect(&node.site, &[]);
    for byte in b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" {
        in_bytes.write_all(&[*byte]).unwrap();
        in_bytes.flush().unwrap();
    }
    let mut answer = String::new();
    in_bytes.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 200, "however the request comes");

    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut allocation = allocate(&node.site, "alice");
    let address = peer.local_addr().unwrap();
    allocation.bind(address).unwrap();
    allocation.send(address, b"over TLS").unwrap();
    let mut buffer = [0; 64];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"over TLS"[..], allocation.relayed()));
}

#[test]
fn signaling_limits_visitors_by_their_own_addresses() {
    let site = site("[mint]\nanonymous = true\nper_ip_per_minute = 2");
    let node = site.start("run");
    for host in [2, 3] {
        let from = IpAddr::from([127, 0, 0, host]);
        let codes = [(); 3].map(|()| status(&get(connect_from(&node.site, from, &["http/1.1"]), "/v1/ice")));
        assert_eq!(codes, [200, 200, 429], "{from}");
    }
}

#[test]
fn a_browser_is_given_turn_over_tls_with_the_rest() {
    let node = site("[mint]\nanonymous = true").start("run");
    let answer = get(connect(&node.site, &["http/1.1"]), "/v1/ice");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let ice: serde_json::Value = serde_json::from_str(body).unwrap();
    let port = node.site.turn.port();
    let urls = [
        format!("turn:{DOMAIN}:{port}?transport=udp"),
        format!("turn:{DOMAIN}:{port}?transport=tcp"),
        format!("turns:{DOMAIN}:{}?transport=tcp", node.site.tls.unwrap().port()),
    ];
    assert_eq!(ice["iceServers"][0]["urls"], serde_json::json!([format!("stun:{DOMAIN}:{port}")]));
    assert_eq!(ice["iceServers"][1]["urls"], serde_json::json!(urls));
}

#[test]
fn a_new_certificate_is_served_and_calls_and_sockets_go_on() {
    let node = node();
    let certificate = |tls: &Tls| tls.conn.peer_certificates().unwrap()[0].to_vec();
    let first = certificate(&connect(&node.site, &[]));
    let mut allocation = allocate(&node.site, "alice");
    let mut socket = socket(&node.site);

    node.site.renew_certificate();
    node.log.wait_for_start("new TLS certificate taken");
    assert_ne!(certificate(&connect(&node.site, &[])), first);
    allocation.refresh(None).unwrap();
    socket.send(Message::text(r#"421["queue.leave",{}]"#)).unwrap();
    assert!(text(&mut socket).starts_with("431["));

    let samples = http::get(node.site.relay_metrics, "/metrics");
    assert!(
        samples.lines().any(|line| line == "turnpike_client_connections{transport=\"https\"} 1"),
        "{samples}"
    );
    assert!(samples.lines().any(|line| line == "turnpike_config_last_reload_success 1"), "{samples}");
}

#[test]
fn by_two_processes_visitors_read_503_while_signaling_is_away() {
    let relay = site("").start("relay");
    let away = get(connect(&relay.site, &["http/1.1"]), "/");
    assert_eq!(status(&away), 503, "{away}");
    assert!(away.contains("\r\nRetry-After: "), "{away}");
    let warning = relay.log.wait_for_start("signaling cannot be reached");
    assert_eq!(warning["code"], "signaling_unavailable");
    let mut allocation = allocate(&relay.site, "alice");

    let signaling = relay.site.start_beside("signaling");
    assert_eq!(status(&get(connect(&relay.site, &["http/1.1"]), "/")), 200);
    let mut live = socket(&relay.site);
    drop(signaling);
    // A visitor hears the end of signaling, behind what it has said before.
    while live.read().is_ok() {}
    assert_eq!(
        status(&get(connect(&relay.site, &["http/1.1"]), "/")),
        503,
        "a killed one leaves its socket behind"
    );
    allocation.refresh(None).unwrap();

    let _signaling = relay.site.start_beside("signaling");
    assert_eq!(status(&get(connect(&relay.site, &["http/1.1"]), "/")), 200);
    socket(&relay.site);
}

#[test]
fn a_draining_node_without_calls_ends_its_visitors_and_then_itself() {
    let mut node = Site::new(Ipv4Addr::LOCALHOST, "drain_timeout = \"1h\"").with_tls().start("run");
    let mut live = socket(&node.site);
    node.terminate();
    assert!(text(&mut live).contains(r#""kind":"draining""#), "signaling says goodbye itself");
    let mut goodbyes = Vec::new();
    let last = loop {
        match live.read() {
            Ok(Message::Text(text)) => goodbyes.push(text.to_string()),
            last => break last,
        }
    };
    // After "41", a namespace that the server has closed, clients do not come again by themselves. "2" is a ping.
    goodbyes.retain(|packet| packet != "2");
    assert_eq!(goodbyes, ["1"], "Engine.IO closes");
    assert!(matches!(last, Ok(Message::Close(_))), "{last:?}");
    assert!(node.exit(PATIENCE).success());
}
