//! One stranger: a socket that speaks Engine.IO 4 and Socket.IO 5 over a WebSocket.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// A crowd has many sockets, and its messages are small.
const BUFFER: usize = 4096;

/// Connected and greeted.
pub struct Stranger {
    stream: WebSocketStream<TcpStream>,
    /// What it needs to go on with its session by another socket.
    pub session: Session,
    next_ack: u64,
    next_signal: u64,
}

/// A session, whether it has a socket or not.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its public id.
    pub id: String,
    resume: String,
    last_seq: u64,
}

/// An event of the server.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What it carries.
    pub payload: Value,
}

impl Event {
    /// A member of the payload that is text; empty where it is not.
    pub fn text(&self, member: &str) -> &str {
        self.payload[member].as_str().unwrap_or_default()
    }
}

impl Stranger {
    /// Connects from `source` and waits for the greeting.
    ///
    /// # Errors
    /// When the server refuses it, or speaks otherwise than the contract.
    pub async fn connect(server: SocketAddr, source: IpAddr) -> anyhow::Result<Self> {
        let mut stranger = Self::open(server, source, &json!({"v": 1})).await?;
        let hello = stranger.event_of("hello").await?;
        stranger.session.id = hello.text("session").to_owned();
        stranger.session.resume = hello.text("resume").to_owned();
        Ok(stranger)
    }

    /// Goes on with a session by a new socket; what the server says of it.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not know the session any more.
    pub async fn resume(
        server: SocketAddr,
        source: IpAddr,
        session: &Session,
    ) -> anyhow::Result<(Self, Event)> {
        let auth = json!({"v": 1, "resume": {"id": session.resume, "lastSeq": session.last_seq}});
        let mut stranger = Self::open(server, source, &auth).await?;
        stranger.session = session.clone();
        let resumed = stranger.event().await?;
        if resumed.name != "session.resumed" {
            bail!("the session is not known any more: {} came", resumed.name);
        }
        Ok((stranger, resumed))
    }

    async fn open(server: SocketAddr, source: IpAddr, auth: &Value) -> anyhow::Result<Self> {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket
            .bind(SocketAddr::new(source, 0))
            .with_context(|| format!("{source} is not of this machine"))?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(0);
        let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await?;
        let session = Session { id: String::new(), resume: String::new(), last_seq: 0 };
        let mut stranger = Self { stream, session, next_ack: 0, next_signal: 1 };
        stranger.write(format!("40{auth}")).await?;
        Ok(stranger)
    }

    /// Sends an event; its acknowledgement is looked at by [`Self::event`], which fails where it refuses.
    ///
    /// # Errors
    /// When the socket is gone.
    pub async fn send(&mut self, name: &str, payload: Value) -> anyhow::Result<()> {
        self.next_ack += 1;
        self.write(format!("42{}{}", self.next_ack, json!([name, payload]))).await
    }

    /// Sends a step of the negotiation, numbered.
    ///
    /// # Errors
    /// When the socket is gone.
    pub async fn signal(&mut self, mut payload: Value) -> anyhow::Result<()> {
        payload["seq"] = self.next_signal.into();
        self.next_signal += 1;
        self.send("signal", payload).await
    }

    /// The next event. Pings are answered on the way. Safe to cancel.
    ///
    /// # Errors
    /// When the socket ends, an event is refused, or the numbers of the events have a gap.
    pub async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            let message = self.stream.next().await.context("the server has closed the socket")??;
            let Message::Text(text) = message else { continue };
            let text = text.as_str();
            if text == "2" {
                self.write("3".to_owned()).await?;
            } else if let Some(event) = text.strip_prefix("42") {
                let (name, payload): (String, Value) = serde_json::from_str(event)?;
                if name != "session.resumed" {
                    self.session.last_seq += 1;
                    if payload["seq"] != self.session.last_seq {
                        bail!("{name} has seq {}, expected {}", payload["seq"], self.session.last_seq);
                    }
                }
                return Ok(Event { name, payload });
            } else if text.starts_with("43") && text.contains("\"ok\":false") {
                bail!("refused: {text}");
            } else if text.starts_with("44") {
                bail!("not admitted: {text}");
            }
        }
    }

    /// The next event of this name; others are passed over.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub async fn event_of(&mut self, name: &str) -> anyhow::Result<Event> {
        loop {
            let event = self.event().await?;
            if event.name == name {
                return Ok(event);
            }
        }
    }

    async fn write(&mut self, text: String) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::text(text)).await?)
    }
}
