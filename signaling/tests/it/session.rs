//! A client that speaks Engine.IO 4 and Socket.IO 5.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Longer than anything takes that does not hang.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Client {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub session: String,
    pub token: String,
    last_seq: u64,
    next_ack: u64,
    events: VecDeque<(String, Value)>,
}

impl Client {
    /// Connects to a server and is greeted.
    pub async fn connect(address: &str) -> Self {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (stream, _) = connect_async(url).await.unwrap();
        let mut client = Self {
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
