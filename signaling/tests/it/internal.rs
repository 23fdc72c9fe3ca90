//! What the relay hands over by the internal socket.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};
use turnpike_relay_api::proxy::Ends;

use crate::{
    client::{Server, http, http_over},
    session::SOON,
};

const HOST: &str = "turn.example.org";

async fn start(trusted: &[&str]) -> Server {
    Server::start_as(|config, folder| {
        config.signaling.internal_socket = Some(folder.join("run/signaling.sock"));
        config.signaling.trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        config.mint.anonymous = true;
        config.mint.per_ip_per_minute = 1;
        config.metrics.signaling_listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await
}

/// One request of a client behind the relay.
async fn ask(server: &Server, client: &str, path: &str, headers: &[&str]) -> (u16, Value) {
    let mut stream = UnixStream::connect(server.internal.as_ref().unwrap()).await.unwrap();
    let ends = Ends { client: client.parse().unwrap(), server: "198.18.0.1:443".parse().unwrap() };
    stream.write_all(&ends.encode()).await.unwrap();
    http_over(stream, HOST, "GET", path, headers, "").await
}

#[tokio::test]
async fn limits_go_by_the_client_that_the_relay_names_and_not_by_what_it_says_of_itself() {
    let server = start(&["192.0.2.9/32"]).await;
    for (client, headers, status) in [
        ("198.51.100.1:1", &[][..], 200),
        ("198.51.100.1:2", &[], 429),
        ("198.51.100.2:1", &[], 200),
        ("198.51.100.2:1", &["x-forwarded-for: 198.51.100.3"], 429),
        ("192.0.2.9:1", &["x-forwarded-for: 198.51.100.1"], 429),
        ("192.0.2.9:1", &["x-forwarded-for: 198.51.100.4"], 200),
        ("[::ffff:198.51.100.1]:1", &[], 429),
        ("[2001:db8::1]:1", &[], 200),
        ("[2001:db8::2]:1", &[], 429),
    ] {
        let answer = ask(&server, client, "/v1/ice", headers).await;
        assert_eq!(answer.0, status, "{client} {headers:?}: {}", answer.1);
    }
    let direct = http(&server, "GET", "/v1/ice", &[], "").await;
    assert_eq!(direct.0, 200, "the listener for plain HTTP takes no header and has its own addresses");
}

#[tokio::test]
async fn a_socket_over_https_is_for_a_page_over_https() {
    let server = start(&[]).await;
    let path = "/socket.io/?EIO=4&transport=websocket";
    let origin = |scheme: &str| format!("origin: {scheme}://{HOST}");
    let plain = ask(&server, "198.51.100.1:1", path, &[&origin("http")]).await;
    assert_eq!((plain.0, &plain.1["code"]), (403, &json!("origin_not_allowed")));
    let secure = ask(&server, "198.51.100.1:1", path, &[&origin("https")]).await;
    assert_ne!(secure.1["code"], json!("origin_not_allowed"), "it only lacks the upgrade");
}

#[tokio::test]
async fn a_connection_without_a_header_is_closed_and_counted() {
    let server = start(&[]).await;
    let mut stream = UnixStream::connect(server.internal.as_ref().unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The rest of its request was not read, so that the end may be a reset.
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"");
    let text = server.metrics().await;
    let line = "turnpike_internal_connections_refused_total{reason=\"malformed\"} 1";
    assert!(text.lines().any(|said| said == line), "{text}");
}
