//! TCP and TLS clients: connections that live on the shard that accepted them, beside its UDP listeners.

mod channel;
mod queue;
mod rest;
mod sending;
mod stream;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpStream},
    ops::Range,
    time::Duration,
};

use socket2::Socket;
use turnpike_proto::{
    AllocationKey, DropReason, FiveTuple, Frame, Label, Server, Tally, Transport, next_frame,
};

use self::{
    channel::Channel,
    stream::{Read, Stage, Stream},
};
use super::{
    Node, Shard, SocketCall,
    outbox::{Exit, Group},
};
use crate::{
    front_door::Visitor,
    io::{Accepted, Epoll, NoConnection, Token, Watch, accept},
};

/// Most connections that one listener gives in a turn.
const ACCEPTS: usize = 64;
/// How long a listener rests when there is no file for its connections.
const REST: Duration = Duration::from_secs(1);
/// Reads of TLS handshakes in a turn, whose cryptography must not keep calls waiting.
const HANDSHAKES: usize = 4;

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Ok,
    Failed,
    Timeout,
}

impl Label for Handshake {
    const ALL: &'static [Self] = &[Self::Ok, Self::Failed, Self::Timeout];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// A listener for connections.
pub(super) struct StreamListener {
    pub(super) socket: Socket,
    pub(super) transport: Transport,
    /// It is not watched until then.
    resting: Option<Duration>,
}

impl StreamListener {
    pub(super) fn new(socket: Socket, transport: Transport) -> Self {
        Self { socket, transport, resting: None }
    }
}

/// The connections of one shard.
#[derive(Default)]
pub(super) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<u32>,
    by_five_tuple: HashMap<FiveTuple, u32>,
    /// Slots of ended connections, which are closed behind the flush and free from then on.
    ended: Vec<u32>,
    /// Slots of connections that a write has failed on.
    broken: Vec<u32>,
    /// Connections that were closed at once, for their source had too many.
    pub(super) refused: u64,
    pub(super) handshakes: Tally<Handshake>,
    /// Reads of handshakes that are left in this turn.
    handshakes_left: usize,
}

impl Streams {
    /// The connection of a client that has not ended.
    pub(super) fn find(&self, five_tuple: &FiveTuple) -> Option<u32> {
        self.by_five_tuple.get(five_tuple).copied()
    }

    pub(super) fn begin_turn(&mut self) {
        self.handshakes_left = HANDSHAKES;
    }

    /// How many there are, by transport.
    pub(super) fn count(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for five_tuple in self.by_five_tuple.keys() {
            counts[five_tuple.transport.index()] += 1;
        }
        counts
    }

    /// Sends messages of this turn to one client.
    pub(super) fn send(&mut self, slot: u32, messages: &Group<'_>, epoll: &Epoll, server: &mut Server) {
        let Some(stream) = self.slots[slot as usize].as_mut() else {
            return (0..messages.len()).for_each(|_| server.dropped(DropReason::SendFailed));
        };
        stream.send(messages, server);
        self.after_sending(slot, epoll);
    }

    /// Watches for room while anything waits for it, and only then.
    fn after_sending(&mut self, slot: u32, epoll: &Epoll) {
        let Some(stream) = self.slots[slot as usize].as_mut() else { return };
        if stream.is_broken() {
            return self.broken.push(slot);
        }
        let watch = if stream.is_waiting() { Watch::ReadAndWrite } else { Watch::Read };
        if watch != stream.watch {
            match epoll.watch(stream.socket(), Token::Stream(slot), watch) {
                Ok(()) => stream.watch = watch,
                Err(_) => self.broken.push(slot),
            }
        }
    }

    fn live(&mut self, slot: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize)?.as_mut().filter(|stream| !stream.ended)
    }

    fn insert(&mut self, stream: Stream) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.by_five_tuple.insert(stream.five_tuple, slot);
        self.slots[slot as usize] = Some(stream);
        slot
    }
}

impl Shard {
    /// Takes the connections that wait at a listener.
    pub(super) fn accept_streams(&mut self, place: usize) {
        for _ in 0..ACCEPTS {
            match accept(&self.stream_listeners[place].socket) {
                Ok(accepted) => self.open_stream(accepted, self.stream_listeners[place].transport),
                Err(NoConnection::Gone) => {}
                Err(NoConnection::Empty) => return,
                Err(NoConnection::Starved(error)) => return self.rest_listener(place, &error),
            }
        }
    }

    /// Reads one connection, and writes what waits for it.
    pub(super) fn serve_stream(&mut self, slot: u32, readable: bool, writable: bool) {
        self.make_room(1);
        if writable && let Some(stream) = self.streams.live(slot) {
            stream.send_waiting(&mut self.server);
            self.streams.after_sending(slot, &self.epoll);
        }
        if readable {
            self.read_stream(slot);
        }
    }

    /// The allocation that a connection's bytes are counted for from now on.
    pub(super) fn own_stream(&mut self, slot: u32, allocation: AllocationKey) {
        if let Some(stream) = self.streams.live(slot) {
            stream.own(allocation, &mut self.server);
        }
    }

    /// An allocation is about to be released: what its connection carried until now was its own.
    pub(super) fn disown_stream(&mut self, allocation: AllocationKey) {
        let Some(five_tuple) = self.server.allocation(allocation).map(|allocation| *allocation.five_tuple())
        else {
            return;
        };
        let Some(slot) = self.streams.find(&five_tuple) else { return };
        let Some(stream) = self.streams.live(slot).filter(|stream| stream.owner() == Some(allocation)) else {
            return;
        };
        let permit = self.node.shared.enter_source(five_tuple.client.ip());
        let is_welcome = permit.is_some();
        stream.disown(permit, self.now.mono, &mut self.server);
        if !is_welcome {
            self.streams.refused += 1;
            self.end_stream(slot);
        }
    }

    /// Ends connections that a write has failed on.
    pub(super) fn end_broken_streams(&mut self) {
        while let Some(slot) = self.streams.broken.pop() {
            self.end_stream(slot);
        }
    }

    /// Closes ended connections. Nothing that this turn knows of refers to their slots any more.
    pub(super) fn close_streams(&mut self) {
        while let Some(slot) = self.streams.ended.pop() {
            if let Some(mut stream) = self.streams.slots[slot as usize].take() {
                stream.say_goodbye(&mut self.server);
                stream.count_segments(&mut self.server);
                (0..stream.waiting()).for_each(|_| self.server.dropped(DropReason::SendFailed));
            }
            self.streams.free.push(slot);
        }
    }

    /// Looks at every connection: counts its segments, ends it when it is overdue. Wakes listeners that have rested.
    pub(super) fn sweep_streams(&mut self) {
        let now = self.now.mono;
        for slot in 0..self.streams.slots.len() as u32 {
            let Some(stream) = self.streams.live(slot) else { continue };
            stream.sample(&mut self.server);
            if stream.is_overdue(now) {
                if stream.stage() == Stage::Handshake {
                    self.streams.handshakes.count(Handshake::Timeout);
                }
                self.end_stream(slot);
            }
        }
        for (place, listener) in self.stream_listeners.iter_mut().enumerate() {
            if listener.resting.is_some_and(|until| now >= until) {
                let token = Token::StreamListener(place as u32);
                let woken = self.epoll.watch(&listener.socket, token, Watch::Read);
                listener.resting = if woken.is_ok() { None } else { Some(now + REST) };
            }
        }
    }

    fn open_stream(&mut self, accepted: Accepted, transport: Transport) {
        let Accepted { socket, client, server } = accepted;
        let Some(permit) = self.node.shared.enter_source(client.ip()) else {
            self.streams.refused += 1;
            return;
        };
        let five_tuple = FiveTuple { transport, client, server };
        let Some(channel) = channel(&self.node, transport, socket) else { return };
        let slot = self.streams.insert(Stream::new(channel, five_tuple, permit, self.now.mono));
        let stream = self.streams.live(slot).expect("it was just put there");
        if let Err(error) = self.epoll.add(stream.socket(), Token::Stream(slot)) {
            tracing::debug!(%error, %client, "a connection cannot be watched");
            self.end_stream(slot);
        }
    }

    fn read_stream(&mut self, slot: u32) {
        let Some(stream) = self.streams.live(slot) else { return };
        stream.begin_turn();
        if stream.stage() == Stage::Handshake {
            let left = self.streams.handshakes_left;
            if left == 0 {
                return;
            }
            self.streams.handshakes_left = left - 1;
        }
        while self.read_once(slot) {
            if self.inbox.room() == 0 {
                self.flush();
            }
        }
        // What the handshake or a key update answers may wait for room.
        self.streams.after_sending(slot, &self.epoll);
    }

    /// Whether another read may give more.
    fn read_once(&mut self, slot: u32) -> bool {
        let Some(stream) = self.streams.live(slot) else { return false };
        let place = self.inbox.take();
        let before = stream.stage();
        let read = stream.read(self.inbox.buffer(place), self.now.mono, &mut self.server);
        let (stage, has_more) = (stream.stage(), stream.has_more());
        if before == Stage::Handshake && (stage != before || read == Read::End) {
            let result = if stage == before { Handshake::Failed } else { Handshake::Ok };
            self.streams.handshakes.count(result);
        }
        let len = match read {
            Read::Bytes(len) => len,
            Read::Part | Read::Nothing => 0,
            Read::End => {
                self.end_stream(slot);
                return false;
            }
        };
        if stage == Stage::Http {
            let early = self.inbox.buffer(place)[..len].to_vec();
            self.inbox.untake();
            self.hand_over(slot, early);
            return false;
        }
        match len {
            0 => self.inbox.untake(),
            len => {
                self.inbox.fill(place, len);
                self.handle_messages(slot, place, len);
            }
        }
        has_more
    }

    /// Gives a connection that speaks HTTP away: the shard knows nothing of it from then on.
    fn hand_over(&mut self, slot: u32, early: Vec<u8>) {
        let Some(mut stream) = self.streams.slots[slot as usize].take() else { return };
        let FiveTuple { client, server, .. } = stream.five_tuple;
        self.streams.by_five_tuple.remove(&stream.five_tuple);
        self.streams.ended.push(slot);
        stream.count_segments(&mut self.server);
        let removed = self.epoll.remove(stream.socket());
        let (Some(door), Some((socket, tls)), Ok(())) = (&self.node.front_door, stream.into_tls(), removed)
        else {
            return self.server.dropped(DropReason::Framing);
        };
        // The door counts whom it does not let in.
        let _ = door.try_admit(Visitor { socket, tls, early, client, server });
    }

    /// Handles the messages of a slot of the inbox, and keeps the beginning of the next one.
    fn handle_messages(&mut self, slot: u32, place: usize, len: usize) {
        let mut start = 0;
        loop {
            let Some(stream) = self.streams.live(slot) else { return };
            let bytes = &self.inbox.bytes(place)[start..len];
            match next_frame(bytes) {
                Frame::Whole(message) if message <= stream.longest() => {
                    stream.speaks();
                    let five_tuple = stream.five_tuple;
                    let range: Range<usize> = start..start + message;
                    start = range.end;
                    self.handle_client(Exit::Stream(slot), &five_tuple, place, range);
                }
                Frame::Partial(_) if bytes.is_empty() => return,
                Frame::Partial(needed) if stream.keep(bytes, needed) => return,
                Frame::Whole(_) | Frame::Partial(_) | Frame::Invalid => {
                    tracing::debug!(client = %stream.five_tuple.client, "closed: no STUN message, or one too long");
                    self.server.dropped(DropReason::Framing);
                    return self.end_stream(slot);
                }
            }
        }
    }

    /// Ends a connection and its allocation. What is in hand for it is still sent.
    fn end_stream(&mut self, slot: u32) {
        let Some(stream) = self.streams.live(slot) else { return };
        stream.ended = true;
        let five_tuple = stream.five_tuple;
        self.streams.by_five_tuple.remove(&five_tuple);
        self.streams.ended.push(slot);
        self.server.handle_disconnected(self.now, &five_tuple);
        self.act_on_outputs();
    }

    /// The connections wait in the kernel meanwhile.
    fn rest_listener(&mut self, place: usize, error: &std::io::Error) {
        let now = self.now.mono;
        self.socket_errors.count(SocketCall::Accept);
        let listener = &mut self.stream_listeners[place];
        // One that cannot be told to rest is asked again in the next turn.
        if self.epoll.watch(&listener.socket, Token::StreamListener(place as u32), Watch::Nothing).is_ok() {
            listener.resting = Some(now + REST);
        }
        if self.node.shared.files_told.is_due(now) {
            let address = listener.socket.local_addr().ok().and_then(|address| address.as_socket());
            tracing::warn!(
                %error,
                listener = address.as_ref().map(SocketAddr::to_string),
                "connections have to wait, for the system gives no more files; raise LimitNOFILE= of the unit or \
                 `ulimit -n`"
            );
        }
    }
}

fn channel(node: &Node, transport: Transport, socket: TcpStream) -> Option<Channel> {
    if transport != Transport::Tls {
        return Some(Channel::plain(socket));
    }
    let tls = node.tls.as_ref().expect("there are TLS listeners where there is a certificate");
    let channel = Channel::secure(socket, tls.current());
    channel
        .inspect_err(|error| tracing::error!(code = "tls_settings", %error, "a TLS client was turned away"))
        .ok()
}
