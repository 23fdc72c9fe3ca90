//! A client that can also do what is wrong.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use turnpike_turn_client::{
    AlgorithmChoice, Challenge, Connection, Credentials, Endpoint, Message, Retransmission, Signer,
    Transport, Writer, attribute, channel_data, method,
};

use crate::{
    describe, expect,
    finding::{Check, Finding},
};

/// An answer may take 1.5 s, with one retransmission over UDP.
const DATAGRAMS: Retransmission =
    Retransmission { first: Duration::from_millis(500), transmissions: 2, last: 2 };
const STREAMS: Retransmission =
    Retransmission { first: Duration::from_millis(1500), transmissions: 1, last: 1 };
/// How long a late answer is waited for, once the follow-up request has been answered.
const GRACE: Duration = Duration::from_millis(20);
/// How long data may take.
const WITHIN: Duration = Duration::from_millis(1500);
/// IANA's protocol number of UDP.
pub(crate) const UDP: u8 = 17;

/// A client of the server under test.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) credentials: Credentials,
    signer: Option<Signer>,
    is_allocated: bool,
}

/// A peer's datagram as it came to the client.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) payload: Vec<u8>,
    pub(crate) via: Via,
}

/// How it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Channel(u16),
    Indication(Option<SocketAddr>),
}

impl Client {
    pub(crate) fn open(endpoint: &Endpoint, credentials: Credentials) -> Result<Self, Finding> {
        let step = format!("a connection over {} to {}", endpoint.transport, endpoint.server);
        let connection =
            Connection::open(endpoint).map_err(|error| Finding::while_preparing(&step, &error))?;
        Ok(Self::over(connection, credentials))
    }

    pub(crate) fn over(mut connection: Connection, credentials: Credentials) -> Self {
        let patience = if connection.transport().is_stream() { STREAMS } else { DATAGRAMS };
        connection.set_retransmission(patience);
        Self { connection, credentials, signer: None, is_allocated: false }
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, Finding> {
        Ok(self.connection.local_addr()?)
    }

    /// Sends a request as it is, and gives its answer.
    pub(crate) fn ask(&mut self, request: &Writer) -> Result<Message, Finding> {
        let name = request_name(request);
        let answer = self
            .connection
            .ask(request.bytes())
            .map_err(|error| Finding::while_preparing(&format!("an answer to {name}"), &error))?;
        match (answer.is_success(), answer.kind().method()) {
            (true, method::ALLOCATE) => self.is_allocated = true,
            (true, method::REFRESH) => self.is_allocated = answer.u32(attribute::LIFETIME) != Some(0),
            _ => {}
        }
        Ok(answer)
    }

    /// Signs a request with what the last challenge asked for, and gives its answer.
    pub(crate) fn ask_signed(&mut self, request: Writer) -> Result<Message, Finding> {
        let signed = self.signer()?.sign(request);
        self.ask(&signed)
    }

    /// What requests are signed with; the first call fetches a challenge.
    pub(crate) fn signer(&mut self) -> Result<Signer, Finding> {
        if self.signer.is_none() {
            let challenge = self.challenge()?;
            self.sign_with(Signer::new(&self.credentials, challenge, AlgorithmChoice::Legacy));
        }
        Ok(self.signer.clone().expect("a challenge sets the signer"))
    }

    pub(crate) fn sign_with(&mut self, signer: Signer) {
        self.signer = Some(signer);
    }

    /// The 401 to an Allocate without credentials.
    pub(crate) fn challenge(&mut self) -> Result<Challenge, Finding> {
        let answer = self.ask(&allocate())?;
        expect::challenge("an Allocate without credentials", &answer, 401)
    }

    /// Allocates, and gives the relayed address.
    pub(crate) fn allocate(&mut self) -> Result<SocketAddr, Finding> {
        self.allocate_with(allocate())
    }

    pub(crate) fn allocate_with(&mut self, request: Writer) -> Result<SocketAddr, Finding> {
        let answer = self.ask_signed(request)?;
        expect::success("Allocate", &answer)?;
        relayed(&answer)
    }

    pub(crate) fn refresh(&mut self, lifetime: Option<u32>) -> Result<Message, Finding> {
        let request = Writer::request(method::REFRESH);
        self.ask_signed(match lifetime {
            Some(seconds) => request.lifetime(seconds),
            None => request,
        })
    }

    pub(crate) fn create_permission(&mut self, peers: &[SocketAddr]) -> Result<Message, Finding> {
        let request = Writer::request(method::CREATE_PERMISSION);
        self.ask_signed(peers.iter().fold(request, |request, peer| request.peer(*peer)))
    }

    /// Installs permissions that must be granted.
    pub(crate) fn permit(&mut self, peers: &[SocketAddr]) -> Check {
        let answer = self.create_permission(peers)?;
        expect::success("CreatePermission", &answer)
    }

    pub(crate) fn channel_bind(&mut self, number: u16, peer: SocketAddr) -> Result<Message, Finding> {
        self.ask_signed(Writer::request(method::CHANNEL_BIND).channel_number(number).peer(peer))
    }

    /// Binds a channel that must be granted.
    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) -> Check {
        let answer = self.channel_bind(number, peer)?;
        expect::success("ChannelBind", &answer)
    }

    pub(crate) fn send(&mut self, message: &[u8]) -> Check {
        Ok(self.connection.send(message)?)
    }

    /// A Send indication.
    pub(crate) fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) -> Check {
        self.send(Writer::indication(method::SEND).peer(peer).data(payload).bytes())
    }

    pub(crate) fn send_on(&mut self, number: u16, payload: &[u8]) -> Check {
        self.send(&channel_data::encode(number, payload))
    }

    /// The next thing from a peer, within 1.5 s.
    pub(crate) fn next_data(&mut self, expected: &str) -> Result<Data, Finding> {
        let message = self
            .connection
            .receive(WITHIN)
            .map_err(|error| Finding::while_preparing(expected, &error))?
            .ok_or_else(|| Finding::fail(expected, "silence"))?;
        if let Some((number, payload)) = channel_data::decode(&message) {
            return Ok(Data { payload: payload.to_vec(), via: Via::Channel(number) });
        }
        match Message::read(&message[..]) {
            Ok(read) if read.kind().method() == method::DATA && read.has(attribute::DATA) => Ok(Data {
                payload: read.value(attribute::DATA).unwrap_or_default().to_vec(),
                via: Via::Indication(read.xor_address(attribute::XOR_PEER_ADDRESS)),
            }),
            _ => Err(Finding::fail(expected, describe::bytes(&message))),
        }
    }

    /// The next thing from a peer is this payload. What should not have been relayed before it is found by that.
    pub(crate) fn hears(&mut self, payload: &[u8]) -> Result<Via, Finding> {
        let expected = format!("the client hears {:?} next", String::from_utf8_lossy(payload));
        let data = self.next_data(&expected)?;
        let seen = format!("it hears {:?}", String::from_utf8_lossy(&data.payload));
        expect::that(data.payload == payload, expected, seen)?;
        Ok(data.via)
    }

    /// Sends bytes that must not be answered: a Binding behind them is answered, and nothing else is.
    pub(crate) fn is_silent_about(&mut self, what: &str, bytes: &[u8]) -> Check {
        self.connection.send_bytes(bytes)?;
        self.is_silent(what)
    }

    /// The same where a stream may also be closed.
    pub(crate) fn is_silent_or_closed_about(&mut self, what: &str, bytes: &[u8]) -> Check {
        self.connection.send_bytes(bytes)?;
        if self.connection.transport() == Transport::Udp {
            return self.quiet(what, false);
        }
        match self.connection.receive(GRACE) {
            Ok(None) => self.quiet(what, true),
            Ok(Some(message)) => Err(Finding::fail(format!("silence for {what}"), describe::bytes(&message))),
            Err(_) => Ok(()),
        }
    }

    /// Nothing has come, nor comes before or shortly after the answer to a Binding.
    pub(crate) fn is_silent(&mut self, what: &str) -> Check {
        self.quiet(what, false)
    }

    fn quiet(&mut self, what: &str, may_close: bool) -> Check {
        let expected = format!("silence for {what}");
        let probe = Writer::request(method::BINDING);
        let mut answered = false;
        // A stream whose framing is lost may take the Binding for the rest of the message.
        let waits: &[Duration] = if may_close { &[WITHIN / 5] } else { &[WITHIN / 3, WITHIN] };
        for wait in waits {
            let sent = self.connection.send(probe.bytes());
            if may_close && sent.is_err() {
                return Ok(());
            }
            sent?;
            let mut deadline = Instant::now() + *wait;
            loop {
                match self.connection.receive(deadline.saturating_duration_since(Instant::now())) {
                    Ok(None) => break,
                    Ok(Some(message)) if is_answer_to(&message, &probe) => {
                        answered = true;
                        deadline = Instant::now() + GRACE;
                    }
                    Ok(Some(message)) => return Err(Finding::fail(expected, describe::bytes(&message))),
                    Err(_) if may_close => return Ok(()),
                    Err(error) => return Err(Finding::while_preparing(&expected, &error)),
                }
            }
            if answered {
                return Ok(());
            }
        }
        match may_close {
            true => Ok(()),
            false => Err(Finding::fail(expected, "no answer to the Binding behind it either")),
        }
    }
}

impl Drop for Client {
    /// Gives ports and quota back, so that one rule does not leave the next without.
    fn drop(&mut self) {
        if self.is_allocated && self.signer.is_some() {
            self.connection.set_retransmission(Retransmission {
                first: Duration::from_millis(200),
                transmissions: 1,
                last: 1,
            });
            let _ = self.refresh(Some(0));
        }
    }
}

/// An Allocate without anything that is not needed.
pub(crate) fn allocate() -> Writer {
    Writer::request(method::ALLOCATE).requested_transport(UDP)
}

/// The first relayed address of an Allocate success.
pub(crate) fn relayed(answer: &Message) -> Result<SocketAddr, Finding> {
    answer
        .xor_address(attribute::XOR_RELAYED_ADDRESS)
        .ok_or_else(|| Finding::fail("XOR-RELAYED-ADDRESS in an Allocate success", describe::message(answer)))
}

fn is_answer_to(message: &[u8], request: &Writer) -> bool {
    Message::read(message).is_ok_and(|read| read.is_answer() && read.transaction() == request.transaction())
}

fn request_name(request: &Writer) -> String {
    let described = describe::bytes(request.bytes());
    described.split(" with").next().unwrap_or_default().to_owned()
}
