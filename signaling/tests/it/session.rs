//! A client that speaks Engine.IO 4 and Socket.IO 5. It answers pings whatever a test is doing, as clients do.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tokio_util::task::AbortOnDropHandle;

/// Longer than anything takes that does not hang.
pub const SOON: Duration = Duration::from_secs(20);

type Sink = SplitSink<WebSocketStream<MaybeTlsStream<TcpStream>>, Message>;

pub struct Client {
    sink: Arc<Mutex<Sink>>,
    /// What comes, until the socket is closed.
    incoming: mpsc::UnboundedReceiver<String>,
    _reading: AbortOnDropHandle<()>,
    pub session: String,
    pub token: String,
    pub resume: String,
    pub last_seq: u64,
    next_ack: u64,
    events: VecDeque<(String, Value)>,
}

/// What a client knows of a session whose socket is gone.
#[derive(Clone)]
pub struct Lost {
    pub session: String,
    pub resume: String,
    pub last_seq: u64,
}

impl Client {
    /// Connects to a server and is greeted.
    pub async fn connect(address: &str) -> Self {
        let mut client = Self::open(address, &json!({"v": 1})).await;
        let hello = client.event("hello").await;
        assert_eq!(hello["ice"]["iceServers"].as_array().unwrap().len(), 1, "STUN only");
        client.greeted(&hello);
        client
    }

    /// A socket that says this in its CONNECT.
    pub async fn open(address: &str, auth: &Value) -> Self {
        Self::open_from(address, auth, None).await
    }

    /// The same behind a proxy that has this to say of the client's address.
    pub async fn open_from(address: &str, auth: &Value, forwarded: Option<&str>) -> Self {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let mut request = url.into_client_request().unwrap();
        if let Some(forwarded) = forwarded {
            request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        }
        let (stream, _) = connect_async(request).await.unwrap();
        let (sink, mut stream) = stream.split();
        let (sink, (came, incoming)) = (Arc::new(Mutex::new(sink)), mpsc::unbounded_channel());
        let answers = Arc::clone(&sink);
        let reading = tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                let Message::Text(text) = message else { continue };
                if text.as_str() == "2" {
                    // To a socket that has just been closed there is nothing to answer.
                    let _ = answers.lock().await.send(Message::text("3")).await;
                } else if came.send(text.to_string()).is_err() {
                    return;
                }
            }
        });
        let mut client = Self {
            sink,
            incoming,
            _reading: AbortOnDropHandle::new(reading),
            session: String::new(),
            token: String::new(),
            resume: String::new(),
            last_seq: 0,
            next_ack: 0,
            events: VecDeque::new(),
        };
        client.write(format!("40{auth}")).await;
        client
    }

    /// Goes on with a session by another socket; what the server said of it.
    pub async fn take_over(address: &str, before: &Lost) -> (Self, Value) {
        let resume = json!({"v": 1, "resume": {"id": before.resume, "lastSeq": before.last_seq}});
        let mut client = Self::open(address, &resume).await;
        client.last_seq = before.last_seq;
        client.session.clone_from(&before.session);
        client.resume.clone_from(&before.resume);
        let resumed = client.event("session.resumed").await;
        (client, resumed)
    }

    /// The socket is closed without a word; what is needed to go on.
    pub fn lose(self) -> Lost {
        self.state()
    }

    pub fn state(&self) -> Lost {
        Lost { session: self.session.clone(), resume: self.resume.clone(), last_seq: self.last_seq }
    }

    pub fn greeted(&mut self, hello: &Value) {
        self.session = hello["session"].as_str().unwrap().to_owned();
        self.token = hello["token"].as_str().unwrap().to_owned();
        self.resume = hello["resume"].as_str().unwrap().to_owned();
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
        let answered = async {
            loop {
                let text = self.read().await;
                if text.starts_with(&prefix) {
                    let answers: Vec<Value> = serde_json::from_str(&text[prefix.len() - 1..]).unwrap();
                    return answers[0].clone();
                }
            }
        };
        // Pings alone come for ever.
        timeout(SOON, answered).await.unwrap_or_else(|_| panic!("no answer to {event}"))
    }

    /// The next event of this name; those before it are passed over.
    pub async fn event(&mut self, name: &str) -> Value {
        let coming = async {
            loop {
                while let Some((event, payload)) = self.events.pop_front() {
                    if event == name {
                        return payload;
                    }
                }
                self.read().await;
            }
        };
        timeout(SOON, coming).await.unwrap_or_else(|_| panic!("no {name}"))
    }

    /// The next event, whatever it is.
    pub async fn next(&mut self) -> (String, Value) {
        while self.events.is_empty() {
            self.read().await;
        }
        self.events.pop_front().unwrap()
    }

    async fn write(&mut self, text: String) {
        self.sink.lock().await.send(Message::text(text)).await.unwrap();
    }

    /// The first packet of Socket.IO.
    pub async fn first(&mut self) -> String {
        loop {
            let text = self.read().await;
            if text.starts_with('4') {
                return text;
            }
        }
    }

    /// Waits until the server has closed the socket.
    pub async fn closed(mut self) {
        let closing = async { while self.incoming.recv().await.is_some() {} };
        timeout(SOON, closing).await.expect("the server closes the socket");
    }

    /// Reads one message; events are kept, and numbered without a gap.
    async fn read(&mut self) -> String {
        let text = timeout(SOON, self.incoming.recv()).await.expect("something comes").expect("it is open");
        if let Some(event) = text.strip_prefix("42") {
            let (name, payload): (String, Value) = serde_json::from_str(event).unwrap();
            self.last_seq += u64::from(name != "session.resumed");
            assert_eq!(payload["seq"], self.last_seq, "{text}");
            self.events.push_back((name, payload));
        }
        text
    }
}
