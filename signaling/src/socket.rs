//! The Socket.IO side: one owner task a session takes its events one after another.
//!
//! The library runs handlers as tasks of their own, in which a candidate could overtake its offer. What it runs in order
//! is the part of a handler in front of its future: there the event is put into the session's queue.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde_json::Value;
use socketioxide::{
    SocketIo, TransportType,
    extract::{AckSender, Event, SocketRef, TryData},
    handler::ConnectHandler as _,
    layer::SocketIoLayer,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use turnpike_config::Config;
use turnpike_matching::Id;

use crate::{
    client_address::ClientAddress,
    contract::{Ack, ClientEvent, Connect, ErrorCode, MAX_MESSAGE_BYTES, Resume},
    http::Connection,
    hub::{Attached, Hub, Outlet},
    metrics::Metrics,
    moderation::{Person, device_of},
};

/// The version of the contract.
const VERSION: u64 = 1;
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(5);
/// A socket that does not ask for its namespace within this time is closed.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Packets that wait for a slow client; then it is cut off.
const OUT_BUFFER: usize = 256;
/// Events of one client that wait for their turn; then it is cut off.
const INBOX: usize = 128;
/// A client that is cut off reads its last words within this time.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A client that sends nonsense so often is cut off.
const STRIKES: u32 = 3;

/// An event of a client as it came.
struct Received {
    name: String,
    payload: Option<Value>,
    ack: AckSender,
}

/// A socket that has asked for its namespace.
struct Opened {
    socket: SocketRef,
    source: IpAddr,
    device: Option<Id>,
    connection: Connection,
    received: mpsc::Receiver<Received>,
    closed: CancellationToken,
    /// Cancelled to have the client cut off.
    cut_off: CancellationToken,
}

/// How a socket's part in its session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Another socket may go on with the session.
    Lost,
    /// Nobody waits for it any more.
    Over,
}

/// What every socket needs.
struct Service {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
}

/// Makes the layer that serves the Socket.IO path.
pub(crate) fn layer(config: &Config, hub: Arc<Hub>, metrics: Arc<Metrics>) -> (SocketIoLayer, SocketIo) {
    let builder = SocketIo::builder()
        .req_path(config.signaling.path.clone())
        .ping_interval(PING_EVERY)
        .ping_timeout(PONG_WITHIN)
        .connect_timeout(CONNECT_WITHIN)
        .max_buffer_size(OUT_BUFFER)
        .max_payload(MAX_MESSAGE_BYTES as u64)
        .ws_max_message_size(MAX_MESSAGE_BYTES)
        .ws_max_frame_size(MAX_MESSAGE_BYTES);
    let builder = match config.signaling.polling {
        true => builder.transports([TransportType::Polling, TransportType::Websocket]),
        false => builder.transports([TransportType::Websocket]),
    };
    let (layer, io) = builder.build_layer();
    let service = Arc::new(Service { hub, metrics });
    let greeter = Arc::clone(&service);
    let connect = move |socket: SocketRef, auth: TryData<Value>| {
        greeter.connected(socket, auth.0.ok());
        std::future::ready(())
    };
    let doorkeeper = move |socket: SocketRef, auth: TryData<Value>| {
        let source = socket.req_parts().extensions.get::<ClientAddress>().copied();
        let admitted = service.admit(auth.0.ok(), source);
        std::future::ready(admitted)
    };
    io.ns("/", connect.with(doorkeeper));
    (layer, io)
}

impl Service {
    /// Checks the auth object of CONNECT.
    fn admit(&self, auth: Option<Value>, source: Option<ClientAddress>) -> Result<(), ErrorCode> {
        let admitted = match auth.map(serde_json::from_value::<Connect>) {
            // Who is in a call goes on with it to its end.
            Some(Ok(Connect { v: VERSION, resume: None, .. })) if self.hub.is_draining() => {
                Err(ErrorCode::Draining)
            }
            Some(Ok(Connect { v: VERSION, device, .. })) => {
                let device = device.map(|token| device_of(token.0));
                let person = source.map(|ClientAddress(address)| Person::new(device, address));
                match person.is_some_and(|person| self.hub.is_banned(&person)) {
                    true => Err(ErrorCode::Banned),
                    false => Ok(()),
                }
            }
            Some(Ok(_)) => Err(ErrorCode::UnsupportedVersion),
            Some(Err(_)) | None => Err(ErrorCode::BadRequest),
        };
        admitted.inspect_err(|code| self.refused(*code))
    }

    fn connected(self: &Arc<Self>, socket: SocketRef, auth: Option<Value>) {
        let (closed, cut_off) = (CancellationToken::new(), CancellationToken::new());
        let (inbox, received) = mpsc::channel(INBOX);
        let auth = auth.and_then(|auth| serde_json::from_value::<Connect>(auth).ok());
        let device = auth.as_ref().and_then(|auth| auth.device).map(|token| device_of(token.0));
        let resume = auth.and_then(|auth| auth.resume);
        let extensions = &socket.req_parts().extensions;
        let (Some(ClientAddress(source)), Some(connection)) =
            (extensions.get().copied(), extensions.get::<Connection>().cloned())
        else {
            let _ = socket.disconnect();
            return;
        };
        // Before the greeting: what answers it must find its way.
        let full = cut_off.clone();
        socket.on_fallback(move |Event(name): Event, TryData(payload): TryData<Value>, ack: AckSender| {
            if inbox.try_send(Received { name, payload: payload.ok(), ack }).is_err() {
                full.cancel();
            }
            std::future::ready(())
        });
        let ended = closed.clone();
        socket.on_disconnect(move || {
            ended.cancel();
            std::future::ready(())
        });
        let opened = Opened { socket, source, device, connection, received, closed, cut_off };
        match resume.filter(|resume| self.hub.is_elsewhere(resume.id)) {
            None => self.attach(opened, resume),
            Some(elsewhere) => {
                let service = Arc::clone(self);
                tokio::spawn(async move {
                    service.hub.fetch(elsewhere.id).await;
                    service.attach(opened, resume);
                });
            }
        }
    }

    /// The socket goes on with the session that it names, or begins one.
    fn attach(self: &Arc<Self>, opened: Opened, resume: Option<Resume>) {
        let Opened { socket, source, device, connection, received, closed, cut_off } = opened;
        let outlet = Outlet::new(socket.clone(), cut_off.clone());
        let Ok(attached) = self.hub.connect(outlet, resume, source, device) else {
            self.refused(ErrorCode::Draining);
            let _ = socket.disconnect();
            return;
        };
        let transport = match socket.transport_type() {
            TransportType::Polling => "polling",
            TransportType::Websocket => "websocket",
        };
        let gauge = self.metrics.sockets.with_label_values(&[transport]);
        gauge.inc();
        let service = Arc::clone(self);
        tokio::spawn(async move {
            let owned = service.own(attached, received, closed, &cut_off);
            let end = cut_off.run_until_cancelled(owned).await;
            // Clients of Socket.IO do not come back by themselves to a server that has disconnected them, but they do when
            // the connection below is closed, as it is when the node ends. A socket that has closed already is closed.
            if end != Some(End::Lost) && !service.hub.is_over() {
                let _ = socket.disconnect();
            }
            match end {
                Some(End::Over) => service.hub.exit(attached),
                Some(End::Lost) | None => service.hub.detach(attached),
            }
            gauge.dec();
            if end != Some(End::Lost) {
                tokio::time::sleep(LAST_WORDS).await;
                connection.hangup.cancel();
            }
        });
    }

    /// Takes the events of one session in their order, those included that came before its socket closed.
    async fn own(
        &self,
        attached: Attached,
        mut received: mpsc::Receiver<Received>,
        closed: CancellationToken,
        cut_off: &CancellationToken,
    ) -> End {
        let (mut strikes, mut goodbye) = (0, false);
        loop {
            let next = tokio::select! {
                biased;
                next = received.recv() => next,
                () = closed.cancelled() => received.try_recv().ok(),
            };
            let Some(Received { name, payload, ack }) = next else {
                return if goodbye { End::Over } else { End::Lost };
            };
            // Once another socket has taken over, what this one brought is brought again.
            if cut_off.is_cancelled() {
                return End::Lost;
            }
            let answer = self.take(attached.id, &name, payload);
            // What may not outlive this socket is not acknowledged: it is brought again.
            if cut_off.is_cancelled() {
                return End::Lost;
            }
            goodbye = answer.ok && name == "bye";
            if answer.code == Some(ErrorCode::BadRequest) {
                strikes += 1;
            }
            if ack.send(&answer).is_err() && !closed.is_cancelled() {
                cut_off.cancel();
            }
            if strikes == STRIKES {
                return End::Over;
            }
        }
    }

    fn take(&self, id: Id, name: &str, payload: Option<Value>) -> Ack {
        let known = ClientEvent::NAMES.iter().find(|known| **known == name);
        self.metrics.socket_events.with_label_values(&[known.unwrap_or(&"unknown"), "in"]).inc();
        let answer = match self.hub.pace(id, name == "match.next") {
            Err(wait) => Ack {
                // Rounded up: who waits that long is not refused again.
                retry_after_ms: Some(wait.as_millis() as u64 + 1),
                ..Ack::refused(ErrorCode::RateLimited)
            },
            Ok(()) => match payload.ok_or(ErrorCode::BadRequest).and_then(|p| ClientEvent::parse(name, p)) {
                Ok(event) => self.act(id, event),
                Err(code) => Ack::refused(code),
            },
        };
        if let Some(code) = answer.code {
            self.refused(code);
        }
        answer
    }

    fn act(&self, id: Id, event: ClientEvent) -> Ack {
        match event {
            ClientEvent::QueueJoin(join) => self.hub.join(id, &join),
            ClientEvent::QueueLeave => self.hub.leave(id),
            ClientEvent::MatchAccept(pair) => self.hub.accept(id, pair),
            ClientEvent::MatchNext { pair, join } => self.hub.next(id, pair, join.as_ref()),
            ClientEvent::MatchLeave(pair) => self.hub.leave_pair(id, pair),
            ClientEvent::Signal(signal) => self.hub.signal(id, *signal),
            ClientEvent::ChatSend(line) => self.hub.chat(id, line),
            ClientEvent::ChatTyping { pair, on } => self.hub.typing(id, pair, on),
            ClientEvent::PairStats { pair, stats } => self.hub.stats(id, pair, &stats),
            ClientEvent::IceRefresh(pair) => self.hub.refresh(id, pair),
            ClientEvent::Report(report) => self.hub.report(id, report),
            ClientEvent::Bye => {
                self.hub.leave(id);
                Ack::done()
            }
        }
    }

    fn refused(&self, code: ErrorCode) {
        self.metrics.socket_event_errors.with_label_values(&[&code.to_string()]).inc();
    }
}
