//! A server of the test's own, and clients that speak Engine.IO 4 and Socket.IO 5.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use tokio_util::sync::{CancellationToken, DropGuard};
use turnpike_signaling::Signaling;

pub const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
pub const KEY: &str = "an-api-key-of-thirty-two-bytes-or-more";
const SOON: Duration = Duration::from_secs(5);

pub struct Server {
    pub address: String,
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("turnpike.toml");
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        std::fs::write(folder.path().join("keys"), KEY).unwrap();
        let at = folder.path().display();
        let text = format!(
            r#"
            [node]
            public_ipv4 = "127.0.0.1"
            allow_private_address = true
            state_dir = "{at}"
            [auth]
            secret_file = "{at}/secret"
            api_keys_file = "{at}/keys"
            [relay]
            drain_timeout = "0s"
            [ice]
            urls = ["stun:198.18.0.1:3478", "turn:198.18.0.1:3478?transport=udp"]
            [signaling]
            listen = ["127.0.0.1:65535"]
            accept_within = "1s"
            [metrics]
            relay_listen = ""
            signaling_listen = ""
            "#
        );
        std::fs::write(&file, text).unwrap();
        let request = turnpike_config::Request {
            file: Some(file),
            this_machine: false,
            missing_secret: turnpike_config::MissingSecret::Refuse,
        };
        let loaded = turnpike_config::load(&request, &turnpike_config::Host::detect());
        let mut config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
        config.signaling.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let signaling = Signaling::bind(&config).await.unwrap();
        let address = signaling.listening().http[0].to_string();
        let stop = CancellationToken::new();
        tokio::spawn(signaling.serve(CancellationToken::new(), stop.clone()));
        Self { address, _stop: stop.drop_guard(), _folder: folder }
    }

    pub async fn connect(&self) -> Client {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", self.address);
        let (stream, _) = connect_async(url).await.unwrap();
        let mut client = Client {
            stream,
            session: String::new(),
            token: String::new(),
            last_seq: 0,
            next_ack: 0,
            events: VecDeque::new(),
        };
        client.write(r#"40{"v":1}"#.to_owned()).await;
        let hello = client.event("hello").await;
        assert_eq!(hello["ice"]["iceServers"].as_array().unwrap().len(), 1, "STUN only");
        client.session = hello["session"].as_str().unwrap().to_owned();
        client.token = hello["token"].as_str().unwrap().to_owned();
        client
    }
}

pub struct Client {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub session: String,
    pub token: String,
    last_seq: u64,
    next_ack: u64,
    events: VecDeque<(String, Value)>,
}

impl Client {
    /// Sends an event without waiting for its answer.
    pub async fn send(&mut self, event: &str, payload: Value) -> u64 {
        self.next_ack += 1;
        self.write(format!("42{}{}", self.next_ack, json!([event, payload]))).await;
        self.next_ack
    }

    pub async fn ask(&mut self, event: &str, payload: Value) -> Value {
        let id = self.send(event, payload).await;
        let prefix = format!("43{id}[");
        loop {
            let text = self.read().await;
            if text.starts_with(&prefix) {
                let answers: Vec<Value> = serde_json::from_str(&text[prefix.len() - 1..]).unwrap();
                return answers[0].clone();
            }
        }
    }

    /// The next event of this name; those before it are passed over.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            while let Some((event, payload)) = self.events.pop_front() {
                if event == name {
                    return payload;
                }
            }
            self.read().await;
        }
    }

    async fn write(&mut self, text: String) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Reads one message; events are kept, and numbered without a gap.
    async fn read(&mut self) -> String {
        let message = timeout(SOON, self.stream.next()).await.expect("something comes").unwrap().unwrap();
        let text = message.into_text().unwrap().to_string();
        if text == "2" {
            self.write("3".to_owned()).await;
        }
        if let Some(event) = text.strip_prefix("42") {
            let (name, payload): (String, Value) = serde_json::from_str(event).unwrap();
            self.last_seq += 1;
            assert_eq!(payload["seq"], self.last_seq, "{text}");
            self.events.push_back((name, payload));
        }
        text
    }
}

/// One request; its status and its JSON.
pub async fn http(server: &Server, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", server.address);
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
